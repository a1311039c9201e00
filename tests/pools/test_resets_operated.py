"""What operators do to a resource that is being reset: hold it, retire it, refresh its pool."""

import asyncio

import pytest

from stoker.pools.claim import ClaimState
from stoker.pools.ids import part_id
from stoker.pools.lifecycle import ResourceState
from stoker.pools.requests import Refusal
from stoker.pools.switches import Operator, Order, PoolAction, ResourceAction
from tests.fakes.world import Faults
from tests.pools.test_resets import FINISHED, a_used_one, gone, released, start
from tests.rig import reusable

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("on_the_rig")]

S = ResourceState


async def test_one_whose_hold_was_asked_for_while_it_was_reset_is_held_and_not_used_again() -> None:
    run = await start(faults=Faults(latency=(1.0, 1.0)))
    claim, resource = await a_used_one(run)
    await released(run, claim)
    while resource.state is not S.RESETTING:
        await asyncio.sleep(0.01)

    order = Order(Operator(0, "ada"), "look at it")
    await run.fleet.operate_resource(ResourceAction.HOLD, resource.id, order)
    await run.settle()

    assert "held" == str(resource.state)
    assert (await run.fleet.find_claim(claim.id)).state is ClaimState.ENDED
    assert run.breaches() == []
    await run.stop()


async def test_what_a_claim_left_is_kept_when_the_hold_comes_before_it_is_removed() -> None:
    blueprint = reusable(FINISHED, in_place=False)
    run = await start(faults=Faults(latency=(1.0, 1.0)), blueprint=blueprint)
    claim, resource = await a_used_one(run)
    await released(run, claim)

    order = Order(Operator(0, "ada"), "look at it")
    await run.fleet.operate_resource(ResourceAction.HOLD, resource.id, order)
    await run.settle()

    assert resource.state is S.HELD
    assert {claim.id} == run.host.world.things[part_id(resource.id, "box")].soil
    assert part_id(resource.id, "page") not in run.host.world.things
    await run.stop()


async def test_it_is_too_late_to_hold_what_is_made_anew() -> None:
    blueprint = reusable(FINISHED, in_place=False)
    run = await start(faults=Faults(latency=(1.0, 1.0)), blueprint=blueprint)
    claim, resource = await a_used_one(run)
    await released(run, claim)
    while len(resource.parts) > 1:
        await asyncio.sleep(0.01)
    await run.settle(0.1)

    order = Order(Operator(0, "ada"), "look at it")
    with pytest.raises(Refusal, match="is being removed"):
        await run.fleet.operate_resource(ResourceAction.HOLD, resource.id, order)

    await run.until_ready(1)
    await run.fleet.operate_resource(ResourceAction.HOLD, resource.id, order)
    assert str(resource.state) == "held"
    await run.stop()


async def test_one_that_is_being_reset_cannot_be_retired_yet() -> None:
    run = await start(faults=Faults(latency=(1.0, 1.0)))
    claim, resource = await a_used_one(run)
    await released(run, claim)
    while resource.state is not S.RESETTING:
        await asyncio.sleep(0.01)

    with pytest.raises(Refusal, match="being reset"):
        await run.fleet.operate_resource(ResourceAction.RETIRE, resource.id, Order(Operator(0)))
    await run.stop()


async def test_a_refresh_reaches_those_that_are_released_after_it() -> None:
    run = await start(max=3)
    claim, resource = await a_used_one(run)
    await run.fleet.operate_pool(PoolAction.REFRESH, "web", Order(Operator(0)))

    await released(run, claim)
    await gone(run, resource, "it is from before a refresh")
    await run.stop()
