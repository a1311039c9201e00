"""The processes of the host, as far as claims are bound to them: `Ties` asks, pidfds answer.

A pidfd stands for one process, whatever becomes of its number, and epoll says at once when it has
ended. Taking hold of a process by number and start time is race free: the pidfd is opened first,
then the start time is compared, then the pidfd is asked whether the process still runs. If it
does, it ran all the time, so what /proc said in between was said of it.
"""

import asyncio
import os
import resource
import select
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from .binding import Process
from .clock import read_boot_id

SHARE = 4
"""One of so many file descriptors may be a process that is followed."""


class Tied(Protocol):
    """Something that ends once: a process, or a connection."""

    def watch(self, ended: Callable[[], None]) -> None:
        """`ended` is called once, in the event loop, never from within `watch`."""
        ...

    def close(self) -> None:
        """Nothing is called any more. May be repeated."""
        ...


class Processes(Protocol):
    """`HostProcesses`, or simulated ones. The contract is in tests/pools/contract_processes.py."""

    most: int
    """How many may be followed at once."""

    boot: str
    """The kernel's boot id."""

    async def find(self, wanted: Iterable[Process]) -> Mapping[Process, Tied | None]:
        """Takes hold of exactly these; None for one that has ended.

        One of which nothing can be told (no file descriptor is left) is missing from the answer.
        """
        ...


class HeldProcess:
    """A process by its pidfd, which this owns."""

    def __init__(self, pidfd: int) -> None:
        self._pidfd: int | None = pidfd
        self._loop: asyncio.AbstractEventLoop | None = None

    def watch(self, ended: Callable[[], None]) -> None:
        assert self._pidfd is not None, "closed"
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._pidfd, self._told, ended)

    def _told(self, ended: Callable[[], None]) -> None:
        self.close()
        ended()

    def close(self) -> None:
        pidfd, self._pidfd = self._pidfd, None
        if pidfd is None:
            return
        if self._loop is not None:
            self._loop.remove_reader(pidfd)
        os.close(pidfd)


class HostProcesses:
    """Those of this host, in the pid namespace of the daemon."""

    def __init__(self) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.most = max(16, soft // SHARE)
        self.boot = read_boot_id()

    async def find(self, wanted: Iterable[Process]) -> Mapping[Process, Tied | None]:
        found = await asyncio.to_thread(_open_all, list(wanted), self.boot)
        return {
            process: None if pidfd is None else HeldProcess(pidfd)
            for process, pidfd in found.items()
        }


def _open_all(wanted: list[Process], boot: str) -> dict[Process, int | None]:
    found: dict[Process, int | None] = {}
    for process in wanted:
        try:
            found[process] = _open(process) if process.boot == boot else None
        except OSError:
            continue  # no descriptor left, or no memory: that says nothing about the process
    return found


def _open(process: Process) -> int | None:
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    try:
        it_is = start_of(process.pid) == process.start and still_runs(pidfd)
    except BaseException:
        os.close(pidfd)
        raise
    if it_is:
        return pidfd
    os.close(pidfd)
    return None


def still_runs(pidfd: int) -> bool:
    """False from the moment at which it has ended, waited for or not."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return not poll.poll(0)


def start_of(pid: int) -> int | None:
    """Clock ticks from the boot to its start; None when /proc shows no such process.

    Raises OSError when that cannot be told (no file descriptor is left).
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - no path to work with
            text = file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The second field is the program's name in brackets, and may hold brackets and spaces itself.
    fields = text.rpartition(b")")[2].split()
    return int(fields[19]) if len(fields) > 19 else None
