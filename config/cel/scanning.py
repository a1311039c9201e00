"""Strings, comments and brackets of CEL, found without a grammar.

Two callers need this before the grammar may look: a template, to find the `}` that ends `${…`, and
the parser, which is given no string to read (see `blanked`). Pure.
"""

import re
from dataclasses import dataclass

from .errors import ExpressionError

MAX_SOURCE = 4096
"""Characters in one expression."""
MAX_NESTING = 32
"""Brackets within brackets."""

_OPENS = {"(": ")", "[": "]", "{": "}"}
_QUOTE = re.compile(r"""([rR]?)('''|\"""|'|")""")
_STOPS = re.compile(r"""["'(){}\[\]]|//""")
_ESCAPE = re.compile(
    r"""\\(?:([abfnrtv\\?"'`])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2}))"""
)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


@dataclass(frozen=True, slots=True)
class Quoted:
    """A string literal: where it stands (`end` is one past it) and what it means."""

    start: int
    end: int
    value: str


@dataclass(frozen=True, slots=True)
class Scanned:
    """The outcome of `scan`: where it stopped and the string literals passed on the way."""

    end: int
    strings: tuple[Quoted, ...]
    comments: tuple[tuple[int, int], ...]


def scan(source: str, start: int = 0, *, within_braces: bool = False) -> Scanned:
    """Walks over an expression; with `within_braces`, up to the `}` that closes it.

    Raises ExpressionError for what never ends, closes wrongly or nests too deeply.
    """
    strings: list[Quoted] = []
    comments: list[tuple[int, int]] = []
    stack: list[tuple[str, int]] = []
    at = start
    while (stop := _STOPS.search(source, at)) is not None:
        at, found = stop.start(), stop[0]
        if found == "//":
            end = source.find("\n", at)
            comments.append((at, len(source) if end < 0 else end))
            at = comments[-1][1]
        elif found in "\"'":
            strings.append(_quoted(source, at, start))
            at = strings[-1].end
        elif found in _OPENS:
            stack.append((found, at))
            if len(stack) > MAX_NESTING:
                raise ExpressionError(
                    f"brackets are nested more than {MAX_NESTING} deep", at, "write it flatter"
                )
            at += 1
        elif not stack and within_braces and found == "}":
            return Scanned(at, tuple(strings), tuple(comments))
        else:
            _close(stack, found, at)
            at += 1
    if stack:
        opened, at = stack[-1]
        raise ExpressionError(f"'{opened}' is never closed", at, f"add the '{_OPENS[opened]}'")
    if within_braces:
        raise ExpressionError("'${' is never closed", max(start - 2, 0), "add the '}'")
    return Scanned(len(source), tuple(strings), tuple(comments))


def _close(stack: list[tuple[str, int]], found: str, at: int) -> None:
    if not stack:
        raise ExpressionError(f"'{found}' closes nothing", at, "remove it")
    opened, _ = stack.pop()
    if _OPENS[opened] != found:
        raise ExpressionError(
            f"'{found}' stands where '{_OPENS[opened]}' must close '{opened}'",
            at,
            f"write '{_OPENS[opened]}'",
        )


def _quoted(source: str, quote_at: int, floor: int) -> Quoted:
    start = quote_at
    if quote_at > floor and source[quote_at - 1] in "rRbB":
        before = source[quote_at - 2] if quote_at - 2 >= floor else " "
        if not (before.isalnum() or before == "_"):
            start -= 1
            if source[start] in "bB":
                raise ExpressionError(
                    "bytes are not supported: JSON has none", start, "write a string without the b"
                )
    opening = _QUOTE.match(source, start)
    assert opening is not None
    raw, quote = bool(opening[1]), opening[2]
    end = _end_of_string(source, opening.end(), quote, raw=raw)
    if end is None:
        raise ExpressionError("the string is never closed", start, f"add the closing {quote}")
    body = source[opening.end() : end - len(quote)]
    return Quoted(start, end, body if raw else _unescaped(body, opening.end()))


def _end_of_string(source: str, at: int, quote: str, *, raw: bool) -> int | None:
    """One past the closing quote; None when there is none (on the line, for single quotes)."""
    while at < len(source):
        if source.startswith(quote, at):
            return at + len(quote)
        if source[at] in "\r\n" and len(quote) == 1:
            return None
        at += 2 if source[at] == "\\" and not raw else 1
    return None


def _unescaped(body: str, offset: int) -> str:
    if "\\" not in body:
        return body
    pieces: list[str] = []
    at = 0
    while (slash := body.find("\\", at)) >= 0:
        escape = _ESCAPE.match(body, slash)
        if escape is None:
            raise ExpressionError(
                f"'{body[slash : slash + 2]}' is no escape that CEL knows",
                offset + slash,
                r"write \\ for a backslash, or put r before the string",
            )
        pieces += [body[at:slash], _escaped(escape, offset + slash)]
        at = escape.end()
    return "".join([*pieces, body[at:]])


def _escaped(escape: re.Match[str], offset: int) -> str:
    simple, *_ = escape.groups()
    if simple is not None:
        return _SIMPLE.get(simple, simple)
    code = int(escape[5], 8) if escape[5] else int(escape[2] or escape[3] or escape[4], 16)
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise ExpressionError("the escape names no character", offset, "write another code point")
    return chr(code)


def blanked(source: str, scanned: Scanned) -> str:
    r"""The source with every string emptied to underscores and every comment to spaces.

    Offsets stay as they are. The grammar's own patterns for strings need exponential time for some
    inputs (many backslashes without an end) and misread `r"\"`, so they never get to see one.
    """
    text = list(source)
    for start, end in scanned.comments:
        text[start:end] = " " * (end - start)
    for quoted in scanned.strings:
        text[quoted.start : quoted.end] = f'"{"_" * (quoted.end - quoted.start - 2)}"'
    return "".join(text)
