"""Writes one batch of jobs in one commit: all of them, or all but those at fault themselves.

A batch is first written straight through. When one of its jobs is at fault (a key that belongs to
another claim), the batch is written again with a savepoint around each job, so that only the
culprit fails; the common case pays nothing for it. When the disk is at fault, everybody waiting is
told, and the connection is opened anew before the next batch: after a failed commit nobody
knows what was written, so the end of the event chain is read again, and events that did
reach the disk are announced late rather than never.
"""

import contextlib
import sqlite3
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain as chain_of
from pathlib import Path

from ..store import Event, Head, NewEvent, StoreCorrupt, StoreError
from . import chain
from .connections import at_fault, sentence
from .encoding import Row
from .lanes import Job
from .reading import chain_end, events_after
from .transaction import ADD_EVENT, LENGTHS, is_insert, statement_for


@dataclass(slots=True)
class Counts:
    """What was done since the start: for metrics."""

    commits: int = 0
    transactions: int = 0
    rows: int = 0
    failed: int = 0
    largest_batch: int = 0
    busy_seconds: float = 0.0
    checkpoints: int = 0
    checkpoint_seconds: float = 0.0
    longest_checkpoint: float = 0.0
    bytes: int = 0
    """Of the database's file, at the last checkpoint."""
    wal_bytes: int = 0


