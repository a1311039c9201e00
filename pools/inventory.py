"""The ledger's resources in memory, and every count and queue that is derived from them.

`Inventory` is the only caller of the transition table and the only place that assigns a state or
a health; after each change it files the resource anew. Whatever asks "how many" or "which" asks
here, so counted and claimable can never differ.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, islice

from .ids import ResourceId
from .lifecycle import COMING, OCCUPYING, ResourceState, check_move
from .resource import Health, Resource

MOST_SKIPPED = 256
"""So many places at the front of a list are left empty before it is made shorter."""


class ByAge:
    """Resources in the order in which they became ready, however they come in.

    The order is what `maxAge` and "oldest first" stand on: after a restart, or when a claimant
    leaves, they come in any order. Those taken from the front stay in the list for a while, so that
    taking the oldest of ten thousand does not move the others up.
    """

    __slots__ = ("_head", "_keys", "_resources")

    def __init__(self) -> None:
        self._keys: list[tuple[float, ResourceId]] = []
        self._head = 0
        """Where those that are still there begin."""
        self._resources: dict[ResourceId, Resource] = {}

    def __len__(self) -> int:
        return len(self._resources)

    def __iter__(self) -> Iterator[ResourceId]:
        return (identity for _, identity in islice(self._keys, self._head, None))

    def values(self) -> Iterator[Resource]:
        """Oldest first."""
        return (self._resources[identity] for identity in self)

    def first(self) -> Resource | None:
        return self._resources[self._keys[self._head][1]] if self._resources else None

    def add(self, resource: Resource) -> None:
        if resource.id not in self._resources:
            self._resources[resource.id] = resource
            insort(self._keys, _age(resource), self._head)

    def discard(self, resource: Resource) -> None:
        if self._resources.pop(resource.id, None) is None:
            return
        head, keys = self._head, self._keys
        if keys[head][1] != resource.id:
            del keys[bisect_left(keys, _age(resource), head)]
        elif head < MOST_SKIPPED:
            self._head = head + 1
        else:
            del keys[: head + 1]
            self._head = 0


def _age(resource: Resource) -> tuple[float, ResourceId]:
    """Does not change while a resource is ready."""
    ready_at = resource.created_at if resource.ready_at is None else resource.ready_at
    return ready_at, resource.id


FILED = COMING | {ResourceState.READY}
"""States that have a file of their own beside the count."""
_NONE: dict[ResourceState, int] = dict.fromkeys(ResourceState, 0)


class Members:
    """The resources of one pool, filed by what can be done with them."""

    __slots__ = (
        "coming",
        "counts",
        "current",
        "digest",
        "drifted",
        "old_first",
        "outdated",
        "refreshed_at",
        "resources",
        "unverified",
        "unverified_outdated",
        "watcher",
    )

    def __init__(self, digest: str = "") -> None:
        self.digest = digest
        """The digest that new resources get; ready ones with another are outdated."""
        self.refreshed_at: float | None = None
        """Those begun by then are outdated too: an operator wants new ones."""
        self.old_first = False
        """Outdated ones are handed out before up-to-date ones, which have yet to prove themselves."""
        self.resources: dict[ResourceId, Resource] = {}
        self.counts = _NONE.copy()
        self.current = ByAge()
        """Claimable and up to date, oldest first."""
        self.outdated = ByAge()
        """Claimable, from an earlier blueprint or from before a refresh, oldest first."""
        self.unverified: dict[ResourceId, Resource] = {}
        """Ready by the ledger, not yet observed by this run: not claimable."""
        self.unverified_outdated: set[ResourceId] = set()
        """Those of them that are not up to date."""
        self.drifted: dict[ResourceId, Resource] = {}
        """Ready by state, found different from what was made: not claimable."""
        self.coming: dict[ResourceId, Resource] = {}
        self.watcher: Callable[[Resource], None] | None = None
        """Told of each that becomes claimable, while somebody waits for certain ones."""

    @property
    def ready(self) -> int:
        """How many are claimable."""
        return len(self.current) + len(self.outdated)

    @property
    def occupied(self) -> int:
        """How many of the pool's slots are taken."""
        return len(self.resources)

    def first_claimable(self) -> Resource | None:
        """The one to hand out next: up to date before outdated, then the oldest."""
        if self.old_first:
            return self.outdated.first() or self.current.first()
        return self.current.first() or self.outdated.first()

    def claimable(self) -> Iterator[Resource]:
        """In the order in which they are handed out. Nothing may change meanwhile."""
        kinds = (self.outdated, self.current) if self.old_first else (self.current, self.outdated)
        return chain.from_iterable(kind.values() for kind in kinds)

    def up_to_date(self, resource: Resource) -> bool:
        """Whether it is what would be made now."""
        since = self.refreshed_at
        return resource.digest == self.digest and (since is None or resource.created_at > since)

    def refile_all(self, digest: str, refreshed_at: float | None) -> None:
        """Sorts everything anew after the pool's blueprint changed, or it was refreshed."""
        self.digest = digest
        self.refreshed_at = refreshed_at
        for resource in self.resources.values():
            self.unfile(resource)
            self.file(resource)

    def file(self, resource: Resource) -> None:
        if resource.claimable:
            index = self.current if self.up_to_date(resource) else self.outdated
            index.add(resource)
            if self.watcher is not None:
                self.watcher(resource)
        elif resource.state is ResourceState.READY:
            unknown = resource.health is Health.UNKNOWN
            (self.unverified if unknown else self.drifted)[resource.id] = resource
            if unknown and not self.up_to_date(resource):
                self.unverified_outdated.add(resource.id)
        elif resource.state in COMING:
            self.coming[resource.id] = resource

    def unfile_claimable(self, resource: Resource) -> None:
        """As `unfile`, for what every claim takes."""
        if resource.digest == self.digest and self.refreshed_at is None:
            self.current.discard(resource)
        else:
            (self.current if self.up_to_date(resource) else self.outdated).discard(resource)

    def unfile(self, resource: Resource) -> None:
        self.current.discard(resource)
        self.outdated.discard(resource)
        self.unverified.pop(resource.id, None)
        self.unverified_outdated.discard(resource.id)
        self.drifted.pop(resource.id, None)
        self.coming.pop(resource.id, None)


