"""The ledger refuses, before or after the effect, at any commit, and comes back: nothing is stuck."""

import asyncio

import pytest

from stoker.config.revision import Lifetime, PartPlan
from stoker.pools.claim import OVER, Claim, ClaimState, EndedBecause
from stoker.pools.lifecycle import COMING, LEAVING, ResourceState
from stoker.pools.requests import Code, Refusal
from tests.builders import a_revision
from tests.pools.faults import Ledger, codes
from tests.rig import Host, Run, a_box_pool, a_part, boxes

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("on_the_rig")]

PAGE = (a_part("page"), a_part("token", "token", {"kind": "random"}))
KEY = b"k" * 32


async def nothing_is_stuck(run: Run) -> None:
    await run.settle(120)
    assert run.breaches() == []
    assert run.forgotten() == set()
    for status in run.fleet.pools():
        assert status.ready == status.min
        for state in (*COMING, *LEAVING, ResourceState.CLAIMED, ResourceState.FINISHING):
            assert status.counts[state] == 0, f"{status.counts}"


@pytest.mark.parametrize("finish", [None, PAGE], ids=["pure", "with a driver"])
@pytest.mark.parametrize("failing", range(14))
@pytest.mark.parametrize("how_many", [1, 6])
async def test_a_claim_and_its_release_survive_refused_commits(
    finish: tuple[PartPlan, ...] | None, failing: int, how_many: int
) -> None:
    run = await Host().start(a_box_pool(min=2, max=6, blueprint=boxes(finish=finish)))
    await run.until_ready(2)
    Ledger(run, lambda gap: failing <= gap < failing + how_many)

    claim = await _claim_until_it_works(run)
    assert claim.state is ClaimState.BOUND
    assert run.held(claim).state is ResourceState.BOUND
    again = await run.claim(key=KEY, body=b"b")
    assert (again.id, again.secrets) == (claim.id, claim.secrets)
    for _ in range(20):
        try:
            await run.fleet.release(claim.id, request_id="r")
            break
        except Refusal as refusal:
            if refusal.code is not Code.LEDGER_UNAVAILABLE:
                raise
            await asyncio.sleep(1)

    await nothing_is_stuck(run)
    assert (await run.fleet.find_claim(claim.id)).state is ClaimState.ENDED
    kinds = [event.kind for event in await run.store.events(after=0, limit=1000, claim=claim.id)]
    assert kinds.count("claim.bound") == 1
    assert kinds.count("claim.released") >= 1  # twice when it was refused after it was written
    assert [live.id for live in run.fleet.live_claims()] == []
    await run.stop()


@pytest.mark.parametrize("failing", range(10))
async def test_what_a_crash_in_the_middle_of_an_outage_leaves_is_put_in_order(failing: int) -> None:
    host = Host()
    spec = a_box_pool(min=2, max=6, blueprint=boxes(finish=PAGE))
    run = await host.start(spec)
    await run.until_ready(2)
    Ledger(run, lambda gap: failing <= gap)
    claiming = asyncio.create_task(run.claim(key=KEY, body=b"b"))
    done, _ = await asyncio.wait([claiming], timeout=5)
    if done and claiming.exception() is None:
        releasing = asyncio.create_task(run.fleet.release(claiming.result().id, request_id="r"))
        await asyncio.wait([releasing], timeout=5)
        releasing.cancel()
    await run.crash()

    run = await host.start(spec)
    claim = await _claim_until_it_works(run)

    if claim.state is ClaimState.BOUND:
        held = run.held(claim)
        assert held.state is ResourceState.BOUND
        assert {part.id for part in held.parts if part.driver != "token"} <= host.world.exists()
        await run.fleet.release(claim.id, request_id="r")
    await nothing_is_stuck(run)
    assert list(run.fleet.live_claims()) == []
    await run.stop()


async def _claim_until_it_works(run: Run) -> Claim:
    for _ in range(60):
        try:
            return await asyncio.wait_for(run.claim(key=KEY, body=b"b", wait=20.0), 60)
        except Refusal as refusal:
            if refusal.code not in {Code.LEDGER_UNAVAILABLE, Code.FINISH_FAILED}:
                raise
            await asyncio.sleep(1)
    raise AssertionError("the claim is never served")


