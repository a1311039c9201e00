"""Operators pause, drain, refresh and resume pools; it lasts over restarts, and ends on its date."""

import asyncio
from typing import TypedDict, Unpack

import pytest

from stoker.pools.claim import ClaimState
from stoker.pools.lifecycle import ResourceState
from stoker.pools.requests import Code, Refusal
from stoker.pools.switches import Operator, Order, PoolAction
from tests.builders import a_revision
from tests.fakes.world import Faults
from tests.pools.faults import Ledger
from tests.rig import EPOCH, Host, Run, a_box_pool, boxes

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("on_the_rig")]

ADA = Operator(1000, "ada")


class Sizes(TypedDict, total=False):
    min: int
    max: int


async def do(
    run: Run, action: PoolAction, *, reason: str = "work", lasting: float | None = None
) -> None:
    until = None if lasting is None else run.host.clock.now() + lasting
    await run.fleet.operate_pool(action, "web", Order(ADA, reason, until, "r-1"))


async def restarted(run: Run, *, crash: bool = True, **pool: Unpack[Sizes]) -> Run:
    await (run.crash() if crash else run.stop())
    return await run.host.start(a_box_pool(**pool))


def made(run: Run) -> int:
    return sum(1 for effect in run.host.world.log if effect.kind == "created")


async def refusal_of(run: Run, wait: float | None = 0.0) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await run.claim(wait=wait)
    return caught.value


async def test_a_paused_pool_refuses_claims_and_says_by_whom_why_and_until_when() -> None:
    run = await Host().start(a_box_pool(min=2))
    await run.until_ready(2)
    await do(run, PoolAction.PAUSE, reason="new disk", lasting=90.0)

    for wait in (0.0, 5.0, None):
        refusal = await refusal_of(run, wait)
        assert refusal.code is Code.PAUSED
        assert "paused by ada until 2023-" in refusal.message
        assert "new disk" in refusal.message
        assert refusal.retry_after == pytest.approx(90.0, abs=0.1)
    assert run.ready() == 2
    await run.stop()


async def test_a_paused_pool_makes_and_rolls_nothing_and_goes_on_when_resumed() -> None:
    run = await Host().start(a_box_pool(min=2))
    await run.until_ready(2)
    await do(run, PoolAction.PAUSE)
    before = made(run)
    await run.fleet.apply(a_revision(a_box_pool(min=4, blueprint=boxes(digest="d2")), id="r2"))
    await run.settle(60)
    assert (made(run), run.ready(), run.status().outdated) == (before, 2, 2)

    await do(run, PoolAction.RESUME)
    await run.settle(60)  # the canary has to settle
    assert (run.ready(), run.status().outdated) == (4, 0)
    await run.stop()


async def test_in_a_paused_pool_renewal_release_expiry_and_removal_go_on() -> None:
    run = await Host().start(a_box_pool(min=3))
    await run.until_ready(3)
    renewed, released, expiring = [await run.claim(ttl=20.0) for _ in range(3)]
    await do(run, PoolAction.PAUSE)
    await run.fleet.renew(renewed.id, 600.0, request_id="r")
    await run.fleet.release(released.id, request_id="r")
    await run.settle(30)

    assert (await run.fleet.find_claim(renewed.id)).state is ClaimState.BOUND
    assert (await run.fleet.find_claim(released.id)).state is ClaimState.ENDED
    assert (await run.fleet.find_claim(expiring.id)).state is ClaimState.ENDED
    assert run.status().counts[ResourceState.BOUND] == 1
    await run.stop()


async def test_claims_that_wait_already_wait_on_and_are_served_when_it_is_resumed() -> None:
    run = await Host(faults=Faults(latency=(3.0, 3.0))).start(a_box_pool(min=0, max=2))
    waiting = asyncio.create_task(run.claim(wait=600.0))
    await run.settle(1)
    await do(run, PoolAction.PAUSE, lasting=50.0)
    await run.settle(40)
    assert not waiting.done()
    assert run.ready() == 1

    await run.settle(15)
    assert waiting.result().state is ClaimState.BOUND
    await run.stop()


async def test_a_claim_whose_deadline_comes_in_a_pause_is_told_paused() -> None:
    run = await Host(faults=Faults(latency=(9.0, 9.0))).start(a_box_pool(min=0, max=2))
    waiting = asyncio.create_task(run.claim(wait=5.0))
    await run.settle(1)
    await do(run, PoolAction.PAUSE)
    await asyncio.wait([waiting])

    error = waiting.exception()
    assert isinstance(error, Refusal)
    assert error.code is Code.PAUSED
    await run.stop()