class Pen:
    """Holds the connection that writes. Used by one thread at a time."""

    def __init__(
        self,
        opening: Callable[[], sqlite3.Connection],
        wall: Callable[[], float],
        where: str,
        *,
        keep_open: bool = False,
    ) -> None:
        """`opening` opens the ledger, also anew after trouble; `where` names it in sentences.

        `keep_open`: the connection belongs to somebody else, and is never closed here.
        """
        self._opening = opening
        self._wall = wall
        self._where = where
        self._keep_open = keep_open
        self._connection = opening()
        self._end = chain_end(self._connection)
        self._in_doubt = False
        self._last: Sequence[Job] = ()
        """The batch that was tried last: the one in doubt, when one is."""
        self._already: list[NewEvent] = []
        """Events of a commit that failed after its effect. Who adds one again has it already."""
        self.unsaved = 0
        """Rows written since the last checkpoint: how long the WAL is, roughly."""
        self.counts = Counts()

    @property
    def connection(self) -> sqlite3.Connection:
        return self._connection

    @property
    def head(self) -> Head:
        """The newest durable event; number 0 before the first."""
        end = self._end  # replaced as a whole, by the writer's thread
        return Head(end.seq, end.hash)

    def write(self, batch: Sequence[Job]) -> list[Event]:
        """Commits the batch; each job then has its `changed` or its `error`.

        Returns the events that became durable, oldest first. Raises nothing.
        """
        started = time.perf_counter()
        late: list[Event] = []
        try:
            if self._in_doubt:
                late = self._reopen()
            events = self._commit_batch(batch)
        except Exception as error:  # noqa: BLE001  whatever it is, those waiting must be told
            events = []
            self._give_up(batch, error)
        self._count(batch, time.perf_counter() - started)
        return late + events

    def checkpoint(self) -> None:
        """Copies the WAL into the database, without waiting for readers. Trouble only delays it."""
        started = time.perf_counter()
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error:
            self._in_doubt = True  # a full or failing disk: the next write says so
        self.unsaved = 0
        self._measure()
        seconds = time.perf_counter() - started
        self.counts.checkpoints += 1
        self.counts.checkpoint_seconds += seconds
        self.counts.longest_checkpoint = max(self.counts.longest_checkpoint, seconds)

    def close(self) -> None:
        if not self._keep_open:
            self._connection.close()

    def _measure(self) -> None:
        if self._keep_open:
            return  # in memory there is no file
        path = Path(self._where)
        with contextlib.suppress(OSError):
            self.counts.bytes = path.stat().st_size
            self.counts.wal_bytes = path.with_name(path.name + "-wal").stat().st_size

    def _commit_batch(self, batch: Sequence[Job]) -> list[Event]:
        self._last = batch
        try:
            return self._transact(batch, self._apply_together)
        except Exception as error:
            self._roll_back()
            if not at_fault(error):
                raise
        return self._transact(batch, self._apply_apart)

    def _transact(
        self, batch: Sequence[Job], apply: Callable[[Sequence[Job]], None]
    ) -> list[Event]:
        self._connection.execute("BEGIN IMMEDIATE")
        apply(batch)
        events = self._add_events(batch)
        self._connection.execute("COMMIT")
        if events:
            self._end = chain.Link(events[-1].seq, events[-1].hash)
        return events

    def _apply(self, job: Job) -> None:
        execute, changed = self._connection.execute, 0
        for sql, values in job.statements:
            changed += execute(sql, values).rowcount
        job.changed = changed

    def _apply_together(self, batch: Sequence[Job]) -> None:
        """Rows of one table go in one statement, however many jobs they are from.

        Each statement gives up the interpreter's lock and has to win it back from a busy event
        loop; one for each row would make that wait the longest part of a commit. The order among
        the jobs does not matter: no two jobs under way are about the same row (see `Store.commit`).
        """
        if len(batch) == 1:
            self._apply(batch[0])
            return
        groups: dict[str, list[Row]] = {}
        for job in batch:
            if all(is_insert(sql) for sql, _ in job.statements):
                for sql, values in job.statements:
                    groups.setdefault(sql, []).append(values)
            else:
                self._apply(job)
        for sql, rows in groups.items():
            self._insert(sql, rows)

    def _insert(self, sql: str, rows: Sequence[Row]) -> None:
        """In few statements, and of few lengths: the connection's cache has to hold them all."""
        at = 0
        while left := len(rows) - at:
            count = left if left < LENGTHS[0] else LENGTHS[bisect_right(LENGTHS, left) - 1]
            values = list(chain_of.from_iterable(rows[at : at + count]))
            self._connection.execute(statement_for(sql, count), values)
            at += count

    def _apply_apart(self, batch: Sequence[Job]) -> None:
        for job in batch:
            self._connection.execute("SAVEPOINT job")
            try:
                self._apply(job)
            except Exception as error:
                if not at_fault(error):
                    raise
                job.error = sentence(error, self._where)
                self._connection.execute("ROLLBACK TO job")
            self._connection.execute("RELEASE job")

    def _add_events(self, batch: Sequence[Job]) -> list[Event]:
        """Numbers and hashes them here, where nothing can come between: the chain has no gaps."""
        at, end = self._wall(), self._end
        events: list[Event] = []
        rows: list[Row] = []
        for job in batch:
            if job.error is not None:
                continue
            for drafted in job.events:
                if self._already and self._has_already(drafted.source):
                    continue
                event = chain.follow(end, at, drafted)
                end = chain.Link(event.seq, event.hash)
                events.append(event)
                rows.append(chain.encode_event(event, drafted))
        if rows:
            self._insert(ADD_EVENT, rows)
        return events

    def _has_already(self, event: NewEvent) -> bool:
        """By identity: two events that say the same are two, unless it is the same one again."""
        for place, each in enumerate(self._already):
            if each is event:
                del self._already[place]
                return True
        return False

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _give_up(self, batch: Sequence[Job], error: Exception) -> None:
        self._in_doubt = True
        trouble = error if isinstance(error, StoreError) else sentence(error, self._where)
        for job in batch:
            job.error = trouble
        try:
            self._roll_back()
        except sqlite3.Error:
            return  # the connection is opened anew in any case

    def _reopen(self) -> list[Event]:
        """A fresh connection; returns events that were written although their commit failed."""
        self.close()
        self._connection = self._opening()
        end = chain_end(self._connection)
        if end.seq < self._end.seq:
            raise StoreCorrupt(
                f"the ledger {self._where} was replaced by an older one while the daemon ran; "
                "restart the daemon, and look at what restores files there"
            )
        late: list[Event] = []
        if end.seq > self._end.seq:
            late = events_after(self._connection, self._end.seq, end.seq - self._end.seq)
            # A batch is written whole or not at all.
            self._already = [drafted.source for job in self._last for drafted in job.events]
        self._end = end
        self._in_doubt = False
        return late

    def _count(self, batch: Sequence[Job], seconds: float) -> None:
        counts, rows, failed = self.counts, 0, 0
        for job in batch:
            if job.error is None:
                rows += len(job.statements) + len(job.events)
            else:
                failed += 1
        self.unsaved += rows
        counts.rows += rows
        counts.failed += failed
        counts.transactions += len(batch) - failed
        counts.commits += 1 if failed < len(batch) else 0
        counts.largest_batch = max(counts.largest_batch, len(batch))
        counts.busy_seconds += seconds
