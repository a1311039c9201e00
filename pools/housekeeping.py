"""The slow chores: the clock's anchor, old keys and events, and the fleet's own invariants."""

import asyncio
import logging
from collections.abc import Callable

from .clock import Clock, SteadyClock, read_boot_id
from .services import Services
from .store import ClockAnchor, StoreError

log = logging.getLogger(__name__)

EVERY = 1.0
ANCHOR_EVERY = 60.0
CHECK_EVERY = 60.0
PURGE_EVERY = 3600.0
KEEP_ENDED = 86400.0
"""How long keys and ended claims are kept after the end: a day, as the contract says."""
STEP_WORTH_TELLING = 2.0


class Housekeeping:
    def __init__(self, services: Services, invariants: Callable[[], list[str]]) -> None:
        self._services = services
        self._invariants = invariants
        self.breaches: list[str] = []
        """What the last check found; empty unless there is a defect."""
        self._step = 0.0
        self._rotating = False
        """The last look moved events out of the ledger: there may be more."""

    async def run(self) -> None:
        """Every chore at its own pace; a ledger that refused is tried again every second."""
        ticks = 0
        while True:
            try:
                await self._do_chores(ticks)
            except Exception as error:  # noqa: BLE001 - the ledger's recovery hangs on the next round
                self._services.tasks.report(error, "housekeeping")
            ticks += 1
            await asyncio.sleep(EVERY)

    async def _do_chores(self, ticks: int) -> None:
        if ticks % ANCHOR_EVERY == 0 or self._services.ledger_error:
            await self._drop_anchor()
        if ticks % CHECK_EVERY == 0:
            self._check()
        if ticks % PURGE_EVERY == 0:
            await self._purge()
            self._rotating = True
        if self._rotating:
            await self._rotate()
        self._watch_the_wall_clock()

    async def _drop_anchor(self) -> None:
        transaction = self._services.store.transaction()
        transaction.put_anchor(anchor(self._services.clock))
        try:
            await self._services.commit(transaction)
        except StoreError:
            log.debug("the ledger still refuses writes")

    def _check(self) -> None:
        found = self._invariants()
        for breach in found:
            if breach not in self.breaches:
                log.error("an invariant is broken: %s", breach)
        self.breaches = found

    async def _purge(self) -> None:
        try:
            await self._services.store.purge(keys_before=self._services.clock.now() - KEEP_ENDED)
        except StoreError as error:
            log.warning("old entries could not be purged: %s", error)

    async def _rotate(self) -> None:
        """One file of old events in each round, until none is due."""
        services, clock = self._services, self._services.clock
        now = clock.now()
        # Events are dated by the wall clock. One that was set far ahead must not empty the ledger.
        today = min(now, clock.to_wall(now))
        try:
            moved = await services.store.rotate(services.retention, today=today)
        except StoreError as error:
            log.warning("%s", error)
            moved = 0
        self._rotating = moved > 0

    def _watch_the_wall_clock(self) -> None:
        clock = self._services.clock
        now = clock.now()
        step = clock.to_wall(now) - now
        if abs(step - self._step) > STEP_WORTH_TELLING:
            log.warning(
                "the wall clock was moved by %.1fs; claims keep their lengths", step - self._step
            )
        self._step = step


def anchor(clock: Clock) -> ClockAnchor:
    """What the next run needs to go on with this clock."""
    offset = clock.offset if isinstance(clock, SteadyClock) else 0.0
    return ClockAnchor(read_boot_id(), offset, clock.now())
