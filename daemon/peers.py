"""Who is at the other end of a connection, as the kernel says it.

`credentials_of` is asked once when a connection is accepted; `PeerNames` adds what only people
need (user name, program, systemd unit). Nothing here comes from the request.
"""

import asyncio
import errno
import grp
import os
import pwd
import re
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..pools.claim import Claimant
from ..pools.processes import start_of

_UCRED = struct.Struct("3i")
SO_PEERPIDFD = 77
"""Linux 6.5; the socket module has no name for it yet."""
_SO_PEERGROUPS = 59
_GID = struct.Struct("I")
_MOST_GROUPS = 256
"""Of a caller that is in more the groups are unknown: Python reads no longer socket options."""
_TICK = 1 / os.sysconf("SC_CLK_TCK")
_UNIT = re.compile(r"([^/]+\.(?:service|scope|socket|slice))(?:/|$)")
_NAME_WITHIN = 1.0
"""Seconds. A user name may come from a directory server, and no claim waits long for it."""
LATE = frozenset({"user", "groups"})
"""Those of `Claimant.unknown` that a slow directory may tell at another time."""
_KNOWN_NAMES = 4096
_NAME_FOR = 60.0
"""Seconds after which a name is asked for again: numbers are given away anew."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What SO_PEERCRED said when the peer connected. `pid` is 0 for one of another pid namespace."""

    pid: int
    uid: int
    gid: int


