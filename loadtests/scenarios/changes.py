"""How long a change of the configuration takes to have an effect.

The directory is changed by a rename, and the clock stops when the daemon tells, in its stream of
events, that the first resource of the larger pool is ready: declared, planned, made and durable.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator

from ..report import Section, at_most, fact, p50, p95
from ..scale import Scale, folder
from ..subject import Subject, a_pool


async def run(scale: Scale) -> Section:
    rounds: list[list[float]] = []
    most = scale.repetitions * scale.changes + 1
    with folder() as where:
        subject = Subject(where)
        subject.declare(a_pool("bench", 1, most))
        async with subject.running():
            await subject.until_warm("bench", 1)
            async with subject.following("kind=resource.ready") as lines:
                for size in range(2, most + 1):
                    if (size - 2) % scale.changes == 0:
                        rounds.append([])
                    rounds[-1].append(await _first_effect(subject, lines, size, most))
                    # Not in step with any timer of the daemon's.
                    await asyncio.sleep(random.uniform(0.05, 0.25))
    return Section(
        "From a change of the configuration to its first effect",
        [
            fact("p50", [p50(times) for times in rounds], "s"),
            at_most("p95", [p95(times) for times in rounds], "s", 0.250, "<= 250 ms"),
        ],
        [f"{scale.changes} changes in each repetition"],
    )


async def _first_effect(
    subject: Subject, lines: AsyncIterator[bytes], size: int, most: int
) -> float:
    """Seconds from the rename to the news that one more resource is ready."""
    began = time.perf_counter()
    subject.declare(a_pool("bench", size, most))
    async with asyncio.timeout(10):
        event = json.loads(await anext(lines))
    if event["kind"] != "resource.ready":
        raise AssertionError(f"not what was waited for: {event}")
    return time.perf_counter() - began
