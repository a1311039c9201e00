"""What every driver is built from. Each driver module has `FACTS` and `create_driver(context)`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ...config.catalogue import DriverFacts
from ..clock import Clock
from ..driver import Driver


@dataclass(frozen=True, slots=True)
class DriverContext:
    """What the daemon lends to its drivers."""

    state: Path
    """The daemon's state folder. A driver keeps what it makes below `parts / its name`."""
    clock: Clock

    @property
    def parts(self) -> Path:
        """Where drivers that make files keep them."""
        return self.state / "parts"


class DriverModule(Protocol):
    """What `stoker.pools.drivers` expects of each module in its table."""

    @property
    def FACTS(self) -> DriverFacts:  # noqa: N802 - a constant of the module
        ...

    @property
    def create_driver(self) -> Callable[[DriverContext], Driver]: ...
