"""The core as its users meet it: filled, claimed, waited for, ended, and gone on with after a crash."""

import asyncio
from collections.abc import Generator

import pytest

from stoker.config.revision import Backfill, Lifetime, Queue
from stoker.pools.claim import ClaimState, EndedBecause
from stoker.pools.driver import PartRequest, ProviderRef
from stoker.pools.ids import PartId
from stoker.pools.lifecycle import ResourceState
from stoker.pools.requests import Code, Refusal
from tests.builders import a_revision
from tests.fakes.world import Faults
from tests.rig import Host, a_box_pool, a_part, boxes, virtual_throttle

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]


@pytest.fixture(autouse=True)
def virtual_time() -> Generator[None]:
    with virtual_throttle():
        yield


async def test_a_pool_is_filled_and_a_claim_is_served_warm() -> None:
    run = await Host().start(a_box_pool(min=3))
    await run.until_ready(3)

    claim = await run.claim()

    assert claim.state is ClaimState.BOUND
    assert claim.warm
    assert set(claim.outputs) == {"name"}
    assert set(claim.secrets) == {"token"}
    await run.until_ready(3)
    assert len(run.host.world.things) == 4
    assert run.breaches() == []
    await run.stop()


async def test_a_released_claim_ends_when_its_resource_is_gone() -> None:
    run = await Host().start(a_box_pool(min=1))
    await run.until_ready(1)
    claim = await run.claim()

    released = await run.fleet.release(claim.id, request_id="r")
    assert released.state is ClaimState.ENDING
    await run.settle(5)

    ended = await run.fleet.find_claim(claim.id)
    assert (ended.state, ended.ended_because) == (ClaimState.ENDED, EndedBecause.RELEASED)
    assert claim.resources[0] not in {
        thing.part.split(".")[0] for thing in run.host.world.things.values()
    }
    assert (await run.fleet.release(claim.id, request_id="r")).state is ClaimState.ENDED
    await run.stop()


async def test_a_claim_ends_by_itself_when_its_time_is_up() -> None:
    run = await Host().start(a_box_pool(min=1))
    await run.until_ready(1)
    claim = await run.claim(ttl=60.0)

    await asyncio.sleep(59.9)
    assert claim.state is ClaimState.BOUND
    await asyncio.sleep(5)

    assert (await run.fleet.find_claim(claim.id)).ended_because is EndedBecause.EXPIRED
    await run.stop()


async def test_a_renewal_sets_the_width_anew_and_never_adds_up() -> None:
    spec = a_box_pool(min=1, lifetime=Lifetime(ttl=60.0, max_ttl=100.0))
    run = await Host().start(spec)
    await run.until_ready(1)
    claim = await run.claim()
    bound = claim.bound_at
    assert bound is not None

    await asyncio.sleep(30)
    await run.fleet.renew(claim.id, None, request_id="r")
    assert claim.expires_at == pytest.approx(bound + 90, abs=0.1)
    await asyncio.sleep(30)
    await run.fleet.renew(claim.id, None, request_id="r")
    assert claim.expires_at == pytest.approx(bound + 100, abs=0.1)

    with pytest.raises(Refusal) as caught:
        await run.fleet.renew(claim.id, 101.0, request_id="r")
    assert caught.value.code is Code.TTL_TOO_LONG
    await asyncio.sleep(50)
    with pytest.raises(Refusal) as caught:
        await run.fleet.renew(claim.id, None, request_id="r")
    assert caught.value.code is Code.CLAIM_OVER
    await run.stop()


async def test_an_empty_pool_makes_one_for_the_waiting_claim_at_once() -> None:
    host = Host(faults=Faults(latency=(5.0, 5.0)))
    run = await host.start(a_box_pool(min=0, max=3))

    before = asyncio.get_running_loop().time()
    claim = await run.claim()

    assert not claim.warm
    assert asyncio.get_running_loop().time() - before == pytest.approx(5.0, abs=0.2)
    await run.stop()


async def test_waiting_claims_are_served_in_the_order_they_came() -> None:
    run = await Host(faults=Faults(latency=(1.0, 3.0))).start(a_box_pool(min=0, max=2))
    order: list[int] = []

    async def one(number: int) -> None:
        claim = await run.claim(wait=600.0)
        order.append(number)
        await run.fleet.release(claim.id, request_id="r")

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(one(number))
            await asyncio.sleep(0.01)

    assert order == sorted(order)
    assert run.breaches() == []
    await run.stop()


