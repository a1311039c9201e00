"""One look at all processes of the host serves everybody who waits for one.

A look costs some 30 µs for each process of the host. When a thousand parts are destroyed at once,
they share it: whoever asks while one is under way gets the next, which began after they asked.
"""

import asyncio
from collections.abc import Awaitable, Callable

from .procfs import Snapshot


class Snapshots:
    def __init__(self, take: Callable[[], Awaitable[Snapshot]]) -> None:
        self._take = take
        self._next: asyncio.Task[Snapshot] | None = None
        self._turn = asyncio.Lock()

    async def fresh(self) -> Snapshot:
        """A snapshot that was begun after this call. Raises what taking it raises."""
        if self._next is None:
            self._next = asyncio.create_task(self._take_one(), name="process driver: snapshot")
        # Several wait for it: one that is cancelled must not take it from the others.
        return await asyncio.shield(self._next)

    async def close(self) -> None:
        """Waits for the look under way, so that no task is left."""
        if self._next is not None:
            await asyncio.gather(self._next, return_exceptions=True)

    async def _take_one(self) -> Snapshot:
        async with self._turn:
            self._next = None  # from here on a caller needs the one after this
            return await self._take()
