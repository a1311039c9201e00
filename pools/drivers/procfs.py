"""What /proc says about processes: who they are, what group they lead, whose mark they carry.

All functions block (on memory, not on disks) and are called from a driver's `Workers`. Every
process may end between two looks at it; that is not an error.
"""

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..ids import PartId

PART_MARK = "STOKER_PART"
"""Environment variable: the id of the part that a process belongs to."""
STATE_MARK = "STOKER_STATE"
"""Environment variable: whose part it is. Several daemons may run on one host."""
SPEC_MARK = "STOKER_SPEC"
"""Environment variable: a hash of the settings the process was started with."""
MARKS = frozenset({PART_MARK, STATE_MARK, SPEC_MARK})

_PF_KTHREAD = 0x00200000
_LISTINGS = 5
_EXECUTING = 0.001
"""Seconds between an environment that is empty and the second look at it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One process, for ever: a number is used again, but not with the same start time."""

    pid: int
    start_time: int
    """Clock ticks since boot, as /proc/PID/stat has it."""


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    identity: Identity
    parent: int
    group: int
    session: int
    alive: bool
    """False for a zombie: it runs no more, only its number is still taken."""
    stopped: bool = False
    """True after SIGSTOP and its like; not for a debugger's stop."""
    kernel: bool = False
    """True for a thread of the kernel, which has no environment."""

    @property
    def pid(self) -> int:
        return self.identity.pid


@dataclass(frozen=True, slots=True)
class Marked:
    """A process with this daemon's mark."""

    facts: ProcessFacts
    part: PartId
    spec: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All processes of the host at one time."""

    processes: Mapping[int, ProcessFacts]
    marked: Mapping[PartId, tuple[Marked, ...]]
    """Living processes with this daemon's mark, oldest first."""


def read_facts(pid: int) -> ProcessFacts | None:
    """None when there is no such process."""
    text = _read(f"/proc/{pid}/stat")
    # The second field is the program's name in brackets, and may hold brackets and spaces itself.
    fields = text.rpartition(b")")[2].split()
    if len(fields) < 20:
        return None
    return ProcessFacts(
        Identity(pid, int(fields[19])),
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        alive=fields[0] not in (b"Z", b"X", b"x"),
        stopped=fields[0] == b"T",
        kernel=bool(int(fields[6]) & _PF_KTHREAD),
    )


def read_alive(identity: Identity) -> ProcessFacts | None:
    """The facts of exactly this process, running or stopped and no zombie, or None."""
    facts = read_facts(identity.pid)
    return facts if facts is not None and facts.alive and facts.identity == identity else None


def read_marks(pid: int) -> dict[str, str] | None:
    """The marks in the environment that the process was started with.

    None where no environment is to be seen: it is empty, or another user's and hidden.
    """
    text = _read(f"/proc/{pid}/environ")
    if not text:
        return None
    marks: dict[str, str] = {}
    if b"STOKER_" not in text:
        return marks
    for entry in text.split(b"\0"):
        name, _, value = entry.partition(b"=")
        word = name.decode("ascii", "replace")
        if word in MARKS:
            marks[word] = value.decode("utf-8", "replace")
    return marks


def take_snapshot(state: str) -> Snapshot:
    """Looks at every process, so that none with the mark is overlooked. `state`: the mark.

    A process may fork and end between the listing and the look at it, so the list is read again
    until it has nothing new. While a process executes another program, its environment is empty
    for a moment, so empty ones are looked at twice.
    """
    processes: dict[int, ProcessFacts] = {}
    marked: dict[PartId, list[Marked]] = {}
    seen: set[int] = set()
    empty: list[ProcessFacts] = []

    def look(facts: ProcessFacts) -> bool:
        marks = read_marks(facts.pid)
        if marks is not None and marks.get(STATE_MARK) == state and marks.get(PART_MARK):
            part = PartId(marks[PART_MARK])
            marked.setdefault(part, []).append(Marked(facts, part, marks.get(SPEC_MARK, "")))
        return marks is not None

    for _ in range(_LISTINGS):
        fresh = [pid for pid in _pids() if pid not in seen]
        if not fresh:
            break
        seen.update(fresh)
        for pid in fresh:
            facts = read_facts(pid)
            if facts is None:
                continue
            processes[pid] = facts
            if facts.alive and not facts.kernel and not look(facts):
                empty.append(facts)
    if empty:
        time.sleep(_EXECUTING)
        for facts in empty:
            look(facts)
    oldest_first = {
        part: tuple(sorted(found, key=lambda one: one.facts.identity.start_time))
        for part, found in marked.items()
    }
    return Snapshot(processes, oldest_first)


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - thousands of names, no paths


def _read(path: str) -> bytes:
    """The whole file; empty when the process is gone or hides it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""
    try:
        chunks: list[bytes] = []
        while chunk := os.read(descriptor, 65536):
            chunks.append(chunk)
        return b"".join(chunks)
    except (ProcessLookupError, PermissionError):
        return b""
    finally:
        os.close(descriptor)
