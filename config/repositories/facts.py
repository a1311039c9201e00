"""What is known of a followed repository, for the status, the metrics and `stoker sync`. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why what the repository holds now does not serve."""

    commit: str
    """Empty when there is no commit to name: the branch or the repository is gone."""
    because: str
    since: float
    """Steady seconds."""


def behind_since(before: "RepositoryFacts", seen: str, applied: str, now: float) -> float | None:
    """Since when there is something that is not applied, now that the ref names `seen`."""
    if seen == applied:
        return None
    if before.behind_since is None or before.seen == applied:
        return now
    return before.behind_since


@dataclass(frozen=True, slots=True)
class RepositoryFacts:
    """Times are steady seconds; None: not in this run."""

    url: str
    """Without credentials."""
    ref: str
    path: str
    followed_at: float = 0.0
    """When it was begun to follow it."""
    seen: str = ""
    """The commit that the ref named when it was last asked."""
    seen_at: float | None = None
    """When it was first seen to name that commit."""
    behind_since: float | None = None
    """When the oldest commit was first seen that is newer than the applied one; see `seen`."""
    asked_at: float | None = None
    """When the repository last answered."""
    refused: Verdict | None = None
    error: str = ""
    """Why it could not be asked the last time; empty when it could."""
    failing_since: float | None = None
    unchanged: int = 0
    """Polls that found what the one before had found."""
    fetched: int = 0
    """Polls that found another commit, good or not."""
    failed: int = 0
    """Polls that the repository did not answer."""
