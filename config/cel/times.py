"""Durations and timestamps of CEL: read from text, written as text, taken apart. Pure but for zone data."""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from .values import Fault

_MAX_DURATION = timedelta(days=3650)
_DURATION_TERM = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h|d)")
_MICROSECONDS = {
    "ns": 1e-3, "us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6, "h": 3600e6, "d": 86400e6,
}  # fmt: skip


def parse_cel_duration(text: str) -> timedelta:
    """CEL's form, and days. Not cel-python's: its pattern needs exponential time for some texts."""
    sign, body = (text[0], text[1:]) if text[:1] in ("+", "-") else ("+", text)
    terms = _DURATION_TERM.findall(body) if len(body) <= 64 else []
    if body != "0" and (not terms or "".join(map("".join, terms)) != body):
        raise Fault("the text is no duration", "give a number with ms, s, m, h or d, such as 1h30m")
    width = math.fsum(float(number) * _MICROSECONDS[unit] for number, unit in terms)
    if width > _MAX_DURATION / timedelta(microseconds=1):
        raise Fault("the duration is longer than ten years", "give a shorter one")
    return timedelta(microseconds=width if sign == "+" else -width)


_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def parse_timestamp(text: str) -> datetime:
    try:
        if _TIMESTAMP.fullmatch(text):
            return datetime.fromisoformat(text.upper())
    except ValueError:
        pass
    raise Fault("the text is no RFC 3339 time", "give one such as 2030-01-31T12:00:00Z")


def from_seconds(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise Fault("the time is out of range", "give seconds since 1970") from error


_OFFSET = re.compile(r"([+-]?)([0-9]{2}):([0-9]{2})")


@lru_cache(maxsize=64)
def zone_named(name: str) -> tzinfo:
    """Kept, because the data of a zone is read from a file."""
    offset = _OFFSET.fullmatch(name)
    try:
        if offset is None:
            return ZoneInfo(name)
        width = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        return timezone(-width if offset[1] == "-" else width)
    except (ValueError, OSError, LookupError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise Fault(
            "there is no such time zone", "give one such as Europe/Vienna or +01:00"
        ) from error


_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_WEEKEND = 5
"""The weekday of Saturday, counted from Monday."""


def minutes_of(clock: str) -> int:
    """Of a time of day such as `09:30`, from midnight on."""
    found = _CLOCK.fullmatch(clock)
    if found is None:
        raise Fault("the text is no time of day", "give one from 00:00 to 23:59, such as 09:00")
    return int(found[1]) * 60 + int(found[2])


def in_business_hours(
    time: datetime, zone: str, opens: str = "09:00", closes: str = "17:00"
) -> bool:
    """From Monday to Friday, from `opens` until just before `closes`, by the clocks of the zone.

    Hours that end before they begin go past midnight, into the next morning.
    """
    local = time.astimezone(zone_named(zone))
    begin, end = minutes_of(opens), minutes_of(closes)
    minute = local.hour * 60 + local.minute
    if begin <= end:
        return local.weekday() < _WEEKEND and begin <= minute < end
    if minute >= begin:
        return local.weekday() < _WEEKEND
    return minute < end and (local - timedelta(days=1)).weekday() < _WEEKEND


PARTS: Mapping[str, Callable[[datetime], int]] = {
    "getFullYear": lambda time: time.year,
    "getMonth": lambda time: time.month - 1,
    "getDate": lambda time: time.day,
    "getDayOfMonth": lambda time: time.day - 1,
    "getDayOfWeek": lambda time: time.isoweekday() % 7,
    "getDayOfYear": lambda time: time.timetuple().tm_yday - 1,
    "getHours": lambda time: time.hour,
    "getMinutes": lambda time: time.minute,
    "getSeconds": lambda time: time.second,
    "getMilliseconds": lambda time: time.microsecond // 1000,
}
