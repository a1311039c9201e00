"""The line of claims that wait for a resource of one pool, in the order of `fairness`.

A waiter says whether it accepts: `offer` answers false when the claimant has just left or timed
out, and the resource goes to the next one. Nothing is ever handed to somebody who is gone.

One that wants several is offered all of them at once, or nothing: it holds nothing while it waits,
so no two of them can wait for each other. One that comes back for a replacement does hold the others:
it stands before everybody, whatever their priority, and no two of these may wait in one line (see
`wishing`). One may stand in the lines of several pools with the same `turn`: whichever pool is first is
accepted, and all others are declined.

Who selects
-----------

A line in which somebody selects is walked by `pick`, because what is ready is of use to some only.
Whoever wants one and finds nothing of use is passed over, and keeps its place. One that wants several
and is passed over by somebody who takes what it could use, is overtaken; after `OVERTAKINGS`
times what it could use is kept for it, and the others take what it could not.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from ..config.revision import Priority
from .claim import Claim
from .fairness import LOOKAHEAD, OVERTAKINGS, FairOrder
from .ids import ClaimId, ResourceId
from .inventory import Members
from .resource import Resource
from .selecting import Selector
from .standing import Failed, Standing, standing_of
from .telemetry import Telemetry

log = logging.getLogger(__name__)


BEFORE_ALL = 1001
"""Above every priority that can be declared."""

Turn = asyncio.Future[tuple[Resource, ...]]
"""What somebody who waits is handed, all at once."""


@dataclass(frozen=True, slots=True)
class Place:
    """How somebody stands in a line who wants more than any one resource of this pool."""

    wants: int = 1
    turn: Turn | None = None
    """The same in all lines of one who stands in several."""
    selector: Selector | None = None
    turned_away: Callable[[Exception], None] | None = None
    """Told that this line serves nobody any more, and why."""
    holds: bool = False
    """It has some resources of this pool in hand already, and waits for the rest."""


class Waiter:
    """One claim's place. Its own coroutine waits on `turn`."""

    __slots__ = (
        "claim",
        "holds",
        "overtaken",
        "selector",
        "standing",
        "turn",
        "turned_away",
        "wants",
    )

    def __init__(
        self,
        claim: Claim,
        standing: Standing | None = None,
        place: Place = Place(),
    ) -> None:
        self.claim = claim
        self.standing = standing or Standing(claim.claimant.counts_as)
        self.wants = place.wants
        """How many resources it takes at once. It is given none before all are ready."""
        self.selector = place.selector
        self.turned_away = place.turned_away
        self.holds = place.holds
        self.overtaken = 0
        """How often somebody behind took what it could have used, as `pick` counts it."""
        self.turn: Turn = place.turn or asyncio.get_running_loop().create_future()

    def offer(self, *resources: Resource) -> bool:
        """Hands the resources over, unless the waiter has gone."""
        if self.turn.done():
            return False
        self.turn.set_result(resources)
        return True

    def withdraw(self) -> tuple[Resource, ...]:
        """Leaves; returns what had been handed over just before."""
        if self.turn.done():
            refused = self.turn.cancelled() or self.turn.exception() is not None
            return () if refused else self.turn.result()
        self.turn.cancel()
        return ()


def _ignore(_name: str, _why: str) -> None:
    """For lines whose priorities cannot fail, because there are none."""


def complaints(pool: str, telemetry: Telemetry) -> Failed:
    """Counts each time that a priority fails, and logs each reason once."""
    told: set[tuple[str, str]] = set()

    def failed(name: str, why: str) -> None:
        telemetry.priority_failed(pool)
        if (name, why) not in told:
            told.add((name, why))
            log.warning("the priority %s of the pool %s matches nothing: %s", name, pool, why)

    return failed


