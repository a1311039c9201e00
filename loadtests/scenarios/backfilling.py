"""The tail of a warm claim while a thousand other resources are being made.

Claims come from a pool that is full and stays as it is, at an even pace. A second pool is emptied
and then asked for a thousand; the claims are those of the seconds in which they are made.
"""

import json

from ..generator import Job, Outcome, run_load
from ..report import Section, at_most, fact, p50, p99
from ..scale import Scale, folder
from ..subject import Subject, a_pool, occupied

RATE = 250
"""Creations begun per second in the second pool: a thousand of them last four seconds."""
PAUSE = 0.002
"""Seconds between an answer and the next claim."""


async def run(scale: Scale) -> Section:
    idle: list[Outcome] = []
    busy: list[Outcome] = []
    with folder() as where:
        subject = Subject(where)
        front = a_pool("bench", scale.concurrent, scale.concurrent)
        empty = a_pool("behind", 0, scale.backfilled, rate=RATE, burst=25)
        full = a_pool("behind", scale.backfilled, scale.backfilled, rate=RATE, burst=25)
        subject.declare(front, empty)
        async with subject.running():
            for _ in range(scale.repetitions):
                await subject.until("behind", lambda status: occupied(status) == 0, within=120)
                await subject.until_warm("bench", scale.concurrent)
                idle.append(await _claim_evenly(subject, scale))
                await subject.release(idle[-1].ids)
                await subject.until_warm("bench", scale.concurrent)
                subject.declare(front, full)
                await subject.until("behind", lambda status: occupied(status) > 0, within=10)
                busy.append(await _claim_evenly(subject, scale))
                await subject.until_warm("behind", scale.backfilled)
                subject.declare(front, empty)
                await subject.release(busy[-1].ids)
    quiet, loaded = ([p99(each.latencies) for each in found] for found in (idle, busy))
    ratios = [high / low for high, low in zip(loaded, quiet, strict=True)]
    return Section(
        f"A warm claim while {scale.backfilled:,} others are made, {RATE}/s",
        [
            fact("idle: p50", [p50(each.latencies) for each in idle], "s"),
            fact("idle: p99", quiet, "s"),
            fact("meanwhile: p50", [p50(each.latencies) for each in busy], "s"),
            fact("meanwhile: p99", loaded, "s"),
            at_most("  over idle p99", ratios, "x", 2.0, "<= 2"),
        ],
        [f"one client, {PAUSE * 1000:.0f} ms between claims"],
    )


async def _claim_evenly(subject: Subject, scale: Scale) -> Outcome:
    """Claims for nine tenths of the time that the second pool needs to fill."""
    body = json.dumps({"pool": "bench", "ttl": "10m", "reason": "benchmark"})
    seconds = 0.9 * scale.backfilled / RATE
    job = Job(
        *(str(subject.socket), "/v1/claims", body, scale.concurrent),
        seconds=seconds,
        pause=PAUSE,
        warm=True,
    )
    return await run_load(job)
