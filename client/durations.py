"""Durations as the socket API writes them: `90s`, `30m`, `1h30m`, `250ms`. Pure.

The client stands alone, so it has its own few lines for what the daemon's config room also knows.
"""

import re
from datetime import timedelta

Span = str | float | timedelta
"""A duration: text such as `30m`, a number of seconds, or a timedelta."""

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TERM = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")


def seconds(span: Span) -> float:
    """Raises ValueError, with a sentence, for text that is no duration."""
    if isinstance(span, timedelta):
        return span.total_seconds()
    if not isinstance(span, str):
        return float(span)
    terms = _TERM.findall(span)
    if span == "0":
        return 0.0
    if not terms or "".join(number + unit for number, unit in terms) != span:
        raise ValueError(
            f"{span[:64]!r} is no duration; write a number with ms, s, m, h or d, such as 90s or 1h30m"
        )
    return sum(float(number) * _SECONDS[unit] for number, unit in terms)


def text(span: Span) -> str:
    """What goes over the wire; text is checked and then sent as it was written."""
    value = seconds(span)
    if isinstance(span, str):
        return span
    if not 0 <= value < 1e10:
        raise ValueError(f"{value} is no duration; give seconds from 0 on")
    milliseconds = round(value * 1000)
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"
