"""What the config room must know of drivers to check a blueprint, told by the pools room.

The config room cannot import drivers (imports point one way), so the composition root hands it
this table. `stoker.pools.drivers.catalogue` builds it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import BaseModel


class ValueType(StrEnum):
    """The CEL type of an output, as far as it is known before anything runs."""

    STRING = "string"
    INT = "int"
    DOUBLE = "double"
    BOOL = "bool"
    LIST = "list"
    MAP = "map"
    TIMESTAMP = "timestamp"
    DURATION = "duration"
    DYN = "dyn"


@dataclass(frozen=True, slots=True)
class OutputFacts:
    """One output of a driver: `parts.NAME.<output>`."""

    type: ValueType
    secret: bool = False
    keys_from: str | None = None
    """For a map: the setting that lists its keys (`ports` of a process). None: any key."""


@dataclass(frozen=True, slots=True)
class DriverFacts:
    """What can be said of a driver without running it."""

    name: str
    settings: type[BaseModel]
    """The model of `with`, after rendering. Unknown keys are refused (`extra="forbid"`)."""
    outputs: Mapping[str, OutputFacts]
    allotted: Mapping[str, OutputFacts] = field(default_factory=dict[str, OutputFacts])
    """What the driver allots before it creates; an expression of the same part reads it as `self`."""
    provider_settings: type[BaseModel] | None = None
    """The model of a Provider's `with`; None when the driver takes none."""
    open_outputs: bool = False
    """True when outputs other than those listed may appear (the `command` driver)."""
    reset_setting: str | None = None
    """The setting that, when true, lets a part be reset in place (see `stoker.pools.driver`).

    None: a part is only ever removed and made anew.
    """
    format_version: int = 1
    """Part of the blueprint's digest: raised when the driver makes the same settings differently."""


Catalogue = Mapping[str, DriverFacts]
"""Driver name to its facts."""
