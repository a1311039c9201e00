"""What must be true of a few plain facts for an expression to be true at all. Pure.

`"web" in caller.groups && request.ttl < duration("1h")` can only be true where `caller.groups` has
`web`. An index by such guards spares the evaluation of most rules.
"""

from dataclasses import dataclass

from .nodes import Binary, ListOf, Literal, Node, chain_of

Constant = str | int


@dataclass(frozen=True, slots=True)
class Guard:
    """The fact is one of the values, or, where it is a list, holds one of them."""

    fact: tuple[str, ...]
    values: frozenset[Constant]
    holds: bool
    """True for a list that holds one of the values."""


def guards_of(node: Node) -> tuple[Guard, ...]:
    """Each must hold, or else the expression is false: also where another part of it would fail."""
    if isinstance(node, Binary) and node.operator == "&&":
        return (*guards_of(node.left), *guards_of(node.right))
    guard = _guard(node)
    return () if guard is None else (guard,)


def _guard(node: Node) -> Guard | None:
    if not isinstance(node, Binary):
        return None
    match node.operator:
        case "==":
            return _equals(node.left, node.right) or _equals(node.right, node.left)
        case "in":
            return _holds(node) or _is_one_of(node)
        case "||":
            return _either(_guard(node.left), _guard(node.right))
        case _:
            return None


def _equals(fact: Node, value: Node) -> Guard | None:
    chain, constant = chain_of(fact), _constant(value)
    if not chain or constant is None:
        return None
    return Guard(chain, frozenset({constant}), holds=False)


def _holds(node: Binary) -> Guard | None:
    chain, constant = chain_of(node.right), _constant(node.left)
    if not chain or constant is None:
        return None
    return Guard(chain, frozenset({constant}), holds=True)


def _is_one_of(node: Binary) -> Guard | None:
    chain = chain_of(node.left)
    if not chain or not isinstance(node.right, ListOf):
        return None
    constants = [_constant(item) for item in node.right.items]
    known = frozenset(it for it in constants if it is not None)
    return Guard(chain, known, holds=False) if len(constants) == len(known) else None


def _either(left: Guard | None, right: Guard | None) -> Guard | None:
    if left is None or right is None or (left.fact, left.holds) != (right.fact, right.holds):
        return None
    return Guard(left.fact, left.values | right.values, left.holds)


def _constant(node: Node) -> Constant | None:
    """A text or a whole number: what Python and CEL compare alike."""
    if not isinstance(node, Literal) or isinstance(node.value, bool):
        return None
    return node.value if isinstance(node.value, str | int) else None
