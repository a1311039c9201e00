"""Whether those who wait are served fairly, and at once when something is ready."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from stoker.pools.ids import ClaimId
from stoker.pools.waiting import Line, Waiter
from tests.rig import Run

AT_ONCE = 1.0
"""Seconds for which something may be ready while somebody waits."""
FORGIVEN = 1.0
"""Seconds after its deadline for which a claim may still wait."""


@dataclass
class Seen:
    """One that waits, since it was first seen."""

    waiter: Waiter
    shares: int
    """Its place among its caller's own, of the same priority."""
    passed: Counter[int] = field(default_factory=Counter[int])
    """Turns that other callers of its priority have had meanwhile."""

    @property
    def caller(self) -> int:
        return self.waiter.claim.claimant.uid

    @property
    def priority(self) -> int:
        return self.waiter.standing.priority


class Turns:
    """Of one story. `look` tells what is wrong."""

    def __init__(self) -> None:
        self._run: Run | None = None
        self._lines: dict[str, dict[ClaimId, Seen]] = {}
        self._had: set[ClaimId] = set()
        """Claims that were served once: one that comes back has the same turn again."""
        self._idle: dict[str, float] = {}
        """Since when something is ready in a pool for which somebody waits."""

    def look(self, run: Run, now: float) -> Iterator[str]:
        if run is not self._run:
            self._run = run
            self._lines.clear()
            self._had.clear()
            self._idle.clear()
        for status in run.fleet.pools():
            line = run.fleet.own(status.name).line
            yield from self._look_at(status.name, line)
            shut = status.draining or status.paused
            yield from self._lost(status.name, 0 if shut else status.ready, line, now)

    def _look_at(self, pool: str, line: Line) -> Iterator[str]:
        before = self._lines.get(pool, {})
        here = {waiter.claim.id: waiter for waiter in line}
        left = [one for claim, one in before.items() if here.get(claim) is not one.waiter]
        seen = {claim: one for claim, one in before.items() if here.get(claim) is one.waiter}
        for one in left:
            if _was_served(one.waiter) and one.waiter.claim.id not in self._had:
                self._had.add(one.waiter.claim.id)
                yield from _count(one, seen.values())
        own: Counter[tuple[int, int]] = Counter()
        for claim, waiter in here.items():
            known = seen.get(claim) or Seen(waiter, 0)
            own[known.caller, known.priority] += 1
            if claim not in seen:
                known.shares = own[known.caller, known.priority]
                seen[claim] = known
        self._lines[pool] = seen

    def _lost(self, pool: str, ready: int, line: Line, now: float) -> Iterator[str]:
        if not ready or not len(line):
            self._idle.pop(pool, None)
        elif now - self._idle.setdefault(pool, now) > AT_ONCE:
            yield f"{pool} has {ready} ready since {self._idle[pool]}, and {len(line)} wait"
        for waiter in line:
            if now > waiter.claim.deadline + FORGIVEN:
                yield f"{waiter.claim.id} still waits, {now - waiter.claim.deadline:.1f}s too long"


def _was_served(waiter: Waiter) -> bool:
    turn = waiter.turn
    return turn.done() and not turn.cancelled() and turn.exception() is None


def _count(served: Seen, waiting: Iterable[Seen]) -> Iterator[str]:
    """`served` had a turn while these waited."""
    for one in waiting:
        if one.priority > served.priority:
            yield f"{served.waiter.claim.id} was served before {one.waiter.claim.id}, which has priority"
        if one.priority == served.priority and one.caller != served.caller:
            one.passed[served.caller] += 1
            if one.passed[served.caller] > one.shares + 1:
                yield (
                    f"{one.waiter.claim.id}, number {one.shares} of its caller, waited for "
                    f"{one.passed[served.caller]} of another"
                )
