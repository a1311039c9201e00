"""What a revision does to what stands, and when it must be accepted first."""

from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.config.revision import Backfill, Cost, Lifetime, PoolSpec, Revision, RolloutSpec
from stoker.config.shares import Share
from stoker.config.windows import Window
from stoker.pools.impact import (
    MAX_DESTROY,
    Fate,
    Impact,
    PoolImpact,
    Standing,
    accepted_by,
    as_declared,
    impact,
    objections,
)
from tests.builders import a_revision
from tests.rig import a_box_pool, a_part, boxes

EMPTY = a_revision()


def a_pool(name: str = "web", *, ready: int = 10, **more: object) -> PoolSpec:
    return replace(a_box_pool(name=name, min=ready, max=1000), **more)  # type: ignore[arg-type]


def ready(count: int, pool: PoolSpec | None = None, **more: object) -> Standing:
    digest = (pool or a_pool()).blueprint.digest
    return Standing({digest: (5.0,) * count}, **more)  # type: ignore[arg-type]


def the_one(found: Impact) -> PoolImpact:
    (one,) = found.pools
    return one


def of(before: PoolSpec | None, after: PoolSpec | None, standing: Standing) -> PoolImpact:
    old = a_revision(*([] if before is None else [before]))
    new = a_revision(*([] if after is None else [after]))
    return the_one(impact(old, new, {"web": standing}))


def test_a_revision_that_changes_nothing_does_nothing() -> None:
    found = impact(a_revision(a_pool()), a_revision(a_pool()), {"web": ready(3, coming=1)})
    assert not found
    assert () == objections(found, 0.0)


def test_a_new_pool_is_filled() -> None:
    one = of(None, a_pool(), Standing())
    assert (Fate.ADDED, 10, 0, 0) == (one.fate, one.created, one.destroyed, one.rolled)


def test_a_larger_size_makes_what_is_missing_and_a_smaller_one_destroys_what_is_too_many() -> None:
    more = of(a_pool(ready=10), a_pool(ready=13), ready(10))
    less = of(a_pool(ready=10), a_pool(ready=7), ready(9, coming=1, bound=5))

    assert (3, 0, 0.0) == (more.created, more.destroyed, more.lost)
    assert (0, 2) == (less.created, less.destroyed)
    assert pytest.approx(0.3) == less.lost
    assert (10, 7) == less.size


def test_what_is_missing_or_too_much_already_is_not_the_work_of_the_revision() -> None:
    labelled = a_pool(labels={"team": "a"})
    assert 0 == of(a_pool(), labelled, ready(4)).created
    assert 0 == of(a_pool(), labelled, ready(14)).destroyed
    assert 2 == of(a_pool(), a_pool(ready=8), ready(14)).destroyed


def test_a_removed_pool_loses_all_but_what_has_a_claim() -> None:
    one = of(a_pool(), None, ready(6, coming=2, bound=3, held=1))

    assert (Fate.REMOVED, 8, 3, 1.0) == (one.fate, one.destroyed, one.drained, one.lost)


def test_a_changed_blueprint_rolls_and_destroys_nothing() -> None:
    other = replace(boxes(finish=(a_part("extra"),)), digest="another")
    after = a_pool(blueprint=other, backfill=Backfill(rate=2.0, burst=2))
    one = of(a_pool(), after, ready(10))

    assert (10, 0, 0, 0.0) == (one.rolled, one.destroyed, one.created, one.lost)
    assert one.outdated_because


def rolled(rollout: RolloutSpec, backfill: Backfill, creation: float | None = None) -> PoolImpact:
    """Ten of them."""
    other = replace(boxes(finish=(a_part("extra"),)), digest="another")
    after = a_pool(blueprint=other, backfill=backfill, rollout=rollout)
    return of(a_pool(), after, ready(10, creation=creation))


def test_a_roll_takes_as_long_as_its_rollout_and_the_rate_let_it() -> None:
    at_once = RolloutSpec(canary=0, max_surge=Share(10))
    slow, quick = Backfill(rate=2.0, burst=2), Backfill(rate=100.0, burst=10, concurrency=8)
    assert 4.0 == rolled(at_once, slow).roll_takes
    assert 50.0 == rolled(at_once, replace(quick, concurrency=2), 10.0).roll_takes
    one_by_one = replace(at_once, max_surge=Share(1), max_unavailable=Share(0))
    assert 100.0 == rolled(one_by_one, quick, 10.0).roll_takes
    assert 50.0 == rolled(replace(one_by_one, max_unavailable=Share(1)), quick, 10.0).roll_takes
    tried = replace(one_by_one, canary=2, settle=30.0)
    assert 10.0 + 30.0 + 80.0 == rolled(tried, quick, 10.0).roll_takes
    assert (
        10.0 + 30.0
        == rolled(replace(tried, canary=10), replace(quick, concurrency=10), 10.0).roll_takes
    )


def test_a_roll_says_in_which_windows_it_may_happen() -> None:
    night = Window(frozenset({0, 1}), 22 * 60, 6 * 60, ZoneInfo("UTC"))
    found = rolled(RolloutSpec(windows=(night,)), Backfill(rate=5.0, burst=1))
    assert ("mon,tue 22:00-06:00 UTC",) == found.roll_in


def test_what_is_destroyed_is_not_rolled_too() -> None:
    after = a_pool(ready=4, blueprint=replace(boxes(), digest="another"))
    one = of(a_pool(), after, ready(10))
    assert (6, 4) == (one.destroyed, one.rolled)


