"""How a rollout begins, what it may do at each moment, and how it goes on."""

from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stoker.config.revision import PoolSpec, RolloutSpec
from stoker.config.shares import Share
from stoker.config.windows import Window
from stoker.pools.breaker import THRESHOLD, Breaker
from stoker.pools.plan import Create, Fill, Plan, Retire, Serve, Snapshot, plan
from stoker.pools.rollout import Rollout, Served, Stage, begin, budget, canaries, retried
from tests.builders import a_blueprint, a_pool, a_rollout, a_snapshot, under_way

FAILING = Breaker(failures=THRESHOLD, last_error="no such program", until=50.0)
WORKED = Served("d0", "r0", worked=True)
ALWAYS = frozenset(range(7))
NIGHT = Window(ALWAYS, 22 * 60, 6 * 60, ZoneInfo("UTC"))
NOON, MIDNIGHT = 12 * 3600.0, 0.0


def shares(unavailable: int = 0, surge: int = 1, floor: int | None = None) -> RolloutSpec:
    return RolloutSpec(Share(unavailable), Share(surge), None if floor is None else Share(floor))


def told(result: Plan) -> list[tuple[object, ...]]:
    """What is done, by kind: how many, and of which blueprint."""
    found: list[tuple[object, ...]] = []
    retired: dict[str, int] = {}
    for command in result.commands:
        match command:
            case Retire():
                retired[command.cause] = retired.get(command.cause, 0) + 1
            case Serve():
                found.append(("serve", command.count))
            case Create() | Fill():
                kind = "previous" if command.previous else "new"
                found.append((type(command).__name__.lower(), command.count, kind))
    return [*(("retire", count, cause) for cause, count in retired.items()), *found]


# The budget


@pytest.mark.parametrize(
    ("minimum", "rules", "expected"),
    [
        (10, RolloutSpec(), (3, 8, 8)),
        (4, RolloutSpec(), (1, 3, 3)),
        (3, RolloutSpec(), (1, 3, 2)),
        (1, RolloutSpec(), (1, 1, 0)),
        (0, RolloutSpec(), (0, 0, 0)),
        (3, shares(0, 1), (1, 3, 3)),
        (3, shares(5, 0), (0, 0, 0)),
        (10, shares(5, 0, floor=7), (0, 7, 7)),
        (1, shares(1, 1, floor=1), (1, 1, 1)),
        (3, RolloutSpec(floor=Share(50, percent=True)), (1, 3, 2)),
    ],
)
def test_shares_are_rounded_as_kubernetes_does_and_the_floor_holds(
    minimum: int, rules: RolloutSpec, expected: tuple[int, int, int]
) -> None:
    limits = budget(a_pool(min=minimum, max=20, rollout=rules))

    assert (limits.surge, limits.least, limits.least_without_room) == expected


# How it begins

SPEC = a_pool(min=3, blueprint=a_blueprint(digest="d1"))


def test_a_changed_blueprint_begins_with_a_canary() -> None:
    assert begin(None, WORKED, SPEC, 7.0) == a_rollout(Stage.CANARY, started_at=7.0)


def test_a_change_of_anything_else_begins_nothing() -> None:
    assert begin(None, replace(WORKED, digest="d1"), SPEC, 7.0) is None


def test_a_blueprint_that_never_worked_is_not_rolled_from() -> None:
    assert begin(None, replace(WORKED, worked=False), SPEC, 7.0) is None
    assert begin(None, None, SPEC, 7.0) is None


@pytest.mark.parametrize("stage", Stage)
def test_a_second_change_goes_on_from_what_served_before_the_first(stage: Stage) -> None:
    first = replace(a_rollout(stage), digest="d5")
    second = begin(first, Served("d5", "r5", worked=True), SPEC, 9.0)

    assert second == a_rollout(Stage.CANARY, started_at=9.0)


def test_the_same_change_again_goes_on_as_it_was() -> None:
    first = a_rollout(Stage.PAUSED)

    assert begin(first, WORKED, SPEC, 9.0) is first


