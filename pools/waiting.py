"""The line of claims that wait for a resource of one pool, in the order of `fairness`.

A waiter says whether it accepts: `offer` answers false when the claimant has just left or timed
out, and the resource goes to the next one. Nothing is ever handed to somebody who is gone.
"""

import asyncio
import logging
from collections.abc import Iterator

from ..config.revision import Priority
from .claim import Claim
from .fairness import FairOrder
from .ids import ClaimId
from .resource import Resource
from .standing import Failed, Standing, standing_of
from .telemetry import Telemetry

log = logging.getLogger(__name__)


class Waiter:
    """One claim's place. Its own coroutine waits on `turn`."""

    __slots__ = ("claim", "standing", "turn", "wants")

    def __init__(self, claim: Claim, standing: Standing | None = None, *, wants: int = 1) -> None:
        self.claim = claim
        self.standing = standing or Standing(claim.claimant.uid)
        self.wants = wants
        """How many resources it takes at once. `Line.next` gives it none before all are ready."""
        self.turn: asyncio.Future[Resource] = asyncio.get_running_loop().create_future()

    def offer(self, resource: Resource) -> bool:
        """Hands the resource over, unless the waiter has gone."""
        if self.turn.done():
            return False
        self.turn.set_result(resource)
        return True

    def withdraw(self) -> Resource | None:
        """Leaves; returns the resource if it had been handed over just before."""
        if self.turn.done():
            refused = self.turn.cancelled() or self.turn.exception() is not None
            return None if refused else self.turn.result()
        self.turn.cancel()
        return None


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

    def join(self, claim: Claim, *, first: bool = False, wants: int = 1) -> Waiter:
        """Takes a place; `first` for one who was served before and comes back."""
        standing = standing_of(claim, self.priorities, self._failed)
        waiter = Waiter(claim, standing, wants=wants)
        self._order.join(
            claim.id, standing.key, priority=standing.priority, wants=wants, first=first
        )
        self._waiters[claim.id] = waiter
        self._expected.discard(claim.id)
        return waiter

    def leave(self, claim: ClaimId) -> None:
        """Gives a place up; harmless when it has none."""
        self._expected.discard(claim)
        if self._waiters.pop(claim, None) is not None:
            self._order.leave(claim)

    def served(self, claim: ClaimId) -> None:
        """A waiter accepted what it was offered."""
        del self._waiters[claim]
        self._order.served(claim)

    def get(self, claim: ClaimId) -> Waiter | None:
        return self._waiters.get(claim)

    def dismiss(self, claim: ClaimId, why: Exception) -> None:
        """Sends a waiter away, unless it was just served. Its coroutine gets `why`."""
        waiter = self._waiters.get(claim)
        if waiter is not None and not waiter.turn.done():
            waiter.turn.set_exception(why)

    def first(self) -> Waiter | None:
        claim = self._order.first()
        return None if claim is None else self._waiters[claim]

    def next(self, ready: int) -> Waiter | None:
        """Whom to offer something of what is ready; None when nobody waits, or all is reserved."""
        claim = self._order.next(ready)
        return None if claim is None else self._waiters[claim]

    def position(self, claim: ClaimId) -> int | None:
        """1 for the next to be served; None when the claim does not wait."""
        return self._order.position(claim)

    def wanted_up_to(self, claim: ClaimId) -> int:
        """How many resources it takes until this claim is served."""
        return self._order.wanted_up_to(claim)
