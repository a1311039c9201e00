"""Until when something is wanted, as callers say it: for so long, or to a moment. Pure.

`90m` counts from now; `2026-01-31T12:00:00Z` is a moment of the clock on the wall, with its offset.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from ..config.units import UnitError, parse_duration

LONGEST = 366 * 86400.0
"""Seconds: what is wanted for longer belongs into the config."""
SYNTAX = "write a duration such as 90m, or a moment such as 2026-01-31T12:00:00Z"
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


class UntilError(ValueError):
    """The text says no end; the message says what is accepted."""


@dataclass(frozen=True, slots=True)
class Until:
    """One of the two is there."""

    seconds: float | None = None
    """From now."""
    wall: float | None = None
    """Unix time."""

    def left(self, wall_now: float) -> float:
        """Seconds from now. Raises `UntilError` for what is past, or too far away."""
        seconds = self.seconds if self.wall is None else self.wall - wall_now
        if seconds is None or seconds <= 0:
            raise UntilError("write a moment that is still to come")
        if seconds > LONGEST:
            raise UntilError("write an end within 366 days")
        return seconds


def parse_until(text: str) -> Until:
    """Raises `UntilError`."""
    if _MOMENT.fullmatch(text):
        try:
            return Until(wall=datetime.fromisoformat(_for_python(text)).timestamp())
        except (ValueError, OverflowError) as error:
            raise UntilError(f"there is no such moment; {SYNTAX}") from error
    try:
        return Until(seconds=parse_duration(text))
    except UnitError as error:
        raise UntilError(SYNTAX) from error


def _for_python(text: str) -> str:
    """RFC 3339 allows small letters and nine digits of a second; Python reads six."""
    text = text.upper()
    whole, dot, rest = text.partition(".")
    if not dot:
        return text
    digits = re.match(r"\d+", rest)
    assert digits is not None
    return f"{whole}.{digits[0][:6]:0<6}{rest[digits.end() :]}"
