"""The ledger on SQLite: the embedded default, for one host.

Commits go through one writer (see `writer`); look-ups by key run at once on a connection of the
event loop; longer reads run in one thread with a third connection, so that nobody waits for them.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Concatenate, Literal, ParamSpec, Self, TypeAlias, TypeVar

from ...config.json_types import Json
from ..claim import Claim
from ..ids import ClaimId
from ..retention import Retention
from ..sealing import Sealer
from ..store import (
    Done,
    Event,
    EventListener,
    Head,
    Image,
    KeptRevision,
    Progress,
    StoreCorrupt,
    Transaction,
)
from . import reading
from .chain import Draft
from .checkpoints import Checkpoints
from .connections import connect, open_checkpointer, open_reader, open_writer, sentence
from .encoding import place
from .folder import LEDGER, FolderLock
from .lanes import Job
from .migrations import migrate
from .pen import Pen
from .rotation import PURGE_ROWS, Rotation
from .segments import FOLDER as AUDIT_FOLDER
from .transaction import SqliteTransaction, Statement
from .writer import Delay, InlineWriter, ThreadWriter, Writer, closed

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
WriterKind: TypeAlias = Literal["thread", "inline"]

_KEY_CHECK = b"this ledger's secrets are sealed with this key"
_KEY_PLACE = place("meta", "key check", "value")
_PURGE_CLAIMS = (
    "DELETE FROM claims WHERE id IN"
    " (SELECT id FROM claims WHERE over_at < ? AND follow_up IS NULL LIMIT ?)"
)


class MemoryDisk:
    """A database in memory that outlives the store on it, as a disk outlives a crash."""

    def __init__(self) -> None:
        self.connection = connect(":memory:")
        migrate(self.connection, None)

    def close(self) -> None:
        self.connection.close()


@dataclass(frozen=True, slots=True)
class Footing:
    """What a store stands on: its connections, and what must be given back at the end."""

    where: str
    pen: Pen
    quick: sqlite3.Connection
    """Read in the event loop."""
    slow: sqlite3.Connection
    """Read in the executor, or in the loop when there is none."""
    executor: ThreadPoolExecutor | None = None
    lock: FolderLock | None = None

    def give_back(self) -> None:
        if self.executor is not None:
            self.executor.shutdown(wait=True, cancel_futures=True)
        if self.lock is not None:  # a database in memory has none, and stays open
            self.quick.close()
            self.slow.close()
            self.lock.release()


class SqliteStore:
    """See `stoker.pools.store.Store`. Made by `open` or `open_memory`, inside or outside a loop."""

    def __init__(
        self, footing: Footing, sealer: Sealer, *, writer: WriterKind, delay: Delay | None
    ) -> None:
        self._footing = footing
        self._sealer = sealer
        self._listeners: list[EventListener] = []
        self._rotation: Rotation | None = None
        self._revision = ""
        self._writer: Writer
        if writer == "thread":
            checkpoints = Checkpoints(footing.pen, partial(open_checkpointer, footing.where))
            self._writer = ThreadWriter(footing.pen, checkpoints, self._announce)
        else:
            self._writer = InlineWriter(footing.pen, self._announce, delay)

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        sealer: Sealer,
        wall: Callable[[], float] = time.time,
        writer: WriterKind = "thread",
        delay: Delay | None = None,
    ) -> Self:
        """Opens, makes or migrates the ledger of a state folder, and locks the folder.

        `wall` dates the events. `delay` is for the inline writer alone. Raises `StoreLocked`,
        `StoreCorrupt` or `StoreError`.
        """
        lock = FolderLock(folder)
        try:
            footing = _stand_on(folder / LEDGER, lock, wall, threads=writer == "thread")
        except BaseException:
            lock.release()
            raise
        try:
            _check_key(footing.pen.connection, sealer, footing.where)
        except BaseException:
            footing.pen.close()
            footing.give_back()
            raise
        store = cls(footing, sealer, writer=writer, delay=delay)
        store._rotation = Rotation(folder / AUDIT_FOLDER, store._look, store._write)
        return store

    @classmethod
    def open_memory(
        cls,
        disk: MemoryDisk,
        *,
        sealer: Sealer,
        wall: Callable[[], float],
        delay: Delay | None = None,
    ) -> Self:
        """A store on a database in memory, with the inline writer."""
        where = "in memory"
        pen = Pen(lambda: disk.connection, wall, where, keep_open=True)
        _check_key(disk.connection, sealer, where)
        footing = Footing(where, pen, disk.connection, disk.connection)
        return cls(footing, sealer, writer="inline", delay=delay)

    def load(self) -> Image:
        return self._reading(reading.load, self._footing.quick, self._sealer)

    def transaction(self) -> SqliteTransaction:
        return SqliteTransaction(self._sealer, self._revision)

    def serves(self, revision: str) -> None:
        self._revision = revision

    def submit(self, transaction: Transaction, done: Done, *, urgent: bool = False) -> None:
        if not isinstance(transaction, SqliteTransaction):
            raise TypeError("a transaction is committed to the store that made it")
        job = Job(transaction.statements, transaction.events, lambda job: done(job.error))
        self._writer.submit(job, urgent=urgent)

    async def commit(self, transaction: Transaction, *, urgent: bool = False) -> None:
        if not isinstance(transaction, SqliteTransaction):
            raise TypeError("a transaction is committed to the store that made it")
        if transaction.statements or transaction.events:
            await self._write(transaction.statements, transaction.events, urgent=urgent)

    def find_key(self, key: bytes) -> Claim | None:
        return self._reading(reading.find_key, self._footing.quick, key, self._sealer)

    async def claim(self, claim: ClaimId) -> Claim | None:
        return await self._read(reading.find_claim, claim, self._sealer)

    async def ended_claims(self, *, pool: str | None, limit: int) -> Sequence[Claim]:
        return await self._read(reading.ended_claims, pool, limit, self._sealer)

    async def revisions(self) -> Sequence[KeptRevision]:
        return await self._read(reading.revisions)

    async def revision(self, id: str, source: str) -> KeptRevision | None:  # noqa: A002
        return await self._read(reading.find_revision, id, source)

    async def events(self, *, after: int, limit: int, **filters: str) -> Sequence[Event]:
        """Raises `ValueError` for a filter that there is not."""
        unknown = sorted(filters.keys() - reading.EVENT_FILTERS)
        if unknown:
            known = ", ".join(sorted(reading.EVENT_FILTERS))
            raise ValueError(f"events have no filter {unknown[0]!r}; there are {known}")
        return await self._read(reading.events, after, limit, filters)

    def on_events(self, listener: EventListener) -> None:
        self._listeners.append(listener)

    async def purge(self, *, keys_before: float) -> int:
        """A hundred rows at a time, each in a commit of its own in the background lane."""
        total = 0
        while changed := await self._write([(_PURGE_CLAIMS, (keys_before, PURGE_ROWS))], ()):
            total += changed
        return total

    async def rotate(self, retention: Retention, *, today: float) -> int:
        """A ledger in memory has nowhere to move its events to, and keeps them."""
        return 0 if self._rotation is None else await self._rotation.step(retention, today)

    def head(self) -> Head:
        return self._footing.pen.head

    async def verify_chain(self) -> int:
        """Checks the audit's hash chain; returns its length. Raises `StoreCorrupt` if it is broken."""
        return await self._read(reading.verify_chain)

    async def integrity(self) -> Sequence[str]:
        """What is wrong with the file, in SQLite's words; empty when it is sound."""
        return await self._read(reading.integrity)

    def progress(self) -> Progress:
        counts = self._footing.pen.counts
        return Progress(counts.transactions + counts.failed, self._writer.waiting)

    def statistics(self) -> Mapping[str, Json]:
        return {**asdict(self._footing.pen.counts), "waiting": self._writer.waiting}

    async def close(self) -> None:
        """Writes what waits, then gives the folder free. Repeating it is harmless."""
        await self._writer.close()
        if self._footing.executor is None:
            self._footing.give_back()
        else:  # a long read may be under way, and closing files takes its time
            await asyncio.to_thread(self._footing.give_back)

    def kill(self) -> None:
        """For tests: as if the process died here. Nothing more is written, commits never return."""
        self._writer.kill()
        self._footing.give_back()

    async def _write(
        self, statements: Sequence[Statement], events: Sequence[Draft], *, urgent: bool = False
    ) -> int:
        written: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        job = Job(statements, events, lambda job: _resolve(written, job))
        self._writer.submit(job, urgent=urgent)
        return await written

    async def _look(self, read: Callable[[sqlite3.Connection], T]) -> T:
        return await self._read(read)

    async def _read(
        self, read: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **more: P.kwargs
    ) -> T:
        def call() -> T:
            return self._reading(read, self._footing.slow, *args, **more)

        if self._footing.executor is None:
            return call()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._footing.executor, call)
        except RuntimeError as error:
            raise closed() from error

    def _reading(
        self,
        read: Callable[Concatenate[sqlite3.Connection, P], T],
        connection: sqlite3.Connection,
        *args: P.args,
        **more: P.kwargs,
    ) -> T:
        try:
            return read(connection, *args, **more)
        except sqlite3.Error as error:
            raise sentence(error, self._footing.where) from error
        except (KeyError, TypeError, ValueError) as error:
            raise StoreCorrupt(
                f"the ledger {self._footing.where} holds a row that makes no sense ({error}); it "
                "was left as it is: restore a backup of the state folder"
            ) from error

    def _announce(self, events: Sequence[Event]) -> None:
        for listener in self._listeners:
            try:
                listener(events)
            except Exception:
                log.exception("a listener of the ledger's events failed; the others go on")


