"""A pool is declared anew while it fills, serves, waits and fails: the last declaration holds."""

import asyncio
from dataclasses import replace

import pytest

from stoker.config.revision import (
    Backfill,
    Lifetime,
    PoolSpec,
    ProviderLimits,
    ProviderSpec,
    Queue,
)
from stoker.pools.claim import ClaimState
from stoker.pools.driver import Exhausted
from stoker.pools.lifecycle import ResourceState
from stoker.pools.requests import Code, Refusal
from tests.builders import a_revision
from tests.fakes.world import Faults
from tests.pools.faults import Ledger, raising, replace_method
from tests.rig import Host, Run, a_box_pool, a_part, boxes

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("on_the_rig")]


async def declare(run: Run, *pools: PoolSpec) -> None:
    await run.fleet.apply(a_revision(*pools, id="r2"))


async def test_a_faster_backfill_takes_effect_at_once() -> None:
    slow = Backfill(rate=0.001, burst=1, concurrency=4)
    run = await Host().start(a_box_pool(min=5, backfill=slow))
    await run.settle(5)
    assert run.ready() == 1

    await declare(run, a_box_pool(min=5, backfill=Backfill(rate=100.0, burst=1, concurrency=4)))
    await run.until_ready(5, within=5)
    await run.stop()


async def test_a_smaller_pool_while_it_fills_ends_with_no_more_than_its_size() -> None:
    run = await Host(faults=Faults(latency=(1.0, 3.0))).start(a_box_pool(min=20, max=40))
    await run.settle(4)
    await declare(run, a_box_pool(min=2, max=3))
    await run.settle(30)

    assert run.ready() == 2
    assert sum(run.fleet.own("web").status().counts.values()) == 2
    assert run.breaches() == []
    await run.stop()


async def test_a_larger_pool_while_it_is_full_serves_those_who_wait() -> None:
    run = await Host().start(a_box_pool(min=0, max=1))
    await run.claim()
    waiting = [asyncio.create_task(run.claim(wait=600.0)) for _ in range(3)]
    await run.settle(5)
    await declare(run, a_box_pool(min=1, max=10))
    claims = await asyncio.wait_for(asyncio.gather(*waiting), 10)

    assert {claim.state for claim in claims} == {ClaimState.BOUND}
    await run.until_ready(1)
    await run.stop()


async def test_a_new_blueprint_closes_the_breaker_of_the_old_one_and_serves_those_who_wait() -> (
    None
):
    host = Host()
    run = await host.start(a_box_pool(min=0, max=9))
    create = run.driver.create
    replace_method(run.driver, "create", raising(TimeoutError()))
    waiting = asyncio.create_task(run.claim(wait=3600.0))
    await run.settle(100)
    replace_method(run.driver, "create", create)
    await declare(run, a_box_pool(min=0, max=9, blueprint=boxes(digest="d2")))

    assert (await asyncio.wait_for(waiting, 2)).state is ClaimState.BOUND
    await run.stop()


async def test_a_late_failure_of_the_old_blueprint_does_not_open_the_breaker_of_the_new_one() -> (
    None
):
    host = Host(faults=Faults(latency=(10.0, 10.0), fail=1.0))
    spec = a_box_pool(min=4, max=20, backfill=Backfill(rate=100.0, burst=10, concurrency=10))
    run = await host.start(spec)
    await run.settle(1)
    host.world.faults = Faults(latency=(1.0, 1.0))
    await declare(run, a_box_pool(min=4, max=20, blueprint=boxes(digest="d2")))
    await run.settle(30)

    assert run.fleet.own("web").breaker.failures == 0
    assert run.ready() == 4
    await run.stop()


async def test_a_provider_that_is_exhausted_is_waited_for_and_not_called_a_failing_blueprint() -> (
    None
):
    run = await Host().start(a_box_pool(min=0, max=9))
    create = run.driver.create
    replace_method(run.driver, "create", raising(TimeoutError()))
    with pytest.raises(Refusal):
        await run.claim(wait=0.0)
    replace_method(run.driver, "create", raising(Exhausted("no port is free", 20.0)))
    waiting = asyncio.create_task(run.claim(wait=600.0))
    await run.settle(5)
    late = asyncio.create_task(run.claim(wait=600.0))
    await run.settle(1)
    replace_method(run.driver, "create", create)

    claims = await asyncio.gather(waiting, late)
    assert {claim.state for claim in claims} == {ClaimState.BOUND}
    await run.stop()


async def test_one_old_failure_in_a_full_pool_is_not_given_as_the_reason() -> None:
    run = await Host().start(a_box_pool(min=0, max=1))
    create = run.driver.create
    replace_method(run.driver, "create", raising(TimeoutError()))
    with pytest.raises(Refusal):
        await run.claim(wait=0.0)
    await run.settle(5)
    replace_method(run.driver, "create", create)
    run.fleet.own("web").making.breaker = run.fleet.own("web").breaker.failed("once", 0.0, 0.0)
    held = await run.claim()
    run.fleet.own("web").making.breaker = run.fleet.own("web").breaker.failed("once", 0.0, 0.0)

    with pytest.raises(Refusal) as caught:
        await run.claim(wait=1.0)
    assert held.state is ClaimState.BOUND
    assert caught.value.code is Code.NO_CAPACITY
    await run.stop()