class Line:
    """Who waits, in order."""

    def __init__(self, failed: Failed = _ignore) -> None:
        """`failed` is told of each priority whose expression cannot be evaluated."""
        self.priorities: tuple[Priority, ...] = ()
        """For those who join from now on; the others keep their standing."""
        self._failed = failed
        self._waiters: dict[ClaimId, Waiter] = {}
        self._order: FairOrder[ClaimId] = FairOrder()
        self._expected: set[ClaimId] = set()
        self.choosy = 0
        """How many of them select."""

    def __len__(self) -> int:
        return len(self._waiters)

    def __iter__(self) -> Iterator[Waiter]:
        return (self._waiters[claim] for claim in self._order)

    @property
    def wanted(self) -> int:
        """How many resources all of them want together."""
        return self._order.wanted

    @property
    def taken(self) -> int:
        """How many places are taken, by those on their way too."""
        return len(self._waiters) + len(self._expected)

    def expect(self, claim: ClaimId) -> None:
        """Keeps a place for a claim that will join in a moment, or `leave` without having joined."""
        self._expected.add(claim)

    def join(self, claim: Claim, *, first: bool = False, place: Place = Place()) -> Waiter:
        """Takes a place; `first` for one who was served before and comes back."""
        standing = standing_of(claim, self.priorities, self._failed)
        waiter = Waiter(claim, standing, place)
        priority = BEFORE_ALL if place.holds else standing.priority
        self._order.join(claim.id, standing.key, priority=priority, wants=place.wants, first=first)
        self._waiters[claim.id] = waiter
        if waiter.selector is not None:
            self.choosy += 1
            waiter.selector.begin()
        self._expected.discard(claim.id)
        return waiter

    def leave(self, claim: ClaimId) -> None:
        """Gives a place up; harmless when it has none."""
        self._expected.discard(claim)
        waiter = self._waiters.pop(claim, None)
        if waiter is not None:
            self._order.leave(claim)
            self._chosen(waiter)

    def served(self, claim: ClaimId) -> None:
        """A waiter accepted what it was offered."""
        waiter = self._waiters.pop(claim)
        self._order.served(claim)
        self._chosen(waiter)

    def _chosen(self, waiter: Waiter) -> None:
        if waiter.selector is not None:
            self.choosy -= 1
            waiter.selector.end()

    def get(self, claim: ClaimId) -> Waiter | None:
        return self._waiters.get(claim)

    def dismiss(self, claim: ClaimId, why: Exception) -> None:
        """Sends a waiter away, unless it was just served. Its coroutine gets `why`."""
        waiter = self._waiters.get(claim)
        if waiter is not None and not waiter.turn.done():
            waiter.turn.set_exception(why)

    def turn_away(self, claim: ClaimId, why: Exception) -> None:
        """Tells it that this line serves it no more. One that stands in others stays there."""
        waiter = self._waiters.get(claim)
        if waiter is None or waiter.turned_away is None:
            self.dismiss(claim, why)
        elif not waiter.turn.done():
            self.leave(claim)
            waiter.turned_away(why)

    def first(self) -> Waiter | None:
        claim = self._order.first()
        return None if claim is None else self._waiters[claim]

    @property
    def held_up(self) -> bool:
        """Somebody waits who has resources of this pool in hand. Nobody stands before it."""
        first = self.first()
        return first is not None and first.holds

    def next(self, ready: int) -> Waiter | None:
        """Whom to offer something of what is ready; None when nobody waits, or all is reserved."""
        claim = self._order.next(ready)
        return None if claim is None else self._waiters[claim]

    def pick(self, members: Members) -> tuple[Waiter, tuple[Resource, ...]] | None:
        """As `next`, where somebody selects: whom to offer which. See the module."""
        kept: set[ResourceId] = set()
        passed: Waiter | None = None
        looked_at = 0
        for claim in self._order:
            waiter = self._waiters[claim]
            selector = waiter.selector
            if selector is not None and not selector.some:
                continue
            looked_at += 1
            if looked_at > LOOKAHEAD:
                return None
            usable = members.claimable() if selector is None else selector.matching()
            found = tuple(islice((r for r in usable if r.id not in kept), waiter.wants))
            if len(found) == waiter.wants:
                if passed is not None and any(_is_useful(one, passed) for one in found):
                    passed.overtaken += 1
                return waiter, found
            if waiter.wants == 1:
                continue
            if self.overtaken(waiter) < OVERTAKINGS:
                passed = passed or waiter
            elif selector is None:
                return None
            else:
                kept.update(resource.id for resource in selector.matching())
        return None

    def overtaken(self, waiter: Waiter) -> int:
        """How often somebody behind one that wants several was served before it."""
        return max(waiter.overtaken, self._order.overtaken(waiter.claim.id))

    def wanted_by_nobody(self, members: Members) -> Resource | None:
        """Something ready for one who has just come, where all who wait select something else."""
        if self.choosy < len(self._waiters):
            return None
        selectors = {waiter.selector for waiter in islice(self._waiters.values(), LOOKAHEAD)}
        if self.choosy > LOOKAHEAD:
            return None
        for resource in islice(members.claimable(), LOOKAHEAD):
            if all(one is None or one.has_refused(resource) for one in selectors):
                return resource
        return None

    def position(self, claim: ClaimId) -> int | None:
        """1 for the next to be served; None when the claim does not wait."""
        return self._order.position(claim)

    def wanted_up_to(self, claim: ClaimId) -> int:
        """How many resources it takes until this claim is served."""
        return self._order.wanted_up_to(claim)


def _is_useful(resource: Resource, waiter: Waiter) -> bool:
    return waiter.selector is None or waiter.selector.has_matched(resource)
