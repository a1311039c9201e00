"""Where `stoker audit export` writes to: a file that a later run can go on with, or standard output."""

import os
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ...pools.store import Event
from ...pools.stores.lines import Entry, Flaw, write_line
from ...pools.stores.segments import end_of
from .failing import Failed


@dataclass(frozen=True, slots=True)
class Target:
    stream: BinaryIO
    reached: int = 0
    """The number of the last event that is in it."""


@dataclass(slots=True)
class Copied:
    lines: int = 0
    flaws: list[Flaw] = field(default_factory=list[Flaw])


@contextmanager
def open_target(file: Path | None, *, append: bool) -> Generator[Target]:
    """A file is readable for its owner alone. Raises `Failed` when it is there, or is no export."""
    if file is None:
        yield Target(sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (0 if append else os.O_EXCL)
        stream = os.fdopen(os.open(file, flags, 0o600), "r+b")
    except FileExistsError:
        raise Failed(
            f"{file} is there already; add to it with --append, or name another."
        ) from None
    except OSError as error:
        raise Failed(f"{file} cannot be written: {error.strerror}.") from None
    with stream:
        yield Target(stream, _reached(stream, file))
        stream.flush()
        os.fsync(stream.fileno())


def copy(
    entries: Iterable[Entry | Flaw], target: Target, after: int, wanted: Callable[[Event], bool]
) -> Copied:
    """Writes those above `after` that are wanted, each with the hash of the one before it."""
    copied, previous = Copied(), ""
    for entry in entries:
        if isinstance(entry, Flaw):
            copied.flaws.append(entry)
            continue
        event = entry.event
        follows, previous = entry.previous or previous, event.hash
        if event.seq <= after or not wanted(event):
            continue
        if not follows:
            what = f"holds event {event.seq} without the one before it: see 'stoker audit verify'"
            copied.flaws.append(Flaw(entry.place, what))
            continue
        target.stream.write(write_line(event, follows))
        copied.lines += 1
    return copied


def _reached(stream: BinaryIO, file: Path) -> int:
    """Goes to the end; a last line that was cut off is taken away."""
    size = stream.seek(0, os.SEEK_END)
    if not size:
        return 0
    stream.seek(size - 1)
    if stream.read(1) != b"\n":
        stream.seek(0)
        kept = 0
        for line in stream:
            kept += len(line) if line.endswith(b"\n") else 0
        stream.truncate(kept)
    stream.seek(0, os.SEEK_END)
    if not stream.tell():
        return 0
    end = end_of(file)
    if end is None:
        raise Failed(f"{file} does not end with an event, so nothing is added to it.")
    return end.seq