def test_a_change_back_needs_no_canary() -> None:
    back = begin(replace(a_rollout(), digest="d5", previous="d1"), None, SPEC, 9.0)

    assert back is not None
    assert (back.stage, back.digest, back.previous) == (Stage.ROLLING, "d1", "d1")


@pytest.mark.parametrize(
    "spec",
    [replace(SPEC, size=replace(SPEC.size, min=0)), replace(SPEC, rollout=RolloutSpec(canary=0))],
)
def test_without_a_canary_it_rolls_at_once(spec: PoolSpec) -> None:
    found = begin(None, WORKED, spec, 9.0)

    assert found is not None
    assert found.stage is Stage.ROLLING


def test_a_paused_one_is_tried_again_from_its_canary() -> None:
    assert retried(a_rollout(Stage.PAUSED), 5.0).stage is Stage.CANARY


# What it does

CANARY, ROLLING, PAUSED = (under_way(stage) for stage in Stage)
LOST = under_way(breaker=FAILING)


@pytest.mark.parametrize(
    ("snapshot", "expected"),
    [
        # Beside those that serve, one is made; then nothing more before it proved itself.
        (a_snapshot(outdated=3, rolling=CANARY), [("fill", 1, "new")]),
        (a_snapshot(outdated=3, coming=1, rolling=CANARY), []),
        (a_snapshot(outdated=3, ready=1, rolling=CANARY), []),
        # What claims take comes from the previous blueprint.
        (a_snapshot(outdated=2, ready=1, bound=1, rolling=CANARY), []),
        (a_snapshot(outdated=1, ready=1, bound=2, rolling=CANARY), [("fill", 1, "previous")]),
        (
            a_snapshot(outdated=1, bound=2, rolling=CANARY),
            [("fill", 1, "new"), ("fill", 2, "previous")],
        ),
        # Those who wait, too, and the canary is made for them when it may be all there is.
        (
            a_snapshot(waiting=2, bound=1, rolling=CANARY),
            [("fill", 1, "new"), ("create", 2, "previous"), ("fill", 3, "previous")],
        ),
        (
            a_snapshot(waiting=2, bound=9, rolling=CANARY),
            [("create", 1, "new")],
        ),
        (
            a_snapshot(outdated=1, ready=1, waiting=1, bound=3, rolling=CANARY),
            [("serve", 1), ("fill", 2, "previous")],
        ),
        # Without a free slot one has to go, unless the new blueprint fails.
        (a_snapshot(outdated=3, bound=7, rolling=CANARY), [("retire", 1, "outdated")]),
        (a_snapshot(outdated=3, bound=7, rolling=CANARY, breaker=FAILING), []),
        (a_snapshot(outdated=3, bound=6, leaving=1, rolling=CANARY), []),
        # Paused: as if there was no new one.
        (a_snapshot(outdated=3, rolling=PAUSED), []),
        (a_snapshot(outdated=1, rolling=PAUSED), [("fill", 2, "previous")]),
        (a_snapshot(outdated=2, ready=1, rolling=PAUSED), []),
        # Rolling: one for one, and what claims take comes from the new blueprint.
        (a_snapshot(outdated=3, ready=1, rolling=ROLLING), [("retire", 1, "outdated")]),
        (a_snapshot(outdated=2, ready=1, rolling=ROLLING), [("fill", 1, "new")]),
        (a_snapshot(outdated=1, ready=1, bound=1, rolling=ROLLING), [("fill", 2, "new")]),
        # Rolling, and it fails from now on: the previous one serves again, the new one is tried.
        (
            a_snapshot(outdated=1, ready=1, bound=1, rolling=ROLLING, breaker=FAILING),
            [("fill", 1, "new"), ("fill", 1, "previous")],
        ),
        # Nothing is left of the previous one, and it cannot be made: the new one serves at once.
        (a_snapshot(waiting=1, rolling=LOST), [("create", 1, "new"), ("fill", 3, "new")]),
        # It is not known any more how the previous one was made.
        (a_snapshot(outdated=3, rolling=under_way(known=False)), [("fill", 1, "new")]),
        # Frozen: nothing is made, replaced or removed.
        (a_snapshot(outdated=2, rolling=CANARY, frozen="frozen by ada"), []),
        (a_snapshot(outdated=2, ready=1, rolling=ROLLING, frozen="frozen by ada"), []),
        (a_snapshot(ready=4, outdated=1, refresh=True, frozen="frozen by ada"), []),
        # An emptied pool rolls nothing.
        (
            a_snapshot(outdated=2, ready=1, rolling=CANARY, draining=True),
            [("retire", 3, "drained")],
        ),
    ],
)  # fmt: skip
def test_what_is_made_and_what_goes(snapshot: Snapshot, expected: list[tuple[object, ...]]) -> None:
    assert told(plan(a_pool(min=3, max=10), snapshot, 60.0)) == expected


