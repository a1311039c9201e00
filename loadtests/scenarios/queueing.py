"""What waiting costs: a place in a long line, and the way of a release to the next who waits.

The places are measured on the daemon's own line, in this process: with fifty and with five thousand
who wait, in turns, from ten callers with three priorities. The hand-over is measured over the
socket, on a pool in which everything is claimed: a released resource is removed and a new one is
made, so what these two take by themselves is measured in the same turns, without anybody waiting.
"""

import asyncio
import gc
import itertools
import json
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from stoker.config.expressions import compile_expression
from stoker.config.priorities import ENVIRONMENT
from stoker.config.revision import Priority
from stoker.pools.claim import Claim, Claimant
from stoker.pools.ids import ClaimId, ResourceId
from stoker.pools.resource import Resource
from stoker.pools.waiting import Line, Waiter

from ..report import Row, Section, at_most, fact, p50
from ..scale import Scale, folder
from ..subject import Subject, a_pool
from ..wire import Wire, encode

SHORT, LONG = 50, 5000
OPERATIONS = 500
"""Of each kind, in one turn."""
TURNS = 6
SIZE = 4
"""Of the pool that everybody waits for."""
WAITING = 8
"""Those who wait while one is served."""
ROUNDS = 25
"""Releases in each turn."""
STEPS = ("enqueue", "cancel", "grant", "position")


async def run(scale: Scale) -> Section:
    rows: list[Row] = []
    places = [_places() for _ in range(scale.repetitions)]
    for step in STEPS:
        few, many = ([found[step, size] for found in places] for size in (SHORT, LONG))
        rows.append(fact(f"{step}, {SHORT} wait", few, "s"))
        ratios = [long / short for long, short in zip(many, few, strict=True)]
        rows.append(at_most(f"  {LONG:,} wait, over that", ratios, "x", 2.0, "<= 2"))
    found = await _hand_overs(scale)
    more = [
        whole - removal - making
        for whole, removal, making in zip(found.whole, found.removal, found.making, strict=True)
    ]
    beyond = [ready - bind for ready, bind in zip(found.ready, found.commit, strict=True)]
    rows += [
        fact("a release to the next answer", found.whole, "s"),
        fact("  removing, nobody waits", found.removal, "s"),
        fact("  a cold claim, nobody waits", found.making, "s"),
        at_most("  more than these two", more, "s", 0.001, "<= 1 ms"),
        fact("ready to the next answer", found.ready, "s"),
        fact("  the commit in it", found.commit, "s"),
        at_most("  more than the commit", beyond, "s", 0.001, "<= 1 ms"),
    ]
    return Section(
        "Waiting in line",
        rows,
        ["medians; all but the places over the socket, on a pool in which everything is claimed"],
    )


# Places in the line


def _places() -> dict[tuple[str, int], float]:
    """Seconds of one operation, by its name and by how many wait."""
    lines = {size: _Crowd(size) for size in (SHORT, LONG)}
    taken: dict[tuple[str, int], list[float]] = {}
    gc.collect()
    gc.disable()
    try:
        for _ in range(TURNS):
            for size, crowd in lines.items():
                for step, seconds in crowd.turn():
                    taken.setdefault((step, size), []).append(seconds)
    finally:
        gc.enable()
    return {key: median(values) for key, values in taken.items()}


class _Crowd:
    """A line with about as many as said, whatever happens to it."""

    def __init__(self, size: int) -> None:
        self._random = random.Random(size)
        self._numbers = itertools.count()
        self._line = Line()
        self._line.priorities = tuple(
            Priority(name, compile_expression(f"claim.reason == '{name}'", ENVIRONMENT), number)
            for number, name in enumerate(("low", "high"), start=-1)
        )
        self._waiting: dict[ClaimId, Waiter] = {}
        self._size = size
        for _ in range(size):
            self._join(self._claim())

    def turn(self) -> list[tuple[str, float]]:
        taken = dict.fromkeys(STEPS, 0.0)
        for _ in range(OPERATIONS):
            claim = self._claim()
            known = self._random.choice(list(self._waiting)[:SHORT])
            gone = self._random.choice(list(self._waiting)[-SHORT:])
            marks = [time.perf_counter()]
            waiter = self._line.join(claim)
            marks.append(time.perf_counter())
            self._line.leave(gone)
            marks.append(time.perf_counter())
            served = self._line.next(1)
            assert served is not None
            accepted = served.offer(RESOURCE)
            self._line.served(served.claim.id)
            marks.append(time.perf_counter())
            self._line.position(known)
            marks.append(time.perf_counter())
            assert accepted
            for step, (before, after) in zip(STEPS, itertools.pairwise(marks), strict=True):
                taken[step] += after - before
            self._waiting[claim.id] = waiter
            del self._waiting[gone]
            self._waiting.pop(served.claim.id, None)
            if len(self._waiting) < self._size:
                self._join(self._claim())
        return [(step, seconds / OPERATIONS) for step, seconds in taken.items()]

    def _join(self, claim: Claim) -> None:
        self._waiting[claim.id] = self._line.join(claim)

    def _claim(self) -> Claim:
        reason = self._random.choice(["low", "high", "", ""])
        claimant = Claimant(self._random.randrange(10), 0, 1)
        identity = ClaimId(f"c-{next(self._numbers)}")
        return Claim(identity, "web", claimant, 0.0, 60.0, 60.0, 60.0, reason=reason)


