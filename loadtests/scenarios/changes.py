"""How long a change of the configuration takes to have an effect.

The directory is changed by a rename, and the clock stops when the daemon tells, in its stream of
events, that the first resource of the larger pool is planned.
"""

import asyncio
import json
import random
import time

from ..report import Section, at_most, fact, p50, p95
from ..scale import Scale, folder
from ..subject import Subject, a_pool
from .pacing import BEGUN


async def run(scale: Scale) -> Section:
    rounds: list[list[float]] = []
    with folder() as where:
        subject = Subject(where)
        most = scale.repetitions * scale.changes + 1
        subject.declare(a_pool("bench", 1, most))
        async with subject.running():
            await subject.until_warm("bench", 1)
            size = 1
            for _ in range(scale.repetitions):
                times: list[float] = []
                for _ in range(scale.changes):
                    size += 1
                    times.append(await _first_effect(subject, size, most))
                    await subject.until_warm("bench", size)
                    await asyncio.sleep(random.uniform(0.05, 0.25))
                rounds.append(times)
    return Section(
        "From a change of the configuration to its first effect",
        [
            fact("p50", [p50(times) for times in rounds], "s"),
            at_most("p95", [p95(times) for times in rounds], "s", 0.250, "<= 250 ms"),
        ],
        [f"{scale.changes} changes in each repetition"],
    )


async def _first_effect(subject: Subject, size: int, most: int) -> float:
    async with subject.following() as lines:
        began = time.perf_counter()
        subject.declare(a_pool("bench", size, most))
        async with asyncio.timeout(10):
            async for line in lines:
                if json.loads(line)["kind"] == BEGUN:
                    return time.perf_counter() - began
    raise AssertionError("the stream of events ended")