async def test_a_claimant_that_left_is_never_handed_anything() -> None:
    run = await Host(faults=Faults(latency=(2.0, 2.0))).start(a_box_pool(min=0, max=1))
    leaving = asyncio.create_task(run.claim(wait=60.0))
    await asyncio.sleep(1)
    staying = asyncio.create_task(run.claim(wait=60.0))
    await asyncio.sleep(0.5)
    leaving.cancel()

    claim = await staying

    assert claim.state is ClaimState.BOUND
    assert [live.id for live in run.fleet.live_claims()] == [claim.id]
    await run.stop()


async def test_a_claim_that_waited_too_long_is_told_which_limit_it_met() -> None:
    run = await Host().start(a_box_pool(min=0, max=1))
    await run.claim()

    with pytest.raises(Refusal) as caught:
        await run.claim(wait=2.0)

    assert caught.value.code is Code.NO_CAPACITY
    assert "all 1 resources" in caught.value.message
    await run.stop()


async def test_a_claim_that_will_not_wait_gets_a_warm_one_or_nothing() -> None:
    run = await Host(faults=Faults(latency=(1.0, 1.0))).start(a_box_pool(min=1, max=3))
    await run.until_ready(1)

    assert (await run.claim(wait=0.0)).warm
    with pytest.raises(Refusal) as caught:
        await run.claim(wait=0.0)
    assert caught.value.code is Code.WAIT_TIMEOUT
    await run.stop()


async def test_a_full_queue_refuses_one_more() -> None:
    run = await Host().start(a_box_pool(min=0, max=1, queue=Queue(max=1, wait=60.0)))
    await run.claim()
    waiting = asyncio.create_task(run.claim(wait=60.0))
    await asyncio.sleep(0.1)

    with pytest.raises(Refusal) as caught:
        await run.claim(wait=60.0)

    assert caught.value.code is Code.QUEUE_FULL
    assert caught.value.retry_after is not None
    assert caught.value.retry_after >= 1
    waiting.cancel()
    await run.stop()


async def test_a_pending_claim_is_bound_without_its_caller_on_the_line() -> None:
    run = await Host(faults=Faults(latency=(3.0, 3.0))).start(a_box_pool(min=0, max=3))

    pending = await run.claim(wait=None)
    assert pending.state is ClaimState.PENDING
    assert run.fleet.place_in_line(pending)[0] == 1

    settled = await run.fleet.settled(pending.id, 60.0)
    assert settled.state is ClaimState.BOUND
    await run.stop()


async def test_a_pending_claim_can_be_given_up() -> None:
    run = await Host(faults=Faults(latency=(3.0, 3.0))).start(a_box_pool(min=0, max=1))
    pending = await run.claim(wait=None)

    released = await run.fleet.release(pending.id, request_id="r")
    await run.settle(30)

    assert (released.state, released.ended_because) == (ClaimState.ENDED, EndedBecause.RELEASED)
    assert list(run.fleet.live_claims()) == []
    assert (await run.fleet.find_claim(pending.id)).state is ClaimState.ENDED
    await run.stop()


async def test_a_retry_with_the_key_gets_the_same_claim_and_the_same_secrets() -> None:
    run = await Host().start(a_box_pool(min=2))
    await run.until_ready(2)

    first = await run.claim(key=b"k" * 32, body=b"b")
    again = await run.claim(key=b"k" * 32, body=b"b")

    assert again.id == first.id
    assert again.secrets == first.secrets
    with pytest.raises(Refusal) as caught:
        await run.claim(key=b"k" * 32, body=b"other")
    assert caught.value.code is Code.KEY_REUSED
    await run.stop()


async def test_the_key_works_across_a_crash() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=2))
    await run.until_ready(2)
    first = await run.claim(key=b"k" * 32, body=b"b")
    token = first.secrets["token"]
    await run.crash()

    run = await host.start(a_box_pool(min=2))
    again = await run.claim(key=b"k" * 32, body=b"b")

    assert (again.id, again.secrets["token"]) == (first.id, token)
    assert run.breaches() == []
    await run.stop()


async def test_two_retries_at_once_share_one_claim() -> None:
    run = await Host(faults=Faults(latency=(2.0, 2.0))).start(a_box_pool(min=0, max=5))

    one, two = await asyncio.gather(
        run.claim(key=b"k" * 32, body=b"b"), run.claim(key=b"k" * 32, body=b"b")
    )

    assert one.id == two.id
    await run.stop()


async def test_a_finish_part_that_fails_costs_the_resource_and_another_is_tried() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=3, blueprint=boxes(finish=(a_part("page"),))))
    await run.until_ready(3)
    host.world.faults.fail = 1.0
    claiming = asyncio.create_task(run.claim())
    await asyncio.sleep(0.002)
    host.world.faults.fail = 0.0

    claim = await claiming

    assert claim.state is ClaimState.BOUND
    assert run.breaches() == []
    await run.settle(120)
    assert run.forgotten() == set()
    await run.stop()


