"""How long the making of resources and parts took lately, in memory and bounded.

Fed by whatever makes parts ahead of demand or for a claim; never on the way of a claim that takes
a warm resource and finishes it in memory. Read by explanations. Pure.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from statistics import median

WHOLE = ""
"""Stands for the whole `prepare` half, where a part's name would be."""
MOST_KEPT = 1024
"""Parts; the one that was made longest ago is forgotten first."""
LAST = 64
"""Samples of each."""


@dataclass(frozen=True, slots=True)
class PartTime:
    """The making of one part, in seconds."""

    total: float
    called: float = 0.0
    """In the driver's `create`."""
    checked: float = 0.0
    """From then until its readiness check passed."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Medians in seconds over the last `samples`, out of `made` since the daemon started."""

    total: float
    called: float
    checked: float
    slowest: float
    samples: int
    made: int


@dataclass(slots=True)
class _Samples:
    made: int = 0
    last: deque[PartTime] = field(default_factory=lambda: deque[PartTime](maxlen=LAST))


class PartTimes:
    """By blueprint digest and part: a changed blueprint begins anew."""

    def __init__(self) -> None:
        self._samples: OrderedDict[tuple[str, str], _Samples] = OrderedDict()

    def add(self, digest: str, part: str, time: PartTime) -> None:
        key = (digest, part)
        known = self._samples.get(key)
        if known is None:
            known = self._samples[key] = _Samples()
            if len(self._samples) > MOST_KEPT:
                self._samples.popitem(last=False)
        else:
            self._samples.move_to_end(key)
        known.made += 1
        known.last.append(time)

    def of(self, digest: str, part: str = WHOLE) -> Measured | None:
        """None when none was made since the daemon started."""
        known = self._samples.get((digest, part))
        if known is None:
            return None
        last = known.last
        return Measured(
            total=median(one.total for one in last),
            called=median(one.called for one in last),
            checked=median(one.checked for one in last),
            slowest=max(one.total for one in last),
            samples=len(last),
            made=known.made,
        )

    def __len__(self) -> int:
        return len(self._samples)
