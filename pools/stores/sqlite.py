"""The ledger on SQLite: the embedded default, for one host.

Commits go through one writer (see `writer`); look-ups by key run at once on a connection of the
event loop; longer reads run in one thread with a third connection, so that nobody waits for them.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, Literal, ParamSpec, TypeVar

from ...config.json_types import Json
from ..claim import Claim
from ..ids import ClaimId
from ..sealing import Sealer
from ..store import Event, EventListener, Image, StoreError, Transaction
from . import reading
from .connections import connect, open_reader, open_writer, sentence
from .encoding import place
from .folder import LEDGER, FolderLock
from .lanes import Job
from .migrations import migrate
from .pen import Pen
from .transaction import SqliteTransaction, Statement
from .writer import Delay, InlineWriter, ThreadWriter, Writer

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

PURGE_ROWS = 100
"""Rows deleted per commit: a claim that comes meanwhile waits for no more than these."""

_KEY_CHECK = b"this ledger's secrets are sealed with this key"
_KEY_PLACE = place("meta", "key check", "value")
_PURGE_CLAIMS = "DELETE FROM claims WHERE id IN (SELECT id FROM claims WHERE over_at < ? LIMIT ?)"
_KEEP_LINK = (
    "INSERT OR REPLACE INTO meta (name, value) "
    "SELECT 'chain', seq || ' ' || hash FROM events WHERE seq = ?"
)
_PURGE_EVENTS = "DELETE FROM events WHERE seq <= ?"


class MemoryDisk:
    """A database in memory that outlives the store on it, as a disk outlives a crash."""

    def __init__(self) -> None:
        self.connection = connect(":memory:")
        migrate(self.connection, None)

    def close(self) -> None:
        self.connection.close()


class _Borrowed(sqlite3.Connection):
    """Never instantiated; see `_keep_open`."""


class SqliteStore:
    """See `stoker.pools.store.Store`. Made by `open` or `open_memory`."""

    def __init__(
        self,
        *,
        pen: Pen,
        sealer: Sealer,
        readers: tuple[sqlite3.Connection, sqlite3.Connection],
        make_writer: Callable[[Pen, Callable[[Sequence[Event]], None]], Writer],
        lock: FolderLock | None,
        where: str,
    ) -> None:
        self._pen = pen
        self._sealer = sealer
        self._quick, self._slow = readers
        self._lock = lock
        self._where = where
        self._listeners: list[EventListener] = []
        self._writer = make_writer(pen, self._announce)
        self._executor: ThreadPoolExecutor | None = None
