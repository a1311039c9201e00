"""After much has come and gone, nothing of it stays in memory."""

import asyncio
import gc
from collections.abc import Iterator, Sized
from typing import cast

import pytest

from stoker.pools.claim import Claim
from stoker.pools.errands import Errand
from stoker.pools.requests import Refusal
from stoker.pools.resource import Resource
from stoker.pools.timers import FEW
from tests.fakes.world import Faults
from tests.rig import Host, Run, a_box_pool, a_part, boxes

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("on_the_rig")]

PAGE = (a_part("page"), a_part("token", "token", {"kind": "random"}))


def alive(kind: type[object]) -> int:
    gc.collect()
    return sum(1 for each in gc.get_objects() if type(each) is kind)


async def use(run: Run, number: int) -> None:
    """One claimant of many kinds: hasty, patient, forgetful, on a key, releasing or not."""
    draw = run.host.random
    key = number.to_bytes(32, "big") if number % 2 else None
    asking = asyncio.create_task(
        run.claim(wait=draw.choice([None, 0.0, 5.0]), ttl=20.0, key=key, body=b"b")
    )
    if number % 5 == 0:
        await asyncio.sleep(draw.choice([0.0, 0.0005, 1.0]))
        asking.cancel()
    try:
        claim = await asking
        await asyncio.sleep(draw.uniform(0, 10))
        for _ in range(3):
            await run.fleet.renew(claim.id, None, request_id="r")
        if number % 3:
            await run.fleet.release(claim.id, request_id="r")
    except (Refusal, asyncio.CancelledError):
        return


def containers(run: Run) -> Iterator[tuple[str, int]]:
    """The sizes of everything that the core keeps by claim, by resource or by task."""
    for holder in (run.fleet, *vars(run.fleet).values(), run.services.inventory):
        for name, value in vars(holder).items() if hasattr(holder, "__dict__") else ():
            if isinstance(value, dict | set | list):
                kept = cast("Sized", value)
                yield f"{type(holder).__name__}.{name}", len(kept)


async def test_a_thousand_claims_leave_nothing_behind() -> None:
    kinds: tuple[type[object], ...] = (Claim, Errand, Resource)
    of_others = [alive(kind) for kind in kinds]
    host = Host(faults=Faults(latency=(0.0, 0.5), fail=0.05, lose=0.05, throttle=0.02))
    run = await host.start(a_box_pool(min=3, max=20, blueprint=boxes(finish=PAGE)))
    await run.settle(5)
    before = dict(containers(run))
    for batch in range(20):
        await asyncio.gather(*(use(run, batch * 50 + number) for number in range(50)))
    host.world.faults = Faults()
    await run.settle(900)

    after = dict(containers(run))
    grown = {name: size for name, size in after.items() if size > before.get(name, 0) + 3}
    assert grown == {}
    left = [alive(kind) - others for kind, others in zip(kinds, of_others, strict=True)]
    assert left == [0, 0, 3]
    assert len(run.services.timers) <= 2 * FEW
    assert len(run.services.tasks) <= 4
    assert run.breaches() == []
    await run.stop()
