"""One pool at work: takes snapshots, plans, and carries the commands out.

A pass is synchronous and short: it plans and starts tasks. It is asked for by `touch` whenever
something of this pool changed, several askings at once make one pass, and time alone wakes it
through a timer. Everything it does can be decided again from the inventory at any moment.
"""

import asyncio
import logging

from asyncio_throttle import Throttler

from ..config.revision import Blueprint, PoolSpec
from . import creation
from .assembly import failure_sentence, secrets_of
from .breaker import THRESHOLD, Breaker
from .driver import DriverError, Exhausted, Throttled, Unavailable
from .gates import Gate
from .lanes import Lane
from .lifecycle import ResourceState
from .neighbours import Neighbours
from .pacing import retune, throttler
from .plan import Create, Fill, Plan, Retire, Serve, Snapshot, plan
from .prospects import Prospects
from .requests import Refusal
from .resource import Health, Resource
from .reuse import Circumstances
from .services import Services
from .serving import Serving
from .snapshots import refreshed, take_snapshot, take_status
from .status import PoolStatus
from .store import NewEvent, StoreError
from .switches import Switch
from .timers import Timer
from .waiting import Line, complaints

log = logging.getLogger(__name__)

PASS_DELAY = 0.005
"""From the first touch to the pass, so that a burst of claims makes one."""
BREATH = 0.002
"""Seconds between two creations of a burst, at most."""
RETRY_DELAY = 1.0