def test_a_larger_budget_replaces_several_at_a_time() -> None:
    spec = a_pool(min=10, max=40, rollout=shares(2, 3))

    result = plan(spec, a_snapshot(outdated=10, ready=1, rolling=ROLLING), 0.0)

    assert told(result) == [("retire", 3, "outdated"), ("fill", 2, "new")]


def test_a_floor_keeps_one_that_would_go_for_want_of_a_slot() -> None:
    full = a_snapshot(outdated=3, bound=7, rolling=CANARY)
    spec = a_pool(min=3, max=10, rollout=RolloutSpec(floor=Share(3)))

    assert told(plan(spec, full, 0.0)) == []
    assert plan(spec, full, 0.0).waits == "no slot is free for a new one"


def test_without_a_surge_one_is_missing_for_each_canary() -> None:
    spec = a_pool(min=3, max=10, rollout=replace(shares(1, 0), canary=2))

    first = plan(spec, a_snapshot(outdated=3, rolling=CANARY), 0.0)
    then = plan(spec, a_snapshot(outdated=2, leaving=1, rolling=CANARY), 0.0)
    second = plan(spec, a_snapshot(outdated=2, ready=1, rolling=CANARY), 0.0)

    assert told(first) == [("retire", 1, "outdated")]
    assert told(then) == [("fill", 1, "new")]
    assert told(second) == [("retire", 1, "outdated")]


# Windows


def test_outside_its_windows_a_rollout_waits_and_says_until_when() -> None:
    spec = a_pool(min=3, max=10, rollout=RolloutSpec(windows=(NIGHT,)))

    closed = plan(spec, a_snapshot(outdated=3, rolling=CANARY, wall=NOON), 100.0)
    open_ = plan(spec, a_snapshot(outdated=3, rolling=CANARY, wall=MIDNIGHT), 100.0)

    assert told(closed) == []
    assert (closed.waits, closed.opens_at) == ("its windows are closed", 100.0 + 10 * 3600)
    assert closed.wake_at == 100.0 + 10 * 3600
    assert told(open_) == [("fill", 1, "new")]
    assert open_.opens_at is None


def test_windows_hold_up_neither_a_refresh_nor_a_pool_with_nothing_left_to_serve() -> None:
    spec = a_pool(min=3, max=10, rollout=RolloutSpec(windows=(NIGHT,)))

    refreshed = plan(spec, a_snapshot(outdated=3, refresh=True, wall=NOON), 0.0)
    lost = plan(spec, a_snapshot(rolling=LOST, wall=NOON), 0.0)

    assert told(refreshed) == [("fill", 1, "new")]
    assert told(lost) == [("fill", 3, "new")]


# How it goes on


def step(snapshot: Snapshot, now: float = 10.0, spec: PoolSpec | None = None) -> tuple[str, str]:
    found = plan(spec or a_pool(min=3, max=10), snapshot, now).step
    return ("", "") if found is None else (found.event, found.reason)


