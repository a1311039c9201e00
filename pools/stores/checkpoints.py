"""Keeps the WAL short without making claims wait for it.

Copying the WAL into the database takes tens of milliseconds. So the bulk is copied by a thread and a
connection of their own while the writer goes on; SQLite allows that. What was written
meanwhile is little, and the writer copies it between two batches: only when every frame is
copied can the WAL start again from its beginning instead of growing for ever.
"""

import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from .pen import Pen

IDLE_SECONDS = 0.1
"""After so long without work the WAL is copied, however short it is."""
UNSAVED_ROWS = 2000
"""So many rows written, and it is copied although the writer is busy (some 10 MB)."""


class Checkpoints:
    """Used by the writer's thread alone."""

    def __init__(self, pen: Pen, opening: Callable[[], sqlite3.Connection]) -> None:
        self._pen = pen
        self._opening = opening
        self._executor = ThreadPoolExecutor(1, "ledger-checkpoint")
        self._running: Future[None] | None = None

    @property
    def due(self) -> bool:
        """True when an idle moment should be used."""
        return self._running is not None or self._pen.unsaved > 0

    def after_batch(self) -> None:
        """Called between two batches."""
        if self._running is not None:
            self._finish(self._running)
        elif self._pen.unsaved >= UNSAVED_ROWS:
            self._begin()

    def when_idle(self) -> None:
        """Called after `IDLE_SECONDS` without work."""
        if self._running is not None:
            self._finish(self._running)
        elif self._pen.unsaved:
            self._begin()

    def close(self) -> None:
        self._executor.shutdown(wait=True)

    def _begin(self) -> None:
        self._pen.unsaved = 0
        self._running = self._executor.submit(self._copy)

    def _finish(self, running: Future[None]) -> None:
        if not running.done():
            return
        self._running = None
        if running.exception() is None and self._pen.unsaved:
            self._pen.checkpoint()

    def _copy(self) -> None:
        """In the thread: a full or failing disk only puts it off; the writer's own trouble is told."""
        connection = self._opening()
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        finally:
            connection.close()
