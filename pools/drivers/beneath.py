"""Reaching files below a root without ever following a symbolic link there.

Whoever may write below the root (a claimant in its own folder) could otherwise swap a folder for
a link and have the daemon write or delete elsewhere. So every step is taken from the folder
before it (`dir_fd`), refuses links (`O_NOFOLLOW`), and names never contain `..`.

All functions block; they are called from a driver's `Workers`.
"""

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..driver import Rejected

_STEP = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def split_relative(name: str) -> tuple[str, ...]:
    """The steps of a relative path. Raises `Rejected` for anything that could lead elsewhere."""
    steps = tuple(name.split("/"))
    for step in steps:
        if step in ("", ".", ".."):
            raise Rejected(f"{name!r} must be a plain relative path, without '.', '..' or '//'")
        if "\0" in step or len(os.fsencode(step)) > 255:
            raise Rejected(
                f"{name[:80]!r} has a part that is no file name: at most 255 bytes, no NUL"
            )
    return steps


def split_below(path: str, roots: Sequence[Path]) -> tuple[Path, tuple[str, ...]]:
    """The root that an absolute path lies below, and the steps from there. Raises `Rejected`."""
    for root in roots:
        prefix = f"{root}/".replace("//", "/")
        if path.startswith(prefix) and path != prefix:
            return root, split_relative(path[len(prefix) :])
    allowed = ", ".join(str(root) for root in roots)
    raise Rejected(f"{path!r} does not lie below any of the folders that may be written: {allowed}")


@contextmanager
def opened_folder(root: Path, steps: Sequence[str] = ()) -> Generator[int]:
    """A descriptor of the folder below the root. The root itself may be reached over links.

    Raises OSError: ENOENT when a step is missing, ELOOP or ENOTDIR when one is no real folder.
    """
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with opened_within(folder, steps) as inner:
            yield inner
    finally:
        os.close(folder)


@contextmanager
def opened_within(folder: int, steps: Sequence[str]) -> Generator[int]:
    """A descriptor of the folder that the steps lead to from an open one."""
    current = os.dup(folder)
    try:
        for step in steps:
            inner = os.open(step, os.O_RDONLY | _STEP, dir_fd=current)
            os.close(current)
            current = inner
        yield current
    finally:
        os.close(current)


def ensure_folder(path: Path, mode: int) -> None:
    """Makes a folder of ours, and those above it, with this mode; an existing one is left alone."""
    with suppress(FileExistsError):
        if not path.parent.is_dir():
            ensure_folder(path.parent, mode)
        path.mkdir(mode=0o700)
        path.chmod(mode)


def write_new(folder: int, name: str, content: bytes, mode: int) -> os.stat_result:
    """Writes a file that must not exist yet, durably, with exactly this mode."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=folder), "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
        return os.fstat(file.fileno())


def status_of(folder: int, name: str) -> os.stat_result | None:
    """The entry itself, never what a link points to; None when there is none."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def unlink_if_there(folder: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
