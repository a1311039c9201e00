"""How well waits are estimated: what claims were told while they waited, beside what came of it.

Every waiting claim is looked at twice a second, as somebody who watches it would, and once when it
is answered that it waits. The error of a look is how far the moment that it promised lies from the
moment at which the claim was bound, in parts of the whole wait. Only waiters that were served
count, and only looks of the same life of the daemon: no estimate foresees a crash.
"""

from dataclasses import dataclass, field
from itertools import chain
from statistics import median

from stoker.pools.claim import Claim, ClaimState
from stoker.pools.ids import ClaimId
from tests.rig import Run


@dataclass(frozen=True)
class Errors:
    """In parts of the whole wait."""

    first: tuple[float, ...] = ()
    """Of the first look at each waiter."""
    every: tuple[tuple[float, ...], ...] = ()
    """Of all looks at each waiter."""
    waits: tuple[float, ...] = ()

    def __add__(self, other: "Errors") -> "Errors":
        return Errors(self.first + other.first, self.every + other.every, self.waits + other.waits)

    @property
    def at_first(self) -> float:
        return median(self.first) if self.first else 0.0

    @property
    def on_the_way(self) -> float:
        """The median over all looks."""
        looks = list(chain.from_iterable(self.every))
        return median(looks) if looks else 0.0


@dataclass
class Estimates:
    """Of one story."""

    run: Run | None = None
    _looks: dict[ClaimId, list[tuple[float, float]]] = field(
        default_factory=dict[ClaimId, list[tuple[float, float]]]
    )
    """When it was looked at, and the moment that was promised."""
    _waiting: dict[ClaimId, Claim] = field(default_factory=dict[ClaimId, Claim])
    errors: Errors = field(default_factory=Errors)

    def look_at(self, run: Run, claim: Claim, now: float) -> None:
        if run is not self.run:
            self.run = run
            self._looks.clear()
            self._waiting.clear()
        _, eta = run.fleet.place_in_line(claim)
        if eta is not None:
            self._waiting[claim.id] = claim
            self._looks.setdefault(claim.id, []).append((now, now + eta))

    def look(self, run: Run, now: float) -> None:
        for claim in list(run.fleet.live_claims()):
            if claim.state is ClaimState.PENDING:
                self.look_at(run, claim, now)
        if run is not self.run:
            return
        for claim in list(self._waiting.values()):
            if claim.state is not ClaimState.PENDING:
                self._judge(claim)

    def _judge(self, claim: Claim) -> None:
        if claim.state is ClaimState.FINISHING:
            return
        looks = self._looks.pop(claim.id)
        del self._waiting[claim.id]
        if claim.bound_at is None or claim.bound_at <= claim.created_at:
            return
        whole = claim.bound_at - claim.created_at
        errors = tuple(abs(promised - claim.bound_at) / whole for _, promised in looks)
        self.errors += Errors(errors[:1], (errors,), (whole,))
