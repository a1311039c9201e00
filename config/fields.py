"""What manifests are made of: their base, and the types of their fields."""

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from .units import UnitError, parse_duration, parse_rate

MAX_NAME = 40
_RESERVED = frozenset({"true", "false", "null", "in"})
"""Words that an expression cannot use as a member's name."""


def _named(
    pattern: str, longest: int, remedy: str, reserved: frozenset[str] = frozenset()
) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def check(name: str) -> str:
        if len(name) > longest or not compiled.fullmatch(name) or name in reserved:
            raise wrong(f"{name[:80]!r} cannot be a name here", remedy)
        return name

    return check


def wrong(message: str, remedy: str) -> PydanticCustomError:
    """What a validator of a manifest raises: told as a `Problem` by `mistakes`."""
    return PydanticCustomError("stoker", "{message}", {"message": message, "remedy": remedy})


_DASHED = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_WORD = r"[a-z][a-z0-9_]*"
_OUTPUT = r"[A-Za-z][A-Za-z0-9_]*"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?"

Name = Annotated[
    str,
    AfterValidator(
        _named(_DASHED, MAX_NAME, f"use up to {MAX_NAME} of a-z, 0-9 and '-', such as web-sandbox")
    ),
    WithJsonSchema({"type": "string", "pattern": f"^{_DASHED}$", "maxLength": MAX_NAME}),
]
"""Of a document. It stands in the ids of resources, in folder names and in metrics."""
PartName = Annotated[
    str,
    AfterValidator(
        _named(
            _WORD,
            MAX_NAME,
            "use a-z, 0-9 and '_', because expressions read it: web_server",
            _RESERVED,
        )
    ),
    WithJsonSchema({"type": "string", "pattern": f"^{_WORD}$", "maxLength": MAX_NAME}),
]
"""Of a part. Expressions read it as `parts.NAME`, and a dash would be a minus there."""
OutputName = Annotated[
    str,
    AfterValidator(_named(_OUTPUT, MAX_NAME, "use letters, digits and '_', such as url")),
    WithJsonSchema({"type": "string", "pattern": f"^{_OUTPUT}$", "maxLength": MAX_NAME}),
]
LabelKey = Annotated[
    str, AfterValidator(_named(_LABEL, 63, "use up to 63 letters, digits, '.', '_', '/' and '-'"))
]
LabelValue = Annotated[str, Field(max_length=63)]


def _read_with(parse: Callable[[str], float], example: str) -> BeforeValidator:
    def read(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, str):
            shown = "nothing" if value is None else f"{value!r}"[:40]
            raise wrong(f"expected {example}, got {shown}", "write a number with its unit")
        try:
            return parse(value)
        except UnitError as error:
            message, _, remedy = str(error).partition("; ")
            raise wrong(message, remedy) from error

    return BeforeValidator(read)


def _positive(seconds: float) -> float:
    if seconds <= 0:
        raise wrong("expected a duration above zero, got 0", "write a longer one, such as 30s")
    return seconds


Duration = Annotated[
    float,
    _read_with(parse_duration, "a duration such as 30m"),
    AfterValidator(_positive),
    WithJsonSchema(
        {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$", "examples": ["30m"]}
    ),
]
"""Seconds, from `90s`, `30m`, `4h`, `7d`. Above zero."""
Rate = Annotated[
    float,
    _read_with(parse_rate, "a rate such as 5/s"),
    WithJsonSchema(
        {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?/(s|m|h|d)$", "examples": ["5/s"]}
    ),
]
"""Per second, from `5/s`, `300/m`."""
Count = Annotated[int, Field(ge=1, le=100_000)]


class Manifest(BaseModel):
    """The base of all: unknown keys are refused, nothing is coerced, nothing changes."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, alias_generator=to_camel, validate_by_name=False
    )
