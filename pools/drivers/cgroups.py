"""A cgroup for each part, where the daemon may make them: a fence that no process leaves by itself.

A program may leave its group, its session and its environment, but not its cgroup (version 2):
whatever it starts stays in it, and the kernel kills all of it in one step. The cgroups lie below
the daemon's own, where that is the daemon's to divide: on a host with systemd, when the unit says
`Delegate=yes` (https://systemd.io/CGROUP_DELEGATION/); without systemd, when it can be written.
Everywhere else there are none, and processes are found by group, session and mark alone.

Everything here blocks, on memory, and runs in the process driver's threads.
"""

import errno
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..ids import PartId
from .procfs import ProcessFacts, read_facts

log = logging.getLogger(__name__)

PROCS, KILL = "cgroup.procs", "cgroup.kill"


class NoCgroups(Exception):
    """Why this daemon makes no cgroups: the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Place:
    """One cgroup: where it lies, and its name as /proc/PID/cgroup has it."""

    folder: Path
    name: str

    def below(self, child: str) -> "Place":
        return Place(self.folder / child, f"{self.name.rstrip('/')}/{child}")


def own_place(mounts: str, cgroups: str) -> Place:
    """The caller's own cgroup, by /proc/self/mountinfo and /proc/self/cgroup. Raises `NoCgroups`."""
    name = next((line[3:] for line in cgroups.splitlines() if line.startswith("0::")), None)
    if name is None:
        raise NoCgroups("this kernel has no cgroups of version 2")
    for line in mounts.splitlines():
        fields, _, kind = line.partition(" - ")
        if kind.split(" ", 1)[0] != "cgroup2":
            continue
        root, mounted = (_plain(field) for field in fields.split(" ")[3:5])
        if name == root or name.startswith(root.rstrip("/") + "/"):
            return Place(Path(mounted) / name[len(root.rstrip("/")) :].strip("/"), name)
    raise NoCgroups("its own cgroup is mounted nowhere")


def find_place(mark: str) -> Place:
    """Where the parts of the state folder with that mark get their cgroups. Raises `NoCgroups`."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        own = own_place(mounts, Path("/proc/self/cgroup").read_text(encoding="utf-8"))
        if Path("/run/systemd/system").exists() and not _delegated(own.folder):
            raise NoCgroups("systemd has not delegated one to it (Delegate=yes in its unit)")
        base = own.below(f"stoker-{mark}")
        base.folder.mkdir(exist_ok=True)
    except OSError as error:
        raise NoCgroups(f"{error.filename} cannot be used: {error.strerror}") from error
    if not os.access(own.folder / PROCS, os.W_OK):
        raise NoCgroups(f"{own.folder / PROCS} must not be written")
    return base


class Cgroups:
    """The cgroups of the parts, below the first of `bases`; in the others lie older ones.

    Without any, nothing here does anything.
    """

    def __init__(self, bases: Sequence[Place], *, current: bool) -> None:
        self._bases = bases
        self._current = bases[0] if current else None

    @classmethod
    def of(cls, mark: str, kept: Path) -> "Cgroups":
        """For the state folder with that mark. In the file `kept` stands where they were so far:
        a daemon that is started in another way has another cgroup, and its parts stay where they are.
        """
        bases = [place for place in _read_places(kept) if place.folder.is_dir()]
        try:
            base = find_place(mark)
        except NoCgroups as why:
            log.info("processes are told apart by session and environment alone: %s", why)
            return cls(bases, current=False)
        bases = [base, *(place for place in bases if place != base)]
        kept.write_text("".join(f"{place.folder}\t{place.name}\n" for place in bases))
        return cls(bases, current=True)

    def prepare(self, part: PartId) -> Path | None:
        """Makes the part's cgroup. Whoever writes a 0 into the file that is returned is in it."""
        if self._current is None:
            return None
        folder = self._current.folder / part
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            # Without it the part is found as on other hosts; better than not to be had at all.
            log.warning("%s gets no cgroup: %s", part, error)
            return None
        return folder / PROCS

    def members(self, part: PartId) -> list[ProcessFacts]:
        """The living processes of the part's cgroup, each proved to be in it."""
        found: list[ProcessFacts] = []
        for place in self._places(part):
            for pid in [pid for folder in _tree(place.folder) for pid in _pids(folder)]:
                facts = read_facts(pid)
                # In this order: a number that was used again is seen to be somewhere else.
                if facts is not None and facts.alive and _is_in(pid, place.name):
                    found.append(facts)
        return found

    def kill(self, part: PartId) -> None:
        """All at once, also what is being forked, where the kernel can do that (Linux 5.14)."""
        for place in self._places(part):
            with suppress(OSError):
                _write(place.folder / KILL, "1")

    def remove(self, part: PartId) -> bool:
        """False while a process is in it."""
        for place in self._places(part):
            try:
                for folder in reversed(list(_tree(place.folder))):
                    folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno == errno.EBUSY:
                    return False
                raise
        return True

    def close(self) -> None:
        """Removes what is left of them when there is no part any more."""
        for base in self._bases:
            with suppress(OSError):
                base.folder.rmdir()

    def _places(self, part: PartId) -> list[Place]:
        return [base.below(part) for base in self._bases]


def _read_places(kept: Path) -> Iterator[Place]:
    try:
        lines = kept.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        folder, _, name = line.partition("\t")
        if name:
            yield Place(Path(folder), name)


def _delegated(folder: Path) -> bool:
    """Whether it, or one above it, is marked as systemd marks what it has handed over."""
    for each in (folder, *folder.parents):
        for name in ("user.delegate", "trusted.delegate"):
            with suppress(OSError):
                if os.getxattr(each, name) == b"1":
                    return True
    return False


def _plain(field: str) -> str:
    """A path of mountinfo without its octal escapes."""
    return field.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")


def _write(path: Path, text: str) -> None:
    """Raises `OSError`, but not for a process that has ended."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode("ascii"))
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)


def _tree(folder: Path) -> Iterator[Path]:
    """The cgroup and those that its processes have made in it, each before what it holds."""
    try:
        children = [entry for entry in folder.iterdir() if entry.is_dir()]
    except FileNotFoundError:
        return
    yield folder
    for child in children:
        yield from _tree(child)


def _pids(folder: Path) -> list[int]:
    try:
        return list(map(int, (folder / PROCS).read_text(encoding="ascii").split()))
    except OSError:
        return []


def _is_in(pid: int, name: str) -> bool:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines():
            if line.startswith("0::"):
                return line[3:] == name or line[3:].startswith(f"{name}/")
    return False
