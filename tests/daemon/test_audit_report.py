"""The report of the audit, from events that are given."""

from typing import Any

import pytest

from stoker.daemon.audit_report import MOST_CHANGES, Report, Reporter, as_json
from stoker.daemon.cli.audit_tables import tables
from stoker.pools.moments import rfc3339
from stoker.pools.store import Event

DAY = 86400.0
MONDAY = 1_767_571_200.0  # 2026-01-05


def event(kind: str, at: float = 0.0, claim: str = "", pool: str = "web", **data: Any) -> Event:
    reason = str(data.pop("reason", ""))
    return Event(1, MONDAY + at, kind, pool, "", claim, "", reason, data, "")


def bound(claim: str, at: float = 0.0, **more: Any) -> Event:
    said: dict[str, Any] = {"uid": 1000, "user": "ada", "pid": 1, **more}
    return event("claim.bound", at, claim, **said)


def report(
    *events: Event,
    by: str = "day",
    since: float | None = None,
    until: float | None = None,
    now: float = 10 * DAY,
) -> Report:
    reporter = Reporter(by=by, since=since, until=until)
    for each in events:
        reporter.take(each)
    return reporter.finish(MONDAY + now)


def test_who_claimed_what_and_for_how_long() -> None:
    made = report(
        bound("c-1"),
        bound("c-2", 10),
        event("claim.renewed", 20, "c-1"),
        event("claim.released", 60, "c-1"),
        event("claim.expired", 100, "c-2"),
        bound("c-3", 200, user="bob", subject="b@example.org"),
    )
    ada = made.uses["2026-01-05", "ada", "web"]
    assert (2, 0, 150.0, 90.0, 1) == (ada.bound, ada.open, ada.held, ada.longest, ada.renewed)
    assert {"released": 1, "expired": 1} == dict(ada.ended)
    bob = made.uses["2026-01-05", "bob (b@example.org)", "web"]
    assert (1, 1, 10 * DAY - 200) == (bob.bound, bob.open, bob.held)


def test_refusals_are_counted_by_code_and_caller() -> None:
    waiting = event("claim.pending", 0, "c-1", uid=7)
    made = report(
        waiting,
        event("claim.refused", 5, "c-1", code="wait-timeout"),
        event("claim.failed", 6, "c-2", uid=8, user="eve", code="finish-failed"),
        event("claim.denied", 7, uid=8, user="eve", rule="members-only"),
    )
    assert {"wait-timeout": 1} == dict(made.uses["2026-01-05", "uid 7", "web"].refused)
    assert {"finish-failed": 1, "members-only": 1} == dict(
        made.uses["2026-01-05", "eve", "web"].refused
    )


def test_who_voted_is_told_and_a_rejected_claim_is_refused_once() -> None:
    bob, zoe = {"uid": 2, "user": "bob", "pid": 7}, {"issuer": "https://login", "subject": "zoe"}
    made = report(
        event("claim.pending", 0, "c-1", uid=7),
        event("claim.approval-requested", 0, "c-1", uid=7),
        event("claim.voted", 1, "c-1", by=bob, vote="approve"),
        event("claim.voted", 2, "c-1", by=zoe, vote="reject", carriedBy="chat"),
        event("claim.rejected", 2, "c-1", by=zoe, vote="reject", carriedBy="chat"),
        event("claim.refused", 3, "c-1", uid=7, code="approval-rejected"),
        event("claim.break-glass", 4, "c-2", uid=7),
        event("claim.misgrant-found", 4, "c-2", uid=7),
        event("claim.break-glass-reviewed", 5, "c-2", by=bob, vote="reject", outcome="rejected"),
    )
    assert {"approval-rejected": 1} == dict(made.uses["2026-01-05", "uid 7", "web"].refused)
    assert {
        ("2026-01-05", "claim.voted", "bob", "c-1"): 1,
        ("2026-01-05", "claim.voted", "zoe", "c-1"): 1,
        ("2026-01-05", "claim.break-glass", "uid 7", "c-2"): 1,
        ("2026-01-05", "claim.break-glass-reviewed", "bob", "c-2"): 1,
    } == dict(made.actions)


