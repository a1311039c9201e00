"""The report of the audit for people: three tables that fit eighty columns."""

from datetime import UTC, datetime

from ..audit_report import Report
from .terminal import Cell, about, table

WIDTH = 80


def tables(report: Report) -> str:
    if not report.events:
        return "Nothing happened in that time."
    parts: list[str] = []
    if report.uses:
        headers = ("PERIOD", "CALLER", "POOL", "CLAIMS", "OPEN", "HELD", "LONGEST", "REFUSED")
        rows: list[list[Cell]] = [
            [
                period,
                caller,
                pool,
                str(use.bound),
                str(use.open),
                about(use.held),
                about(use.longest),
                ", ".join(f"{count} {code}" for code, count in sorted(use.refused.items())),
            ]
            for (period, caller, pool), use in sorted(report.uses.items())
        ]
        parts.append(table(headers, rows, width=WIDTH))
    if report.actions:
        rows = [
            [period, action, by, subject, str(count)]
            for (period, action, by, subject), count in sorted(report.actions.items())
        ]
        parts.append(table(("PERIOD", "ACTION", "BY", "SUBJECT", "TIMES"), rows, width=WIDTH))
    if report.changes:
        rows = [
            [f"{datetime.fromtimestamp(one.at, UTC):%Y-%m-%d %H:%M:%S}", one.kind, one.what]
            for one in report.changes
        ]
        parts.append(table(("TIME", "CONFIGURATION", "WHAT"), rows, width=WIDTH))
        if report.further_changes:
            parts.append(f"… and {report.further_changes} more changes of the configuration")
    return "\n\n".join(parts) or "Nothing happened that is summed up here."
