"""Durations, rates and sizes as people write them in the config, and back again.

Pure. Called wherever a manifest, a request or a table holds one of them.
"""

import math
import re

MAX_TEXT = 64
"""Characters. Nothing that a person means is longer."""
MAX_SECONDS = 10 * 365 * 86400.0
"""Ten years: a longer duration is a mistake."""
MAX_BYTES = 2**60
MAX_RATE = 1e6
"""Per second."""

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {
    "": 1, "B": 1,
    "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_TERM = re.compile(rf"({_NUMBER})(ms|s|m|h|d)")
_DURATION = re.compile(rf"(?:{_NUMBER}(?:ms|s|m|h|d))+")
_RATE = re.compile(rf"({_NUMBER})/(s|m|h|d)")
_SIZE = re.compile(rf"({_NUMBER}) ?([kKMGT]i?B|B)?")


class UnitError(ValueError):
    """The text is no duration, rate or size; the message says what is accepted."""


def parse_duration(text: str) -> float:
    """Seconds. Takes `90s`, `30m`, `4h`, `7d`, `250ms` and sums such as `1h30m`."""
    if text == "0":
        return 0.0
    if len(text) > MAX_TEXT or not _DURATION.fullmatch(text):
        raise UnitError(
            f"{_shown(text)} is no duration; write a number with ms, s, m, h or d, such as 90s or 1h30m"
        )
    seconds = math.fsum(float(number) * _SECONDS[unit] for number, unit in _TERM.findall(text))
    if seconds > MAX_SECONDS:
        raise UnitError(f"{_shown(text)} is longer than ten years; write a shorter duration")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest exact form for whole seconds (`1h30m`), three digits or so below a minute (`1.25s`)."""
    if not math.isfinite(seconds):
        raise UnitError("a duration must be a finite number of seconds")
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds < 1:
        text = _trimmed(round(seconds * 1000, 3))
        return "0s" if text == "0" else "1s" if text == "1000" else f"{text}ms"
    if seconds < 60:
        return "1m" if round(seconds, 3) >= 60 else f"{_trimmed(round(seconds, 3))}s"
    return _format_whole(seconds)


def _format_whole(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    parts: list[str] = []
    for unit, width in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000)):
        count, milliseconds = divmod(milliseconds, width)
        if count:
            parts.append(f"{count}{unit}")
    if milliseconds:
        parts.append(f"{_trimmed(milliseconds / 1000)}s")
    return "".join(parts)


def parse_rate(text: str) -> float:
    """How many per second. Takes `5/s`, `300/m`, `10/h`, `1/d`."""
    match = _RATE.fullmatch(text) if len(text) <= MAX_TEXT else None
    if match is None:
        raise UnitError(f"{_shown(text)} is no rate; write a number per s, m, h or d, such as 5/s")
    rate = float(match[1]) / _SECONDS[match[2]]
    if not 0 < rate <= MAX_RATE:
        raise UnitError(
            f"{_shown(text)} is out of range; a rate lies above zero and below 1000000/s"
        )
    return rate


def format_rate(rate: float) -> str:
    """The first of per second, minute, hour and day in which the number is whole; else per second."""
    if not math.isfinite(rate) or rate < 0:
        raise UnitError("a rate must be a finite number that is not negative")
    for unit in ("s", "m", "h", "d"):
        count = rate * _SECONDS[unit]
        if count >= 1 and abs(count - round(count)) < 1e-6:
            return f"{round(count)}/{unit}"
    return f"{_trimmed(round(rate, 6))}/s"


def parse_size(text: str) -> int:
    """Bytes. Takes `512MiB`, `2GiB`, `10MB`, `4096B` and a bare number of bytes."""
    match = _SIZE.fullmatch(text) if len(text) <= MAX_TEXT else None
    if match is None:
        raise UnitError(
            f"{_shown(text)} is no size; write a number with KiB, MiB, GiB or TiB (or KB, MB, GB, TB), such as 512MiB"
        )
    size = float(match[1]) * _BYTES[match[2] or ""]
    if size > MAX_BYTES:
        raise UnitError(f"{_shown(text)} is too large; a size is at most 1048576TiB")
    if size != int(size):
        raise UnitError(f"{_shown(text)} is no whole number of bytes; write a smaller unit")
    return int(size)


def format_size(size: int) -> str:
    """Exact where it divides by a binary unit (`512MiB`), else one decimal (`1.5GiB`), else bytes."""
    if size < 0:
        raise UnitError("a size must not be negative")
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        width = _BYTES[unit]
        if size >= width:
            return f"{_trimmed(round(size / width, 1))}{unit}"
    return f"{size}B"


def _trimmed(number: float) -> str:
    return f"{number:f}".rstrip("0").rstrip(".") if number % 1 else str(int(number))


def _shown(text: str) -> str:
    return repr(text if len(text) <= MAX_TEXT else f"{text[:20]}…")
