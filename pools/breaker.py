"""Stops a blueprint that keeps failing, probes it, and says why. Pure.

Closed while creations succeed; after `THRESHOLD` failures in a row it opens for a growing time;
then it is half-open: one creation may try, and its outcome closes or opens it again. A provider
that asks for patience (throttled, exhausted) pauses creations without counting as a failure.
"""

from dataclasses import dataclass, replace

from . import backoff

THRESHOLD = 3
FIRST_REST = 1.0
LONGEST_REST = 300.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """The state for one blueprint digest in one pool. Times are steady seconds."""

    failures: int = 0
    """In a row."""
    last_error: str = ""
    until: float = 0.0
    """No creation before this."""

    def failed(self, error: str, now: float, chance: float) -> "Breaker":
        failures = self.failures + 1
        if failures < THRESHOLD:
            return Breaker(failures, error, self.until)
        rest = backoff.delay(failures - THRESHOLD, chance, first=FIRST_REST, cap=LONGEST_REST)
        return Breaker(failures, error, now + rest)

    def asked_to_wait(self, error: str, now: float, after: float) -> "Breaker":
        """A provider throttles or is exhausted: pause, without a failure."""
        return replace(self, last_error=error, until=max(self.until, now + max(after, 0.05)))

    def succeeded(self) -> "Breaker":
        return Breaker()

    def state(self, now: float) -> str:
        """closed | open | half-open"""
        if now < self.until:
            return "open"
        return "half-open" if self.failures >= THRESHOLD else "closed"

    def allowance(self, now: float, under_way: int, wanted: int) -> int:
        """How many of `wanted` creations may begin, with `under_way` not yet finished."""
        match self.state(now):
            case "open":
                return 0
            case "half-open":
                return min(wanted, max(0, 1 - under_way))
            case _:
                return wanted
