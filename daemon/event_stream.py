"""Follows the ledger's events without ever slowing it down.

`EventFeed` keeps the newest events in a ring and wakes followers. A follower pulls: from the ring
while that reaches back far enough, from the ledger otherwise. So nothing is buffered for a slow
reader beyond the page in its hands; one that comes back after its events were moved out of the ledger
is told which ones it missed.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias

from ..config.units import format_duration
from ..pools.store import Event
from .answers import GapJson
from .facade import EventSource

RING = 4096
PAGE = 500
REPLAY_PAGE = 100
"""Events of one page from the ledger: each follower has its own copy of these in memory."""
HEARTBEAT = 15.0
"""Seconds of silence after which an empty line is sent, so that dead readers are noticed."""
_LOOK_BACK = 10_000
"""Numbers that a listing without `since` looks back over."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which events are wanted. `kind` is a prefix; empty means any."""

    kind: str = ""
    pool: str = ""
    resource: str = ""
    claim: str = ""
    request: str = ""

    def match(self, event: Event) -> bool:
        return (
            event.kind.startswith(self.kind)
            and self.pool in {"", event.pool}
            and self.resource in {"", event.resource}
            and self.claim in {"", event.claim}
            and self.request in {"", event.request}
        )

    def given(self) -> dict[str, str]:
        every = {
            "kind": self.kind,
            "pool": self.pool,
            "resource": self.resource,
            "claim": self.claim,
            "request": self.request,
        }
        return {name: value for name, value in every.items() if value}


@dataclass(frozen=True, slots=True)
class Gap:
    """Events that the follower asked for and that no longer exist, or never did."""

    first: int
    """The number of the first event that is missing."""
    next: int
    """The number of the next event that will come."""
    reason: str

    @property
    def missed(self) -> int:
        return max(0, self.next - self.first)

    def line(self) -> GapJson:
        """Without `from` and `to` when nothing of this ledger is missing."""
        line: GapJson = {
            "kind": "stream.gap",
            "missed": self.missed,
            "next": self.next,
            "reason": self.reason,
        }
        if self.missed:
            line["from"], line["to"] = self.first, self.next - 1
        return line


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing happened for `HEARTBEAT` seconds."""


Item: TypeAlias = Event | Gap | Silence
Batch: TypeAlias = Sequence[Item]
"""What there is to send now, in one piece."""


@dataclass(slots=True, eq=False)
class _Waker:
    """Set by the feed, awaited by one follower."""

    event: asyncio.Event = field(default_factory=asyncio.Event)

    async def woken(self, within: float) -> bool:
        try:
            async with asyncio.timeout(within):
                await self.event.wait()
        except TimeoutError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class _Page:
    """Items for a follower, and the number that it has reached with them."""

    items: list[Item]
    position: int


class EventFeed:
    """The newest events in memory. `last` is the number of the newest one that is durable."""

    def __init__(self, source: EventSource, *, last: int, keep: float, ring: int = RING) -> None:
        """`keep`: for how many seconds the ledger has events."""
        self._source = source
        self._ring: deque[Event] = deque(maxlen=ring)
        self._wakers: set[_Waker] = set()
        self._closed = False
        self._keep = keep
        self.last = last
        source.on_events(self._on_events)

    @property
    def followers(self) -> int:
        return len(self._wakers)

    def close(self) -> None:
        """Every follower ends after what it is about to send. Idempotent."""
        self._closed = True
        self._wake()

    def _on_events(self, events: Sequence[Event]) -> None:
        if not events:
            return
        if events[0].seq != self.last + 1 or events[-1].seq - events[0].seq != len(events) - 1:
            self._ring.clear()  # positions in the ring are counted: a hole would shift them
        if events[-1].seq - events[0].seq == len(events) - 1:
            self._ring.extend(events)
        self.last = events[-1].seq
        self._wake()

    def _wake(self) -> None:
        for waker in self._wakers:
            waker.event.set()

    async def newest(self, filters: Filters, limit: int) -> list[Event]:
        """The newest matching events, oldest first.

        Looks back over `_LOOK_BACK` numbers, or over all when one claim, resource or request is meant.
        """
        if filters.claim or filters.resource or filters.request:
            after = 0
        elif filters.given():
            after = max(0, self.last - _LOOK_BACK)
        else:
            after = max(0, self.last - limit)
        kept: deque[Event] = deque(maxlen=limit)
        while True:
            page = await self._source.events(after=after, limit=PAGE, **filters.given())
            kept.extend(page)
            if len(page) < PAGE:
                return list(kept)
            after = page[-1].seq

    async def since(self, after: int, filters: Filters, limit: int) -> Sequence[Event]:
        """Matching events with a number above `after`, oldest first."""
        return await self._source.events(after=after, limit=limit, **filters.given())

    async def follow(self, after: int | None, filters: Filters) -> AsyncGenerator[Batch, None]:
        """Everything above `after` (None: from now on), then what comes; ends with the feed."""
        waker = _Waker()
        self._wakers.add(waker)
        try:
            position = self.last if after is None else after
            if position > self.last:
                yield [self._ahead()]
                position = self.last
            while True:
                waker.event.clear()
                while position < self.last:
                    page = await self._page(position, filters)
                    position = page.position
                    if page.items:
                        yield page.items
                if self._closed:
                    return
                if not await waker.woken(HEARTBEAT):
                    yield [Silence()]
        finally:
            self._wakers.discard(waker)

    async def _page(self, position: int, filters: Filters) -> _Page:
        """What comes after `position`: from the ring when it reaches back that far."""
        if not self._reaches(position):
            return await self._replay(position, filters)
        events = self._ring_after(position)
        return _Page([event for event in events if filters.match(event)], events[-1].seq)

    def _ahead(self) -> Gap:
        return Gap(
            self.last + 1,
            self.last + 1,
            f"The newest event is {self.last}: this is another ledger, or an older copy. Begin anew"
            " with since=0 for all that it has.",
        )

    def _reaches(self, position: int) -> bool:
        return bool(self._ring) and self._ring[0].seq <= position + 1

    def _ring_after(self, position: int) -> list[Event]:
        """At most a page, copied: the ring goes on turning while the follower writes."""
        skip = max(0, position + 1 - self._ring[0].seq)
        return list(islice(self._ring, skip, skip + PAGE))

    async def _replay(self, position: int, filters: Filters) -> _Page:
        """One page from the ledger."""
        newest = self.last
        items: list[Item] = []
        first = await self._source.events(after=position, limit=1)
        next_seq = first[0].seq if first else newest + 1
        if next_seq > position + 1:
            items.append(Gap(position + 1, next_seq, _rotated(position + 1, next_seq, self._keep)))
        found = await self._source.events(after=position, limit=REPLAY_PAGE, **filters.given())
        items.extend(found)
        last = found[-1].seq if found else 0
        return _Page(items, last if len(found) == REPLAY_PAGE else max(newest, last))


def _rotated(first: int, next_seq: int, keep: float) -> str:
    count = next_seq - first
    which = (
        f"Event {first} was" if count == 1 else f"{count} events, {first} to {next_seq - 1}, were"
    )
    return (
        f"{which} moved out of the ledger, which keeps events for {format_duration(keep)}. On the host,"
        f" 'stoker audit export --after {first - 1}' has them as long as their files are kept."
    )
