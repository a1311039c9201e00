"""What planning sees of a pool, taken from the inventory. Its cost does not grow with the pool."""

from collections.abc import Iterable
from itertools import chain, islice

from ..config.revision import PoolSpec
from .breaker import Breaker
from .gates import Gate
from .inventory import Members
from .lifecycle import LEAVING, ResourceState
from .plan import MOST_RETIRED_AT_ONCE, REPLACE_FROM, Member, Plan, Snapshot
from .resource import Resource
from .status import BreakerStatus, PoolStatus

STAYING = frozenset({ResourceState.QUARANTINED})
"""On the way out, but nobody knows when they will be gone: rolling must not wait for these."""


def take_snapshot(
    spec: PoolSpec,
    members: Members,
    now: float,
    *,
    waiting: int,
    breaker: Breaker,
    gate: Gate,
) -> Snapshot:
    """The pool at `now` (steady seconds)."""
    fresh = sum(1 for r in members.coming.values() if members.up_to_date(r))
    age = spec.lifetime.max_age
    horizon = 0.0 if age is None else now - age * REPLACE_FROM
    beyond = members.ready - (0 if gate.draining else spec.size.min)
    need = min(MOST_RETIRED_AT_ONCE, max(1, beyond))
    return Snapshot(
        occupied=members.occupied,
        current=len(members.current),
        outdated=len(members.outdated),
        coming=fresh + len(members.unverified),
        resetting=members.counts[ResourceState.RESETTING],
        under_way=len(members.coming),
        leaving=sum(members.counts[state] for state in LEAVING - STAYING),
        waiting=waiting,
        held=members.counts[ResourceState.HELD],
        drifted=tuple(map(_member, islice(members.drifted.values(), MOST_RETIRED_AT_ONCE))),
        oldest_current=_oldest(members.current.values(), need, horizon),
        oldest_outdated=_oldest(members.outdated.values(), need, horizon),
        breaker=breaker,
        draining=gate.draining,
        emptied_because=gate.emptied_because,
        paused=gate.paused,
        refresh=gate.refresh is not None,
    )


def take_status(  # noqa: PLR0913 - what a pool knows of itself
    spec: PoolSpec,
    members: Members,
    now: float,
    *,
    revision: str,
    waiting: int,
    breaker: Breaker,
    gate: Gate,
    last_plan: Plan,
) -> PoolStatus:
    """What the pool says of itself at `now` (steady seconds)."""
    return PoolStatus(
        name=spec.name,
        blueprint=spec.blueprint.name,
        digest=spec.blueprint.digest,
        revision=revision,
        labels=spec.labels,
        min=spec.size.min,
        max=spec.size.max,
        ready=members.ready,
        waiting=waiting,
        draining=gate.draining,
        counts=dict(members.counts),
        unverified=len(members.unverified),
        drifted=len(members.drifted),
        outdated=len(members.outdated),
        breaker=BreakerStatus(
            breaker.state(now),
            breaker.failures,
            breaker.last_error,
            breaker.until if breaker.until > now else None,
        ),
        decisions=tuple(command.reason for command in last_plan.commands),
        switch=gate.switch,
        refresh=gate.refresh,
    )


def refreshed(members: Members) -> bool:
    """Whether nothing that was begun before the refresh can be handed out any more."""
    if members.outdated or members.counts[ResourceState.CLAIMED]:
        return False
    rest = chain(members.coming.values(), members.unverified.values(), members.drifted.values())
    return all(map(members.up_to_date, rest))


def _member(resource: Resource) -> Member:
    return Member(resource.id, resource.ready_at or resource.created_at, resource.reason)


def _oldest(resources: Iterable[Resource], need: int, horizon: float) -> tuple[Member, ...]:
    """The first `need`, those beyond them that were ready before `horizon`, and one more."""
    found: list[Member] = []
    for resource in islice(resources, MOST_RETIRED_AT_ONCE):
        found.append(_member(resource))
        if len(found) > need and found[-1].ready_at > horizon:
            break
    return tuple(found)
