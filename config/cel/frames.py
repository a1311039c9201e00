"""One evaluation: what it reads, what macros have bound, and how many steps it may still take."""

from collections.abc import Callable, Mapping

from .errors import ExpressionError
from .values import Fault, kind_of, with_article

MAX_STEPS = 20_000
"""In one evaluation: each operation, element and 64 characters is about one. About 20 ms at most."""

Scope = Mapping[str, object]


class OverBudget(ExpressionError):
    """Too many steps. No `||` makes up for it."""


class Frame:
    """What one evaluation works with: the scope, the names bound by macros, the steps left."""

    __slots__ = ("left", "most", "names", "scope")

    def __init__(self, scope: Scope, most: int = MAX_STEPS) -> None:
        self.scope = scope
        self.names: dict[str, object] = {}
        self.left = self.most = most

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise OverBudget(
                f"the expression took more than {self.most} steps",
                0,
                "work on smaller lists or texts",
            )


Runner = Callable[[Frame], object]


def told(value: object) -> str:
    """`a string`, for errors."""
    try:
        return with_article(kind_of(value))
    except Fault:
        return "a value"


def as_bool(value: object, offset: int) -> bool:
    """The value if it is a bool. Truthiness is no part of CEL."""
    if isinstance(value, bool):
        return value
    raise ExpressionError(f"a bool is needed here, not {told(value)}", offset, "compare it")
