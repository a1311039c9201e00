"""What every part of this room works with, put together once by the composition root."""

import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ..config.catalogue import Catalogue
from ..config.json_types import JsonObject
from .clock import Clock
from .driver import Drivers
from .ids import Ids
from .inventory import Inventory
from .judging import Judge, Unjudged
from .part_times import PartTimes
from .processes import HostProcesses, Processes
from .providers import Providers
from .retention import Retention
from .store import Done, Store, StoreError, Transaction
from .tasks import Tasks
from .telemetry import Telemetry
from .timers import Timers
from .usage import Usage

log = logging.getLogger(__name__)


class ReadinessChecks(Protocol):
    """`readiness.Readiness`, or a simulated one."""

    async def wait_until_ready(
        self,
        check: JsonObject,
        *,
        still_there: Callable[[], Awaitable[None]] | None = None,
        log_path: Path | None = None,
    ) -> None: ...

    async def probe(self, check: JsonObject) -> str | None: ...


@dataclass(slots=True)
class Services:
    store: Store
    drivers: Drivers
    catalogue: Catalogue
    clock: Clock
    ids: Ids
    telemetry: Telemetry
    providers: Providers
    readiness: ReadinessChecks
    inventory: Inventory
    tasks: Tasks
    timers: Timers
    processes: Processes = field(default_factory=HostProcesses)
    part_times: PartTimes = field(default_factory=PartTimes)
    """How long making took lately, for explanations."""
    retention: Retention = field(default_factory=Retention)
    """How long the ledger keeps events."""
    usage: Usage = field(default_factory=Usage)
    """What callers hold and what they had."""
    judge: Judge = field(default_factory=Unjudged)
    """Who knows the policies."""
    chance: Callable[[], float] = random.random
    """A random number in [0, 1), for jitter alone."""
    create_within: float = 300.0
    """Seconds that one driver call may take before it is given up as "cannot tell"."""
    ledger_error: str = field(default="", init=False)
    """Why the ledger refused the last write; empty when it took it."""

    async def commit(self, transaction: Transaction, *, urgent: bool = False) -> None:
        """Commits, and remembers whether the ledger works."""
        try:
            await self.store.commit(transaction, urgent=urgent)
        except StoreError as error:
            self._remember(error)
            raise
        self._remember(None)

    def submit(self, transaction: Transaction, done: Done, *, urgent: bool = False) -> None:
        """The same, for what goes on whoever is cancelled: `done` gets None, or the error."""

        def told(error: StoreError | None) -> None:
            self._remember(error)
            done(error)

        self.store.submit(transaction, told, urgent=urgent)

    def ledger_stalled(self, why: str) -> None:
        """The ledger neither takes nor refuses; the next answer, whatever it is, says more."""
        if not self.ledger_error:
            log.warning("the ledger does not answer: %s", why)
            self.ledger_error = why

    def _remember(self, error: StoreError | None) -> None:
        if error is not None:
            if not self.ledger_error:
                log.warning("the ledger refuses writes: %s", error)
            self.ledger_error = str(error)
        elif self.ledger_error:
            log.warning("the ledger takes writes again")
            self.ledger_error = ""
