"""Runs git and the programs that check signatures: bounded in time and output, ended as a group.

Blocks; called in the source's own thread. Nothing here knows what the programs are for.
"""

import os
import resource
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from .failures import Unavailable

CHUNK = 65536
MOST_STDERR = 64 * 1024
"""Bytes kept of what a program complains of; the rest is read and dropped."""
MEMORY = 1024 * 1024 * 1024
"""Bytes of address space of each process: what a stranger's server sends may unfold without end."""
LOOK_EVERY = 0.1
"""Seconds between two looks at what has grown on the disk."""


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    out: bytes
    err: bytes


@dataclass(frozen=True, slots=True)
class Bounds:
    seconds: float = 30.0
    out: int = 1024 * 1024
    """Bytes on standard output."""
    too_large: Callable[[], bool] = lambda: False
    """Asked now and then: whether what is written to the disk has grown beyond measure."""


class TooLarge(Exception):
    """More came than may come; the program was ended."""


class TooSlow(Exception):
    """The program did not end in time and was ended."""


class Stopped(Exception):
    """The runner is closed: the daemon stops."""


class Programs:
    """One program at a time. `stop`, from any thread, ends it and keeps others from being started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def run(
        self,
        argv: Sequence[str],
        environ: Mapping[str, str],
        *,
        feed: bytes = b"",
        bounds: Bounds | None = None,
        keep: Sequence[int] = (),
    ) -> Result:
        """Raises `TooLarge`, `TooSlow`, `Stopped`, and `Unavailable` when there is no such program.

        `keep`: the file descriptors that the program inherits beside its standard ones.
        """
        with self._lock:
            if self._stopped:
                raise Stopped
            try:
                process = subprocess.Popen(
                    list(argv), env=dict(environ), cwd="/", pass_fds=tuple(keep),
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    bufsize=0, start_new_session=True,  # a group of its own, and no terminal to ask at
                )  # fmt: skip
            except OSError as error:
                name = os.path.basename(argv[0])  # noqa: PTH119 - argv is no path
                raise Unavailable(
                    f"{name} cannot be run ({error.strerror})", f"install {name}"
                ) from None
            self._running = process
        # Not between fork and exec, which is not safe in a thread: what a program does before this
        # line has run is its own start, and what it starts later inherits the limit.
        with suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_AS, (MEMORY, MEMORY))
        try:
            out, err = _Conversation(process, feed, bounds or Bounds()).hold()
        finally:
            with self._lock:
                self._running = None
                _kill_group(process)
            _reap(process)
        if self._stopped:
            raise Stopped
        return Result(process.returncode, out, err)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._running is not None:
                _kill_group(self._running)


class _Conversation:
    """Feeds a program and reads what it says until it has ended, within its bounds."""

    def __init__(self, process: subprocess.Popen[bytes], feed: bytes, bounds: Bounds) -> None:
        self._process = process
        self._bounds = bounds
        self._deadline = time.monotonic() + bounds.seconds
        self._next_look = 0.0
        self._left = memoryview(feed)
        self._out, self._err = bytearray(), bytearray()

    def hold(self) -> tuple[bytes, bytes]:
        """What came on standard output and error. Raises `TooSlow`, `TooLarge`."""
        process = self._process
        assert process.stdin is not None
        with selectors.DefaultSelector() as selector:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE, self._give)
            selector.register(process.stdout or -1, selectors.EVENT_READ, self._take_out)
            selector.register(process.stderr or -1, selectors.EVENT_READ, self._take_err)
            while selector.get_map():
                self._check()
                for key, _ in selector.select(LOOK_EVERY):
                    if not key.data(key.fd):
                        selector.unregister(key.fileobj)
                        if key.fileobj is process.stdin:
                            process.stdin.close()
        pause = 0.0005
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            self._check()
            time.sleep(pause)
            pause = min(2 * pause, 0.02)
        if self._bounds.too_large():
            raise TooLarge
        return bytes(self._out), bytes(self._err)

    def _check(self) -> None:
        now = time.monotonic()
        if now > self._deadline:
            raise TooSlow
        if now > self._next_look:
            self._next_look = now + LOOK_EVERY
            if self._bounds.too_large():
                raise TooLarge

    # Each returns whether there is more to come.

    def _give(self, fd: int) -> bool:
        if self._left:
            with suppress(BlockingIOError):
                try:
                    self._left = self._left[os.write(fd, self._left[:CHUNK]) :]
                except BrokenPipeError:
                    return False
        return bool(self._left)

    def _take_out(self, fd: int) -> bool:
        data = os.read(fd, CHUNK)
        self._out += data
        if len(self._out) > self._bounds.out:
            raise TooLarge
        return bool(data)

    def _take_err(self, fd: int) -> bool:
        data = os.read(fd, CHUNK)
        self._err += data[: MOST_STDERR - len(self._err)]
        return bool(data)


def _reap(process: subprocess.Popen[bytes]) -> None:
    """After the group was ended: until the leader is reaped, the group's id is nobody else's."""
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.close()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
