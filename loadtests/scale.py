"""How much of everything a run measures."""

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Scale:
    """Counts of one run. `--quick` only shows that everything runs: its figures mean little."""

    repetitions: int = 5
    sequential: int = 1000
    """Claims (or floor requests) one after the other, in each repetition."""
    concurrent: int = 3000
    """Claims by `clients` keep-alive connections together, in each repetition."""
    clients: int = 64
    tracked: int = 10_000
    """Resources in the ledger when the daemon is called large."""
    rounds: int = 20
    """Rounds of ten claims, when a pool of ten is claimed from."""
    backfilled: int = 1000
    changes: int = 40
    """Changes of the configuration, each timed to its first effect."""
    pools: int = 500
    files: int = 2_000
    """Of a large configuration."""
    looks: int = 40
    """Looks at an unchanged repository, in each repetition."""


QUICK = Scale(
    repetitions=1,
    sequential=100,
    concurrent=300,
    tracked=300,
    rounds=3,
    backfilled=100,
    changes=5,
    pools=50,
    files=200,
    looks=5,
)


@contextmanager
def folder() -> Generator[Path]:
    """A folder for one daemon: its path is short, since a Unix socket's may have 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
