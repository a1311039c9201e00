"""Finds what exists with our mark but is in no ledger, and removes it.

An orphan is what a crash left between a driver's effect and the ledger's knowledge of it, or what
a provider showed too late. Only exact marks of this daemon's own state count (see `driver`).
"""

import asyncio
import logging

from . import backoff
from .asking import ask
from .assembly import failure_sentence
from .driver import Driver, DriverError, NotFound, PartRef
from .ids import PartId, resource_of
from .lanes import Lane
from .services import Services
from .store import NewEvent, StoreError

log = logging.getLogger(__name__)

SWEEP_EVERY = 300.0
LIST_WITHIN = 60.0
ATTEMPTS = 20
"""Tries to remove one orphan in one sweep; the next sweep finds it again."""


class OrphanSweep:
    def __init__(self, services: Services, every: float = SWEEP_EVERY) -> None:
        self._services = services
        self._every = every
        self.known: frozenset[PartId] = frozenset()
        """The orphans that the last sweep found and could not remove."""

    async def watch(self) -> None:
        while True:
            try:
                await self.sweep()
            except Exception as error:  # noqa: BLE001 - the next sweep must come
                self._services.tasks.report(error, "the sweep for orphans")
            await asyncio.sleep(self._every)

    async def sweep(self) -> None:
        """Looks at every driver once; returns when what was found is removed or given up."""
        left: set[PartId] = set()
        for driver in self._services.drivers.values():
            if driver.pure:
                continue
            for part in await self._orphans(driver):
                if not await self._remove(driver, part):
                    left.add(part)
        self.known = frozenset(left)

    async def _orphans(self, driver: Driver) -> list[PartId]:
        services = self._services
        before = {resource.id for resource in services.inventory}
        try:
            owned = await ask(driver, driver.list_owned(), LIST_WITHIN, tasks=services.tasks)
        except DriverError as error:
            log.warning("what %s has made cannot be listed: %s", driver.name, error)
            return []
        # Compared with what was there before: the list may still show what was removed meanwhile.
        # And with what is there now: what was intended meanwhile is in the inventory already.
        return sorted(
            part for part in owned if resource_of(part) not in before and not self._is_known(part)
        )

    def _is_known(self, part: PartId) -> bool:
        resource = self._services.inventory.get(resource_of(part))
        return resource is not None and any(known.id == part for known in resource.parts)

    async def _remove(self, driver: Driver, part: PartId) -> bool:
        services = self._services
        provider = services.providers.get(driver.name, driver.name)
        log.warning("%s of the driver %s is an orphan and is removed", part, driver.name)
        services.telemetry.orphan_found(driver.name)
        await self._tell("orphan.found", driver, part)
        for attempt in range(ATTEMPTS):
            try:
                async with provider.turn(Lane.BACKGROUND):
                    ref = PartRef(part, provider.ref, {})
                    await ask(driver, driver.destroy(ref), LIST_WITHIN, tasks=services.tasks)
            except NotFound:
                driver.forget(part)
                services.telemetry.orphan_removed(driver.name)
                await self._tell("orphan.removed", driver, part)
                return True
            except DriverError as error:
                log.warning("the orphan %s cannot be removed: %s", part, failure_sentence(error))
            await asyncio.sleep(backoff.delay(attempt, services.chance(), first=0.05, cap=5.0))
        return False

    async def _tell(self, kind: str, driver: Driver, part: PartId) -> None:
        transaction = self._services.store.transaction()
        transaction.add_event(
            NewEvent(kind, resource=resource_of(part), data={"part": part, "driver": driver.name})
        )
        try:
            await self._services.commit(transaction)
        except StoreError:
            log.warning("%s of %s could not be written to the ledger", kind, part)
