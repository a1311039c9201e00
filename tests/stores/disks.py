"""Where the tests' ledgers live: a state folder, or memory. What outlives a store, and opens it."""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from stoker.pools.claim import Claim
from stoker.pools.resource import Resource
from stoker.pools.sealing import Sealer
from stoker.pools.store import Event, NewEvent
from stoker.pools.stores.rotation import Read, Write
from stoker.pools.stores.sqlite import MemoryDisk, SqliteStore, WriterKind
from stoker.pools.stores.writer import Delay


class OpenStore(SqliteStore):
    """A store whose connection can be broken, as a disk does."""

    def lose_connection(self) -> None:
        self._footing.pen.connection.close()

    @property
    def look(self) -> Read:
        return self._look

    @property
    def write_background(self) -> Write:
        return self._write


class Disk(ABC):
    """Where a ledger lives, and what opens it."""

    def __init__(self) -> None:
        self.sealer = Sealer(b"s" * 32)
        self.time = 1_700_000_000.0

    def wall(self) -> float:
        return self.time

    @abstractmethod
    def open(self, sealer: Sealer | None = None) -> SqliteStore: ...

    @abstractmethod
    def tamper(self, sql: str, *values: object) -> None:
        """Changes the ledger behind the store's back, while none is open."""

    @abstractmethod
    def everything(self) -> bytes:
        """All bytes that the ledger has on its disk."""


async def put(
    store: SqliteStore, *things: Resource | Claim | NewEvent, urgent: bool = False
) -> None:
    transaction = store.transaction()
    for thing in things:
        if isinstance(thing, Resource):
            transaction.put_resource(thing)
            for part in thing.parts:
                transaction.put_part(thing, part)
        elif isinstance(thing, Claim):
            transaction.put_claim(thing)
        else:
            transaction.add_event(thing)
    await store.commit(transaction, urgent=urgent)


async def all_events(store: SqliteStore) -> Sequence[Event]:
    return await store.events(after=0, limit=1000)


class Folder(Disk):
    """A state folder, with the writer of a kind."""

    def __init__(self, path: Path, writer: WriterKind, delay: Delay | None = None) -> None:
        super().__init__()
        self.path = path
        self._writer: WriterKind = writer
        self._delay = delay

    def open(self, sealer: Sealer | None = None) -> OpenStore:
        return OpenStore.open(
            self.path,
            sealer=sealer or self.sealer,
            wall=self.wall,
            writer=self._writer,
            delay=self._delay,
        )

    def tamper(self, sql: str, *values: object) -> None:
        connection = sqlite3.connect(self.path / "ledger.db", isolation_level=None)
        connection.execute(sql, values)
        connection.close()

    def everything(self) -> bytes:
        return b"".join(path.read_bytes() for path in sorted(self.path.glob("ledger.db*")))


class Memory(Disk):
    """A database in memory, written in the event loop."""

    def __init__(self, delay: Delay | None = None) -> None:
        super().__init__()
        self.disk = MemoryDisk()
        self._delay = delay

    def open(self, sealer: Sealer | None = None) -> SqliteStore:
        return SqliteStore.open_memory(
            self.disk, sealer=sealer or self.sealer, wall=self.wall, delay=self._delay
        )

    def tamper(self, sql: str, *values: object) -> None:
        self.disk.connection.execute(sql, values)

    def everything(self) -> bytes:
        return self.disk.connection.serialize()
