"""What operators decide about revisions: accept a held one, go back to an earlier one, pin, unpin.

Each is durable and audited before it is true. What is pinned stays until it is unpinned or the pin's
date comes, also over restarts; the ledger's last revision is the pinned one, because both are
written in one transaction.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum

from ..config.json_types import Json
from ..config.revision import Revision
from ..pools.clock import Clock
from ..pools.impact import Standing
from ..pools.moments import rfc3339
from ..pools.requests import Code, Refusal
from ..pools.services import Services
from ..pools.store import KeptRevision, NewEvent, StoreError
from ..pools.switches import Order, Switch, SwitchKind
from ..pools.taking import Taking, applied, told_of
from ..pools.timers import Timer
from .deciding import is_meant, is_named, object_to
from .synchroniser import RETRY_AFTER, Synchroniser

log = logging.getLogger(__name__)

BUSY_AFTER = 10.0
"""Seconds until an operator is told that another revision is being applied and does not come to its end."""
DATE_REACHED = "its end date was reached"
_SHOWN = 20


class Stay(StrEnum):
    """How a revision becomes the pinned one; the value is the event's kind."""

    PIN = "config.pinned"
    ROLL_BACK = "config.rolled-back"


class Steering:
    def __init__(self, synchroniser: Synchroniser, services: Services) -> None:
        self._synchroniser = synchroniser
        self._services = services
        self._timer: Timer | None = None

    @property
    def pin(self) -> Switch | None:
        return self._synchroniser.state.pin

    @property
    def max_destroy(self) -> float:
        return self._synchroniser.max_destroy

    @property
    def serving(self) -> Revision | None:
        return self._synchroniser.state.revision

    @property
    def clock(self) -> Clock:
        return self._services.clock

    def standing(self) -> Mapping[str, Standing]:
        return self._synchroniser.standing()

    def remember(self, pin: Switch | None) -> None:
        """What was in force when the last run ended; its date is watched from now on."""
        self._watch(pin)

    async def history(self) -> Sequence[KeptRevision]:
        """What was applied, the last first; without files. Raises `StoreError`."""
        return await self._services.store.revisions()

    async def find(self, given: str) -> KeptRevision:
        """One of the history, by its id or the beginning of its commit. Raises `Refusal`, `StoreError`."""
        for one in await self.history():
            if is_meant(given, one.id, one.commit):
                found = await self._services.store.revision(one.id, one.source)
                if found is not None:
                    return found
        raise Refusal(
            Code.NO_SUCH_REVISION,
            f"no revision {given[:64]} was applied lately; 'stoker config history' shows what is kept",
        )

    # What operators do. Each raises `Refusal`.

    async def accept(self, given: str, order: Order) -> None:
        await self._through(self._accept(given, order), "acceptance of a revision")

    async def stay(self, how: Stay, given: str, order: Order, *, accept: bool) -> None:
        """`given`: which revision; empty for the one that serves, or to go back for the one before it.

        `accept`: also if that destroys too much.
        """
        await self._through(self._stay(how, given, order, accept), "pin of a revision")

    async def unpin(self, order: Order) -> None:
        event = _event("config.unpinned", order, {})
        await self._through(self._unpin(self.pin, event), "unpinning")

    async def _accept(self, given: str, order: Order) -> None:
        async with self._deciding():
            held = self._synchroniser.state.held
            serving = self.serving
            if held is None and serving is not None and is_named(serving, given):
                return  # it was accepted before, and the answer was lost
            if held is None or not is_named(held.revision, given):
                raise Refusal(Code.REVISION_NOT_HELD, self._why_not_held(given))
            revision = held.revision
            told = told_of(revision, because=list(held.because[:_SHOWN]))
            event = _event("config.accepted", order, told)
            await self._take(revision, Taking((event, applied(revision))))

    def _why_not_held(self, given: str) -> str:
        state = self._synchroniser.state
        if state.held is not None:
            is_held = state.held.revision.id
            return f"what is held is {is_held}, not {given[:64]}; 'stoker status' shows why"
        if state.waiting is not None and is_named(state.waiting, given):
            return (
                f"revision {state.waiting.id} needs no acceptance: it is applied when the host is "
                "thawed ('stoker thaw')"
            )
        if state.pin is not None:
            return (
                f"nothing is held while revision {state.pin.subject} is pinned; "
                "end that first ('stoker config unpin')"
            )
        return "no revision is held; 'stoker status' shows what is"

    async def _stay(self, how: Stay, given: str, order: Order, accept: bool) -> None:  # noqa: FBT001
        async with self._deciding():
            kept = await self._wanted(how, given)
            serving = self.serving
            pin = Switch(
                SwitchKind.PIN, kept.id, order.by, order.reason, self._services.clock.now(), order.until
            )  # fmt: skip
            drop = () if self.pin is None else (self.pin,)
            if serving is not None and (kept.id, kept.source) == (serving.id, serving.source):
                event = self._pinned(how, order, told_of(serving))
                await self._write(Taking((event,), pin, drop))
            else:
                revision = await self._read(kept)
                objected = object_to(revision, await self._synchroniser.circumstances())
                because = [one.because for one in objected[:_SHOWN]]
                if objected and not accept:
                    raise Refusal(
                        Code.REVISION_HELD,
                        f"revision {kept.id} would destroy too much: {'; '.join(because)}. "
                        "If that is wanted, say so with --accept ('accept': true)",
                        details={"because": list[Json](because)},
                    )
                told = told_of(revision, because=list[Json](because))
                event = self._pinned(how, order, told)
                await self._take(revision, Taking((event, applied(revision)), pin, drop))
            self._synchroniser.pinned(pin)
            self._watch(pin)

    async def _unpin(self, pin: Switch | None, event: NewEvent) -> None:
        async with self._deciding():
            if pin is None or pin is not self.pin:
                return
            told = {"revision": pin.subject, **event.data}
            await self._write(Taking((event._replace(data=told),), drop=(pin,)))
            self._watch(None)
            await self._synchroniser.unpinned()

    # Steps of these

    async def _wanted(self, how: Stay, given: str) -> KeptRevision:
        try:
            if given:
                return await self.find(given)
            history = list(await self.history())
            if how is Stay.ROLL_BACK:
                history = history[1:]
            if history:
                found = await self._services.store.revision(history[0].id, history[0].source)
                if found is not None:
                    return found
        except StoreError as error:
            raise _unwritten(error) from error
        raise Refusal(Code.NO_SUCH_REVISION, "no revision was applied before the one that serves")

    async def _read(self, kept: KeptRevision) -> Revision:
        result = await self._synchroniser.read(kept)
        if result.revision is None:
            problems = result.errors
            raise Refusal(
                Code.REVISION_UNUSABLE,
                f"revision {kept.id} cannot be used by this version: {problems[0]}",
                details={"problems": [str(problem) for problem in problems[:_SHOWN]]},
            )
        return result.revision

    async def _take(self, revision: Revision, taking: Taking) -> None:
        try:
            await self._synchroniser.take(revision, taking)
        except StoreError as error:
            raise _unwritten(error) from error

    async def _write(self, taking: Taking) -> None:
        transaction = self._services.store.transaction()
        taking.write(transaction)
        try:
            await self._services.commit(transaction, urgent=True)
        except StoreError as error:
            raise _unwritten(error) from error

    async def _through(self, work: Coroutine[object, object, None], name: str) -> None:
        await self._services.tasks.see_through(work, name, told=Refusal)

    @asynccontextmanager
    async def _deciding(self) -> AsyncGenerator[None]:
        lock = self._synchroniser.lock
        try:
            async with asyncio.timeout(BUSY_AFTER):
                await lock.acquire()
        except TimeoutError:
            raise Refusal(
                Code.LEDGER_UNAVAILABLE,
                "a revision is being applied and waits for the ledger; repeat this when it is",
                retry_after=2.0,
            ) from None
        try:
            yield
        finally:
            lock.release()

    # The pin's date

    def _watch(self, pin: Switch | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if pin is not None and pin.until is not None:
            self._timer = self._services.timers.at(pin.until, lambda: self._due(pin))

    def _due(self, pin: Switch) -> None:
        self._services.tasks.start(self._lift(pin), "end of the pin")

    async def _lift(self, pin: Switch) -> None:
        event = NewEvent("config.unpinned", reason=DATE_REACHED)
        while True:
            try:
                await self._unpin(pin, event)
            except Refusal as refusal:
                log.warning("the pin of revision %s stays: %s", pin.subject, refusal)
                await asyncio.sleep(RETRY_AFTER)
            else:
                return

    def _pinned(self, how: Stay, order: Order, told: dict[str, Json]) -> NewEvent:
        if order.until is not None:
            told["until"] = rfc3339(self._services.clock.to_wall(order.until))
        return _event(how.value, order, told)


def _event(kind: str, order: Order, told: dict[str, Json]) -> NewEvent:
    data = {**told, **order.by.told()}
    return NewEvent(kind, request=order.request_id, reason=order.reason, data=data)


def _unwritten(error: StoreError) -> Refusal:
    return Refusal(
        Code.LEDGER_UNAVAILABLE,
        f"the ledger cannot be used: {error}; repeat it",
        retry_after=2.0,
    )
