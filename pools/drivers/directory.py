"""The `directory` driver: one folder per part, below `<state>/parts/directory/`.

The folder's name is the part's id, and its place is a root that only the daemon writes to: that
is the ownership mark. A folder is built as `.making.<id>` and renamed into place, so that one
with a part's name is always complete; it is renamed to `.trash.<id>` before anything in it is
removed. `list_owned` knows all three names, so nothing cut in the middle is forgotten.

What users put into the folder is theirs: only its existence, identity and mode are observed.
"""

import os
import stat
from contextlib import suppress

from pydantic import Field

from ...config.catalogue import DriverFacts, OutputFacts, ValueType
from ...config.json_types import JsonObject
from ..driver import (
    Changed,
    Driver,
    Made,
    NotFound,
    Observation,
    PartRef,
    PartRequest,
    Presence,
    Rejected,
)
from ..ids import PartId
from .beneath import (
    ensure_folder,
    opened_folder,
    opened_within,
    split_relative,
    status_of,
    write_new,
)
from .context import DriverContext
from .failures import explained
from .inotify import FolderWatch
from .removal import remove_some
from .settings import Mode, Settings, check_part_id, is_part_id, read_settings
from .workers import Workers

MAKING, TRASH = ".making.", ".trash."
STEP = 2000
"""Entries removed by one job, so that others get their turn (some 20 ms)."""
STEPS = 200
"""Jobs of one `destroy`; the caller calls again."""


class DirectorySettings(Settings):
    """`with` of a part."""

    mode: Mode = "0750"
    """Of the folder and the folders in it; the files get the same without the x bits."""
    files: dict[str, str] = Field(default_factory=dict[str, str])
    """What it holds at first: relative name to text."""


FACTS = DriverFacts(
    name="directory",
    settings=DirectorySettings,
    outputs={"path": OutputFacts(ValueType.STRING)},
)


