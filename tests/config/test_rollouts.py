"""What a pool may say of its rollouts: shares, contradictions, windows."""

from zoneinfo import ZoneInfo

import jsonschema_rs
import pytest

from stoker.config.changes import FieldChange, changes
from stoker.config.revision import RolloutSpec
from stoker.config.schema import json_schema
from stoker.config.shares import Share
from stoker.config.windows import Window
from tests.config.catalogue import CATALOGUE, a_blueprint_with, loaded, the_revision, told

BASE = a_blueprint_with("  prepare: [{name: a, driver: box}]").rstrip()


def with_rollout(rollout: str, size: str = "{min: 2, max: 3}") -> str:
    text = BASE.replace("{min: 1, max: 3}", size)
    assert size in text
    return f"{text}\n  rollout: {rollout}\n"


def rollout_of(rollout: str) -> RolloutSpec:
    return the_revision(with_rollout(rollout)).pools["boxes"].rollout


def test_defaults_are_those_that_kubernetes_users_expect() -> None:
    quarter = Share(25, percent=True)

    assert the_revision(BASE).pools["boxes"].rollout == RolloutSpec(
        max_unavailable=quarter,
        max_surge=quarter,
        floor=None,
        canary=1,
        settle=30.0,
        progress_deadline=600.0,
        windows=(),
    )


def test_everything_can_be_said() -> None:
    found = rollout_of(
        "{maxUnavailable: 1, maxSurge: 50%, floor: 1, canary: 2, settle: 1m, progressDeadline: 1h, "
        'windows: [{days: [fri-mon, wed], from: "22:00", to: "06:00", timezone: Europe/Berlin}, '
        '{from: "00:00", to: "24:00"}]}'
    )

    assert found == RolloutSpec(
        Share(1), Share(50, percent=True), Share(1), 2, 60.0, 3600.0,
        (
            Window(frozenset({4, 5, 6, 0, 2}), 22 * 60, 6 * 60, ZoneInfo("Europe/Berlin")),
            Window(frozenset(range(7)), 0, 24 * 60, ZoneInfo("UTC")),
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rollout", "sentence"),
    [
        ("{maxSurge: 1.5}", "spec.rollout.maxSurge: 1.5 is no number of resources. Write a whole number such as 1, or a percentage such as '25%'."),
        ("{maxSurge: true}", "spec.rollout.maxSurge: True is no number of resources."),
        ("{maxSurge: -1}", "spec.rollout.maxSurge: -1 is no number of resources."),
        ("{maxSurge: '101%'}", "spec.rollout.maxSurge: '101%' is no number of resources."),
        ("{floor: half}", "spec.rollout.floor: 'half' is no number of resources."),
        ("{maxSurge: 0, maxUnavailable: '0%'}", "spec.rollout.maxUnavailable: maxUnavailable and maxSurge are both 0, so that nothing could ever be replaced. Raise one of them."),
        ("{floor: 3}", "spec.rollout.floor: floor (3) is more than size.min (2), which is all that is kept ready. Lower floor or raise size.min."),
        ("{maxSurge: 0, floor: 2}", "spec.rollout.floor: maxSurge is 0 and floor is 2 of 2, so that nothing could ever be replaced. Let one more exist, or one fewer be ready."),
        ("{settle: 10m}", "spec.rollout.settle: settle (10m) is not shorter than progressDeadline (10m), so that no canary could ever pass. Shorten settle or lengthen progressDeadline."),
        ("{progressDeadline: 30s}", "spec.rollout.progressDeadline: settle (30s) is not shorter than progressDeadline (30s)"),
        ("{canary: -1}", "spec.rollout.canary: must be at least 0, not -1."),
        ("{windows: [{from: '22:00', to: '22:00'}]}", "spec.rollout.windows[0].to: the window closes when it opens, so that it never does. Write another time; for a whole day, from '00:00' to '24:00'."),
        ("{windows: [{from: '24:00', to: '06:00'}]}", "spec.rollout.windows[0].from: a window cannot open at 24:00. Write '00:00', with the next day."),
        ("{windows: [{from: '22:60', to: '06:00'}]}", "spec.rollout.windows[0].from: '22:60' is no time of the day. Write hours and minutes in quotes, as '22:00'."),
        ("{windows: [{from: '9:00', to: '06:00'}]}", "spec.rollout.windows[0].from: '9:00' is no time of the day."),
        ("{windows: [{to: '06:00'}]}", "the key 'from' is missing"),
        ("{windows: [{from: '22:00', to: '06:00', days: []}]}", "spec.rollout.windows[0].days: "),
        ("{windows: [{from: '22:00', to: '06:00', days: [monday]}]}", "spec.rollout.windows[0].days[0]: 'monday' is no day and no range of days. Write one of mon, tue, wed, thu, fri, sat, sun, or two of them as mon-fri."),
        ("{windows: [{from: '22:00', to: '06:00', timezone: Europe/Berlim}]}", "spec.rollout.windows[0].timezone: there is no time zone 'Europe/Berlim'. Did you mean 'Europe/Berlin'?"),
        ("{windows: [{from: '22:00', to: '06:00', timezone: ../../etc/passwd}]}", "there is no time zone '../../etc/passwd'."),
        ("{windows: [{from: '22:00', to: '06:00', timezone: Europe}]}", "there is no time zone 'Europe'."),
        ("{window: []}", "there is no key 'window' here. Did you mean 'windows'?"),
    ],
)  # fmt: skip
def test_a_mistake_names_place_expectation_and_remedy(rollout: str, sentence: str) -> None:
    problems = told(loaded(with_rollout(rollout)))

    assert any(sentence in problem for problem in problems), problems


def test_a_pool_without_a_slot_to_spare_needs_one_that_may_be_missing() -> None:
    full = "{min: 2, max: 2}"
    never = told(loaded(with_rollout("{maxUnavailable: 0}", full)))

    assert "size.max leaves no slot beside size.min and maxUnavailable is 0" in never[0]
    the_revision(with_rollout("{}", full))
    the_revision(with_rollout("{floor: 1}", full))
    the_revision(with_rollout("{floor: 50%}", full))


def test_changes_of_the_settings_are_told_and_make_nothing_outdated() -> None:
    after = with_rollout(
        '{maxSurge: 2, floor: 50%, windows: [{days: [sat, sun], from: "22:00", to: "06:00"}]}'
    )
    found = changes(the_revision(with_rollout("{canary: 0}")), the_revision(after))

    assert found.outdated == ()
    assert found.changed["boxes"] == (
        FieldChange("rollout.canary", "0", "1"),
        FieldChange("rollout.floor", "", "50%"),
        FieldChange("rollout.maxSurge", "25%", "2"),
        FieldChange("rollout.windows", "", "sat,sun 22:00-06:00 UTC"),
    )


def test_the_schema_says_what_may_be_written() -> None:
    definitions = json_schema("Pool", CATALOGUE)["$defs"]
    assert isinstance(definitions, dict)
    validator = jsonschema_rs.validator_for({"$ref": "#/$defs/Rollout", "$defs": definitions})

    for right in ({"maxSurge": "25%", "floor": 2}, {"windows": [{"from": "22:00", "to": "24:00"}]}):
        assert validator.is_valid(right)
    for wrong in (
        {"maxSurge": "25"},
        {"windows": [{"from": "22:00"}]},
        {"windows": [{"from": "2:00", "to": "4:00"}]},
    ):
        assert not validator.is_valid(wrong)
    rollout = definitions["Rollout"]
    assert isinstance(rollout, dict)
    assert rollout["properties"]["maxSurge"]["default"] == "25%"  # type: ignore[index, call-overload]
