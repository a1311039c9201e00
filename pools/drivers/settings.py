"""What the settings models of the drivers share: their base, durations, sizes, file modes.

Settings reach a driver as rendered JSON; each call turns them into its model with
`read_settings`, so a value that only rendering could reveal as wrong is refused in a sentence.
"""

import re
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ...config.json_types import JsonObject
from ...config.units import MAX_SECONDS, parse_duration, parse_size
from ..driver import Rejected
from ..ids import PartId


class Settings(BaseModel):
    """A driver's or provider's `with`."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _seconds(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


def _bytes(value: object) -> object:
    return parse_size(value) if isinstance(value, str) else value


def _octal(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"0?[0-7]{3}", value):
        return value
    raise ValueError('a mode is three octal digits in quotes, such as "0750"')


Duration = Annotated[float, BeforeValidator(_seconds), Field(gt=0, le=MAX_SECONDS)]
"""Written `90s` or `1h30m`, or a number of seconds. Read as seconds."""
ByteCount = Annotated[int, BeforeValidator(_bytes), Field(gt=0)]
"""Written `512KiB`, or a number of bytes. Read as bytes."""
Mode = Annotated[str, BeforeValidator(_octal)]
"""Written `"0750"`; `int(mode, 8)` is the number. Never set-uid, set-gid or sticky."""

AnySettings = TypeVar("AnySettings", bound=BaseModel)


def read_settings(model: type[AnySettings], settings: JsonObject, whose: str) -> AnySettings:
    """The settings as their model. Raises `Rejected` naming every wrong key, never a value."""
    try:
        return model.model_validate(dict(settings))
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False, include_context=False)
        wrong = "; ".join(
            f"{'.'.join(str(step) for step in fault['loc']) or 'with'}: {fault['msg']}"
            for fault in faults
        )
        raise Rejected(f"the settings of {whose} cannot be used: {wrong}") from None


_PART_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\.[A-Za-z0-9][A-Za-z0-9_-]*")


def is_part_id(name: str) -> bool:
    """Whether a name found outside has the form of a part's id (`web-k3v9q2xa.site`)."""
    return len(name) <= 200 and _PART_ID.fullmatch(name) is not None


def check_part_id(part: PartId) -> str:
    """The id, safe to use as a file's name. Raises `Rejected`."""
    if not is_part_id(part):
        raise Rejected(f"{part!r} is no part's id: it must be RESOURCE.PART in plain characters")
    return part
