"""Who was turned away, written down: a bad token or signature, a user who may not come in, a claim of somebody else.

The audit gets the first denial of a kind within a second, and then, once a minute, how many more there were. So whoever
knocks at the door as fast as they can writes one event a minute; and however many do so, there are no more than
`MOST_KINDS` of them, and what is beyond counts together. What policies deny is told by the pools, with its facts.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple

from ..config.json_types import Json, JsonObject
from ..pools.claim import Claimant
from ..pools.services import Services
from ..pools.store import NewEvent, StoreError

log = logging.getLogger(__name__)

EVERY = 60.0
"""Seconds between two events of a kind."""
MOST_KINDS = 50
PACE = 1.0
"""Seconds between two transactions."""
LAST_WITHIN = 1.0
"""Seconds in which what is left is written at a stop."""
KIND = "access.denied"
_LONGEST = 300


class Denied(NamedTuple):
    """One who was turned away."""

    code: str
    detail: str
    """A sentence, as they were told it."""
    caller: Claimant | None = None
    """None for one over TCP, whom the kernel cannot name."""
    address: str = ""
    """Where one over TCP came from."""
    request: str = ""


@dataclass(slots=True)
class _Kind:
    """Denials for the same reason, of the same caller."""

    latest: Denied
    count: int = 0
    """Since the last event."""
    next_at: float = 0.0
    """When the next event may be."""


@dataclass(slots=True)
class Denials:
    """`now`: seconds of any steady clock."""

    now: Callable[[], float] = monotonic
    _kinds: dict[tuple[str, str], _Kind] = field(default_factory=dict[tuple[str, str], _Kind])
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, denied: Denied) -> None:
        """Costs a look-up, however often it is called."""
        caller = denied.caller
        who = f"tcp {denied.address}" if caller is None else f"uid {caller.uid}"
        kind = self._kinds.get((denied.code, who))
        if kind is None:
            if len(self._kinds) >= MOST_KINDS:
                denied = Denied("", "others were turned away, too many to name each")
                kind = self._kinds.get(("", ""))
                who = ""
            if kind is None:
                kind = self._kinds[denied.code, who] = _Kind(denied)
        kind.count += 1
        kind.latest = denied
        self._woken.set()

    def due(self, *, everything: bool = False) -> list[NewEvent]:
        """What is to be written now. What has been quiet for a while is forgotten."""
        now, events = self.now(), list[NewEvent]()
        for key, kind in list(self._kinds.items()):
            if now < kind.next_at and not everything:
                continue
            if kind.count:
                events.append(_event(kind))
                kind.count, kind.next_at = 0, now + EVERY
            else:
                del self._kinds[key]
        return events

    def _next(self) -> float | None:
        """Seconds until something is due that was counted, if anything was."""
        waiting = [kind.next_at for kind in self._kinds.values() if kind.count]
        return max(0.0, min(waiting) - self.now()) if waiting else None

    async def run(self, services: Services) -> None:
        """Runs until cancelled."""
        try:
            while True:
                await self._woken.wait()
                self._woken.clear()
                while (after := self._next()) is not None:
                    await asyncio.sleep(max(after, PACE))
                    await _write(services, self.due())
        except asyncio.CancelledError:
            left = self.due(everything=True)
            if left:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LAST_WITHIN):
                        await _write(services, left)
            raise


async def _write(services: Services, events: list[NewEvent]) -> None:
    transaction = services.store.transaction()
    for event in events:
        log.warning("denied %s (%s times): %s", _who(event.data), event.data["count"], event.reason)
        transaction.add_event(event)
    try:
        await services.commit(transaction)
    except StoreError as error:
        log.warning("%d events about denials could not be written down: %s", len(events), error)


def _who(data: JsonObject) -> str:
    """`ada (uid 1000)`, or the address."""
    if "uid" not in data:
        return str(data.get("address") or "somebody")
    return f"{data.get('user') or 'a user'} (uid {data['uid']})"


def _event(kind: _Kind) -> NewEvent:
    one = kind.latest
    data: dict[str, Json] = {"code": one.code, "count": kind.count}
    if one.caller is not None:
        data |= one.caller.told()
    elif one.address:
        data["address"] = one.address
    return NewEvent(KIND, request=one.request, reason=one.detail[:_LONGEST], data=data)
