"""Whether a pool lets claims in and may change, and what those are told whom it does not serve."""

from hypothesis import given
from hypothesis import strategies as st

from stoker.pools.gates import Gate, InForce
from stoker.pools.requests import Code
from stoker.pools.switches import HOST, Operator, Switch, SwitchKind

ADA = Operator(1000, "ada")


def a_switch(
    kind: SwitchKind, subject: str = "web", reason: str = "", until: float | None = None
) -> Switch:
    return Switch(kind, subject, ADA, reason, 0.0, until)


PAUSE, DRAIN = a_switch(SwitchKind.PAUSE), a_switch(SwitchKind.DRAIN)
HOST_DRAIN = a_switch(SwitchKind.DRAIN, HOST, "the image is compromised")
FREEZE = a_switch(SwitchKind.FREEZE, HOST, "an incident", 100.0)


def a_gate(in_force: InForce, *, declared: bool = True, paused_at: str = "") -> Gate:
    gate = Gate("web")
    gate.declare(declared=declared, paused_at=paused_at)
    gate.set(in_force)
    return gate


def told(gate: Gate) -> str:
    return gate.refusal(40.0, lambda steady: steady + 1_700_000_000.0).message


def test_a_claim_at_a_shut_pool_is_told_by_whom_why_and_until_when() -> None:
    gate = a_gate(InForce(a_switch(SwitchKind.PAUSE, "web", "new disk", 100.0)))

    refusal = gate.refusal(40.0, lambda steady: steady + 1_700_000_000.0)

    assert refusal.code is Code.PAUSED
    assert refusal.message == (
        "the pool web is paused by ada until 2023-11-14T22:15:00.000Z: new disk"
    )
    assert refusal.retry_after == 60.0
    assert refusal.details["by"] == {"uid": 1000, "user": "ada"}


def test_a_pool_that_is_no_longer_declared_drains_whatever_operators_say() -> None:
    gate = a_gate(InForce(PAUSE), declared=False)

    assert (gate.shut, gate.draining, gate.paused) == (True, True, False)
    assert gate.refusal(0.0, float).code is Code.DRAINING
    gate.declare(declared=True)
    assert (gate.shut, gate.draining, gate.paused) == (True, False, True)


def test_a_declared_pause_says_where_it_is_declared_and_an_operators_word_goes_before_it() -> None:
    gate = a_gate(InForce(), paused_at="web.yaml:12:3")

    assert (gate.shut, gate.paused) == (True, True)
    assert told(gate) == "the pool web is paused in the configuration (web.yaml:12:3)"
    gate.set(InForce(DRAIN))
    assert (gate.draining, gate.paused) == (True, False)
    assert told(gate) == "the pool web is drained by ada"


def test_a_drain_of_the_host_shuts_every_pool_whatever_is_set_on_it() -> None:
    for shut in (None, PAUSE, DRAIN):
        gate = a_gate(InForce(shut, host_drain=HOST_DRAIN), paused_at="web.yaml:1:1")

        assert (gate.draining, gate.paused) == (True, False)
        assert told(gate) == "the whole host is drained by ada: the image is compromised"
        assert gate.emptied_because == told(gate)


def test_a_frozen_pool_is_open_and_says_why_nothing_is_made() -> None:
    gate = a_gate(InForce(freeze=FREEZE))

    assert (gate.shut, gate.frozen) == (False, "the host is frozen by ada: an incident")
    assert gate.frozen_because(lambda steady: steady + 1_700_000_000.0) == (
        "nothing is made while the host is frozen by ada until 2023-11-14T22:15:00.000Z: an incident"
    )


def test_a_freeze_by_a_file_names_the_file() -> None:
    gate = a_gate(InForce(freeze=a_switch(SwitchKind.FREEZE, "/etc/stoker/freeze", "no changes")))

    assert "by the file /etc/stoker/freeze: no changes" in gate.frozen_because(float)


def test_what_an_operator_drains_empties_itself_in_a_freeze_and_an_undeclared_pool_does_not() -> (
    None
):
    assert not a_gate(InForce(DRAIN, freeze=FREEZE)).frozen
    assert not a_gate(InForce(host_drain=HOST_DRAIN, freeze=FREEZE)).frozen
    assert a_gate(InForce(freeze=FREEZE), declared=False).frozen
    assert a_gate(InForce(PAUSE, freeze=FREEZE)).frozen


in_forces = st.builds(
    InForce,
    st.sampled_from([None, PAUSE, DRAIN]),
    st.none(),
    st.sampled_from([None, HOST_DRAIN]),
    st.sampled_from([None, FREEZE]),
)


@given(in_forces, st.booleans(), st.sampled_from(["", "web.yaml:1:1"]))
def test_a_pool_is_open_paused_or_draining_and_a_shut_one_says_why(
    in_force: InForce, declared: bool, paused_at: str
) -> None:
    gate = a_gate(in_force, declared=declared, paused_at=paused_at)

    assert gate.shut == (gate.paused or gate.draining)
    assert not (gate.paused and gate.draining)
    if gate.shut:
        expected = Code.PAUSED if gate.paused else Code.DRAINING
        assert gate.refusal(0.0, float).code is expected
