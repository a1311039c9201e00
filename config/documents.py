"""Files to documents that know the place of every key and value.

Bounded everywhere: whatever the text, the answer is documents and problems, never a crash or a
wait without end. Called by `loading`; the checks ask a `Document` where something stands.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from .json_types import Json
from .problems import Place, Problem
from .yaml_nodes import Items, Node, Scalar, Table, compose, plain_value
from .yaml_scalars import YamlError

MAX_FILE = 1024 * 1024
"""Bytes."""
MAX_FILES = 4_000
MAX_PROBLEMS = 100
"""Of one file: more would only hide the first."""
MAX_TOTAL = 16 * 1024 * 1024
"""Bytes of all files together."""

Path = tuple[str | int, ...]
"""Keys and indexes from the document's root: `("spec", "prepare", 0, "with")`."""

_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_TAG_DIRECTIVE = re.compile("^%TAG", re.MULTILINE)
_ESCAPE_WIDTH = {"x": 4, "u": 6, "U": 10}


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document: its plain value, and where everything in it stands."""

    file: str
    root: Table
    value: dict[str, Json]
    lines: tuple[str, ...]
    """The text of the whole file."""

    def place(self, path: Path, *, key: bool = False) -> Place:
        """Where the value at `path` stands, or its key; the nearest parent if it is not there."""
        node: Node = self.root
        place = node.place
        for depth, step in enumerate(path):
            child, key_place = _child(node, step)
            if child is None:
                return place
            node = child
            wants_key = key and depth == len(path) - 1
            place = key_place if wants_key and key_place is not None else child.place
        return place

    def place_in_text(self, path: Path, offset: int) -> Place:
        """The place of one character of a string value, exact where its line can be told."""
        node: Node | None = self.root
        for step in path:
            node, _ = _child(node, step) if node is not None else (None, None)
        if not isinstance(node, Scalar) or not isinstance(node.value, str):
            return self.place(path)
        return _inside(node, node.value, offset, self.lines)

    def problem(
        self, path: Path, message: str, remedy: str = "", *, key: bool = False, offset: int = 0
    ) -> Problem:
        """A problem at a value, at its key, or at a character inside its text."""
        place = self.place_in_text(path, offset) if offset else self.place(path, key=key)
        return Problem(self.file, place.line, place.column, path_text(path), message, remedy)


def path_text(path: Path) -> str:
    """`spec.prepare[0].with`; keys that are no words stand in brackets."""
    text = ""
    for step in path:
        if isinstance(step, str) and re.fullmatch(r"[A-Za-z_$][\w$-]{0,80}", step):
            text += f".{step}" if text else step
        else:
            text += f"[{step}]" if isinstance(step, int) else f"[{step[:80]!r}]"
    return text


class ReadFile(NamedTuple):
    """What reading one file gave."""

    content: str | bytes
    documents: list[Document]
    problems: list[Problem]


ReadFiles: TypeAlias = dict[str, ReadFile]


def read_documents(
    files: Mapping[str, str | bytes], before: ReadFiles | None = None
) -> tuple[list[Document], list[Problem]]:
    """The documents of all files, and every file's problem. Files go in the order of their names.

    `before` has what was read the last time: a file that is still the same is not parsed again, and its
    documents are the same objects. It is brought up to date.
    """
    known, kept = before or {}, ReadFiles()
    documents: list[Document] = []
    problems: list[Problem] = []
    total = 0
    for index, name in enumerate(sorted(files)):
        if index == MAX_FILES:
            problems.append(
                _whole(
                    name, f"the directory has more than {MAX_FILES} files",
                    "join some of them, or move what is no config elsewhere",
                )
            )  # fmt: skip
            break
        total += len(files[name])
        if total > MAX_TOTAL:
            problems.append(
                _whole(
                    name, f"the files up to this one are more than {MAX_TOTAL} bytes in all",
                    "move what is no config elsewhere",
                )
            )  # fmt: skip
            break
        one = known.get(name)
        if one is None or one.content != files[name]:
            one = ReadFile(files[name], *read_file(name, files[name]))
        kept[name] = one
        documents += one.documents
        problems += one.problems
    if before is not None:
        before.clear()
        before.update(kept)
    return documents, problems


def read_file(name: str, content: str | bytes) -> tuple[list[Document], list[Problem]]:
    """The documents of one file up to where reading cannot go on, and what is wrong with it."""
    documents: list[Document] = []
    wrong: list[YamlError] = []
    lines: tuple[str, ...] = ()
    try:
        text = decode(content)
        lines = tuple(_BREAK.split(text))
        for root in compose(text, wrong):
            if isinstance(root, Table):
                value = plain_value(root)
                assert isinstance(value, dict)
                documents.append(Document(name, root, value, lines))
            else:
                remedy = "begin it with apiVersion, kind, metadata and spec"
                wrong.append(YamlError(root.place, "a document must be a mapping", remedy))
    except YamlError as error:
        wrong.append(error)
    return documents, [_problem(name, error, lines) for error in wrong[:MAX_PROBLEMS]]


def _problem(name: str, error: YamlError, lines: tuple[str, ...]) -> Problem:
    place = error.place
    if lines and place.line > len(lines):
        place = Place(len(lines), len(lines[-1]) + 1)  # libyaml counts on after the last line
    return Problem(name, place.line, place.column, "", error.message, error.remedy)


def decode(content: str | bytes) -> str:
    """The text of a file without a byte order mark. Raises YamlError at the first bad character."""
    if len(content) > MAX_FILE:
        raise YamlError(
            Place(), f"the file is larger than {MAX_FILE} bytes", "split it into several files"
        )
    if isinstance(content, bytes):
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = content[: error.start].decode("utf-8-sig")
            raise YamlError(
                _end_of(before), f"the byte 0x{content[error.start]:02x} is no UTF-8",
                "save the file as UTF-8",
            ) from error  # fmt: skip
    else:
        text = content.removeprefix("\ufeff")
    bad = _FORBIDDEN.search(text)
    if bad is not None:
        raise YamlError(
            _end_of(text[: bad.start()]), f"the character U+{ord(bad[0]):04X} is not allowed here",
            'remove it, or write it as an escape inside double quotes: "\\u…"',
        )  # fmt: skip
    directive = _TAG_DIRECTIVE.search(text)
    if directive is not None:
        # libyaml's time is quadratic in their number, and nothing here has a use for them.
        raise YamlError(
            _end_of(text[: directive.start()]), "%TAG directives are not supported", "remove it"
        )
    return text


def _end_of(text: str) -> Place:
    lines = _BREAK.split(text)
    return Place(len(lines), len(lines[-1]) + 1)


def _whole(file: str, message: str, remedy: str) -> Problem:
    return Problem(file, 0, 0, "", message, remedy)


def _child(node: Node, step: str | int) -> tuple[Node | None, Place | None]:
    if isinstance(node, Table) and isinstance(step, str):
        entry = node.entries.get(step)
        return (entry.node, entry.key) if entry is not None else (None, None)
    if isinstance(node, Items) and isinstance(step, int) and 0 <= step < len(node.items):
        return node.items[step], None
    return None, None


def _inside(node: Scalar, text: str, offset: int, lines: tuple[str, ...]) -> Place:
    start = node.place
    if node.style in "|>" and node.style:
        return _inside_block(node, text, offset, lines)
    if node.end.line != start.line:
        return _inside_folded(node, text, offset, lines) or start
    if not node.style:
        return Place(start.line, start.column + offset)
    raw = lines[start.line - 1][start.column : node.end.column - 2]
    return Place(start.line, start.column + 1 + _raw_offset(raw, node.style, offset))


def _raw_offset(raw: str, quote: str, offset: int) -> int:
    """How many written characters stand before the `offset`-th character that they mean."""
    at = 0
    for _ in range(offset):
        if quote == "'" and raw.startswith("''", at):
            at += 2
        elif quote == '"' and raw.startswith("\\", at):
            at += _ESCAPE_WIDTH.get(raw[at + 1 : at + 2], 2)
        else:
            at += 1
    return min(at, len(raw))


def _inside_block(node: Scalar, text: str, offset: int, lines: tuple[str, ...]) -> Place:
    if node.style == ">":
        found = _inside_folded(node, text, offset, lines)
        return found or Place(min(node.place.line + 1, len(lines)), 1)
    before = text[:offset]
    number = node.place.line + 1 + before.count("\n")
    if number > len(lines):
        return Place(len(lines), 1)
    meant = text.split("\n")[before.count("\n")]
    indent = max(0, len(lines[number - 1]) - len(meant))
    return Place(number, indent + offset - (before.rfind("\n") + 1) + 1)


def _inside_folded(node: Scalar, text: str, offset: int, lines: tuple[str, ...]) -> Place | None:
    """By the written lines, each of which stands in the text as it is; None where one does not."""
    first = node.place.line - 1
    at = 0
    for number in range(first, min(node.end.line, len(lines))):
        line = lines[number]
        indent = len(line) - len(line.lstrip())
        if number == first:
            if node.style == ">":
                continue  # the header
            indent = node.place.column - 1 + len(node.style)
        end = node.end.column - 1 - len(node.style) if number == node.end.line - 1 else len(line)
        written = line[indent : max(indent, end)].rstrip()
        begin = text.find(written, at)
        if begin < 0:
            return None
        if written and offset <= begin + len(written):
            return Place(number + 1, indent + max(0, offset - begin) + 1)
        at = begin + len(written)
    return None
