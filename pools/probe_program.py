"""Runs one program of a readiness check to its end, in a thread: bounded in time and output.

Nothing of it is left behind: the program leads a group of its own, which is killed at the end,
whatever the end was. Called by `probes`.
"""

import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

KEPT_OUTPUT = 4096
"""Bytes of output that are kept, from its end."""
LINE = 200
"""Characters of the last line that are told."""
INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "HOME")


@dataclass(frozen=True, slots=True)
class Ended:
    """`code` is None when it was killed for taking too long or because nobody waits any more."""

    code: int | None
    last_line: str


def run_program(command: Sequence[str], timeout: float, cancel: int) -> Ended:
    """Blocks for at most `timeout` seconds, or until the eventfd `cancel` is written to.

    Raises `OSError` when it cannot be started, `ValueError` for words that no program can take.
    """
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        cwd="/",
        env={name: os.environ[name] for name in INHERITED if name in os.environ},
    )
    try:
        output, ended = _follow(process, time.monotonic() + timeout, cancel)
    finally:
        # It has not been waited for, so its number, and with it the group's, is still its own.
        os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        if process.stdout is not None:
            process.stdout.close()
    lines = output.decode(errors="replace").strip().splitlines()
    return Ended(code if ended else None, lines[-1].strip()[:LINE] if lines else "")


def _follow(process: "subprocess.Popen[bytes]", deadline: float, cancel: int) -> tuple[bytes, bool]:
    """Reads until the program itself ends; what it left running may hold the pipe for ever."""
    assert process.stdout is not None
    pipe = process.stdout.fileno()
    os.set_blocking(pipe, False)
    pidfd = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        for descriptor in (pipe, pidfd, cancel):
            poll.register(descriptor, select.POLLIN)
        output = b""
        while (left := deadline - time.monotonic()) > 0:
            events = dict(poll.poll(left * 1000))
            if pipe in events:
                chunk = _read(pipe)
                output = (output + chunk)[-KEPT_OUTPUT:]
                if not chunk:
                    poll.unregister(pipe)
            if cancel in events:
                return output, False
            if pidfd in events:
                return (output + _read(pipe))[-KEPT_OUTPUT:], True
        return output, False
    finally:
        os.close(pidfd)


def _read(pipe: int) -> bytes:
    try:
        return os.read(pipe, 65536)
    except BlockingIOError:
        return b""
