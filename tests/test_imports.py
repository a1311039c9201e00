"""The import contracts of pyproject.toml hold, and each of them bites."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

ROOMS = ("client", "config", "daemon", "policies", "pools")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rooms, copied to where an install puts them: `stoker/<room>`."""
    tree = tmp_path_factory.mktemp("pristine")
    for room in ROOMS:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / room, tree / "stoker" / room, ignore=ignore)
    return tree


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    """Runs import-linter with the project's contracts on the copy at `tree`."""
    return subprocess.run(
        [
            Path(sys.executable).with_name("lint-imports"),
            *("--config", ROOT / "pyproject.toml", "--no-cache", "--no-logo"),
        ],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "COLUMNS": "500"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_every_contract_is_kept(pristine: Path) -> None:
    outcome = lint_imports(pristine)
    assert 0 == outcome.returncode, outcome.stdout + outcome.stderr
    assert " 0 broken" in outcome.stdout


PLANTED = [
    ("config/revision.py", "from ..pools import ids", "The rooms point one way"),
    ("pools/plan.py", "from ..policies import __doc__", "The rooms point one way"),
    ("policies/__init__.py", "from ..pools import ids", "The rooms point one way"),
    ("client/__init__.py", "from ..config import units", "The rooms point one way"),
    ("pools/plan.py", "import time", "Decisions touch nothing"),
    ("pools/lifecycle.py", "import random", "Decisions touch nothing"),
    ("config/revision.py", "from os import path", "Decisions touch nothing"),
    ("policies/__init__.py", "import asyncio", "Decisions touch nothing"),
    ("pools/drivers/file.py", "from . import directory", "Drivers do not know each other"),
    ("pools/plan.py", "from .drivers import token", "The pools reach drivers"),
    ("pools/plan.py", "import celpy", "CEL is the business"),
    ("pools/claiming.py", "import sqlite3", "SQLite is the business"),
    ("pools/fleet.py", "import prometheus_client", "Metrics are exposed"),
    ("pools/plan.py", "import jwt", "Tokens are made by"),
    ("config/revision.py", "import aiohttp", "HTTP is spoken"),
]


@pytest.mark.parametrize(("file", "line", "contract"), PLANTED)
def test_a_planted_violation_is_found(
    pristine: Path, tmp_path: Path, file: str, line: str, contract: str
) -> None:
    shutil.copytree(pristine / "stoker", tmp_path / "stoker")
    with (tmp_path / "stoker" / file).open("a") as planted:
        planted.write(f"\n{line}  # planted\n")
    outcome = lint_imports(tmp_path)
    broken = [text for text in outcome.stdout.splitlines() if text.endswith("BROKEN")]
    assert 1 == outcome.returncode, outcome.stdout + outcome.stderr
    assert any(text.startswith(contract) for text in broken), outcome.stdout


def test_the_client_needs_nothing_but_the_standard_library() -> None:
    for path in (ROOT / "client").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported: list[str] = []
            if isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported = [node.module or ""]
            strangers = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names
            assert not strangers, f"{path.name} imports {strangers}"
