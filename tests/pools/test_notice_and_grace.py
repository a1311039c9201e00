"""An expiry is announced once, and work in flight has its grace and no more."""

import pytest

from stoker.config.revision import Courtesy, Lifetime
from stoker.pools.claim import Claim, ClaimState, EndedBecause
from stoker.pools.requests import Code, Refusal
from stoker.pools.store import Event
from tests.pools.faults import Ledger
from tests.rig import Host, Run, a_box_pool

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("on_the_rig")]


def state_of(claim: Claim) -> ClaimState:
    """Its state now: what a type checker knows of an attribute does not hold over an await."""
    return claim.state


def because(claim: Claim) -> EndedBecause | None:
    return claim.ended_because


async def events_of(run: Run, claim: Claim) -> list[Event]:
    events = await run.store.events(after=0, limit=1000, claim=claim.id, kind="claim.")
    return list(events)


async def kinds_of(run: Run, claim: Claim) -> list[str]:
    return [event.kind.removeprefix("claim.") for event in await events_of(run, claim)]


async def a_run(
    host: Host, *, notice: float | None = None, grace: float = 0.0, ttl: float = 60.0
) -> Run:
    lifetime = Lifetime(ttl=ttl, max_ttl=200.0, courtesy=Courtesy(notice, grace))
    run = await host.start(a_box_pool(min=1, lifetime=lifetime))
    await run.until_ready(1)
    return run


async def test_an_expiry_is_announced_before_it_comes() -> None:
    run = await a_run(Host(), notice=10.0)
    claim = await run.claim()
    await run.settle(49.9)
    assert ["bound"] == await kinds_of(run, claim)
    await run.settle(0.2)
    announced = (await events_of(run, claim))[-1]
    assert "claim.expiring" == announced.kind
    assert "it expires in 10s unless it is renewed" == announced.reason
    assert True is announced.data["renewable"]
    await run.settle(9.9)
    assert EndedBecause.EXPIRED == because(claim)
    assert ["bound", "expiring", "expired"] == (await kinds_of(run, claim))[:3]
    await run.stop()


async def test_a_renewal_puts_the_announcement_off_and_makes_a_new_one() -> None:
    run = await a_run(Host(), notice=10.0)
    claim = await run.claim()
    await run.settle(45)
    await run.fleet.renew(claim.id, None, request_id="r")
    await run.settle(45)
    assert ["bound", "renewed"] == await kinds_of(run, claim)
    await run.settle(10)
    await run.fleet.renew(claim.id, None, request_id="r")
    await run.settle(55)
    assert ["bound", "renewed", "expiring", "renewed", "expiring"] == await kinds_of(run, claim)
    await run.stop()


async def test_an_announcement_says_when_no_renewal_can_help() -> None:
    run = await a_run(Host(), notice=10.0)
    claim = await run.claim()
    for _ in range(3):
        await run.settle(48)
        await run.fleet.renew(claim.id, None, request_id="r")
    assert "expiring" not in await kinds_of(run, claim)
    await run.settle(47)
    announced = [event for event in await events_of(run, claim) if event.kind == "claim.expiring"]
    assert [False] == [event.data["renewable"] for event in announced]
    assert "it has lasted as long as it may" in announced[0].reason
    await run.stop()


async def test_one_deadline_is_announced_once_over_restarts() -> None:
    host = Host()
    run = await a_run(host, notice=30.0)
    told = await run.claim()
    await run.settle(31)
    for _ in range(3):
        await run.crash()
        run = await a_run(host, notice=30.0)
        await run.settle(1)
    assert ["bound", "expiring"] == await kinds_of(run, told)
    await run.fleet.renew(told.id, None, request_id="r")
    await run.crash()
    run = await a_run(host, notice=30.0)
    await run.settle(40)
    assert ["bound", "expiring", "renewed", "expiring"] == await kinds_of(run, told)
    await run.stop()


async def test_an_announcement_that_was_due_while_the_daemon_was_down_is_made_at_its_start() -> (
    None
):
    host = Host()
    run = await a_run(host, notice=30.0)
    told = await run.claim()
    await run.crash()
    await run.settle(40)
    run = await a_run(host, notice=30.0)
    await run.settle(0.1)
    assert ["bound", "expiring"] == await kinds_of(run, told)
    await run.stop()


async def test_an_announcement_that_the_ledger_refuses_is_made_later() -> None:
    run = await a_run(Host(), notice=30.0)
    claim = await run.claim()
    await run.settle(25)
    ledger = Ledger(run)
    ledger.down = True
    await run.settle(12)
    assert ["bound"] == await kinds_of(run, claim)
    ledger.down = False
    await run.settle(5)
    assert ["bound", "expiring"] == await kinds_of(run, claim)
    assert [] == run.breaches()
    await run.stop()


async def test_an_announcement_under_way_does_not_undo_a_renewal() -> None:
    host = Host()
    run = await a_run(host, notice=30.0)
    claim = await run.claim()
    Ledger(run).takes = 1.0
    await run.settle(30.5)
    renewed = await run.fleet.renew(claim.id, None, request_id="r")
    expiry = renewed.expires_at
    await run.crash()
    run = await a_run(host, notice=30.0)
    assert expiry == (await run.fleet.find_claim(claim.id)).expires_at
    await run.stop()


