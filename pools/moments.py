"""Moments as people read them: RFC 3339 in UTC. Pure."""

from datetime import UTC, datetime


def rfc3339(wall: float) -> str:
    """Epoch seconds to `2026-01-31T12:00:00.250Z`, to the nearest millisecond."""
    seconds, milliseconds = divmod(round(wall * 1000), 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z"
