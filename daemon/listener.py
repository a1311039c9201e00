"""The socket file and the accept loop.

The accept loop is our own because the ones of asyncio and uvloop answer "no file descriptors
left" with a storm of log lines or with silence. Here callers are told, one warning is written,
and accepting goes on as soon as it can.
"""

import asyncio
import errno
import fcntl
import logging
import os
import secrets
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

_BACKLOG = 1024
_ACCEPTS_AT_ONCE = 64
"""Connections taken before the loop may do something else."""
_STARVED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_RETRY_AFTER = 0.2
_WARN_EVERY = 60.0
_LONGEST_PATH = 107
"""Bytes: `sun_path` less its final NUL."""
_PROBE_WITHIN = 2.0

Accepted = Callable[[socket.socket], None]


class SocketError(Exception):
    """The socket cannot be opened: the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class _Identity:
    device: int
    inode: int


class SocketFile:
    """A listening Unix socket at a path, put there in one step and removed only if still ours."""

    def __init__(self, path: Path, *, mode: int = 0o660, group: int | None = None) -> None:
        self.path = path
        self._mode = mode
        self._group = group
        self._lock_path = path.with_name(f"{path.name}.lock")
        self._lock: int | None = None
        self._identity: _Identity | None = None

    def open(self) -> socket.socket:
        """The listening socket. Raises `SocketError`."""
        self._check_path()
        try:
            self._make_folder()
            self._lock = self._take_lock()
            self._clear_stale()
            return self._bind()
        except OSError as error:
            self._let_go()
            raise SocketError(
                f"The socket {self.path} cannot be opened: {error.strerror}."
            ) from error
        except SocketError:
            self._let_go()
            raise

    def remove(self) -> None:
        """Unlinks the path, unless another daemon has put its own socket there since."""
        with suppress(OSError):
            found = self.path.lstat()
            if self._identity == _Identity(found.st_dev, found.st_ino):
                self.path.unlink()
        self._let_go()

    def _check_path(self) -> None:
        if len(os.fsencode(self.path)) > _LONGEST_PATH:
            raise SocketError(
                f"The socket path {self.path} is longer than the {_LONGEST_PATH} bytes that the"
                " kernel allows; choose a shorter one with --socket."
            )

    def _make_folder(self) -> None:
        folder = self.path.parent
        if not folder.exists():
            folder.mkdir(mode=0o755, parents=True)
            folder.chmod(0o755)  # mkdir's mode is cut by the umask
        mode = folder.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise SocketError(
                f"The folder {folder} is writable by everyone, so anyone could replace the"
                f" socket in it; run 'chmod o-w {folder}' or choose another with --socket."
            )

    def _take_lock(self) -> int:
        """A lock beside the socket: of two daemons that start at once only one goes on."""
        name = self._lock_path
        while True:
            lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(lock), name.stat()):
                    return lock
            except FileNotFoundError:
                pass  # its holder has just removed it: take the next one
            except BlockingIOError:
                os.close(lock)
                raise SocketError(
                    f"Another daemon holds the socket {self.path}; stop it, or choose another"
                    " path with --socket."
                ) from None
            os.close(lock)

    def _let_go(self) -> None:
        if self._lock is not None:
            with suppress(OSError):
                self._lock_path.unlink()
            os.close(self._lock)
            self._lock = None

    def _clear_stale(self) -> None:
        """Nothing to do for a dead socket: `_bind` renames over it. Raises for a live one."""
        try:
            mode = self.path.lstat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise SocketError(
                f"{self.path} exists and is no socket; move it away, or choose another path"
                " with --socket."
            )
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_PROBE_WITHIN)
            try:
                probe.connect(os.fspath(self.path))
            except (ConnectionRefusedError, FileNotFoundError):
                log.info("replacing the stale socket file %s", self.path)
                return
            except (BlockingIOError, TimeoutError):
                pass  # somebody listens and is busy
        raise SocketError(
            f"Another daemon answers at {self.path}; stop it, or choose another path with --socket."
        )

    def _bind(self) -> socket.socket:
        """Binds under a name that nobody knows, and renames: no client finds a refusing socket."""
        temporary = self.path.with_name(f".s{secrets.token_hex(4)}")
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            listening.bind(os.fspath(temporary))
            try:
                if self._group is not None:
                    os.chown(temporary, -1, self._group)
                temporary.chmod(self._mode)
                listening.listen(_BACKLOG)
                found = temporary.lstat()
                temporary.rename(self.path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        except BaseException:
            listening.close()
            raise
        self._identity = _Identity(found.st_dev, found.st_ino)
        return listening


def adopt(fd: int) -> socket.socket:
    """A listening Unix socket that was opened by somebody else (systemd). Raises `SocketError`."""
    try:
        listening = socket.socket(fileno=fd)
        fits = (
            listening.family == socket.AF_UNIX
            and listening.type == socket.SOCK_STREAM
            and listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        )
    except OSError as error:
        raise SocketError(f"File descriptor {fd} is no socket: {error.strerror}.") from error
    if not fits:
        listening.detach()
        raise SocketError(f"File descriptor {fd} is no listening Unix stream socket.")
    listening.setblocking(False)
    os.set_inheritable(fd, False)
    return listening


class AcceptLoop:
    """Accepts connections and hands each to `accepted`; answers `turned_away` when it cannot."""

    def __init__(self, listening: socket.socket, accepted: Accepted, turned_away: bytes) -> None:
        self._listening = listening
        self._accepted = accepted
        self._turned_away = turned_away
        self._loop = asyncio.get_running_loop()
        self._retry: asyncio.TimerHandle | None = None
        self._spare: int | None = _spare_descriptor()
        self._warned_at = -_WARN_EVERY
        self.refused = 0
        """Connections told that no file descriptor is left."""
        self._closed = False
        self._resume()

    def close(self) -> None:
        """Stops accepting and closes the listening socket. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._listening.fileno())
        self._listening.close()
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    def _resume(self) -> None:
        self._retry = None
        if self._spare is None:
            self._spare = _spare_descriptor()
        self._loop.add_reader(self._listening.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                connection, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _STARVED:
                    self._starve(error)
                    return
                if error.errno == errno.EINVAL:  # the socket was shut down under us
                    log.exception("the socket can no longer be listened on")
                    self.close()
                    return
                continue  # the caller was gone before we came
            connection.setblocking(False)
            self._accepted(connection)

    def _starve(self, error: OSError) -> None:
        """Tells those at the door, by way of the spare descriptor, and tries again soon."""
        self._loop.remove_reader(self._listening.fileno())
        self._retry = self._loop.call_later(_RETRY_AFTER, self._resume)
        now = self._loop.time()
        if now - self._warned_at >= _WARN_EVERY:
            self._warned_at = now
            log.warning(
                "a connection cannot be accepted: %s; callers are told to come again."
                " Raise the limit of open files (LimitNOFILE=, ulimit -n)",
                os.strerror(error.errno or 0),
            )
        for _ in range(_ACCEPTS_AT_ONCE):
            if not self._turn_one_away():
                return

    def _turn_one_away(self) -> bool:
        if self._spare is None:
            return False
        os.close(self._spare)
        self._spare = None
        try:
            connection, _ = self._listening.accept()
        except OSError:
            self._spare = _spare_descriptor()
            return False
        self.refused += 1
        turn_away(connection, self._turned_away)
        self._spare = _spare_descriptor()
        return self._spare is not None


def turn_away(connection: socket.socket, answer: bytes) -> None:
    """Writes what fits without waiting, and closes."""
    with connection, suppress(OSError):
        connection.setblocking(False)
        connection.send(answer)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(65536)  # unread bytes would make the close a reset


def _spare_descriptor() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
