"""Moments as people read them: RFC 3339 in UTC. Pure."""

from datetime import UTC, datetime


def rfc3339(wall: float) -> str:
    """Epoch seconds to `2026-01-31T12:00:00.250Z` (milliseconds)."""
    moment = datetime.fromtimestamp(wall, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
