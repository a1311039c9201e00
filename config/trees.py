"""Consistent snapshots of the config directory, read in the face of writers.

A snapshot is taken as it was at one moment: the root is resolved once, every file is stamped
before and after the reading, and anything that differs makes the snapshot worthless. Hidden names
are left out (`.git`, editors' swap files, the `..data` of a Kubernetes ConfigMap), while links to
files are followed as long as they stay below the root (which is how a ConfigMap shows its files).
All calls block on the disk.
"""

import errno
import fcntl
import os
import signal
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .documents import MAX_FILE, MAX_FILES, MAX_TOTAL
from .problems import Problem

SUFFIXES = (".yaml", ".yml")
MAX_ENTRIES = 50_000
"""Names looked at in all; a config directory with more is something else."""
TRIES = 50
PAUSE = 0.02
"""Seconds between two tries."""

Stamp = tuple[int, int, int, int]
"""mtime in ns, size, inode, device."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as the survey found it."""

    name: str
    """Relative to the root, with slashes."""
    path: str
    """The real path."""
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Survey:
    """What lies below the root, without its contents. Equal surveys mean that nothing changed."""

    root: Path
    resolved: Path
    identity: tuple[int, int] | None
    """Inode and device of the root; None when it is not there."""
    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of one moment."""

    root: Path
    resolved: Path
    files: Mapping[str, bytes]
    problems: tuple[Problem, ...]
    """What could not be read, and why."""


def survey(root: Path) -> Survey:
    """Lists the files and their stamps. Never raises: what is wrong stands in `problems`."""
    try:
        resolved = Path(os.path.realpath(root, strict=True))
        found = resolved.stat()
    except (OSError, ValueError) as error:
        why = "does not exist" if isinstance(error, FileNotFoundError) else _why(error)
        remedy = "create it ('stoker init DIR' makes an example), or name another one"
        problem = _problem(str(root), f"the config directory {why}", remedy)
        return Survey(root, root, None, (), (problem,))
    identity = (found.st_ino, found.st_dev)
    if not stat.S_ISDIR(found.st_mode):
        problem = _problem(str(root), "this is no directory", "name the directory that holds it")
        return Survey(root, resolved, identity, (), (problem,))
    walk = _Walk(resolved)
    walk.descend(resolved, "")
    entries = tuple(sorted(walk.entries, key=lambda entry: entry.name))
    return Survey(root, resolved, identity, entries, tuple(walk.problems))


def read(surveyed: Survey) -> Tree | None:
    """The contents of what was surveyed; None when anything changed since or meanwhile."""
    files: dict[str, bytes] = {}
    problems = list(surveyed.problems)
    total = 0
    for entry in surveyed.entries[: MAX_FILES + 1]:
        try:
            content = _read_file(entry)
        except OSError as error:
            problems.append(_problem(entry.name, f"the file {_why(error)}", "make it readable"))
            continue
        if content is None:
            return None
        files[entry.name] = content
        total += len(content)
        if total > MAX_TOTAL:
            break
    if survey(surveyed.root) != surveyed:
        return None
    return Tree(surveyed.root, surveyed.resolved, files, tuple(problems))


def read_tree(root: Path) -> Tree:
    """A snapshot; tries again for about a second while the files change under its eyes."""
    for _ in range(TRIES):
        tree = read(survey(root))
        if tree is not None:
            return tree
        time.sleep(PAUSE)
    return Tree(root, root, {}, (keeps_changing(root),))


def keeps_changing(root: Path) -> Problem:
    return _problem(
        str(root), "the files keep changing while they are read", "wait until they are all written"
    )


def being_written(surveyed: Survey) -> Iterator[str]:
    """The names of files that some process has open for writing, as far as the kernel tells.

    The proof is a read lease, which the kernel grants only while nobody writes. Where it grants
    none at all (another's file, a network disk) the file counts as not being written.
    """
    for entry in surveyed.entries:
        try:
            handle = os.open(entry.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if _has_writer(handle):
                yield entry.name
        finally:
            os.close(handle)


def _has_writer(handle: int) -> bool:
    try:
        # A writer that comes while the lease is held makes the kernel send a signal. The usual
        # one, SIGIO, would end this process; SIGURG is ignored unless somebody asks for it.
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EBUSY)
    fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def _read_file(entry: Entry) -> bytes | None:
    """At most one byte more than a file may have; None when it is not what was surveyed."""
    try:
        handle = os.open(entry.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(handle, "rb") as file:
        if _stamp(os.fstat(handle)) != entry.stamp:
            return None
        return file.read(MAX_FILE + 1)


class _Walk:
    """Collects the YAML files below a directory, each directory once."""

    def __init__(self, resolved: Path) -> None:
        self._inside = str(resolved).rstrip("/") + "/"
        self._root = str(resolved)
        self._directories: set[tuple[int, int]] = set()
        self._seen = 0
        self.entries: list[Entry] = []
        self.problems: list[Problem] = []

    def descend(self, directory: Path, prefix: str) -> None:
        pending = [(str(directory), prefix)]
        while pending and self._seen <= MAX_ENTRIES:
            path, before = pending.pop()
            try:
                found = Path(path).stat()
                if (found.st_ino, found.st_dev) in self._directories:
                    continue
                self._directories.add((found.st_ino, found.st_dev))
                names = sorted(entry.name for entry in os.scandir(path))
            except OSError as error:
                self._say(before or self._root, f"the directory {_why(error)}", "make it readable")
                continue
            for name in names:
                if not name.startswith("."):
                    pending += self._visit(f"{path}/{name}", f"{before}{name}")
        if self._seen > MAX_ENTRIES:
            message = f"the directory holds more than {MAX_ENTRIES} names"
            self._say(self._root, message, "keep in it what is config only")

    def _visit(self, path: str, name: str) -> list[tuple[str, str]]:
        """Takes in a file; gives back a directory to go into."""
        self._seen += 1
        wanted = name.endswith(SUFFIXES)
        try:
            found = os.lstat(path)
            real = path
            if stat.S_ISLNK(found.st_mode):
                real = os.path.realpath(path, strict=True)
                found = Path(real).stat()
        except OSError as error:
            if wanted:
                why = (
                    "is a link to nothing" if isinstance(error, FileNotFoundError) else _why(error)
                )
                self._say(name, f"the file {why}", "repair or remove it")
            return []
        directory = stat.S_ISDIR(found.st_mode)
        if not directory and not wanted:
            return []
        if real != self._root and not real.startswith(self._inside):
            message = "this is a link out of the config directory"
            self._say(name, message, "copy into the directory what it points to")
            return []
        if directory:
            return [(real, f"{name}/")]
        self._take(name, real, found)
        return []

    def _take(self, name: str, real: str, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            self._say(name, "this is no regular file", "remove it, or rename it")
        elif not _is_text(name):
            shown = os.fsencode(name).decode(errors="backslashreplace")
            self._say(shown, "the file's name is no UTF-8", "rename it")
        else:
            self.entries.append(Entry(name, real, _stamp(found)))

    def _say(self, name: str, message: str, remedy: str) -> None:
        shown = os.fsencode(name).decode(errors="backslashreplace")
        self.problems.append(_problem(shown, message, remedy))


def _stamp(found: os.stat_result) -> Stamp:
    return (found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror.lower()})"
    return f"cannot be read ({error})"


def _problem(file: str, message: str, remedy: str) -> Problem:
    return Problem(file, 0, 0, "", message, remedy)
