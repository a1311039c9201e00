"""When those who wait will be served: the estimate in answers, and in `Retry-After`. Pure.

`arrivals` plays the pool's near future once: each slot of the pool is followed from what it does
now to the moment at which its resource can be handed to somebody who waits, and on through the
claims after that. How long a step takes is drawn from what was measured, given how long it has
lasted already. The draws are spread evenly over the measurements instead of being left to chance:
of five claims that began together, the first is expected to end early and the last one late.

Assumptions, and so the ways to be wrong:

- The near future is like the recent past: creations, claims and removals take as long as the last
  ones did, and as large a share of creations fails. Before anything was measured there is no
  estimate, except that a claim's expiry bounds how long it lasts.
- Everybody ahead stays until served, and nobody joins who has priority or an earlier turn.
- Claims are renewed as before: a measured length contains its renewals, and no claim is taken to
  outlast its present expiry.
- A slot that becomes free is used at once for those who wait. What is created to keep `size.min`
  ready keeps to the pool's rate and concurrency. Other pools of the same provider take nothing.
- An open breaker lets nothing begin before it is tried again, and all that wait then.
- Resources in quarantine stay there; somebody has to act on them.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heapify, heapreplace
from itertools import count

MOST_PLAYED = 1000
"""So many arrivals are played; later ones are expected at the pace of the second half of these."""
MOST_FAILING = 0.9
"""A larger share of failures is counted as this one: nothing is estimated to take for ever."""
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True)
class Widths:
    """How long the last few of one step took, in seconds."""

    ordered: tuple[float, ...] = ()
    """Ascending."""

    def left(self, elapsed: float, part: float) -> float:
        """What is left of one that has lasted `elapsed`, at `part` (0 to 1) of what is likely.

        Infinite when nothing was measured. One that lasts longer than all before is expected to
        last half as long again: of such a one nothing is known but that it is slow.
        """
        if not self.ordered:
            return math.inf
        begin = bisect_right(self.ordered, elapsed)
        if begin == len(self.ordered):
            return elapsed / 2
        return self.ordered[begin + int(part * (len(self.ordered) - begin))] - elapsed


@dataclass(frozen=True, slots=True)
class Held:
    """A bound claim, or one on its way to it."""

    elapsed: float
    left: float
    """Until it expires."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """One pool at one moment, as far as it decides when resources become ready. Seconds."""

    waiting: int
    """Resources that are waited for."""
    ready: int = 0
    making: tuple[float, ...] = ()
    """Since when each creation is under way."""
    leaving: tuple[float, ...] = ()
    """Since when each removal is under way."""
    held: tuple[Held, ...] = ()
    weight: int = 1
    """How many slots each of `making`, `leaving` and `held` stands for."""
    room: int = 0
    """Slots that are free; negative when more are taken than `size.max` allows by now."""
    target: int = 0
    rate: float = 5.0
    concurrency: int = 4
    rest: float = 0.0
    """Until the breaker lets creations begin."""
    failing: float = 0.0
    """The share of creations that failed."""
    ttl: float = 1800.0
    """Of a claim that does not say; claims are taken to last so long when none has ended yet."""
    creation: Widths = field(default_factory=Widths)
    removal: Widths = field(default_factory=Widths)
    hold: Widths = field(default_factory=Widths)
    finish: float = 0.0
    """From the hand-over to the bind."""


def arrivals(outlook: Outlook) -> Iterator[float]:
    """When the first, second … resource can be handed over, in seconds from now; without end.

    Infinite from where on nothing can be said.
    """
    yield from (0.0 for _ in range(outlook.ready))
    played: list[float] = []
    for when in _play(outlook):
        yield when
        if math.isinf(when):
            break
        played.append(when)
        if len(played) == MOST_PLAYED:
            half = played[MOST_PLAYED // 2]
            pace = (played[-1] - half) / (MOST_PLAYED - MOST_PLAYED // 2 - 1)
            yield from (played[-1] + pace * further for further in count(1))
    while True:
        yield math.inf


def _play(outlook: Outlook) -> Iterator[float]:
    """As `arrivals`, without what is ready, and only as far as something can be said."""
    draw = _Draws(outlook)
    slots = _slots(outlook, draw)
    missing = max(0, -outlook.room)
    heapify(slots)
    while slots:
        when, weight, reused = slots[0]
        again = when + draw.hold(0.0, outlook.ttl) + draw.removal() + draw.creation()
        heapreplace(slots, (again, weight, True))
        for _ in range(weight):
            if missing and reused:
                missing -= 1
            else:
                yield when


def _slots(outlook: Outlook, draw: "_Draws") -> list[tuple[float, int, bool]]:
    """When each slot has its next resource, how many slots that stands for, and if it was in use."""
    weight = outlook.weight
    slots = [(draw.creation(elapsed), weight, False) for elapsed in outlook.making]
    slots += [(draw.removal(since) + draw.creation(), weight, True) for since in outlook.leaving]
    for held in outlook.held:
        ends = draw.hold(held.elapsed, held.left)
        slots.append((ends + draw.removal() + draw.creation(), weight, True))
    coming = len(outlook.making) * weight
    begun = min(outlook.room, outlook.target + outlook.waiting - outlook.ready - coming)
    for number in range(min(begun, MOST_PLAYED)):
        behind = number - outlook.waiting
        slots.append((draw.begin(behind) + draw.creation(), 1, False))
    return slots


class _Draws:
    """Widths drawn evenly: the golden ratio spreads any number of them over 0 to 1."""

    def __init__(self, outlook: Outlook) -> None:
        self._outlook = outlook
        self._creations, self._removals, self._holds = count(), count(), count()
        self._tries = 1.0 / (1.0 - min(outlook.failing, MOST_FAILING))

    def creation(self, elapsed: float = 0.0) -> float:
        """Tries that may fail first included."""
        widths = self._outlook.creation
        left = widths.left(elapsed, _part(self._creations))
        if math.isinf(left):
            return left
        if not elapsed:
            return left * self._tries
        return left + (self._tries - 1.0) * widths.left(0.0, 0.5)

    def removal(self, elapsed: float = 0.0) -> float:
        """Next to nothing as long as none was measured."""
        left = self._outlook.removal.left(elapsed, _part(self._removals))
        return 0.0 if math.isinf(left) else left

    def hold(self, elapsed: float, most: float) -> float:
        return min(most, self._outlook.hold.left(elapsed, _part(self._holds)))

    def begin(self, behind: int) -> float:
        """When a creation begins of which `behind` others go before it at the pool's pace."""
        outlook = self._outlook
        if behind < 0:
            return outlook.rest
        turns = behind // outlook.concurrency
        paced = behind / outlook.rate
        return outlook.rest + max(paced, turns * outlook.creation.left(0.0, 0.5) if turns else 0.0)


def _part(numbers: "count[int]") -> float:
    return (0.5 + next(numbers) * _GOLDEN) % 1.0
