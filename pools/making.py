"""One pool's creations: when they begin, from which blueprint, and what a failure means.

The pool's pass says how many are wanted; what waits for its pace asks the plan again before each one.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from asyncio_throttle import Throttler

from ..config.revision import PoolSpec
from . import creation
from .assembly import failure_sentence, secrets_of
from .breaker import Breaker
from .dismantling import Dismantler
from .driver import DriverError, Exhausted, Throttled, Unavailable
from .lanes import Lane
from .lifecycle import ResourceState
from .pacing import retune, throttler
from .plan import Create, Fill
from .prospects import Prospects
from .resource import Resource
from .rolling import Rolling
from .services import Services
from .store import NewEvent, StoreError

log = logging.getLogger(__name__)

BREATH = 0.002
"""Seconds between two creations of a burst, at most."""
RETRY_DELAY = 1.0


@dataclass(frozen=True, slots=True)
class Told:
    """What a pool is asked and told by its creations."""

    next_fill: Callable[[], Fill | None]
    """What is to be begun next at the pool's pace, by a plan made now."""
    ready: Callable[[Resource], None]
    touch: Callable[[], None]


class Making:
    """Of one pool."""

    def __init__(
        self,
        services: Services,
        spec: PoolSpec,
        revision: str,
        rolling: Rolling,
        prospects: Prospects,
        dismantler: Dismantler,
    ) -> None:
        self.breaker = Breaker()
        """Of the declared blueprint; the previous one's is with the rollout."""
        self._services = services
        self._spec = spec
        self._revision = revision
        self._rolling = rolling
        self._prospects = prospects
        self._dismantler = dismantler
        self._pace: Throttler = throttler(spec.backfill.rate, spec.backfill.burst)
        self._filling: asyncio.Task[object] | None = None
        self._filling_now = 0
        self._closed = False

    def connect(self, told: Told) -> None:
        self._told = told

    def respec(self, spec: PoolSpec, revision: str) -> None:
        if spec.backfill != self._spec.backfill:
            retune(self._pace, spec.backfill.rate, spec.backfill.burst)
        if spec.blueprint.digest != self._spec.blueprint.digest:
            self.breaker = Breaker()
        self._spec = spec
        self._revision = revision

    def close(self) -> None:
        self._closed = True

    def create(self, command: Create) -> None:
        for _ in range(command.count):
            self._begin(Lane.CLAIMS, previous=command.previous)

    def fill(self) -> None:
        """Begins creations at the pool's pace for as long as the plan wants more."""
        if self._filling is None:
            name = f"fill {self._spec.name}"
            self._filling = self._services.tasks.start(self._fill(), name)

    async def _fill(self) -> None:
        try:
            while not self._closed and self._filling_now < self._spec.backfill.concurrency:
                if self._told.next_fill() is None:
                    return
                await self._pace.acquire()
                wanted = None if self._closed else self._told.next_fill()
                if wanted is not None:
                    self._begin(Lane.BACKGROUND, previous=wanted.previous)
                    self._filling_now += 1
                    # A burst at once would hold up every claim that comes meanwhile.
                    await asyncio.sleep(min(BREATH, 0.5 / self._spec.backfill.rate))
        finally:
            self._filling = None

    def _begin(self, lane: Lane, *, previous: bool) -> None:
        spec, revision = self._spec, self._revision
        if previous and self._rolling.previous is not None:
            spec, revision = self._rolling.previous, self._rolling.revision
        resource = creation.planned(self._services, spec, revision)
        work = self._create(resource, spec, lane)
        self._services.tasks.start(work, f"create {resource.id}")

    async def _create(self, resource: Resource, spec: PoolSpec, lane: Lane) -> None:
        started = self._services.clock.now()
        try:
            await creation.make_ready(self._services, resource, spec, lane)
        except (DriverError, StoreError) as error:
            self._failed(resource, error)
        except Exception as error:  # noqa: BLE001
            self._services.tasks.report(error, f"creating {resource.id}")
            self._failed(resource, Unavailable(f"a defect of the daemon: {error!r}"))
        else:
            self._succeeded(resource, self._services.clock.now() - started)
        finally:
            if lane is Lane.BACKGROUND:
                self._filling_now -= 1
            self._told.touch()

    def _succeeded(self, resource: Resource, seconds: float) -> None:
        services, name = self._services, self._spec.name
        if self._is_declared(resource) and self.breaker.failures:
            self.breaker = self.breaker.succeeded()
            services.telemetry.breaker_moved(name, "closed")
        elif self._is_previous(resource):
            self._rolling.breaker = Breaker()
        services.telemetry.stage(name, "prepare", seconds)
        self._prospects.made(seconds)
        self._rolling.made(resource)
        self._told.ready(resource)

    def _failed(self, resource: Resource, error: DriverError | StoreError) -> None:
        services, rolling = self._services, self._rolling
        self._prospects.failed()
        now, sentence = services.clock.now(), failure_sentence(error, *secrets_of(resource))
        if isinstance(error, StoreError | Throttled | Exhausted):
            after = RETRY_DELAY if isinstance(error, StoreError) else error.after
            self.breaker = self.breaker.asked_to_wait(sentence, now, after)
            rolling.breaker = rolling.breaker.asked_to_wait(sentence, now, after)
        elif self._is_declared(resource):
            before = self.breaker.state(now)
            self.breaker = self.breaker.failed(sentence, now, services.chance())
            if self.breaker.state(now) != before:
                self._tell_of(self.breaker)
        elif self._is_previous(resource):
            rolling.breaker = rolling.breaker.failed(sentence, now, services.chance())
        rolling.went_wrong(resource, sentence)
        services.inventory.move(resource, ResourceState.FAILED, sentence, now)
        event = NewEvent("resource.failed", resource.pool, resource.id, reason=sentence)
        self._dismantler.start(resource, event=event)

    def _tell_of(self, breaker: Breaker) -> None:
        self._services.telemetry.breaker_moved(self._spec.name, "open")
        log.warning(
            "the pool %s stops creating: %d failures in a row, the last one: %s",
            self._spec.name,
            breaker.failures,
            breaker.last_error,
        )

    def _is_declared(self, resource: Resource) -> bool:
        return resource.digest == self._spec.blueprint.digest

    def _is_previous(self, resource: Resource) -> bool:
        previous = self._rolling.previous
        return previous is not None and resource.digest == previous.blueprint.digest
