"""Notices drift: a ready resource that is no longer what was made is replaced, a bound one reported.

Three sources: drivers tell of changes the moment the kernel has them (`changed`), parts with a
readiness check are probed every few seconds, and everything is observed now and then in case an
event was lost. "Cannot tell" changes nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable

from . import backoff
from .asking import ask
from .assembly import failure_sentence, secrets_of
from .driver import Driver, DriverError, Observation, PartRef, Presence, Unavailable
from .ids import PartId, ResourceId, resource_of
from .lanes import Lane
from .lifecycle import PartState, ResourceState
from .redacting import redact
from .resource import Health, Part, Resource
from .services import Services
from .store import NewEvent, StoreError

log = logging.getLogger(__name__)

TICK = 1.0
PROBE_EVERY = 10.0
RESYNC_EVERY = 300.0
LONGEST_PAUSE = 30.0
"""Seconds at most between two tries to observe one that is not claimable until it was observed."""
RECHECK_AFTER = 1.0
"""A failed probe is repeated after this before it counts: one lost answer is not drift."""
OBSERVE_WITHIN = 30.0
FIRST_LOOKERS = 12
STANDING = frozenset({ResourceState.READY, ResourceState.BOUND})


class HealthWatch:
    def __init__(
        self,
        services: Services,
        *,
        touch: Callable[[str], None],
        healthy: Callable[[Resource], None],
        resync_every: float = RESYNC_EVERY,
        probe_every: float = PROBE_EVERY,
    ) -> None:
        self._services = services
        self._touch = touch
        self._healthy = healthy
        """Told of a resource that has become claimable by being observed."""
        self.resync_every = resync_every
        self.probe_every = probe_every
        self._observing: dict[ResourceId, bool] = {}
        """Resource to "look again": a change during an observation makes another one."""
        self._in_vain: dict[ResourceId, int] = {}
        """How often one that has to be observed before it is claimable could not be."""
        self._to_retry: set[ResourceId] = set()

    def changed(self, part: PartId) -> None:
        """A driver's hint. What stands is looked at; what is being made or finished, afterwards."""
        resource = self._services.inventory.get(resource_of(part))
        if resource is None:
            return
        if resource.state in STANDING:
            self.look_at(resource)
        else:
            resource.suspect = True

    def look_at(self, resource: Resource) -> None:
        """Observes the resource soon; once, however often it is asked."""
        if resource.id in self._observing:
            self._observing[resource.id] = True
            return
        self._observing[resource.id] = False
        self._services.tasks.start(self._look(resource), f"observe {resource.id}")

    async def first_look(self) -> None:
        """After a start: observes everything that stands, a few at a time."""
        standing = iter([r for r in self._services.inventory if r.state in STANDING])

        async def look_at_some() -> None:
            for resource in standing:
                if resource.id not in self._observing and resource.state in STANDING:
                    self._observing[resource.id] = False
                    await self._look(resource)

        async with asyncio.TaskGroup() as group:
            for number in range(FIRST_LOOKERS):
                group.create_task(look_at_some(), name=f"first look {number}")

    async def patrol(self) -> None:
        """Walks over all standing resources for ever, evenly, a few in each tick."""
        probes = _Round(self.probe_every)
        everything = _Round(self.resync_every)
        inventory = self._services.inventory
        while True:
            await asyncio.sleep(TICK)
            for resource_id in probes.next(inventory.ids):
                self._revisit(resource_id, only_probed=True)
            for resource_id in everything.next(inventory.ids):
                self._revisit(resource_id)

    def _revisit(self, resource_id: ResourceId, *, only_probed: bool = False) -> None:
        resource = self._services.inventory.get(resource_id)
        if resource is None or resource.state not in STANDING:
            return
        if not only_probed or any(map(_probes, resource.parts)):
            self.look_at(resource)

    async def _look(self, resource: Resource) -> None:
        try:
            again = True
            while again and resource.state in STANDING:
                self._observing[resource.id] = resource.suspect = False
                await self._observe(resource)
                again = self._observing[resource.id]
        finally:
            self._observing.pop(resource.id, None)

    async def _observe(self, resource: Resource) -> None:
        try:
            problem = await self.problem(resource, resource.parts)
        except DriverError as error:
            why = failure_sentence(error, *secrets_of(resource))
            log.debug("%s cannot be observed: %s", resource.id, why)
            self._remember(resource, f"it cannot be told how it is: {why}")
            self._try_later(resource)
            return
        except Exception as error:  # noqa: BLE001
            self._services.tasks.report(error, f"observing {resource.id}")
            self._try_later(resource)
            return
        self._in_vain.pop(resource.id, None)
        self._remember(resource, redact(problem, *secrets_of(resource)))
        if resource.state not in STANDING:
            return
        if problem:
            await self._drifted(resource, problem)
        elif resource.health is not Health.HEALTHY:
            self._services.inventory.judge(resource, Health.HEALTHY)
            self._healthy(resource)

    def _remember(self, resource: Resource, found: str) -> None:
        """For explanations; drift has its own event, and all else changes nothing."""
        resource.observed_at, resource.observed = self._services.clock.now(), found

    def _try_later(self, resource: Resource) -> None:
        """For one that is not claimable until it was observed. Nobody waits for that here."""
        if resource.health is not Health.UNKNOWN or resource.id in self._to_retry:
            return
        services, identity = self._services, resource.id
        attempt = self._in_vain.get(identity, 0)
        self._in_vain[identity] = attempt + 1
        self._to_retry.add(identity)
        pause = backoff.delay(attempt, services.chance(), first=RECHECK_AFTER, cap=LONGEST_PAUSE)
        services.timers.at(services.clock.now() + pause, lambda: self._retry(identity))

    def _retry(self, resource_id: ResourceId) -> None:
        self._to_retry.discard(resource_id)
        resource = self._services.inventory.get(resource_id)
        if resource is None or resource.state not in STANDING:
            self._in_vain.pop(resource_id, None)
        else:
            self.look_at(resource)

    async def problem(self, resource: Resource, parts: Iterable[Part]) -> str:
        """What is different from what was made, of these parts; empty when nothing is.

        Raises `DriverError` when it cannot be told.
        """
        for part in list(parts):
            driver = self._services.drivers.get(part.driver)
            if driver is None:
                raise Unavailable(f"this version has no driver {part.driver}")
            if driver.pure or part.state is not PartState.VERIFIED:
                continue
            seen = await self._seen(driver, resource, part)
            if seen.presence is not Presence.PRESENT:
                return f"{part.name} is {seen.presence}: {seen.detail}".rstrip(": ")
            problem = await self._probe_twice(part)
            if problem:
                return f"{part.name} does not answer: {problem}"
        return ""

    async def _seen(self, driver: Driver, resource: Resource, part: Part) -> Observation:
        services = self._services
        provider = services.providers.get(part.provider, part.driver)
        ref = PartRef(part.id, provider.ref_of(resource.digest), part.handle)
        async with provider.turn(Lane.BACKGROUND):
            return await ask(driver, driver.observe(ref), OBSERVE_WITHIN, tasks=services.tasks)

    async def _probe_twice(self, part: Part) -> str:
        readiness = self._services.readiness
        if not _probes(part) or await readiness.probe(part.ready) is None:
            return ""
        await asyncio.sleep(RECHECK_AFTER)
        return await readiness.probe(part.ready) or ""

    async def _drifted(self, resource: Resource, problem: str) -> None:
        if resource.health is Health.DRIFTED:
            return
        services = self._services
        problem = redact(problem, *secrets_of(resource))
        log.warning("%s (%s) has drifted: %s", resource.id, resource.state, problem)
        services.inventory.judge(resource, Health.DRIFTED, problem)
        services.telemetry.drift(resource.pool, resource.state)
        self._touch(resource.pool)
        transaction = services.store.transaction()
        transaction.add_event(
            NewEvent(
                "resource.drifted",
                pool=resource.pool,
                resource=resource.id,
                claim=resource.claim or "",
                reason=problem,
            )
        )
        try:
            await services.commit(transaction)
        except StoreError:
            log.warning("the drift of %s could not be written to the ledger", resource.id)


class _Round:
    """Spreads a list of ids evenly over `every` seconds of ticks, then asks for the list anew."""

    def __init__(self, every: float) -> None:
        self._ticks = max(1, round(every / TICK))
        self._tick = 0
        self._ids: list[ResourceId] = []

    def next(self, ids: Callable[[], list[ResourceId]]) -> list[ResourceId]:
        place = self._tick % self._ticks
        if place == 0:
            self._ids = ids()
        self._tick += 1
        return self._ids[place :: self._ticks]


def _probes(part: Part) -> bool:
    """A log line is looked for once, at the start; the other checks can be asked again."""
    return bool(part.ready) and "log" not in part.ready
