"""What the audit says of a time, period by period: who claimed what and for how long, who was refused,
what operators did, and how the configuration changed. Pure: events go in, a `Report` comes out.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import cast

from ..config.json_types import Json
from ..pools.store import Event
from .event_subjects import revision_told

NOT_SERVED = ("claim.refused", "claim.failed", "claim.denied")
ENDS = ("claim.released", "claim.expired", "claim.claimant-gone", "claim.revoked")
_OF_CLAIMS = frozenset(
    {
        "claim.bound",
        "claim.pending",
        "claim.approval-requested",
        "claim.misgrant-found",
        *NOT_SERVED,
    }
)
"""What the claimant did not do, or does with every claim, is no action."""
_VOTES = frozenset({"claim.voted", "claim.break-glass-reviewed"})
"""What came of them has events of its own, which say the same once more."""
MOST_CHANGES = 1000
"""Changes of the configuration that are listed; the rest is counted."""

PERIODS: Mapping[str, Callable[[datetime], str]] = {
    "day": lambda at: f"{at:%Y-%m-%d}",
    "week": lambda at: "{}-W{:02}".format(*at.isocalendar()[:2]),
    "month": lambda at: f"{at:%Y-%m}",
}


@dataclass(slots=True)
class Use:
    """What one caller did with one pool in one period. Widths are seconds."""

    bound: int = 0
    open: int = 0
    """Of those: not over when the report ends."""
    held: float = 0.0
    longest: float = 0.0
    renewed: int = 0
    ended: Counter[str] = field(default_factory=Counter[str])
    refused: Counter[str] = field(default_factory=Counter[str])
    """By code."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that happened to the configuration."""

    at: float
    kind: str
    what: str


@dataclass(slots=True)
class Report:
    events: int = 0
    uses: dict[tuple[str, str, str], Use] = field(default_factory=dict[tuple[str, str, str], Use])
    """By period, caller and pool."""
    actions: Counter[tuple[str, str, str, str]] = field(
        default_factory=Counter[tuple[str, str, str, str]]
    )
    """By period, action, operator and subject."""
    changes: list[Change] = field(default_factory=list[Change])
    further_changes: int = 0


@dataclass(slots=True)
class _Running:
    use: Use
    since: float


class Reporter:
    """Give it every event in order, then `finish`. `by` is one of PERIODS; times are wall seconds."""

    def __init__(self, *, by: str, since: float | None, until: float | None) -> None:
        self.report = Report()
        self._period = PERIODS[by]
        self._since = since
        self._until = until
        self._running: dict[str, _Running] = {}
        self._callers: dict[str, str] = {}
        """Who waits, by claim: its end does not say so in older ledgers."""

    def take(self, event: Event) -> None:
        if self._until is not None and event.at >= self._until:
            return
        data = event.data
        if event.kind in ENDS:
            self._end(event)
        if self._since is not None and event.at < self._since:
            return
        self.report.events += 1
        if event.kind == "claim.bound":
            use = self._use(event, _caller(data))
            use.bound += 1
            self._running[event.claim] = _Running(use, event.at)
            self._callers.pop(event.claim, None)
        elif event.kind == "claim.pending":
            self._callers[event.claim] = _caller(data)
        elif event.kind in NOT_SERVED:
            waited = self._callers.pop(event.claim, "")
            caller = _caller(data) if "uid" in data else waited
            code = str(data.get("code") or data.get("rule") or event.kind.partition(".")[2])
            self._use(event, caller).refused[code] += 1
        elif event.kind == "claim.renewed" and event.claim in self._running:
            self._running[event.claim].use.renewed += 1
        elif event.kind.startswith("config."):
            self._change(event)
        elif event.kind in _VOTES or ("uid" in data and event.kind not in _OF_CLAIMS):
            self._act(event, event.resource or event.claim or event.pool)

    def finish(self, now: float) -> Report:
        """`now`: until when those that are not over were held."""
        for running in self._running.values():
            running.use.open += 1
            _hold(running, now)
        return self.report

    def _end(self, event: Event) -> None:
        self._callers.pop(event.claim, None)
        running = self._running.pop(event.claim, None)
        if running is not None:
            running.use.ended[event.kind.partition(".")[2]] += 1
            _hold(running, event.at)

    def _act(self, event: Event, subject: str) -> None:
        by = event.data.get("by")
        who = _caller(by if isinstance(by, dict) else event.data)
        action = (self._when(event), event.kind, who, subject)
        self.report.actions[action] += 1

    def _change(self, event: Event) -> None:
        if "uid" in event.data:  # an operator accepted it, pinned it, or went back to it
            self._act(event, str(event.data.get("revision", "")))
        if len(self.report.changes) >= MOST_CHANGES:
            self.report.further_changes += 1
            return
        revision = revision_told(event.kind, event.data)
        what = event.reason or (f"revision {revision}" if revision else "")
        if event.reason and revision:
            what = f"{revision}: {event.reason}"
        self.report.changes.append(Change(event.at, event.kind, what))

    def _use(self, event: Event, caller: str) -> Use:
        return self.report.uses.setdefault((self._when(event), caller, event.pool), Use())

    def _when(self, event: Event) -> str:
        return self._period(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=event.at))


def _hold(running: _Running, until: float) -> None:
    held = max(0.0, until - running.since)
    running.use.held += held
    running.use.longest = max(running.use.longest, held)


def _caller(data: Mapping[str, Json]) -> str:
    """`ada`, or `uid 1000`; with the subject of its token, if it had one, or that alone."""
    subject = str(data.get("subject") or "")
    if subject and "uid" not in data and not data.get("user"):
        return subject
    user = str(data.get("user") or (f"uid {data['uid']}" if "uid" in data else "unknown"))
    return f"{user} ({subject})" if subject else user


def as_json(report: Report, moment: Callable[[float], str]) -> dict[str, object]:
    """`moment` writes a wall-clock time."""
    periods: dict[str, dict[str, list[dict[str, object]]]] = {}
    for (period, caller, pool), use in sorted(report.uses.items()):
        periods.setdefault(period, {"claims": [], "actions": []})["claims"].append(
            {
                "caller": caller,
                "pool": pool,
                "bound": use.bound,
                "open": use.open,
                "heldSeconds": round(use.held, 3),
                "longestSeconds": round(use.longest, 3),
                "renewed": use.renewed,
                "ended": dict(use.ended),
                "refused": dict(use.refused),
            }
        )
    for (period, action, by, subject), count in sorted(report.actions.items()):
        periods.setdefault(period, {"claims": [], "actions": []})["actions"].append(
            {"action": action, "by": by, "subject": subject, "count": count}
        )
    return {
        "events": report.events,
        "periods": [
            {"period": period, **cast("dict[str, object]", found)}
            for period, found in sorted(periods.items())
        ],
        "config": [
            {"at": moment(one.at), "kind": one.kind, "what": one.what} for one in report.changes
        ],
        "furtherConfig": report.further_changes,
    }
