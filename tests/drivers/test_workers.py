"""The executor of a driver: jobs about one part never overlap, whatever is cancelled."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from stoker.pools.driver import Unavailable
from stoker.pools.drivers.workers import Workers
from stoker.pools.ids import PartId

ONE, OTHER = PartId("web-1.a"), PartId("web-2.a")


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    workers = Workers("test", threads=2)
    workers.open()
    yield workers
    await workers.close()


async def test_a_job_waits_for_the_cancelled_one_before_it(workers: Workers) -> None:
    order: list[str] = []
    may_end = threading.Event()

    def first() -> None:
        may_end.wait(5)
        order.append("first")

    task = asyncio.create_task(workers.run_for(ONE, first), name="first")
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.wait({task})
    second = asyncio.create_task(workers.run_for(ONE, order.append, "second"), name="second")
    await workers.run_for(OTHER, order.append, "other")
    assert frozenset({ONE}) == workers.busy()
    may_end.set()
    await second
    assert ["other", "first", "second"] == order
    assert frozenset() == workers.busy()


async def test_a_job_cancelled_before_it_began_never_runs(workers: Workers) -> None:
    may_end = threading.Event()
    ran: list[str] = []
    blocking = [
        asyncio.create_task(workers.run_for(PartId(f"web-{n}.b"), may_end.wait, 5), name="blocking")
        for n in range(2)
    ]
    await asyncio.sleep(0)
    waiting = asyncio.create_task(workers.run_for(ONE, ran.append, "ran"), name="waiting")
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    may_end.set()
    await asyncio.gather(*blocking)
    await workers.run_for(ONE, ran.append, "next")
    assert ["next"] == ran


async def test_an_error_of_a_job_reaches_its_caller_and_blocks_nobody(workers: Workers) -> None:
    def fail() -> None:
        raise ValueError("as planned")

    with pytest.raises(ValueError, match="as planned"):
        await workers.run_for(ONE, fail)
    assert 3 == await workers.run_for(ONE, lambda: 3)


async def test_a_closed_driver_says_so(workers: Workers) -> None:
    await workers.close()
    with pytest.raises(Unavailable, match="closed"):
        await workers.run_for(ONE, lambda: None)


async def test_closing_waits_for_what_runs(workers: Workers) -> None:
    ended = threading.Event()

    def job() -> None:
        threading.Event().wait(0.1)
        ended.set()

    task = asyncio.create_task(workers.run_for(ONE, job), name="job")
    await asyncio.sleep(0.02)
    await workers.close()
    assert ended.is_set()
    await task
