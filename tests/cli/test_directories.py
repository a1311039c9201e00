"""`stoker init`, `validate`, `schema` and what `run` refuses before it starts."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stoker.daemon.cli.group import cli

BROKEN = """\
apiVersion: stoker/v1
kind: Pool
metadata: {name: web}
spec:
  blueprint: nothing
  size: {mni: 2, max: 1}
"""


def stoker(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def test_the_starter_is_written_and_is_valid(tmp_path: Path) -> None:
    folder = tmp_path / "config"
    written = stoker("init", folder)
    assert 0 == written.exit_code
    assert f"stoker run --config {folder}" in written.stdout
    checked = stoker("validate", folder)
    assert (0, "") == (checked.exit_code, checked.stderr)
    assert "is valid: 2 pools, revision " in checked.stdout


def test_the_starter_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("mine")
    result = stoker("init", tmp_path)
    assert 1 == result.exit_code
    assert "Name an empty or a new directory." in result.stderr
    assert ["mine.yaml"] == [path.name for path in tmp_path.iterdir()]


def test_every_mistake_is_told_with_its_place_and_a_remedy(tmp_path: Path) -> None:
    file = tmp_path / "pools.yaml"
    file.write_text(BROKEN)
    result = stoker("validate", tmp_path)
    assert 1 == result.exit_code
    lines = result.stdout.splitlines()
    assert f"{file}:6:10: error: spec.size.mni: there is no key 'mni' here" in lines
    assert "    did you mean 'min'?" in lines
    places = [line.split(":")[1] for line in lines if line.startswith(str(file))]
    assert sorted(places, key=int) == places
    assert f"\n{len(places)} errors, 0 warnings.\n" == result.stderr


def test_mistakes_are_a_list_for_programs(tmp_path: Path) -> None:
    (tmp_path / "pools.yaml").write_text(BROKEN)
    result = stoker("validate", tmp_path, "-o", "json")
    assert 1 == result.exit_code
    found = [one for one in json.loads(result.stdout) if one["path"] == "spec.size.mni"]
    assert [("pools.yaml", 6, 10, "error")] == [
        (one["file"], one["line"], one["column"], one["severity"]) for one in found
    ]


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    result = stoker("validate", tmp_path / "none")
    assert 1 == result.exit_code
    assert "Write one with: stoker init" in result.stderr


def test_a_schema_is_printed_for_all_kinds_or_for_one() -> None:
    assert (
        "https://json-schema.org/draft/2020-12/schema"
        == json.loads(stoker("schema").stdout)["$schema"]
    )
    assert "Pool" in json.loads(stoker("schema", "Pool").stdout)["$defs"]
    result = stoker("schema", "Pol")
    assert 2 == result.exit_code
    assert "did you mean 'Pool'?" in result.stderr


def test_run_tells_all_wrong_settings_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOKER_STOP_GRACE", "soon")
    result = stoker("run", "--config", tmp_path, "--log-level", "loud", "--max-connections", "0")
    assert 2 == result.exit_code
    for place in ("STOKER_STOP_GRACE", "--log-level", "--max-connections"):
        assert f"\n  {place}: " in result.stderr


def test_run_without_a_config_directory_says_how_to_get_one(tmp_path: Path) -> None:
    result = stoker("run", "--config", tmp_path / "none", "--state", tmp_path / "state")
    assert 2 == result.exit_code
    assert f"write one with: stoker init {tmp_path / 'none'}" in result.stderr
