"""The state folder: private, writable, and one daemon's alone."""

import fcntl
import os
from pathlib import Path

from ..store import StoreError, StoreLocked

LEDGER = "ledger.db"
LOCK = "lock"


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
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise StoreLocked(
                f"another daemon (pid {owner or 'unknown'}) has the state folder {folder}; "
                "stop it first, or give this one a folder of its own with --state"
            ) from error
        self._write_pid()

    def release(self) -> None:
        """Gives the folder free. Repeating it is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write_pid(self) -> None:
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        except OSError:
            return  # on a full disk the message lacks the pid; the lock itself holds
