"""`spec.rollout` of a Pool as pydantic models, exactly as people write it."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from .fields import Duration, Manifest, wrong
from .shares import A_QUARTER, MAX_COUNT, Share, parse_share
from .units import UnitError
from .windows import DAYS, parse_clock, parse_days

MAX_WINDOWS = 32


def _share(value: object) -> object:
    try:
        return parse_share(value)
    except UnitError as error:
        message, _, remedy = str(error).partition("; ")
        raise wrong(message, remedy) from error


ShareOfMin = Annotated[
    Share,
    BeforeValidator(_share),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": MAX_COUNT},
                {"type": "string", "pattern": "^(100|[1-9]?[0-9])%$"},
            ],
            "examples": [1, "25%"],
        }
    ),
]
"""A number of resources, or a percentage of `size.min`."""


def _days(text: str) -> str:
    if parse_days(text) is None:
        raise wrong(
            f"{text[:40]!r} is no day and no range of days",
            f"write one of {', '.join(DAYS)}, or two of them as mon-fri",
        )
    return text


def _clock(text: str) -> str:
    if parse_clock(text) is None:
        raise wrong(
            f"{text[:40]!r} is no time of the day", "write hours and minutes in quotes, as '22:00'"
        )
    return text


_DAY = "|".join(DAYS)
Days = Annotated[
    str,
    AfterValidator(_days),
    WithJsonSchema({"type": "string", "pattern": f"^({_DAY})(-({_DAY}))?$"}),
]
ClockTime = Annotated[
    str,
    AfterValidator(_clock),
    WithJsonSchema({"type": "string", "pattern": "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"}),
]


class Window(Manifest):
    """A time of the week; one that closes at or before its opening is open over midnight."""

    days: Annotated[list[Days], Field(min_length=1, max_length=7)] = Field(
        default_factory=lambda: ["mon-sun"]
    )
    """The days on which it opens; every day when left out."""
    from_: ClockTime = Field(alias="from")
    """When it opens."""
    to: ClockTime
    """When it closes."""
    timezone: Annotated[str, Field(max_length=64)] = "UTC"
    """Whose clock that is: a name of the IANA time zone database, such as Europe/Berlin."""


class Rollout(Manifest):
    """How a changed blueprint replaces what is ready."""

    max_unavailable: ShareOfMin = Field(
        default=A_QUARTER, json_schema_extra={"default": str(A_QUARTER)}
    )
    """How many fewer than size.min may be ready because of it; a percentage is rounded down."""
    max_surge: ShareOfMin = Field(default=A_QUARTER, json_schema_extra={"default": str(A_QUARTER)})
    """How many more than size.min may be ready or on the way; a percentage is rounded up."""
    floor: ShareOfMin | None = None
    """How many it leaves ready in any case; a percentage is rounded up."""
    canary: Annotated[int, Field(ge=0, le=1000)] = 1
    """How many have to prove themselves before the rest is replaced; 0 for none."""
    settle: Duration = 30.0
    """For how long these must stay healthy."""
    progress_deadline: Duration = 600.0
    """How long it goes on without progress before it is paused."""
    windows: Annotated[list[Window], Field(max_length=MAX_WINDOWS)] = Field(
        default_factory=list[Window]
    )
    """When it may happen; always when left out."""
