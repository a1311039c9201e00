"""The values that expressions compute with: plain Python ones, each of exactly one kind.

JSON values stay what they are; two kinds more exist while an expression runs: timestamps (aware
`datetime`) and durations (`timedelta`). `to_json` turns a result into JSON, within bounds.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import NoneType
from typing import cast

from ..json_types import Json
from ..units import format_duration

MAX_RESULT = 64 * 1024
"""Characters in the strings of a result, with 8 for each number and element."""
MAX_VALUE_DEPTH = 64


class Kind(StrEnum):
    """What a value is. `DYN` is for what is not known before it runs; no value is of it."""

    NULL = "null"
    BOOL = "bool"
    INT = "int"
    DOUBLE = "double"
    STRING = "string"
    LIST = "list"
    MAP = "map"
    TIMESTAMP = "timestamp"
    DURATION = "duration"
    DYN = "dyn"


class Fault(Exception):
    """An operation that cannot be done. The evaluation says where, as an ExpressionError."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


_KINDS: dict[type, Kind] = {
    str: Kind.STRING, int: Kind.INT, bool: Kind.BOOL, float: Kind.DOUBLE, NoneType: Kind.NULL,
    dict: Kind.MAP, list: Kind.LIST, tuple: Kind.LIST, datetime: Kind.TIMESTAMP,
    timedelta: Kind.DURATION,
}  # fmt: skip


def kind_of(value: object) -> Kind:
    """The kind of a value; faults for what is neither JSON nor a time."""
    kind = _KINDS.get(type(value))
    if kind is not None:
        return kind
    if isinstance(value, Mapping):
        return Kind.MAP
    for known, kind in _KINDS.items():  # a StrEnum, an IntEnum, a subclass of dict
        if isinstance(value, known):
            return kind
    raise Fault("a value here is no JSON value")


def types_of(kind: Kind) -> list[type]:
    """The Python types that are surely of a kind; DYN stands for every kind."""
    return [known for known, its in _KINDS.items() if kind in (its, Kind.DYN)]


def with_article(kind: Kind) -> str:
    """`a string`, `an int`, `null`."""
    if kind is Kind.NULL:
        return "null"
    return f"an {kind}" if kind is Kind.INT else f"a {kind}"


def number_text(value: float) -> str:
    """A whole double without its `.0`, as CEL's `string()` does; others in Python's shortest form."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def format_timestamp(value: datetime) -> str:
    """RFC 3339 in UTC, with a fraction only where there is one."""
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")


@dataclass(slots=True)
class _Copying:
    """How much room is left for a copy, and what it is called in errors."""

    what: str
    room: int
    depth: int

    def take(self, size: int) -> None:
        self.room -= size
        if self.room < 0:
            raise Fault(f"{self.what} is larger than {MAX_RESULT} characters", "make it smaller")


def to_json(value: object, *, what: str = "the result", depth: int = MAX_VALUE_DEPTH) -> Json:
    """A copy of the value in plain JSON; faults when it is too large, too deep or not JSON."""
    return _to_json(value, _Copying(what, MAX_RESULT, depth), depth)


def _to_json(value: object, copying: _Copying, depth: int) -> Json:
    kind = kind_of(value)
    copying.take(len(cast("str", value)) if kind is Kind.STRING else 8)
    if depth == 0:
        raise Fault(f"{copying.what} is nested more than {copying.depth} deep", "make it flatter")
    match kind:
        case Kind.LIST:
            items = cast("list[object]", value)
            return [_to_json(item, copying, depth - 1) for item in items]
        case Kind.MAP:
            members = cast("Mapping[object, object]", value)
            return {
                _key(key, copying): _to_json(item, copying, depth - 1)
                for key, item in members.items()
            }
        case Kind.TIMESTAMP:
            return format_timestamp(cast("datetime", value))
        case Kind.DURATION:
            return format_duration(cast("timedelta", value).total_seconds())
        case Kind.DOUBLE if not math.isfinite(cast("float", value)):
            raise Fault(f"{copying.what} is no finite number", "use a finite one")
        case _:
            return cast("Json", value)


def _key(key: object, copying: _Copying) -> str:
    if not isinstance(key, str):
        raise Fault("a key of a map is no string", "write string(…) around it")
    copying.take(len(key))
    return key
