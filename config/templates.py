"""`${…}` in strings: JSON values with CEL in them, compiled once at load.

A string that is exactly one expression becomes what the expression gives, of whatever type;
otherwise each expression is put into the text. `$${` stands for a plain `${`. Keys are never
evaluated. Parts of a value without expressions are shared by all that is rendered: whoever
receives it must not change it.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from .catalogue import ValueType
from .cel.scanning import scan
from .cel.values import number_text
from .expressions import Expression, ExpressionError, Scope, compile_expression
from .json_types import Json
from .shapes import Environment

__all__ = [
    "ExpressionError",
    "Path",
    "Scope",
    "Template",
    "TemplateError",
    "TemplateProblem",
    "compile_template",
    "expression_paths",
    "format_path",
]

MAX_TEXT = 1024 * 1024
"""Characters of one rendered string."""
MAX_DEPTH = 64

Path = tuple[str | int, ...]
"""Where a value stands inside a template: keys and list positions."""
Wanted: TypeAlias = Mapping[Path, ValueType] | ValueType | None

_MARK = re.compile(r"\$?\$\{")


@dataclass(frozen=True, slots=True)
class TemplateProblem:
    """One mistake. `offset` counts characters from the start of the string at `path`."""

    path: Path
    offset: int
    message: str
    remedy: str


class TemplateError(Exception):
    """A template does not compile; `problems` are all of its mistakes."""

    def __init__(self, problems: tuple[TemplateProblem, ...]) -> None:
        super().__init__("; ".join(f"{format_path(one.path)}: {one.message}" for one in problems))
        self.problems = problems


def format_path(path: Path) -> str:
    """`with.command[3]`; the value itself is `value`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".") or "value"


