"""Moves old events from the ledger to segments, so that the chain stays provable. Crash-safe.

A segment is written, synchronised and named; only then are its events removed from the ledger, a few
in each commit, and the chain's anchor in the ledger follows. Cut off before the name: the ledger has
everything, and what was begun is thrown away. Cut off after it: the file has everything, and the next
run goes on removing what the newest segment proves to hold.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from ..retention import Retention
from ..store import NewEvent, StoreError
from . import reading
from .chain import Draft, Link, draft
from .lines import write_line
from .proving import PRUNED
from .segments import Segment, SegmentWriter, end_of, segments, sync_folder
from .transaction import Statement

log = logging.getLogger(__name__)

T = TypeVar("T")

SEGMENT_EVENTS = 20_000
"""At most so many events in one file: some 10 MB."""
PURGE_ROWS = 100
"""Rows deleted per commit: a claim that comes meanwhile waits for no more than these."""
ROTATED = "audit.rotated"
_CHUNK = 500
_KEEP_LINK = (
    "INSERT OR REPLACE INTO meta (name, value) "
    "SELECT 'chain', seq || ' ' || hash FROM events WHERE seq = ?"
)
_PURGE_EVENTS = "DELETE FROM events WHERE seq <= ?"


class Read(Protocol):
    """Reads from the ledger off the loop."""

    def __call__(self, read: Callable[[sqlite3.Connection], T], /) -> Awaitable[T]: ...


Write = Callable[[Sequence[Statement], Sequence[Draft]], Awaitable[int]]
"""Commits in the background lane."""


class Rotation:
    """One at a time: whoever calls `step` awaits it."""

    def __init__(self, folder: Path, read: Read, write: Write) -> None:
        self._folder = folder
        self._read = read
        self._write = write

    async def step(self, retention: Retention, today: float) -> int:
        """Moves at most one segment; returns how many events left the ledger.

        `today` is wall-clock seconds. Raises `StoreError` when the ledger or the folder refuses; then
        nothing is lost, and the next call goes on.
        """
        try:
            return await self._step(retention, today)
        except OSError as error:
            raise StoreError(
                f"old events cannot be moved to {self._folder} ({error.strerror}); they stay in the "
                "ledger until they can"
            ) from error

    async def _step(self, retention: Retention, today: float) -> int:
        kept = await asyncio.to_thread(segments, self._folder)
        first = await self._read(reading.first_event)
        if first is None:
            return 0
        if kept and kept[-1].last >= first:
            moved = await self._remove(kept[-1], first)
        else:
            moved = await self._rotate(retention, today, first)
        if moved or len(kept) > retention.files:
            await self._prune(retention)
        return moved

    async def _rotate(self, retention: Retention, today: float, first: int) -> int:
        before = today - retention.seconds
        due = partial(
            reading.due_events,
            begin=before - retention.slack,
            before=before,
            most=retention.events,
            limit=SEGMENT_EVENTS,
        )
        last = await self._read(due)
        if last is None:
            return 0
        segment = await self._copy(first, last)
        return await self._remove(segment, first)

    async def _copy(self, first: int, last: int) -> Segment:
        link = await self._read(reading.chain_start)
        writer = await asyncio.to_thread(SegmentWriter, self._folder, first)
        try:
            while link.seq < last:
                count = min(_CHUNK, last - link.seq)
                lines, link = await self._read(partial(_lines_after, link=link, count=count))
                await asyncio.to_thread(writer.write, lines)
            return await asyncio.to_thread(writer.finish, last)
        except BaseException:
            writer.give_up()
            raise

    async def _remove(self, segment: Segment, first: int) -> int:
        """From the ledger, what the segment proves to hold. Told in the audit with the last of it."""
        end = await asyncio.to_thread(end_of, segment.path)
        known = await self._read(partial(reading.hash_at, seq=segment.last))
        if end != Link(segment.last, known or ""):
            raise StoreError(
                f"the file {segment.path} does not end as the ledger says (event {segment.last}); the "
                "events stay in the ledger: look at 'stoker audit verify', then move the file away"
            )
        told = NewEvent(
            ROTATED,
            reason=f"events up to {segment.last} were moved to a file",
            data={
                "file": segment.path.name,
                "first": segment.first,
                "last": segment.last,
                "hash": known,
            },
        )
        for last in [*range(first + PURGE_ROWS - 1, segment.last, PURGE_ROWS), segment.last]:
            events = [draft(told)] if last == segment.last else []
            await self._write([(_KEEP_LINK, (last,)), (_PURGE_EVENTS, (last,))], events)
        return segment.last - first + 1

    async def _prune(self, retention: Retention) -> None:
        kept = await asyncio.to_thread(segments, self._folder)
        surplus = kept[: max(0, len(kept) - retention.files)]
        if not surplus:
            return
        through = surplus[-1].last
        told = NewEvent(
            PRUNED,
            reason=f"{len(kept)} files of old events are more than {retention.files}",
            data={"through": through},
        )
        await self._write([], [draft(told)])
        await asyncio.to_thread(unlink_all, surplus, self._folder)
        log.info("events up to %d were removed with their files", through)


def _lines_after(connection: sqlite3.Connection, link: Link, count: int) -> tuple[bytes, Link]:
    lines: list[bytes] = []
    for event in reading.events_after(connection, link.seq, count):
        lines.append(write_line(event, link.hash))
        link = Link(event.seq, event.hash)
    if not lines:
        raise StoreError(f"the audit lacks the events after {link.seq}; see: stoker audit verify")
    return b"".join(lines), link


def unlink_all(surplus: Sequence[Segment], folder: Path) -> None:
    for segment in surplus:
        segment.path.unlink(missing_ok=True)
    sync_folder(folder)
