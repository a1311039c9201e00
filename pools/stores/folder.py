"""The state folder: private, writable, and one daemon's alone."""

import fcntl
import os
import time
from pathlib import Path

from ..store import StoreError, StoreLocked

LEDGER = "ledger.db"
LOCK = "lock"
HEIRS_WITHIN = 5.0
"""Seconds. A daemon that was killed while it started a process has left a child that holds the lock
until it begins its program: a moment, unless the host has none to spare."""
_LOOK_EVERY = 0.005


class FolderLock:
    """An exclusive lock on a state folder, held until `release` or the end of the process.

    The kernel drops it with the process, so a lock left behind by a crash never blocks a start.
    The file holds the owner's pid only for the message that a second daemon gives.
    """

    def __init__(self, folder: Path) -> None:
        """Makes the folder when needed. Raises `StoreLocked`, or `StoreError` when it cannot."""
        path = folder / LOCK
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"the state folder {folder} cannot be written ({error.strerror}); make it "
                "writable for the daemon's user, or choose another with --state"
            ) from error
        if not self._take():
            owner = self._owner()
            os.close(self._descriptor)
            raise StoreLocked(
                f"another daemon (pid {owner or 'unknown'}) has the state folder {folder}; "
                "stop it first, or give this one a folder of its own with --state"
            )
        self._write_pid()

    def release(self) -> None:
        """Gives the folder free. Repeating it is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _take(self) -> bool:
        """False when a living daemon has the lock."""
        deadline = time.monotonic() + HEIRS_WITHIN
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if _may_run(self._owner()) or time.monotonic() > deadline:
                    return False
            time.sleep(_LOOK_EVERY)

    def _owner(self) -> str:
        return os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()

    def _write_pid(self) -> None:
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        except OSError:
            return  # on a full disk the message lacks the pid; the lock itself holds


def _may_run(pid: str) -> bool:
    """False when there is certainly no such process."""
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except (ValueError, PermissionError):
        return True  # it has not written its number yet, or is another user's
    return True
