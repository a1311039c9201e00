"""Whether backfill keeps to its rate: all of it, and never more.

Read from what the daemon says of each resource: the moment at which its creation was begun, in
milliseconds. The rate reached is taken over all of them; the most in any second is found by
sliding a window over them.
"""

from datetime import datetime

from ..report import Section, at_least, at_most, fact
from ..scale import Scale, folder
from ..subject import Subject, a_pool

RATE = 200
BURST = 10


async def run(scale: Scale) -> Section:
    reached: list[float] = []
    peaks: list[float] = []
    for _ in range(scale.repetitions):
        begun = await _begun(scale)
        reached.append((len(begun) - BURST) / (begun[-1] - begun[0]))
        peaks.append(float(most_in_a_second(begun)))
    shares = [rate / RATE for rate in reached]
    return Section(
        f"Backfill of {scale.backfilled:,} at {RATE}/s, burst {BURST}",
        [
            fact("rate reached", reached, "/s"),
            at_least("  share of the allowed rate", shares, "x", 0.95, ">= 0.95"),
            at_most("most begun in any second", peaks, "/s", RATE, f"<= {RATE}"),
        ],
    )


async def _begun(scale: Scale) -> list[float]:
    """The moments at which creations were begun, in seconds, in order."""
    with folder() as where:
        subject = Subject(where)
        subject.declare(a_pool("bench", scale.backfilled, scale.backfilled, rate=RATE, burst=BURST))
        async with subject.running():
            await subject.until_warm("bench", scale.backfilled)
            resources = (await subject.get("/v1/resources?pool=bench&limit=10000"))["items"]
    return sorted(datetime.fromisoformat(one["createdAt"]).timestamp() for one in resources)


def most_in_a_second(moments: list[float]) -> int:
    """The largest number of moments in any half-open second; they must be in order."""
    most, first = 0, 0
    for last, moment in enumerate(moments):
        while moment - moments[first] >= 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most
