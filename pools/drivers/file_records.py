"""The records of the `file` driver: which file belongs to which part.

A record is written before its file and deleted after it, so it is the ownership mark, on any file
system: without one nothing of the part exists. All functions block.
"""

import json
import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ..driver import Unavailable
from ..ids import PartId
from .beneath import ensure_folder, opened_folder, unlink_if_there, write_new
from .failures import explained
from .settings import check_part_id, is_part_id


class Record(BaseModel):
    """What is known of a part's file. Also the part's handle, so never secret."""

    model_config = ConfigDict(frozen=True)

    path: str
    root: str
    """The allowed folder that the path lies below: there the walk without links starts."""
    sha256: str
    size: int
    mode: str
    inode: int = 0
    """0 until the file is on the disk."""


class Records:
    """A folder with one JSON file per part."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self) -> None:
        with explained(f"making the folder {self.folder}"):
            ensure_folder(self.folder, 0o700)

    def read(self, part: PartId) -> Record | None:
        path = self._path(part)
        with explained(f"reading {path}"):
            try:
                text = path.read_bytes()
            except FileNotFoundError:
                return None
        try:
            return Record.model_validate_json(text)
        except ValidationError as error:
            raise Unavailable(
                f"{path} is damaged, so it is not known which file belongs to {part};"
                " remove the file, then this record"
            ) from error

    def write(self, part: PartId, record: Record) -> None:
        """Durable when it returns."""
        self.prepare()
        name = self._path(part).name
        with explained(f"writing {self._path(part)}"), opened_folder(self.folder) as folder:
            unlink_if_there(folder, f".{name}")
            content = json.dumps(record.model_dump(), sort_keys=True).encode()
            write_new(folder, f".{name}", content, 0o600)
            os.rename(f".{name}", name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)

    def drop(self, part: PartId) -> None:
        """Also what a writing that was cut left beside it."""
        path = self._path(part)
        with explained(f"removing {path}"):
            path.with_name(f".{path.name}").unlink(missing_ok=True)
            path.unlink(missing_ok=True)

    def parts(self) -> frozenset[PartId]:
        with explained(f"listing {self.folder}"):
            try:
                names = [path.name for path in self.folder.iterdir()]
            except FileNotFoundError:
                return frozenset()
        stems = (name.removesuffix(".json") for name in names if name.endswith(".json"))
        return frozenset(PartId(stem) for stem in stems if is_part_id(stem))

    def _path(self, part: PartId) -> Path:
        return self.folder / f"{check_part_id(part)}.json"
