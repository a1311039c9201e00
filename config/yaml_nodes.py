"""YAML text to nodes with places, in bounded time and memory.

The nodes are built from libyaml's event stream and not by its composer, for three reasons: the C
composer recurses and dies of deep nesting; the places of keys are needed; and scalars are read by
YAML 1.2's core rules, so that `yes`, `on`, `12:30` and `2020-01-01` are the strings they look
like. Called by `documents`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, cast

import yaml

from .json_types import Json
from .problems import Place
from .yaml_scalars import CORE, YamlError, scalar_value, unknown_tag

MAX_DOCUMENTS = 1_000
MAX_DEPTH = 64
MAX_NODES = 100_000
"""Of one file, with every alias counted as often as it is used."""


class _Mark(Protocol):
    """libyaml's marks and those of the pure parser have no common base."""

    line: int
    column: int


class _Events(Protocol):
    def get_event(self) -> yaml.Event | None: ...

    def dispose(self) -> None: ...


_PARSER = cast("Callable[[str], _Events]", getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@dataclass(frozen=True, slots=True)
class Scalar:
    place: Place
    end: Place
    value: Json
    style: str
    """`` plain, `'`, `"`, `|` or `>`."""


@dataclass(frozen=True, slots=True)
class Items:
    place: Place
    items: tuple["Node", ...]
    size: int
    """Nodes in all, this one and what aliases stand for included."""
    height: int


@dataclass(frozen=True, slots=True)
class Entry:
    key: Place
    node: "Node"
    merged: bool = False
    """True when it came by a merge key (`<<`), so that a later key of the same name wins."""


@dataclass(frozen=True, slots=True)
class Table:
    place: Place
    entries: dict[str, Entry]
    size: int
    height: int


Node: TypeAlias = Scalar | Items | Table


def size_of(node: Node) -> int:
    return 1 if isinstance(node, Scalar) else node.size


def height_of(node: Node) -> int:
    return 1 if isinstance(node, Scalar) else node.height


def plain_value(node: Node) -> Json:
    """The JSON value of a node; aliases become copies."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Items):
        return [plain_value(item) for item in node.items]
    return {key: plain_value(entry.node) for key, entry in node.entries.items()}


def compose(text: str, wrong: list[YamlError]) -> Iterator[Node]:
    """The documents of a text one by one; empty ones are left out.

    Mistakes that stand alone are added to `wrong`. Raises YamlError where reading cannot go on.
    """
    return _Composer(text, wrong).documents()


def _place(mark: _Mark | None) -> Place:
    assert mark is not None, "every event has its marks"
    return Place(mark.line + 1, mark.column + 1)


@dataclass(slots=True)
class _Composer:
    text: str
    wrong: list[YamlError]
    nodes: int = 0
    anchors: dict[str, Node] = field(default_factory=dict[str, Node])
    parser: _Events = field(init=False)

    def documents(self) -> Iterator[Node]:
        self.parser = _PARSER(self.text)
        count = 0
        try:
            while (event := self._next()) is not None:
                if not isinstance(event, yaml.DocumentStartEvent):
                    continue
                count += 1
                if count > MAX_DOCUMENTS:
                    raise YamlError(
                        _place(event.start_mark),
                        f"the file has more than {MAX_DOCUMENTS} documents",
                        "split it into several files",
                    )
                self.anchors = {}
                node = self._node(self._event(), 1)
                if not (isinstance(node, Scalar) and node.value is None):
                    yield node
        finally:
            self.parser.dispose()

    def _next(self) -> yaml.Event | None:
        try:
            return self.parser.get_event()
        except yaml.MarkedYAMLError as error:
            raise _syntax_error(error) from error
        except (yaml.YAMLError, UnicodeError) as error:
            raise YamlError(
                Place(1, 1), f"the file cannot be read as YAML ({error})", "save it as plain UTF-8"
            ) from error

    def _event(self) -> yaml.Event:
        event = self._next()
        assert event is not None, "a document has an end"
        return event

    def _node(self, event: yaml.Event, depth: int) -> Node:
        place = _place(event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, place, depth)
        self._count(1, depth, place)
        if isinstance(event, yaml.ScalarEvent):
            node: Node = self._scalar(event, place)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._refuse_tag(event.tag, "seq", place)
            node = self._items(place, depth)
        else:
            assert isinstance(event, yaml.MappingStartEvent)
            self._refuse_tag(event.tag, "map", place)
            node = self._table(place, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def _scalar(self, event: yaml.ScalarEvent, place: Place) -> Scalar:
        try:
            value = scalar_value(event, place)
        except YamlError as error:
            self.wrong.append(error)
            value = event.value
        return Scalar(place, _place(event.end_mark), value, event.style or "")

    def _refuse_tag(self, tag: str | None, kind: str, place: Place) -> None:
        if tag is not None and tag not in ("!", CORE + kind):
            self.wrong.append(unknown_tag(tag, place))

    def _alias(self, event: yaml.AliasEvent, place: Place, depth: int) -> Node:
        node = self.anchors.get(event.anchor or "")
        if node is None:
            raise YamlError(
                place,
                f"the alias *{event.anchor} stands for nothing that ended before it",
                f"write &{event.anchor} before the value that it repeats",
            )
        self._count(size_of(node), depth + height_of(node) - 1, place)
        return node

    def _count(self, nodes: int, depth: int, place: Place) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise YamlError(
                place,
                f"the file has more than {MAX_NODES} values, those that aliases repeat included",
                "split the file, or repeat less by aliases",
            )
        if depth > MAX_DEPTH:
            raise YamlError(
                place, f"the values are nested deeper than {MAX_DEPTH} levels", "nest them less"
            )

    def _items(self, place: Place, depth: int) -> Items:
        items: list[Node] = []
        while not isinstance(event := self._event(), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        size, height = _extent(items)
        return Items(place, tuple(items), size, height)

    def _table(self, place: Place, depth: int) -> Table:
        entries: dict[str, Entry] = {}
        while not isinstance(event := self._event(), yaml.MappingEndEvent):
            key_place = _place(event.start_mark)
            merge = _is_merge(event)
            key = "<<" if merge else self._key(event, key_place)
            value = self._node(self._event(), depth + 1)
            if merge:
                self._merge(entries, value, key_place)
            elif self._is_new(entries, key, key_place):
                entries[key] = Entry(key_place, value)
        size, height = _extent([entry.node for entry in entries.values()])
        return Table(place, entries, size, height)

    def _is_new(self, entries: dict[str, Entry], key: str, place: Place) -> bool:
        before = entries.get(key)
        if before is None or before.merged:
            return True
        first = f"first in line {before.key.line}"
        message = f"the key {key[:80]!r} stands here a second time ({first})"
        self.wrong.append(YamlError(place, message, "remove one of the two"))
        return False

    def _key(self, event: yaml.Event, place: Place) -> str:
        """Text alone. `1:` and `true:` are complained of and read as texts."""
        if not isinstance(event, yaml.ScalarEvent) or event.anchor is not None:
            raise YamlError(place, "a key must be plain text", "write a word before the colon")
        text: str = event.value
        try:
            is_text = isinstance(scalar_value(event, place), str)
        except YamlError:
            is_text = False
        if not is_text:
            message = f"the key {text[:80]!r} is no text" if text else "a key is missing"
            self.wrong.append(YamlError(place, message, "put a word in quotes before the colon"))
        return text

    def _merge(self, entries: dict[str, Entry], value: Node, place: Place) -> None:
        tables = value.items if isinstance(value, Items) else (value,)
        for table in tables:
            if not isinstance(table, Table):
                message = "the merge key '<<' takes a mapping or a list of mappings"
                remedy = "write an alias of a mapping after it"
                self.wrong.append(YamlError(place, message, remedy))
                continue
            for key, entry in table.entries.items():
                if self._counts_merged(entries, key, entry.node, place):
                    entries[key] = Entry(entry.key, entry.node, merged=True)

    def _counts_merged(self, entries: dict[str, Entry], key: str, node: Node, place: Place) -> bool:
        """True when the key is new; what merging repeats counts like what aliases repeat."""
        if key in entries:
            return False
        self._count(size_of(node), 0, place)
        return True


def _extent(nodes: list[Node]) -> tuple[int, int]:
    return (
        1 + sum(size_of(node) for node in nodes),
        1 + max((height_of(node) for node in nodes), default=0),
    )


def _is_merge(event: yaml.Event) -> bool:
    return (
        isinstance(event, yaml.ScalarEvent)
        and event.value == "<<"
        and event.tag is None
        and not event.style
    )


def _syntax_error(error: yaml.MarkedYAMLError) -> YamlError:
    mark = error.problem_mark or error.context_mark
    place = _place(mark) if mark is not None else Place(1, 1)
    problem = error.problem or "syntax error"
    context = f" ({error.context})" if error.context else ""
    return YamlError(place, f"this is no YAML: {problem}{context}", _syntax_remedy(problem))


def _syntax_remedy(problem: str) -> str:
    if "cannot start any token" in problem:
        return "indent with spaces, not tabs, and quote texts that begin with @, ` or %"
    if "mapping values are not allowed" in problem:
        return "put texts that contain ': ' in quotes, and check the indentation"
    if "did not find expected" in problem or "could not find expected" in problem:
        return "check the indentation, the quotes and the brackets in and above this line"
    return "check this line and the one above it"
