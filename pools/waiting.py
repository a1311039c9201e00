"""The line of claims that wait for a resource of one pool, first come first served.

A waiter says whether it accepts: `offer` answers false when the claimant has just left or timed
out, and the resource goes to the next one. Nothing is ever handed to somebody who is gone.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator

from .claim import Claim
from .ids import ClaimId
from .resource import Resource


class Waiter:
    """One claim's place. Its own coroutine waits on `turn`."""

    __slots__ = ("claim", "turn")

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
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


class Line:
    """Who waits, in order."""

    def __init__(self) -> None:
        self._waiters: OrderedDict[ClaimId, Waiter] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiters)

    def __iter__(self) -> Iterator[Waiter]:
        return iter(self._waiters.values())

    def join(self, claim: Claim, *, first: bool = False) -> Waiter:
        """Takes a place at the end, or at the front for one who was there before."""
        waiter = self._waiters[claim.id] = Waiter(claim)
        if first:
            self._waiters.move_to_end(claim.id, last=False)
        return waiter

    def leave(self, claim: ClaimId) -> None:
        self._waiters.pop(claim, None)

    def get(self, claim: ClaimId) -> Waiter | None:
        return self._waiters.get(claim)

    def dismiss(self, claim: ClaimId, why: Exception) -> None:
        """Sends a waiter away, unless it was just served. Its coroutine gets `why`."""
        waiter = self._waiters.get(claim)
        if waiter is not None and not waiter.turn.done():
            waiter.turn.set_exception(why)

    def first(self) -> Waiter | None:
        return next(iter(self._waiters.values()), None)

    def position(self, claim: ClaimId) -> int | None:
        """1 for the next to be served; None when the claim does not wait."""
        for place, known in enumerate(self._waiters, start=1):
            if known == claim:
                return place
        return None
