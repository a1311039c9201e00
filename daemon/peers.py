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
"""Seconds. A user name may come from a directory server, and no claim waits long for it."""
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


def _look_at(connection: socket.socket, pid: int) -> _Process:
    """What the process is, if it still runs."""
    folder = Path("/proc") / str(pid)
    try:
        exe = str((folder / "exe").readlink())
    except FileNotFoundError:
        return _Process()  # no such process, or one that has ended and was not waited for
    except OSError:
        exe = ""  # another user's process: its program is not ours to see
    try:
        groups = (folder / "cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        groups = ""
    if not _still_runs(connection, folder):
        return _Process()
    return _Process(exe, unit_of(groups), True)


def unit_of(groups: str) -> str:
    """The innermost systemd unit of a `/proc/PID/cgroup` text; empty outside systemd."""
    for line in groups.splitlines():
        hierarchy, _, path = line.partition("::")
        if hierarchy == "0":
            found = _UNIT.findall(path)
            return str(found[-1]) if found else ""
    return ""


def _still_runs(connection: socket.socket, folder: Path) -> bool:
    """Whether the very process that connected still runs: its pid was not given to another.

    Before Linux 6.5 the kernel cannot say; then any process of that pid will do, because the pid
    was read a moment ago.
    """
    try:
        pidfd = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:
        return folder.exists()
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return not poll.poll(0)
    finally:
        os.close(pidfd)


class PeerNames:
    """Turns credentials into a `Claimant`. Owns the threads that ask the host.

    Procfs is asked in a thread as well: reading a program's name waits for a lock of that program.
    """

    def __init__(self, user_name: Callable[[int], str] | None = None) -> None:
        self._user_name = user_name or _user_name
        self._known: dict[int, str] = {}
        self._asked: dict[int, asyncio.Future[str]] = {}
        self._processes = ThreadPoolExecutor(2, thread_name_prefix="peers")
        self._users = ThreadPoolExecutor(1, thread_name_prefix="user-names")

    async def identify(self, connection: socket.socket, who: Credentials) -> Claimant:
        """Never fails: what cannot be told is left empty, and a dead peer's `pid` is 0."""
        process = await self._process(connection, who.pid) if who.pid else _Process()
        user = self._known.get(who.uid)
        if user is None:
            user = await self._user(who.uid)
        return Claimant(
            uid=who.uid,
            gid=who.gid,
            pid=who.pid if process.alive else 0,
            user=user,
            exe=process.exe,
            unit=process.unit,
        )

    async def _process(self, connection: socket.socket, pid: int) -> _Process:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_NAME_WITHIN):
                return await loop.run_in_executor(self._processes, _look_at, connection, pid)
        except (TimeoutError, OSError):
            return _Process(alive=True)  # it connected a moment ago

    async def _user(self, uid: int) -> str:
        """The name, or nothing when it does not come in time; a later caller may have it then."""
        asked = self._asked.get(uid)
        if asked is None:
            asked = asyncio.get_running_loop().run_in_executor(self._users, self._user_name, uid)
            self._asked[uid] = asked
            asked.add_done_callback(lambda answer: self._learn(uid, answer))
        try:
            async with asyncio.timeout(_NAME_WITHIN):
                return await asyncio.shield(asked)
        except (TimeoutError, OSError):
            return ""

    def _learn(self, uid: int, answer: asyncio.Future[str]) -> None:
        self._asked.pop(uid, None)
        if answer.cancelled() or answer.exception() is not None:
            return
        if len(self._known) >= _KNOWN_NAMES:
            self._known.clear()
        self._known[uid] = answer.result()

    def close(self) -> None:
        self._processes.shutdown(wait=False, cancel_futures=True)
        self._users.shutdown(wait=False, cancel_futures=True)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""
