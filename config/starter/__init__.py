"""The config directory that `stoker init DIR` writes: two pools and who may claim
from them, explained for a newcomer.

The files lie beside this module as package data, and the tests load them as they are.
"""

from importlib import resources
from pathlib import Path

FILES = ("README.md", "web.yaml", "who.yaml", "work.yaml")


def starter_files() -> dict[str, str]:
    """File name to text."""
    here = resources.files(__name__)
    return {name: here.joinpath(name).read_text(encoding="utf-8") for name in FILES}


def write_starter(target: Path) -> tuple[Path, ...]:
    """Writes the files into a new or empty directory and returns their paths.

    Never overwrites anything: raises FileExistsError when something is there already, and any
    other OSError as it comes.
    """
    if target.exists() and not target.is_dir():
        raise FileExistsError(f"{target} exists and is no directory")
    target.mkdir(parents=True, exist_ok=True)
    if any(target.iterdir()):
        raise FileExistsError(f"{target} is not empty, and nothing in it is overwritten")
    written: list[Path] = []
    for name, text in starter_files().items():
        path = target / name
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
        written.append(path)
    return tuple(written)
