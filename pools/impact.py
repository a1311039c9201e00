"""What taking over a revision does to what stands, and whether that is too much. Pure.

The one code path of `stoker plan` and of the daemon: `impact` compares two revisions over what
stands of each pool, and `objections` says what of it must be accepted by somebody first.

Destroyed counts what goes without another one standing in its place: ready ones and those being made of
a removed pool, ready ones beyond a smaller `size.min`, and ready ones that a shorter `lifetime.maxAge` makes
too old at once. Rolled ones are replaced as the pool rolls, and are not counted. A resource with a
claim is never destroyed by a revision: of a removed pool it lives out its claim, and nothing follows it;
therefore a revision that removes such a pool is always objected to.

There is no rule of its own for the share of all resources: where no pool loses more than a share of its
own, all together lose no more than that share of all.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ..config.blueprint_changes import why_outdated
from ..config.changes import FieldChange, changes
from ..config.revision import PoolSpec, Revision
from .rollout import budget, canaries

MAX_DESTROY = 0.3
"""The share of a pool that a revision may destroy unless it is accepted."""

TINY = 1e-9
"""3 of 10 are no more than 30 %, however the quotient is rounded."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands of one pool, without what is on its way out."""

    ready: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    """By the digest that they were made from: for how many seconds each has been ready."""
    coming: int = 0
    """Being made, or brought back after a claim."""
    bound: int = 0
    """With a claim."""
    held: int = 0
    """Kept for inspection by an operator."""
    creation: float | None = None
    """Seconds that it takes to make one, as measured; None when nobody knows."""

    @property
    def ready_count(self) -> int:
        return sum(map(len, self.ready.values()))

    @property
    def all(self) -> int:
        return self.ready_count + self.coming + self.bound + self.held


NOTHING = Standing()


class Fate(StrEnum):
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class PoolImpact:
    """What happens to one pool. Counts are resources, costs are per hour."""

    pool: str
    fate: Fate
    settings: tuple[FieldChange, ...] = ()
    outdated_because: tuple[str, ...] = ()
    """Empty when nothing is made in another way."""
    standing: int = 0
    """All that stand now."""
    created: int = 0
    rolled: int = 0
    roll_takes: float = 0.0
    """Seconds that it takes at least to replace them, as the pool's rollout and rate allow."""
    roll_in: tuple[str, ...] = ()
    """The windows in which it may happen; empty when it may always."""
    drained: int = 0
    """Live out their claims, and are not replaced."""
    destroyed: int = 0
    lost: float = 0.0
    """From 0 to 1: the share of the pool that is destroyed, by what stands or by what is declared to be
    kept ready, whichever is larger: a pool that happens to be short of resources is no less protected."""
    size: tuple[int, int] = (0, 0)
    """`size.min` before and after."""
    cost: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Impact:
    """What happens to all of them. Pools to which nothing happens are left out."""

    pools: tuple[PoolImpact, ...]
    providers: tuple[str, ...] = ()
    """Those that are new, gone or different."""
    cost: tuple[float, float] = (0.0, 0.0)
    """Per hour, of all pools, before and after."""
    none_left: bool = False
    """There were pools, and no pool is declared any more."""

    def __bool__(self) -> bool:
        return bool(self.pools or self.providers)

    @property
    def created(self) -> int:
        return sum(one.created for one in self.pools)

    @property
    def rolled(self) -> int:
        return sum(one.rolled for one in self.pools)

    @property
    def drained(self) -> int:
        return sum(one.drained for one in self.pools)

    @property
    def destroyed(self) -> int:
        return sum(one.destroyed for one in self.pools)


def as_declared(revision: Revision | None) -> dict[str, Standing]:
    """What would stand if each pool were full and nothing were claimed."""
    pools: Mapping[str, PoolSpec] = {} if revision is None else revision.pools
    return {
        name: Standing({spec.blueprint.digest: (0.0,) * spec.size.min})
        for name, spec in pools.items()
    }


def impact(before: Revision | None, after: Revision, standing: Mapping[str, Standing]) -> Impact:
    """From `before`, which serves (None: nobody knows what did), to `after`, over what stands."""
    changed = changes(before, after)
    old: Mapping[str, PoolSpec] = {} if before is None else before.pools
    stands = {name for name, one in standing.items() if one.all} if before is None else set[str]()
    names = sorted(old.keys() | after.pools.keys() | stands)
    found: list[PoolImpact] = []
    costs: list[tuple[float, float]] = []
    for name in names:
        one = _of_pool(
            name, old.get(name), after.pools.get(name), standing.get(name, NOTHING),
            changed.changed.get(name, ()),
        )  # fmt: skip
        costs.append(one.cost)
        if one.fate is not Fate.CHANGED or one.settings or one.outdated_because:
            found.append(one)
    return Impact(
        pools=tuple(found),
        providers=changed.providers,
        cost=(sum(was for was, _ in costs), sum(now for _, now in costs)),
        none_left=bool(names) and not after.pools,
    )