@pytest.mark.parametrize("crash", [True, False])
async def test_a_pause_outlives_the_daemon_and_ends_on_its_date(crash: bool) -> None:
    run = await Host().start(a_box_pool(min=1))
    await run.until_ready(1)
    await do(run, PoolAction.PAUSE, reason="night", lasting=100.0)
    run = await restarted(run, crash=crash, min=1)
    await run.settle(20)
    refusal = await refusal_of(run)
    assert refusal.code is Code.PAUSED
    assert "night" in refusal.message

    await run.settle(85)
    assert (await run.claim()).state is ClaimState.BOUND
    assert run.store.load().switches == []
    await run.stop()


async def test_a_pause_whose_date_passed_while_the_daemon_was_down_has_ended() -> None:
    run = await Host().start(a_box_pool(min=1))
    await do(run, PoolAction.PAUSE, lasting=10.0)
    await run.crash()
    await asyncio.sleep(20)
    run = await run.host.start(a_box_pool(min=1))

    assert (await run.claim()).state is ClaimState.BOUND
    await run.stop()


async def test_a_pending_claim_goes_on_waiting_in_a_paused_pool_over_a_restart() -> None:
    run = await Host().start(a_box_pool(min=0, max=1))
    await run.claim(ttl=5.0)
    pending = await run.claim(wait=None)
    await do(run, PoolAction.PAUSE)
    run = await restarted(run, min=0, max=1)
    await run.settle(10)
    assert (await run.fleet.find_claim(pending.id)).state is ClaimState.PENDING

    await do(run, PoolAction.RESUME)
    assert (await run.fleet.settled(pending.id, 60.0)).state is ClaimState.BOUND
    await run.stop()


async def test_a_drained_pool_is_emptied_tells_those_who_wait_and_keeps_what_is_bound() -> None:
    run = await Host().start(a_box_pool(min=3, max=4))
    await run.until_ready(3)
    held = await run.claim(ttl=1000.0)
    await run.settle(1)
    await do(run, PoolAction.DRAIN, reason="moving")
    await run.settle(10)

    counts = run.status().counts
    assert {state: count for state, count in counts.items() if count} == {ResourceState.BOUND: 1}
    refusal = await refusal_of(run)
    assert refusal.code is Code.DRAINING
    assert "drained by ada: moving" in refusal.message
    assert (await run.fleet.find_claim(held.id)).state is ClaimState.BOUND
    gone = await run.store.events(after=0, limit=99, kind="resource.gone")
    assert {event.reason for event in gone} == {"the pool is drained by ada: moving"}

    await do(run, PoolAction.RESUME)
    await run.until_ready(3)
    await run.stop()


async def test_who_waits_for_a_pool_that_is_drained_is_told_so_at_once() -> None:
    run = await Host().start(a_box_pool(min=0, max=1))
    await run.claim()
    waiting = asyncio.create_task(run.claim(wait=600.0))
    await run.settle(1)
    await do(run, PoolAction.DRAIN)
    await run.settle(0.1)

    error = waiting.exception()
    assert isinstance(error, Refusal)
    assert error.code is Code.DRAINING
    await run.stop()


async def test_a_drain_outlives_the_daemon_and_the_pool_stays() -> None:
    run = await Host().start(a_box_pool(min=2))
    await do(run, PoolAction.DRAIN)
    run = await restarted(run, min=2)
    await run.settle(20)

    assert run.status().draining
    assert not run.services.inventory.members("web").resources
    await run.stop()


async def test_a_refresh_replaces_every_ready_one_without_a_gap_and_leaves_what_is_bound() -> None:
    run = await Host().start(a_box_pool(min=3, max=8))
    await run.until_ready(3)
    claim = await run.claim(ttl=1000.0)
    await run.until_ready(3)
    old = {resource.id for resource in run.fleet.resources()}
    await do(run, PoolAction.REFRESH)
    assert run.status().refresh is not None
    fewest = 3
    for _ in range(100):
        await asyncio.sleep(0.05)
        fewest = min(fewest, run.ready())
    left = {resource.id for resource in run.fleet.resources()}

    assert fewest == 3
    assert left & old == {claim.resources[0]}
    assert run.status().refresh is None
    assert run.store.load().switches == []
    (done,) = await run.store.events(after=0, limit=9, kind="pool.renewed")
    assert done.reason == "every ready resource is newer than the refresh"
    await run.stop()


async def test_a_refresh_in_a_full_pool_replaces_one_after_the_other() -> None:
    run = await Host(faults=Faults(latency=(0.2, 0.2))).start(a_box_pool(min=3, max=3))
    await run.until_ready(3)
    old = {resource.id for resource in run.fleet.resources()}
    await do(run, PoolAction.REFRESH)
    fewest = 3
    for _ in range(100):
        await asyncio.sleep(0.1)
        fewest = min(fewest, run.ready())

    assert fewest == 2
    assert run.ready() == 3
    assert not old & {resource.id for resource in run.fleet.resources()}
    await run.stop()


