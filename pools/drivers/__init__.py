"""One module per driver. Drivers know nothing of each other and are imported on demand.

To add one: write `NAME.py` with `FACTS` and `create_driver`, enter it in `TABLE`, describe it in
`docs/drivers/NAME.md`, and let it pass `tests/drivers/contract.py`.
"""

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import cast

from ...config.catalogue import Catalogue
from ..clock import Clock
from ..driver import Driver
from .context import DriverContext, DriverModule

TABLE = {
    "command": ".command",
    "directory": ".directory",
    "file": ".file",
    "process": ".process",
    "token": ".token",
}
"""Driver name to module. An explicit table: a stray file in this folder never becomes a driver."""


def catalogue() -> Catalogue:
    """The facts of all drivers, for the checks of the config room."""
    return {name: _module(name).FACTS for name in TABLE}


def build_drivers(
    state: Path, clock: Clock, *, only: Iterable[str] | None = None
) -> dict[str, Driver]:
    """Driver name to a driver that is not open yet; `only` leaves the others' modules alone.

    Does no input or output: folders are made by `open`.
    """
    context = DriverContext(state=state, clock=clock)
    names = sorted(TABLE) if only is None else sorted(only)
    return {name: _module(name).create_driver(context) for name in names}


def _module(name: str) -> DriverModule:
    return cast("DriverModule", import_module(TABLE[name], __package__))
