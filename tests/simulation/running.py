"""Plays one seed from beginning to end under virtual time."""

import asyncio
import hashlib
import logging
from collections import Counter
from dataclasses import dataclass, field, replace

from tests.rig import virtual_throttle
from tests.simulation.crowd import crowd
from tests.simulation.estimates import Errors
from tests.simulation.invariants import STEP, Broken, Watcher
from tests.simulation.rush import rush
from tests.simulation.story import Story
from tests.virtual_loop import VirtualLoop

CALM_DOWN = 2400.0
"""Virtual seconds of calm at the end: longer than a breaker's longest rest and two sweeps."""
SIDE_STORIES = 4
"""One seed of so many also plays the stories in which nothing breaks: they tell less, and cost as much."""


@dataclass(frozen=True)
class Outcome:
    seed: int
    problem: str
    served: int
    refused: int
    crashes: int
    reused: int
    created: int
    fingerprint: str
    """Hash of all effects in the world with their times: equal when a seed replays exactly."""
    rollouts: Counter[str]
    """The events of rollouts, by kind."""
    consent: Counter[str]
    """What became of claims that needed an approval, and how many votes were answered."""
    errors: Errors
    """Of the estimates that waiting claims were told."""
    rush: Errors = field(default_factory=Errors)
    """Of those of the seed's rush, where nothing breaks."""


def play(seed: int, hours: float = 1.0) -> Outcome:
    """One seed. A broken invariant is the outcome's `problem`; anything else is raised."""
    logging.disable(logging.CRITICAL)
    loop = VirtualLoop()
    try:
        with virtual_throttle():
            return loop.run_until_complete(_play(seed, hours))
    finally:
        loop.close()
        logging.disable(logging.NOTSET)


def play_rush(seed: int) -> Errors:
    """One seed's rush. Raises `AssertionError` for a claim that was not served."""
    loop = VirtualLoop()
    try:
        with virtual_throttle():
            return loop.run_until_complete(rush(seed))
    finally:
        loop.close()


def play_crowd(seed: int) -> str:
    """What is wrong in one seed's crowd; empty when nothing is."""
    logging.disable(logging.CRITICAL)
    loop = VirtualLoop()
    try:
        with virtual_throttle():
            return loop.run_until_complete(crowd(seed))[1]
    finally:
        loop.close()
        logging.disable(logging.NOTSET)


def play_job(job: tuple[int, float]) -> Outcome:
    """A seed's story for a worker process; every fourth seed has a rush and a crowd, too."""
    seed, hours = job
    outcome = play(seed, hours)
    if seed % SIDE_STORIES or outcome.problem:
        return outcome
    return replace(outcome, rush=play_rush(seed), problem=play_crowd(seed))


async def _play(seed: int, hours: float) -> Outcome:
    story = Story(seed, hours * 3600.0)
    watcher = Watcher(story)
    story.at_commit = watcher.glance
    problem = ""

    async def watch() -> None:
        while True:
            await asyncio.sleep(STEP)
            watcher.look()
            if story.up:
                story.estimates.look(story.daemon, story.now())

    try:
        await story.tell(watch)
        for _ in range(int(CALM_DOWN / 10)):
            await asyncio.sleep(10.0)
            await story.operators.retry_rollouts()
            watcher.look()
        watcher.settle()
    except* Broken as broken:
        problem = "; ".join(str(one) for one in _flat(broken))
    if story.run is not None:
        await story.run.crash()
    log = story.host.world.log
    digest = hashlib.sha256(
        "\n".join(f"{e.at:.6f} {e.kind} {e.part} {e.incarnation}" for e in log).encode()
    )
    return Outcome(
        seed,
        problem,
        story.served,
        story.refused,
        story.crashes,
        watcher.reused,
        sum(1 for effect in log if effect.kind == "created"),
        digest.hexdigest()[:16],
        story.rolls.told,
        story.consent.told_of + Counter({"votes": story.voters.done}),
        story.estimates.errors,
    )


def _flat(group: BaseExceptionGroup[Broken]) -> list[Broken]:
    found: list[Broken] = []
    for error in group.exceptions:
        found += _flat(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
