"""Drift of files and folders, told by the kernel (inotify), by name within watched folders.

One watch on a parent folder tells of everything that stands in it, so ten thousand part folders
in one root cost one watch. What the kernel cannot tell (an overflown queue, no watches left) ends
in reporting too much or in relying on the slow resync, never in silence about a report.

Writing is reported when the writer closes the file: a program that logs beside a watched file
does not wake the daemon with each line. Nothing here does more than a short system call in the
event loop, and bursts are worked off in small batches.
"""

import asyncio
import errno
import logging
from dataclasses import dataclass, field
from pathlib import Path

from asyncinotify import Event, Inotify, Mask, Watch

from ..clock import Clock
from ..driver import Changed
from ..ids import PartId

log = logging.getLogger(__name__)

_MASK = (
    Mask.CREATE | Mask.DELETE | Mask.MOVED_FROM | Mask.MOVED_TO | Mask.ATTRIB | Mask.CLOSE_WRITE
    | Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.ONLYDIR
)  # fmt: skip
_GONE = Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.UNMOUNT | Mask.IGNORED
_BATCH = 32  # events of the longest names read at once; a few hundred of usual ones, 2 ms
_COMPLAIN_EVERY = 300.0  # seconds


@dataclass(slots=True)
class _Folder:
    """One watched folder: the names in it that are waited for, and whose they are."""

    watch: Watch | None = None
    names: dict[str, set[PartId]] = field(default_factory=dict[str, set[PartId]])


class FolderWatch:
    """Calls `changed` for parts whose file or folder may have changed."""

    def __init__(self, name: str, changed: Changed, clock: Clock) -> None:
        self._name = name
        self._changed = changed
        self._clock = clock
        self._inotify: Inotify | None = None
        self._task: asyncio.Task[None] | None = None
        self._folders: dict[str, _Folder] = {}
        self._by_watch: dict[int, set[str]] = {}  # two paths may lead to one folder
        self._places: dict[PartId, tuple[str, str]] = {}
        self._complained_at: float | None = None

    def open(self) -> None:
        """Starts listening. Without inotify the parts are only observed by the slow resync."""
        try:
            self._inotify = Inotify(cache_size=_BATCH)
        except OSError as error:
            self._complain(error)
            return
        self._task = asyncio.create_task(self._listen(self._inotify), name=f"inotify {self._name}")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._inotify is not None:
            self._inotify.close()
        self._task = self._inotify = None

    @property
    def watches(self) -> int:
        """How many of the kernel's watches are in use."""
        return len(self._by_watch)

    def add(self, part: PartId, path: Path) -> None:
        """From now on reports changes of what stands at `path`. Idempotent."""
        place = (str(path.parent), path.name)
        if self._places.get(part) != place:
            self.remove(part)
            self._places[part] = place
        folder = self._folders.setdefault(place[0], _Folder())
        folder.names.setdefault(place[1], set()).add(part)
        if folder.watch is None:
            self._watch(place[0], folder, part)

    def remove(self, part: PartId) -> None:
        """Ends the reports about a part. Idempotent."""
        place = self._places.pop(part, None)
        if place is None:
            return
        folder = self._folders[place[0]]
        folder.names[place[1]].discard(part)
        if not folder.names[place[1]]:
            del folder.names[place[1]]
        if not folder.names:
            del self._folders[place[0]]
            self._unwatch(place[0], folder)

    def _watch(self, path: str, folder: _Folder, part: PartId) -> None:
        if self._inotify is None:
            return
        try:
            folder.watch = self._inotify.add_watch(path, _MASK)  # pyright: ignore[reportUnknownMemberType]
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                asyncio.get_running_loop().call_soon(self._changed, part)
            else:
                self._complain(error)
            return
        self._by_watch.setdefault(folder.watch.wd, set()).add(path)

    def _unwatch(self, path: str, folder: _Folder) -> None:
        watch, folder.watch = folder.watch, None
        if watch is None or self._inotify is None:
            return
        paths = self._by_watch.get(watch.wd, set())
        paths.discard(path)
        if not paths:
            self._by_watch.pop(watch.wd, None)
            try:
                self._inotify.rm_watch(watch)
            except OSError as error:
                if error.errno != errno.EINVAL:  # EINVAL: its folder is gone, and so the watch
                    self._complain(error)

    async def _listen(self, inotify: Inotify) -> None:
        try:
            while True:
                await self._tell(await inotify.get())
        except OSError as error:
            self._complain(error)
        except Exception:
            log.exception("listening for changes (%s) ended; the slow resync goes on", self._name)

    async def _tell(self, event: Event) -> None:
        if Mask.Q_OVERFLOW in event.mask:
            log.info("too many changes at once (%s): all parts are looked at", self._name)
            await self._report(list(self._places))
            return
        watch = event.watch
        if watch is None:
            return
        for path in list(self._by_watch.get(watch.wd, ())):
            folder = self._folders[path]
            if event.name is not None:
                for part in list(folder.names.get(str(event.name), ())):
                    self._changed(part)
            elif event.mask & _GONE:
                self._unwatch(path, folder)
                await self._report([part for parts in folder.names.values() for part in parts])

    async def _report(self, parts: list[PartId]) -> None:
        """Many reports at once, leaving the loop to others in between."""
        for count, part in enumerate(parts, 1):
            if part in self._places:
                self._changed(part)
            if count % 256 == 0:
                await asyncio.sleep(0)

    def _complain(self, error: OSError) -> None:
        """Says at most every five minutes that the kernel refuses to watch."""
        now = self._clock.now()
        if self._complained_at is not None and now - self._complained_at < _COMPLAIN_EVERY:
            return
        self._complained_at = now
        log.warning(
            "cannot watch for changes (%s): %s. Drift is found by the slow resync until"
            " fs.inotify.max_user_watches and max_user_instances are raised",
            self._name,
            error.strerror,
        )
