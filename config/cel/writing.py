"""Nodes back to CEL text, for explanations that name a part of an expression. Pure."""

import json

from .nodes import (
    Binary,
    Call,
    Conditional,
    Index,
    ListOf,
    Literal,
    MapOf,
    Member,
    Name,
    Node,
    Unary,
)

_BINDING = {
    "||": 1, "&&": 2, "<": 3, "<=": 3, ">": 3, ">=": 3, "==": 3, "!=": 3, "in": 3,
    "+": 4, "-": 4, "*": 5, "/": 5, "%": 5,
}  # fmt: skip
_CONDITIONAL, _UNARY, _TIGHT = 0, 6, 7


def text_of(node: Node) -> str:
    """CEL that means the same, with brackets only where they are needed."""
    return _text(node, 0)


def _text(node: Node, least: int) -> str:
    binding, text = _written(node)
    return f"({text})" if binding < least else text


def _written(node: Node) -> tuple[int, str]:  # noqa: C901 - one case for each node
    """How strongly it binds, and its text."""
    match node:
        case Literal():
            # 1.size would be read as the number 1. and a name
            number = isinstance(node.value, int | float) and not isinstance(node.value, bool)
            return _UNARY if number else _TIGHT, json.dumps(node.value, ensure_ascii=False)
        case Name():
            return _TIGHT, node.name
        case Member():
            return _TIGHT, f"{_text(node.target, _TIGHT)}.{node.name}"
        case Index():
            return _TIGHT, f"{_text(node.target, _TIGHT)}[{_text(node.key, 0)}]"
        case Call():
            given = ", ".join(_text(argument, 0) for argument in node.arguments)
            on = "" if node.target is None else f"{_text(node.target, _TIGHT)}."
            return _TIGHT, f"{on}{node.function}({given})"
        case Unary():
            return _UNARY, f"{node.operator}{_text(node.operand, _UNARY)}"
        case Binary():
            own = _BINDING[node.operator]
            left, right = _text(node.left, own), _text(node.right, own + 1)
            return own, f"{left} {node.operator} {right}"
        case Conditional():
            condition, then = _text(node.condition, 1), _text(node.then, 1)
            return _CONDITIONAL, f"{condition} ? {then} : {_text(node.otherwise, 0)}"
        case ListOf():
            return _TIGHT, f"[{', '.join(_text(item, 0) for item in node.items)}]"
        case MapOf():
            entries = (f"{_text(key, 0)}: {_text(value, 0)}" for key, value in node.entries)
            return _TIGHT, f"{{{', '.join(entries)}}}"
