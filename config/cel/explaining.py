"""Which part of an expression decided its value. Pure; for explanations, never for decisions.

Unlike an evaluation this quotes facts: it is shown to those who may know them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..json_types import Json
from .errors import ExpressionError
from .evaluation import runner
from .frames import Frame
from .nodes import Binary, Conditional, Literal, Node, Unary, chain_of, children
from .values import Fault, to_json
from .writing import text_of

MAX_PARTS = 12
_STEPS = 2_000


@dataclass(frozen=True, slots=True)
class Part:
    """A part that decided, with what it gave and what it read."""

    text: str
    """CEL, as it could be written."""
    outcome: str
    """`true`, `false`, or the error's sentence."""
    read: Mapping[str, Json]
    """Chains of facts, such as `caller.groups`, to their values as JSON."""


def deciding_parts(node: Node, scope: Mapping[str, object]) -> tuple[Part, ...]:
    """The smallest parts that make the expression what it is: all sides of a true `&&`, and of a
    false one only the sides that are false. None where there is no condition but `true`.
    """
    if isinstance(node, Literal):
        return ()
    found = list(_parts(node, scope))
    return tuple(found[:MAX_PARTS])


def _parts(node: Node, scope: Mapping[str, object]) -> Iterator[Part]:
    match node:
        case Binary(operator="&&" | "||"):
            yield from _sides(node, scope)
        case Unary(operator="!"):
            yield from _parts(node.operand, scope)
        case Conditional():
            yield from _parts(node.condition, scope)
            chosen = _value(node.condition, scope)
            if isinstance(chosen, bool):
                yield from _parts(node.then if chosen else node.otherwise, scope)
        case _:
            yield Part(text_of(node), _told(node, scope), dict(_read(node, scope)))


def _sides(node: Binary, scope: Mapping[str, object]) -> Iterator[Part]:
    deciding = node.operator == "||"
    sides = (node.left, node.right)
    decided = [side for side in sides if _value(side, scope) is deciding]
    failed = [side for side in sides if isinstance(_value(side, scope), ExpressionError)]
    for side in decided or failed or sides:
        yield from _parts(side, scope)


def _value(node: Node, scope: Mapping[str, object]) -> object:
    """The value, or the error."""
    try:
        return runner(node)(Frame(scope, _STEPS))
    except ExpressionError as error:
        return error
    except (Fault, RecursionError):
        return ExpressionError("the expression cannot be evaluated", node.offset)


def _told(node: Node, scope: Mapping[str, object]) -> str:
    value = _value(node, scope)
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"error: {value}" if isinstance(value, ExpressionError) else "a value"


def _read(node: Node, scope: Mapping[str, object]) -> Iterator[tuple[str, Json]]:
    """The facts that stand in a node: the longest chains."""
    if isinstance(node, Literal):
        return
    chain = chain_of(node)
    if chain and chain[0] in scope:
        value = _value(node, scope)
        if not isinstance(value, ExpressionError):
            try:
                yield ".".join(chain), to_json(value)
            except Fault:
                yield ".".join(chain), "…"
        return
    for child in children(node):
        yield from _read(child, scope)