async def test_a_refresh_goes_on_after_a_crash_and_a_second_one_converges_on_the_last() -> None:
    run = await Host(faults=Faults(latency=(2.0, 2.0))).start(a_box_pool(min=3, max=5))
    await run.until_ready(3)
    await do(run, PoolAction.REFRESH)
    await run.settle(3)
    second = run.host.clock.now()
    await do(run, PoolAction.REFRESH)
    run = await restarted(run, min=3, max=5)
    await run.settle(60)

    assert run.ready() == 3
    assert all(resource.created_at > second for resource in run.fleet.resources())
    assert run.status().refresh is None
    await run.stop()


async def test_a_refresh_that_is_given_up_on_its_date_keeps_what_is_left() -> None:
    run = await Host().start(a_box_pool(min=3, max=5))
    await run.until_ready(3)
    run.host.world.faults = Faults(latency=(0.1, 0.1), fail=1.0)
    await do(run, PoolAction.REFRESH, lasting=20.0)
    assert run.status().outdated == 3
    await run.settle(30)

    assert (run.ready(), run.status().outdated, run.status().refresh) == (3, 0, None)
    await run.stop()


async def test_what_was_done_is_in_the_audit_with_who_did_it() -> None:
    run = await Host().start(a_box_pool(min=1))
    for action in (PoolAction.PAUSE, PoolAction.RESUME, PoolAction.DRAIN, PoolAction.REFRESH):
        await do(run, action, reason=f"to {action}")
    events = await run.store.events(after=0, limit=99, kind="pool.")

    told = [event for event in events if event.data]
    assert [event.kind for event in told] == [
        "pool.paused",
        "pool.resumed",
        "pool.drained",
        "pool.refreshed",
    ]
    assert {(event.data["uid"], event.data["user"], event.request) for event in told} == {
        (1000, "ada", "r-1")
    }
    assert told[0].reason == "to pause"
    await run.stop()


async def test_repeating_an_action_writes_nothing_more() -> None:
    run = await Host().start(a_box_pool(min=1))
    for _ in range(3):
        await do(run, PoolAction.PAUSE)
    for _ in range(3):
        await do(run, PoolAction.RESUME)
    events = await run.store.events(after=0, limit=99, kind="pool.")

    assert [event.kind for event in events] == ["pool.paused", "pool.resumed"]
    await run.stop()


async def test_an_action_that_the_ledger_refuses_is_not_in_force() -> None:
    run = await Host().start(a_box_pool(min=1))
    await run.until_ready(1)
    ledger = Ledger(run)
    ledger.down = True
    with pytest.raises(Refusal) as caught:
        await do(run, PoolAction.PAUSE)
    ledger.down = False

    assert caught.value.code is Code.LEDGER_UNAVAILABLE
    assert not run.status().paused
    await run.stop()


async def test_a_pause_ends_on_its_date_also_when_the_ledger_is_away_then() -> None:
    run = await Host().start(a_box_pool(min=1))
    await run.until_ready(1)
    await do(run, PoolAction.PAUSE, lasting=10.0)
    ledger = Ledger(run)
    ledger.down = True
    await run.settle(15)
    assert not run.status().paused
    assert len(run.store.load().switches) == 1
    ledger.down = False
    await run.settle(10)

    assert run.store.load().switches == []
    await run.stop()


async def test_whoever_leaves_while_an_action_is_written_does_not_undo_it() -> None:
    run = await Host().start(a_box_pool(min=1))
    acting = asyncio.create_task(do(run, PoolAction.PAUSE))
    await asyncio.sleep(0.0001)
    acting.cancel()
    await run.settle(1)

    assert run.status().paused
    assert len(run.store.load().switches) == 1
    await run.stop()


async def test_a_pool_that_was_undeclared_for_a_moment_comes_back_paused() -> None:
    run = await Host().start(a_box_pool(min=1))
    await do(run, PoolAction.PAUSE)
    await run.fleet.apply(a_revision(id="r2"))
    await run.settle(10)
    assert run.fleet.pool("web") is None
    with pytest.raises(Refusal) as caught:
        await do(run, PoolAction.RESUME)
    assert caught.value.code is Code.NO_SUCH_POOL

    await run.fleet.apply(a_revision(a_box_pool(min=1), id="r3"))
    await run.settle(10)
    assert (run.status().paused, run.ready()) == (True, 0)
    await do(run, PoolAction.RESUME)
    await run.until_ready(1)
    await run.stop()


async def test_the_end_date_of_an_earlier_pause_does_not_end_a_later_one() -> None:
    run = await Host().start(a_box_pool(min=1))
    await do(run, PoolAction.PAUSE, lasting=10.0)
    await run.settle(5)
    await do(run, PoolAction.PAUSE)
    await run.settle(60)

    assert run.status().paused
    assert run.host.clock.now() > EPOCH + 60
    await run.stop()
