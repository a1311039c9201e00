"""What planning sees of a pool, taken from the inventory. Its cost does not grow with the pool."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain, islice

from ..config.revision import PoolSpec
from .breaker import Breaker
from .gates import Gate
from .inventory import Members
from .lifecycle import LEAVING, ResourceState
from .plan import MOST_RETIRED_AT_ONCE, REPLACE_FROM, Member, Plan, Snapshot
from .resource import Health, Resource
from .rollout import Rollout, Stage, Underway, canaries
from .status import BreakerStatus, PoolStatus, RolloutStatus

STAYING = frozenset({ResourceState.QUARANTINED})
"""On the way out, but nobody knows when they will be gone: rolling must not wait for these."""


def take_snapshot(  # noqa: PLR0913 - what a pool knows of itself
    spec: PoolSpec,
    members: Members,
    now: float,
    *,
    waiting: int,
    breaker: Breaker,
    gate: Gate,
    rolling: Underway | None = None,
    wall: float = 0.0,
) -> Snapshot:
    """The pool at `now` (steady seconds), which is `wall` for people."""
    made = sum(map(members.up_to_date, members.coming.values()))
    unseen_outdated = len(members.unverified_outdated)
    age = spec.lifetime.max_age
    horizon = 0.0 if age is None else now - age * REPLACE_FROM
    beyond = members.ready - (0 if gate.draining else spec.size.min)
    need = min(MOST_RETIRED_AT_ONCE, max(1, beyond))
    return Snapshot(
        occupied=members.occupied,
        current=len(members.current),
        outdated=len(members.outdated),
        coming=made + len(members.unverified) - unseen_outdated,
        coming_outdated=len(members.coming) - made + unseen_outdated,
        resetting=members.counts[ResourceState.RESETTING],
        under_way=made,
        under_way_outdated=len(members.coming) - made,
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
        frozen=gate.frozen,
        refresh=gate.in_force.refresh is not None,
        rolling=rolling,
        wall=wall,
    )


def take_underway(spec: PoolSpec, members: Members, under: Underway, now: float) -> Underway:
    """`under` with what is seen at `now`. Looks at no more than was made since it began."""
    in_use, asked = 0, under.rollout.stage is Stage.CANARY or not members.outdated
    for resource in reversed(members.resources.values()) if asked else ():
        if (resource.ready_at or resource.created_at) < under.rollout.started_at:
            break  # they stand in the order in which they were made, or read from the ledger
        well = resource.state is ResourceState.BOUND and resource.health is not Health.DRIFTED
        # It was finished for a claim, and that was verified: more than waiting would show.
        in_use += well and members.up_to_date(resource)
    proven, proves_at = in_use, None
    for resource in islice(members.current.values(), canaries(spec)):
        due = (resource.ready_at or resource.created_at) + spec.rollout.settle
        if due > now:
            proves_at = due
            break
        proven += 1
    return replace(under, proven=proven, proves_at=proves_at, in_use=in_use)


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
    rollout: Rollout | None = None,
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
        paused=gate.paused,
        paused_at=gate.paused_at,
        switch=gate.switch,
        refresh=gate.in_force.refresh,
        rollout=None
        if rollout is None
        else RolloutStatus(
            rollout.stage,
            rollout.digest,
            rollout.previous,
            rollout.started_at,
            rollout.since,
            rollout.reason,
            last_plan.waits,
            last_plan.opens_at,
        ),
        frozen=bool(gate.frozen),
        freeze=gate.in_force.freeze,
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
