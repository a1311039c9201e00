"""The `file` driver: one file per part, below the parts folder or a folder the provider allows.

The ownership mark is a record, `<state>/parts/file/<part id>.json`, because it works on every
file system. Theory of operation:

1. The record is written, durably, with the file's path.
2. The content goes to `.stoker-<part id>` beside the place, durably; its inode and digest go into
   the record.
3. The file gets its name by a hard link, which never replaces what is there; then the other name
   is removed.

So without a record nothing of the part exists, and with one it is known what may. A file is ours
while it has the inode or the content that the record says: one changed in place is removed with
its part, one that somebody put in its stead is left alone.
"""

import base64
import binascii
import hashlib
import os
import stat
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

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
    ProviderRef,
    Rejected,
)  # fmt: skip
from ..ids import PartId
from .beneath import (
    opened_folder,
    opened_within,
    split_below,
    status_of,
    unlink_if_there,
    write_new,
)  # fmt: skip
from .context import DriverContext
from .failures import explained
from .file_records import Record, Records
from .inotify import FolderWatch
from .settings import Mode, Settings, read_settings
from .workers import Workers

MAX_CONTENT = 16 * 2**20
"""Bytes. Larger things are no settings."""


class FileSettings(Settings):
    """`with` of a part."""

    path: str
    """Absolute."""
    content: str | None = Field(default=None, max_length=MAX_CONTENT)
    base64: str | None = Field(default=None, max_length=MAX_CONTENT * 4 // 3 + 4)
    """In place of `content`, for bytes that are no text."""
    mode: Mode = "0640"

    @model_validator(mode="after")
    def one_content(self) -> Self:
        if (self.content is None) == (self.base64 is None):
            raise ValueError("give either content or base64")
        return self

    def data(self) -> bytes:
        if self.base64 is None:
            return (self.content or "").encode()
        try:
            return base64.b64decode(self.base64, validate=True)
        except binascii.Error as error:
            raise Rejected(f"base64 of {self.path} cannot be decoded: {error}") from error


class FileProviderSettings(Settings):
    """`with` of a Provider."""

    roots: tuple[str, ...] = ()
    """Absolute folders below which files may be written, beside the parts folder."""


FACTS = DriverFacts(
    name="file",
    settings=FileSettings,
    outputs={"path": OutputFacts(ValueType.STRING), "sha256": OutputFacts(ValueType.STRING)},
    provider_settings=FileProviderSettings,
)


class FileDriver:
    """See the module."""

    name = "file"
    pure = False

    def __init__(self, context: DriverContext) -> None:
        self._parts = context.parts
        self._records = Records(context.parts / "file")
        self._clock = context.clock
        self._workers = Workers("file")
        self._watch: FolderWatch | None = None

    async def open(self, changed: Changed) -> None:
        self._workers.open()
        await self._workers.run(self._records.prepare)
        self._watch = FolderWatch("file", changed, self._clock)
        self._watch.open()

    async def close(self) -> None:
        if self._watch is not None:
            await self._watch.close()
            self._watch = None
        await self._workers.close()

    async def allot(self, request: PartRequest) -> JsonObject:  # noqa: ARG002
        return {}

    def intend(self, request: PartRequest) -> JsonObject:
        return {"path": request.settings.get("path")}

    async def create(self, request: PartRequest) -> Made:
        return await self._workers.run_for(request.id, self._create, request)

    async def observe(self, part: PartRef) -> Observation:
        return await self._workers.run_for(part.id, self._observe, part)

    async def destroy(self, part: PartRef) -> None:
        await self._workers.run_for(part.id, self._destroy, part)

    async def list_owned(self) -> frozenset[PartId]:
        busy = self._workers.busy()
        return busy | await self._workers.run(self._records.parts)

    def watch(self, part: PartRef) -> None:
        path = part.handle.get("path")
        if self._watch is not None and isinstance(path, str):
            self._watch.add(part.id, Path(path))

    def forget(self, part: PartId) -> None:
        if self._watch is not None:
            self._watch.remove(part)

    def _create(self, request: PartRequest) -> Made:
        settings = read_settings(FileSettings, request.settings, f"part {request.id}")
        root, steps = self._place(settings.path, request.provider)
        data = settings.data()
        wanted = Record(
            path=settings.path,
            root=str(root),
            sha256=hashlib.sha256(data).hexdigest(),
            size=len(data),
            mode=f"{int(settings.mode, 8):04o}",
        )
        record = self._records.read(request.id)
        if record is not None and record.path != wanted.path:
            raise Rejected(f"{request.id} has a file already, at {record.path}")
        with explained(f"writing {wanted.path}"), opened_folder(root, steps[:-1]) as folder:
            found = status_of(folder, steps[-1])
            if found is None:
                if record is None:
                    self._records.write(request.id, wanted)
                record = self._write(folder, steps[-1], request.id, wanted, data)
            elif record is None or not _is_ours(record, folder, steps[-1], found):
                raise Rejected(f"{wanted.path} exists already and is not ours; move it away")
            else:
                record = record.model_copy(update={"inode": found.st_ino})
            unlink_if_there(folder, _beside(request.id))
        return Made(
            handle=record.model_dump(),
            outputs={"path": record.path, "sha256": record.sha256},
        )

    def _write(self, folder: int, name: str, part: PartId, wanted: Record, data: bytes) -> Record:
        beside = _beside(part)
        unlink_if_there(folder, beside)
        written = write_new(folder, beside, data, int(wanted.mode, 8))
        record = wanted.model_copy(update={"inode": written.st_ino})
        self._records.write(part, record)
        try:  # a rename would replace a file that somebody made in between
            os.link(beside, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError as error:
            raise Rejected(f"{wanted.path} exists already and is not ours; move it away") from error
        os.fsync(folder)
        return record

    def _place(self, path: str, provider: ProviderRef) -> tuple[Path, tuple[str, ...]]:
        """The allowed folder above the path, and the steps from there."""
        allowed = read_settings(
            FileProviderSettings, provider.settings, f"provider {provider.name}"
        )
        root, steps = split_below(path, [self._parts, *map(Path, allowed.roots)])
        if root == self._parts and (len(steps) < 3 or steps[0] == "file" or steps[1][0] == "."):
            raise Rejected(f"{path!r} must lie inside the folder of another part")
        return root, steps

    def _known(self, part: PartRef) -> Record | None:
        """What is known of the part's file: its record, else what the ledger was told."""
        record = self._records.read(part.id)
        if record is None and part.handle.get("inode"):
            with suppress(ValidationError):
                record = Record.model_validate(dict(part.handle))
        return record

    def _observe(self, part: PartRef) -> Observation:
        record = self._known(part)
        if record is None:
            return Observation(Presence.ABSENT, f"no file was made for {part.id}")
        with explained(f"looking at {record.path}"), _folder_of(record) as (folder, name):
            found = None if folder is None else status_of(folder, name)
            if folder is None or found is None:
                return Observation(Presence.ABSENT, f"the file {record.path} is gone")
            wrong = _difference(record, folder, name, found)
        return Observation(Presence.DRIFTED if wrong else Presence.PRESENT, wrong)

    def _destroy(self, part: PartRef) -> None:
        """Removes the file if it is there and ours, then the record. Ends in `NotFound`."""
        record = self._known(part)
        if record is None:
            self._records.drop(part.id)
            raise NotFound(f"no file was made for {part.id}")
        with explained(f"removing {record.path}"), _folder_of(record) as (folder, name):
            if folder is not None:
                found = status_of(folder, name)
                if found is not None and _is_ours(record, folder, name, found):
                    unlink_if_there(folder, name)
                unlink_if_there(folder, _beside(part.id))
                os.fsync(folder)  # the record goes last, also after a power loss
        self._records.drop(part.id)
        raise NotFound(f"there is no file {record.path} of ours")


def _beside(part: PartId) -> str:
    return f".stoker-{part}"


@contextmanager
def _folder_of(record: Record) -> Generator[tuple[int | None, str]]:
    """The folder of the file and its name there; None when that folder is gone.

    A root that is gone is another matter: it may come back with the file in it (a mount).
    """
    root = Path(record.root)
    _, steps = split_below(record.path, [root])
    with ExitStack() as opened:
        top = opened.enter_context(opened_folder(root))
        folder: int | None = None
        with suppress(FileNotFoundError, NotADirectoryError):
            folder = opened.enter_context(opened_within(top, steps[:-1]))
        yield folder, steps[-1]


def _is_ours(record: Record, folder: int, name: str, found: os.stat_result) -> bool:
    """Whether what stands there carries our mark: the file's identity or its content."""
    if not stat.S_ISREG(found.st_mode):
        return False
    return found.st_ino == record.inode or _has_content(record, folder, name, found)


def _difference(record: Record, folder: int, name: str, found: os.stat_result) -> str:
    """What is different from what was made, as a sentence; empty when nothing is."""
    if not stat.S_ISREG(found.st_mode):
        return f"{record.path} is no longer a plain file"
    mode = f"{stat.S_IMODE(found.st_mode):04o}"
    if mode != record.mode:
        return f"the mode of {record.path} is {mode}, not {record.mode}"
    if not _has_content(record, folder, name, found):
        return f"the content of {record.path} was changed"
    return ""


def _has_content(record: Record, folder: int, name: str, found: os.stat_result) -> bool:
    if found.st_size != record.size:
        return False
    # Not to wait for ever if it was swapped for a pipe just now.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, dir_fd=folder), "rb") as file:
        content = file.read(record.size + 1)
    return hashlib.sha256(content).hexdigest() == record.sha256


def create_driver(context: DriverContext) -> Driver:
    return FileDriver(context)
