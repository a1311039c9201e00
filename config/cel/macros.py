"""`all`, `exists`, `exists_one`, `filter` and `map`: what they make of a list, item by item."""

from collections.abc import Callable, Mapping
from typing import cast

from .errors import ExpressionError
from .frames import OverBudget, Runner, as_bool, told


def items_of(value: object, function: str, offset: int) -> list[object]:
    if isinstance(value, Mapping):
        return list(cast("Mapping[object, object]", value))
    if isinstance(value, list | tuple):
        return list(cast("list[object]", value))
    raise ExpressionError(f"{function}() takes a list or a map, not {told(value)}", offset)


_Each = Callable[[Runner, object], object]


def _decided(deciding: bool) -> "_Consumer":  # noqa: FBT001 - which of the two values ends it
    """`exists` (True decides) and `all` (False decides), which see past errors as `||` and `&&` do."""

    def consume(items: list[object], bodies: list[Runner], each: _Each, offset: int) -> bool:
        failed: ExpressionError | None = None
        for item in items:
            try:
                if as_bool(each(bodies[0], item), offset) is deciding:
                    return deciding
            except OverBudget:
                raise
            except ExpressionError as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return not deciding

    return consume


def _filtered(items: list[object], bodies: list[Runner], each: _Each, offset: int) -> list[object]:
    return [item for item in items if as_bool(each(bodies[0], item), offset)]


def _exactly_one(items: list[object], bodies: list[Runner], each: _Each, offset: int) -> bool:
    return len(_filtered(items, bodies, each, offset)) == 1


def _mapped(items: list[object], bodies: list[Runner], each: _Each, offset: int) -> list[object]:
    *tests, body = bodies
    kept = _filtered(items, tests, each, offset) if tests else items
    return [each(body, item) for item in kept]


_Consumer = Callable[[list[object], list[Runner], _Each, int], object]
CONSUMERS: dict[str, _Consumer] = {
    "all": _decided(False),
    "exists": _decided(True),
    "exists_one": _exactly_one,
    "filter": _filtered,
    "map": _mapped,
}
