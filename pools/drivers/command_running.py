"""Runs a program with bounds: how long it may take, how much it may say, what it may see.

The program gets its own session, a small environment (the daemon's own may hold secrets), and its
request on stdin, because arguments and environments can be read by others. When its time is up,
when it says too much, or when the caller is cancelled, its whole process group is ended, and the
call returns only after that: what comes next does not race with it.
"""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from ..driver import Rejected, Unavailable
from .failures import explain

TAIL = 4096
"""Bytes of stderr that are kept: the last ones."""
_AFTER_EXIT = 1.0  # seconds for the last output, which a surviving child may hold open for ever
_AFTER_TERM = 1.0  # seconds from TERM to KILL
_AFTER_KILL = 5.0  # seconds; a process in a broken system call may not even then be gone
_PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR")


@dataclass(frozen=True, slots=True)
class Limits:
    timeout: float
    """Seconds."""
    output: int
    """Bytes on stdout."""


@dataclass(frozen=True, slots=True)
class Outcome:
    status: int
    """The exit code; negative: minus the signal that ended it."""
    output: bytes
    errors: str
    """The end of stderr."""


class _Conversation(asyncio.SubprocessProtocol):
    """Collects what the program says, never more than the limits."""

    def __init__(self, limit: int) -> None:
        loop = asyncio.get_running_loop()
        self._limit = limit
        self.output = bytearray()
        self.errors = bytearray()
        self.too_much = False
        self.over: asyncio.Future[None] = loop.create_future()
        """It has ended, or has said too much."""
        self.exited: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        """It has ended, and nobody holds its output open."""

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 2:
            self.errors += data
            del self.errors[:-TAIL]
        elif len(self.output) + len(data) > self._limit:
            self.too_much = True
            _settle(self.over)
        elif not self.too_much:
            self.output += data

    def process_exited(self) -> None:
        _settle(self.exited)
        _settle(self.over)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        _settle(self.closed)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def run_program(argv: Sequence[str], request: bytes, limits: Limits) -> Outcome:
    """Gives the program its request on stdin and returns what it answered.

    Raises `Rejected` when it cannot be started as it is, `Unavailable` when it took too long or
    said too much.
    """
    transport, talk = await _started(argv, limits.output)
    try:
        # uvloop's transports are no subclass of asyncio's, though they do the same.
        stdin = cast("asyncio.WriteTransport", transport.get_pipe_transport(0))
        stdin.write(request)
        stdin.close()  # after what is still to be written
        async with asyncio.timeout(limits.timeout):
            await asyncio.shield(talk.over)
            if not talk.too_much:
                await asyncio.wait({talk.closed}, timeout=_AFTER_EXIT)
    except TimeoutError as error:
        raise Unavailable(
            f"the program {argv[0]} took longer than {limits.timeout:g} s and was ended;"
            " whether it did its work is unknown" + _said(talk)
        ) from error
    finally:
        await _end(transport, talk)
    if talk.too_much:
        raise Unavailable(
            f"the program {argv[0]} wrote more than {limits.output} bytes to stdout and was ended;"
            " raise outputLimit, or write logs to stderr"
        )
    status = transport.get_returncode()
    return Outcome(0 if status is None else status, bytes(talk.output), tail_of(talk.errors))


async def _started(
    argv: Sequence[str], limit: int
) -> tuple[asyncio.SubprocessTransport, _Conversation]:
    """Starts the program to the end even when cancelled, so that its whole group can be ended.

    asyncio itself, cancelled while it connects the pipes, kills the leader alone, and then waits
    for ever while a child of it holds a pipe open.
    """
    starting = asyncio.create_task(_start(argv, limit), name=f"start {argv[0]}")
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        starting.add_done_callback(_kill_started)  # also if this is cancelled once more
        await asyncio.wait({starting})
        if starting.exception() is None:
            await _end(*starting.result())
        raise


def _kill_started(
    starting: asyncio.Task[tuple[asyncio.SubprocessTransport, _Conversation]],
) -> None:
    if not starting.cancelled() and starting.exception() is None:
        transport, talk = starting.result()
        if not talk.exited.done():
            _signal_group(transport.get_pid(), signal.SIGKILL)


async def _start(
    argv: Sequence[str], limit: int
) -> tuple[asyncio.SubprocessTransport, _Conversation]:
    loop = asyncio.get_running_loop()
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    try:
        return await loop.subprocess_exec(
            lambda: _Conversation(limit), *argv, start_new_session=True, env=environment, cwd="/"
        )
    except (FileNotFoundError, PermissionError) as error:
        raise Rejected(
            f"the program {argv[0]} cannot be started: {error.strerror};"
            " check its path, its x bit and the interpreter in its first line"
        ) from error
    except OSError as error:
        raise explain(f"starting the program {argv[0]}", error) from error


async def _end(transport: asyncio.SubprocessTransport, talk: _Conversation) -> None:
    """Leaves nothing running and nothing open."""
    try:
        if not talk.exited.done():
            await _end_group(transport.get_pid(), talk)
    finally:
        transport.close()


async def _end_group(group: int, talk: _Conversation) -> None:
    """Asks the program and its children to end, then ends them. Bounded in time."""
    try:
        _signal_group(group, signal.SIGTERM)
        await asyncio.wait({talk.exited}, timeout=_AFTER_TERM)
    finally:
        # Also what outlived its leader: a killed group is a finished call.
        _signal_group(group, signal.SIGKILL)
    await asyncio.wait({talk.exited}, timeout=_AFTER_KILL)


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def tail_of(errors: bytes | bytearray) -> str:
    return bytes(errors).decode(errors="replace").strip()


def _said(talk: _Conversation) -> str:
    return f"; it said: {said}" if (said := tail_of(talk.errors)) else ""
