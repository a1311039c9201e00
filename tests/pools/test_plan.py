"""What is done about a pool in each situation."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from stoker.config.revision import Lifetime
from stoker.pools.breaker import Breaker
from stoker.pools.ids import ResourceId
from stoker.pools.plan import Command, Create, Fill, Retire, Serve, plan
from tests.builders import a_member, a_pool, a_snapshot


def counts(commands: Iterable[Command]) -> dict[str, int]:
    """Commands by kind, with how many resources they are about."""
    found: dict[str, int] = {}
    for command in commands:
        number = 1 if isinstance(command, Retire) else command.count
        name = type(command).__name__
        found[name] = found.get(name, 0) + number
    return found


def test_an_empty_pool_is_filled_to_its_minimum() -> None:
    result = plan(a_pool(min=3, max=10), a_snapshot(), 0.0)

    assert counts(result.commands) == {"Fill": 3}


def test_a_full_pool_is_left_alone() -> None:
    result = plan(a_pool(min=3, max=10), a_snapshot(ready=3, bound=4), 0.0)

    assert result.commands == ()


def test_what_is_on_the_way_counts_as_there() -> None:
    result = plan(a_pool(min=3, max=10), a_snapshot(ready=1, coming=1), 0.0)

    assert counts(result.commands) == {"Fill": 1}


def test_the_maximum_counts_everything_that_takes_a_slot() -> None:
    result = plan(a_pool(min=5, max=6), a_snapshot(ready=1, bound=3, leaving=1), 0.0)

    assert counts(result.commands) == {"Fill": 1}


def test_a_waiting_claim_is_served_before_anything_is_made() -> None:
    result = plan(a_pool(min=1, max=10), a_snapshot(ready=1, waiting=1), 0.0)

    assert counts(result.commands) == {"Serve": 1, "Fill": 1}


def test_a_waiting_claim_gets_a_creation_in_its_own_lane() -> None:
    result = plan(a_pool(min=2, max=10), a_snapshot(waiting=2), 0.0)

    assert counts(result.commands) == {"Create": 2, "Fill": 2}


def test_a_waiting_claim_is_not_given_a_second_creation() -> None:
    result = plan(a_pool(min=0, max=10), a_snapshot(waiting=2, coming=2), 0.0)

    assert result.commands == ()


def test_a_waiting_claim_at_the_maximum_gets_nothing_yet() -> None:
    result = plan(a_pool(min=1, max=3), a_snapshot(bound=3, waiting=1), 0.0)

    assert result.commands == ()


def test_surplus_is_retired_oldest_first() -> None:
    result = plan(a_pool(min=1, max=10), a_snapshot(ready=3), 0.0)

    assert [c.resource for c in result.commands if isinstance(c, Retire)] == ["web-0", "web-1"]


def test_a_drifted_one_is_retired_and_replaced() -> None:
    drifted = (a_member("web-9", problem="the process ended"),)
    result = plan(a_pool(min=2, max=10), a_snapshot(ready=1, drifted=drifted), 0.0)

    assert result.commands[0] == Retire(ResourceId("web-9"), "drifted", "the process ended")
    assert counts(result.commands) == {"Retire": 1, "Fill": 1}


def test_outdated_ones_stay_until_new_ones_stand_in_their_place() -> None:
    spec = a_pool(min=3, max=10)

    before = plan(spec, a_snapshot(outdated=3), 0.0)
    meanwhile = plan(spec, a_snapshot(outdated=3, coming=1), 0.0)
    halfway = plan(spec, a_snapshot(ready=1, outdated=3), 0.0)

    assert counts(before.commands) == {"Fill": 1}
    assert counts(meanwhile.commands) == {}
    assert counts(halfway.commands) == {"Retire": 1}


def test_one_outdated_goes_first_when_no_slot_is_free() -> None:
    spec = a_pool(min=3, max=3)

    first = plan(spec, a_snapshot(outdated=3), 0.0)
    then = plan(spec, a_snapshot(outdated=2, leaving=1), 0.0)

    assert counts(first.commands) == {"Retire": 1}
    assert then.commands == ()


def test_an_old_one_is_retired_and_the_next_age_sets_the_alarm() -> None:
    spec = a_pool(min=1, max=10, lifetime=Lifetime(max_age=100.0))

    too_old = plan(spec, a_snapshot(ready=1, ready_at=0.0), 100.0)
    young = plan(spec, a_snapshot(ready=1, ready_at=50.0), 100.0)

    assert counts(too_old.commands) == {"Retire": 1, "Fill": 1}
    assert young.commands == ()
    assert young.wake_at == 140.0


def test_a_pool_that_is_no_longer_declared_is_emptied_and_makes_nothing() -> None:
    result = plan(a_pool(min=3, max=10), a_snapshot(ready=2, outdated=1, draining=True), 0.0)

    assert counts(result.commands) == {"Retire": 3}


def test_an_open_breaker_stops_creation_and_sets_the_alarm() -> None:
    breaker = Breaker(failures=3, last_error="no such program", until=50.0)
    result = plan(a_pool(min=3), a_snapshot(waiting=1, breaker=breaker), 40.0)

    assert result.commands == ()
    assert result.wake_at == 50.0


def test_a_half_open_breaker_lets_one_creation_probe() -> None:
    breaker = Breaker(failures=3, last_error="no such program", until=50.0)
    spec = a_pool(min=3)

    first = plan(spec, a_snapshot(breaker=breaker), 60.0)
    second = plan(spec, a_snapshot(breaker=breaker, coming=1), 60.0)

    assert counts(first.commands) == {"Fill": 1}
    assert second.commands == ()


def test_a_paused_pool_rolls_serves_and_makes_nothing_but_what_is_broken_or_too_old_goes() -> None:
    spec = a_pool(min=3, max=10, lifetime=Lifetime(max_age=100.0))
    broken = a_snapshot(
        ready=1, outdated=2, waiting=5, drifted=(a_member("web-9", problem="gone"),), paused=True
    )

    assert [c.cause for c in plan(spec, broken, 10.0).commands if isinstance(c, Retire)] == [
        "drifted"
    ]
    assert counts(plan(spec, broken, 10.0).commands) == {"Retire": 1}
    assert counts(plan(spec, broken, 200.0).commands) == {"Retire": 4}


def test_a_frozen_pool_serves_those_who_wait_and_does_nothing_else() -> None:
    spec = a_pool(min=3, max=10, lifetime=Lifetime(max_age=100.0))
    ill = a_snapshot(
        ready=1,
        outdated=2,
        waiting=5,
        drifted=(a_member("web-9", problem="gone"),),
        frozen="the host is frozen by ada",
    )

    for now in (10.0, 95.0, 200.0):
        found = plan(spec, ill, now)
        assert [Serve(3, "5 waiting, 3 ready")] == list(found.commands)
        assert found.wake_at is None
    for surplus in (
        a_snapshot(ready=9, frozen="the host is frozen by ada"),
        a_snapshot(ready=9, frozen="the host is frozen by ada", draining=True),
    ):
        assert plan(spec, surplus, 0.0).commands == ()
    assert (
        plan(
            spec,
            a_snapshot(ready=9, waiting=1, frozen="the host is frozen by ada", paused=True),
            0.0,
        ).commands
        == ()
    )


def test_a_full_pool_that_is_refreshed_lets_one_go_and_says_why() -> None:
    full = a_snapshot(outdated=3, refresh=True)
    (rolled,) = plan(a_pool(min=3, max=3), full, 0.0).commands

    assert rolled.reason == "the pool was refreshed: 3 ready, of which 2 have to stay"


small = st.integers(0, 12)


@given(
    minimum=small,
    extra=small,
    ready=small,
    outdated=small,
    coming=small,
    bound=small,
    leaving=small,
    waiting=small,
    draining=st.booleans(),
    paused=st.booleans(),
    frozen=st.booleans(),
)
def test_a_plan_never_makes_more_than_there_is_room_for(
    *,
    minimum: int,
    extra: int,
    ready: int,
    outdated: int,
    coming: int,
    bound: int,
    leaving: int,
    waiting: int,
    draining: bool,
    paused: bool,
    frozen: bool,
) -> None:
    spec = a_pool(min=minimum, max=minimum + extra + 1)
    snapshot = a_snapshot(
        ready=ready,
        outdated=outdated,
        coming=coming,
        bound=bound,
        leaving=leaving,
        waiting=waiting,
        draining=draining,
        paused=paused,
        frozen="frozen by ada" if frozen else "",
    )

    commands = plan(spec, snapshot, 0.0).commands
    made = sum(c.count for c in commands if isinstance(c, Create | Fill))
    served = sum(c.count for c in commands if isinstance(c, Serve))
    retired = [c.resource for c in commands if isinstance(c, Retire)]

    assert made <= max(0, spec.size.max - snapshot.occupied)
    assert served == (0 if paused else min(waiting, ready + outdated))
    assert not (paused and commands)
    assert not (frozen and (made or retired))
    assert len(retired) == len(set(retired))
    assert all(command.reason for command in commands)


@given(small, small, small)
def test_following_the_plan_reaches_the_minimum_and_then_rests(
    minimum: int, ready: int, outdated: int
) -> None:
    spec = a_pool(min=minimum, max=minimum + 3)
    for _ in range(60):
        commands = plan(spec, a_snapshot(ready=ready, outdated=outdated), 0.0).commands
        if not commands:
            break
        for command in commands:
            match command:
                case Retire():
                    if command.resource.startswith("old"):
                        outdated -= 1
                    else:
                        ready -= 1
                case Create() | Fill():
                    ready += command.count
                case Serve():
                    raise AssertionError("nobody waits, so nobody can be served")

    assert (ready, outdated) == (minimum, 0)


def test_one_that_is_being_reset_counts_as_one_on_the_way() -> None:
    made = plan(a_pool(min=3), a_snapshot(ready=1, resetting=1), 0.0)

    assert [Fill(1, "1 ready, 0 on the way, 1 being reset, 3 wanted")] == list(made.commands)


def test_nothing_is_made_for_one_that_waits_for_a_reset() -> None:
    made = plan(a_pool(min=1, max=3), a_snapshot(resetting=2, waiting=1), 0.0)

    assert () == made.commands


def test_one_that_is_being_reset_takes_its_slot() -> None:
    made = plan(a_pool(min=3, max=3), a_snapshot(ready=1, resetting=2, waiting=2), 0.0)

    assert [Serve(1, "2 waiting, 1 ready")] == list(made.commands)


def test_a_roll_waits_for_one_that_is_being_reset() -> None:
    made = plan(a_pool(min=2, max=2), a_snapshot(outdated=1, resetting=1), 0.0)

    assert () == made.commands
