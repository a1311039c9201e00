"""The file whose presence freezes the host, and whose text is the reason. Started by `service`.

It is looked at each second rather than watched: it may lie in the state folder, where the ledger
changes all the time, in a folder that is not there yet, or on a network, where no notice comes.
When nobody can tell whether it is there, what was known last holds.
"""

import asyncio
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

from ..pools.switches import Operator, Switch, SwitchKind
from .models import MAX_REASON

log = logging.getLogger(__name__)

LOOK_EVERY = 1.0
READ_WITHIN = 5.0
MOST_READ = 4096
"""Bytes."""


class FreezeFile:
    def __init__(
        self, path: Path, see: Callable[[str, Switch | None], None], now: Callable[[], float]
    ) -> None:
        """`see` is `Fleet.see_freeze_file`; `now` is steady time."""
        self._path = path
        self._see = see
        self._now = now
        self._trouble = ""
        self._reading: asyncio.Future[Switch | None] | None = None

    async def watch(self) -> None:
        """Runs until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            await self.look()

    async def look(self) -> None:
        """Returns soon, also when the disk does not answer; then the same read is awaited next time."""
        if self._reading is None:
            read = asyncio.to_thread(read_freeze, self._path, self._now())
            self._reading = asyncio.ensure_future(read)
        await asyncio.wait([self._reading], timeout=READ_WITHIN)
        try:
            if not self._reading.done():
                raise TimeoutError("the disk does not answer")
            reading, self._reading = self._reading, None
            found = reading.result()
        except OSError as error:
            why = error.strerror or str(error)
            if why != self._trouble:
                log.warning("nobody can tell whether there is a file %s: %s", self._path, why)
            self._trouble = why
            return
        self._trouble = ""
        self._see(str(self._path), found)


def read_freeze(path: Path, now: float) -> Switch | None:
    """What the file says; None when there is none. Raises `OSError` when nobody can tell."""
    try:
        uid = os.stat(path).st_uid  # noqa: PTH116 - one call, whatever kind of file it is
    except (FileNotFoundError, NotADirectoryError):
        return None
    reason = " ".join(_text(path).split())
    reason = "".join(char for char in reason if char.isprintable())[:MAX_REASON]
    return Switch(SwitchKind.FREEZE, str(path), Operator(uid), reason, now)


def _text(path: Path) -> str:
    """Empty for what cannot be read, or is no plain file: that it is there is enough."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        return os.read(descriptor, MOST_READ).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)
