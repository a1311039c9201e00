"""The functions and methods of CEL, by the kinds they take."""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol, cast

import re2

from ..units import format_duration
from .operations import Meter, Overload, Run, without_meter
from .times import (
    PARTS,
    from_seconds,
    in_business_hours,
    parse_cel_duration,
    parse_timestamp,
    zone_named,
)
from .values import Fault, Kind, format_timestamp, number_text

MAX_PATTERN = 1024
"""Characters of a regular expression."""
_PATTERN_MEMORY = 1024 * 1024
"""Bytes. RE2's own 8 MiB let some short patterns compile for 200 ms; this for 5 ms at most."""
_REFUSED_PATTERN = 500
"""Steps that a pattern costs which RE2 refuses, so that many of them do not add up."""
_PER_STEP = 100
"""Characters times instructions of the pattern's program: where RE2's automaton outgrows its memory,
each character costs some 11 ns for each instruction."""
_INT64 = 2**63


class Pattern(Protocol):
    """A compiled regular expression."""

    @property
    def programsize(self) -> int: ...

    def search(self, text: str, /) -> object | None: ...


def _in_string(meter: Meter, text: str, part: str) -> bool:
    meter.spend(len(text) // 64)
    return part in text


def compiled_pattern(pattern: str) -> Pattern:
    """A regular expression that needs linear time; faults for what RE2 does not take."""
    if len(pattern) > MAX_PATTERN:
        raise Fault(f"a pattern has more than {MAX_PATTERN} characters", "make it shorter")
    options = re2.Options()
    options.log_errors = False  # else RE2 writes to stderr
    options.max_mem = _PATTERN_MEMORY
    try:
        return cast("Pattern", re2.compile(pattern, options))  # type: ignore[no-untyped-call]
    except (re2.error, UnicodeError):  # pyright: ignore[reportUnknownMemberType]
        raise Fault(
            "the pattern is no regular expression that RE2 takes",
            "see github.com/google/re2/wiki/Syntax",
        ) from None


def _matches(meter: Meter, text: str, pattern: str) -> bool:
    meter.spend(len(text) // 16 + len(pattern))
    try:
        compiled = compiled_pattern(pattern)
    except Fault:
        meter.spend(_REFUSED_PATTERN)
        raise
    return found_in(meter, text, compiled)


def found_in(meter: Meter, text: str, compiled: Pattern) -> bool:
    """Whether the pattern matches somewhere in the text."""
    meter.spend(len(text) * compiled.programsize // _PER_STEP)
    try:
        return compiled.search(text) is not None
    except UnicodeError as error:
        raise Fault("the text is no valid Unicode", "remove the lone surrogate") from error


def _to_int(_: Meter, value: float | str) -> int:
    """Doubles are cut towards zero."""
    if isinstance(value, str) and not re.fullmatch(r"[+-]?[0-9]{1,20}", value):
        raise Fault("the text is no whole number", "give digits only, within 64 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise Fault("the number is not finite", "check for a division by zero")
    result = int(value)
    if not -_INT64 <= result < _INT64:
        raise Fault("the number needs more than 64 bits", "use a smaller one")
    return result


def _to_double(_: Meter, value: int | str) -> float:
    if isinstance(value, str) and not re.fullmatch(
        r"[+-]?[0-9.]{1,400}(?:[eE][+-]?[0-9]{1,4})?", value
    ):
        raise Fault("the text is no number", "give digits, such as 1.5")
    try:
        return float(value)
    except (ValueError, OverflowError) as error:
        raise Fault("the text is no number", "give digits, such as 1.5") from error


def _to_bool(_: Meter, value: str) -> bool:
    if value in ("true", "false"):
        return value == "true"
    raise Fault("the text is neither true nor false", "give one of them")


def _bool_text(value: bool) -> str:  # noqa: FBT001 - called with one value
    return "true" if value else "false"


def _duration_text(value: timedelta) -> str:
    return format_duration(value.total_seconds())


def _seconds_of(value: datetime) -> int:
    return math.floor(value.timestamp())


def _itself(value: object) -> object:
    return value


def _size(_: Meter, value: str | list[object]) -> int:
    return len(value)


def _getter(part: Callable[[datetime], int]) -> Run:
    def run(_: Meter, value: datetime, zone: str = "") -> int:
        try:
            return part(value.astimezone(zone_named(zone) if zone else UTC))
        except OverflowError as error:
            raise Fault("the time is out of range", "use a later or earlier one") from error

    return run


def _whole(width: timedelta) -> Run:
    def run(_: Meter, value: timedelta) -> int:
        return int(value / width)

    return run


def _milliseconds(value: timedelta) -> int:
    """What is left beside the whole seconds."""
    return int(math.fmod(value / timedelta(milliseconds=1), 1000))


_S, _I, _D, _B = Kind.STRING, Kind.INT, Kind.DOUBLE, Kind.BOOL
_T, _W, _L, _M, _ANY = Kind.TIMESTAMP, Kind.DURATION, Kind.LIST, Kind.MAP, Kind.DYN

FUNCTIONS: Mapping[str, tuple[Overload, ...]] = {
    "size": tuple(Overload((kind,), _I, _size) for kind in (_S, _L, _M)),
    "string": (
        Overload((_S,), _S, without_meter(str)),
        Overload((_I,), _S, without_meter(str)),
        Overload((_D,), _S, without_meter(number_text)),
        Overload((_B,), _S, without_meter(_bool_text)),
        Overload((_T,), _S, without_meter(format_timestamp)),
        Overload((_W,), _S, without_meter(_duration_text)),
    ),
    "int": (
        *(Overload((kind,), _I, _to_int) for kind in (_I, _D, _S)),
        Overload((_T,), _I, without_meter(_seconds_of)),
    ),
    "double": tuple(Overload((kind,), _D, _to_double) for kind in (_I, _D, _S)),
    "bool": (Overload((_B,), _B, without_meter(bool)), Overload((_S,), _B, _to_bool)),
    "duration": (
        Overload((_S,), _W, without_meter(parse_cel_duration)),
        Overload((_W,), _W, without_meter(_itself)),
    ),
    "timestamp": (
        Overload((_S,), _T, without_meter(parse_timestamp)),
        Overload((_I,), _T, without_meter(from_seconds)),
        Overload((_T,), _T, without_meter(_itself)),
    ),
    "dyn": (Overload((_ANY,), _ANY, without_meter(_itself)),),
    "matches": (Overload((_S, _S), _B, _matches),),
}
"""Called as `name(…)`."""

METHODS: Mapping[str, tuple[Overload, ...]] = {
    "size": FUNCTIONS["size"],
    "contains": (Overload((_S, _S), _B, _in_string),),
    "startsWith": (Overload((_S, _S), _B, without_meter(str.startswith)),),
    "endsWith": (Overload((_S, _S), _B, without_meter(str.endswith)),),
    "matches": FUNCTIONS["matches"],
    "inBusinessHours": (
        Overload((_T, _S), _B, without_meter(in_business_hours)),
        Overload((_T, _S, _S, _S), _B, without_meter(in_business_hours)),
    ),
    **{
        name: (Overload((_T,), _I, _getter(part)), Overload((_T, _S), _I, _getter(part)))
        for name, part in PARTS.items()
        if name not in {"getHours", "getMinutes", "getSeconds", "getMilliseconds"}
    },
    **{
        name: (
            Overload((_T,), _I, _getter(PARTS[name])),
            Overload((_T, _S), _I, _getter(PARTS[name])),
            Overload((_W,), _I, of_duration),
        )
        for name, of_duration in (
            ("getHours", _whole(timedelta(hours=1))),
            ("getMinutes", _whole(timedelta(minutes=1))),
            ("getSeconds", _whole(timedelta(seconds=1))),
            ("getMilliseconds", without_meter(_milliseconds)),
        )
    },
}
"""Called as `target.name(…)`."""

MACROS = ("all", "exists", "exists_one", "filter", "map")
"""Methods that take a name and an expression."""