class Pool:
    """The owner of one pool's resources and of its waiting line."""

    def __init__(
        self,
        services: Services,
        spec: PoolSpec,
        revision: str,
        neighbours: Neighbours,
        *,
        older: tuple[Blueprint, ...] = (),
    ) -> None:
        """`older`: blueprints that resources of an earlier run may have been made from."""
        self.spec = spec
        self.revision = revision
        self.gate = Gate(spec.name)
        self.line = Line(complaints(spec.name, services.telemetry))
        self.line.priorities = spec.queue.priorities
        self.breaker = Breaker()
        self.last_plan = Plan(())
        self.planned_at: float | None = None
        """When that was."""
        self._services = services
        self._members = services.inventory.members(spec.name)
        self.prospects = Prospects(self._members)
        self._members.refile_all(spec.blueprint.digest, None)
        self._dismantler = neighbours.dismantler
        self._look = neighbours.look
        self._neighbours = neighbours
        self._blueprints = {one.digest: one for one in (*older, spec.blueprint)}
        """By digest: a resource is finished by the blueprint that it was made from."""
        self._pace: Throttler = throttler(spec.backfill.rate, spec.backfill.burst)
        self._filling: asyncio.Task[object] | None = None
        self._filling_now = 0
        self._due: asyncio.TimerHandle | None = None
        self._alarm: Timer | None = None
        self._closed = False
        self._awake = False
        self._serving = Serving(services, spec.name, self.line, self._members)
        self._serving.connect(self._take, self.serve_waiters, self.blueprint_of)
        self.selector = self._serving.selector

    # What others ask of it

    def respec(self, spec: PoolSpec, revision: str) -> None:
        """Takes over a new declaration, live."""
        if spec.backfill != self.spec.backfill:
            retune(self._pace, spec.backfill.rate, spec.backfill.burst)
        if spec.blueprint.digest != self.spec.blueprint.digest:
            self.breaker = Breaker()
            self._members.refile_all(spec.blueprint.digest, self._members.refreshed_at)
            used = {resource.digest for resource in self._members.resources.values()}
            known = self._blueprints.items()
            self._blueprints = {digest: one for digest, one in known if digest in used}
            self._blueprints[spec.blueprint.digest] = spec.blueprint
        self.line.priorities = spec.queue.priorities
        self.spec = spec
        self.revision = revision
        self.gate.declare(declared=True)
        self.retire_unknown()
        self.touch()

    def retire_unknown(self) -> None:
        """What nobody can finish any more, after a restart, is replaced and not handed out."""
        why = "the blueprint it was made from is no longer known"
        for resource in list(self._members.resources.values()):
            if resource.digest not in self._blueprints:
                self._retire(resource, Retire(resource.id, "outdated", why))

    def undeclare(self) -> None:
        """No longer declared: ready ones go, bound ones live out their claims, waiters are told."""
        self.gate.declare(declared=False)
        self._obey_gate()

    def switch(self, switch: Switch | None, refresh: Switch | None) -> None:
        """What operators have set is this from now on: a pause or a drain, and a refresh."""
        self.gate.set(switch, refresh)
        since = None if refresh is None else refresh.since
        if since != self._members.refreshed_at:
            self._members.refile_all(self.spec.blueprint.digest, since)
        self._obey_gate()

    def shut_because(self) -> Refusal:
        """What a claim is told that comes to a pool which is shut."""
        clock = self._services.clock
        return self.gate.refusal(clock.now(), clock.to_wall)

    def _obey_gate(self) -> None:
        if self.gate.draining:
            for waiter in list(self.line):
                self.line.turn_away(waiter.claim.id, self.shut_because())
        self.serve_waiters()
        self.touch()

    def blueprint_of(self, resource: Resource) -> Blueprint:
        """What it was made from, which also says how to finish it."""
        return self._blueprints.get(resource.digest, self.spec.blueprint)

    def wake(self) -> None:
        """From now on passes are made. Before, the pool hands out and takes back, but makes nothing."""
        self._awake = True
        self.touch()

    def touch(self, *, at_once: bool = False) -> None:
        """Something changed: a pass will follow, `at_once` when somebody waits for it."""
        if not self._awake or self._closed:
            return
        if at_once and self._due is not None:
            self._due.cancel()
            self._due = None
        if self._due is None:
            loop = asyncio.get_running_loop()
            self._due = loop.call_later(0.0 if at_once else PASS_DELAY, self._pass)

    def take(self, now: float) -> Resource | None:
        """A claimable resource for somebody who came at `now`, unless others wait already."""
        if self.gate.shut:
            return None
        if len(self.line):
            resource = self.line.wanted_by_nobody(self._members) if self.line.choosy else None
        else:
            resource = self._members.first_claimable()
        if resource is not None:
            self._take(resource, now)
        return resource

    def serve_waiters(self) -> None:
        """Hands claimable resources to those who wait, in their order."""
        if self.gate.shut:
            return
        self._serving.serve()

    def circumstances_of(self, resource: Resource) -> Circumstances:
        emptied = self.gate.emptied_because if self.gate.draining else ""
        return Circumstances(emptied, self._members.up_to_date(resource))

    def give_back(self, resource: Resource) -> None:
        """A claimant left before anything was made for it."""
        now = self._services.clock.now()
        reason = "the claimant left before it was bound"
        self._services.inventory.move(resource, ResourceState.READY, reason, now)
        if resource.hold is not None:
            self._neighbours.keep(resource)
        elif resource.suspect:
            self._look(resource)
        self.serve_waiters()
        self.touch()

    def condemn(self, resource: Resource, reason: str) -> None:
        """Finishing went wrong: the resource is used up, whatever state that left it in."""
        now = self._services.clock.now()
        to = (
            ResourceState.ENDING
            if resource.state is ResourceState.BOUND
            else ResourceState.RETIRING
        )
        self._services.inventory.move(resource, to, reason, now)
        self._dismantler.start(resource)
        self.touch()

    def close(self) -> None:
        self._closed = True
        if self._due is not None:
            self._due.cancel()
        if self._alarm is not None:
            self._alarm.cancel()

    @property
    def empty(self) -> bool:
        return not self._members.resources and not len(self.line)

    @property
    def hopeless(self) -> bool:
        """Nothing is ready or on the way, and the breaker, not mere patience, lets nothing begin."""
        now = self._services.clock.now()
        return (
            not self._members.ready
            and not self._members.coming
            and not self._members.counts[ResourceState.RESETTING]
            and self.breaker.failures >= THRESHOLD
            and self.breaker.state(now) == "open"
        )

    @property
    def ready(self) -> int:
        """How many can be claimed now."""
        return self._members.ready

    @property
    def full(self) -> bool:
        return self._members.occupied >= self.spec.size.max

    def status(self) -> PoolStatus:
        return take_status(
            self.spec,
            self._members,
            self._services.clock.now(),
            revision=self.revision,
            waiting=len(self.line),
            breaker=self.breaker,
            gate=self.gate,
            last_plan=self.last_plan,
        )

    def snapshot(self) -> Snapshot:
        return take_snapshot(
            self.spec,
            self._members,
            self._services.clock.now(),
            waiting=self.line.wanted,
            breaker=self.breaker,
            gate=self.gate,
        )

    # One pass

    def _pass(self) -> None:
        self._due = None
        if self._closed:
            return
        started = self._services.clock.now()
        try:
            self.last_plan = plan(self.spec, self.snapshot(), started)
            self.planned_at = started
            for command in self.last_plan.commands:
                self._carry_out(command)
        except Exception as error:  # noqa: BLE001
            # A defect in one pool must not stop the others; this pool tries again.
            self._services.tasks.report(error, f"the pass over the pool {self.spec.name}")
            self._wake_at(started + RETRY_DELAY)
            return
        if self.last_plan.wake_at is not None:
            self._wake_at(self.last_plan.wake_at)
        if self.gate.refresh is not None and refreshed(self._members):
            self._neighbours.refreshed(self.gate.refresh)
        if not self.gate.declared and self.empty:
            self._neighbours.drained(self.spec.name)
        self._services.telemetry.pass_done(self.spec.name, self._services.clock.now() - started)

    def _carry_out(self, command: Retire | Serve | Create | Fill) -> None:
        match command:
            case Retire():
                resource = self._services.inventory.get(command.resource)
                if resource is not None:
                    self._retire(resource, command)
            case Serve():
                self.serve_waiters()
            case Create():
                for _ in range(command.count):
                    self._begin(Lane.CLAIMS)
            case Fill():
                if self._filling is None:
                    name = f"fill {self.spec.name}"
                    self._filling = self._services.tasks.start(self._fill(), name)

    def _wake_at(self, when: float) -> None:
        alarm = self._alarm
        if alarm is not None and alarm.call is not None and alarm.when == when:
            return
        if alarm is not None:
            alarm.cancel()
        self._alarm = self._services.timers.at(when, self.touch)

    def _retire(self, resource: Resource, command: Retire) -> None:
        if resource.state is not ResourceState.READY:
            return  # a claim was first
        now = self._services.clock.now()
        self._services.inventory.move(resource, ResourceState.RETIRING, command.reason, now)
        log.info("%s is retired (%s): %s", resource.id, command.cause, command.reason)
        self._dismantler.start(resource)

    def _take(self, resource: Resource, now: float) -> None:
        self._services.inventory.move(resource, ResourceState.CLAIMED, "taken for a claim", now)
        self.touch()

    # Creating

    async def _fill(self) -> None:
        """Begins creations at the pool's pace for as long as the plan wants more."""
        try:
            while not self._closed and self._filling_now < self.spec.backfill.concurrency:
                if not self._wants_more():
                    return
                await self._pace.acquire()
                if self._wants_more():
                    self._begin(Lane.BACKGROUND)
                    self._filling_now += 1
                    # A burst at once would hold up every claim that comes meanwhile.
                    await asyncio.sleep(min(BREATH, 0.5 / self.spec.backfill.rate))
        finally:
            self._filling = None

    def _wants_more(self) -> bool:
        now = self._services.clock.now()
        return not self._closed and plan(self.spec, self.snapshot(), now).fill > 0

    def _begin(self, lane: Lane) -> None:
        resource = creation.planned(self._services, self.spec, self.revision)
        work = self._create(resource, self.spec, lane)
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
            self.touch()

    def _succeeded(self, resource: Resource, seconds: float) -> None:
        services = self._services
        if resource.digest == self.spec.blueprint.digest and self.breaker.failures:
            self.breaker = self.breaker.succeeded()
            services.telemetry.breaker_moved(self.spec.name, "closed")
        services.telemetry.stage(self.spec.name, "prepare", seconds)
        self.prospects.made(seconds)
        if resource.hold is not None:
            self._neighbours.keep(resource)
        elif resource.suspect:
            self._look(resource)  # something changed while it was made: it counts once observed
        else:
            services.inventory.judge(resource, Health.HEALTHY)
            self.serve_waiters()

    def _failed(self, resource: Resource, error: DriverError | StoreError) -> None:
        services = self._services
        self.prospects.failed()
        now, sentence = services.clock.now(), failure_sentence(error, *secrets_of(resource))
        if isinstance(error, Throttled | Exhausted):
            self.breaker = self.breaker.asked_to_wait(sentence, now, error.after)
        elif isinstance(error, StoreError):
            self.breaker = self.breaker.asked_to_wait(sentence, now, RETRY_DELAY)
        elif resource.digest == self.spec.blueprint.digest:
            before = self.breaker.state(now)
            self.breaker = self.breaker.failed(sentence, now, services.chance())
            if self.breaker.state(now) != before:
                services.telemetry.breaker_moved(self.spec.name, "open")
                log.warning(
                    "the pool %s stops creating: %d failures in a row, the last one: %s",
                    self.spec.name,
                    self.breaker.failures,
                    sentence,
                )
        services.inventory.move(resource, ResourceState.FAILED, sentence, now)
        event = NewEvent("resource.failed", resource.pool, resource.id, reason=sentence)
        self._dismantler.start(resource, event=event)
