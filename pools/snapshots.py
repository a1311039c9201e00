"""What planning sees of a pool, taken from the inventory. Its cost does not grow with the pool."""

from collections.abc import Iterable
from itertools import islice

from ..config.revision import PoolSpec
from .breaker import Breaker
from .inventory import Members
from .lifecycle import LEAVING, ResourceState
from .plan import MOST_RETIRED_AT_ONCE, REPLACE_FROM, Member, Snapshot
from .resource import Resource

STAYING = frozenset({ResourceState.QUARANTINED})
"""On the way out, but nobody knows when they will be gone: rolling must not wait for these."""


def take_snapshot(
    spec: PoolSpec,
    members: Members,
    now: float,
    *,
    waiting: int,
    breaker: Breaker,
    draining: bool,
) -> Snapshot:
    """The pool at `now` (steady seconds)."""
    fresh = sum(1 for r in members.coming.values() if r.digest == spec.blueprint.digest)
    age = spec.lifetime.max_age
    horizon = 0.0 if age is None else now - age * REPLACE_FROM
    beyond = members.ready - (0 if draining else spec.size.min)
    need = min(MOST_RETIRED_AT_ONCE, max(1, beyond))
    return Snapshot(
        occupied=members.occupied,
        current=len(members.current),
        outdated=len(members.outdated),
        coming=fresh + len(members.unverified),
        under_way=len(members.coming),
        leaving=sum(members.counts[state] for state in LEAVING - STAYING),
        waiting=waiting,
        drifted=tuple(map(_member, islice(members.drifted.values(), MOST_RETIRED_AT_ONCE))),
        oldest_current=_oldest(members.current.values(), need, horizon),
        oldest_outdated=_oldest(members.outdated.values(), need, horizon),
        breaker=breaker,
        draining=draining,
    )


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