def test_a_canary_that_proved_itself_lets_the_others_go() -> None:
    waiting = under_way(proves_at=30.0)
    unproven = plan(a_pool(), a_snapshot(outdated=3, ready=1, rolling=waiting), 10.0)
    assert (unproven.step, unproven.wake_at) == (None, 30.0)

    proven = a_snapshot(outdated=3, ready=1, rolling=under_way(proven=1))
    assert step(proven) == ("advanced", "1 of the new blueprint proved itself")


def test_it_is_over_when_all_that_is_wanted_is_up_to_date() -> None:
    assert step(a_snapshot(ready=3, rolling=ROLLING))[0] == "finished"
    assert (
        step(a_snapshot(ready=1, bound=2, rolling=under_way(Stage.ROLLING, in_use=2)))[0]
        == "finished"
    )
    for unfinished in (
        a_snapshot(ready=3, outdated=1, rolling=ROLLING),
        a_snapshot(ready=3, coming_outdated=1, rolling=ROLLING),
        a_snapshot(ready=2, rolling=ROLLING),
        a_snapshot(ready=3, rolling=CANARY),
    ):
        assert step(unfinished) == ("", "")


def test_without_progress_it_is_paused_and_says_what_went_wrong() -> None:
    failing = under_way(trouble="no such program", progress_at=100.0)

    assert step(a_snapshot(outdated=3, rolling=failing), 699.0) == ("", "")
    assert step(a_snapshot(outdated=3, rolling=failing), 700.0) == (
        "paused",
        "no canary proved itself within 10m (progressDeadline); the last error: no such program",
    )
    slow = replace(failing, rollout=a_rollout(Stage.ROLLING))
    assert step(a_snapshot(outdated=3, rolling=slow), 700.0)[1].startswith("it made no progress")


@pytest.mark.parametrize(
    "snapshot",
    [
        a_snapshot(outdated=3, rolling=CANARY, frozen="frozen"),
        a_snapshot(outdated=3, rolling=CANARY, paused=True),
        a_snapshot(outdated=3, rolling=CANARY, draining=True),
        a_snapshot(bound=10, rolling=ROLLING),
        a_snapshot(outdated=3, rolling=PAUSED),
    ],
)
def test_what_is_kept_from_going_on_is_not_paused_for_it(snapshot: Snapshot) -> None:
    assert step(snapshot, 10_000.0) == ("", "")


# What always holds

small = st.integers(0, 8)
share = st.builds(Share, small) | st.builds(Share, st.sampled_from([0, 25, 50, 100]), st.just(True))


@st.composite
def specs(draw: st.DrawFn) -> PoolSpec:
    minimum = draw(st.integers(0, 8))
    maximum = max(1, minimum + draw(small))
    unavailable, surge = draw(share), draw(share)
    floor = draw(st.none() | st.integers(0, minimum).map(Share))
    least = 0 if floor is None else floor.number
    blocked = unavailable.number == 0 or least >= minimum
    assume(not (minimum and blocked and (surge.number == 0 or maximum <= minimum)))
    rules = RolloutSpec(unavailable, surge, floor, canary=draw(st.integers(0, 3)))
    return a_pool(min=minimum, max=maximum, rollout=rules)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    breakers = st.sampled_from([Breaker(), Breaker(1), FAILING])
    underway = under_way(
        draw(st.sampled_from(Stage)),
        known=draw(st.booleans()),
        breaker=draw(breakers),
        proven=draw(small),
        in_use=draw(small),
    )
    return a_snapshot(
        ready=draw(small),
        outdated=draw(small),
        coming=draw(small),
        coming_outdated=draw(small),
        bound=draw(small),
        leaving=draw(small),
        resetting=draw(st.integers(0, 2)),
        waiting=draw(small),
        breaker=draw(breakers),
        rolling=draw(st.none() | st.just(underway)),
        refresh=draw(st.booleans()),
        frozen=draw(st.sampled_from(["", "", "frozen"])),
    )


