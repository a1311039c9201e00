"""Where the tests' ledgers live: a state folder, or memory."""

import sqlite3
from pathlib import Path

from stoker.pools.sealing import Sealer
from stoker.pools.stores.sqlite import MemoryDisk, SqliteStore, WriterKind
from stoker.pools.stores.writer import Delay
from tests.stores.contract import Disk


class Folder(Disk):
    """A state folder, with the writer of a kind."""

    def __init__(self, path: Path, writer: WriterKind, delay: Delay | None = None) -> None:
        super().__init__()
        self.path = path
        self._writer: WriterKind = writer
        self._delay = delay

    def open(self, sealer: Sealer | None = None) -> SqliteStore:
        return SqliteStore.open(
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
