"""How soon the claims of a process are over when it is killed: one, and a thousand of one process.

Measured from the signal to the durable event, as a follower of the events sees it.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from ..processes import module
from ..report import Section, at_most, fact, p50, p99
from ..scale import Scale, folder
from ..subject import Subject, a_pool


async def run(scale: Scale) -> Section:
    many = scale.sequential
    single: list[list[float]] = []
    together: list[float] = []
    held: list[float] = []
    with folder() as where:
        subject = Subject(where)
        subject.declare(a_pool("bench", many, 2 * many))
        async with subject.running():
            await subject.until_all_warm(within=120)
            for _ in range(scale.repetitions):
                took = [(await _depart(subject, 1))[0] for _ in range(scale.changes)]
                single.append(took)
                await subject.until_warm("bench", many)
                seconds, descriptors = await _depart(subject, many)
                together.append(seconds)
                held.append(descriptors)
                await subject.until_warm("bench", many)
    return Section(
        "A claiming process is killed",
        [
            at_most(
                "its claim is over, p50", [p50(took) for took in single], "s", 0.1, "<= 100 ms"
            ),
            at_most(
                "its claim is over, p99", [p99(took) for took in single], "s", 0.1, "<= 100 ms"
            ),
            fact(f"the last of {many:,} claims is over", together, "s"),
            at_most(f"descriptors of {many:,} claims", held, "x", 1, "1"),
        ],
    )


async def _depart(subject: Subject, count: int) -> tuple[float, float]:
    """Seconds from the kill to the last event, and how many pidfds the claims took."""
    before = _pidfds(subject.pid)
    claimant = await asyncio.create_subprocess_exec(
        *module("loadtests.claimant", subject.socket, "bench", count),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert claimant.stdout is not None
        assert await claimant.stdout.readline() == b"claimed\n"
        held = _pidfds(subject.pid) - before
        async with subject.following("kind=claim.claimant-gone&limit=10000") as events:
            killed = time.perf_counter()
            claimant.kill()
            await _see(events, count)
            return time.perf_counter() - killed, held
    finally:
        if claimant.returncode is None:
            with suppress(ProcessLookupError):
                claimant.kill()
        await claimant.wait()


async def _see(events: AsyncIterator[bytes], count: int) -> None:
    async with asyncio.timeout(60):
        for _ in range(count):
            await anext(events)


def _pidfds(pid: int) -> int:
    found = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            found += "pidfd" in str(entry.readlink())
    return found
