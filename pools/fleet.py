"""All pools together: what the daemon talks to.

The fleet opens from the ledger's image, takes over revisions, serves claims and answers questions.
It owns every background task of the room. Everything runs in one event loop, in one thread.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping

from ..config.revision import PoolSpec, Revision
from . import recovery
from .approval_texts import waiting
from .beginnings import Earlier, beginnings
from .claim import Claim, ClaimState
from .desk import ClaimDesk
from .dismantling import Dismantler
from .evidence import Evidence
from .health import RESYNC_EVERY, HealthWatch
from .holding import Holding
from .housekeeping import Housekeeping
from .ids import ResourceId
from .impact import Standing
from .leased import lease_breaches
from .neighbours import Neighbours
from .operating import Operating
from .orphans import OrphanSweep
from .pool import Pool
from .reasons import WaitCode, Waited, WaitingFor, why_waiting
from .resetting import Resetter, Told
from .resource import Resource
from .returns import Returns
from .rollout import Rollout
from .services import Services
from .status import PoolStatus
from .stocktaking import take_stock
from .store import Image, KeptRevision, NewEvent
from .switches import Switch, SwitchKind
from .taking import Taking, applied

log = logging.getLogger(__name__)

CLOSE_WITHIN = 5.0
"""Seconds that each driver may take to close; they close at the same time."""


class Frozen(Exception):
    """The host is frozen: no revision is applied in the place of the one that serves."""


class Fleet:
    def __init__(self, services: Services, *, resync_every: float = RESYNC_EVERY) -> None:
        self._services = services
        self._pools: dict[str, Pool] = {}
        self._recovered = recovery.Recovered()
        self._earlier = Earlier()
        self._started = False
        self.revision: Revision | None = None
        self.dismantler = Dismantler(services, freed=self._freed, over=self._over)
        self.health = HealthWatch(
            services, touch=self._touch, healthy=self._healthy, resync_every=resync_every
        )
        resetter = Resetter(
            services,
            self._pools,
            self.dismantler,
            Told(
                self.health.problem,
                self.health.look_at,
                self._keep,
                self._healthy,
                self._over,
            ),
        )
        self._desk = ClaimDesk(
            services,
            self._pools,
            Returns(services, self._pools, self.dismantler, resetter),
            undeclared=self._undeclared,
            look=self.health.look_at,
        )
        self.claim = self._desk.claim
        self.place_of = self._desk.place_of
        self.usage = services.usage
        self.settled = self._desk.settled
        self.renew = self._desk.renew
        self.release = self._desk.release
        self.find_claim = self._desk.find_claim
        self.live_claims = self._desk.live_claims
        self.ended_claims = self._desk.ended_claims
        self.place_in_line = self._desk.place_in_line
        self.ties = self._desk.ties
        self.approving = self._desk.approving
        self._operating = Operating(services, self._pools)
        self._holding = Holding(services, self.dismantler, touch=self._touch)
        self.operate_pool = self._operating.operate
        self.operate_host = self._operating.operate_host
        self.host = self._operating.host
        self.see_freeze_file = self._operating.see_file
        self.thawed = self._operating.thawed
        self.operate_resource = self._holding.operate
        self.orphans = OrphanSweep(services, resync_every)
        self.evidence = Evidence(
            services,
            self._pools,
            self._desk,
            dismantler=self.dismantler,
            health=self.health,
            waiting_for=self.waiting_for,
        )
        self.housekeeping = Housekeeping(services, self.invariants)

    # Life of the fleet

    async def open(self, image: Image) -> None:
        """Opens the drivers and takes in what the ledger says.

        Nothing is created, handed out, ended or removed before `start`: until a revision was
        applied nobody knows the providers' settings, and in the wrong account all seems absent.
        """
        services = self._services
        for driver in services.drivers.values():
            await driver.open(self.health.changed)
        if image.revision is not None:
            services.store.serves(image.revision.id)
        self._recovered = recovery.recover(services, image)
        self._desk.remember(self._recovered.claims)
        pools = [one for one in self._recovered.switches if one.kind is not SwitchKind.PIN]
        self._operating.remember(pools)
        self._earlier.rollouts = {one.pool: one for one in image.rollouts}
        claims, now = self._recovered.claims.values(), services.clock.now()
        services.usage.restore(claims, image.past, image.spent, now)
        over = (*self._recovered.lost, *image.follow_ups)  # the first of them only by this start
        self.approving.follow_ups.remember((*claims, *over))

    async def start(self) -> None:
        """Goes on where the last run was cut off, and begins what runs for ever.

        Called once, after the first revision was applied.
        """
        recovered, self._recovered = self._recovered, recovery.Recovered()
        start = self._services.tasks.start
        await self._desk.close_books(recovered.lost, recovered.forgotten)
        recovery.restart_leftovers(recovered, self.dismantler)
        await self._holding.start(recovered.held, recovered.stray)
        await self._desk.resume(recovered.bound, recovered.waiting)
        start(self.health.first_look(), "first look")
        start(self.health.patrol(), "patrol")
        start(self.orphans.watch(), "orphan sweep")
        start(self.housekeeping.run(), "housekeeping")
        start(self._desk.ledger_watch.run(), "ledger watch")
        self._started = True
        for pool in self._pools.values():
            pool.wake()

    def recall(self, revision: Revision, *, last: bool = False) -> None:
        """Called before the first `apply`, with a revision that served in an earlier run.

        It says how to finish what was made from it, and what a rollout goes from. `last`: it
        served when that run ended.
        """
        self._earlier.revisions.append(revision)
        self._services.providers.remember(revision)
        if last:
            self._earlier.last = revision

    def rolled_from(self) -> set[str]:
        """The revisions from which rollouts of an earlier run go."""
        return {one.revision for one in self._earlier.rollouts.values()}

    async def apply(
        self, revision: Revision, taking: Taking | None = None, *, ordered: bool = False
    ) -> None:
        """Takes over a revision, live.

        Raises `StoreError` if the ledger refuses, and `Frozen` if another one serves and the host is
        frozen, unless an operator has ordered it; nothing is changed then. Whoever tries again does so
        with the same `taking`: then the audit tells of it once.
        """
        async with self._operating.lock:
            if self.revision is not None and not self.thawed.is_set() and not ordered:
                raise Frozen
            await self._apply(revision, taking or Taking((applied(revision),)))

    async def _apply(self, revision: Revision, taking: Taking) -> None:
        services = self._services
        await services.judge.prepare(revision)
        transaction, now = services.store.transaction(), services.clock.now()
        begun = beginnings(revision, self._pools, self._earlier, services.inventory, now)
        begun.write(transaction)
        since = now if taking.since is None else taking.since
        transaction.put_revision(
            KeptRevision(revision.id, revision.source, since, revision.files, revision.commit)
        )
        taking.write(transaction)
        await services.commit(transaction)
        services.store.serves(revision.id)
        self.revision = revision
        services.providers.declare(revision.providers)
        services.judge.declare(revision)
        services.providers.remember(revision)
        for name, spec in revision.pools.items():
            known = self._pools.get(name)
            if known is None:
                pool = self._new_pool(spec, revision.id, begun.of(name, None))
                self._pools[name] = pool
                pool.retire_unknown()
            else:
                known.respec(spec, revision.id, begun.of(name, known.rolling.rollout))
        for name, pool in self._pools.items():
            if name not in revision.pools:
                pool.undeclare()
        self._earlier.rollouts.clear()  # what goes on is with its pool
        self._adopt_undeclared()
        services.providers.keep(self._digests())
        if self._started:  # filling begins after the daemon is ready
            for pool in self._pools.values():
                pool.wake()

    def _digests(self) -> set[str]:
        """Of the blueprints from which something stands or is made."""
        under_way = [pool.rolling.rollout for pool in self._pools.values()]
        made = {pool.spec.blueprint.digest for pool in self._pools.values()}
        made |= {rollout.previous for rollout in under_way if rollout is not None}
        return made | {resource.digest for resource in self.resources()}

    async def tell(self, event: NewEvent) -> None:
        """Writes down what concerns no pool. Raises `StoreError`."""
        transaction = self._services.store.transaction()
        transaction.add_event(event)
        await self._services.commit(transaction)

    async def close(self, grace: float = 0.0) -> None:
        """Refuses new claims, lets those under way finish within `grace`, leaves resources alone."""
        await self._desk.close(grace)
        for pool in self._pools.values():
            pool.close()
        self._services.timers.close()
        await self._services.tasks.close()
        await self._close_drivers()

    async def _close_drivers(self) -> None:
        """One that hangs or fails must not keep the others, or the ledger, from closing well."""
        closing = [
            asyncio.create_task(driver.close(), name=f"close {driver.name}")
            for driver in self._services.drivers.values()
        ]
        done, hanging = await asyncio.wait(closing, timeout=CLOSE_WITHIN)
        for task in hanging:
            task.cancel()
            log.error("the driver does not %s and is left behind", task.get_name())
        for task in done:
            error = task.exception() if not task.cancelled() else None
            if error is not None:
                self._services.tasks.report(error, f"the task {task.get_name()}")

    # Questions

    def resources(self) -> Iterable[Resource]:
        return iter(self._services.inventory)

    def resource(self, resource_id: ResourceId) -> Resource | None:
        return self._services.inventory.get(resource_id)

    def pools(self) -> list[PoolStatus]:
        return [self._pools[name].status() for name in sorted(self._pools)]

    def pool(self, name: str) -> PoolStatus | None:
        pool = self._pools.get(name)
        return None if pool is None else pool.status()

    def waiting_for(self, claim: Claim, position: int) -> WaitingFor | None:
        """Why the claim is not bound yet; None when it no longer waits."""
        if claim.state is ClaimState.FINISHING:
            which = ", ".join(claim.resources) or "its resource"
            why = f"{which} is being finished with the claim's parameters"
            pool = self._pools.get(claim.pool)
            waiter = None if pool is None else pool.line.get(claim.id)
            if waiter is not None:
                why = f"it has {which}, and waits for {waiter.wants} more for what could not be finished"
            return WaitingFor(WaitCode.FINISHING, why)
        if claim.needs_approval and claim.approval is not None:
            why = waiting(claim.approval, self._services.clock.now())
            return WaitingFor(WaitCode.APPROVAL, why, "approvals")
        pool = self._desk.nearest_pool(claim)
        if claim.state is not ClaimState.PENDING or pool is None:
            return None
        services, wish = self._services, claim.wish
        if wish is not None and wish.select and not (services.ledger_error or pool.gate.paused):
            tally = pool.selector(wish.select).tally()
            if tally.looked_at and tally.matching < wish.count:
                return WaitingFor(WaitCode.NO_MATCH, tally.sentence, "select")
        if wish is not None:
            position = pool.line.wanted_up_to(claim.id)
        known = Waited(
            max(1, position),
            pool.prospects.seconds_to_create,
            services.ledger_error,
            pool.shut_because().message if pool.gate.paused else "",
            pool.frozen_because(),
        )
        return why_waiting(pool.spec, pool.snapshot(), services.clock.now(), known)

    def standing(self) -> Mapping[str, Standing]:
        """What stands of each pool, also before a revision is applied. Looks at every resource."""
        services = self._services

        def creation(name: str) -> float | None:
            pool = self._pools.get(name)
            return None if pool is None else pool.prospects.seconds_to_create

        return take_stock(services.inventory, services.clock.now(), creation)

    def in_force(self) -> Iterator[Switch]:
        """What operators have set, on pools first, the oldest first."""
        yield from self._operating.in_force()
        holds = [one.hold for one in self._services.inventory if one.hold is not None]
        yield from sorted(holds, key=lambda hold: hold.since)

    @property
    def ledger_error(self) -> str:
        return self._services.ledger_error

    def invariants(self) -> list[str]:
        """What must never be true and is; empty unless there is a defect."""
        services, claims = self._services, self._desk.live_claims()
        return [
            *services.inventory.breaches(),
            *services.usage.breaches(claims),
            *lease_breaches(services.inventory, claims),
        ]

    # What the parts tell each other

    def _over(self, claim: Claim) -> None:
        self._desk.over(claim)

    def _touch(self, pool: str) -> None:
        known = self._pools.get(pool)
        if known is None:
            return
        known.touch()

    def _freed(self, name: str, claim: Claim | None, removal: float) -> None:
        pool = self._pools.get(name)
        if pool is not None:
            pool.prospects.freed(removal, claim, self._services.clock.now())
            pool.touch(at_once=len(pool.line) > 0)

    def _drained(self, pool: str) -> None:
        self._pools.pop(pool).close()
        self._services.inventory.forget_pool(pool)

    def _keep(self, resource: Resource) -> None:
        self._holding.keep(resource)

    def _healthy(self, resource: Resource) -> None:
        pool = self._pools.get(resource.pool)
        if pool is not None:
            pool.serve_waiters()
            pool.touch()

    # Pools

    def _new_pool(self, spec: PoolSpec, revision: str, rollout: Rollout | None = None) -> Pool:
        earlier = self._earlier.revisions
        older = [each.pools[spec.name] for each in earlier if spec.name in each.pools]
        neighbours = Neighbours(
            self.dismantler,
            look=self.health.look_at,
            drained=self._drained,
            keep=self._holding.keep,
            refreshed=self._operating.refreshed,
        )
        known = tuple([each.blueprint for each in older])
        pool = Pool(self._services, spec, revision, neighbours, older=known, rollout=rollout)
        self._operating.fit(pool)
        return pool

    def _adopt_undeclared(self) -> None:
        """Resources of pools that the revision no longer knows: they drain."""
        for name in sorted({resource.pool for resource in self._services.inventory}):
            if name not in self._pools:
                self._undeclared(name)

    def _undeclared(self, name: str) -> Pool:
        pool = self._pools[name] = self._new_pool(PoolSpec.undeclared(name), "")
        pool.undeclare()
        return pool