class Inventory:
    """All resources, by id and by pool."""

    def __init__(self) -> None:
        self._resources: dict[ResourceId, Resource] = {}
        self._pools: dict[str, Members] = {}

    def __len__(self) -> int:
        return len(self._resources)

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._resources.values())

    def ids(self) -> list[ResourceId]:
        return list(self._resources)

    def get(self, resource: ResourceId) -> Resource | None:
        return self._resources.get(resource)

    def members(self, pool: str) -> Members:
        found = self._pools.get(pool)
        if found is None:
            found = self._pools[pool] = Members()
        return found

    def add(self, resource: Resource) -> None:
        """Takes in a new resource, or one that the ledger remembers."""
        if resource.id in self._resources:
            raise ValueError(f"the resource {resource.id} is in the inventory already")
        members = self.members(resource.pool)
        self._resources[resource.id] = resource
        members.resources[resource.id] = resource
        members.counts[resource.state] += 1
        members.file(resource)

    def move(self, resource: Resource, to: ResourceState, reason: str, now: float) -> None:
        """The compare-and-set: raises `IllegalMove` when somebody else was first."""
        check_move(resource.id, resource.state, to)
        members = self._pools[resource.pool]
        members.counts[resource.state] -= 1
        if resource.claimable:
            members.unfile_claimable(resource)
        elif resource.state in FILED:
            members.unfile(resource)
        resource.state = to
        resource.reason = reason
        resource.changed_at = now
        resource.version += 1
        if to is ResourceState.GONE:
            del self._resources[resource.id]
            del members.resources[resource.id]
            return
        members.counts[to] += 1
        if to in FILED:
            members.file(resource)
        elif to is ResourceState.BOUND:
            resource.uses += 1

    def after(self, resource: Resource, to: ResourceState, reason: str, now: float) -> Resource:
        """A copy of the resource as `move` will leave it: to be written down before it is true."""
        check_move(resource.id, resource.state, to)
        return replace(
            resource, state=to, reason=reason, changed_at=now, version=resource.version + 1
        )

    def judge(self, resource: Resource, health: Health, reason: str = "") -> None:
        """Records what was observed of a resource."""
        members = self._pools[resource.pool]
        members.unfile(resource)
        resource.health = health
        if reason:
            resource.reason = reason
        members.file(resource)

    def forget_pool(self, pool: str) -> None:
        """Drops the files of a pool that is empty and no longer declared."""
        members = self._pools.get(pool)
        if members is not None and not members.resources:
            del self._pools[pool]

    def breaches(self) -> list[str]:
        """What is wrong with the files themselves; empty unless there is a defect."""
        found: list[str] = []
        for name, members in self._pools.items():
            counted = _NONE.copy()
            claimable: set[ResourceId] = set()
            for resource in members.resources.values():
                counted[resource.state] += 1
                if resource.claimable:
                    claimable.add(resource.id)
            if counted != members.counts:
                found.append(f"pool {name}: counts {members.counts} but has {counted}")
            filed = set(members.current) | set(members.outdated)
            if filed != claimable or len(filed) != members.ready:
                found.append(
                    f"pool {name}: ready {sorted(filed)} but claimable {sorted(claimable)}"
                )
            if sum(map(counted.__getitem__, OCCUPYING)) != members.occupied:
                found.append(f"pool {name}: a resource that is gone still takes a slot")
        return found
