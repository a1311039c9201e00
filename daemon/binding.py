"""Finds what a new claim is to be bound to: the process or the connection that asks for it.

Who connected is the kernel's word. On Linux 6.5 and later the connection gives a pidfd of exactly
the process that connected (SO_PEERPIDFD). While that pidfd says that the process runs, its number
is its own, so its start time read in between is its own as well: no window is left.

Before Linux 6.5 there is only the number, which may have been given to another process by the time
it is looked up. A pidfd of whatever has the number now is taken, and then must hold: that process
started before the connection was accepted, and the connection is still open. What is left is a
process that connected, handed its connection to another process, and ended, and whose number was
given away again before the daemon accepted the connection: the claim would follow that process
then, and end with it or with its time.
"""

import asyncio
import errno
import os
import socket
from dataclasses import dataclass

from ..pools.binding import CONNECTION_CLOSED, Bind, Binding, Process, Tie, process_ended
from ..pools.processes import HeldProcess, start_of, still_runs
from ..pools.requests import Code, Refusal
from ..pools.ties import Hold
from .calls import Call
from .connections import Connection, ConnectionEnd
from .facade import Core
from .peers import SO_PEERPIDFD, fits
from .problems_http import HttpCode, Problem

_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


@dataclass(frozen=True, slots=True)
class Bound:
    """A tie that is held until `release` is called."""

    tie: Tie
    hold: Hold

    def release(self) -> None:
        self.hold.release()


async def bind_to(call: Call, core: Core, to: Bind) -> Bound:
    """Takes hold of what the claim of this call is to end with. Raises `Refusal`, `Problem`."""
    connection = call.request.protocol
    assert isinstance(connection, Connection)
    if connection.credentials is None:
        raise _cannot("callers over TCP are not known to the kernel")
    if to is Bind.CONNECTION:
        return await _to_connection(call, core, connection)
    return await _to_process(core, connection)


async def _to_process(core: Core, connection: Connection) -> Bound:
    ties = core.fleet.ties
    known = connection.process
    hold = None if known is None else ties.hold_again(known)
    if known is None or hold is None:
        if ties.full:
            raise Refusal(
                Code.TOO_MANY_FOLLOWED,
                f"{ties.processes} processes are followed for their claims, which is as many as "
                "the daemon's file descriptors allow; bind to time, or raise LimitNOFILE",
                retry_after=5.0,
            )
        known, pidfd = await _in_thread(connection, ties.boot)
        hold = ties.hold(known, HeldProcess(pidfd), process_ended(known))
        connection.process = known
    return Bound(Tie(Binding(Bind.PROCESS, known), known), hold)


async def _to_connection(call: Call, core: Core, connection: Connection) -> Bound:
    if not call.request.keep_alive:
        raise Problem(
            HttpCode.INVALID,
            "'bind': this request asks for its connection to be closed after the answer, and the"
            " claim would end with it; leave out 'Connection: close'.",
            details={"errors": [{"field": "bind", "message": "the connection is not kept"}]},
        )
    ties = core.fleet.ties
    hold = ties.hold_again(connection)
    if hold is None:
        if connection.process is None:
            # For a restart of the daemon. Without it the claim then hangs on time alone.
            connection.process = await _process_if_any(connection, ties.boot)
        hold = ties.hold(connection, ConnectionEnd(connection), CONNECTION_CLOSED)
    return Bound(Tie(Binding(Bind.CONNECTION, connection.process), connection), hold)


async def _process_if_any(connection: Connection, boot: str) -> Process | None:
    try:
        process, pidfd = await _in_thread(connection, boot)
    except Refusal:
        return None
    os.close(pidfd)
    return process


async def _in_thread(connection: Connection, boot: str) -> tuple[Process, int]:
    """In a thread, because /proc may wait for a lock of the process."""
    assert connection.credentials is not None
    finding = asyncio.ensure_future(
        asyncio.to_thread(
            find_peer, connection.peer, connection.credentials.pid, connection.accepted_at, boot
        )
    )
    try:
        return await asyncio.shield(finding)
    except asyncio.CancelledError:
        finding.add_done_callback(_close_unused)
        raise


def _close_unused(finding: "asyncio.Future[tuple[Process, int]]") -> None:
    """The caller has left while its process was looked up."""
    if not finding.cancelled() and finding.exception() is None:
        os.close(finding.result()[1])


def find_peer(
    peer: socket.socket, pid: int, accepted_at: float, boot: str, *, option: int = SO_PEERPIDFD
) -> tuple[Process, int]:
    """The process that connected, and a pidfd of it. Raises `Refusal`.

    `pid` is what SO_PEERCRED said, `accepted_at` seconds of CLOCK_BOOTTIME. `option`: the socket
    option that gives the peer's pidfd; one that the kernel does not know shows the other way.
    """
    if pid <= 0:
        raise _cannot("it is in another pid namespace, where this daemon sees no processes")
    pidfd, exact = _pidfd_of(peer, pid, option)
    try:
        start = _start_of(pid)
        if not still_runs(pidfd) or (not exact and not fits(peer, start, accepted_at)):
            raise _has_ended(pid)
        if start is None:
            raise _cannot(f"/proc does not show the process {pid} to this daemon")
    except BaseException:
        os.close(pidfd)
        raise
    return Process(pid, start, boot), pidfd


def _pidfd_of(peer: socket.socket, pid: int, option: int) -> tuple[int, bool]:
    """A pidfd, and whether it is the peer's for sure."""
    try:
        try:
            return peer.getsockopt(socket.SOL_SOCKET, option), True
        except OSError as error:
            if error.errno != errno.ENOPROTOOPT:
                raise
        return os.pidfd_open(pid), False
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise _not_now(error) from error
        raise _has_ended(pid) from None  # ESRCH; EINVAL from older kernels, EBADF of a closed one


def _start_of(pid: int) -> int | None:
    try:
        return start_of(pid)
    except OSError as error:
        raise _not_now(error) from error


def _not_now(error: OSError) -> Refusal:
    return Refusal(
        Code.TOO_MANY_FOLLOWED,
        f"the claiming process cannot be followed now: {error.strerror}; try again",
        retry_after=5.0,
    )


def _cannot(why: str) -> Refusal:
    return Refusal(
        Code.CANNOT_FOLLOW,
        f"the claiming process cannot be followed: {why}; leave out 'bind', and renew the claim",
    )


def _has_ended(pid: int) -> Refusal:
    return Refusal(Code.CANNOT_FOLLOW, f"the claiming process {pid} has ended already")
