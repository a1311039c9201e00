"""Which rollouts a revision begins, goes on with and gives up, for all pools. Durable with the revision.

At a start, what the last run left decides: its rollouts, and the revisions that served before.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..config.revision import Revision
from .inventory import Inventory
from .pool import Pool
from .rolling import event
from .rollout import Rollout, Served, begin
from .store import Transaction


@dataclass(frozen=True, slots=True)
class Beginnings:
    """What is written down with the revision, and in force with it."""

    revision: str
    """Its id."""
    begun: Mapping[str, Rollout]
    resumed: Mapping[str, Rollout]
    """By pool: those of an earlier run that go on."""
    over: Sequence[Rollout]
    """Of pools that the revision no longer declares."""

    def of(self, pool: str, now: Rollout | None) -> Rollout | None:
        """The pool's, once the revision is in force; `now`: what it has come to meanwhile."""
        return self.begun.get(pool) or self.resumed.get(pool, now)

    def write(self, transaction: Transaction) -> None:
        """Before the revision itself is put, which drops those that nothing needs any more."""
        for one in self.begun.values():
            transaction.put_rollout(one)
            transaction.add_event(event("started", one, one.reason, self.revision))
        for one in self.over:
            transaction.drop_rollout(one)
            why = "the pool is no longer declared"
            transaction.add_event(event("finished", one, why, self.revision))


@dataclass(slots=True)
class Earlier:
    """What is known of the time before this run."""

    rollouts: dict[str, Rollout] = field(default_factory=dict[str, Rollout])
    revisions: list[Revision] = field(default_factory=list[Revision])
    """From which something stands, or a rollout goes."""
    last: Revision | None = None
    """The one that served last, if another one is to serve now."""

    def served(self, name: str, inventory: Inventory) -> Served | None:
        """What the pool was made from when the last run ended, if another revision served then."""
        last = self.last
        if last is None or name not in last.pools:
            return None
        digest = last.pools[name].blueprint.digest
        members = inventory.members(name).resources.values()
        worked = any(one.digest == digest and one.ready_at is not None for one in members)
        return Served(digest, last.id, worked)


def beginnings(
    revision: Revision,
    pools: Mapping[str, Pool],
    earlier: Earlier,
    inventory: Inventory,
    now: float,
) -> Beginnings:
    begun: dict[str, Rollout] = {}
    resumed: dict[str, Rollout] = {}
    for name, spec in revision.pools.items():
        pool = pools.get(name)
        if pool is None:
            before, served = earlier.rollouts.get(name), earlier.served(name, inventory)
        else:
            before, served = pool.rolling.rollout, None
            if before is None and pool.spec.blueprint.digest != spec.blueprint.digest:
                served = pool.rolling.served(pool.spec.blueprint.digest, pool.revision)
        found = begin(before, served, spec, now)
        if found is not None and found != before:
            begun[name] = found
        elif found is not None and pool is None:
            resumed[name] = found
    known = [*earlier.rollouts.values(), *_under_way(pools.values())]
    over = {one.pool: one for one in known if one.pool not in revision.pools}
    return Beginnings(revision.id, begun, resumed, tuple(over.values()))


def _under_way(pools: Iterable[Pool]) -> Iterable[Rollout]:
    return (pool.rolling.rollout for pool in pools if pool.rolling.rollout is not None)
