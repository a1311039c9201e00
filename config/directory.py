"""The config directory as a stream of settled contents.

A change becomes visible when the directory has been quiet for a moment and the kernel says that
nobody has a file in it open for writing, so half-written saves and half-done flips of links are
never loaded. Changes are told by inotify; a slow look at everything catches what it cannot tell
(network disks). Used by the daemon's synchroniser.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar, cast

import watchfiles

from . import trees
from .catalogue import Catalogue
from .digests import files_digest
from .loading import LoadResult, Reuse, load_tree
from .problems import Problem, Severity
from .trees import Survey, Tree
from .wishes import Wishes

__all__ = ["DirectorySource"]

QUIET = 0.06
"""Seconds without any change before the content counts as settled."""
PATIENCE = 5.0
"""Seconds until a directory that does not settle is reported as a problem."""
RESYNC = 10.0
"""Seconds between two looks that no event asked for."""
DISK_TIMEOUT = 30.0
"""Seconds for one look at the disk or one load."""
STEP = 0.02
MAX_LINKS = 40

Outcome = TypeVar("Outcome")


Events: TypeAlias = AsyncGenerator[set[tuple[watchfiles.Change, str]], None]


class Watch(Protocol):
    """`watchfiles.awatch`, as far as it is used here. Armed at its first step, before it waits."""

    def __call__(
        self,
        *paths: Path,
        watch_filter: Callable[[watchfiles.Change, str], bool] | None,
        recursive: bool,
        force_polling: bool | None,
        step: int,
        debounce: int,
        ignore_permission_denied: bool,
    ) -> Events: ...


AWATCH = cast("Watch", watchfiles.awatch)  # pyright: ignore[reportUnknownMemberType]


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where the tree really is, and the names on the way there whose change moves it."""

    tree: Path | None
    """None when it is not there."""
    inode: int | None
    names: frozenset[Path]


