"""What stands of each pool, for the impact of a revision. Not on the path of a claim: it looks at all."""

from collections import defaultdict
from collections.abc import Callable, Iterable

from .impact import Standing
from .lifecycle import COMING, SERVING, ResourceState
from .resource import Health, Resource


def take_stock(
    resources: Iterable[Resource], now: float, creation: Callable[[str], float | None]
) -> dict[str, Standing]:
    """By pool. `creation` tells how many seconds one of a pool takes to make, if that was measured."""
    found: defaultdict[str, list[Resource]] = defaultdict(list)
    for resource in resources:
        found[resource.pool].append(resource)
    return {pool: _of(members, now, creation(pool)) for pool, members in found.items()}


def _of(members: list[Resource], now: float, creation: float | None) -> Standing:
    ready: defaultdict[str, list[float]] = defaultdict(list)
    coming = bound = held = 0
    for one in members:
        if one.state is ResourceState.READY:
            if one.health is not Health.DRIFTED:  # those go anyway
                since = one.created_at if one.ready_at is None else one.ready_at
                ready[one.digest].append(max(0.0, now - since))
        elif one.state in COMING or one.state is ResourceState.RESETTING:
            coming += 1
        elif one.state in SERVING:
            bound += 1
        elif one.state is ResourceState.HELD:
            held += 1
    ages = {digest: tuple(sorted(each)) for digest, each in ready.items()}
    return Standing(ages, coming, bound, held, creation)