def credentials_of(connection: socket.socket) -> Credentials:
    """Raises OSError when the socket is no connected Unix socket."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(raw)
    return Credentials(pid, uid & 0xFFFFFFFF, gid & 0xFFFFFFFF)


def gids_of(connection: socket.socket, first: int) -> tuple[int, ...]:
    """All groups that the peer had when it connected, `first` before the others.

    Raises OSError when the kernel does not say, or says more than fits.
    """
    raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_GROUPS * _GID.size)
    return (first, *[gid for (gid,) in _GID.iter_unpack(raw) if gid != first])


@dataclass(frozen=True, slots=True)
class _Process:
    exe: str = ""
    unit: str = ""
    alive: bool = False
    unknown: tuple[str, ...] = ("exe", "unit")


def look_at(
    connection: socket.socket, pid: int, accepted_at: float, option: int = SO_PEERPIDFD
) -> _Process:
    """What the process is, if it still runs."""
    folder = Path("/proc") / str(pid)
    unknown: list[str] = []
    exe = groups = ""
    try:
        exe = str((folder / "exe").readlink())
    except FileNotFoundError:
        return _Process()  # no such process, or one that has ended and was not waited for
    except OSError:
        unknown.append("exe")  # another user's process: its program is not ours to see
    try:
        groups = (folder / "cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        unknown.append("unit")
    # Looked at afterwards: a process that runs now had its number while its files were read.
    if not _still_runs(connection, pid, accepted_at, option):
        return _Process()
    return _Process(exe, unit_of(groups), True, tuple(unknown))


def unit_of(groups: str) -> str:
    """The innermost systemd unit of a `/proc/PID/cgroup` text; empty outside systemd."""
    for line in groups.splitlines():
        hierarchy, _, path = line.partition("::")
        if hierarchy == "0":
            found = _UNIT.findall(path)
            return str(found[-1]) if found else ""
    return ""


def _still_runs(connection: socket.socket, pid: int, accepted_at: float, option: int) -> bool:
    """Whether the very process that connected still runs: its pid was not given to another.

    Before Linux 6.5 the kernel cannot say; then see `fits`.
    """
    try:
        pidfd = connection.getsockopt(socket.SOL_SOCKET, option)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            return False  # ESRCH, EINVAL: it has ended
        try:
            return fits(connection, start_of(pid), accepted_at)
        except OSError:
            return False
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return not poll.poll(0)
    finally:
        os.close(pidfd)


def fits(peer: socket.socket, start: int | None, accepted_at: float) -> bool:
    """Whether a process with the peer's number can be the one that connected.

    `start` is in ticks since the boot, `accepted_at` in seconds of CLOCK_BOOTTIME.
    """
    if start is None or start * _TICK > accepted_at:
        return False
    poll = select.poll()
    try:
        poll.register(peer, select.POLLRDHUP)
    except ValueError:  # it was closed meanwhile
        return False
    return not poll.poll(0)


class _Names:
    """The names behind numbers, from a directory that may be slow. An unnamed number has "" for one."""

    def __init__(self, look_up: Callable[[int], str], executor: ThreadPoolExecutor) -> None:
        self._look_up = look_up
        self._executor = executor
        self._known: dict[int, tuple[str, float]] = {}
        self._asked: dict[int, asyncio.Future[str]] = {}

    def known(self, number: int) -> str | None:
        found = self._known.get(number)
        if found is None or found[1] < time.monotonic():
            return None
        return found[0]

    def ask(self, number: int) -> "asyncio.Future[str]":
        """The answer, once the directory gives it: also one that comes late is kept for the next."""
        asked = self._asked.get(number)
        if asked is None:
            loop = asyncio.get_running_loop()
            asked = loop.run_in_executor(self._executor, self._look_up, number)
            self._asked[number] = asked
            asked.add_done_callback(lambda answer: self._learn(number, answer))
        return asked

    def _learn(self, number: int, answer: "asyncio.Future[str]") -> None:
        self._asked.pop(number, None)
        if answer.cancelled() or answer.exception() is not None:
            return
        if len(self._known) >= _KNOWN_NAMES:
            self._known.clear()
        self._known[number] = (answer.result(), time.monotonic() + _NAME_FOR)


class PeerNames:
    """Turns credentials into a `Claimant`. Owns the threads that ask the host.

    Procfs is asked in a thread as well: reading a program's name waits for a lock of that program.
    """

    def __init__(
        self,
        user_name: Callable[[int], str] | None = None,
        group_name: Callable[[int], str] | None = None,
    ) -> None:
        self._processes = ThreadPoolExecutor(2, thread_name_prefix="peers")
        self._directory = ThreadPoolExecutor(2, thread_name_prefix="names")
        self._users = _Names(user_name or _user_name, self._directory)
        self._groups = _Names(group_name or _group_name, self._directory)

    async def identify(
        self, connection: socket.socket, who: Credentials, accepted_at: float
    ) -> Claimant:
        """Never fails: what cannot be told is left empty, and a dead peer's `pid` is 0.

        `accepted_at`: when the connection was, in seconds of CLOCK_BOOTTIME.
        """
        process = _Process()
        if who.pid:
            process = await self._process(connection, who.pid, accepted_at)
        unknown = list(process.unknown)
        (user,) = await _in_time(self._users, [who.uid])
        if user is None:
            unknown.append("user")
        try:
            gids = gids_of(connection, who.gid)
        except OSError:
            gids = (who.gid,)
            unknown.append("groups")
        names = await _in_time(self._groups, gids)
        if "groups" not in unknown and None in names:
            unknown.append("groups")
        return Claimant(
            uid=who.uid,
            gid=who.gid,
            pid=who.pid if process.alive else 0,
            user=user or "",
            exe=process.exe,
            unit=process.unit,
            groups=tuple([name for name in names if name]),
            gids=gids,
            unknown=tuple(unknown),
        )

    async def _process(self, connection: socket.socket, pid: int, accepted_at: float) -> _Process:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_NAME_WITHIN):
                return await loop.run_in_executor(
                    self._processes, look_at, connection, pid, accepted_at
                )
        except (TimeoutError, OSError):
            return _Process(alive=True)  # it connected a moment ago

    def close(self) -> None:
        self._processes.shutdown(wait=False, cancel_futures=True)
        self._directory.shutdown(wait=False, cancel_futures=True)


async def _in_time(names: _Names, numbers: Sequence[int]) -> list[str | None]:
    """Each name, or None where it does not come in time; a later caller may have it then."""
    found = {number: names.known(number) for number in numbers}
    asked = {number: names.ask(number) for number, name in found.items() if name is None}
    if asked:
        await asyncio.wait(asked.values(), timeout=_NAME_WITHIN)
        for number, answer in asked.items():
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                found[number] = answer.result()
    return [found[number] for number in numbers]


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return ""
