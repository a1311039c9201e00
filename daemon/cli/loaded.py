"""A config directory as a command works with it."""

from pathlib import Path
from typing import TYPE_CHECKING

from .failing import Failed

if TYPE_CHECKING:
    from ...config.revision import Revision


def revision_of(folder: Path) -> "Revision":
    """Raises `Failed` for a directory that is not there or has errors."""
    from ...config.loading import load_directory  # noqa: PLC0415 - heavy: pydantic, expressions
    from ...pools.drivers import catalogue  # noqa: PLC0415 - heavy

    if not folder.is_dir():
        raise Failed(f"There is no directory {folder}. Write one with: stoker init {folder}")
    result = load_directory(folder, catalogue())
    if result.revision is None:
        first = result.errors[0]
        raise Failed(f"{folder} has errors, such as {first} See all with: stoker validate {folder}")
    return result.revision
