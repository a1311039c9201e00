"""What is different between two revisions, in sentences; and the order of parts."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stoker.config.changes import FieldChange, changes
from stoker.config.ordering import cycles, in_order
from tests.config.catalogue import POOL, a_blueprint_with, the_revision

BASE = a_blueprint_with("  prepare: [{name: a, driver: box}]")
OTHER = POOL.replace("boxes", "others")


def test_equal_revisions_have_no_changes() -> None:
    assert not changes(the_revision(BASE), the_revision(BASE + "# a comment\n"))


def test_against_nothing_everything_is_new() -> None:
    assert ("the pool boxes is new",) == changes(None, the_revision(BASE)).sentences()


def test_pools_come_and_go() -> None:
    two = the_revision(f"{BASE}---{OTHER}")

    assert ("others",) == changes(the_revision(BASE), two).added
    assert ("the pool others is removed",) == changes(two, the_revision(BASE)).sentences()


def test_settings_are_compared_as_people_write_them() -> None:
    text = BASE.replace("{name: boxes}", "{name: boxes, labels: {team: web}}").replace(
        "max: 3", "max: 9"
    )
    found = changes(
        the_revision(BASE), the_revision(text.rstrip() + "\n  lifetime: {ttl: 1h, maxAge: 1d}\n")
    )

    assert (
        FieldChange("labels.team", "", "web"),
        FieldChange("lifetime.maxAge", "", "1d"),
        FieldChange("lifetime.ttl", "30m", "1h"),
        FieldChange("size.max", "3", "9"),
    ) == found.changed["boxes"]
    assert (
        "the pool boxes changes labels.team (now web), lifetime.maxAge (now 1d), lifetime.ttl from 30m to 1h, size.max from 3 to 9",
    ) == found.sentences()


def test_notice_and_grace_are_compared_too() -> None:
    courteous = BASE.rstrip() + "\n  lifetime: {notice: 5m, grace: 30s}\n"

    found = changes(the_revision(BASE), the_revision(courteous))

    assert (
        FieldChange("lifetime.grace", "", "30s"),
        FieldChange("lifetime.notice", "", "5m"),
    ) == found.changed["boxes"]


def test_a_changed_blueprint_makes_resources_outdated() -> None:
    found = changes(the_revision(BASE), the_revision(BASE.replace("name: a", "name: b")))

    assert (("boxes",), {}) == (found.outdated, found.changed)
    assert (
        "the resources of the pool boxes are outdated: they are made in another way now",
    ) == found.sentences()


def test_changed_providers_are_told() -> None:
    provider = """
apiVersion: stoker/v1
kind: Provider
metadata: {name: mine}
spec: {driver: cloud, with: {region: x}}
"""
    more = the_revision(f"{BASE}---{provider}")

    assert ("the provider mine changes",) == changes(the_revision(BASE), more).sentences()


NAMES = st.lists(st.sampled_from("abcdefg"), unique=True)
NEEDS = st.dictionaries(st.sampled_from("abcdefg"), st.frozensets(st.sampled_from("abcdefgh")))


@given(NAMES, NEEDS)
def test_every_part_comes_after_what_it_needs_or_stands_on_a_cycle(
    names: list[str], needs: dict[str, frozenset[str]]
) -> None:
    ordered = in_order(names, needs)
    ways = cycles(names, {name: needs.get(name, frozenset()) & set(names) for name in names})

    assert sorted(names) == sorted(ordered)
    if not ways:
        for at, name in enumerate(ordered):
            assert needs.get(name, frozenset()) & set(names) <= set(ordered[:at])
    for way in ways:
        assert way[0] == way[-1]
        assert all(after in needs[before] for before, after in pairwise(way))


def test_parts_that_need_nothing_keep_their_order() -> None:
    assert tuple("cab") == in_order("cab", {})
    assert tuple("abc") == in_order("cab", {"c": frozenset("b")})
