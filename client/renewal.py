"""When to renew a claim and when to call it lost. Shared by both clients.

A claim is renewed after a third of its width, so two renewals may fail before it ends. Moments
are seconds of a clock that goes on while the host sleeps; the daemon's `expiresAt` is turned into
one as soon as it is read, so a stepped wall clock changes nothing afterwards.
"""

import time
from dataclasses import dataclass
from datetime import datetime

from .documents import ClaimInfo
from .errors import ClaimLost, Conflict, NotFound, StokerError

SHORTEST = 0.1
"""Seconds between two renewals, however short the claim."""
RETRY = 0.25
"""Seconds after a failed renewal, at first; it doubles up to a third of the width."""
LONGEST_NAP = 10.0
"""Seconds slept at a stretch, so that a host that was suspended notices soon."""


@dataclass(slots=True)
class Renewal:
    """The schedule of one claim. The caller keeps the clock and does the requests."""

    expires: float
    due: float
    _third: float
    _retry: float = RETRY

    @classmethod
    def starting(cls, claim: ClaimInfo, *, now: float, wall: datetime) -> "Renewal":
        renewal = cls(now, now, 0.0)
        renewal.renewed(claim, now=now, wall=wall)
        return renewal

    def renewed(self, claim: ClaimInfo, *, now: float, wall: datetime) -> None:
        """Takes the new expiry from the daemon's answer."""
        width = max(0.0, (claim.expires_at - wall).total_seconds()) if claim.expires_at else 0.0
        self.expires = now + width
        self._third = max(width / 3, SHORTEST)
        self.due = now + self._third
        self._retry = RETRY

    def failed(self, error: StokerError, now: float) -> StokerError | None:
        """The reason when the claim is lost; None when it is worth another attempt."""
        if isinstance(error, NotFound | Conflict) or now >= self.expires:
            return error
        pause = max(error.retry_after or 0.0, self._retry)
        self._retry = min(self._retry * 2, max(self._third, RETRY))
        self.due = min(now + pause, self.expires)
        return None

    def nap(self, now: float) -> float:
        """Seconds to sleep before asking again whether a renewal is due."""
        return min(max(self.due - now, 0.0), LONGEST_NAP)


def boottime() -> float:
    """Seconds that go on while the host is suspended (where the system has such a clock)."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def claim_lost(claim: str, reason: StokerError) -> ClaimLost:
    """What a holder is told; the reason belongs to its `__cause__`."""
    return ClaimLost(
        f"The claim {claim} was over before its holder had finished: {reason.detail}",
        status=reason.status,
        problem={**reason.problem, "code": ClaimLost.default_code},
    )


def unforeseen(error: Exception) -> StokerError:
    """Renewing stopped for a reason that is no answer of the daemon."""
    lost = StokerError(f"It is not renewed any more: {type(error).__name__}: {error}")
    lost.__cause__ = error
    return lost
