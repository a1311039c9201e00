"""The table of drivers: what it builds, and that it is whole."""

from pathlib import Path

import pytest

from stoker.pools.clock import SteadyClock
from stoker.pools.driver import ResettingDriver
from stoker.pools.drivers import TABLE, build_drivers, catalogue
from tests.conftest import ROOT


def test_every_driver_of_the_contract_is_in_the_table() -> None:
    assert {"command", "directory", "file", "process", "token"} == TABLE.keys()


def test_facts_and_drivers_agree_on_their_names(tmp_path: Path) -> None:
    drivers = build_drivers(tmp_path / "state", SteadyClock(0))
    facts = catalogue()
    assert list(TABLE) == list(drivers) == list(facts)
    assert {name: name for name in TABLE} == {name: facts[name].name for name in TABLE}
    assert {name: name for name in TABLE} == {name: drivers[name].name for name in TABLE}


def test_a_driver_has_a_setting_for_resets_if_and_only_if_it_can_reset(tmp_path: Path) -> None:
    drivers = build_drivers(tmp_path / "state", SteadyClock(0))
    able = {name for name, driver in drivers.items() if isinstance(driver, ResettingDriver)}
    assert {name for name, facts in catalogue().items() if facts.reset_setting} == able
    assert {"command"} == able


def test_building_makes_nothing_on_the_disk(tmp_path: Path) -> None:
    build_drivers(tmp_path / "state", SteadyClock(0))
    assert [] == list(tmp_path.iterdir())


def test_only_what_is_asked_for_is_built(tmp_path: Path) -> None:
    assert ["file"] == list(build_drivers(tmp_path, SteadyClock(0), only=["file"]))


@pytest.mark.parametrize("name", sorted(TABLE))
def test_every_setting_and_output_is_documented(name: str) -> None:
    facts = catalogue()[name]
    text = (ROOT / f"docs/drivers/{name}.md").read_text(encoding="utf-8")
    models = [facts.settings, *([facts.provider_settings] if facts.provider_settings else [])]
    words = {
        field.alias or key for model in models for key, field in model.model_fields.items()
    } | facts.outputs.keys()
    # A setting with settings of its own is listed by those: `limits.memory`.
    rows = [row.removeprefix("| `") for row in text.splitlines() if row.startswith("| `")]
    assert set() == {
        word for word in words if not any(row.startswith((f"{word}`", f"{word}.")) for row in rows)
    }