async def test_a_blueprint_that_keeps_failing_stops_itself_and_recovers() -> None:
    host = Host(faults=Faults(fail=1.0))
    run = await host.start(a_box_pool(min=3))
    await run.settle(20)

    assert run.status().breaker.state in {"open", "half-open"}
    assert host.world.calls["create"] < 20
    with pytest.raises(Refusal) as caught:
        await run.claim(wait=0.0)
    assert caught.value.code in {Code.BLUEPRINT_FAILING, Code.WAIT_TIMEOUT}

    host.world.faults.fail = 0.0
    await run.until_ready(3, within=600)
    assert run.status().breaker.state == "closed"
    await run.stop()


async def test_a_ready_one_that_drifted_is_replaced_and_a_bound_one_is_left_alone() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=1))
    await run.until_ready(1)
    claim = await run.claim()
    await run.until_ready(1)
    ready = next(r for r in run.fleet.resources() if r.state is ResourceState.READY)
    bound = run.held(claim)

    host.world.drift(ready.parts[0].id, "somebody changed it")
    host.world.drift(bound.parts[0].id, "somebody changed it")
    await run.settle(30)

    assert run.fleet.resource(ready.id) is None
    assert run.ready() == 1
    assert bound.state is ResourceState.BOUND
    assert bound.health == "drifted"
    await run.stop()


async def test_backfill_keeps_to_its_rate_and_concurrency() -> None:
    host = Host(faults=Faults(latency=(0.01, 0.01)))
    spec = a_box_pool(min=40, max=100, backfill=Backfill(rate=10.0, burst=1, concurrency=4))
    run = await host.start(spec)
    await run.until_ready(40)

    times = sorted(resource.created_at for resource in run.fleet.resources())
    windows = [sum(1 for t in times if start <= t < start + 0.9999) for start in times]
    assert max(windows) <= 10
    assert (len(times) - 1) / (times[-1] - times[0]) >= 9.5
    await run.stop()


async def test_a_changed_blueprint_rolls_and_never_empties_the_pool() -> None:
    host = Host(faults=Faults(latency=(1.0, 1.0)))
    run = await host.start(a_box_pool(min=3))
    await run.until_ready(3)
    least = 3

    await run.fleet.apply(a_revision(a_box_pool(min=3, blueprint=boxes(digest="d2")), id="r2"))
    for _ in range(600):
        await asyncio.sleep(0.1)
        least = min(least, run.ready())

    assert least >= 3
    assert {r.digest for r in run.fleet.resources()} == {"d2"}
    await run.stop()


async def test_a_removed_pool_drains_and_its_claims_live_on() -> None:
    run = await Host().start(a_box_pool(min=2), a_box_pool(name="other", min=1))
    await run.until_ready(2)
    claim = await run.claim()

    await run.fleet.apply(a_revision(a_box_pool(name="other", min=1), id="r2"))
    await run.settle(30)

    assert [r.id for r in run.fleet.resources() if r.pool == "web"] == claim.resources
    with pytest.raises(Refusal) as caught:
        await run.claim()
    assert caught.value.code is Code.DRAINING
    await run.fleet.renew(claim.id, None, request_id="r")
    await run.fleet.release(claim.id, request_id="r")
    await run.settle(30)
    assert run.fleet.pool("web") is None
    await run.stop()


async def test_a_crash_in_the_middle_of_filling_forgets_nothing() -> None:
    host = Host(faults=Faults(latency=(1.0, 1.0)))
    run = await host.start(a_box_pool(min=8))
    await asyncio.sleep(1.05)
    await run.crash()

    run = await host.start(a_box_pool(min=8))
    await run.settle(60)

    assert run.ready() == 8
    assert run.forgotten() == set()
    assert len(host.world.things) == 8
    assert run.breaches() == []
    await run.stop()


async def test_a_clean_stop_leaves_everything_standing() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=3))
    await run.until_ready(3)
    claim = await run.claim()
    await run.until_ready(3)
    before = set(host.world.things)
    await run.stop()
    assert set(host.world.things) == before

    run = await host.start(a_box_pool(min=3))
    await run.settle(5)

    assert set(host.world.things) == before
    assert (await run.fleet.find_claim(claim.id)).state is ClaimState.BOUND
    await run.stop()


async def test_an_orphan_is_found_and_removed() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=1))
    await run.until_ready(1)
    other = host.world.connect()
    orphan = PartId("web-orphan00.box")

    await other.create(PartRequest(orphan, "web", {}, {}, ProviderRef("simulated")))
    await run.settle(400)

    assert orphan not in host.world.exists()
    await run.stop()