async def test_a_key_whose_claim_failed_in_an_outage_is_good_for_a_new_claim_afterwards() -> None:
    run = await Host().start(a_box_pool(min=2, max=6, blueprint=boxes(finish=PAGE)))
    await run.until_ready(2)
    ledger = Ledger(run)
    claiming = asyncio.create_task(run.claim(key=KEY, body=b"b"))
    await asyncio.sleep(0.0007)  # the intent is durable, and nothing after it will be
    ledger.down = True
    with pytest.raises(Refusal):
        await claiming
    with pytest.raises(Refusal) as caught:
        await run.claim(key=KEY, body=b"b")
    assert caught.value.code is Code.LEDGER_UNAVAILABLE

    ledger.down = False
    await run.settle(20)
    claim = await run.claim(key=KEY, body=b"another one")

    assert claim.state is ClaimState.BOUND
    await run.fleet.release(claim.id, request_id="r")
    await nothing_is_stuck(run)
    await run.stop()


async def test_a_pending_claim_that_timed_out_in_an_outage_is_shown_as_failed_and_stays_so() -> (
    None
):
    host = Host()
    run = await host.start(a_box_pool(min=0, max=1))
    holder = await run.claim()
    pending = await run.claim(wait=None, key=KEY, body=b"b")
    ledger = Ledger(run)
    ledger.down = True
    await run.settle(70)
    assert (await run.fleet.find_claim(pending.id)).state is ClaimState.FAILED
    assert (await run.claim(wait=None, key=KEY, body=b"b")).state is ClaimState.FAILED

    ledger.down = False
    await run.settle(20)
    await run.crash()
    run = await host.start(a_box_pool(min=0, max=1))

    assert (await run.fleet.find_claim(pending.id)).state in OVER
    assert [claim.id for claim in run.fleet.live_claims()] == [holder.id]
    await run.stop()


async def test_an_expiry_in_an_outage_removes_nothing_before_it_is_durable() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=1, max=3, lifetime=Lifetime(ttl=30.0, max_ttl=60.0)))
    await run.until_ready(1)
    claim = await run.claim()
    held = run.held(claim).parts[0].id
    ledger = Ledger(run)
    ledger.down = True
    await run.settle(60)
    assert held in host.world.exists()
    ledger.down = False
    await run.settle(60)

    assert held not in host.world.exists()
    ended = await run.fleet.find_claim(claim.id)
    assert (ended.state, ended.ended_because) == (ClaimState.ENDED, EndedBecause.EXPIRED)
    kinds = [event.kind for event in await run.store.events(after=0, limit=1000, claim=claim.id)]
    assert "claim.expired" in kinds
    await run.stop()


async def test_a_long_outage_while_filling_makes_no_more_than_the_pool_may_have() -> None:
    run = await Host().start(a_box_pool(min=0, max=10))
    ledger = Ledger(run)
    await run.fleet.apply(a_revision(a_box_pool(min=5, max=10), id="r2"))
    ledger.down = True
    await run.settle(600)
    assert sum(run.status().counts.values()) <= 10
    assert len(run.services.tasks) < 60

    ledger.down = False
    await run.until_ready(5)
    await nothing_is_stuck(run)
    await run.stop()


async def test_a_release_is_answered_only_once_it_is_durable_also_when_it_is_asked_for_twice() -> (
    None
):
    run = await Host().start(a_box_pool(min=1))
    await run.until_ready(1)
    claim = await run.claim()
    ledger = Ledger(run)
    ledger.takes, ledger.down = 0.5, True
    first = asyncio.create_task(run.fleet.release(claim.id, request_id="r1"))
    await asyncio.sleep(0.1)
    second = asyncio.create_task(run.fleet.release(claim.id, request_id="r2"))
    await asyncio.sleep(0.1)

    assert not second.done()
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert codes(results) == [Code.LEDGER_UNAVAILABLE] * 2
    ledger.takes, ledger.down = 0.0003, False
    await run.settle(30)
    assert (await run.fleet.find_claim(claim.id)).state is ClaimState.ENDED
    await run.stop()
