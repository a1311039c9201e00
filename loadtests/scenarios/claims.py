"""The warm claim over the socket, one after the other and by many clients at once.

Each repetition takes its floors and its claims in turns, a slice of each after the other, so that
what else the machine does weighs on all of them; ratios are taken within a repetition, and their
median is judged. The pool is as large as what is claimed from it, so nothing is backfilled
meanwhile, and claims are released outside the timed part.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from ..floors import measured
from ..generator import Job, Outcome, run_load
from ..report import Row, Section, at_least, at_most, fact, p50, p99
from ..scale import Scale, folder
from ..subject import Subject, a_pool


@dataclass(slots=True)
class Found:
    """One figure for each repetition, in seconds and per second."""

    library: list[float] = field(default_factory=list[float])
    append: list[float] = field(default_factory=list[float])
    p50: list[float] = field(default_factory=list[float])
    p99: list[float] = field(default_factory=list[float])
    library_rate: list[float] = field(default_factory=list[float])
    rate: list[float] = field(default_factory=list[float])

    def over_floor(self) -> list[float]:
        floors = zip(self.p50, self.library, self.append, strict=True)
        return [claim / (library + append) for claim, library, append in floors]

    def tail(self) -> list[float]:
        return [high / middle for high, middle in zip(self.p99, self.p50, strict=True)]

    def share(self) -> list[float]:
        return [rate / best for rate, best in zip(self.rate, self.library_rate, strict=True)]


SLICES = 5
"""Turns in each repetition."""


async def run(scale: Scale) -> Section:
    found = Found()
    most = max(scale.sequential, scale.concurrent)
    with folder() as where:
        subject = Subject(where)
        subject.declare(a_pool("bench", most, most))
        async with subject.running():
            await subject.until_warm("bench", most)
            length = await _answer_length(subject)
            async with measured.library_serving(where, length) as library:
                for _ in range(scale.repetitions):
                    await subject.until_warm("bench", most)
                    await _one_after_the_other(subject, library, scale, found, length)
                    await subject.until_warm("bench", most)
                    await _together(subject, library, scale, found)
    return Section(
        "A warm claim over the socket", _rows(found, scale), [f"answers: {length} bytes"]
    )


async def _answer_length(subject: Subject) -> int:
    """Bytes of a real answer, so that the floors answer as much; warms the daemon up as well."""
    outcome = await claim(subject, "bench", 50)
    answer = await subject.get(f"/v1/claims/{outcome.ids[0]}")
    await subject.release(outcome.ids)
    return len(json.dumps(answer, separators=(",", ":")))


async def claim(subject: Subject, pool: str, count: int, *, clients: int = 1) -> Outcome:
    """Claims `count` resources that are warm; they are the caller's to release."""
    body = json.dumps({"pool": pool, "ttl": "10m", "reason": "benchmark"})
    job = Job(str(subject.socket), "/v1/claims", body, count, clients, warm=True)
    return await run_load(job)


async def _one_after_the_other(
    subject: Subject, library: Path, scale: Scale, found: Found, length: int
) -> None:
    floor: list[float] = []
    rows: list[float] = []
    claims: list[float] = []
    ids: list[str] = []
    for _ in range(SLICES):
        count = scale.sequential // SLICES
        floor += (await measured.load(library, count)).latencies
        rows += (await measured.append(subject.folder, length, count)).latencies
        claimed = await claim(subject, "bench", count)
        claims += claimed.latencies
        ids += claimed.ids
    found.library.append(p50(floor))
    found.append.append(p50(rows))
    found.p50.append(p50(claims))
    found.p99.append(p99(claims))
    await subject.release(ids)


async def _together(subject: Subject, library: Path, scale: Scale, found: Found) -> None:
    floor = 0.0
    taken = 0.0
    ids: list[str] = []
    for _ in range(SLICES):
        count = scale.concurrent // SLICES
        floor += (await measured.load(library, count, clients=scale.clients)).elapsed
        claimed = await claim(subject, "bench", count, clients=scale.clients)
        taken += claimed.elapsed
        ids += claimed.ids
    count = scale.concurrent // SLICES * SLICES
    found.library_rate.append(count / floor)
    found.rate.append(count / taken)
    await subject.release(ids)


def _rows(found: Found, scale: Scale) -> list[Row]:
    return [
        fact("aiohttp doing nothing, p50", found.library, "s"),
        fact("one durable row, p50", found.append, "s"),
        fact("warm claim, p50", found.p50, "s"),
        at_most("  over both floors", found.over_floor(), "x", 2.0, "<= 2"),
        fact("warm claim, p99", found.p99, "s"),
        at_most("  over its own p50", found.tail(), "x", 4.0, "<= 4"),
        fact(f"{scale.clients} clients: aiohttp doing nothing", found.library_rate, "/s"),
        fact(f"{scale.clients} clients: warm claims", found.rate, "/s"),
        at_least("  share of aiohttp's", found.share(), "x", 0.40, ">= 0.40"),
    ]
