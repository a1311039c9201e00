"""Two lanes to one provider: claims have a reserve that background work can never use."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from enum import StrEnum


class Lane(StrEnum):
    CLAIMS = "claims"
    """Somebody waits for it: finish, cold creation, revocation."""
    BACKGROUND = "background"
    """Backfill, rolling, removal, observation."""


class Gate:
    """At most `width` calls at a time, of which background ones leave `reserve` free.

    Waiting claims always go before waiting background calls, each lane first come first served.
    """

    def __init__(self, width: int, reserve: int) -> None:
        self._width = width
        self._reserve = reserve
        self._inside = 0
        self._lines: dict[Lane, deque[asyncio.Future[None]]] = {lane: deque() for lane in Lane}

    @asynccontextmanager
    async def turn(self, lane: Lane) -> AsyncGenerator[None]:
        await self._enter(lane)
        try:
            yield
        finally:
            self._inside -= 1
            self._admit()

    def resize(self, width: int, reserve: int) -> None:
        self._width, self._reserve = width, reserve
        self._admit()

    @property
    def inside(self) -> int:
        return self._inside

    def _limit(self, lane: Lane) -> int:
        # Some background always passes: without removals no slot would ever be free again.
        return self._width if lane is Lane.CLAIMS else max(1, self._width - self._reserve)

    async def _enter(self, lane: Lane) -> None:
        if not self._lines[lane] and self._inside < self._limit(lane):
            self._inside += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._lines[lane].append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._inside -= 1  # the turn came together with the cancellation: pass it on
                self._admit()
            raise

    def _admit(self) -> None:
        for lane in (Lane.CLAIMS, Lane.BACKGROUND):
            line = self._lines[lane]
            while line and self._inside < self._limit(lane):
                place = line.popleft()
                if not place.done():
                    self._inside += 1
                    place.set_result(None)
