"""What the end of a claim hangs on beside time: a process, or a connection. Pure.

`time` is the default and leaves no trace: such a claim has no `Binding` at all. A binding to a
process is kept in the ledger with what tells that process from every other one, so that it is
followed again after a restart. A connection ends with the daemon, and a restart of the daemon
releases nothing; what such a claim hangs on from then on is the process that had connected.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum


class Bind(StrEnum):
    """What a caller may ask for (`bind`)."""

    TIME = "time"
    PROCESS = "process"
    CONNECTION = "connection"


@dataclass(frozen=True, slots=True)
class Process:
    """One process, for ever: a number is used again, but not with the same start in the same boot."""

    pid: int
    start: int
    """Clock ticks from the boot to its start, as /proc/PID/stat has it."""
    boot: str
    """The kernel's boot id: after a reboot nothing of an earlier boot runs any more."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What a claim is bound to. `process` is None for a connection whose peer cannot be followed."""

    to: Bind
    process: Process | None = None


@dataclass(frozen=True, slots=True)
class Tie:
    """A binding as it is asked for: `anchor` is what `Ties` knows the process or connection by."""

    binding: Binding
    anchor: Hashable


class Afterwards(StrEnum):
    """What becomes of a bound claim when the daemon starts again."""

    FOLLOW = "follow"
    GONE = "gone"
    TIME_ALONE = "time-alone"


def afterwards(binding: Binding, boot: str) -> Afterwards:
    """`boot`: the boot id of now. Whether a process of this boot still runs is for the host to say."""
    if binding.process is None:
        return Afterwards.TIME_ALONE
    return Afterwards.FOLLOW if binding.process.boot == boot else Afterwards.GONE


def process_ended(process: Process) -> str:
    """The reason that the event gives."""
    return f"the process {process.pid} that claimed it has ended"


REBOOTED = "the host was started anew, so the process that claimed it has ended"
CONNECTION_CLOSED = "the connection on which it was claimed was closed"
