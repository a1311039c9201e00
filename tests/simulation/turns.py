"""Whether those who wait are served fairly, and at once when something is ready."""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field

from stoker.config.expressions import ExpressionError
from stoker.config.selects import compile_select
from stoker.pools.assembly import scope_of
from stoker.pools.fairness import OVERTAKINGS
from stoker.pools.ids import ClaimId
from stoker.pools.resource import Resource
from stoker.pools.waiting import BEFORE_ALL, Line, Waiter
from tests.rig import Run

AT_ONCE = 1.0
"""Seconds for which something may be ready while somebody waits."""
SLACK = 5
"""Those who came first in between two looks, and were served: they overtook nobody."""
FORGIVEN = 1.0
"""Seconds after its deadline for which a claim may still wait."""


@dataclass
class Seen:
    """One that waits, since it was first seen."""

    waiter: Waiter
    shares: int
    """Its place among its caller's own, of the same priority."""
    passed: Counter[Hashable] = field(default_factory=Counter[Hashable])
    """Turns that other callers of its priority have had meanwhile."""
    first: bool = False
    """Nobody was ahead of it when it was looked at last."""
    overtaken: int = 0
    """How often somebody was served while it was first."""

    @property
    def caller(self) -> Hashable:
        return self.waiter.claim.claimant.counts_as

    @property
    def priority(self) -> int:
        """Who has some in hand already and waits for the rest stands before everybody."""
        return BEFORE_ALL if self.waiter.holds else self.waiter.standing.priority


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
        for pool in run.fleet.all_pools():
            name, line = pool.spec.name, pool.line
            yield from self._look_at(name, line)
            ready = 0 if pool.gate.shut else run.services.inventory.members(name).ready
            yield from self._lost(run, name, ready, line, now)

    def _look_at(self, pool: str, line: Line) -> Iterator[str]:
        before = self._lines.get(pool, {})
        if not before and not len(line):
            return
        here = {waiter.claim.id: waiter for waiter in line}
        left = [one for claim, one in before.items() if here.get(claim) is not one.waiter]
        seen = {claim: one for claim, one in before.items() if here.get(claim) is one.waiter}
        for one in left:
            if _was_served(one.waiter, pool) and one.waiter.claim.id not in self._had:
                self._had.add(one.waiter.claim.id)
                yield from _count(one, seen.values())
        own: Counter[tuple[Hashable, int]] = Counter()
        for claim, waiter in here.items():
            known = seen.get(claim) or Seen(waiter, 0)
            own[known.caller, known.priority] += 1
            if claim not in seen:
                known.shares = own[known.caller, known.priority]
                seen[claim] = known
        for number, claim in enumerate(here):
            seen[claim].first = number == 0
        self._lines[pool] = seen

    def _lost(self, run: Run, pool: str, ready: int, line: Line, now: float) -> Iterator[str]:
        if not ready or not len(line) or not _can_serve(run, pool, line):
            self._idle.pop(pool, None)
        elif now - self._idle.setdefault(pool, now) > AT_ONCE:
            yield f"{pool} has {ready} ready since {self._idle[pool]}, and {len(line)} wait"
        for waiter in line:
            if now > waiter.claim.deadline + FORGIVEN:
                yield f"{waiter.claim.id} still waits, {now - waiter.claim.deadline:.1f}s too long"


def _was_served(waiter: Waiter, pool: str) -> bool:
    turn = waiter.turn
    if not turn.done() or turn.cancelled() or turn.exception() is not None:
        return False
    return turn.result()[0].pool == pool  # and not by another pool for which it waited too


def _can_serve(run: Run, pool: str, line: Line) -> bool:
    """Enough is ready for somebody, and nobody keeps it who was overtaken too often."""
    waiters = list(line)
    if any(one.wants > 1 and line.overtaken(one) >= OVERTAKINGS for one in waiters):
        return False
    ready = [one for one in run.fleet.resources() if one.pool == pool and one.claimable]
    for waiter in waiters:
        wish = waiter.claim.wish
        select = "" if wish is None else wish.select
        if (
            not waiter.turn.done()
            and sum(will_do(select, one, run) for one in ready) >= waiter.wants
        ):
            return True
    return False


def will_do(select: str, resource: Resource, run: Run) -> bool:
    """Whether the resource is one that `select` selects."""
    if not select:
        return True
    scope = scope_of(resource)
    facts = {"id": resource.id, "pool": resource.pool, "labels": resource.labels}
    try:
        blueprint = run.fleet.own(resource.pool).blueprint_of(resource)
        return compile_select(select, blueprint).matches(facts, scope)
    except ExpressionError:
        return False


def _count(served: Seen, waiting: Iterable[Seen]) -> Iterator[str]:
    """`served` had a turn while these waited."""
    for one in waiting:
        if one.first:
            one.overtaken += 1
            if one.overtaken > OVERTAKINGS + SLACK and one.waiter.selector is None:
                yield f"{one.waiter.claim.id} was overtaken {one.overtaken} times"
        if one.waiter.wants > 1 or one.waiter.selector is not None:
            continue
        if one.priority > served.priority:
            yield f"{served.waiter.claim.id} was served before {one.waiter.claim.id}, which has priority"
        if one.priority == served.priority and one.caller != served.caller:
            one.passed[served.caller] += 1
            if one.passed[served.caller] > one.shares + 1:
                yield (
                    f"{one.waiter.claim.id}, number {one.shares} of its caller, waited for "
                    f"{one.passed[served.caller]} of another"
                )
