"""What an install brings: every room, every module, and the files that are not Python."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.test_imports import ROOMS

NOT_A_ROOM = {"tests", "loadtests", "docs", "systemd", "build", "dist"}


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in a wheel that is built from a copy of the tree."""
    tree = tmp_path_factory.mktemp("tree")
    for entry in (*ROOMS, "pyproject.toml", "README.md", "LICENSE"):
        source = ROOT / entry
        if source.is_dir():
            shutil.copytree(source, tree / entry, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree)
    out = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", out, tree], check=True, timeout=55, stdout=sys.stderr)
    with zipfile.ZipFile(next(out.glob("stoker-*.whl"))) as archive:
        return set(archive.namelist())


def rooms() -> set[str]:
    """The folders of the repository that are rooms: they hold an `__init__.py` and code."""
    return {
        path.parent.name
        for path in ROOT.glob("*/__init__.py")
        if path.parent.name not in NOT_A_ROOM and not path.parent.name.startswith(".")
    }


def packages() -> set[str]:
    """The import names of every folder below the rooms that holds Python."""
    found: set[str] = set()
    for room in rooms():
        for path in (ROOT / room).rglob("*.py"):
            found.add(".".join(["stoker", *path.parent.relative_to(ROOT).parts]))
    return found


def test_the_list_of_packages_is_what_lies_in_the_folders(pyproject: dict[str, Any]) -> None:
    assert packages() == set(pyproject["tool"]["setuptools"]["packages"])


def test_each_room_is_mapped_below_one_name(pyproject: dict[str, Any]) -> None:
    mapping = {f"stoker.{room}": room for room in rooms()}
    assert mapping == pyproject["tool"]["setuptools"]["package-dir"]
    assert set(ROOMS) == rooms()


def test_type_checkers_find_each_room() -> None:
    links = {path.name: path.resolve() for path in (ROOT / ".typings" / "stoker").iterdir()}
    assert {room: ROOT / room for room in ROOMS} == links


def test_the_version_is_said_once(pyproject: dict[str, Any]) -> None:
    said = pyproject["project"]["version"]
    assert said == version("stoker")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{said}]" in changelog
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            assert f'"{said}"' not in path.read_text(encoding="utf-8"), path


def test_a_wheel_has_every_file_of_every_room(wheel: set[str]) -> None:
    files = {
        f"stoker/{path.relative_to(ROOT)}"
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert set() == files - wheel
    strangers = {name for name in wheel if ".dist-info/" not in name} - files
    assert set() == strangers


def test_a_wheel_has_the_starter_and_the_type_markers(wheel: set[str]) -> None:
    assert any(
        name.startswith("stoker/config/starter/") and name.endswith(".yaml") for name in wheel
    )
    assert {f"stoker/{room}/py.typed" for room in ROOMS} <= wheel


def test_pins_are_names_and_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    for pin in pins:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", pin), pin


def test_every_direct_dependency_is_pinned(pyproject: dict[str, Any]) -> None:
    pinned = {
        _normal(line.partition("==")[0])
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    }
    groups = pyproject["dependency-groups"]
    asked = [*pyproject["project"]["dependencies"], *groups["test"], *groups["check"]]
    assert set() == {_normal(_name(requirement)) for requirement in asked} - pinned


def _name(requirement: str) -> str:
    return re.split(r"[\[>;]", requirement, maxsplit=1)[0].strip()


def _normal(name: str) -> str:
    return name.lower().replace("_", "-")
