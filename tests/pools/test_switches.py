"""What one action changes about what is in force, as a pure decision."""

from hypothesis import given
from hypothesis import strategies as st

from stoker.pools.switches import (
    HOST,
    HostAction,
    Operator,
    Order,
    PoolAction,
    Switch,
    SwitchKind,
    change,
    ended_by_itself,
)

ADA = Operator(1000, "ada")


def an_order(reason: str = "", until: float | None = None) -> Order:
    return Order(ADA, reason, until)


def in_force(*actions: tuple[PoolAction, Order]) -> dict[SwitchKind, Switch]:
    """What is in force after these actions, one a second."""
    known: dict[SwitchKind, Switch] = {}
    for now, (action, order) in enumerate(actions):
        changed = change(action, "web", order, known.values(), float(now))
        for switch in changed.drop:
            del known[switch.kind]
        if changed.put is not None:
            known[changed.put.kind] = changed.put
    return known


def test_of_pause_and_drain_the_last_one_holds() -> None:
    paused = (PoolAction.PAUSE, an_order())
    drained = (PoolAction.DRAIN, an_order())

    assert set(in_force(paused, drained)) == {SwitchKind.DRAIN}
    assert set(in_force(drained, paused)) == {SwitchKind.PAUSE}


def test_resume_ends_a_pause_or_a_drain_and_leaves_a_refresh() -> None:
    refresh, resume = (PoolAction.REFRESH, an_order()), (PoolAction.RESUME, an_order())

    for shut in (PoolAction.PAUSE, PoolAction.DRAIN):
        assert set(in_force(refresh, (shut, an_order()), resume)) == {SwitchKind.REFRESH}


def test_a_repeated_action_says_its_reason_and_end_anew_and_keeps_its_beginning() -> None:
    first, again = (PoolAction.PAUSE, an_order("a", 9.0)), (PoolAction.PAUSE, an_order("b"))

    assert in_force(first, again)[SwitchKind.PAUSE] == Switch(
        SwitchKind.PAUSE, "web", ADA, "b", 0.0, None
    )


def test_a_second_refresh_begins_anew() -> None:
    twice = [(PoolAction.REFRESH, an_order())] * 2

    assert in_force(*twice)[SwitchKind.REFRESH].since == 1.0


actions = st.tuples(
    st.sampled_from(PoolAction),
    st.builds(an_order, st.sampled_from(["", "a"]), st.none() | st.floats(10.0, 20.0)),
)


@given(st.lists(actions, max_size=6), actions)
def test_an_action_that_says_nothing_new_changes_nothing(
    before: list[tuple[PoolAction, Order]], last: tuple[PoolAction, Order]
) -> None:
    known = in_force(*before, last)
    changed = change(last[0], "web", last[1], known.values(), 99.0)

    assert changed.nothing or last[0] is PoolAction.REFRESH
    assert len(set(known) & {SwitchKind.PAUSE, SwitchKind.DRAIN}) <= 1


def test_the_host_is_thawed_and_resumed_each_by_its_own_action() -> None:
    freeze, drain = (
        Switch(kind, HOST, ADA, "", 0.0) for kind in (SwitchKind.FREEZE, SwitchKind.DRAIN)
    )

    assert change(HostAction.THAW, HOST, an_order(), [freeze, drain], 1.0).drop == (freeze,)
    assert change(HostAction.RESUME, HOST, an_order(), [freeze, drain], 1.0).drop == (drain,)
    assert change(HostAction.DRAIN, HOST, an_order(), [freeze], 1.0).drop == ()
    assert change(HostAction.FREEZE, HOST, an_order(), [drain], 1.0).drop == ()
    assert change(HostAction.FREEZE, HOST, an_order(), [freeze], 1.0).nothing


def test_a_switch_that_comes_to_its_date_says_so_with_the_event_of_its_subject() -> None:
    assert ended_by_itself(SwitchKind.FREEZE, HOST) == "host.thawed"
    assert ended_by_itself(SwitchKind.DRAIN, HOST) == "host.resumed"
    assert ended_by_itself(SwitchKind.DRAIN, "web") == "pool.resumed"
    assert ended_by_itself(SwitchKind.REFRESH, "web") == "pool.renewed"
