"""Collects what `explaining` needs to know of the pools, at one moment. Reads, and changes nothing.

Nothing here is called on the way of a claim. The API asks, and adds what the ledger remembers.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Protocol

from ..config.revision import Blueprint, PoolSpec
from .claim import Claim, ClaimState
from .dismantling import Dismantler
from .expiry import ends_at
from .explaining.filling import ProviderFacts
from .explaining.of_blueprints import BlueprintFacts
from .explaining.of_claims import ClaimFacts
from .explaining.of_resources import ResourceFacts
from .explaining.pool_facts import PoolFacts
from .explaining.shape import Present
from .health import HealthWatch
from .ids import ClaimId, ResourceId
from .inventory import Members
from .pool import Pool
from .reasons import WaitingFor
from .resource import Resource
from .services import Services
from .store import Event

MOST_LOOKED_THROUGH = 10_000
"""Ready ones in which a resource's place is looked for."""


class Claims(Protocol):
    """The desk, as far as it is asked here."""

    def live_claims(self) -> Iterable[Claim]: ...

    def place_in_line(self, claim: Claim) -> tuple[int, float | None]: ...

    def nearest_pool(self, claim: Claim) -> Pool | None: ...


class Evidence:
    def __init__(
        self,
        services: Services,
        pools: Mapping[str, Pool],
        desk: Claims,
        *,
        dismantler: Dismantler,
        health: HealthWatch,
        waiting_for: Callable[[Claim, int], WaitingFor | None],
    ) -> None:
        self._services = services
        self._pools = pools
        self._desk = desk
        self._dismantler = dismantler
        self._health = health
        self._waiting_for = waiting_for

    def present(self) -> Present:
        clock = self._services.clock
        now = clock.now()
        return Present(now, clock.to_wall(now) - now)

    # What there is, for those who mistyped a name

    def pools(self) -> list[str]:
        return sorted(self._pools)

    def blueprints(self) -> list[str]:
        names = {pool.spec.blueprint.name for pool in self._pools.values()}
        return sorted(name for name in names if name)

    def claims(self) -> Iterable[str]:
        return (claim.id for claim in self._desk.live_claims())

    def resources(self) -> Iterable[str]:
        return (resource.id for resource in self._services.inventory)

    # The subjects

    def of_pool(self, name: str) -> PoolFacts | None:
        pool = self._pools.get(name)
        if pool is None:
            return None
        services = self._services
        members = services.inventory.members(name)
        bound = [
            claim
            for claim in self._desk.live_claims()
            if claim.pool == name and claim.state is ClaimState.BOUND
        ]
        holders = Counter(claim.claimant.user or f"uid {claim.claimant.uid}" for claim in bound)
        ends = [
            (ends_at(claim.expires_at, claim.terms), claim.id)
            for claim in bound
            if claim.expires_at is not None
        ]
        next_end = min(ends, default=None)
        waiting = [waiter.claim.created_at for waiter in pool.line]
        stuck = [
            one for one in self._dismantler.stuck.values() if one.resource in members.resources
        ]
        return PoolFacts(
            spec=pool.spec,
            status=pool.status(),
            snapshot=pool.snapshot(),
            present=self.present(),
            plan=pool.last_plan,
            planned_at=pool.planned_at,
            breaker=pool.making.breaker,
            providers=self._providers(pool.spec.blueprint),
            creation=services.part_times.of(pool.spec.blueprint.digest),
            holders=holders,
            next_end=None if next_end is None else (next_end[1], next_end[0]),
            oldest=_oldest(members),
            waiting_since=min(waiting, default=None),
            stuck=tuple(stuck),
            ledger_error=services.ledger_error,
        )

    def of_claim(self, claim: Claim, events: Iterable[Event]) -> ClaimFacts:
        position, eta = 0, None
        if claim.state is ClaimState.PENDING:
            position, eta = self._desk.place_in_line(claim)
        pool = self._desk.nearest_pool(claim)
        waiter = None if pool is None else pool.line.get(claim.id)
        waiting = claim.state is ClaimState.PENDING
        held = claim.resources[0] if claim.resources else ResourceId("")
        resource = self._services.inventory.get(held)
        return ClaimFacts(
            claim=claim,
            present=self.present(),
            events=tuple(events),
            position=position,
            eta=eta,
            pool=self.of_pool(pool.spec.name) if pool is not None and waiting else None,
            resource=resource,
            waiting_for=self._waiting_for(claim, position),
            standing=None if waiter is None else waiter.standing,
        )

    def of_resource(self, name: str, events: Iterable[Event]) -> ResourceFacts:
        """Of one that is gone, there are the events alone."""
        resource = self._services.inventory.get(ResourceId(name))
        present = self.present()
        if resource is None:
            return ResourceFacts(name, present, events=tuple(events))
        pool = self._pools.get(resource.pool)
        known = {
            claim.id: claim for claim in self._desk.live_claims() if claim.id == resource.claim
        }
        return ResourceFacts(
            name,
            present,
            resource=resource,
            events=tuple(events),
            digest="" if pool is None else pool.spec.blueprint.digest,
            max_age=None if pool is None else pool.spec.lifetime.max_age,
            place=_place(resource, self._services.inventory.members(resource.pool)),
            claim=known.get(resource.claim or ClaimId("")),
            stuck=self._dismantler.stuck.get(resource.id),
            observed_every=self._health.resync_every,
            probed_every=self._health.probe_every,
        )

    def spec_of(self, pool: str) -> PoolSpec | None:
        """As which the pool is declared."""
        known = self._pools.get(pool)
        return None if known is None else known.serving

    def of_blueprint(self, name: str) -> BlueprintFacts | None:
        """Of a blueprint that no pool is made from, nothing is kept."""
        using = [pool for pool in self._pools.values() if pool.spec.blueprint.name == name]
        if not name or not using:
            return None
        services, blueprint = self._services, using[0].spec.blueprint
        parts = (*blueprint.prepare, *blueprint.finish)
        times = {part.name: services.part_times.of(blueprint.digest, part.name) for part in parts}
        return BlueprintFacts(
            blueprint=blueprint,
            pools=tuple(sorted(pool.spec.name for pool in using)),
            pure=frozenset(part.driver for part in parts if services.drivers[part.driver].pure),
            times={part: time for part, time in times.items() if time is not None},
            whole=services.part_times.of(blueprint.digest),
        )

    def _providers(self, blueprint: Blueprint) -> tuple[ProviderFacts, ...]:
        services = self._services
        calls: Counter[tuple[str, str]] = Counter()
        for part in blueprint.prepare:
            if not services.drivers[part.driver].pure:
                calls[part.provider, part.driver] += 1
        found: list[ProviderFacts] = []
        for (name, driver), count in sorted(calls.items()):
            provider = services.providers.get(name, driver)
            rate = provider.spec.limits.rate
            found.append(ProviderFacts(name, count, rate, provider.patient_until))
        return tuple(found)


def _oldest(members: Members) -> tuple[ResourceId, float] | None:
    first = [one for one in (members.current.first(), members.outdated.first()) if one is not None]
    ages = [(one.created_at if one.ready_at is None else one.ready_at, one.id) for one in first]
    found = min(ages, default=None)
    return None if found is None else (found[1], found[0])


def _place(resource: Resource, members: Members) -> int:
    """1 for the next to be handed out; 0 when it is not claimable."""
    if not resource.claimable:
        return 0
    order = members.claimable()
    for place, known in enumerate(islice(order, MOST_LOOKED_THROUGH), start=1):
        if known is resource:
            return place
    return 0
