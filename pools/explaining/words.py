"""How numbers, times and lists are said."""

import math
from collections.abc import Sequence

from ...config.units import format_duration
from ..switches import Switch, said_by

_SMALL = 0.01
_MOST_LISTED = 5


def span(seconds: float) -> str:
    """A duration as a person would say it: `0.41ms`, `310ms`, `4.2s`, `3m20s`, `2h5m`, `3d4h`."""
    if seconds < 0:
        return "0s"
    if seconds < _SMALL:
        return f"{seconds * 1000:.2f}ms"
    if seconds < 1:
        return format_duration(round(seconds, 3))
    if seconds < 60:
        return format_duration(round(seconds, 1))
    coarse = 1 if seconds < 3600 else 60 if seconds < 86400 else 3600
    return format_duration(math.floor(seconds / coarse + 0.5) * coarse)


def within(seconds: float) -> str:
    """`in 12s`, or `now` for what is due."""
    return f"in {span(seconds)}" if seconds > 0 else "now"


def ordered(switch: Switch, now: float) -> str:
    """Who set it, how long it lasts, and why: `by ada, for 29m more, because the disk is replaced`."""
    left = "" if switch.until is None else f", for {span(switch.until - now)} more"
    because = f", because: {quoted(switch.reason)}" if switch.reason else ""
    return f"by {said_by(switch)}{left}{because}"


def plural(count: int, noun: str, many: str = "") -> str:
    """`1 claim`, `2 claims`."""
    return f"{count} {noun if count == 1 else many or noun + 's'}"


def be(count: int) -> str:
    return "is" if count == 1 else "are"


def ordinal(number: int) -> str:
    """`1st`, `2nd`, `11th`."""
    ending = "th" if number % 100 in {11, 12, 13} else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"{number}{ending or 'th'}"


def listed(words: Sequence[str], most: int = _MOST_LISTED) -> str:
    """`a, b and c`; of many, the first ones and how many more."""
    shown = list(words[:most])
    if len(words) > most:
        shown.append(f"{len(words) - most} more")
    if len(shown) < 2:
        return "".join(shown)
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def sentence(text: str) -> str:
    """Begins with a capital and ends with a full stop, whatever a driver or a caller wrote."""
    text = stopped(text)
    return text[:1].upper() + text[1:]


def stopped(text: str) -> str:
    """The same for what begins with a name."""
    text = text.strip()
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."


def quoted(text: str) -> str:
    """A message of somebody else within a sentence: without its own full stop."""
    return text.strip().rstrip(".")
