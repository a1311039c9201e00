"""Removing a folder with everything in it, in bounded steps, whatever a user left there.

Theory of operation: the tree has been renamed to a place of ours before. Each folder found inside
is renamed up to the top of that tree before anything in it is touched. So the depth never
matters (a few descriptors, no recursion, no long paths), a mount point is found before anything
below it could be deleted (renaming or removing one fails with EBUSY), and links are only ever
unlinked. All functions block; they are called from a driver's `Workers`.
"""

import errno
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from ..driver import Unavailable
from .failures import explain

T = TypeVar("T")

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_some(parent: int, name: str, budget: int, shown: str) -> bool:
    """Removes up to about `budget` entries of the tree; True once the tree is absent.

    `shown` is the tree's path for messages. Raises `Unavailable` when something cannot be removed.
    """
    try:
        top = _enter(parent, name)
        if top is None:
            return True
        try:
            while not _unless_full(partial(os.rmdir, name, dir_fd=parent)):
                if budget <= 0:
                    return False
                budget = _sweep(top, top, budget - 1)  # folders raised to the top come next
        except FileNotFoundError:
            pass
        finally:
            os.close(top)
        return True
    except OSError as error:
        where = f" ({error.filename})" if isinstance(error.filename, str) else ""
        raise Unavailable(str(explain(f"removing {shown}{where}", error))) from error


def _sweep(folder: int, top: int, budget: int) -> int:
    """Removes entries of one folder; returns what is left of the budget."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if budget <= 0:
                break
            budget -= 1
            with suppress(FileNotFoundError):
                if not entry.is_dir(follow_symlinks=False):
                    _permitted(folder, partial(os.unlink, entry.name, dir_fd=folder))
                elif folder == top:
                    budget = _remove_folder(top, entry.name, budget)
                else:
                    _raise_to_top(folder, entry.name, top)
    return budget


def _remove_folder(top: int, name: str, budget: int) -> int:
    """Empties a folder that stands at the top of the tree, and removes it once that is done."""
    remove = partial(os.rmdir, name, dir_fd=top)
    if _permitted(top, partial(_unless_full, remove)):  # EBUSY for a mount point, full or not
        return budget
    inner = _enter(top, name)
    if inner is None:
        return budget
    try:
        budget = _sweep(inner, top, budget)
    finally:
        os.close(inner)
    _unless_full(remove)
    return budget


def _raise_to_top(folder: int, name: str, top: int) -> None:
    raising = partial(
        os.rename, name, f"stoker-{secrets.token_hex(12)}", src_dir_fd=folder, dst_dir_fd=top
    )
    try:
        _permitted(folder, raising)
    except PermissionError:  # moving a folder elsewhere takes the right to write in it
        _open_up(folder, name)
        raising()


def _unless_full(remove: Callable[[], None]) -> bool:
    """Removes an empty folder; False when there is something in it."""
    try:
        remove()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _permitted(folder: int, action: Callable[[], T]) -> T:
    """Does it; if the folder is closed to its own owner, opens it and tries once more."""
    try:
        return action()
    except PermissionError as error:
        if error.errno != errno.EACCES:
            raise
        os.fchmod(folder, 0o700)
        return action()


def _enter(parent: int, name: str) -> int | None:
    """A descriptor of the folder, opened up if its mode forbids; None when it is not there."""
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except FileNotFoundError:
        return None
    except PermissionError:
        _open_up(parent, name)
        return os.open(name, _FOLDER, dir_fd=parent)


def _open_up(parent: int, name: str) -> None:
    """Gives the owner all rights in a folder, without following a link in its place."""
    handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        Path(f"/proc/self/fd/{handle}").chmod(0o700)  # fchmod takes no O_PATH descriptor
    finally:
        os.close(handle)
