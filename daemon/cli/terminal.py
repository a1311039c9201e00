"""What people see: tables that fit, colours only where they belong, times in words."""

import os
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from ...config.units import format_duration

_CODES = {"red": "31", "green": "32", "yellow": "33", "dim": "2", "bold": "1"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_GAP = 2
NARROWEST = 6
"""Characters a column is never cut below."""


def coloured(stream: TextIO) -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def style(text: str, colour: str, stream: TextIO | None = None) -> str:
    if not colour or not text or not coloured(stream or sys.stdout):
        return text
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m"


def clean(text: str, *, keep_lines: bool = False) -> str:
    """Without control characters: a reason may quote what a program wrote, escape codes too."""
    text = text if keep_lines else text.replace("\n", " ").replace("\t", " ")
    return _CONTROL.sub("�", text)


Cell = str | tuple[str, str]
"""A text, or a text and its colour."""


def table(
    headers: Sequence[str], rows: Sequence[Sequence[Cell]], *, width: int | None = None
) -> str:
    """Columns of equal width. On a terminal the widest ones are cut until a row fits it.

    `width`: in characters; None asks the terminal, and cuts nothing where there is none, so that
    `grep` finds everything.
    """
    if width is None and sys.stdout.isatty():
        width = os.get_terminal_size(sys.stdout.fileno()).columns or 80
    lines = [[clean(cell if isinstance(cell, str) else cell[0]) for cell in row] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(headers, *lines, strict=True)]
    if width is not None:
        _shrink(widths, headers, width)
    shown = [style(_line(headers, widths), "dim")]
    for row, texts in zip(rows, lines, strict=True):
        colours = ["" if isinstance(cell, str) else cell[1] for cell in row]
        shown.append(_line(texts, widths, colours))
    return "\n".join(shown)


def _shrink(widths: list[int], headers: Sequence[str], width: int) -> None:
    room = width - _GAP * (len(widths) - 1)
    floors = [max(NARROWEST, len(header)) for header in headers]
    while sum(widths) > room:
        over = [at for at, wide in enumerate(widths) if wide > floors[at]]
        if not over:
            return
        # The first column holds what other commands are given, and goes last.
        over = over[1:] if over[0] == 0 and len(over) > 1 else over
        # The last column holds sentences, and goes first.
        widest = max(over, key=lambda at: (widths[at] - (0 if at == len(widths) - 1 else 30), at))
        widths[widest] -= 1


def _line(texts: Sequence[str], widths: Sequence[int], colours: Sequence[str] = ()) -> str:
    cells: list[str] = []
    for at, (text, wide) in enumerate(zip(texts, widths, strict=True)):
        cut = text if len(text) <= wide else text[: wide - 1] + "…"
        padded = cut.ljust(wide) if at < len(texts) - 1 else cut
        cells.append(style(padded, colours[at]) if colours else padded)
    return (" " * _GAP).join(cells).rstrip()


def facts(pairs: Sequence[tuple[str, object]]) -> str:
    """`name: value`, one a line, without those that have no value."""
    shown = [(name, value) for name, value in pairs if value not in (None, "", [], {})]
    wide = max((len(name) for name, _ in shown), default=0) + 1
    return "\n".join(
        f"{style((name + ':').ljust(wide), 'dim')}  {clean(str(value), keep_lines=True)}"
        for name, value in shown
    )


def ago(moment: str | datetime | None, now: datetime | None = None) -> str:
    """`4m` for something that was four minutes ago; empty when it is not known."""
    seconds = seconds_from(moment, now)
    return "" if seconds is None else about(-seconds)


def until(moment: str | datetime | None, now: datetime | None = None) -> str:
    """`in 4m`, or `over` when it has passed."""
    seconds = seconds_from(moment, now)
    if seconds is None:
        return ""
    return "over" if seconds <= 0 else f"in {about(seconds)}"


def about(seconds: float) -> str:
    """A duration with at most two units: `2d4h`, `3m20s`, `12s`, `<1s`."""
    if seconds < 1:
        return "0s" if seconds <= 0 else "<1s"
    for unit, coarse in ((86400, 3600), (3600, 60), (60, 1)):
        if seconds >= unit:
            return format_duration(seconds // coarse * coarse)
    return format_duration(int(seconds))


def seconds_from(moment: str | datetime | None, now: datetime | None = None) -> float | None:
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            return None
    if moment is None:
        return None
    return (moment - (now or datetime.now(UTC))).total_seconds()


def value_text(value: Any) -> str:
    """Text as it is; anything else as JSON."""
    import json  # noqa: PLC0415 - already loaded by whoever has a document

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
