"""The whole audit of a state folder: its segments, then its ledger, also while a daemon writes both.

Only reads, and never for long at once: a long read would keep the ledger's write-ahead log from
starting anew. The daemon writes a segment before it removes the events from the ledger, so whoever
looks at the ledger first, and then at the files, misses none.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Concatenate, ParamSpec, Self, TypeVar

from . import reading
from .chain import EVENT_COLUMNS, Link
from .connections import open_looker, sentence
from .encoding import Row, decode_object
from .folder import LEDGER
from .lines import Entry, Flaw, entry_of
from .segments import FOLDER, Segment, read_segment, segments

P = ParamSpec("P")
T = TypeVar("T")

IN_LEDGER = "the ledger"
_CHUNK = 2000


class Trail:
    """Opened for one walk or several. Raises `StoreError` where the ledger cannot be read."""

    def __init__(self, state: Path) -> None:
        self._folder = state / FOLDER
        self._path = state / LEDGER
        self._connection = open_looker(self._path)
        try:
            self.ledger = self._ask(reading.ledger_id)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def head(self) -> Link:
        """The newest event; number 0 when there is none yet."""
        return self._ask(reading.chain_end)

    def start(self) -> Link:
        """What the first event that is kept in the ledger follows."""
        return self._ask(reading.chain_start)

    def walk(self, after: int = 0) -> Iterator[Entry | Flaw]:
        """Every event with a number above `after`, oldest first, and what is none."""
        position = after
        while True:
            rows = self._rows(position)
            if not rows or rows[0][0] != position + 1:
                segment = self._next_segment(position, rows[0][0] if rows else None)
                if segment is not None:
                    there = False
                    for entry in _of_segment(segment):
                        there = True
                        if isinstance(entry, Flaw) or entry.event.seq > position:
                            yield entry
                    # What stands in it decides nothing about where the next one is looked for.
                    position = segment.last if there or segment.path.exists() else position
                    continue
            if not rows:
                return
            start = self.start()
            for row in rows:
                yield _of_row(row, start.hash if row[0] == start.seq + 1 else "")
            position = rows[-1][0]

    def _rows(self, after: int) -> Sequence[Row]:
        return self._ask(reading.event_rows_after, after, _CHUNK)

    def _next_segment(self, position: int, before: int | None) -> Segment | None:
        """The oldest one that has something after `position`, and of before the ledger's."""
        for segment in segments(self._folder):
            if segment.last > position and (before is None or segment.first < before):
                return segment
        return None

    def _ask(
        self, read: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **more: P.kwargs
    ) -> T:
        try:
            return read(self._connection, *args, **more)
        except sqlite3.Error as error:
            raise sentence(error, self._path) from error


def _of_row(row: Row, previous: str) -> Entry | Flaw:
    members = dict(zip(EVENT_COLUMNS, row, strict=True))
    try:
        members["data"] = decode_object(members["data"])
    except (TypeError, ValueError, RecursionError):
        members["data"] = None
    entry = entry_of(members, previous, IN_LEDGER)
    if isinstance(entry, Flaw):
        return Flaw(IN_LEDGER, f"holds an event {row[0]} that {entry.what}")
    return entry


def _of_segment(segment: Segment) -> Iterator[Entry | Flaw]:
    """Nothing of one that was pruned at this moment."""
    try:
        yield from read_segment(segment)
    except FileNotFoundError:
        return
