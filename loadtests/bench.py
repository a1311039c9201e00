"""`make bench`: measures the daemon against floors taken in the same run.

    python -m loadtests.bench [--quick] [--only SCENARIO …] [--strict]

Prints a table for each scenario and writes everything to loadtests/results/. The exit code is 0
when everything could be measured; with `--strict`, only when every target was met too.
"""

import argparse
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from .report import WIDTH, Section, format_section, keep, machine
from .scale import QUICK, Scale
from .scenarios import (
    backfilling,
    changes,
    claims,
    configuring,
    departures,
    floors,
    pacing,
    policed,
    policies,
    queueing,
    tracking,
)

SCENARIOS: dict[str, Callable[[Scale], Awaitable[Section]]] = {
    "floors": floors.run,
    "claims": claims.run,
    "backfilling": backfilling.run,
    "tracking": tracking.run,
    "pacing": pacing.run,
    "changes": changes.run,
    "config": configuring.run,
    "departures": departures.run,
    "queueing": queueing.run,
    "policies": policies.run,
    "policed": policed.run,
}
RESULTS = Path(__file__).parent / "results"


async def measure(names: list[str], scale: Scale) -> list[Section]:
    sections: list[Section] = []
    for name in names:
        began = time.perf_counter()
        section = await SCENARIOS[name](scale)
        sections.append(section)
        print(format_section(section), f"  ({name}: {time.perf_counter() - began:.0f} s)\n")
    return sections


def main() -> int:
    parser = argparse.ArgumentParser(prog="loadtests.bench", description="measure the daemon")
    parser.add_argument("--quick", action="store_true", help="show that it runs, in a minute")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--strict", action="store_true", help="fail when a target is missed")
    options = parser.parse_args()

    print("=" * WIDTH)
    print("\n".join(f"{name:<8} {value}" for name, value in machine().items()))
    if options.quick:
        print("quick: each figure is taken once and briefly; it shows that the benchmark runs")
    print("=" * WIDTH, end="\n\n")
    sections = uvloop.run(measure(options.only, QUICK if options.quick else Scale()))
    path = keep(sections, RESULTS, quick=options.quick)
    missed = [row.name for section in sections for row in section.rows if row.met is False]
    print(f"targets missed: {', '.join(missed) or 'none'}")
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return 1 if options.strict and missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
