"""A claim that is bound to a process or a connection ends with it, also over restarts."""

import asyncio

import pytest

from stoker.config.revision import Lifetime
from stoker.pools.binding import Bind, Binding, Tie
from stoker.pools.claim import Claim, ClaimState, EndedBecause
from stoker.pools.requests import ClaimRequest, Code, Refusal
from stoker.pools.store import Event
from tests.fakes.processes import SimulatedLine
from tests.pools.faults import Ledger
from tests.rig import ME, Host, Run, a_box_pool, a_part, boxes

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("on_the_rig")]

AT_ONCE = 0.1
"""Seconds within which a claim ends with its process: the promise of the documentation."""


def state_of(claim: Claim) -> ClaimState:
    """Its state now: what a type checker knows of an attribute does not hold over an await."""
    return claim.state


def because(claim: Claim) -> EndedBecause | None:
    return claim.ended_because


async def what_ended(run: Run, claim: Claim) -> Event:
    events = await run.store.events(after=0, limit=1000, claim=claim.id, kind="claim.")
    return [event for event in events if event.kind == f"claim.{claim.ended_because}"][-1]


async def as_the_ledger_says(run: Run, claim: Claim) -> Claim:
    found = await run.fleet.find_claim(claim.id)
    assert found.id == claim.id
    return found


async def test_a_claim_ends_with_its_process_and_says_so() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=1))
    process = host.processes.start()
    claim = await run.claim_with(process)
    await run.settle(20)
    assert ClaimState.BOUND == state_of(claim)
    host.processes.end(process)
    await run.settle(AT_ONCE)
    assert EndedBecause.CLAIMANT_GONE == because(claim)
    event = await what_ended(run, claim)
    assert "claim.claimant-gone" == event.kind
    assert f"the process {process.pid} that claimed it has ended" == event.reason
    await run.settle(30)
    assert ClaimState.ENDED == state_of(claim)
    assert 1 == run.ready()
    assert [] == host.processes.held
    await run.stop()


async def test_ten_thousand_claims_of_one_process_need_one_watch() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=0))
    process = host.processes.start()
    thing = host.processes.open(process)
    hold = run.fleet.ties.hold(process, thing, "it ended")
    for number in range(10_000):
        run.fleet.ties.tie(f"c-{number}", process)  # type: ignore[arg-type]
    hold.release()
    assert [thing] == host.processes.held
    assert 1 == run.fleet.ties.processes
    for number in range(10_000):
        run.fleet.ties.untie(f"c-{number}")  # type: ignore[arg-type]
    assert [] == host.processes.held
    assert 0 == run.fleet.ties.processes
    await run.stop()


async def test_all_claims_of_a_process_end_with_it_and_no_other() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=4, max=6))
    one, other = host.processes.start(), host.processes.start()
    await run.until_ready(4)
    claims = [await run.claim_with(one) for _ in range(2)]
    kept = await run.claim_with(other)
    plain = await run.claim()
    assert 2 == len(host.processes.held)
    host.processes.end(one)
    await run.settle(AT_ONCE)
    assert [EndedBecause.CLAIMANT_GONE] * 2 == [claim.ended_because for claim in claims]
    assert [ClaimState.BOUND] * 2 == [kept.state, plain.state]
    await run.stop()


async def test_a_released_claim_lets_go_of_its_process() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=1))
    process = host.processes.start()
    claim = await run.claim_with(process)
    assert 1 == len(host.processes.held)
    await run.fleet.release(claim.id, request_id="r")
    await run.settle(5)
    assert [] == host.processes.held
    host.processes.end(process)
    await run.settle(1)
    assert EndedBecause.RELEASED == because(claim)
    await run.stop()


async def test_nothing_is_used_up_for_a_process_that_has_ended_while_it_was_looked_at() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=1))
    await run.until_ready(1)
    process = host.processes.start()
    hold = run.fleet.ties.hold(process, host.processes.open(process), "it ended")
    host.processes.end(process)
    await run.settle(0.01)
    tie = Tie(Binding(Bind.PROCESS, process), process)
    with pytest.raises(Refusal) as refused:
        await run.fleet.claim(ClaimRequest("web", ME, tie=tie))
    hold.release()
    assert Code.CANNOT_FOLLOW is refused.value.code
    assert 1 == run.ready()
    await run.stop()