async def test_a_pool_without_courtesies_announces_nothing() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=1, lifetime=Lifetime(ttl=20.0)))
    claim = await run.claim()
    await run.settle(21)
    assert None is claim.terms
    assert ["bound", "expired"] == (await kinds_of(run, claim))[:2]
    await run.stop()


# Grace


async def test_an_expired_claim_keeps_its_resource_for_its_grace_and_no_longer() -> None:
    run = await a_run(Host(), grace=15.0)
    claim = await run.claim()
    await run.settle(60.1)
    assert ClaimState.BOUND == state_of(claim)
    lapsed = (await events_of(run, claim))[-1]
    assert "claim.lapsed" == lapsed.kind
    assert "15s" in lapsed.reason
    assert {"expiresAt", "graceUntil", "revision"} == {*lapsed.data}
    await run.settle(14.8)
    assert ClaimState.BOUND == state_of(claim)
    await run.settle(0.2)
    assert EndedBecause.EXPIRED == because(claim)
    assert ["bound", "lapsed", "expired"] == (await kinds_of(run, claim))[:3]
    await run.stop()


async def test_a_claim_in_its_grace_is_not_renewed() -> None:
    run = await a_run(Host(), grace=15.0)
    claim = await run.claim()
    await run.settle(61)
    with pytest.raises(Refusal, match="its grace is no time for renewals") as refused:
        await run.fleet.renew(claim.id, None, request_id="r")
    assert Code.CLAIM_OVER is refused.value.code
    await run.settle(14.5)
    assert EndedBecause.EXPIRED == because(claim)
    await run.stop()


async def test_a_release_in_the_grace_ends_it_at_once() -> None:
    run = await a_run(Host(), grace=15.0)
    claim = await run.claim()
    await run.settle(61)
    await run.fleet.release(claim.id, request_id="r")
    assert EndedBecause.RELEASED == because(claim)
    assert ClaimState.BOUND != state_of(claim)
    await run.stop()


async def test_a_grace_goes_on_over_a_restart_and_is_announced_once() -> None:
    host = Host()
    run = await a_run(host, grace=15.0)
    told = await run.claim()
    await run.settle(61)
    await run.crash()
    await run.settle(5)
    run = await a_run(host, grace=15.0)
    claim = await run.fleet.find_claim(told.id)
    assert ClaimState.BOUND == state_of(claim)
    assert told.expires_at is not None
    await run.settle(told.expires_at + 14.9 - host.clock.now())
    assert ClaimState.BOUND == state_of(claim)
    await run.settle(0.2)
    assert EndedBecause.EXPIRED == because(claim)
    assert ["bound", "lapsed", "expired"] == (await kinds_of(run, told))[:3]
    await run.stop()


async def test_a_grace_that_ended_while_the_daemon_was_down_is_over_at_its_start() -> None:
    host = Host()
    run = await a_run(host, notice=10.0, grace=15.0)
    told = await run.claim()
    await run.crash()
    await run.settle(100)
    run = await a_run(host, notice=10.0, grace=15.0)
    claim = await run.fleet.find_claim(told.id)
    assert EndedBecause.EXPIRED == because(claim)
    assert ["bound", "expired"] == (await kinds_of(run, told))[:2]
    await run.stop()


async def test_a_ledger_that_refuses_makes_no_grace_longer() -> None:
    run = await a_run(Host(), grace=15.0)
    claim = await run.claim()
    await run.settle(59)
    ledger = Ledger(run)
    ledger.down = True
    await run.settle(15.9)
    assert ClaimState.BOUND == state_of(claim)
    await run.settle(0.2)
    assert ClaimState.ENDING == state_of(claim)
    await run.stop(grace=0.1)


async def test_a_change_of_the_pool_leaves_the_terms_of_claims_as_they_were() -> None:
    host = Host()
    run = await a_run(host, grace=15.0)
    told = await run.claim()
    await run.crash()
    run = await host.start(a_box_pool(min=1))
    await run.settle(65)
    claim = await run.fleet.find_claim(told.id)
    assert ClaimState.BOUND == state_of(claim)
    await run.settle(15)
    assert EndedBecause.EXPIRED == because(claim)
    await run.stop()


# Renewal


@pytest.mark.parametrize("restart", [False, True])
async def test_a_renewal_applies_the_width_anew_and_stops_at_the_longest(restart: bool) -> None:
    host = Host()
    run = await a_run(host, notice=10.0)
    told = await run.claim()
    assert told.bound_at is not None
    for number in range(1, 5):
        await run.settle(48)
        if restart:
            await run.crash()
            run = await a_run(host, notice=10.0)
        claim = await run.fleet.find_claim(told.id)
        now = host.clock.now()
        await run.fleet.renew(told.id, None, request_id="r")
        await run.fleet.renew(told.id, None, request_id="r")
        longest = told.bound_at + 200.0
        assert claim.expires_at == pytest.approx(min(now + 60.0, longest), abs=0.1), number
    await run.stop()
