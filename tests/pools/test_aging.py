"""Ready resources are replaced before their greatest age, and none outlives it."""

import asyncio

import pytest

from stoker.config.revision import Backfill, Lifetime, PoolSpec
from stoker.pools.driver import PartRef
from stoker.pools.inventory import Members
from stoker.pools.lifecycle import ResourceState
from stoker.pools.plan import plan
from stoker.pools.resource import Health
from tests.builders import a_pool, a_resource, a_revision, a_snapshot
from tests.fakes.world import Faults
from tests.pools.faults import raising, replace_method
from tests.rig import Host, Run, a_box_pool, boxes

rig = pytest.mark.usefixtures("on_the_rig")
virtual = pytest.mark.looptime


def aging(least: int, most: int) -> PoolSpec:
    lifetime = Lifetime(ttl=60.0, max_ttl=600.0, max_age=1000.0)
    return a_box_pool(min=least, max=most, lifetime=lifetime)


async def least_ready(run: Run, seconds: float) -> int:
    """Looked at every half second: a creation here takes two."""
    least = run.ready()
    for _ in range(int(seconds * 2)):
        await asyncio.sleep(0.5)
        least = min(least, run.ready())
    return least


def oldest(run: Run) -> float:
    now = run.host.clock.now()
    ready = [r for r in run.fleet.resources() if r.state is ResourceState.READY]
    return max(now - (r.ready_at or r.created_at) for r in ready)


@rig
@virtual
async def test_a_pool_that_was_filled_at_once_never_stands_empty() -> None:
    run = await Host(faults=Faults(latency=(2.0, 2.0))).start(aging(5, 20))
    await run.until_ready(5)

    assert await least_ready(run, 2100) == 5
    assert oldest(run) < 1000
    await run.stop()


@rig
@virtual
async def test_with_no_slot_to_spare_they_are_replaced_one_after_the_other() -> None:
    run = await Host(faults=Faults(latency=(2.0, 2.0))).start(aging(5, 5))
    await run.until_ready(5)

    assert await least_ready(run, 2100) == 4
    assert oldest(run) < 1000
    await run.stop()


@rig
@virtual
async def test_with_one_slot_to_spare_a_new_blueprint_leaves_no_gap() -> None:
    run = await Host(faults=Faults(latency=(2.0, 2.0))).start(a_box_pool(min=3, max=4))
    await run.until_ready(3)
    await run.fleet.apply(
        a_revision(a_box_pool(min=3, max=4, blueprint=boxes(digest="d2")), id="r2")
    )

    assert await least_ready(run, 120) == 3
    assert {resource.digest for resource in run.fleet.resources()} == {"d2"}
    await run.stop()


@rig
@virtual
async def test_one_that_cannot_be_removed_does_not_keep_the_others_from_rolling() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=3, max=4))
    await run.until_ready(3)
    claim = await run.claim()
    await run.until_ready(3)
    destroy, stuck = run.driver.destroy, claim.resources[0]

    async def all_but_one(part: PartRef) -> None:
        if part.id.startswith(stuck):
            raise TimeoutError
        await destroy(part)

    replace_method(run.driver, "destroy", all_but_one)
    await run.fleet.release(claim.id, request_id="r")
    await run.settle(120)
    left = run.fleet.resource(stuck)
    assert left is not None
    assert left.state is ResourceState.QUARANTINED
    await run.fleet.apply(
        a_revision(a_box_pool(min=3, max=4, blueprint=boxes(digest="d2")), id="r2")
    )
    await run.settle(120)

    assert {r.digest for r in run.fleet.resources() if r.id != stuck} == {"d2"}
    assert run.ready() == 3
    await run.stop()


@rig
@virtual
async def test_a_blueprint_that_fails_does_not_keep_the_old_ones_beyond_their_age() -> None:
    host = Host()
    run = await host.start(aging(3, 9))
    await run.until_ready(3)
    create = run.driver.create
    replace_method(run.driver, "create", raising(TimeoutError()))
    await run.settle(1005)
    assert run.ready() == 0
    replace_method(run.driver, "create", create)
    await run.until_ready(3, within=700)
    await run.stop()


@rig
@virtual
async def test_after_a_restart_the_oldest_still_go_first() -> None:
    """First looks end in any order; the order of ages must not hang on that."""
    host = Host()
    spec = a_box_pool(
        min=10,
        max=10,
        lifetime=Lifetime(ttl=10.0, max_ttl=10.0, max_age=100.0),
        backfill=Backfill(rate=0.2, burst=1, concurrency=1),
    )
    run = await host.start(spec)
    await run.until_ready(10)
    host.world.faults.latency = (0.0, 20.0)
    await run.crash()
    run = await host.start(spec)
    await run.settle(25)
    host.world.faults.latency = (0.0, 0.0)
    for _ in range(100):
        await asyncio.sleep(1)
        assert oldest(run) <= 100
    await run.stop()


def test_members_are_kept_in_the_order_of_their_age_however_they_come() -> None:
    members = Members("d1")
    for age in (30.0, 10.0, 20.0, 5.0):
        members.file(
            a_resource(
                f"web-{age:g}", state=ResourceState.READY, health=Health.HEALTHY, ready_at=age
            )
        )

    assert [resource.ready_at for resource in members.current.values()] == [5.0, 10.0, 20.0, 30.0]
    first = members.first_claimable()
    assert first is not None
    assert first.ready_at == 5.0


def test_what_comes_near_its_age_is_replaced_before_it_goes() -> None:
    spec = a_pool(min=3, max=10, lifetime=Lifetime(max_age=100.0))
    result = plan(spec, a_snapshot(ready=3, ready_at=0.0), 95.0)

    assert [type(command).__name__ for command in result.commands] == ["Fill"]
    assert [fill.count for fill in result.fills] == [3]
    assert result.wake_at == 100.0


def test_once_replaced_the_oldest_are_surplus() -> None:
    spec = a_pool(min=3, max=10, lifetime=Lifetime(max_age=100.0))
    result = plan(spec, a_snapshot(ready=4, ready_at=0.0), 95.0)

    assert [getattr(command, "cause", "") for command in result.commands][:1] == ["surplus"]


def test_one_that_is_old_is_handed_out_rather_than_replaced() -> None:
    spec = a_pool(min=0, max=10, lifetime=Lifetime(max_age=100.0))
    result = plan(spec, a_snapshot(ready=1, ready_at=0.0, waiting=1), 95.0)

    assert [type(command).__name__ for command in result.commands] == ["Serve"]