@dataclass(frozen=True, slots=True)
class _Constant:
    value: Json
    roots: frozenset[str] = frozenset()

    def render(self, _: Scope) -> Json:
        return self.value

    def render_without(self, _: Scope, __: str) -> Json:
        return self.value


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A string with at least one expression."""

    render: Callable[[Scope], Json]
    roots: frozenset[str]

    def render_without(self, scope: Scope, missing: str) -> Json:
        return None if missing in self.roots else self.render(scope)


@dataclass(frozen=True, slots=True)
class _Mapping:
    constant: dict[str, Json]
    """Every key in its order; those of `moving` hold None."""
    moving: "tuple[tuple[str, _Moving], ...]"
    roots: frozenset[str]

    def render(self, scope: Scope) -> Json:
        made = self.constant.copy()
        for key, node in self.moving:
            made[key] = node.render(scope)
        return made

    def render_without(self, scope: Scope, missing: str) -> Json:
        made = self.constant.copy()
        for key, node in self.moving:
            if isinstance(node, _Leaf) and missing in node.roots:
                del made[key]
            else:
                made[key] = node.render_without(scope, missing)
        return made


@dataclass(frozen=True, slots=True)
class _Sequence:
    items: "tuple[_Node, ...]"
    roots: frozenset[str]

    def render(self, scope: Scope) -> Json:
        return [node.render(scope) for node in self.items]

    def render_without(self, scope: Scope, missing: str) -> Json:
        return [
            node.render_without(scope, missing)
            for node in self.items
            if not (isinstance(node, _Leaf) and missing in node.roots)
        ]


_Moving: TypeAlias = _Leaf | _Mapping | _Sequence
_Node: TypeAlias = _Constant | _Moving


@dataclass(frozen=True, slots=True)
class Template:
    """A JSON value with expressions in it, ready to be rendered any number of times."""

    canonical: Json
    """The value as it was written: what a digest is taken of."""
    references: frozenset[tuple[str, ...]]
    """The chains of names that its expressions read."""
    constant: bool
    """True when it holds no expression: what it renders to is then always the same object."""
    _node: _Node

    def render(self, scope: Scope) -> Json:
        """The value with every expression evaluated. Raises ExpressionError naming the place."""
        return self._node.render(scope)

    def render_without(self, scope: Scope, missing: str = "self") -> Json:
        """The same without the strings that read the root `missing`.

        Their keys and list elements are left out; None when the template is such a string itself.
        """
        return self._node.render_without(scope, missing)


def compile_template(value: Json, environment: Environment, wanted: Wanted = None) -> Template:
    """Compiles all expressions of a JSON value. Raises TemplateError with all that is wrong.

    `wanted` says which type the value itself, or the value at each path, must have.
    """
    by_path: Mapping[Path, ValueType] = {}
    if isinstance(wanted, ValueType):
        by_path = {(): wanted}
    elif wanted is not None:
        by_path = wanted
    compiler = _Compiler(environment, by_path)
    node = compiler.compile(value, ())
    if compiler.problems:
        raise TemplateError(tuple(compiler.problems))
    return Template(value, frozenset(compiler.references), isinstance(node, _Constant), node)


class _Compiler:
    def __init__(self, environment: Environment, wanted: Mapping[Path, ValueType]) -> None:
        self._environment = environment
        self._wanted = wanted
        self.problems: list[TemplateProblem] = []
        self.references: set[tuple[str, ...]] = set()

    def compile(self, value: Json, path: Path) -> _Node:
        if len(path) > MAX_DEPTH:
            self._problem(path, 0, f"nested more than {MAX_DEPTH} deep", "make it flatter")
            return _Constant(None)
        if isinstance(value, str):
            return self._string(value, path) if "${" in value else _Constant(value)
        if isinstance(value, dict):
            return self._mapping(value, path)
        if isinstance(value, list):
            return self._sequence(value, path)
        return _Constant(value)

    def _mapping(self, value: dict[str, Json], path: Path) -> _Node:
        constant: dict[str, Json] = {}
        moving: list[tuple[str, _Moving]] = []
        for key, item in value.items():
            if "${" in key:
                self._problem(
                    (*path, key), 0, "a key cannot hold an expression", "write the key itself"
                )
            node = self.compile(item, (*path, key))
            if isinstance(node, _Constant):
                constant[key] = node.value
            else:
                constant[key] = None
                moving.append((key, node))
        if not moving:
            return _Constant(constant)
        roots = frozenset[str]().union(*(node.roots for _, node in moving))
        return _Mapping(constant, tuple(moving), roots)

    def _sequence(self, value: list[Json], path: Path) -> _Node:
        nodes = tuple(self.compile(item, (*path, at)) for at, item in enumerate(value))
        constants = [node.value for node in nodes if isinstance(node, _Constant)]
        if len(constants) == len(nodes):
            return _Constant(constants)
        return _Sequence(nodes, frozenset[str]().union(*(node.roots for node in nodes)))

    def _string(self, text: str, path: Path) -> _Node:
        try:
            pieces = list(_pieces(text))
        except ExpressionError as error:
            self._problem(path, error.offset, error.message, error.remedy)
            return _Constant(text)
        if len(pieces) == 1 and isinstance(pieces[0], _Source):
            return self._whole(pieces[0], path)
        return self._text(pieces, path)

    def _whole(self, source: "_Source", path: Path) -> _Node:
        expression = self._expression(source, path, self._wanted.get(path))
        if expression is None:
            return _Constant(None)
        evaluate, where, start = expression.evaluate, format_path(path), source.start

        def render(scope: Scope) -> Json:
            try:
                return evaluate(scope)
            except ExpressionError as error:
                raise _placed(error, where, start) from None

        return _Leaf(render, frozenset(chain[0] for chain in expression.references))

    def _text(self, pieces: "list[str | _Source]", path: Path) -> _Node:
        if all(isinstance(piece, str) for piece in pieces):
            return _Constant("".join(piece for piece in pieces if isinstance(piece, str)))
        wanted = self._wanted.get(path, ValueType.DYN)
        if wanted not in (ValueType.STRING, ValueType.DYN):
            self._problem(
                path, 0, f"this gives a string, but {wanted} is needed", "write one expression only"
            )
        where = format_path(path)
        roots: set[str] = set()
        renders: list[Callable[[Scope], str]] = []
        for piece in pieces:
            if isinstance(piece, str):
                renders.append(_literal(piece))
                continue
            expression = self._expression(piece, path, None)
            if expression is None:
                continue
            if expression.type in (ValueType.LIST, ValueType.MAP):
                message = f"'{expression.source.strip()}' gives a {expression.type}, which cannot stand in a text"
                self._problem(path, piece.start, message, "write an expression that gives a string")
            roots.update(chain[0] for chain in expression.references)
            renders.append(_inserted(expression, where, piece.start))
        return _Leaf(_joined(tuple(renders), where), frozenset(roots))

    def _expression(
        self, source: "_Source", path: Path, wanted: ValueType | None
    ) -> Expression | None:
        try:
            expression = compile_expression(source.text, self._environment, wanted)
        except ExpressionError as error:
            self._problem(path, source.start + error.offset, error.message, error.remedy)
            return None
        self.references.update(expression.references)
        return expression

    def _problem(self, path: Path, offset: int, message: str, remedy: str) -> None:
        self.problems.append(TemplateProblem(path, offset, message, remedy))


@dataclass(frozen=True, slots=True)
class _Source:
    """An expression inside a string; `start` is where it begins, after `${`."""

    text: str
    start: int


def _pieces(text: str) -> Iterator[str | _Source]:
    """The plain texts and the expressions of a string, in order; no empty texts."""
    at = 0
    plain = ""
    while (mark := _MARK.search(text, at)) is not None:
        plain += text[at : mark.start()]
        if len(mark[0]) == 3:
            plain += "${"
            at = mark.end()
            continue
        if plain:
            yield plain
            plain = ""
        end = scan(text, mark.end(), within_braces=True).end
        yield _Source(text[mark.end() : end], mark.end())
        at = end + 1
    if plain + text[at:]:
        yield plain + text[at:]


def _literal(text: str) -> Callable[[Scope], str]:
    return lambda _: text


def _joined(renders: tuple[Callable[[Scope], str], ...], where: str) -> Callable[[Scope], Json]:
    def render(scope: Scope) -> Json:
        text = "".join([piece(scope) for piece in renders])
        if len(text) > MAX_TEXT:
            raise ExpressionError(
                f"{where}: the text is longer than {MAX_TEXT} characters", 0, "make it shorter"
            )
        return text

    return render


def _inserted(expression: Expression, where: str, start: int) -> Callable[[Scope], str]:
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


def expression_paths(value: Json) -> set[Path]:
    """Where the strings stand that hold an expression, whether it compiles or not."""
    found: set[Path] = set()
    pending: list[tuple[Json, Path]] = [(value, ())]
    while pending:
        item, path = pending.pop()
        if isinstance(item, dict):
            pending += [(child, (*path, key)) for key, child in item.items()]
        elif isinstance(item, list):
            pending += [(child, (*path, at)) for at, child in enumerate(item)]
        elif isinstance(item, str) and any(mark[0] == "${" for mark in _MARK.finditer(item)):
            found.add(path)
    return found
