"""A stop comes at any moment, and whatever hangs does not keep the daemon from stopping."""

import asyncio
from typing import cast

import pytest

from stoker.pools.claim import ClaimState
from stoker.pools.driver import Driver
from stoker.pools.requests import Code, Refusal
from tests.builders import a_revision
from tests.fakes.world import Faults
from tests.pools.faults import Method, codes, hanging, raising, replace_method
from tests.rig import Host, Run, a_box_pool, a_part, boxes

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("on_the_rig")]

PAGE = (a_part("page"), a_part("token", "token", {"kind": "random"}))


async def stubborn(*_: object, **__: object) -> None:
    """A method of a driver that does not let itself be cancelled, for a minute."""
    ends = now() + 60
    while now() < ends:
        try:
            await asyncio.sleep(ends - now())
        except asyncio.CancelledError:
            continue


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_those_who_wait_are_told_that_the_daemon_stops() -> None:
    run = await Host().start(a_box_pool(min=0, max=1))
    await run.claim()
    waiting = [asyncio.create_task(run.claim(wait=600.0)) for _ in range(3)]
    await asyncio.sleep(1)
    began = now()
    await run.stop(grace=30.0)
    refusals = await asyncio.gather(*waiting, return_exceptions=True)

    assert codes(refusals) == [Code.STOPPING] * 3
    assert now() - began < 1


async def test_a_claim_that_is_being_finished_is_bound_within_the_grace() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=1, blueprint=boxes(finish=PAGE)))
    await run.until_ready(1)
    host.world.faults.latency = (3.0, 3.0)
    claiming = asyncio.create_task(run.claim(wait=600.0))
    await asyncio.sleep(1)
    await run.stop(grace=30.0)

    assert claiming.result().state is ClaimState.BOUND


async def test_a_claim_that_is_not_finished_within_the_grace_is_told_so_and_undone_by_the_next_run() -> (
    None
):
    host = Host()
    spec = a_box_pool(min=1, blueprint=boxes(finish=PAGE))
    run = await host.start(spec)
    await run.until_ready(1)
    replace_method(run.driver, "create", hanging)
    claiming = asyncio.create_task(run.claim(wait=600.0, key=b"k", body=b"b"))
    await asyncio.sleep(1)
    await run.stop(grace=5.0)
    with pytest.raises(Refusal) as caught:
        await claiming
    assert caught.value.code is Code.STOPPING

    run = await host.start(spec)
    claim = await run.claim(key=b"k", body=b"b")
    await run.settle(60)
    assert claim.state is ClaimState.BOUND
    assert run.forgotten() == set()
    await run.stop()


async def test_a_claim_whose_finishing_fails_during_the_stop_does_not_queue_again() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=1, max=1, blueprint=boxes(finish=PAGE)))
    await run.until_ready(1)
    host.world.faults = Faults(latency=(3.0, 3.0), fail=1.0)
    claiming = asyncio.create_task(run.claim(wait=600.0))
    await asyncio.sleep(1)
    began = now()
    await run.stop(grace=100.0)

    with pytest.raises(Refusal) as caught:
        await claiming
    assert caught.value.code in {Code.STOPPING, Code.FINISH_FAILED}
    assert now() - began < 20


async def test_pending_claims_wait_on_in_the_next_run() -> None:
    host = Host(faults=Faults(latency=(50.0, 50.0)))
    run = await host.start(a_box_pool(min=0, max=1))
    pending = await run.claim(wait=None)
    await run.stop(grace=5.0)
    host.world.faults.latency = (1.0, 1.0)

    run = await host.start(a_box_pool(min=0, max=1))
    assert (await run.fleet.settled(pending.id, 30.0)).state is ClaimState.BOUND
    await run.stop()


@pytest.mark.parametrize("method", ["create", "destroy", "observe", "list_owned", "allot", "close"])
@pytest.mark.parametrize("behaviour", [hanging, stubborn, raising(ValueError("no"))])
async def test_a_driver_that_hangs_or_fails_does_not_keep_the_daemon_from_stopping(
    method: str, behaviour: Method
) -> None:
    host = Host()
    run = await host.start(a_box_pool(min=2, max=4))
    await run.until_ready(2)
    claim = await run.claim()
    closed: list[str] = []

    class Other:
        name, pure = "other", False

        async def close(self) -> None:
            closed.append(self.name)

    run.drivers["other"] = cast("Driver", Other())
    setattr(run.driver, method, behaviour)
    for resource in run.fleet.resources():
        run.fleet.health.look_at(resource)
    await run.fleet.release(claim.id, request_id="r")
    sweeping = asyncio.create_task(run.fleet.orphans.sweep())
    await asyncio.sleep(1)
    began = now()
    await asyncio.wait_for(run.stop(grace=5.0), 60)

    assert now() - began <= 16
    assert closed == ["other"]
    sweeping.cancel()
    await asyncio.sleep(200)


@pytest.mark.parametrize("stage", ["made", "opened", "applied", "started"])
async def test_a_stop_at_any_stage_of_the_start_ends_cleanly(stage: str) -> None:
    host = Host()
    first = await host.start(a_box_pool(min=2))
    await first.until_ready(2)
    claim = await first.claim()
    await first.stop()

    run = Run(host)
    if stage != "made":
        await run.open()
    if stage in {"applied", "started"}:
        await run.fleet.apply(a_revision(a_box_pool(min=2)))
    if stage == "started":
        await run.fleet.start()
    await run.stop()
    assert len(run.services.tasks) == 0

    run = await host.start(a_box_pool(min=2))
    await run.until_ready(2)
    assert (await run.fleet.find_claim(claim.id)).state is ClaimState.BOUND
    assert run.forgotten() == set()
    await run.stop()


async def test_nothing_begins_after_the_stop() -> None:
    host = Host(faults=Faults(latency=(1.0, 1.0)))
    run = await host.start(a_box_pool(min=4, max=9))
    await run.until_ready(4)
    claim = await run.claim()
    releasing = asyncio.create_task(run.fleet.release(claim.id, request_id="r"))
    await asyncio.sleep(0)
    await run.stop(grace=0.0)
    await asyncio.gather(releasing, return_exceptions=True)
    calls = dict(host.world.calls)
    await asyncio.sleep(600)

    assert host.world.calls == calls
    assert len(run.services.tasks) == 0