@given(specs(), snapshots(), st.sampled_from([0.0, 60.0]))
def test_no_plan_leaves_fewer_ready_than_the_budget_or_makes_more(
    spec: PoolSpec, snapshot: Snapshot, now: float
) -> None:
    result = plan(spec, snapshot, now)
    limits, target = budget(spec), spec.size.min
    served = sum(one.count for one in result.commands if isinstance(one, Serve))
    retired = [one for one in result.commands if isinstance(one, Retire)]
    made = sum(one.count for one in result.commands if isinstance(one, Create | Fill))
    ready = snapshot.current + snapshot.outdated - served
    in_all = ready + snapshot.coming + snapshot.coming_outdated + snapshot.resetting

    if retired:
        assert ready - len(retired) >= min(limits.least, limits.least_without_room, target)
    assert made <= max(0, spec.size.max - snapshot.occupied)
    if made:
        assert in_all + made <= target + snapshot.waiting - served + limits.surge
    if snapshot.frozen:
        assert not any(one.cause == "outdated" for one in retired)


@dataclass
class Toy:
    """A pool whose creations take one step, for a whole rollout in a few."""

    spec: PoolSpec
    current: int = 0
    outdated: int = 0
    coming: int = 0
    coming_outdated: int = 0
    bound: int = 0
    rolling: Rollout | None = None
    works: bool = True
    failures: int = 0

    def look(self) -> Snapshot:
        breaker = Breaker(self.failures, "it fails", 1.0 if self.failures >= THRESHOLD else 0.0)
        rolling = self.rolling
        under = None
        if rolling is not None:
            under = replace(under_way(rolling.stage, proven=self.current), rollout=rolling)
        return a_snapshot(
            ready=self.current,
            outdated=self.outdated,
            coming=self.coming,
            coming_outdated=self.coming_outdated,
            bound=self.bound,
            breaker=breaker,
            rolling=under,
        )

    def go_on(self) -> bool:
        """One pass, and what it began comes to its end; False when there was nothing to do."""
        result = plan(self.spec, self.look(), 0.0)
        least = min(budget(self.spec).least_without_room, budget(self.spec).least)
        before = self.current + self.outdated
        for command in result.commands:
            match command:
                case Retire():
                    if command.resource.startswith("old"):
                        self.outdated -= 1
                    else:
                        self.current -= 1
                case Create() | Fill():
                    self._make(command.count, previous=command.previous)
                case Serve():
                    raise AssertionError("nobody waits")
        after = self.current + self.outdated
        assert after >= before or after >= least
        if result.step is not None:
            self.rolling = result.step.rollout
        return bool(result.commands or result.step)

    def _make(self, count: int, *, previous: bool) -> None:
        if previous:
            self.outdated += count
        elif self.works:
            self.current += count
        else:
            self.failures += count


@given(specs(), st.integers(0, 8), st.integers(0, 4))
def test_a_rollout_of_what_works_comes_to_its_end(
    spec: PoolSpec, outdated: int, bound: int
) -> None:
    assume(outdated + bound <= spec.size.max)
    rules, free = spec.rollout, spec.size.max - spec.size.min - bound
    fewer = rules.max_unavailable.number and (
        rules.floor is None or rules.floor.number < spec.size.min
    )
    assume(free >= 0 and (fewer or (free and rules.max_surge.number)))
    toy = Toy(spec, outdated=outdated, bound=bound)
    toy.rolling = begin(None, WORKED, spec, 0.0)

    for _ in range(200):
        if not toy.go_on():
            break

    assert (toy.outdated, toy.current) == (0, spec.size.min)
    assert toy.rolling is None


@given(specs(), st.integers(1, 8))
def test_a_rollout_of_what_does_not_work_costs_no_more_than_its_canaries(
    spec: PoolSpec, outdated: int
) -> None:
    assume(canaries(spec) and outdated <= spec.size.max)
    toy = Toy(spec, outdated=outdated, works=False)
    toy.rolling = begin(None, WORKED, spec, 0.0)

    for _ in range(50):
        toy.go_on()
        toy.failures = min(toy.failures, THRESHOLD)

    assert toy.current == 0
    assert toy.outdated == spec.size.min
