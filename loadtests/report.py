"""Figures: how they are summed up, judged against their targets, printed and kept."""

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median

WIDTH = 80


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which `part` (0 to 1) of the values lie; the nearest one, not a mixture."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def p50(values: Sequence[float]) -> float:
    return percentile(values, 0.50)


def p95(values: Sequence[float]) -> float:
    return percentile(values, 0.95)


def p99(values: Sequence[float]) -> float:
    return percentile(values, 0.99)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `values` has one figure per repetition; their median is shown."""

    name: str
    values: list[float]
    unit: str
    """`s`, `/s`, `B` or `x` (a ratio)."""
    target: str = ""
    met: bool | None = None
    """None: a floor or a fact, that nothing is asked of."""

    @property
    def middle(self) -> float:
        return median(self.values)


def at_most(name: str, values: list[float], unit: str, limit: float, target: str) -> Row:
    return Row(name, values, unit, target, met=median(values) <= limit)


def at_least(name: str, values: list[float], unit: str, limit: float, target: str) -> Row:
    return Row(name, values, unit, target, met=median(values) >= limit)


def fact(name: str, values: list[float], unit: str) -> Row:
    return Row(name, values, unit)


@dataclass(frozen=True, slots=True)
class Section:
    """What one scenario found. `notes` say under which conditions."""

    title: str
    rows: list[Row]
    notes: list[str] = field(default_factory=list[str])


def format_value(value: float, unit: str) -> str:
    if unit == "s":
        if value >= 1:
            return f"{value:.2f} s"
        return f"{value * 1e3:.2f} ms" if value >= 1e-3 else f"{value * 1e6:.0f} µs"
    if unit == "B":
        return f"{value / 1024:.2f} KiB" if value < 1 << 20 else f"{value / (1 << 20):.1f} MiB"
    if unit == "/s":
        return f"{value:,.0f} /s"
    return f"{value:.2f} x"


def format_section(section: Section) -> str:
    """A table of at most 80 columns: name, median, spread over the repetitions, target, verdict."""
    lines = [section.title, "-" * len(section.title)]
    for row in section.rows:
        low, high = (format_value(end, row.unit) for end in (min(row.values), max(row.values)))
        spread = f"{low.split()[0]}..{high.split()[0]}" if len(row.values) > 1 else ""
        verdict = {None: "", True: "ok", False: "MISS"}[row.met]
        line = f"{row.name:<33.33}{format_value(row.middle, row.unit):>11}  {spread:<15}"
        lines.append(f"{line}{row.target:<14.14}{verdict:>4}".rstrip())
    return "\n".join([*lines, *[f"  {note}" for note in section.notes], ""])


def machine() -> dict[str, str | int]:
    """Where the figures were taken, as the table's reader must know."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count() or 0,
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("stoker", "aiohttp", "uvloop")},
    }


def keep(sections: Sequence[Section], folder: Path, *, quick: bool) -> Path:
    """Writes everything, each repetition included, to `<time>.json` and returns its path."""
    now = time.gmtime()
    path = folder / time.strftime("%Y-%m-%dT%H%M%SZ.json", now)
    document = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", now),
        "quick": quick,
        "machine": machine(),
        "sections": [asdict(section) for section in sections],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path
