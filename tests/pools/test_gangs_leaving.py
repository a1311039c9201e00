"""The end of a claim for several resources, of which some are used again, held or slow to go."""

import asyncio

import pytest

from stoker.pools.claim import Claim, ClaimState
from stoker.pools.driver import PartRef
from stoker.pools.ids import resource_of
from stoker.pools.lifecycle import ResourceState
from stoker.pools.switches import Operator, Order, ResourceAction
from tests.fakes.world import Faults
from tests.pools.faults import replace_method
from tests.rig import Host, Run, a_box_pool, a_part, boxes, reusable

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("on_the_rig")]

FINISHED = boxes(finish=(a_part("page"), a_part("token", "token", {"kind": "random"})))
ADA = Operator(1, "ada")


async def a_gang(run: Run, count: int = 3) -> Claim:
    await run.until_ready(count)
    return await run.gang(count)


async def released(run: Run, claim: Claim) -> None:
    await run.fleet.release(claim.id, request_id="r")


async def state_of(run: Run, claim: Claim) -> ClaimState:
    return (await run.fleet.find_claim(claim.id)).state


async def test_those_that_are_reset_serve_again_and_the_claim_has_ended_with_the_last_reset() -> (
    None
):
    pool = a_box_pool(min=3, max=3, blueprint=reusable(FINISHED))
    run = await Host(faults=Faults(latency=(0.5, 3.0))).start(pool)
    first = await a_gang(run)
    await released(run, first)
    while await state_of(run, first) is ClaimState.ENDING:
        await asyncio.sleep(0.1)
        ready = run.status().counts[ResourceState.READY]
        assert ready < 3 or await state_of(run, first) is ClaimState.ENDED

    await run.until_ready(3)
    second = await run.gang(3)

    assert set(first.resources) == set(second.resources)
    assert [2, 2, 2] == [run.resource(one).uses for one in second.resources]
    assert run.breaches() == []
    await run.stop()


async def test_a_reset_that_fails_for_one_removes_that_one_and_the_claim_ends_all_the_same() -> (
    None
):
    run = await Host().start(a_box_pool(min=3, max=3, blueprint=reusable(FINISHED)))
    claim = await a_gang(run)
    run.host.world.vanish(
        next(p.id for p in run.resource(claim.resources[1]).parts if p.name == "box")
    )
    await released(run, claim)
    await run.settle(60)

    assert await state_of(run, claim) is ClaimState.ENDED
    again = {one.id for one in run.fleet.resources()} & set(claim.resources)
    assert again == {claim.resources[0], claim.resources[2]}
    assert run.breaches() == []
    await run.stop()


@pytest.mark.parametrize("unheld", [False, True])
async def test_one_that_is_held_leaves_its_claim_to_end_with_the_others(unheld: bool) -> None:
    run = await Host().start(a_box_pool(min=3, max=6, blueprint=FINISHED))
    claim = await a_gang(run)
    kept, slow = claim.resources[0], claim.resources[2]
    destroy = run.driver.destroy

    async def destroy_slowly(part: PartRef) -> None:
        if resource_of(part.id) == slow:
            await asyncio.sleep(20)
        await destroy(part)

    replace_method(run.driver, "destroy", destroy_slowly)
    order = Order(ADA, "look at it", None, "r-1")
    await run.fleet.operate_resource(ResourceAction.HOLD, kept, order)
    await released(run, claim)
    await run.settle(5)
    assert run.resource(kept).state is ResourceState.HELD
    assert await state_of(run, claim) is ClaimState.ENDING
    if unheld:
        await run.fleet.operate_resource(ResourceAction.UNHOLD, kept, order)
    await run.settle(120)

    assert await state_of(run, claim) is ClaimState.ENDED
    assert (run.fleet.resource(kept) is None) == unheld
    assert run.fleet.resource(slow) is None
    assert run.breaches() == []
    await run.stop()


async def test_a_gang_that_ends_with_one_held_ends_after_a_restart_too() -> None:
    host = Host()
    pool = a_box_pool(min=3, max=6, blueprint=FINISHED)
    run = await host.start(pool)
    claim = await a_gang(run)
    order = Order(ADA, "look at it", None, "r-1")
    await run.fleet.operate_resource(ResourceAction.HOLD, claim.resources[0], order)
    host.world.faults = Faults(latency=(5.0, 5.0))
    await released(run, claim)
    await run.settle(8)
    await run.crash()

    host.world.faults = Faults()
    run = await host.start(pool)
    await run.settle(60)

    assert await state_of(run, claim) is ClaimState.ENDED
    assert run.resource(claim.resources[0]).state is ResourceState.HELD
    assert [None, None] == [run.fleet.resource(one) for one in claim.resources[1:]]
    assert run.breaches() == []
    await run.stop()
