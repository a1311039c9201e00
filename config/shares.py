"""A number of a pool's resources, or a percentage of what it keeps ready. Pure."""

import re
from dataclasses import dataclass

from .units import UnitError

MAX_COUNT = 100_000
_PERCENT = re.compile(r"(100|[1-9]?[0-9])%")


@dataclass(frozen=True, slots=True)
class Share:
    number: int
    percent: bool = False

    def of(self, whole: int, *, up: bool) -> int:
        """How many that is of `whole`; a part of one counts as one when it is rounded `up`."""
        if not self.percent:
            return self.number
        return (whole * self.number + (99 if up else 0)) // 100

    def __str__(self) -> str:
        return f"{self.number}%" if self.percent else str(self.number)


A_QUARTER = Share(25, percent=True)


def parse_share(value: object) -> Share:
    """From `1` or `"25%"`. Raises `UnitError`."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT:
        return Share(value)
    if isinstance(value, str) and (match := _PERCENT.fullmatch(value)):
        return Share(int(match[1]), percent=True)
    shown = repr(value)[:40]
    raise UnitError(
        f"{shown} is no number of resources; write a whole number such as 1, or a percentage such as '25%'"
    )
