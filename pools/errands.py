"""A claim on its way to being bound, and those who wait to be told what becomes of it."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeVar

from .claim import Claim, EndedBecause
from .ledger_watch import SentAway
from .pool import Pool
from .requests import Code, Refusal


class Left(Refusal):
    """Everybody who asked has left. Whoever comes back with the key starts anew."""

    def __init__(self) -> None:
        super().__init__(Code.WAIT_TIMEOUT, "the claimant left before the claim was bound")


class GivenUp(Left):
    """The claim was ended while it waited: released, or because its claimant has gone."""

    def __init__(self, because: EndedBecause) -> None:
        how = "released" if because is EndedBecause.RELEASED else "given up with its claimant"
        Refusal.__init__(self, Code.CLAIM_OVER, f"the claim was {how} before it was bound")
        self.because = because


T = TypeVar("T")
Told = asyncio.Future[Claim]


class Errand:
    """One claim under way in one pool.

    Claimants *listen*: for them the claim is made, and when the last one has left nobody needs it,
    unless one was told its id. Onlookers *watch*: they change nothing.
    """

    __slots__ = (
        *("_durable", "_listeners", "_onlookers", "_outcome", "_told", "gate"),
        *("because", "claim", "failure", "given_up", "pool", "pools", "ruled_out"),
    )

    def __init__(self, claim: Claim, pool: Pool, others: tuple[Pool, ...] = ()) -> None:
        self.claim = claim
        self.pool = pool
        """The one that serves it; while it waits for several, the first of them."""
        self.pools = (pool, *others)
        """All that may serve it, best first."""
        self.ruled_out: Mapping[str, Refusal] = {}
        """Why others that were asked for cannot."""
        self.failure = ""
        """Why the last resource that was tried could not be finished, without secrets."""
        self.given_up: str | None = None
        """The id of the request that ended it, once one did."""
        self.because = EndedBecause.RELEASED
        """Why it was given up, if it was."""
        self._listeners: dict[Told, bool] = {}
        """In the order they came; True for who hangs up once the claim is written down."""
        self._onlookers: dict[Told, None] = {}
        self._outcome: Claim | Refusal | None = None
        self._durable = claim.answered
        self.gate: asyncio.Future[None] | None = None
        """While it stands before one and waits for an approval."""
        self._told = claim.answered
        """Somebody knows of the claim: it is theirs, on the line or not."""

    @property
    def deserted(self) -> bool:
        """Nobody stays on the line, and nobody was told of the claim either."""
        return not self._listeners and not self._told

    @property
    def in_line(self) -> bool:
        """It waits for a resource, or for an approval before."""
        return self.gate is not None or any(
            pool.line.get(self.claim.id) is not None for pool in self.pools
        )

    async def abandoned(self) -> bool:
        """All who listened have left, and so the line was left too. Waits until that is done.

        Whoever comes now cannot be told of this claim: it is about to come to nothing.
        """
        if self.given_up is not None or not self._has_left():
            return False
        with suppress(Left):
            await self.watch()
        return True

    def _has_left(self) -> bool:
        """It was sent away from its line as `Left`, and that has not come to its end yet."""
        for pool in self.pools:
            waiter = pool.line.get(self.claim.id)
            turn = None if waiter is None else waiter.turn
            if turn is not None and turn.done() and not turn.cancelled():
                return isinstance(turn.exception(), Left)
        return False

    def dismiss(self, why: Exception) -> None:
        """Sends it away wherever it waits, unless it was just served."""
        if self.gate is not None and not self.gate.done():
            self.gate.set_exception(why)
        for pool in self.pools:
            pool.line.dismiss(self.claim.id, why)

    @property
    def bound(self) -> bool:
        return isinstance(self._outcome, Claim)

    async def listen(self, left: Callable[[], None], *, hangs_up: bool = False) -> Claim:
        """The claim once it is bound, or its refusal. `left` is called if the caller leaves first.

        With `hangs_up` the claim is returned as soon as it is durable that it waits.
        """
        told = self._join(self._listeners, hangs_up)
        try:
            claim = await told
            self._told = True
            return claim
        except (asyncio.CancelledError, SentAway):
            del self._listeners[told]
            left()
            raise
        finally:
            self._listeners.pop(told, None)
            _retrieve(told)

    async def watch(self) -> Claim:
        """As `listen`, for somebody for whom the claim is not made."""
        told = self._join(self._onlookers, None)
        try:
            return await told
        finally:
            self._onlookers.pop(told, None)
            _retrieve(told)

    def written(self) -> None:
        """It is durable that the claim waits: those who do not stay may be told its id."""
        self._durable = True
        for told, hangs_up in self._listeners.items():
            if hangs_up and not told.done():
                self.claim.answered = True
                told.set_result(self.claim)

    def hang_up(self) -> None:
        """Those on the line stay there no longer than until it is durable that the claim waits."""
        for told in self._listeners:
            self._listeners[told] = True
        if self._durable:
            self.written()

    def send_away(self) -> None:
        """Nobody waits any longer, and the errand goes on: its ledger does not answer."""
        for told in (*self._listeners, *self._onlookers):
            _tell(told, SentAway("the claim"))

    def settle(self, outcome: Claim | Refusal) -> None:
        self._outcome = outcome
        for told in (*self._listeners, *self._onlookers):
            _tell(told, outcome)

    def _join(self, those: dict[Told, T], value: T) -> Told:
        told: Told = asyncio.get_running_loop().create_future()
        those[told] = value
        if self._outcome is not None:
            _tell(told, self._outcome)
        return told


def _tell(told: Told, outcome: Claim | Refusal) -> None:
    if told.done():
        return
    if isinstance(outcome, Refusal):
        told.set_exception(outcome)
    else:
        told.set_result(outcome)


def _retrieve(told: Told) -> None:
    """Whoever left at the moment of a refusal has not looked at it; that is no defect."""
    if told.done() and not told.cancelled():
        told.exception()