@pytest.mark.parametrize("wait", [None, 30.0])
async def test_a_waiting_claim_is_given_up_with_its_process(wait: float | None) -> None:
    host = Host()
    run = await host.start(a_box_pool(min=0, max=1))
    holder = await run.claim()
    process = host.processes.start()
    asking = asyncio.ensure_future(run.claim_with(process, wait=wait))
    await run.settle(1)
    host.processes.end(process)
    await run.settle(AT_ONCE)
    if wait is None:
        claim = asking.result()
        assert (ClaimState.ENDED, EndedBecause.CLAIMANT_GONE) == (claim.state, claim.ended_because)
        assert "claim.claimant-gone" == (await what_ended(run, claim)).kind
    else:
        with pytest.raises(Refusal) as refused:
            await asking
        assert Code.CLAIM_OVER is refused.value.code
    await run.fleet.release(holder.id, request_id="r")
    await run.settle(30)
    assert [] == list(run.fleet.live_claims())
    assert [] == host.processes.held
    await run.stop()


async def test_a_claim_whose_process_ends_while_it_is_finished_is_ended_once_bound() -> None:
    host = Host()
    blueprint = boxes(finish=(a_part("page"), a_part("token", "token", {"kind": "random"})))
    run = await host.start(a_box_pool(min=1, blueprint=blueprint))
    await run.until_ready(1)
    host.world.faults.latency = (2.0, 2.0)
    process = host.processes.start()
    asking = asyncio.ensure_future(run.claim_with(process))
    await run.settle(1)
    host.processes.end(process)
    claim = await asking
    await run.settle(AT_ONCE)
    assert EndedBecause.CLAIMANT_GONE == because(claim)
    await run.stop()


# Restarts


async def test_a_restart_releases_nothing_and_follows_the_process_again() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=1))
    process = host.processes.start()
    told = await run.claim_with(process)
    await run.crash()
    run = await host.start(a_box_pool(min=1))
    claim = await as_the_ledger_says(run, told)
    await run.settle(5)
    assert ClaimState.BOUND == state_of(claim)
    host.processes.end(process)
    await run.settle(AT_ONCE)
    assert EndedBecause.CLAIMANT_GONE == because(claim)
    await run.stop()


@pytest.mark.parametrize("how", ["stop", "crash"])
async def test_a_process_that_ended_while_the_daemon_was_down_ends_its_claim_at_the_start(
    how: str,
) -> None:
    host = Host()
    run = await host.start(a_box_pool(min=1))
    process = host.processes.start()
    told = await run.claim_with(process)
    await (run.stop() if how == "stop" else run.crash())
    host.processes.end(process)
    run = await host.start(a_box_pool(min=1))
    claim = await as_the_ledger_says(run, told)
    assert EndedBecause.CLAIMANT_GONE == because(claim)
    await run.settle(30)
    assert ClaimState.ENDED is (await as_the_ledger_says(run, told)).state
    assert 1 == run.ready()
    await run.stop()


async def test_a_process_that_ends_while_the_daemon_stops_is_found_gone_at_the_next_start() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=1))
    process = host.processes.start()
    told = await run.claim_with(process)
    stopping = asyncio.ensure_future(run.stop())
    await asyncio.sleep(0)
    host.processes.end(process)
    await stopping
    assert ClaimState.BOUND == state_of(told)
    run = await host.start(a_box_pool(min=1))
    claim = await as_the_ledger_says(run, told)
    assert EndedBecause.CLAIMANT_GONE == because(claim)
    await run.stop()


@pytest.mark.parametrize("to", [Bind.PROCESS, Bind.CONNECTION])
async def test_after_a_reboot_no_process_lives_and_their_claims_end(to: Bind) -> None:
    host = Host()
    run = await host.start(a_box_pool(min=1))
    told = await run.claim_with(host.processes.start(), to=to, anchor="line", thing=SimulatedLine())
    await run.crash()
    host.processes.reboot()
    run = await host.start(a_box_pool(min=1))
    claim = await as_the_ledger_says(run, told)
    assert EndedBecause.CLAIMANT_GONE == because(claim)
    assert "the host was started anew" in (await what_ended(run, claim)).reason
    await run.stop()


async def test_a_waiting_claim_does_not_wait_on_when_its_process_ended_with_the_daemon_down() -> (
    None
):
    host = Host()
    run = await host.start(a_box_pool(min=0, max=1))
    await run.claim(ttl=600.0)
    process = host.processes.start()
    told = await run.claim_with(process, wait=None)
    assert ClaimState.PENDING == state_of(told)
    await run.crash()
    host.processes.end(process)
    run = await host.start(a_box_pool(min=0, max=1))
    await run.settle(1)
    claim = await as_the_ledger_says(run, told)
    assert (ClaimState.ENDED, EndedBecause.CLAIMANT_GONE) == (claim.state, claim.ended_because)
    await run.stop()