def _of_pool(
    name: str,
    before: PoolSpec | None,
    after: PoolSpec | None,
    standing: Standing,
    settings: tuple[FieldChange, ...],
) -> PoolImpact:
    if after is None:
        return _removed(name, before, standing)
    because = () if before is None else why_outdated(before.blueprint, after.blueprint)
    expired, surplus = _going(after, standing)
    if before is not None:  # what goes anyway is not the work of this revision
        expired_anyway, surplus_anyway = _going(before, standing)
        expired, surplus = max(0, expired - expired_anyway), max(0, surplus - surplus_anyway)
    destroyed = expired + surplus
    outdated = sum(
        len(ages) for digest, ages in standing.ready.items() if digest != after.blueprint.digest
    )
    left = standing.ready_count - destroyed
    rolled = min(max(0, outdated - surplus), left) if because else 0
    missing = max(0, after.size.min - left - standing.coming)
    if before is not None:
        missing -= max(0, before.size.min - standing.ready_count - standing.coming)
    was = 0 if before is None else before.size.min
    price = 0.0 if before is None else before.blueprint.cost.per_hour
    declared = (was - after.size.min) / was if was > after.size.min else 0.0
    return PoolImpact(
        pool=name,
        fate=Fate.ADDED if before is None else Fate.CHANGED,
        settings=settings,
        outdated_because=because,
        standing=standing.all,
        created=max(0, missing),
        rolled=rolled,
        roll_takes=_takes(after, rolled, standing.creation),
        roll_in=tuple(map(str, after.rollout.windows)) if because else (),
        destroyed=destroyed,
        lost=max(declared, destroyed / standing.all if destroyed else 0.0),
        size=(was, after.size.min),
        cost=(
            standing.all * price,
            after.size.min * after.blueprint.cost.per_hour + standing.bound * price,
        ),
    )


def _removed(name: str, before: PoolSpec | None, standing: Standing) -> PoolImpact:
    was = 0 if before is None else before.size.min
    price = 0.0 if before is None else before.blueprint.cost.per_hour
    destroyed = standing.ready_count + standing.coming
    return PoolImpact(
        pool=name,
        fate=Fate.REMOVED,
        standing=standing.all,
        drained=standing.bound,
        destroyed=destroyed,
        lost=1.0 if was or destroyed else 0.0,
        size=(was, 0),
        cost=(standing.all * price, standing.bound * price),
    )


def _going(spec: PoolSpec, standing: Standing) -> tuple[int, int]:
    """How many ready ones are too old for it, and how many of the others are more than it wants."""
    age = spec.lifetime.max_age
    expired = 0
    if age is not None:
        expired = sum(one >= age for ages in standing.ready.values() for one in ages)
    return expired, max(0, standing.ready_count - expired - spec.size.min)


def _takes(spec: PoolSpec, count: int, creation: float | None) -> float:
    """Seconds to replace so many: canaries first, which settle, and then the rest.

    As the rate lets them begin, and as many at a time as may be made and as the rollout's budget lets be
    away or too many. A claim that proves a canary sooner is not foreseen.
    """
    if not count:
        return 0.0
    limits, each = budget(spec), creation or 0.0
    tried = min(canaries(spec), count)
    rest, burst = count - tried, spec.backfill.burst
    width = max(1, min(spec.backfill.concurrency, limits.surge + spec.size.min - limits.least))
    takes = 0.0
    if tried:
        takes = math.ceil(tried / spec.backfill.concurrency) * each + spec.rollout.settle
    if rest:
        begun = max(0, rest - burst) / spec.backfill.rate if spec.backfill.rate else 0.0
        takes += max(begun + each, math.ceil(rest / width) * each)
    return takes


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a revision needs to be accepted by somebody."""

    pool: str
    """Empty when it is about all of them."""
    because: str


def objections(
    found: Impact, limit: float, accepted: frozenset[str] = frozenset()
) -> tuple[Objection, ...]:
    """What must be accepted first; `accepted`: the pools of which anything was accepted already."""
    gone = {one.pool for one in found.pools if one.fate is Fate.REMOVED}
    objected: list[Objection] = []
    if found.none_left and not gone <= accepted:
        objected.append(Objection("", "no pool is declared any more, so all would be emptied"))
    for one in found.pools:
        because = _too_much(one, limit)
        if because and one.pool not in accepted:
            objected.append(Objection(one.pool, because))
    return tuple(objected)


def _too_much(one: PoolImpact, limit: float) -> str:
    removed = one.fate is Fate.REMOVED
    if not (one.lost > limit + TINY or (removed and one.drained)):
        return ""
    if removed:
        lives = f", and {one.drained} with a claim would not be replaced" if one.drained else ""
        return f"the pool {one.pool} would be removed: {one.destroyed} resources destroyed{lives}"
    of_standing = one.destroyed / one.standing if one.standing else 0.0
    if of_standing >= one.lost:
        what = f"{one.destroyed} of the {one.standing} resources of the pool {one.pool} would be destroyed"
    else:
        what = f"the pool {one.pool} would keep {one.size[1]} ready instead of {one.size[0]}"
    return f"{what}: {one.lost:.0%}, and at most {limit:.0%} may go unasked"


def accepted_by(before: Revision | None, after: Revision) -> frozenset[str]:
    """The pools that the files of `after` accept to lose, by an annotation that is new in them.

    An annotation that `before` has word for word has done its work: it accepts nothing any more. Words
    that name no pool are free, so that a date makes the same names new.
    """
    known: Iterable[str] = () if before is None else before.accepts
    new = after.accepts.difference(known)
    return frozenset(word for text in new for word in text.replace(",", " ").split())
