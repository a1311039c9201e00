"""What a claim may ask for beside any one resource of one pool. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..config.json_types import Json, JsonObject
from .decided import Decided, decided_from_json, decided_to_json
from .resource import nothing

MOST_RESOURCES = 64
"""Of one claim: it is written in one transaction and finished in one go."""
MOST_POOLS = 32
"""Among which one claim may choose."""


@dataclass(slots=True)
class Wish:
    """Kept with the claim, because a restart has to go on with it."""

    count: int = 1
    """How many resources, all or none, and all of one pool."""
    select: str = ""
    """The CEL expression that each of them has to fulfil; empty for none."""
    pools: tuple[str, ...] = ()
    """The pools it may be served by, best first; empty when it named one."""
    labels: JsonObject = field(default_factory=nothing)
    """The labels by which it named the pools, if it did."""
    ttl: float | None = None
    """What it asked for, where the pool that serves it decides what that means."""
    because: str = ""
    """Why it is served by that pool and by these resources, once it is."""
    decisions: Mapping[str, Decided] = field(default_factory=dict[str, Decided])
    """What policies decided for each of several pools, as far as any is about it."""


def wish_to_json(wish: Wish) -> JsonObject:
    """What is no default."""
    found: dict[str, Json] = {}
    if wish.count != 1:
        found["count"] = wish.count
    if wish.select:
        found["select"] = wish.select
    if wish.pools:
        found["pools"] = list(wish.pools)
    if wish.labels:
        found["labels"] = dict(wish.labels)
    if wish.ttl is not None:
        found["ttl"] = wish.ttl
    if wish.because:
        found["because"] = wish.because
    if wish.decisions:
        found["decisions"] = {
            pool: dict(decided_to_json(decided)) for pool, decided in wish.decisions.items()
        }
    return found


def wish_from_json(found: JsonObject) -> Wish:
    """The inverse. Raises KeyError, TypeError or ValueError for what is no wish."""
    count, pools, labels, ttl = (found.get(name) for name in ("count", "pools", "labels", "ttl"))
    decisions = found.get("decisions")
    return Wish(
        count=count if isinstance(count, int) else 1,
        select=str(found.get("select", "")),
        pools=tuple(str(pool) for pool in pools) if isinstance(pools, list) else (),
        labels=labels if isinstance(labels, dict) else nothing(),
        ttl=float(ttl) if isinstance(ttl, int | float) else None,
        because=str(found.get("because", "")),
        decisions={
            pool: decided_from_json(decided)
            for pool, decided in decisions.items()
            if isinstance(decided, dict)
        }
        if isinstance(decisions, dict)
        else {},
    )