async def test_a_storm_of_drift_is_survived_and_the_pool_is_full_again() -> None:
    host = Host()
    run = await host.start(
        a_box_pool(min=150, max=200, backfill=Backfill(rate=1000.0, burst=10, concurrency=50))
    )
    await run.until_ready(150)
    for part in list(host.world.things):
        host.world.drift(part)
    await run.settle(0.01)
    waiting = [asyncio.create_task(run.claim(wait=60.0)) for _ in range(20)]
    claims = await asyncio.gather(*waiting)
    await run.until_ready(150, within=120)

    assert {claim.state for claim in claims} == {ClaimState.BOUND}
    assert all(not host.world.things[part].drift for part in host.world.things)
    assert run.breaches() == []
    await run.stop()


async def test_a_failed_creation_is_in_the_audit_also_when_the_ledger_was_away() -> None:
    run = await Host().start(a_box_pool(min=0, max=3))
    replace_method(run.driver, "create", raising(TimeoutError()))
    ledger = Ledger(run)
    claiming = asyncio.create_task(run.claim(wait=5.0))
    await asyncio.sleep(0.0015)
    ledger.down = True
    await asyncio.wait([claiming])
    ledger.down = False
    await run.settle(60)
    gone = [e.resource for e in await run.store.events(after=0, limit=999, kind="resource.gone")]
    told = [e.resource for e in await run.store.events(after=0, limit=999, kind="resource.failed")]

    assert claiming.exception() is not None
    assert gone
    assert set(gone) <= set(told)
    await run.stop()


async def test_a_shorter_queue_lets_those_who_wait_wait_on() -> None:
    run = await Host().start(a_box_pool(min=0, max=1, queue=Queue(max=5, wait=600.0)))
    held = await run.claim()
    waiting = [asyncio.create_task(run.claim(wait=600.0)) for _ in range(3)]
    await run.settle(1)
    await declare(run, a_box_pool(min=0, max=1, queue=Queue(max=1, wait=600.0)))
    with pytest.raises(Refusal) as caught:
        await run.claim(wait=600.0)
    assert caught.value.code is Code.QUEUE_FULL
    await run.fleet.release(held.id, request_id="r")
    first = await asyncio.wait_for(waiting[0], 10)

    assert first.state is ClaimState.BOUND
    for task in waiting[1:]:
        task.cancel()
    await run.stop()


async def test_passes_with_a_far_alarm_leave_one_timer() -> None:
    run = await Host().start(a_box_pool(min=2, lifetime=Lifetime(max_age=43_200.0)))
    await run.until_ready(2)
    before = len(run.services.timers)
    for _ in range(500):
        run.fleet.own("web").touch()
        await asyncio.sleep(0.01)

    assert len(run.services.timers) <= before + 1
    await run.stop()


async def test_a_finish_part_of_an_outdated_resource_that_cannot_be_rendered_costs_that_one_alone() -> (
    None
):
    """What a new blueprint no longer takes as a parameter, an old one may still ask for."""
    host = Host()
    asks = a_part("page", settings={"label": "${params.greeting}"})
    old = boxes(digest="d1", finish=(asks,))
    run = await host.start(a_box_pool(min=1, max=9, blueprint=old))
    await run.until_ready(1)
    host.world.faults.latency = (3.0, 3.0)
    await declare(run, a_box_pool(min=1, max=9, blueprint=boxes(digest="d2")))

    claim = await run.claim(wait=60.0)

    assert claim.state is ClaimState.BOUND
    held = run.fleet.resource(claim.resources[0])
    assert held is not None
    assert (held.digest, held.state) == ("d2", ResourceState.BOUND)
    await run.stop()


async def test_a_waiting_claim_does_not_hang_on_a_creation_that_background_holds_up() -> None:
    host = Host(faults=Faults(latency=(5.0, 5.0)))
    spec = a_box_pool(min=2, max=9)
    slow = ProviderSpec("simulated", "simulated", limits=ProviderLimits(rate=0.001, burst=1))
    revision = replace(a_revision(spec), providers={"simulated": slow})
    run = await host.start(revision=revision)
    await run.settle(6)
    await run.claim()
    await run.settle(0.1)
    assert (run.ready(), run.fleet.own("web").status().counts[ResourceState.PREPARING]) == (0, 2)
    began = host.clock.now()

    claim = await run.claim(wait=600.0)

    assert claim.state is ClaimState.BOUND
    assert host.clock.now() - began == pytest.approx(5.0, abs=0.2)
    await run.stop()
