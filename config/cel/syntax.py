"""From a source to nodes: cel-python's grammar, and bounds that it does not have.

This is the only module that knows cel-python and lark. What comes out is a small, typed, immutable
tree whose depth and size are bounded, so that whoever walks it may recurse.
"""

import re
from functools import cache, lru_cache
from typing import cast

from celpy.celparser import CELParseError, CELParser
from lark import Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from .errors import ExpressionError
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
from .scanning import MAX_SOURCE, Quoted, blanked, scan

MAX_DEPTH = 100
"""Of the tree: also a long chain of `a + b + …` makes one. Keeps recursion far from its limit."""
_INT64 = 2**63

_BINARY = {
    "relation_lt": "<", "relation_le": "<=", "relation_gt": ">", "relation_ge": ">=",
    "relation_eq": "==", "relation_ne": "!=", "relation_in": "in",
    "addition_add": "+", "addition_sub": "-",
    "multiplication_mul": "*", "multiplication_div": "/", "multiplication_mod": "%",
}  # fmt: skip
_LEVELS = {
    "expr", "conditionalor", "conditionaland", "relation", "addition", "multiplication", "unary",
    "member", "primary",
}  # fmt: skip


@lru_cache(maxsize=4096)
def parse(source: str) -> Node:
    """The tree of an expression. Raises ExpressionError with the place of the first mistake.

    Large configurations say the same things again and again: parsing is most of their loading.
    """
    if len(source) > MAX_SOURCE:
        raise ExpressionError(
            f"the expression has {len(source)} characters; at most {MAX_SOURCE} are allowed",
            0,
            "write it shorter, or let a part compute it",
        )
    if not source.strip():
        raise ExpressionError("the expression is empty", 0, "write one, such as params.name")
    scanned = scan(source)
    tree = _tree(blanked(source, scanned))
    return _Builder({quoted.start: quoted for quoted in scanned.strings}).build(tree)


_WORD = re.compile(r"\w+")


@cache
def _parser() -> CELParser:
    return CELParser()  # builds the tables: a tenth of a second, so at the first use only


def _tree(text: str) -> "Tree[Token]":
    parser = _parser()
    try:
        return cast("Tree[Token]", parser.parse(text))  # pyright: ignore[reportUnknownMemberType]
    except CELParseError as error:
        raise _syntax_error(text, error.__context__) from None


def _syntax_error(text: str, cause: BaseException | None) -> ExpressionError:
    """cel-python tells line and column; the error of lark below it tells the offset."""
    offset = len(text)
    if isinstance(cause, UnexpectedToken):
        token = cast("Token", cause.token)  # pyright: ignore[reportUnknownMemberType]
        if token.type != "$END":
            offset = token.start_pos or 0
    elif isinstance(cause, UnexpectedCharacters):
        offset = cast("int", cause.pos_in_stream)  # pyright: ignore[reportUnknownMemberType]
    if offset >= len(text):
        return ExpressionError("the expression ends too early", len(text), "complete it")
    word = _WORD.match(text, offset)
    shown = _short(word[0]) if word else text[offset]
    remedy = _MEANT.get(shown, "check the expression")
    return ExpressionError(f"'{shown}' cannot stand here", offset, remedy)


_MEANT = {
    "=": "write == to compare",
    "$": "${…} stands around expressions within other texts; write the expression alone",
    "and": "write &&",
    "or": "write ||",
    "not": "write !",
    "&": "write &&",
    "|": "write ||",
}
"""What those mean who are used to other languages."""


def _short(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:24]}…"


