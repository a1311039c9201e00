"""The contract between the pools and whatever makes things: one Protocol and its errors.

Rules that every driver keeps, proved by `tests/drivers/contract.py`:

1. `create` is idempotent by part id: called again after a lost answer it returns the same thing.
2. Everything a driver makes carries the part's id as its ownership mark, from its first moment.
3. `destroy` is called again and again until it raises `NotFound`; that is the proof of absence.
   Returning says only "asked for". "Cannot tell" is `Unavailable`, never `NotFound`.
4. A driver never destroys what does not carry the mark of the part it was asked to destroy.
5. Exceptions of client libraries are chained to one of the errors below and never leak.
6. Every call may be cancelled at any await; what was begun is then found by `list_owned`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol, runtime_checkable

from ..config.json_types import JsonObject
from .ids import PartId
from .resource import nothing


class DriverError(Exception):
    """The base of what a driver may raise. The message is a sentence for a person."""


class NotFound(DriverError):
    """It does not exist, for certain. Only a proof raises this."""


class Throttled(DriverError):
    """The provider asks for a slower pace; `after` is in seconds."""

    def __init__(self, message: str, after: float = 1.0) -> None:
        super().__init__(message)
        self.after = after


class Exhausted(DriverError):
    """A quota or a capacity is used up (no free port, disk full); `after` is in seconds."""

    def __init__(self, message: str, after: float = 30.0) -> None:
        super().__init__(message)
        self.after = after


class Rejected(DriverError):
    """The request can never succeed as it is (bad settings, no such program)."""


class Unavailable(DriverError):
    """It did not work, or cannot be told, this time."""


class ProviderRef(NamedTuple):
    """The account or endpoint a part lives in, with the settings of its Provider document."""

    name: str
    settings: JsonObject = nothing()


class PartRequest(NamedTuple):
    """What is to be made."""

    id: PartId
    pool: str
    settings: JsonObject
    """The rendered `with` of the part, already checked against the driver's settings model.
    In `allot`, expressions that read `self` are still missing from it."""
    allotted: JsonObject
    """What `allot` returned for this part."""
    provider: ProviderRef


@dataclass(frozen=True, slots=True)
class PartRef:
    """What was, or may have been, made: enough to observe and to destroy it."""

    id: PartId
    provider: ProviderRef
    handle: JsonObject
    """What `intend` returned, replaced by what `create` returned once that was written. Never secret."""


class Made(NamedTuple):
    """The outcome of a creation."""

    handle: JsonObject
    """What observe and destroy need; kept in the ledger in the clear, so never secret."""
    outputs: JsonObject = nothing()
    secrets: JsonObject = nothing()
    """Outputs that are sealed in the ledger and never logged."""


class Presence(StrEnum):
    PRESENT = "present"
    DRIFTED = "drifted"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Observation:
    presence: Presence
    detail: str = ""
    """For drifted and absent: a sentence saying what is different."""


Changed = Callable[[PartId], None]
"""Called in the event loop when a watched part may have changed; the pools then observe it."""


class Driver(Protocol):
    """Makes, watches and removes parts of one kind."""

    @property
    def name(self) -> str: ...

    @property
    def pure(self) -> bool:
        """True when what it makes exists in the ledger alone (a random token).

        Such a part needs no intent, no observation and no removal, and `create` never waits.
        """
        ...

    async def open(self, changed: Changed) -> None:
        """Starts what the driver needs (an executor, a watch). Called once, before all else."""
        ...

    async def close(self) -> None:
        """Ends what `open` started. What was made stays."""
        ...

    async def allot(self, request: PartRequest) -> JsonObject:
        """Sets aside what `self` names (ports), before the settings are rendered.

        `request.settings` has only what can be rendered without `self`. What was set aside is
        free again when `forget` is called for the part.
        """
        ...

    def intend(self, request: PartRequest) -> JsonObject:
        """The handle to write before `create`: enough to find the part after a crash."""
        ...

    async def create(self, request: PartRequest) -> Made: ...

    async def observe(self, part: PartRef) -> Observation: ...

    async def destroy(self, part: PartRef) -> None:
        """Asks for removal, one step at a time; raises `NotFound` once absence is proved."""
        ...

    async def list_owned(self) -> frozenset[PartId]:
        """Every part that exists with this daemon's mark, whether the ledger knows it or not."""
        ...

    def watch(self, part: PartRef) -> None:
        """From now on `changed(part.id)` is called when the part may have changed. Idempotent.

        Also how a driver learns of the parts that an earlier run of the daemon made.
        """
        ...

    def forget(self, part: PartId) -> None:
        """Ends the watch and frees what was allotted. Idempotent."""
        ...


@runtime_checkable
class PureDriver(Driver, Protocol):
    """One whose `pure` is true."""

    def make(self, request: PartRequest) -> Made:
        """As `create`, now. Raises `Unavailable` when something has to be awaited first."""
        ...


@runtime_checkable
class ResettingDriver(Driver, Protocol):
    """One that can bring a part back in place; `DriverFacts.reset_setting` says for which parts.

    What it cannot reset is removed until its absence is proved, and made anew.
    """

    async def reset(self, request: PartRequest, part: PartRef) -> Made:
        """Makes the part what `create` made of the same request, as if nobody had used it.

        The same handle, outputs and secrets come back: other parts have read them, and after a
        crash in the middle the handle is what the part is destroyed by. Never repeated: without an
        answer that it is done, the part is destroyed. Such a driver allots nothing.
        """
        ...


Drivers = Mapping[str, Driver]
"""Driver name to driver."""
