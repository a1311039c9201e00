"""What an expression is made of: small, typed, immutable nodes.

`offset` is the place in the source, in characters, that errors of the node point to.
"""

from dataclasses import dataclass
from typing import TypeAlias

Scalar: TypeAlias = bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Literal:
    value: Scalar
    offset: int


@dataclass(frozen=True, slots=True)
class Name:
    name: str
    offset: int


@dataclass(frozen=True, slots=True)
class Member:
    """`target.name`; `offset` is that of the name."""

    target: "Node"
    name: str
    offset: int


@dataclass(frozen=True, slots=True)
class Index:
    """`target[key]`; `offset` is that of the key."""

    target: "Node"
    key: "Node"
    offset: int


@dataclass(frozen=True, slots=True)
class Call:
    """`function(…)` or `target.function(…)`."""

    function: str
    target: "Node | None"
    arguments: "tuple[Node, ...]"
    offset: int


@dataclass(frozen=True, slots=True)
class Unary:
    """`!` or `-`."""

    operator: str
    operand: "Node"
    offset: int


@dataclass(frozen=True, slots=True)
class Binary:
    """`+ - * / % < <= > >= == != in && ||`; `offset` is that of the left side."""

    operator: str
    left: "Node"
    right: "Node"
    offset: int


@dataclass(frozen=True, slots=True)
class Conditional:
    condition: "Node"
    then: "Node"
    otherwise: "Node"
    offset: int


@dataclass(frozen=True, slots=True)
class ListOf:
    items: "tuple[Node, ...]"
    offset: int


@dataclass(frozen=True, slots=True)
class MapOf:
    entries: "tuple[tuple[Node, Node], ...]"
    offset: int


Node: TypeAlias = (
    Literal | Name | Member | Index | Call | Unary | Binary | Conditional | ListOf | MapOf
)


def chain_of(node: Node) -> tuple[str, ...]:
    """The names of a pure member chain, such as `caller.groups`; empty for anything else."""
    names: list[str] = []
    while not isinstance(node, Name):
        if isinstance(node, Member):
            names.append(node.name)
        elif (
            isinstance(node, Index)
            and isinstance(node.key, Literal)
            and isinstance(node.key.value, str)
        ):
            names.append(node.key.value)
        else:
            return ()
        node = node.target
    return (node.name, *reversed(names))


def children(node: Node) -> tuple[Node, ...]:
    """What a node is made of, from left to right."""
    match node:
        case Literal() | Name():
            return ()
        case Member():
            return (node.target,)
        case Index():
            return (node.target, node.key)
        case Call():
            return node.arguments if node.target is None else (node.target, *node.arguments)
        case Unary():
            return (node.operand,)
        case Binary():
            return (node.left, node.right)
        case Conditional():
            return (node.condition, node.then, node.otherwise)
        case ListOf():
            return node.items
        case MapOf():
            return tuple(part for entry in node.entries for part in entry)