async def test_a_waiting_claim_is_still_followed_after_a_restart() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=0, max=1))
    await run.claim(ttl=600.0)
    process = host.processes.start()
    told = await run.claim_with(process, wait=None)
    await run.crash()
    run = await host.start(a_box_pool(min=0, max=1))
    await run.settle(1)
    assert ClaimState.PENDING is (await as_the_ledger_says(run, told)).state
    host.processes.end(process)
    await run.settle(AT_ONCE)
    assert EndedBecause.CLAIMANT_GONE is (await as_the_ledger_says(run, told)).ended_because
    await run.stop()


async def test_a_process_of_which_nothing_can_be_told_is_looked_for_until_something_can() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=1))
    process, other = host.processes.start(), host.processes.start()
    told, kept = await run.claim_with(process), await run.claim_with(other)
    await run.crash()
    host.processes.unclear = True
    run = await host.start(a_box_pool(min=1))
    await run.settle(5)
    assert ClaimState.BOUND is (await as_the_ledger_says(run, told)).state
    host.processes.end(process)
    await run.settle(5)
    assert ClaimState.BOUND is (await as_the_ledger_says(run, told)).state
    host.processes.unclear = False
    await run.settle(1.1)
    assert EndedBecause.CLAIMANT_GONE is (await as_the_ledger_says(run, told)).ended_because
    host.processes.end(other)
    await run.settle(AT_ONCE)
    assert EndedBecause.CLAIMANT_GONE is (await as_the_ledger_says(run, kept)).ended_because
    await run.stop()


# Connections


async def test_a_claim_ends_with_its_connection_although_its_process_lives() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=1))
    line = SimulatedLine()
    claim = await run.claim_with(
        host.processes.start(), to=Bind.CONNECTION, anchor=line, thing=line
    )
    await run.settle(5)
    assert ClaimState.BOUND == state_of(claim)
    line.break_off()
    await run.settle(AT_ONCE)
    assert EndedBecause.CLAIMANT_GONE == because(claim)
    await run.stop()


async def test_a_claim_whose_connection_ended_with_the_daemon_hangs_on_its_process() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=1))
    process, line = host.processes.start(), SimulatedLine()
    told = await run.claim_with(process, to=Bind.CONNECTION, anchor=line, thing=line)
    await run.crash()
    run = await host.start(a_box_pool(min=1))
    await run.settle(5)
    assert ClaimState.BOUND is (await as_the_ledger_says(run, told)).state
    host.processes.end(process)
    await run.settle(AT_ONCE)
    assert EndedBecause.CLAIMANT_GONE is (await as_the_ledger_says(run, told)).ended_because
    await run.stop()


async def test_a_bound_claim_still_ends_by_time() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=1, lifetime=Lifetime(ttl=20.0)))
    process = host.processes.start()
    claim = await run.claim_with(process)
    await run.settle(19.9)
    assert ClaimState.BOUND == state_of(claim)
    await run.settle(0.2)
    assert EndedBecause.EXPIRED == because(claim)
    await run.settle(10)
    assert [] == host.processes.held
    await run.stop()


async def test_a_retry_from_another_process_changes_nothing_about_the_binding() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=2))
    first, second = host.processes.start(), host.processes.start()
    claim = await run.claim_with(first, key=b"k" * 32, body=b"b")
    again = await run.claim_with(second, key=b"k" * 32, body=b"b")
    assert claim is again
    host.processes.end(second)
    await run.settle(1)
    assert ClaimState.BOUND == state_of(claim)
    host.processes.end(first)
    await run.settle(AT_ONCE)
    assert EndedBecause.CLAIMANT_GONE == because(claim)
    await run.stop()


async def test_the_end_of_a_process_is_written_as_soon_as_the_ledger_takes_it() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=1))
    process = host.processes.start()
    told = await run.claim_with(process)
    ledger = Ledger(run)
    ledger.down = True
    host.processes.end(process)
    await run.settle(20)
    assert ClaimState.ENDING == state_of(told)
    ledger.down = False
    await run.settle(30)
    assert ClaimState.ENDED == state_of(told)
    assert 1 == run.ready()
    assert [] == run.breaches()
    await run.stop()
