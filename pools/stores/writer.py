"""The one writer, in two kinds: a thread for the daemon, and a deterministic one for simulations.

Both take from the same lanes and write with the same pen. Group commit comes by itself: while one
batch is on its way to the disk, the next one gathers.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from ..store import Event, StoreError
from .checkpoints import IDLE_SECONDS, Checkpoints
from .lanes import Job, Lanes
from .pen import Pen

log = logging.getLogger(__name__)

Announce = Callable[[Sequence[Event]], None]
Delay = Callable[[], Awaitable[None]]

INLINE_UNSAVED_ROWS = 10_000
"""So many rows, and the inline writer copies the WAL, as it never has an idle moment to do so."""


class Writer(Protocol):
    """Writes jobs and resolves them. All methods are called in the event loop."""

    def submit(self, job: Job, *, urgent: bool) -> None: ...

    @property
    def waiting(self) -> int:
        """Jobs that have no answer yet, those on their way to the disk included."""
        ...

    async def close(self) -> None:
        """Writes what waits, then ends and closes the pen."""
        ...

    def kill(self) -> None:
        """As if the process had died here: what is not written yet never will be."""
        ...


def deliver(batch: Sequence[Job], events: Sequence[Event], announce: Announce) -> None:
    """Tells those who wait, then those who listen. Runs in the event loop."""
    for job in batch:
        try:
            job.done(job)
        except Exception:
            log.exception("what follows a commit failed; the others of its batch go on")
    if events:
        announce(events)


class ThreadWriter:
    """Writes in a thread, so that the loop never waits for the disk.

    Woken by one lock used as a binary semaphore: the cheapest wake-up there is. Answers with one
    loop callback per batch.
    """

    def __init__(self, pen: Pen, checkpoints: Checkpoints, announce: Announce) -> None:
        self._pen = pen
        self._checkpoints = checkpoints
        self._announce = announce
        self._lanes = Lanes()
        self._wake = threading.Lock()
        self._wake.acquire()
        self._awake = False
        self._closing = False
        self._killed = False
        self._under_way = 0
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return len(self._lanes) + self._under_way

    def submit(self, job: Job, *, urgent: bool) -> None:
        if self._killed:
            return  # and the one who waits does so for ever, as after a crash
        self._loop = asyncio.get_running_loop()
        if self._closing:
            job.error = closed()
            self._loop.call_soon(job.done, job)
            return
        self._lanes.add(job, urgent=urgent)
        self._rouse()

    async def close(self) -> None:
        self._closing = True
        self._rouse()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    def kill(self) -> None:
        self._killed = True
        self._closing = True
        self._rouse()
        self._thread.join()

    def _rouse(self) -> None:
        # Only the loop's thread comes here, so testing and setting need no lock of their own.
        if not self._awake:
            self._awake = True
            self._wake.release()

    def _run(self) -> None:
        try:
            while not self._killed:
                batch = self._lanes.take()
                if batch:
                    self._write(batch)
                elif self._closing:
                    break
                else:
                    self._rest()
        finally:
            self._checkpoints.close()
            self._pen.close()

    def _write(self, batch: Sequence[Job]) -> None:
        self._under_way = len(batch)
        events = self._pen.write(batch)
        self._under_way = 0
        if not self._killed:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(deliver, batch, events, self._announce)
        self._checkpoints.after_batch()

    def _rest(self) -> None:
        """Sleeps until roused; uses a quiet moment for the checkpoint."""
        if self._wake.acquire(timeout=IDLE_SECONDS if self._checkpoints.due else -1):
            # Before the lanes are looked at again: who adds from now on rouses again.
            self._awake = False
        else:
            self._checkpoints.when_idle()


class InlineWriter:
    """Writes in the event loop: the same order of things every time, under any clock.

    Without a `delay` a commit is written and answered at once. With one, jobs gather while it
    is awaited, once before the write and once between the write and the answers, so that a
    simulated crash can strike in both gaps. A `StoreError` that it raises fails the batch: in the
    second gap, one whose writes did happen.
    """

    def __init__(self, pen: Pen, announce: Announce, delay: Delay | None) -> None:
        self._pen = pen
        self._announce = announce
        self._delay = delay
        self._lanes = Lanes()
        self._task: asyncio.Task[None] | None = None
        self._under_way = 0
        self._closed = False
        self._killed = False

    @property
    def waiting(self) -> int:
        return len(self._lanes) + self._under_way

    def submit(self, job: Job, *, urgent: bool) -> None:
        if self._killed:
            return  # and the one who waits does so for ever, as after a crash
        if self._closed:
            job.error = closed()
            asyncio.get_running_loop().call_soon(job.done, job)
            return
        self._lanes.add(job, urgent=urgent)
        if self._delay is None:
            self._write(self._lanes.take())
        elif self._task is None:
            self._task = asyncio.create_task(self._drain(self._delay), name="ledger-writer")

    async def close(self) -> None:
        self._closed = True
        if self._task is not None:
            await self._task
        if not self._killed:
            self._pen.close()

    def kill(self) -> None:
        self._killed = self._closed = True
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._pen.close()

    def _write(self, batch: Sequence[Job]) -> None:
        events = self._pen.write(batch)
        self._checkpoint()
        deliver(batch, events, self._announce_soon)

    async def _drain(self, delay: Delay) -> None:
        while self._lanes:
            try:
                await delay()
            except StoreError as error:
                _fail(batch := self._lanes.take(), error)
                deliver(batch, (), self._announce_soon)
                continue
            batch = self._lanes.take()
            events = self._pen.write(batch)
            self._checkpoint()
            self._under_way = len(batch)
            try:
                await delay()
            except StoreError as error:
                _fail(batch, error)
            self._under_way = 0
            deliver(batch, events, self._announce_soon)
        self._task = None

    def _checkpoint(self) -> None:
        if self._pen.unsaved >= INLINE_UNSAVED_ROWS:
            self._pen.checkpoint()

    def _announce_soon(self, events: Sequence[Event]) -> None:
        asyncio.get_running_loop().call_soon(self._announce_if_alive, events)

    def _announce_if_alive(self, events: Sequence[Event]) -> None:
        if not self._killed:
            self._announce(events)


def closed() -> StoreError:
    return StoreError("the ledger is closed because the daemon stops; start the daemon again")


def _fail(batch: Sequence[Job], error: StoreError) -> None:
    for job in batch:
        job.error = error
