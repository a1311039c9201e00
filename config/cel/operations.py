"""What the operators of CEL do, by the kinds they take.

One table serves both sides: the checker asks it which kind comes out, the evaluation asks it what
to call. Semantics follow the CEL language definition; errors never quote a value.
"""

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, cast

from .values import Fault, Kind, kind_of

MAX_STRING = 64 * 1024
"""Characters of a string while an expression runs."""
_INT64 = 2**63


class Meter(Protocol):
    """Counts steps; raises once an evaluation has taken too many."""

    def spend(self, steps: int) -> None: ...


Run: TypeAlias = Callable[..., object]
"""Called with the meter and the values."""


@dataclass(frozen=True, slots=True)
class Overload:
    """One way to use an operator or function. A method's target is the first of `takes`."""

    takes: tuple[Kind, ...]
    gives: Kind
    run: Run


def _checked(compute: Callable[[int, int], int]) -> Run:
    def run(_: Meter, a: int, b: int) -> int:
        result = compute(a, b)
        if -_INT64 <= result < _INT64:
            return result
        raise Fault("the number needs more than 64 bits", "use doubles, or smaller numbers")

    return run


def _checked_negative(_: Meter, a: int) -> int:
    if a == -_INT64:
        raise Fault("the number needs more than 64 bits", "use doubles, or smaller numbers")
    return -a


def without_meter(compute: Callable[..., object]) -> Run:
    def run(_: Meter, *values: object) -> object:
        try:
            return compute(*values)
        except (OverflowError, ValueError) as error:
            raise Fault("the result is out of range", "use smaller values") from error

    return run


def _int_divide(a: int, b: int) -> int:
    """Towards zero, as CEL and Go do; Python's `//` goes down."""
    if b == 0:
        raise Fault("a number is divided by zero", "check for zero first")
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def _remainder(a: int, b: int) -> int:
    """With the sign of the left side, as CEL and Go do."""
    if b == 0:
        raise Fault("a number is divided by zero", "check for zero first")
    rest = abs(a) % abs(b)
    return rest if a >= 0 else -rest


def _divide(a: float, b: float) -> float:
    if b == 0:
        return (
            math.nan
            if a == 0 or math.isnan(a)
            else math.copysign(math.inf, a) * math.copysign(1, b)
        )
    return a / b


def _join_strings(meter: Meter, a: str, b: str) -> str:
    if len(a) + len(b) > MAX_STRING:
        raise Fault(f"a string grows beyond {MAX_STRING} characters", "make it shorter")
    meter.spend((len(a) + len(b)) // 64)
    return a + b


def _join_lists(meter: Meter, a: list[object], b: list[object]) -> list[object]:
    meter.spend(len(a) + len(b))
    return [*a, *b]


def equal(meter: Meter, a: object, b: object) -> bool:
    """CEL's equality: numbers by value, other kinds never equal each other. Never an error."""
    if type(a) is str and type(b) is str:
        meter.spend(1 + len(a) // 64)
        return a == b
    meter.spend(1)
    kind, other = kind_of(a), kind_of(b)
    if kind is not other:
        return {kind, other} == {Kind.INT, Kind.DOUBLE} and a == b
    if kind is Kind.LIST:
        mine, yours = cast("list[object]", a), cast("list[object]", b)
        return len(mine) == len(yours) and all(map(equal, [meter] * len(mine), mine, yours))
    if kind is Kind.MAP:
        return _equal_maps(
            meter, cast("Mapping[object, object]", a), cast("Mapping[object, object]", b)
        )
    if kind is Kind.STRING:
        meter.spend(len(cast("str", a)) // 64)
    return a == b


def _equal_maps(meter: Meter, a: Mapping[object, object], b: Mapping[object, object]) -> bool:
    return len(a) == len(b) and all(key in b and equal(meter, a[key], b[key]) for key in a)


def _unequal(meter: Meter, a: object, b: object) -> bool:
    return not equal(meter, a, b)


def _in_list(meter: Meter, item: object, items: list[object]) -> bool:
    if type(item) is str:
        meter.spend(len(items) * (1 + len(item) // 64))
        return item in items
    return any(equal(meter, item, other) for other in items)


def _in_map(_: Meter, key: object, members: Mapping[object, object]) -> bool:
    return isinstance(key, str) and key in members


_S, _I, _D, _B = Kind.STRING, Kind.INT, Kind.DOUBLE, Kind.BOOL
_T, _W, _L, _M, _ANY = Kind.TIMESTAMP, Kind.DURATION, Kind.LIST, Kind.MAP, Kind.DYN


def _less(_: Meter, a: Any, b: Any) -> object:
    return a < b


def _at_most(_: Meter, a: Any, b: Any) -> object:
    return a <= b


def _more(_: Meter, a: Any, b: Any) -> object:
    return a > b


def _at_least(_: Meter, a: Any, b: Any) -> object:
    return a >= b


def _comparison(run: Run) -> tuple[Overload, ...]:
    same = [(kind, kind) for kind in (_I, _D, _S, _B, _T, _W)]
    return tuple(Overload(takes, _B, run) for takes in [*same, (_I, _D), (_D, _I)])


OPERATORS: Mapping[str, tuple[Overload, ...]] = {
    "+": (
        Overload((_I, _I), _I, _checked(operator.add)),
        Overload((_D, _D), _D, without_meter(operator.add)),
        Overload((_S, _S), _S, _join_strings),
        Overload((_L, _L), _L, _join_lists),
        Overload((_T, _W), _T, without_meter(operator.add)),
        Overload((_W, _T), _T, without_meter(operator.add)),
        Overload((_W, _W), _W, without_meter(operator.add)),
    ),
    "-": (
        Overload((_I, _I), _I, _checked(operator.sub)),
        Overload((_D, _D), _D, without_meter(operator.sub)),
        Overload((_T, _T), _W, without_meter(operator.sub)),
        Overload((_T, _W), _T, without_meter(operator.sub)),
        Overload((_W, _W), _W, without_meter(operator.sub)),
    ),
    "*": (
        Overload((_I, _I), _I, _checked(operator.mul)),
        Overload((_D, _D), _D, without_meter(operator.mul)),
    ),
    "/": (
        Overload((_I, _I), _I, _checked(_int_divide)),
        Overload((_D, _D), _D, without_meter(_divide)),
    ),
    "%": (Overload((_I, _I), _I, _checked(_remainder)),),
    "<": _comparison(_less),
    "<=": _comparison(_at_most),
    ">": _comparison(_more),
    ">=": _comparison(_at_least),
    "==": (Overload((_ANY, _ANY), _B, equal),),
    "!=": (Overload((_ANY, _ANY), _B, _unequal),),
    "in": (Overload((_ANY, _L), _B, _in_list), Overload((_ANY, _M), _B, _in_map)),
    "!": (Overload((_B,), _B, without_meter(operator.not_)),),
    "negative": (
        Overload((_I,), _I, _checked_negative),
        Overload((_D,), _D, without_meter(operator.neg)),
    ),
}
"""`negative` is the unary minus. Kind.DYN in `takes` accepts every kind."""


def fitting(overloads: tuple[Overload, ...], kinds: tuple[Kind, ...]) -> list[Overload]:
    """The overloads that these kinds may use; a kind that is not known yet fits everything."""
    return [
        overload
        for overload in overloads
        if len(overload.takes) == len(kinds)
        and all(
            takes is kind or takes is Kind.DYN or kind is Kind.DYN
            for takes, kind in zip(overload.takes, kinds, strict=True)
        )
    ]
