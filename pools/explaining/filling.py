"""How fast a pool can be filled, and when it is full."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...config.revision import Backfill
from ...config.units import format_rate
from ..part_times import Measured
from .words import plural, span


@dataclass(frozen=True, slots=True)
class ProviderFacts:
    """What a provider lets a pool do. Times are steady seconds."""

    name: str
    calls: int
    """How many calls of it one resource takes."""
    rate: float | None = None
    """Calls per second; None: no limit."""
    patient_until: float = 0.0
    """It throttled: no call before this."""


@dataclass(frozen=True, slots=True)
class Pace:
    per_second: float
    because: str
    """What holds it to that."""

    def __str__(self) -> str:
        return format_rate(round(self.per_second, 3))


def pace_of(
    backfill: Backfill, creation: Measured | None, providers: Sequence[ProviderFacts] = ()
) -> Pace:
    """How many per second can be made in the long run: the narrowest of all limits."""
    paces = [Pace(backfill.rate, "its backfill.rate")]
    if creation is not None and creation.total > 0:
        rate = backfill.concurrency / creation.total
        why = f"its backfill.concurrency of {backfill.concurrency}, at {span(creation.total)} each"
        paces.append(Pace(rate, why))
    for one in providers:
        if one.rate is not None and one.calls:
            each = plural(one.calls, "call")
            why = f"the rate of the provider {one.name}, {each} for each resource"
            paces.append(Pace(one.rate / one.calls, why))
    return min(paces, key=lambda pace: pace.per_second)


def full_in(
    missing: int, backfill: Backfill, creation: Measured | None, pace: Pace, *, rest: float = 0.0
) -> float | None:
    """Seconds until `missing` more are ready, those being made included; None: nobody can tell.

    `rest`: how long nothing may begin. The last one begins when the pace lets it, after a burst,
    and no earlier than the rounds of `concurrency` at once allow.
    """
    if missing <= 0:
        return 0.0
    if creation is None:
        return None
    paced = max(0, missing - backfill.burst) / pace.per_second + creation.total
    rounds = math.ceil(missing / backfill.concurrency) * creation.total
    return rest + max(paced, rounds)
