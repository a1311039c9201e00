"""The config directory that `stoker init DIR` writes: two pools, explained for a newcomer.

The files lie beside this module as package data, and the tests load them as they are.
"""

from importlib import resources
from pathlib import Path

FILES = ("README.md", "web.yaml", "work.yaml")


class StarterRefusedError(Exception):
    """Nothing was written; the message says why and what to do."""


def starter_files() -> dict[str, str]:
    """File name to text."""
    here = resources.files(__package__)
    return {name: here.joinpath(name).read_text(encoding="utf-8") for name in FILES}


def write_starter(target: Path) -> tuple[Path, ...]:
    """Writes the files into a new or empty directory and returns their paths.

    Never overwrites anything. Raises StarterRefusedError.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise StarterRefusedError(
                f"{target} is not empty, and nothing in it is overwritten; name a new directory"
            )
        written: list[Path] = []
        for name, text in starter_files().items():
            path = target / name
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
            written.append(path)
    except FileExistsError as error:
        raise StarterRefusedError(
            f"{error.filename or target} exists already; name a new directory"
        ) from error
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise StarterRefusedError(
            f"{error.filename or target} cannot be written ({why}); name a directory of your own"
        ) from error
    return tuple(written)
