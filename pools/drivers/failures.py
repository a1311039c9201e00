"""Errors of the operating system, turned into the errors of the driver contract."""

import errno
from collections.abc import Generator
from contextlib import contextmanager

from ..driver import DriverError, Exhausted, Rejected, Unavailable

_USED_UP = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; raise it or free some space",
    errno.EMFILE: "the daemon has no file descriptors left; raise LimitNOFILE",
    errno.ENFILE: "the host has no file descriptors left; raise fs.file-max",
    errno.ENOMEM: "the host has no memory left",
    errno.EMLINK: "the folder holds as many folders as its file system allows",
}
_NEVER = {
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "a symbolic link stands where none is allowed",
    errno.ENOTDIR: "a file or a link stands where a folder should be",
    errno.EISDIR: "a folder stands where a file should be",
    errno.EINVAL: "the name cannot be used",
}
_NOT_NOW = {
    errno.ENOENT: "a file or a folder on the way does not exist",
    errno.EBUSY: "it is in use, or something is mounted there; unmount it",
    errno.EROFS: "the file system is read-only; mount it writable",
    errno.EACCES: "permission is denied; give the daemon's user access",
    errno.EPERM: "it is not allowed: another user owns it, or it is immutable (see lsattr)",
}


def explain(doing: str, error: OSError) -> DriverError:
    """The driver error for a system error; `doing` is for example "making the folder /x"."""
    code = error.errno or 0
    if code in _USED_UP:
        return Exhausted(f"{doing} failed: {_USED_UP[code]}")
    if code in _NEVER:
        return Rejected(f"{doing} failed: {_NEVER[code]}")
    why = _NOT_NOW.get(code) or error.strerror or type(error).__name__
    return Unavailable(f"{doing} failed: {why}")


@contextmanager
def explained(doing: str) -> Generator[None]:
    """Raises system errors of the block as driver errors, chained."""
    try:
        yield
    except OSError as error:
        raise explain(doing, error) from error
