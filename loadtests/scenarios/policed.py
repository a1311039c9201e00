"""What the starter's policies add to a warm claim: two daemons in turns, one with them and one without.

Both have the same pool. Each repetition takes slices of claims from the one and from the other, one
after the other, so that what else the machine does weighs on both; the ratio of their medians is
taken within a repetition.
"""

from contextlib import AsyncExitStack

from stoker.config.starter import starter_files

from ..report import Row, Section, at_most, fact, p50
from ..scale import Scale, folder
from ..subject import Subject, a_pool
from .claims import claim

SLICES = 20
"""Turns in each repetition."""


def starter_policies(most: int) -> str:
    """Those of the starter, with a limit that lets so many be held at once."""
    text = starter_files()["who.yaml"]
    declared = "maxActivePerCaller: 60"
    assert declared in text
    policy, _, _ = text.replace(declared, f"maxActivePerCaller: {most}").partition("\n---\n")
    return f"\n---\n{policy}"


async def run(scale: Scale) -> Section:
    plain: list[float] = []
    policed: list[float] = []
    most = scale.sequential
    async with AsyncExitStack() as stack:
        subjects: list[Subject] = []
        for policies in ("", starter_policies(2 * most)):
            subject = Subject(stack.enter_context(folder()))
            subject.declare(a_pool("bench", most, most) + policies)
            await stack.enter_async_context(subject.running())
            subjects.append(subject)
        for _ in range(scale.repetitions):
            for subject in subjects:
                await subject.until_warm("bench", most)
            medians = await _in_turns(subjects, most)
            plain.append(medians[0])
            policed.append(medians[1])
    growth = [after / before for before, after in zip(plain, policed, strict=True)]
    rows: list[Row] = [
        fact("warm claim without policies, p50", plain, "s"),
        fact("  with the starter's, p50", policed, "s"),
        at_most("  over the one without", growth, "x", 1.25, "<= 1.25"),
    ]
    return Section("A warm claim with policies", rows, [])


async def _in_turns(subjects: list[Subject], count: int) -> list[float]:
    found: list[list[float]] = [[] for _ in subjects]
    ids: list[list[str]] = [[] for _ in subjects]
    for _ in range(SLICES):
        for at, subject in enumerate(subjects):
            claimed = await claim(subject, "bench", count // SLICES)
            found[at] += claimed.latencies
            ids[at] += claimed.ids
    for subject, taken in zip(subjects, ids, strict=True):
        await subject.release(taken)
    return [p50(latencies) for latencies in found]
