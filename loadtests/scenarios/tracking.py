"""What ten thousand tracked resources cost: at claim, at start, in memory.

A pool of ten is claimed from, ten claims a round; releases and refills lie between the rounds.
Once it is the daemon's only pool, once ten thousand resources lie in ten pools beside it, once it
is itself the pool of ten thousand.
"""

from dataclasses import dataclass, field
from statistics import median

from ..report import Section, at_most, fact, p50
from ..scale import Scale, folder
from ..subject import Subject, a_pool
from .claims import claim

ROUND = 10
"""Claims in one round: as many as the small pool has."""


@dataclass(slots=True)
class Found:
    """What one daemon showed."""

    claims: list[float] = field(default_factory=list[float])
    """p50 of each third of the rounds, in seconds."""
    started: list[float] = field(default_factory=list[float])
    resident: list[int] = field(default_factory=list[int])
    """Bytes, of each start with everything already in the ledger."""


async def run(scale: Scale) -> Section:
    tenth = scale.tracked // 10
    beside = [a_pool(f"bulk-{number}", tenth, tenth) for number in range(10)]
    small = await _look(scale, ROUND, a_pool("bench", ROUND, ROUND))
    many = await _look(scale, ROUND, a_pool("bench", ROUND, ROUND), *beside)
    single = await _look(scale, scale.tracked, a_pool("bench", scale.tracked, scale.tracked))
    base = median(small.claims)
    tracked = f"{scale.tracked:,}"
    each = [(size - median(small.resident)) / scale.tracked for size in many.resident]
    return Section(
        f"{tracked} resources tracked",
        [
            fact("warm claim p50, 10 tracked", small.claims, "s"),
            fact(f"  {tracked} in ten other pools", many.claims, "s"),
            at_most("  over the p50 with 10", [x / base for x in many.claims], "x", 1.3, "<= 1.3"),
            fact(f"  {tracked} in the same pool", single.claims, "s"),
            at_most(
                "  over the p50 with 10", [x / base for x in single.claims], "x", 1.3, "<= 1.3"
            ),
            fact("start to ready, 10 tracked", small.started, "s"),
            at_most(f"start to ready, {tracked}", many.started, "s", 3.0, "<= 3 s"),
            at_most("memory for each resource", each, "B", 4096, "<= 4 KiB"),
        ],
        ["memory: resident set after a restart, less that of a daemon with 10, for each"],
    )


async def _look(scale: Scale, warm: int, *pools: str) -> Found:
    """Fills the pools, then starts the daemon on them again and claims, in each repetition."""
    found = Found()
    with folder() as where:
        subject = Subject(where)
        subject.declare(*pools)
        async with subject.running():
            await subject.until_all_warm(within=300)
        for _ in range(scale.repetitions):
            async with subject.running():
                found.started.append(subject.started_in)
                await subject.until_all_warm(within=60)
                found.resident.append(subject.resident())
                latencies: list[float] = []
                for _ in range(max(1, scale.rounds)):
                    await subject.until_warm("bench", warm)
                    outcome = await claim(subject, "bench", ROUND)
                    latencies += outcome.latencies
                    await subject.release(outcome.ids)
                found.claims.append(p50(latencies))
                await subject.until_warm("bench", warm)
    return found
