"""Resets that the daemon's end or the ledger cuts short: never ready unverified, never forgotten."""

import asyncio

import pytest

from stoker.pools.claim import ClaimState
from stoker.pools.lifecycle import ResourceState
from stoker.pools.requests import Refusal
from tests.fakes.world import Faults
from tests.pools.faults import Ledger
from tests.pools.test_resets import a_used_one, gone, released, start
from tests.rig import a_box_pool, reusable

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("on_the_rig")]

S = ResourceState


def never(_: int) -> bool:
    return False


async def test_a_resource_that_was_being_reset_when_the_daemon_died_is_removed() -> None:
    run = await start(faults=Faults(latency=(1.0, 1.0)))
    first, resource = await a_used_one(run)
    await released(run, first)
    assert resource.state is S.RESETTING
    await run.crash()

    again = await run.host.start(a_box_pool(min=1, max=1, blueprint=reusable()))
    await again.settle(30.0)

    assert again.fleet.resource(resource.id) is None
    assert (await again.fleet.find_claim(first.id)).state is ClaimState.ENDED
    assert again.ready() == 1
    assert again.forgotten() == set()
    await again.stop()


async def test_a_reused_resource_is_ready_and_counts_its_uses_after_a_restart() -> None:
    run = await start()
    first, resource = await a_used_one(run)
    await released(run, first)
    await run.until_ready(1)
    await run.crash()

    again = await run.host.start(a_box_pool(min=1, max=1, blueprint=reusable()))
    await again.until_ready(1)

    assert again.resource(resource.id).uses == 1
    await again.stop()


async def test_a_release_that_cannot_be_written_at_once_ends_the_resource() -> None:
    run = await start()
    first, resource = await a_used_one(run)
    ledger = Ledger(run)
    ledger.down = True

    with pytest.raises(Refusal, match="cannot be written"):
        await released(run, first)
    await run.settle(3.0)
    assert run.host.world.calls.get("reset", 0) == 0
    ledger.down = False

    await gone(run, resource, "its release could not be written at once")
    await run.stop()


@pytest.mark.parametrize("late", [0, 1])
async def test_a_reset_that_cannot_be_written_down_ends_the_resource(late: int) -> None:
    """Whether the write that failed took effect or not."""
    run = await start(faults=Faults(latency=(1.0, 1.0)))
    first, resource = await a_used_one(run)
    await released(run, first)
    ledger = Ledger(run, lambda gap: gap % 2 == late)

    while resource.state is S.RESETTING:
        await asyncio.sleep(0.05)
    assert resource.state is S.ENDING
    assert (await run.fleet.find_claim(first.id)).state is ClaimState.ENDING
    ledger.fails = never

    await gone(run, resource, "the reset failed")
    assert (await run.fleet.find_claim(first.id)).state is ClaimState.ENDED
    await run.stop()
