"""What callers hold, how often they claimed, and what that costs: kept in step with the claims.

Policies limit it. It is counted when a claim is registered, in the same step in which the policies
were asked, so that two claims that race cannot both take the last place; and it is made anew from
the ledger at a start. Looking something up costs as much as the subject uses different pools, not as
much as there are claims.

A claim that several pools may serve counts in each of them, and once in all together, until one
serves it. What came to nothing was never counted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple, TypeAlias, TypeVar

from .claim import Claim, ClaimState, Counted
from .ids import ClaimId

Subject = TypeVar("Subject", Counted, str)
Pools: TypeAlias = tuple[str, ...]
"""The pools that may serve a claim; one, once it is served."""
SECOND, MINUTE, HOUR, DAY = 1.0, 60.0, 3600.0, 86400.0
WINDOWS = (SECOND, MINUTE, HOUR, DAY)
SLICES = 60
"""A window is counted in so many slices and the one that has begun: it never counts too little, and
at most one slice too long."""
FINEST = SECOND / SLICES
MOST_RECENT = 64
SWEEP_ABOVE = 1000
"""Callers whose past is remembered before it is looked whether they have any of the last day."""

_HOLDING = frozenset({ClaimState.PENDING, ClaimState.FINISHING, ClaimState.BOUND})


class Past(NamedTuple):
    """Claims that are over, as the ledger sums them up: so many of one caller in one second."""

    caller: Counted
    pool: str
    at: float
    """Steady seconds."""
    claims: int


class Spent(NamedTuple):
    """What claims that are over cost a caller on one day."""

    caller: Counted
    pool: str
    day: int
    """Days since 1970, in UTC."""
    cost: float


@lru_cache(maxsize=8192)
def _covers(globs: Pools, pools: Pools) -> bool:
    return any(fnmatchcase(pool, glob) for glob in globs for pool in pools)


class _Held:
    """Resources that somebody holds, by the pools that they may be of."""

    __slots__ = ("by_pools", "total")

    def __init__(self) -> None:
        self.by_pools: dict[Pools, int] = {}
        self.total = 0

    def add(self, pools: Pools, count: int) -> None:
        self.total += count
        now = self.by_pools.get(pools, 0) + count
        if now:
            self.by_pools[pools] = now
        else:
            del self.by_pools[pools]

    def within(self, globs: Pools) -> int:
        if "*" in globs:
            return self.total
        return sum(held for pools, held in self.by_pools.items() if _covers(globs, pools))

    def of(self, pool: str) -> int:
        return sum(held for pools, held in self.by_pools.items() if pool in pools)


class _Window:
    """How many claims there were in the last while."""

    __slots__ = ("oldest", "slices", "total", "width")

    def __init__(self, window: float) -> None:
        self.width = window / SLICES
        self.oldest: int = 0
        self.slices: dict[int, int] = {}
        self.total = 0

    def add(self, at: float, claims: int) -> None:
        number = int(at / self.width)
        now = self.slices.get(number, 0) + claims
        self.total += claims
        if now > 0:
            self.slices[number] = now
            if len(self.slices) > 2 * SLICES:
                self.count(at)
        else:
            self.total -= now
            self.slices.pop(number, None)

    def count(self, now: float) -> int:
        oldest = int(now / self.width) - SLICES
        if oldest != self.oldest:
            self.oldest = oldest
            for number in [number for number in self.slices if number < oldest]:
                self.total -= self.slices.pop(number)
        return self.total


class _Past:
    """What one caller did in some pools."""

    __slots__ = ("_recent", "_windows", "day", "spent")

    def __init__(self) -> None:
        self._windows = {window: _Window(window) for window in WINDOWS}
        self._recent: dict[int, int] = {}
        """By the finest slice: what the windows do not have yet. Most of it nobody ever asks for."""
        self.day = 0
        self.spent = 0.0

    def add(self, at: float, claims: int) -> None:
        number = int(at / FINEST)
        recent = self._recent
        recent[number] = recent.get(number, 0) + claims
        if len(recent) > MOST_RECENT:
            self._fold()

    def count(self, window: float, now: float) -> int:
        self._fold()
        return self._windows[window].count(now)

    def _fold(self) -> None:
        """The middle of a finest slice lies in the same slice of every window."""
        for number, claims in self._recent.items():
            if claims:
                for window in self._windows.values():
                    window.add((number + 0.5) * FINEST, claims)
        self._recent.clear()

    def spend(self, day: int, cost: float) -> None:
        if day > self.day:
            self.day, self.spent = day, 0.0
        if day == self.day:
            self.spent = max(0.0, self.spent + cost)


@dataclass(slots=True)
class _Counted:
    """How a claim is counted, to take it out again."""

    pools: Pools
    count: int
    caller: Counted
    groups: tuple[str, ...]
    labels: tuple[str, ...]
    created_at: float
    ahead: bool = False
    """The vote that lets it pass is not durable yet."""


@dataclass(slots=True)
class Usage:
    _callers: dict[Counted, _Held] = field(default_factory=dict[Counted, _Held])
    _groups: dict[str, _Held] = field(default_factory=dict[str, _Held])
    _labels: dict[str, _Held] = field(default_factory=dict[str, _Held])
    """By `key=value`, and by `key` for any value."""
    _all: _Held = field(default_factory=_Held)
    _counted: dict[ClaimId, _Counted] = field(default_factory=dict[ClaimId, _Counted])
    _past: dict[Counted, dict[Pools, _Past]] = field(
        default_factory=dict[Counted, dict[Pools, _Past]]
    )
    _sweep_at: int = SWEEP_ABOVE

    # What is counted

    def hold(self, claim: Claim, pools: Pools) -> None:
        """The claim begins. Its cost is what it says."""
        self._hold(claim, pools)
        past = self._past_of(claim.claimant.counts_as, pools, claim.created_at)
        past.add(claim.created_at, 1)
        past.spend(claim.spent_day, claim.spent)

    def hold_ahead(self, claim: Claim, pools: Pools) -> None:
        """As `hold`, of a claim whose last vote is being written; `confirm` or `leave` follows."""
        self.hold(claim, pools)
        self._counted[claim.id].ahead = True

    def confirm(self, claim: Claim) -> None:
        """The vote is durable."""
        self._counted[claim.id].ahead = False

    def settle(self, claim: Claim, cost: float) -> None:
        """One pool of several serves it, at this cost."""
        counted = self._counted.get(claim.id)
        if counted is None or counted.pools == (claim.pool,):
            return
        self._undo(claim, counted)
        claim.spent = cost
        self.hold(claim, (claim.pool,))

    def leave(self, claim: Claim) -> None:
        """The claim ends; one that was never bound came to nothing. Repeating it is harmless."""
        counted = self._counted.get(claim.id)
        if counted is None:
            return
        if claim.bound_at is None:
            self._undo(claim, counted)
        else:
            self._drop(claim.id, counted)

    def charge(self, claim: Claim, day: int, cost: float) -> None:
        """A renewal costs so much more; a negative one takes that back."""
        if claim.spent_day != day:
            claim.spent_day, claim.spent = day, 0.0
        claim.spent = max(0.0, claim.spent + cost)
        past = self._past_of(claim.claimant.counts_as, (claim.pool,), claim.created_at)
        past.spend(day, cost)

    def restore(
        self, claims: Iterable[Claim], past: Iterable[Past], spent: Iterable[Spent], now: float
    ) -> None:
        """At a start: from the claims that are not over, and from the sums of the others."""
        for each in past:
            self._past_of(each.caller, (each.pool,), now).add(each.at, each.claims)
        for sum_ in sorted(spent, key=lambda it: it.day):
            self._past_of(sum_.caller, (sum_.pool,), now).spend(sum_.day, sum_.cost)
        for claim in sorted(claims, key=lambda it: it.spent_day):
            pools = pools_of(claim)
            if not claim.may_be_served:
                continue
            if claim.state is ClaimState.ENDING:
                known = self._past_of(claim.claimant.counts_as, pools, now)
                known.add(claim.created_at, 1)
                known.spend(claim.spent_day, claim.spent)
            else:
                self.hold(claim, pools)

    # What is asked

    def active(self, caller: Counted, globs: Pools = ("*",)) -> int:
        held = self._callers.get(caller)
        return 0 if held is None else held.within(globs)

    def active_in(self, caller: Counted, pool: str) -> int:
        held = self._callers.get(caller)
        return 0 if held is None else held.of(pool)

    def active_of_group(self, group: str, globs: Pools) -> int:
        held = self._groups.get(group)
        return 0 if held is None else held.within(globs)

    def active_of_groups(self, groups: Iterable[str]) -> Mapping[str, int]:
        """Of those that hold anything."""
        found = self._groups
        return {group: found[group].total for group in groups if group in found}

    def active_of_label(self, label: str, globs: Pools) -> int:
        """`key=value`; those without the label count as those with an empty value."""
        held = self._labels.get(label)
        found = 0 if held is None else held.within(globs)
        key, _, value = label.partition("=")
        if value:
            return found
        some = self._labels.get(key)
        return found + self._all.within(globs) - (0 if some is None else some.within(globs))

    def claims_within(self, caller: Counted, window: float, globs: Pools, now: float) -> int:
        """In the last `window` seconds, one of `WINDOWS`."""
        past = self._past.get(caller)
        if past is None:
            return 0
        return sum(each.count(window, now) for pools, each in past.items() if _covers(globs, pools))

    def spent_on(self, caller: Counted, day: int, globs: Pools = ("*",)) -> float:
        past = self._past.get(caller)
        if past is None:
            return 0.0
        return sum(
            each.spent
            for pools, each in past.items()
            if each.day == day and each.spent and _covers(globs, pools)
        )

    def breaches(self, claims: Iterable[Claim]) -> list[str]:
        """Whether what is counted is what there is; empty unless there is a defect."""
        fresh: dict[Counted, int] = {}
        for claim in claims:
            if claim.state in _HOLDING and (claim.may_be_served or self._is_ahead(claim)):
                caller = claim.claimant.counts_as
                fresh[caller] = fresh.get(caller, 0) + claim.count
        kept = {caller: held.total for caller, held in self._callers.items()}
        return [] if fresh == kept else [f"the usage says {kept}, and the claims say {fresh}"]

    # Within

    def _is_ahead(self, claim: Claim) -> bool:
        counted = self._counted.get(claim.id)
        return counted is not None and counted.ahead

    def _hold(self, claim: Claim, pools: Pools) -> None:
        who = claim.claimant
        labels = tuple(
            each for key, value in claim.labels.items() for each in (f"{key}={value}", key)
        )
        counted = _Counted(pools, claim.count, who.counts_as, who.groups, labels, claim.created_at)
        self._counted[claim.id] = counted
        self._count(counted, counted.count)

    def _drop(self, claim: ClaimId, counted: _Counted) -> None:
        del self._counted[claim]
        self._count(counted, -counted.count)

    def _undo(self, claim: Claim, counted: _Counted) -> None:
        self._drop(claim.id, counted)
        past = self._past_of(counted.caller, counted.pools, counted.created_at)
        past.add(counted.created_at, -1)
        past.spend(claim.spent_day, -claim.spent)

    def _count(self, counted: _Counted, change: int) -> None:
        pools = counted.pools
        self._all.add(pools, change)
        _change(self._callers, counted.caller, pools, change)
        for group in counted.groups:
            _change(self._groups, group, pools, change)
        for label in counted.labels:
            _change(self._labels, label, pools, change)

    def _past_of(self, caller: Counted, pools: Pools, now: float) -> _Past:
        past = self._past.get(caller)
        if past is None:
            if len(self._past) >= self._sweep_at:
                self._sweep(now)
            past = self._past[caller] = {}
        found = past.get(pools)
        if found is None:
            found = past[pools] = _Past()
        return found

    def _sweep(self, now: float) -> None:
        """Forgets callers who have not claimed for a day."""
        for caller, past in list(self._past.items()):
            if caller in self._callers or any(each.count(DAY, now) for each in past.values()):
                continue
            del self._past[caller]
        self._sweep_at = max(SWEEP_ABOVE, 2 * len(self._past))


def _change(held: dict[Subject, _Held], key: Subject, pools: Pools, change: int) -> None:
    found = held.get(key)
    if found is None:
        found = held[key] = _Held()
    found.add(pools, change)
    if not found.total:
        del held[key]


def pools_of(claim: Claim) -> Pools:
    """Those that may serve it."""
    wish = claim.wish
    waits = claim.state in {ClaimState.PENDING, ClaimState.FINISHING}
    return wish.pools if waits and wish is not None and wish.pools else (claim.pool,)
