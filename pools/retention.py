"""How long events stay in the ledger, and how many of the files they are moved to are kept. Pure."""

from dataclasses import dataclass

DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Retention:
    """Set by the host's settings `audit.*`."""

    seconds: float = 90 * DAY
    """Events older than this leave the ledger."""
    events: int = 2_000_000
    """At most so many stay there, however young."""
    files: int = 365
    """At most so many files of old events are kept."""

    @property
    def slack(self) -> float:
        """The ledger may keep events so many seconds longer, or each of them would begin a file."""
        return min(DAY, self.seconds / 10)