class DirectoryDriver:
    """See the module."""

    name = "directory"
    pure = False

    def __init__(self, context: DriverContext) -> None:
        self._root = context.parts / "directory"
        self._clock = context.clock
        self._workers = Workers("directory")
        self._watch: FolderWatch | None = None

    async def open(self, changed: Changed) -> None:
        self._workers.open()
        await self._workers.run(self._prepare)
        self._watch = FolderWatch("directory", changed, self._clock)
        self._watch.open()

    async def close(self) -> None:
        if self._watch is not None:
            await self._watch.close()
            self._watch = None
        await self._workers.close()

    async def allot(self, request: PartRequest) -> JsonObject:  # noqa: ARG002
        return {}

    def intend(self, request: PartRequest) -> JsonObject:
        return {"path": str(self._root / request.id)}

    async def create(self, request: PartRequest) -> Made:
        settings = read_settings(DirectorySettings, request.settings, f"part {request.id}")
        return await self._workers.run_for(request.id, self._create, request.id, settings)

    async def observe(self, part: PartRef) -> Observation:
        return await self._workers.run_for(part.id, self._observe, part)

    async def destroy(self, part: PartRef) -> None:
        for _ in range(STEPS):
            await self._workers.run_for(part.id, self._remove_step, part.id)

    async def list_owned(self) -> frozenset[PartId]:
        busy = self._workers.busy()
        return busy | await self._workers.run(self._list)

    def watch(self, part: PartRef) -> None:
        if self._watch is not None:
            self._watch.add(part.id, self._root / part.id)

    def forget(self, part: PartId) -> None:
        if self._watch is not None:
            self._watch.remove(part)

    def _prepare(self) -> None:
        with explained(f"making the folder {self._root}"):
            ensure_folder(self._root, 0o711)  # others may reach a folder whose name they were told

    def _create(self, part: PartId, settings: DirectorySettings) -> Made:
        name = check_part_id(part)
        path = self._root / name
        self._prepare()
        with explained(f"making the folder {path}"), opened_folder(self._root) as root:
            found = status_of(root, name)
            if found is None:
                found = _build(root, name, settings, str(path))
            elif not stat.S_ISDIR(found.st_mode):
                raise Rejected(f"{path} is no folder and not ours; move it away")
        return Made(handle=self._handle(part, found), outputs={"path": str(path)})

    def _handle(self, part: PartId, found: os.stat_result) -> JsonObject:
        # The device's number is left out: it may change with a reboot.
        return {
            "path": str(self._root / part),
            "inode": found.st_ino,
            "mode": f"{stat.S_IMODE(found.st_mode):04o}",
            "uid": found.st_uid,
        }

    def _observe(self, part: PartRef) -> Observation:
        path = self._root / check_part_id(part.id)
        with explained(f"looking at {path}"):
            try:
                found = path.lstat()
            except (FileNotFoundError, NotADirectoryError):
                return Observation(Presence.ABSENT, f"the folder {path} is gone")
        if not stat.S_ISDIR(found.st_mode):
            return Observation(Presence.DRIFTED, f"{path} is no longer a folder")
        now = self._handle(part.id, found)
        for fact, wrong in (
            ("inode", "{path} was replaced by another folder"),
            ("mode", "the mode of {path} is {is_now}, not {was}"),
            ("uid", "the owner of {path} is the user {is_now}, not {was}"),
            ("path", "the folder is at {is_now} now, not at {was}"),
        ):
            was = part.handle.get(fact)
            if was is not None and was != now[fact]:
                detail = wrong.format(path=path, is_now=now[fact], was=was)
                return Observation(Presence.DRIFTED, detail)
        return Observation(Presence.PRESENT)

    def _remove_step(self, part: PartId) -> None:
        """Removes some of the trash, or moves the folder there; NotFound once all is absent."""
        name = check_part_id(part)
        path = self._root / name
        self._prepare()
        with explained(f"removing {path}"), opened_folder(self._root) as root:
            for side in (TRASH, MAKING):
                if not remove_some(root, side + name, STEP, str(path)):
                    return
            found = status_of(root, name)
            if found is None or not stat.S_ISDIR(found.st_mode):
                raise NotFound(f"there is no folder {path}")
            with suppress(FileNotFoundError):
                os.rename(name, TRASH + name, src_dir_fd=root, dst_dir_fd=root)

    def _list(self) -> frozenset[PartId]:
        with explained(f"listing {self._root}"):
            try:
                with os.scandir(self._root) as entries:
                    names = [
                        entry.name.removeprefix(MAKING).removeprefix(TRASH)
                        for entry in entries
                        if entry.is_dir(follow_symlinks=False)
                    ]
            except FileNotFoundError:
                return frozenset()
        return frozenset(PartId(name) for name in names if is_part_id(name))


def _build(root: int, name: str, settings: DirectorySettings, shown: str) -> os.stat_result:
    """Makes the folder beside its place, its files on the disk, and moves it there."""
    making, mode = MAKING + name, int(settings.mode, 8)
    while not remove_some(root, making, STEP, shown):  # left by a creation that was cut
        pass
    os.mkdir(making, 0o700, dir_fd=root)
    with opened_within(root, [making]) as folder:
        inner: set[tuple[str, ...]] = set()
        for relative, text in settings.files.items():
            *above, last = split_relative(relative)
            for depth in range(1, len(above) + 1):
                inner.add(steps := tuple(above[:depth]))
                _make_inner(folder, steps)
            with opened_within(folder, above) as parent:
                write_new(parent, last, text.encode(), mode & 0o666)
        for steps in sorted(inner, reverse=True):  # the deepest first: a mode may forbid entering
            _settle(folder, steps, mode)
        _settle(folder, (), mode)
        made = os.fstat(folder)
    os.rename(making, name, src_dir_fd=root, dst_dir_fd=root)
    return made


def _make_inner(folder: int, steps: tuple[str, ...]) -> None:
    with opened_within(folder, steps[:-1]) as parent, suppress(FileExistsError):
        os.mkdir(steps[-1], 0o700, dir_fd=parent)


def _settle(folder: int, steps: tuple[str, ...], mode: int) -> None:
    """Gives a folder its final mode (never by the umask).

    Folders are not flushed: that would make every claim's commit wait for the file system's
    journal, which keeps the order of these steps by itself, so that a folder with its final name
    is complete after a power loss too. One that was lost is seen to be absent at the next start.
    """
    with opened_within(folder, steps) as inner:
        os.fchmod(inner, mode)


def create_driver(context: DriverContext) -> Driver:
    return DirectoryDriver(context)