def test_a_shorter_age_destroys_what_is_older() -> None:
    after = a_pool(lifetime=Lifetime(max_age=60.0))
    standing = Standing({after.blueprint.digest: (1.0, 30.0, 59.0, 61.0, 900.0)})
    one = of(a_pool(), after, standing)
    assert (2, 0.4) == (one.destroyed, one.lost)
    older = a_pool(lifetime=Lifetime(max_age=600.0))
    assert 1 == of(older, after, standing).destroyed, "the oldest one goes anyway"


def test_cost_is_what_stands_before_and_what_is_kept_after() -> None:
    cheap = a_pool(blueprint=replace(boxes(), cost=Cost(0.5)))
    dear = a_pool(ready=4, blueprint=replace(boxes(), cost=Cost(2.0)))
    found = impact(a_revision(cheap), a_revision(dear), {"web": ready(10, bound=2)})
    assert (6.0, 9.0) == found.cost == the_one(found).cost


def test_without_a_base_what_stands_and_is_not_declared_is_removed() -> None:
    found = impact(None, a_revision(a_pool("other")), {"web": ready(2), "gone": Standing()})
    fates = {one.pool: one.fate for one in found.pools}
    assert {"web": Fate.REMOVED, "other": Fate.ADDED} == fates


def pools_objected(found: Impact, limit: float = MAX_DESTROY, *accepted: str) -> list[str]:
    return [one.pool for one in objections(found, limit, frozenset(accepted))]


@pytest.mark.parametrize(
    ("before", "after", "held"), [(10, 7, False), (10, 6, True), (1, 0, True), (4, 3, False)]
)
def test_more_than_the_share_of_a_pool_is_objected_to(before: int, after: int, held: bool) -> None:
    old, new = a_revision(a_pool(ready=before)), a_revision(a_pool(ready=after))
    found = impact(old, new, {"web": ready(before)})
    assert (["web"] if held else []) == pools_objected(found)
    assert [] == pools_objected(found, MAX_DESTROY, "web")
    assert [] == pools_objected(found, 1.0)


def test_a_pool_that_is_short_of_resources_is_protected_as_a_full_one() -> None:
    found = impact(a_revision(a_pool()), a_revision(a_pool(ready=2)), {})
    (one,) = objections(found, MAX_DESTROY)
    assert "keep 2 ready instead of 10" in one.because
    removed = impact(a_revision(a_pool(), a_pool("b")), a_revision(a_pool("b")), {})
    assert ["web"] == pools_objected(removed)


def test_removing_a_pool_with_claims_is_objected_to_whatever_the_share() -> None:
    empty = a_pool(ready=0)
    both = a_revision(empty, a_pool("b"))
    found = impact(both, a_revision(a_pool("b")), {"web": Standing(bound=2)})

    (one,) = objections(found, 1.0)
    assert "2 with a claim" in one.because
    assert [] == pools_objected(impact(both, a_revision(a_pool("b")), {}), 0.0)


def test_no_pool_at_all_is_objected_to_even_when_all_are_empty() -> None:
    found = impact(a_revision(a_pool(ready=0)), EMPTY, {})
    (one,) = objections(found, 1.0)
    assert "no pool is declared any more" in one.because
    assert [] == pools_objected(found, 0.0, "web")
    assert () == objections(impact(EMPTY, EMPTY, {}), 0.0)
    assert () == objections(impact(None, EMPTY, {}), 0.0), "a first start"


@given(
    st.dictionaries(
        st.sampled_from("abcdef"),
        st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 60), st.integers(0, 9)),
        min_size=1,
    ),
    st.floats(0.0, 1.0),
)
def test_what_is_not_objected_to_loses_no_more_than_the_share_of_all(
    sizes: dict[str, tuple[int, int, int, int]], limit: float
) -> None:
    before = a_revision(*(a_pool(name, ready=was) for name, (was, _, _, _) in sizes.items()))
    after = a_revision(*(a_pool(name, ready=now) for name, (_, now, _, _) in sizes.items()))
    standing = {name: ready(it, bound=bound) for name, (_, _, it, bound) in sizes.items()}
    found = impact(before, after, standing)
    for one in found.pools:
        assert 0.0 <= one.lost <= 1.0
        assert one.destroyed <= standing[one.pool].ready_count
        assert not (one.created and one.destroyed)
    if not objections(found, limit):
        all_of_them = sum(one.all for one in standing.values())
        assert found.destroyed <= limit * all_of_them + 1e-6


@given(st.integers(0, 40), st.integers(0, 40))
def test_what_is_declared_stands_in_for_what_is_live(was: int, now: int) -> None:
    before, after = a_revision(a_pool(ready=was)), a_revision(a_pool(ready=now))
    found = impact(before, after, as_declared(before))
    assert max(0, now - was) == found.created
    assert max(0, was - now) == found.destroyed


def accepting(*texts: str) -> Revision:
    return replace(EMPTY, accepts=frozenset(texts))


def test_an_annotation_accepts_the_pools_that_it_names_once() -> None:
    assert frozenset({"web", "db"}) == accepted_by(EMPTY, accepting("web, db"))
    assert frozenset({"web"}) == accepted_by(None, accepting("web"))
    assert frozenset() == accepted_by(accepting("web"), accepting("web"))
    assert frozenset({"web", "2026-11-27"}) == accepted_by(
        accepting("web"), accepting("web 2026-11-27")
    )
    assert frozenset({"db"}) == accepted_by(accepting("web"), accepting("web", "db"))