def _resolve(written: asyncio.Future[int], job: Job) -> None:
    if written.done():
        return  # whoever waited was cancelled
    if job.error is None:
        written.set_result(job.changed)
    else:
        # Each gets an exception of its own: a shared one would grow a traceback per waiter.
        written.set_exception(type(job.error)(*job.error.args))


def _stand_on(path: Path, lock: FolderLock, wall: Callable[[], float], *, threads: bool) -> Footing:
    creating = [True]

    def opening() -> sqlite3.Connection:
        return open_writer(path, create=bool(creating) and creating.pop())

    pen = Pen(opening, wall, str(path))
    executor = ThreadPoolExecutor(1, "ledger-reader") if threads else None
    try:
        return Footing(str(path), pen, open_reader(path), open_reader(path), executor, lock)
    except BaseException:
        pen.close()
        raise


def _check_key(connection: sqlite3.Connection, sealer: Sealer, where: str) -> None:
    """The first start leaves a sealed mark; every later one must be able to open it."""
    try:
        row = connection.execute("SELECT value FROM meta WHERE name = 'key check'").fetchone()
        if row is None:
            mark = sealer.seal(_KEY_CHECK, _KEY_PLACE)
            connection.execute("INSERT INTO meta VALUES ('key check', ?)", (mark,))
        else:
            sealer.open(row[0], _KEY_PLACE)
    except sqlite3.Error as error:
        raise sentence(error, where) from error
