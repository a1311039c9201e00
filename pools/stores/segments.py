"""The files that old events are moved to: `audit/FIRST-LAST.jsonl` in the state folder, mode 0600.

A segment has its name only once all of it is on the disk, and is never written again.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .chain import Link
from .lines import LONGEST_LINE, Entry, Flaw, read_line

FOLDER = "audit"
_NAME = re.compile(r"(\d{16})-(\d{16})\.jsonl")
_PARTIAL = ".partial"
_LAST_LINE = 64 * 1024
"""Bytes from the end in which the last line is looked for first."""


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    first: int
    last: int
    path: Path


def segments(folder: Path) -> list[Segment]:
    """Those of an `audit` folder, oldest first. Raises OSError when it is there and unreadable."""
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    found = [(match, name) for name in names if (match := _NAME.fullmatch(name))]
    return sorted(Segment(int(match[1]), int(match[2]), folder / name) for match, name in found)


def read_lines(path: Path, name: str = "") -> Iterator[Entry | Flaw]:
    """Every line of a file; empty ones are passed over. Raises OSError."""
    name = name or path.name
    with path.open("rb") as stream:
        number = 0
        while line := stream.readline(LONGEST_LINE + 1):
            number += 1
            while not line.endswith(b"\n") and (rest := stream.readline(LONGEST_LINE)):
                line = line[: LONGEST_LINE + 1] + rest[-1:]  # too long already: only its end counts
            if line.strip():
                yield read_line(line, f"line {number} of {name}")


def read_segment(segment: Segment) -> Iterator[Entry | Flaw]:
    """As `read_lines`; a segment that ends elsewhere than its name says is a flaw."""
    last = 0
    for entry in read_lines(segment.path):
        if isinstance(entry, Entry):
            last = entry.event.seq
        yield entry
    if last != segment.last:
        yield Flaw(segment.path.name, f"ends with event {last}, and not with {segment.last}")


def end_of(path: Path) -> Link | None:
    """Number and hash of the last event of a file; None when its last line is none."""
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        for length in (_LAST_LINE, LONGEST_LINE):
            stream.seek(max(0, size - length))
            lines = stream.read().rstrip(b"\n").split(b"\n")
            if len(lines) > 1 or length >= size:
                break
    entry = read_line(lines[-1], path.name)
    return Link(entry.event.seq, entry.event.hash) if isinstance(entry, Entry) else None


class SegmentWriter:
    """Writes one segment. Every method blocks, and raises OSError."""

    def __init__(self, folder: Path, first: int) -> None:
        """What a crash has left unfinished here is removed."""
        folder.mkdir(mode=0o700, exist_ok=True)
        for path in folder.iterdir():
            if path.suffix == _PARTIAL:
                path.unlink()
        self._folder = folder
        self._first = first
        self._path = folder / f"{first:016d}{_PARTIAL}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._stream = os.fdopen(os.open(self._path, flags, 0o600), "wb")

    def write(self, lines: bytes) -> None:
        self._stream.write(lines)

    def finish(self, last: int) -> Segment:
        """On the disk for sure, then under its name."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        segment = Segment(self._first, last, self._folder / f"{self._first:016d}-{last:016d}.jsonl")
        self._path.rename(segment.path)
        sync_folder(self._folder)
        sync_folder(self._folder.parent)
        return segment

    def give_up(self) -> None:
        self._stream.close()
        self._path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