def test_operators_and_the_configuration() -> None:
    made = report(
        event("pool.paused", uid=0, user="root"),
        event("pool.paused", 1, uid=0, user="root"),
        event("pool.resumed", 2),
        event("config.applied", 3, pool="", revision="0123456789abcdef"),
        event("config.refused", 4, pool="", reason="pools.yaml:3:5: no such driver"),
    )
    assert {("2026-01-05", "pool.paused", "root", "web"): 2} == dict(made.actions)
    assert ["revision 0123456789ab", "pools.yaml:3:5: no such driver"] == [
        one.what for one in made.changes
    ]


def test_every_change_of_the_configuration_names_its_revision_beside_the_reason() -> None:
    commit = "0123456789abcdef"
    made = report(
        event(
            "config.held", 0, pool="", reason="much would go", revision=commit[:12], commit=commit
        ),
        event(
            "config.refused", 1, pool="", reason="no signature", revision="serves", commit=commit
        ),
        event("config.refused", 2, pool="", reason="all.yaml: no such driver", revision="serves"),
    )
    assert [
        "0123456789ab: much would go",
        "0123456789ab: no signature",
        "all.yaml: no such driver",
    ] == [one.what for one in made.changes]


@pytest.mark.parametrize(
    ("by", "periods"),
    [
        ("day", ["2026-01-05", "2026-01-11", "2026-02-04"]),
        ("week", ["2026-W02", "2026-W06"]),
        ("month", ["2026-01", "2026-02"]),
    ],
)
def test_periods(by: str, periods: list[str]) -> None:
    made = report(bound("a"), bound("b", 6 * DAY), bound("c", 30 * DAY), by=by)
    found: Any = as_json(made, rfc3339)
    assert periods == [one["period"] for one in found["periods"]]


def test_only_what_began_between_counts() -> None:
    made = report(
        bound("before"),
        bound("within", DAY),
        event("claim.released", DAY + 5, "before"),
        event("claim.released", DAY + 60, "within"),
        bound("after", 3 * DAY),
        since=MONDAY + DAY,
        until=MONDAY + 2 * DAY,
    )
    (use,) = made.uses.values()
    assert (1, 60.0, {"released": 1}) == (use.bound, use.held, dict(use.ended))


def test_a_clock_that_was_set_back_gives_no_negative_time() -> None:
    (use,) = report(bound("a", 100), event("claim.released", 50, "a")).uses.values()
    assert (0.0, 0.0) == (use.held, use.longest)


def test_many_changes_are_listed_within_bounds() -> None:
    made = report(*[event("config.applied", number) for number in range(MOST_CHANGES + 3)])
    assert (MOST_CHANGES, 3) == (len(made.changes), made.further_changes)
    assert "3 more changes" in tables(made)


def test_tables_fit_eighty_columns_whatever_the_names() -> None:
    long = "n" * 63
    made = report(
        event("claim.bound", 0, "c", long, uid=1, user=long, subject=long),
        event("claim.failed", 0, "d", long, uid=1, user=long, code="blueprint-failing"),
        event("pool.paused", 0, "", long, uid=1, user=long),
        event("config.refused", 0, reason="x" * 500),
    )
    assert [] == [line for line in tables(made).splitlines() if len(line) > 80]
    assert "Nothing happened" in tables(report())


def test_what_operators_decide_about_revisions_is_an_action_and_a_change() -> None:
    made = report(
        event("config.applied", 1, pool="", revision="abc"),
        event("config.rolled-back", 2, pool="", revision="abc", uid=7, user="ada", reason="slow"),
    )
    assert {("2026-01-05", "config.rolled-back", "ada", "abc"): 1} == dict(made.actions)
    assert ["config.applied", "config.rolled-back"] == [one.kind for one in made.changes]
