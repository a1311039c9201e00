"""Who is at the other end of a connection, as the kernel says it.

`credentials_of` is asked once when a connection is accepted; `PeerNames` adds what only people
need (user name, program, systemd unit). Nothing here comes from the request.
"""

import asyncio
import os
import pwd
import re
import select
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..pools.claim import Claimant

_UCRED = struct.Struct("3i")
_SO_PEERPIDFD = 77  # Linux 6.5; the socket module has no name for it yet
_UNIT = re.compile(r"([^/]+\.(?:service|scope|socket|slice))(?:/|$)")
_NAME_WITHIN = 1.0
"""Seconds for a user name: it may come from a directory server, and a claim does not wait for it."""
_KNOWN_NAMES = 1024


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


@dataclass(frozen=True, slots=True)
class _Process:
    exe: str = ""
    unit: str = ""
    alive: bool = False


def _look_at(pid: int) -> _Process:
    """Reads procfs, which is memory of the kernel and never waits for a disk."""
    folder = Path("/proc") / str(pid)
    try:
        exe = str((folder / "exe").readlink())
    except FileNotFoundError:
        # No such process, or one that has ended and was not waited for.
        return _Process()
    except OSError:
        exe = ""  # another user's process: its program is not ours to see
    try:
        groups = (folder / "cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _Process(exe, "", (folder / "stat").exists())
    return _Process(exe, _unit_of(groups), True)


def _unit_of(groups: str) -> str:
    """The innermost systemd unit of a `/proc/PID/cgroup` text; empty outside systemd."""
    for line in groups.splitlines():
        hierarchy, _, path = line.partition("::")
        if hierarchy == "0":
            found = _UNIT.findall(path)
            return str(found[-1]) if found else ""
    return ""


def _still_runs(connection: socket.socket) -> bool:
    """Whether the very process that connected still runs: its pid was not given to another.

    True where the kernel cannot say (before Linux 6.5): the pid was read a moment ago.
    """
    try:
        pidfd = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:
        return True
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return not poll.poll(0)
    finally:
        os.close(pidfd)


class PeerNames:
    """Turns credentials into a `Claimant`. Owns the one thread that asks for user names."""

    def __init__(self, user_name: Callable[[int], str] | None = None) -> None:
        self._user_name = user_name or _user_name
        self._known: dict[int, str] = {}
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="user-names")

    async def identify(self, connection: socket.socket, who: Credentials) -> Claimant:
        """Never fails: what cannot be told is left empty, and a dead peer's `pid` is 0.

        Everything but the user's name is read before the first await, so shortly after the
        peer connected.
        """
        process = _look_at(who.pid) if who.pid else _Process()
        if process.alive and not _still_runs(connection):
            process = _Process()
        user = self._known.get(who.uid)
        if user is None:
            user = await self._ask(who.uid)
        return Claimant(
            uid=who.uid,
            gid=who.gid,
            pid=who.pid if process.alive else 0,
            user=user,
            exe=process.exe,
            unit=process.unit,
        )

    async def _ask(self, uid: int) -> str:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_NAME_WITHIN):
                name = await loop.run_in_executor(self._executor, self._user_name, uid)
        except (TimeoutError, OSError):
            return ""
        if len(self._known) >= _KNOWN_NAMES:
            self._known.clear()
        self._known[uid] = name
        return name

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""
