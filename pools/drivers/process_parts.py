"""The folder of each process part, and the one job of making its process: never twice.

    STATE/parts/process/PART/stdout.log  stderr.log   what it writes, and older copies
                            /process.json             who it is, written right after its start
    STATE/parts/process.cgroups                       where the cgroups of all parts lie

The folder is made first. So when it is new, nothing can have been started for the part before;
when it is there, an earlier attempt is looked for: by `process.json`, and for the moment between
a start and that file, by the mark in the environment of every process of the host. Everything
here blocks and runs in the process driver's threads, one job per part at a time.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from typing import cast

from ..driver import Unavailable
from ..ids import PartId
from .cgroups import Cgroups
from .failures import explained
from .log_rotation import STDERR
from .ports import is_free
from .process_ending import find_first, members, signal_members
from .process_launch import environment, start
from .process_leader import Leader
from .process_settings import ProcessSettings
from .procfs import (
    PART_MARK,
    SPEC_MARK,
    STATE_MARK,
    Identity,
    ProcessFacts,
    Snapshot,
    read_facts,
    take_snapshot,
)
from .settings import is_part_id

FOLDER_MODE = 0o750
RECORD = "process.json"
CGROUPS = "process.cgroups"
LAST_LINE = 200
"""Characters of a process's last words that are told on."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What `process.json` says."""

    identity: Identity
    boot_id: str
    spec: str


@dataclass(frozen=True, slots=True)
class Order:
    """One process to be made."""

    part: PartId
    settings: ProcessSettings
    ports: Mapping[str, int]

    @property
    def spec(self) -> str:
        """The same for the same settings and ports; says nothing of what they are."""
        text = json.dumps([self.settings.model_dump(), dict(self.ports)], sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


class ProcessParts:
    """The folder with all parts. `mark` tells this daemon's processes from another one's."""

    def __init__(self, root: Path, boot_id: str) -> None:
        """Makes the folder where it is missing; raises `OSError`."""
        self.root = root
        self.boot_id = boot_id
        root.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        # Held open so that the inode stays ours. Unlike a path, it is the same through every
        # symbolic link and mount, and another one for a copy of the state folder.
        self._descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        status = os.fstat(self._descriptor)
        self.mark = f"{status.st_dev:x}-{status.st_ino:x}"
        self.cgroups = Cgroups.of(self.mark, root.with_name(CGROUPS))

    def close(self) -> None:
        os.close(self._descriptor)

    def folder(self, part: PartId) -> Path:
        return self.root / part

    def listed(self) -> frozenset[PartId]:
        return frozenset(
            PartId(entry.name) for entry in self.root.iterdir() if is_part_id(entry.name)
        )

    def make(self, order: Order) -> Leader:
        """Starts the process, or finds the one that an earlier attempt started.

        Raises `Unavailable` where something of an earlier attempt must end first (it is told to)
        or where a port was taken meanwhile, and what `start` raises.
        """
        folder = self.folder(order.part)
        with explained(f"making the folder {folder}"):
            fresh = self._make_folder(folder)
        with explained(f"starting the process of {order.part}"):
            found = None if fresh else self._find_earlier(order)
            return found if found is not None else self._start(order)

    def recorded(self, part: PartId) -> Recorded | None:
        """None when no process was started, or the daemon died within that moment."""
        try:
            text = (self.folder(part) / RECORD).read_text(encoding="utf-8")
            kept = cast("dict[str, object]", json.loads(text))
            identity = Identity(int(str(kept["pid"])), int(str(kept["startTime"])))
            return Recorded(identity, str(kept["bootId"]), str(kept["spec"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def members(
        self, snapshot: Snapshot, part: PartId, first: Identity | None
    ) -> list[ProcessFacts]:
        """The living processes of a part: by its cgroup, its group and session, and its mark."""
        found = {facts.pid: facts for facts in members(snapshot, part, first)}
        found.update((facts.pid, facts) for facts in self.cgroups.members(part))
        return list(found.values())

    def last_words(self, part: PartId) -> str:
        """The last line that the process wrote to its stderr, shortened; empty without one."""
        with suppress(OSError), (self.folder(part) / STDERR).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = file.read().decode(errors="replace").strip().splitlines()
            return lines[-1].strip()[:LAST_LINE] if lines else ""
        return ""

    def remove(self, part: PartId) -> None:
        """Removes its cgroup, and its folder, logs included. Raises `Unavailable` when that fails."""
        folder = self.folder(part)
        with explained(f"removing the cgroup of {part}"):
            if not self.cgroups.remove(part):
                raise Unavailable(f"a process of {part} was started in its cgroup meanwhile")
        with explained(f"removing the folder {folder}"), suppress(FileNotFoundError):
            shutil.rmtree(folder)

    def _make_folder(self, folder: Path) -> bool:
        try:
            folder.mkdir(mode=FOLDER_MODE)
        except FileExistsError:
            return False
        folder.chmod(FOLDER_MODE)
        return True

    def _find_earlier(self, order: Order) -> Leader | None:
        part = order.part
        recorded = self.recorded(part)
        if recorded is not None and recorded.boot_id != self.boot_id:
            recorded = None
        snapshot = take_snapshot(self.mark)
        if recorded is None:
            first = find_first(snapshot, part)
            specs = [one.spec for one in snapshot.marked.get(part, ())]
            spec = specs[0] if specs else ""
        else:
            first, spec = recorded.identity, recorded.spec
        if first is not None and spec == order.spec:
            leader = Leader.hold(first)
            if leader is not None:
                self._record(order, first)
                return leader
        left = self.members(snapshot, part, first)
        if left:
            signal_members(left, first, None, SIGKILL)
            self.cgroups.kill(part)
            raise Unavailable(
                f"{len(left)} processes of an earlier attempt at {part} had to be killed first; "
                "the next attempt starts anew"
            )
        return None

    def _start(self, order: Order) -> Leader:
        for name, port in order.ports.items():
            if not is_free(port):
                raise Unavailable(
                    f"port {port} ({name} of {order.part}) was taken by something else meanwhile; "
                    "the next attempt gets another one"
                )
        marks = {PART_MARK: order.part, STATE_MARK: self.mark, SPEC_MARK: order.spec}
        pid = start(
            order.settings,
            self.folder(order.part),
            environment(order.settings, marks),
            cgroup=self.cgroups.prepare(order.part),
        )
        facts = read_facts(pid)
        assert facts is not None, "a child that nobody has waited for is in /proc"
        self._record(order, facts.identity)
        return Leader.of_child(facts.identity)

    def _record(self, order: Order, identity: Identity) -> None:
        """Not synced: what it tells of is gone after a power loss."""
        kept = {
            "pid": identity.pid,
            "startTime": identity.start_time,
            "bootId": self.boot_id,
            "spec": order.spec,
        }
        path = self.folder(order.part) / RECORD
        # Without it the process is found by its mark. Private, for the hash covers secrets.
        with suppress(OSError), open(path, "w", encoding="utf-8", opener=_private) as file:
            json.dump(kept, file)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
