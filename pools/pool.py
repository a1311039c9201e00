"""One pool at work: takes snapshots, plans, and carries the commands out.

A pass is synchronous and short: it plans and starts tasks. It is asked for by `touch` whenever
something of this pool changed, several askings at once make one pass, and time alone wakes it
through a timer. Everything it does can be decided again from the inventory at any moment.
"""

import asyncio
import logging

from ..config.revision import Blueprint, PoolSpec
from .breaker import THRESHOLD, Breaker
from .gates import Gate, InForce
from .lifecycle import ResourceState
from .making import Making, Told
from .neighbours import Neighbours
from .plan import Create, Fill, Plan, Retire, Serve, Snapshot, plan
from .prospects import Prospects
from .requests import Refusal
from .resource import Health, Resource
from .reuse import Circumstances
from .rolling import Rolling
from .rollout import Rollout
from .services import Services
from .serving import Serving
from .snapshots import refreshed, take_snapshot, take_status
from .status import PoolStatus
from .timers import Timer
from .waiting import Line, complaints

log = logging.getLogger(__name__)

PASS_DELAY = 0.005
"""From the first touch to the pass, so that a burst of claims makes one."""
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
        rollout: Rollout | None = None,
    ) -> None:
        """`older`: blueprints that resources of an earlier run may have been made from."""
        self.spec = spec
        self.revision = revision
        self.gate = Gate(spec.name, spec.paused_at)
        self.line = Line(complaints(spec.name, services.telemetry))
        self.line.priorities = spec.queue.priorities
        self.last_plan = Plan(())
        self.planned_at: float | None = None
        """When that was."""
        self._services = services
        self._members = services.inventory.members(spec.name)
        self.prospects = Prospects(self._members)
        self._members.refile_all(spec.blueprint.digest, None)
        self.rolling = Rolling(services, self._members, self.touch)
        self._dismantler = neighbours.dismantler
        self._look = neighbours.look
        self._neighbours = neighbours
        self._blueprints = {one.digest: one for one in (*older, spec.blueprint)}
        """By digest: a resource is finished by the blueprint that it was made from."""
        self.rolling.take_over(rollout, spec, self._blueprints, Breaker())
        self.serving = spec
        """The declaration, with the previous blueprint while that serves: what claims are held to."""
        self._choose_who_serves()
        self.making = Making(
            services, spec, revision, self.rolling, self.prospects, neighbours.dismantler
        )
        self.making.connect(Told(self._next_fill, self._made, self.touch))
        self._due: asyncio.TimerHandle | None = None
        self._alarm: Timer | None = None
        self._closed = False
        self._awake = False
        self._serving = Serving(services, spec.name, self.line, self._members)
        self._serving.connect(self._take, self.serve_waiters, self.blueprint_of)
        self.selector = self._serving.selector

    # What others ask of it

    @property
    def breaker(self) -> Breaker:
        """Of the blueprint from which those are served who wait."""
        return self.making.breaker if self.serving is self.spec else self.rolling.breaker

    def respec(self, spec: PoolSpec, revision: str, rollout: Rollout | None = None) -> None:
        """Takes over a new declaration, live, and the rollout that it begins or goes on with."""
        breaker = self.making.breaker
        if spec.blueprint.digest != self.spec.blueprint.digest:
            self._members.refile_all(spec.blueprint.digest, self._members.refreshed_at)
            used = {resource.digest for resource in self._members.resources.values()}
            used |= set() if rollout is None else {rollout.previous}
            known = self._blueprints.items()
            self._blueprints = {digest: one for digest, one in known if digest in used}
            self._blueprints[spec.blueprint.digest] = spec.blueprint
        if spec.size.min != self.spec.size.min:
            self.rolling.begin_anew()
        self.making.respec(spec, revision)
        self.rolling.take_over(rollout, spec, self._blueprints, breaker)
        self.line.priorities = spec.queue.priorities
        self.spec = spec
        self.revision = revision
        self._choose_who_serves()
        self.gate.declare(declared=True, paused_at=spec.paused_at)
        self.retire_unknown()
        self._obey_gate()

    def retry_rollout(self, rollout: Rollout) -> None:
        """A paused one goes on from its beginning, which is durable."""
        self.making.breaker = Breaker()
        self.rolling.accept(rollout)
        self._choose_who_serves()
        self.touch()

    def retire_unknown(self) -> None:
        """What nobody can finish any more, after a restart, is replaced and not handed out."""
        why = "the blueprint it was made from is no longer known"
        for resource in list(self._members.resources.values()):
            if resource.digest not in self._blueprints:
                self._retire(resource, Retire(resource.id, "outdated", why))

    def _choose_who_serves(self) -> None:
        previous = self.rolling.previous if self._members.old_first else None
        self.serving = previous or self.spec

    def undeclare(self) -> None:
        """No longer declared: ready ones go, bound ones live out their claims, waiters are told."""
        self.gate.declare(declared=False)
        self.rolling.accept(None)
        self._choose_who_serves()
        self._obey_gate()

    def switch(self, in_force: InForce) -> None:
        """What operators have set is this from now on."""
        self.gate.set(in_force)
        since = None if in_force.refresh is None else in_force.refresh.since
        if since != self._members.refreshed_at:
            self._members.refile_all(self.spec.blueprint.digest, since)
            self.rolling.begin_anew()
        self._obey_gate()

    def shut_because(self) -> Refusal:
        """What a claim is told that comes to a pool which is shut."""
        clock = self._services.clock
        return self.gate.refusal(clock.now(), clock.to_wall)

    def frozen_because(self) -> str:
        """Why nothing is made, when the host is frozen; empty when it is not."""
        return self.gate.frozen_because(self._services.clock.to_wall)

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
        since = self._members.refreshed_at
        fresh = since is None or resource.created_at > since
        return Circumstances(emptied, fresh and resource.digest == self.serving.blueprint.digest)

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
        self.making.close()
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
            breaker=self.making.breaker,
            gate=self.gate,
            last_plan=self.last_plan,
            rollout=self.rolling.rollout,
        )

    def snapshot(self) -> Snapshot:
        clock = self._services.clock
        now = clock.now()
        return take_snapshot(
            self.spec,
            self._members,
            now,
            waiting=self.line.wanted,
            breaker=self.making.breaker,
            gate=self.gate,
            rolling=self.rolling.facts(self.spec, now),
            wall=clock.to_wall(now) if self.spec.rollout.windows else 0.0,
        )

    # One pass

    def _pass(self) -> None:
        self._due = None
        if self._closed:
            return
        started = self._services.clock.now()
        try:
            snapshot = self.snapshot()
            self.last_plan = plan(self.spec, snapshot, started)
            self.planned_at = started
            self.rolling.passed(self.last_plan, started, holding=snapshot.holding)
            self._choose_who_serves()
            for command in self.last_plan.commands:
                self._carry_out(command)
        except Exception as error:  # noqa: BLE001
            # A defect in one pool must not stop the others; this pool tries again.
            self._services.tasks.report(error, f"the pass over the pool {self.spec.name}")
            self._wake_at(started + RETRY_DELAY)
            return
        if self.last_plan.wake_at is not None:
            self._wake_at(self.last_plan.wake_at)
        refresh = self.gate.in_force.refresh
        if refresh is not None and refreshed(self._members):
            self._neighbours.refreshed(refresh)
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
                self.making.create(command)
            case Fill():
                self.making.fill()

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
        if command.cause == "drifted":
            self.rolling.went_wrong(resource, f"{resource.id}: {command.reason}")
        self._services.inventory.move(resource, ResourceState.RETIRING, command.reason, now)
        log.info("%s is retired (%s): %s", resource.id, command.cause, command.reason)
        self._dismantler.start(resource)

    def _take(self, resource: Resource, now: float) -> None:
        self._services.inventory.move(resource, ResourceState.CLAIMED, "taken for a claim", now)
        self.touch()

    def _next_fill(self) -> Fill | None:
        now = self._services.clock.now()
        return next(iter(plan(self.spec, self.snapshot(), now).fills), None)

    def _made(self, resource: Resource) -> None:
        if resource.hold is not None:
            self._neighbours.keep(resource)
        elif resource.suspect:
            self._look(resource)  # something changed while it was made: it counts once observed
        else:
            self._services.inventory.judge(resource, Health.HEALTHY)
            self.serve_waiters()