RESOURCE = Resource(ResourceId("web-1"), "web", "box", "d1", "r1", 0.0)


# The hand-over


@dataclass(slots=True)
class Found:
    """The median of each repetition, in seconds."""

    whole: list[float] = field(default_factory=list[float])
    removal: list[float] = field(default_factory=list[float])
    making: list[float] = field(default_factory=list[float])
    ready: list[float] = field(default_factory=list[float])
    commit: list[float] = field(default_factory=list[float])


@dataclass(slots=True)
class Taken:
    """One repetition."""

    whole: list[float] = field(default_factory=list[float])
    removal: list[float] = field(default_factory=list[float])
    making: list[float] = field(default_factory=list[float])
    ready: list[float] = field(default_factory=list[float])
    commit: list[float] = field(default_factory=list[float])


async def _hand_overs(scale: Scale) -> Found:
    found = Found()
    with folder() as where:
        subject = Subject(where)
        subject.declare(a_pool("bench", 0, SIZE))
        async with subject.running(), subject.following("kind=resource.") as lines:
            events = _Events(lines)
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(events.read(), name="events")
                for _ in range(scale.repetitions):
                    taken = Taken()
                    for _ in range(2):
                        await _alone(subject, events, taken)
                        await _contended(subject, events, taken)
                    for name in Found.__slots__:
                        getattr(found, name).append(p50(getattr(taken, name)))
                reading.cancel()
    return found


class _Events:
    """When the newest event of each kind was seen."""

    def __init__(self, lines: AsyncIterator[bytes]) -> None:
        self._lines = lines
        self._seen: dict[str, asyncio.Future[float]] = {}

    def next(self, kind: str) -> asyncio.Future[float]:
        """Resolves to the moment at which the next event of this kind is read."""
        self._seen[kind] = asyncio.get_running_loop().create_future()
        return self._seen[kind]

    async def read(self) -> None:
        async for line in self._lines:
            now = time.perf_counter()
            told = self._seen.get(json.loads(line)["kind"])
            if told is not None and not told.done():
                told.set_result(now)


async def _alone(subject: Subject, events: _Events, taken: Taken) -> None:
    """A cold claim and a removal, one after the other: nobody waits for what becomes free."""
    wire = await Wire.connect(str(subject.socket))
    for _ in range(ROUNDS):
        claim, seconds = await _claim(wire)
        taken.making.append(seconds)
        gone = events.next("resource.gone")
        began = time.perf_counter()
        await wire.ask(encode("DELETE", f"/v1/claims/{claim['id']}"))
        taken.removal.append(await asyncio.wait_for(gone, 10) - began)
    wire.close()


async def _contended(subject: Subject, events: _Events, taken: Taken) -> None:
    """Everything is claimed and others wait; one is released at a time."""
    wire = await Wire.connect(str(subject.socket))
    held = [(await _claim(wire))[0]["id"] for _ in range(SIZE)]
    answers: asyncio.Queue[tuple[float, str, float]] = asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        for _ in range(WAITING):
            group.create_task(_wait_and_hold(subject, answers, ROUNDS // WAITING + 1))
        await subject.until("bench", lambda status: status["waiting"] == WAITING, within=10)
        served = 0
        while served < WAITING * (ROUNDS // WAITING + 1):
            ready = events.next("resource.ready")
            began = time.perf_counter()
            await wire.ask(encode("DELETE", f"/v1/claims/{held.pop(0)}"))
            at, claim, commit = await asyncio.wait_for(answers.get(), 10)
            served += 1
            taken.whole.append(at - began)
            taken.ready.append(at - await asyncio.wait_for(ready, 10))
            taken.commit.append(commit)
            held.append(claim)
    gone = events.next("resource.gone")
    await subject.release(held)
    await asyncio.wait_for(gone, 10)
    await subject.until("bench", lambda status: not status["counts"], within=10)
    wire.close()


async def _wait_and_hold(
    subject: Subject, answers: "asyncio.Queue[tuple[float, str, float]]", times: int
) -> None:
    """Claims, tells of it, and claims again; who releases it is the scenario's affair."""
    wire = await Wire.connect(str(subject.socket))
    for _ in range(times):
        claim, _ = await _claim(wire)
        at = time.perf_counter()
        await answers.put((at, claim["id"], float(claim["timing"]["bind"][:-2]) / 1000))
    wire.close()


async def _claim(wire: Wire) -> tuple[dict[str, Any], float]:
    """A bound claim, and how many seconds it took."""
    body = json.dumps({"pool": "bench", "ttl": "10m", "wait": "1m"}).encode()
    began = time.perf_counter()
    status, answer = await wire.ask(encode("POST", "/v1/claims", body))
    seconds = time.perf_counter() - began
    if status != 201:
        raise AssertionError(f"a claim was answered {status}: {answer.decode()[:300]}")
    return json.loads(answer), seconds
