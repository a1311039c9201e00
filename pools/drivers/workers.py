"""The bounded executor of a driver: blocking work never runs in the event loop.

Cancelling a call cannot stop a thread in the middle of a system call. So jobs about one part run
strictly one after the other: a `destroy` that follows a cancelled `create` waits until that
thread is done, and what it proves absent stays absent.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from ..driver import Unavailable
from ..ids import PartId

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """Runs a driver's jobs in at most `threads` threads."""

    def __init__(self, name: str, *, threads: int = 4) -> None:
        self._name = name
        self._threads = threads
        self._executor: ThreadPoolExecutor | None = None
        self._running: dict[PartId, asyncio.Future[None]] = {}

    def open(self) -> None:
        self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix=self._name)

    async def close(self, within: float = 10.0) -> None:
        """Lets what runs end, for at most `within` seconds; begins nothing more."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        try:
            if self._running:
                await asyncio.wait(set(self._running.values()), timeout=within)
        finally:
            executor.shutdown(wait=False, cancel_futures=True)

    def busy(self) -> frozenset[PartId]:
        """Parts with a job under way, also one whose caller was cancelled."""
        return frozenset(self._running)

    async def run_for(
        self, part: PartId, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Runs a job about one part, after all earlier ones about it have ended."""
        while (earlier := self._running.get(part)) is not None:
            await asyncio.wait({earlier})
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        future = self._submit(job, *args, **kwargs)
        self._running[part] = done

        def ended(_: Future[T]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._end, part, done)

        future.add_done_callback(ended)
        return await asyncio.wrap_future(future)

    async def run(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a job that is about no single part (a listing, reading a key)."""
        return await asyncio.wrap_future(self._submit(job, *args, **kwargs))

    def _submit(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        if self._executor is None:
            raise Unavailable(f"the driver {self._name} is closed")
        return self._executor.submit(job, *args, **kwargs)

    def _end(self, part: PartId, done: asyncio.Future[None]) -> None:
        del self._running[part]
        done.set_result(None)
