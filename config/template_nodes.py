"""What a compiled template is made of: constants that are shared, and what moves between them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from .cel.values import number_text
from .expressions import Expression, ExpressionError, Scope
from .json_types import Json

MAX_TEXT = 1024 * 1024
"""Characters of one rendered string."""

Path = tuple[str | int, ...]
"""Where a value stands inside a template: keys and list positions."""


def format_path(path: Path) -> str:
    """`with.command[3]`; the value itself is `value`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".") or "value"


@dataclass(frozen=True, slots=True)
class Constant:
    value: Json
    roots: frozenset[str] = frozenset()

    def render(self, _: Scope) -> Json:
        return self.value

    def render_without(self, _: Scope, __: str) -> Json:
        return self.value


@dataclass(frozen=True, slots=True)
class Leaf:
    """A string with at least one expression."""

    render: Callable[[Scope], Json]
    roots: frozenset[str]

    def render_without(self, scope: Scope, missing: str) -> Json:
        return None if missing in self.roots else self.render(scope)


@dataclass(frozen=True, slots=True)
class MappingOf:
    constant: dict[str, Json]
    """Every key in its order; those of `moving` hold None."""
    moving: "tuple[tuple[str, Moving], ...]"
    roots: frozenset[str]

    def render(self, scope: Scope) -> Json:
        made = self.constant.copy()
        for key, node in self.moving:
            made[key] = node.render(scope)
        return made

    def render_without(self, scope: Scope, missing: str) -> Json:
        made = self.constant.copy()
        for key, node in self.moving:
            if isinstance(node, Leaf) and missing in node.roots:
                del made[key]
            else:
                made[key] = node.render_without(scope, missing)
        return made


@dataclass(frozen=True, slots=True)
class SequenceOf:
    items: "tuple[Node, ...]"
    roots: frozenset[str]

    def render(self, scope: Scope) -> Json:
        return [node.render(scope) for node in self.items]

    def render_without(self, scope: Scope, missing: str) -> Json:
        return [
            node.render_without(scope, missing)
            for node in self.items
            if not (isinstance(node, Leaf) and missing in node.roots)
        ]


Moving: TypeAlias = Leaf | MappingOf | SequenceOf
Node: TypeAlias = Constant | Moving


def whole(expression: Expression, where: str, start: int) -> Callable[[Scope], Json]:
    """A string that is one expression: what that gives, of any type."""
    evaluate = expression.evaluate

    def render(scope: Scope) -> Json:
        try:
            return evaluate(scope)
        except ExpressionError as error:
            raise _placed(error, where, start) from None

    return render


def literal(text: str) -> Callable[[Scope], str]:
    return lambda _: text


def joined(renders: tuple[Callable[[Scope], str], ...], where: str) -> Callable[[Scope], Json]:
    def render(scope: Scope) -> Json:
        text = "".join([piece(scope) for piece in renders])
        if len(text) > MAX_TEXT:
            raise ExpressionError(
                f"{where}: the text is longer than {MAX_TEXT} characters", 0, "make it shorter"
            )
        return text

    return render


def inserted(expression: Expression, where: str, start: int) -> Callable[[Scope], str]:
    evaluate, source = expression.evaluate, expression.source.strip()

    def render(scope: Scope) -> str:
        try:
            value = evaluate(scope)
        except ExpressionError as error:
            raise _placed(error, where, start) from None
        if type(value) is str:
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, float):
            return number_text(value)
        if isinstance(value, str | int):
            return str(value)
        kind = "null" if value is None else f"a {'list' if isinstance(value, list) else 'map'}"
        raise ExpressionError(
            f"{where}: '{source}' gives {kind}, which cannot stand in a text",
            start,
            "give it a value, or write a condition: value == null ? '' : value",
        )

    return render


def _placed(error: ExpressionError, where: str, start: int) -> ExpressionError:
    return ExpressionError(f"{where}: {error.message}", start + error.offset, error.remedy)
