"""Keeps the logs of processes small while these go on writing to them.

A process has its log open in append mode and outlives the daemon, so nobody can be asked to open
another file, and no pipe may stand between. The log is therefore copied aside and cut to nothing;
the next line that the process writes starts it again. What is written in the moment between the
copy's last byte and the cut is lost, which is the price of this way (logrotate calls it
copytruncate). All functions block; the process driver calls them from a slow timer.
"""

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LOG_MODE = 0o640
STDOUT, STDERR = "stdout.log", "stderr.log"
LOGS = (STDOUT, STDERR)
SLACK = 1 << 23
"""Bytes written during the copy that are still copied; a writer faster than the disk is cut."""


@dataclass(frozen=True, slots=True)
class LogLimits:
    """A log is put aside once it is larger than `max_size` bytes; `keep` old ones stay."""

    max_size: int
    keep: int


def open_log(path: Path) -> int:
    """A descriptor to append to, with the mode that a log has whatever the umask."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, LOG_MODE)
    os.fchmod(descriptor, LOG_MODE)
    return descriptor


def rotate(log: Path, limits: LogLimits) -> bool:
    """Puts the log aside as `NAME.1` when it is too large. True when it did; raises `OSError`.

    Without room for the copy the log is cut all the same: it is what fills the disk.
    """
    try:
        descriptor = os.open(log, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        size = os.fstat(descriptor).st_size
        if size <= limits.max_size:
            return False
        if limits.keep > 0:
            _put_aside(log, descriptor, size, limits)
        os.ftruncate(descriptor, 0)
        return True
    finally:
        os.close(descriptor)


def _put_aside(log: Path, descriptor: int, size: int, limits: LogLimits) -> None:
    oldest = _numbered(log, limits.keep)
    oldest.unlink(missing_ok=True)
    for number in range(limits.keep - 1, 0, -1):
        with suppress(FileNotFoundError):
            _numbered(log, number).rename(_numbered(log, number + 1))
    copy = _numbered(log, 1)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    target = os.open(copy, flags, LOG_MODE)
    try:
        os.fchmod(target, LOG_MODE)
        _copy(descriptor, target, start=max(0, size - limits.max_size), limit=size + SLACK)
    except OSError as error:
        copy.unlink(missing_ok=True)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
    finally:
        os.close(target)


def _copy(source: int, target: int, *, start: int, limit: int) -> None:
    offset = start
    while offset < limit:
        sent = os.sendfile(target, source, offset, min(limit - offset, 1 << 20))
        if sent == 0:
            return
        offset += sent


def _numbered(log: Path, number: int) -> Path:
    return log.with_name(f"{log.name}.{number}")