class DirectorySource:
    """Yields what the directory holds now, and then every new settled content of it."""

    remote = False

    def __init__(
        self,
        root: Path,
        catalogue: Catalogue,
        *,
        quiet: float = QUIET,
        patience: float = PATIENCE,
        resync: float = RESYNC,
        watch: Watch = AWATCH,
    ) -> None:
        self._root = root.absolute()
        self._catalogue = catalogue
        self._quiet = quiet
        self._patience = patience
        self._resync = resync
        self._arm = watch
        self._reuse = Reuse()
        self._woken = asyncio.Event()
        self._wishes = Wishes(self._woken)
        self._polling = False
        self._note: tuple[Problem, ...] = ()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="config")

    async def changes(self) -> AsyncGenerator[LoadResult, None]:
        """The present content first, then each new one; broken ones too. Ends only when closed.

        A content with the digest of the one before is not repeated. To be iterated once; close
        the iterator (`contextlib.aclosing`) to end the watch.
        """
        watcher = asyncio.create_task(self._watch(), name="config-watch")
        last: object = None
        try:
            while True:
                self._woken.clear()
                asked = self._wishes.asked
                settled = await self._settled()
                key = _key(settled)
                if key != last:
                    last = key
                    yield await self._loaded(settled)
                await self._wishes.fulfil(asked)
                await self._until_woken(watcher, settled)
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
            self._executor.shutdown(wait=False, cancel_futures=True)

    async def sync(self) -> None:
        """Looks now. Returns when what is found has been applied or refused."""
        await self._wishes.wish()

    async def _until_woken(self, watcher: asyncio.Task[None], settled: "Tree | Problem") -> None:
        if watcher.done():
            watcher.result()  # raises what ended it: a defect, not something to live with
        pause = self._resync if isinstance(settled, Tree) else min(1.0, self._resync)
        try:
            async with asyncio.timeout(pause):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _loaded(self, settled: "Tree | Problem") -> LoadResult:
        if isinstance(settled, Problem):
            return LoadResult(None, (settled, *self._note), "", str(self._root))
        try:
            result = await self._off_loop(
                lambda: load_tree(settled, self._catalogue, reuse=self._reuse)
            )
        except TimeoutError:
            return LoadResult(None, (self._too_slow(), *self._note), "", str(self._root))
        return replace(result, problems=(*result.problems, *self._note))

    async def _settled(self) -> "Tree | Problem":
        """The content once it is quiet and nobody writes, or why it does not come to that."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience
        try:
            before = await self._off_loop(lambda: trees.survey(self._root))
            pause = self._quiet
            while True:
                await asyncio.sleep(pause)
                now = await self._off_loop(lambda: trees.survey(self._root))
                writing: list[str] = []
                pause = self._quiet
                if now == before:
                    looked = await self._off_loop(partial(_look, now))
                    if isinstance(looked, Tree):
                        return looked
                    writing = looked
                    pause = STEP
                if loop.time() > deadline:
                    return self._unsettled(writing)
                before = now
        except TimeoutError:
            return self._too_slow()

    def _unsettled(self, writing: list[str]) -> Problem:
        if not writing:
            return trees.keeps_changing(self._root)
        message = "another program has had this file open for writing for long"
        remedy = "close it there; until then the files before this change stay in force"
        return Problem(writing[0], 0, 0, "", message, remedy)

    def _too_slow(self) -> Problem:
        message = f"the directory could not be read within {DISK_TIMEOUT:g} s"
        return Problem(str(self._root), 0, 0, "", message, "check the disk that it lies on")

    async def _off_loop(self, work: Callable[[], Outcome]) -> Outcome:
        """Blocking work in this source's own thread. Raises TimeoutError when the disk hangs."""
        async with asyncio.timeout(DISK_TIMEOUT):
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def _watch(self) -> None:
        """Watches for ever, each time where the tree is now; sets `_woken`."""
        while True:
            place = await asyncio.to_thread(whereabouts, self._root)
            try:
                await self._watch_at(place)
            except FileNotFoundError:
                pass  # it went away between the look and the watch
            except (OSError, RuntimeError) as error:
                self._fall_back(error)
            await asyncio.sleep(STEP)  # whatever goes on there, never a busy loop

    async def _watch_at(self, place: Whereabouts) -> None:
        """Returns when the tree has moved. Raises OSError or RuntimeError when a watch fails."""
        names = {str(name) for name in place.names}
        parents = {name.parent for name in place.names}
        watches = [self._armed(*parents, recursive=False, only=names)]
        if place.tree is not None:
            watches.append(self._armed(place.tree, recursive=True))
        tasks = [
            asyncio.create_task(self._follow(one, place), name="config-watch-events")
            for one in watches
        ]
        try:
            await asyncio.sleep(0)  # all are armed now
            self._woken.set()  # for what changed before that
            if await asyncio.to_thread(whereabouts, self._root) != place:
                return
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._woken.set()

    def _armed(self, *paths: Path, recursive: bool, only: set[str] | None = None) -> Events:
        return self._arm(
            *paths,
            watch_filter=None if only is None else lambda _, path: path in only,
            recursive=recursive,
            force_polling=True if self._polling else None,
            step=10,
            debounce=40,
            ignore_permission_denied=True,
        )

    async def _follow(self, events: Events, place: Whereabouts) -> None:
        """Ends when the tree is no longer where it was."""
        async with aclosing(events):
            async for _ in events:
                self._woken.set()
                if await asyncio.to_thread(whereabouts, self._root) != place:
                    return

    def _fall_back(self, error: Exception) -> None:
        self._polling = True
        self._note = (
            Problem(
                str(self._root),
                0,
                0,
                "",
                f"the kernel gives no watch on the directory ({error}); it is looked at now and then instead",
                "raise fs.inotify.max_user_watches, fs.inotify.max_user_instances or the limit of open files",
                Severity.WARNING,
            ),
        )


def _look(surveyed: Survey) -> Tree | list[str]:
    """The tree, or the files being written; an empty list when something changed meanwhile."""
    writing = list(trees.being_written(surveyed))
    if writing:
        return writing
    return trees.read(surveyed) or []


def _key(settled: Tree | Problem) -> object:
    if isinstance(settled, Problem):
        return settled
    return files_digest(settled.files), settled.problems


def whereabouts(root: Path) -> Whereabouts:
    """Follows the links of the root's path one by one. Never raises; blocks on the disk."""
    names: set[Path] = set()
    current = Path("/")
    steps = list(reversed(root.parts[1:]))
    links = 0
    while steps:
        step = steps.pop()
        entry = current.parent if step == ".." else current / step
        try:
            if entry.is_symlink() and links < MAX_LINKS:
                links += 1
                names.add(entry)
                target = entry.readlink()
                current = Path("/") if target.is_absolute() else current
                steps += [part for part in reversed(target.parts) if part != "/"]
                continue
            present = entry.exists()
        except OSError:
            present = False
        if not present:
            return Whereabouts(None, None, frozenset({*names, entry}))
        current = entry
    try:
        found = current.stat()
    except OSError:
        return Whereabouts(None, None, frozenset({*names, current}))
    return Whereabouts(current, found.st_ino, frozenset({*names, current}))