class _Builder:
    """Turns lark's tree, which has a level for each precedence, into nodes. Never recurses."""

    def __init__(self, strings: dict[int, Quoted]) -> None:
        self._strings = strings
        self._made: dict[int, tuple[Node, int]] = {}
        """By the identity of a subtree: its node and the node's depth."""

    def build(self, tree: "Tree[Token]") -> Node:
        subtrees = list(tree.iter_subtrees())  # children come before parents
        for subtree in subtrees:
            only = _only_child(subtree)
            if only is not None:
                if id(only) in self._made:
                    self._made[id(subtree)] = self._made[id(only)]
                continue
            made = self._node(subtree)
            if made is not None:
                self._keep(subtree, made)
        return self._made[id(tree)][0]

    def _keep(self, tree: "Tree[Token]", node: Node) -> None:
        depth = 1 + max((self._depth(child) for child in _trees(tree)), default=0)
        if depth > MAX_DEPTH:
            raise ExpressionError(
                f"the expression is more than {MAX_DEPTH} operations deep",
                node.offset,
                "split it, or use a list with in, all or exists",
            )
        self._made[id(tree)] = (node, depth)

    def _depth(self, tree: "Tree[Token]") -> int:
        if id(tree) in self._made:
            return self._made[id(tree)][1]
        return max((self._depth(child) for child in _trees(tree)), default=0)

    def _of(self, child: "Tree[Token] | Token") -> Node:
        return self._made[id(child)][0]

    def _list(self, tree: "Tree[Token]", start: int) -> tuple[Node, ...]:
        if len(tree.children) <= start:
            return ()
        return tuple(self._of(child) for child in _trees(cast("Tree[Token]", tree.children[start])))

    def _node(self, tree: "Tree[Token]") -> Node | None:  # noqa: PLR0912, C901 - one case for each rule
        kind, children, offset = str(tree.data), tree.children, _offset(tree)
        match kind:
            case "literal":
                return self._literal(cast("Token", children[0]))
            case "ident":
                return Name(str(children[0]), offset)
            case "dot_ident" | "dot_ident_arg":
                raise ExpressionError("a leading dot is not supported", offset, "remove the dot")
            case "ident_arg":
                return Call(str(children[0]), None, self._list(tree, 1), offset)
            case "member_dot":
                name = cast("Token", children[1])
                return Member(self._of(children[0]), str(name), name.start_pos or 0)
            case "member_dot_arg":
                name = cast("Token", children[1])
                target = self._of(children[0])
                return Call(str(name), target, self._list(tree, 2), name.start_pos or 0)
            case "member_index":
                key = self._of(children[1])
                return Index(self._of(children[0]), key, key.offset)
            case "member_object":
                raise ExpressionError(
                    "making a message is not supported", offset, "write a map: {'name': value}"
                )
            case "list_lit":
                return ListOf(self._list(tree, 0), offset)
            case "map_lit":
                flat = self._list(tree, 0)
                return MapOf(tuple(zip(flat[0::2], flat[1::2], strict=True)), offset)
            case "unary":
                sign = cast("Tree[Token]", children[0]).data
                return Unary("!" if sign == "unary_not" else "-", self._of(children[1]), offset)
            case "conditionalor" | "conditionaland":
                sign = "||" if kind == "conditionalor" else "&&"
                return Binary(sign, self._of(children[0]), self._of(children[1]), offset)
            case "relation" | "addition" | "multiplication":
                left = cast("Tree[Token]", children[0])
                sides = self._of(left.children[0]), self._of(children[1])
                return Binary(_BINARY[str(left.data)], *sides, offset)
            case "expr":
                condition, then, otherwise = (self._of(child) for child in children)
                return Conditional(condition, then, otherwise, offset)
            case _:
                return None  # an operator or a list of arguments: its parent reads it

    def _literal(self, token: Token) -> Literal:
        offset, text = token.start_pos or 0, str(token)
        match token.type:
            case "STRING_LIT" | "MLSTRING_LIT":
                return Literal(self._strings[offset].value, offset)
            case "BOOL_LIT":
                return Literal(text == "true", offset)
            case "NULL_LIT":
                return Literal(None, offset)
            case "FLOAT_LIT":
                return Literal(_double(text, offset), offset)
            case "INT_LIT":
                return Literal(_integer(text, offset), offset)
            case _:
                raise ExpressionError(
                    "unsigned numbers are not supported: JSON has none", offset, "remove the u"
                )


def _only_child(tree: "Tree[Token]") -> "Tree[Token] | None":
    """The child that a level of precedence, or a pair of brackets, merely passes on."""
    if (tree.data in _LEVELS or tree.data == "paren_expr") and len(tree.children) == 1:
        child = tree.children[0]
        return child if isinstance(child, Tree) else None
    return None


def _trees(tree: "Tree[Token]") -> "list[Tree[Token]]":
    return [child for child in tree.children if isinstance(child, Tree)]


def _offset(tree: "Tree[Token]") -> int:
    return 0 if tree.meta.empty else tree.meta.start_pos


def _integer(text: str, offset: int) -> int:
    value = int(text, 16) if "x" in text else int(text)
    if not -_INT64 <= value < _INT64:
        raise ExpressionError("the number needs more than 64 bits", offset, "write a smaller one")
    return value


def _double(text: str, offset: int) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ExpressionError("the number is too large", offset, "write a smaller one")
    return value
