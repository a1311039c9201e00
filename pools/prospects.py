"""What a pool has measured of itself, and the waits that it estimates from that by `forecast`."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from statistics import fmean, median
from typing import Protocol

from ..config.revision import PoolSpec
from .breaker import Breaker
from .claim import Claim
from .expiry import ends_at
from .forecast import Held, Outlook, Widths, arrivals
from .gates import Gate
from .ids import ClaimId
from .inventory import Members
from .lifecycle import COMING, ResourceState
from .resource import Resource
from .waiting import Line

KEPT = 64
"""Measurements of each kind: enough to tell what is likely, few enough to follow a change."""
TRIES_KEPT = 16
FRESH = 0.25
"""Seconds for which one look at the pool's future answers all who ask."""
MOST_SLOTS = 500
"""In a larger pool each slot that is looked at stands for several."""
_HELD = frozenset({ResourceState.CLAIMED, ResourceState.FINISHING, ResourceState.BOUND})
_LEAVING = frozenset(
    {
        *(ResourceState.FAILED, ResourceState.RETIRING, ResourceState.ENDING),
        ResourceState.RESETTING,  # which frees its slot, or is ready: no later than that
    }
)

Claims = Mapping[ClaimId, Claim]
"""All that are not over."""


class Asked(Protocol):
    """The pool that is asked about."""

    spec: PoolSpec
    line: Line
    gate: Gate

    @property
    def breaker(self) -> Breaker: ...


class Recent:
    """The last few widths of one kind, in seconds."""

    __slots__ = ("_ordered", "_widths")

    def __init__(self) -> None:
        self._widths: deque[float] = deque(maxlen=KEPT)
        self._ordered: Widths | None = Widths()

    def add(self, seconds: float) -> None:
        self._widths.append(seconds)
        self._ordered = None

    def __bool__(self) -> bool:
        return bool(self._widths)

    @property
    def widths(self) -> Widths:
        if self._ordered is None:
            self._ordered = Widths(tuple(sorted(self._widths)))
        return self._ordered


class Prospects:
    """Of one pool. Costs nothing until somebody waits and asks."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._creations, self._removals, self._holds = Recent(), Recent(), Recent()
        self._finishes = Recent()
        self._tries: deque[bool] = deque(maxlen=TRIES_KEPT)
        self._future: Iterator[float] = iter(())
        self._arrivals: list[float] = []
        self._looked_at = -math.inf
        self._finish = 0.0
        self._sight: tuple[int, ...] = ()
        """What was counted when it was looked at; other counts mean another future."""

    # What is measured

    def made(self, seconds: float) -> None:
        self._creations.add(seconds)
        self._tries.append(True)

    def failed(self) -> None:
        self._tries.append(False)

    def freed(self, removal: float, claim: Claim | None, now: float) -> None:
        """A slot is free: removing took so long, and `claim` is what ended with its resource."""
        self._removals.add(removal)
        if claim is not None and claim.bound_at is not None:
            self._holds.add(max(0.0, now - removal - claim.bound_at))
            self._finishes.add(claim.timing.finish)

    @property
    def seconds_to_create(self) -> float | None:
        ordered = self._creations.widths.ordered
        return fmean(ordered) if ordered else None

    # What is estimated

    def wait(self, wanted: int, pool: Asked, claims: Claims, now: float) -> float | None:
        """Seconds until the `wanted`-th resource from now is bound; None when that is unknown."""
        if pool.gate.shut or (pool.gate.frozen and wanted > self._members.ready):
            return None  # nobody knows when it will be open, or make one, again
        members = self._members
        sight = (pool.line.wanted, *members.counts.values(), len(members.unverified))
        if sight != self._sight or not 0.0 <= now - self._looked_at <= FRESH:
            outlook = self.outlook(pool, claims, now)
            self._future, self._arrivals = arrivals(outlook), []
            self._looked_at, self._finish, self._sight = now, outlook.finish, sight
        self._arrivals += islice(self._future, max(0, wanted - len(self._arrivals)))
        when = self._arrivals[wanted - 1] + self._finish
        return None if math.isinf(when) else max(0.0, when - (now - self._looked_at))

    def outlook(self, pool: Asked, claims: Claims, now: float) -> Outlook:
        spec, members = pool.spec, self._members
        weight = max(1, -(-members.occupied // MOST_SLOTS))
        looked_at = list(islice(members.resources.values(), 0, None, weight))
        held = [(one, _claim_of(one, claims)) for one in looked_at if one.state in _HELD]
        bound = [claim for _, claim in held if claim is not None and claim.bound_at is not None]
        finishes = [claim.timing.finish for claim in bound] or self._finishes.widths.ordered
        return Outlook(
            waiting=pool.line.wanted,
            ready=members.ready + len(members.unverified),
            making=tuple(now - one.created_at for one in looked_at if one.state in COMING),
            leaving=tuple(_since(one, now) for one in looked_at if one.state in _LEAVING),
            held=tuple(_held(claim, spec, now) for _, claim in held),
            weight=weight,
            room=spec.size.max - members.occupied,
            target=spec.size.min,
            rate=spec.backfill.rate,
            concurrency=spec.backfill.concurrency,
            rest=max(0.0, pool.breaker.until - now),
            failing=1.0 - fmean(self._tries) if self._tries else 0.0,
            ttl=spec.lifetime.ttl,
            creation=self._creations.widths if self._creations else _made_before(looked_at),
            removal=self._removals.widths,
            hold=self._holds.widths,
            finish=median(finishes) if finishes else 0.0,
        )


def _made_before(resources: Iterable[Resource]) -> Widths:
    """How long it took to make those that are there: all that is known after a restart."""
    took = [one.ready_at - one.created_at for one in resources if one.ready_at is not None]
    return Widths(tuple(sorted(max(0.0, seconds) for seconds in took[:KEPT])))


def _since(resource: Resource, now: float) -> float:
    return now - (resource.changed_at or resource.created_at)


def _claim_of(resource: Resource, claims: Claims) -> Claim | None:
    return None if resource.claim is None else claims.get(resource.claim)


def _held(claim: Claim | None, spec: PoolSpec, now: float) -> Held:
    """One that is being finished has not begun yet; one that nobody knows has a usual claim."""
    if claim is None:
        return Held(0.0, spec.lifetime.ttl)
    if claim.bound_at is None or claim.expires_at is None:
        return Held(0.0, claim.ttl)
    return Held(
        max(0.0, now - claim.bound_at), max(0.0, ends_at(claim.expires_at, claim.terms) - now)
    )
