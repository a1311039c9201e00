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
from .expressions import Expression, ExpressionError, Scope, compile_expression
from .json_types import Json
from .shapes import Environment
from .template_nodes import (
    Constant,
    Leaf,
    MappingOf,
    Moving,
    Node,
    Path,
    SequenceOf,
    format_path,
    inserted,
    joined,
    literal,
    whole,
)

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

MAX_DEPTH = 64

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


@dataclass(frozen=True, slots=True)
class Template:
    """A JSON value with expressions in it, ready to be rendered any number of times."""

    canonical: Json
    """The value as it was written: what a digest is taken of."""
    references: frozenset[tuple[str, ...]]
    """The chains of names that its expressions read."""
    constant: bool
    """True when it holds no expression: what it renders to is then always the same object."""
    _node: Node

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
    return Template(value, frozenset(compiler.references), isinstance(node, Constant), node)


class _Compiler:
    def __init__(self, environment: Environment, wanted: Mapping[Path, ValueType]) -> None:
        self._environment = environment
        self._wanted = wanted
        self.problems: list[TemplateProblem] = []
        self.references: set[tuple[str, ...]] = set()

    def compile(self, value: Json, path: Path) -> Node:
        if len(path) > MAX_DEPTH:
            self._problem(path, 0, f"nested more than {MAX_DEPTH} deep", "make it flatter")
            return Constant(None)
        if isinstance(value, str):
            return self._string(value, path) if "${" in value else Constant(value)
        if isinstance(value, dict):
            return self._mapping(value, path)
        if isinstance(value, list):
            return self._sequence(value, path)
        return Constant(value)

    def _mapping(self, value: dict[str, Json], path: Path) -> Node:
        constant: dict[str, Json] = {}
        moving: list[tuple[str, Moving]] = []
        for key, item in value.items():
            if "${" in key:
                self._problem(
                    (*path, key), 0, "a key cannot hold an expression", "write the key itself"
                )
            node = self.compile(item, (*path, key))
            if isinstance(node, Constant):
                constant[key] = node.value
            else:
                constant[key] = None
                moving.append((key, node))
        if not moving:
            return Constant(constant)
        roots = frozenset[str]().union(*(node.roots for _, node in moving))
        return MappingOf(constant, tuple(moving), roots)

    def _sequence(self, value: list[Json], path: Path) -> Node:
        nodes = tuple(self.compile(item, (*path, at)) for at, item in enumerate(value))
        constants = [node.value for node in nodes if isinstance(node, Constant)]
        if len(constants) == len(nodes):
            return Constant(constants)
        return SequenceOf(nodes, frozenset[str]().union(*(node.roots for node in nodes)))

    def _string(self, text: str, path: Path) -> Node:
        try:
            pieces = list(_pieces(text))
        except ExpressionError as error:
            self._problem(path, error.offset, error.message, error.remedy)
            return Constant(text)
        if len(pieces) == 1 and isinstance(pieces[0], _Source):
            return self._whole(pieces[0], path)
        return self._text(pieces, path)

    def _whole(self, source: "_Source", path: Path) -> Node:
        expression = self._expression(source, path, self._wanted.get(path))
        if expression is None:
            return Constant(None)
        render = whole(expression, format_path(path), source.start)
        return Leaf(render, frozenset(chain[0] for chain in expression.references))

    def _text(self, pieces: "list[str | _Source]", path: Path) -> Node:
        if all(isinstance(piece, str) for piece in pieces):
            return Constant("".join(piece for piece in pieces if isinstance(piece, str)))
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
                renders.append(literal(piece))
                continue
            expression = self._expression(piece, path, None)
            if expression is None:
                continue
            if expression.type in (ValueType.LIST, ValueType.MAP):
                message = f"'{expression.source.strip()}' gives a {expression.type}, which cannot stand in a text"
                self._problem(path, piece.start, message, "write an expression that gives a string")
            roots.update(chain[0] for chain in expression.references)
            renders.append(inserted(expression, where, piece.start))
        return Leaf(joined(tuple(renders), where), frozenset(roots))

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
