"""What is said of a pool in each situation."""

from dataclasses import replace
from typing import Any

from stoker.config.revision import Backfill, Lifetime, PoolSpec
from stoker.pools.breaker import Breaker
from stoker.pools.explaining.filling import ProviderFacts, full_in, pace_of
from stoker.pools.explaining.of_pools import explain_pool
from stoker.pools.explaining.pool_facts import KINDS, PoolFacts, Stuck
from stoker.pools.explaining.shape import Present
from stoker.pools.ids import ClaimId, ResourceId
from stoker.pools.lifecycle import ResourceState
from stoker.pools.part_times import Measured
from stoker.pools.plan import Snapshot, plan
from stoker.pools.rollout import Stage
from stoker.pools.status import PoolStatus, RolloutStatus
from stoker.pools.switches import Operator, Switch, SwitchKind
from tests.builders import a_member, a_pool, a_snapshot, under_way

S = ResourceState
NOW = 1000.0


def a_status(spec: PoolSpec, snapshot: Snapshot, **counts: int) -> PoolStatus:
    ready = snapshot.current + snapshot.outdated
    states = {S.READY: ready, S.PREPARING: snapshot.coming, S.ENDING: snapshot.leaving}
    states |= {S(name): count for name, count in counts.items()}
    return PoolStatus(
        name=spec.name,
        blueprint=spec.blueprint.name,
        digest=spec.blueprint.digest,
        revision="r1",
        labels={},
        min=spec.size.min,
        max=spec.size.max,
        ready=ready,
        waiting=snapshot.waiting,
        draining=snapshot.draining,
        counts=states,
        unverified=0,
        drifted=len(snapshot.drifted),
        outdated=snapshot.outdated,
    )


def facts(
    spec: PoolSpec | None = None, *, bound: int = 0, quarantined: int = 0, **snapshot: Any
) -> PoolFacts:
    """A pool that has just decided."""
    spec = spec or a_pool(min=3, max=20)
    taken = a_snapshot(bound=bound + quarantined, **snapshot)
    status = a_status(spec, taken, bound=bound, quarantined=quarantined)
    decided = plan(spec, taken, NOW)
    breaker = taken.breaker
    return PoolFacts(
        spec, status, taken, Present(NOW), plan=decided, planned_at=NOW - 2, breaker=breaker
    )


def measured(seconds: float, samples: int = 12) -> Measured:
    return Measured(seconds, seconds, 0.0, seconds * 2, samples, samples)


def sentences(known: PoolFacts) -> str:
    return " ".join(explain_pool(known).why)


def test_every_state_of_a_resource_is_counted_once() -> None:
    counted = [state for _, states in KINDS for state in states]
    assert sorted(counted) == sorted(set(S) - {S.GONE})


def test_a_full_pool_says_so_and_why_it_has_this_size() -> None:
    found = explain_pool(facts(ready=3, bound=2))
    assert found.summary == "web has 3 ready and keeps 3: it is full."
    assert "It keeps 3 ready (size.min) and has 20 at most (size.max)" in found.why[0]
    assert found.why[1] == "It has 5 now: 3 ready and 2 bound."
    assert "It last decided 2s ago that nothing is to be done." in found.why


def test_each_command_of_the_last_plan_is_told_with_its_reason() -> None:
    found = sentences(facts(ready=1, waiting=2))
    assert "It decided 2s ago to serve 1 who wait: 2 waiting, 1 ready." in found
    assert "to make 1 at once for those who wait: 1 waiting and 0 on the way." in found
    assert "It decided 2s ago to make 3 more: 0 ready, 0 on the way, 3 wanted." in found


def test_retirements_for_the_same_reason_are_told_together() -> None:
    found = sentences(facts(a_pool(min=1, max=20), ready=5))
    assert "to retire 4 (surplus): 5 are ready and 1 are wanted." in found


def test_a_failing_blueprint_is_told_with_its_last_error_and_the_next_attempt() -> None:
    breaker = Breaker(5, "there is no program /bin/nope.", NOW + 12)
    found = explain_pool(facts(breaker=breaker))
    assert found.why[0] == (
        "Creating failed 5 times in a row, the last time with: there is no program /bin/nope. "
        "It rests and is tried again in 12s, with one resource."
    )
    assert found.why[0] in found.summary
    assert ("creating is tried again", 12.0) in [(one.what, one.within) for one in found.next]
    assert found.facts["failures"] == 5
    assert "fullIn" not in found.facts


def test_a_probe_under_way_and_the_first_failures_are_told_apart() -> None:
    probing = sentences(facts(coming=1, breaker=Breaker(4, "no answer", NOW - 1)))
    assert "Now one is being tried, and its outcome decides" in probing
    first = sentences(facts(breaker=Breaker(1, "no answer")))
    assert "The last creation failed, with: no answer. After 3 in a row" in first


def test_a_provider_that_throttles_is_named() -> None:
    known = replace(facts(), providers=(ProviderFacts("cloud", 2, None, NOW + 4),))
    assert "The provider cloud throttles: it is not called before 4s have passed." in sentences(
        known
    )
    asked = sentences(facts(breaker=Breaker(0, "slow down", NOW + 2)))
    assert "A provider asks for patience (slow down): nothing is made before it, in 2s." in asked


def test_a_pool_without_room_says_who_has_it() -> None:
    known = facts(a_pool(min=3, max=10), bound=7, quarantined=2, leaving=1)
    found = explain_pool(replace(known, holders={"ada": 5, "ci": 2}))
    assert found.why[0] == (
        "10 of 10 slots (size.max) are taken, which leaves no room for 3 that are wanted: 7 bound "
        "(5 by ada and 2 by ci), 1 being removed and 2 quarantined."
    )
    assert "fullIn" not in found.facts


def test_the_rate_is_the_narrowest_limit_and_names_it() -> None:
    backfill = Backfill(rate=5.0, burst=10, concurrency=2)
    assert str(pace_of(backfill, None)) == "5/s"
    slow = pace_of(backfill, measured(4.0))
    assert (str(slow), slow.because) == (
        "30/m",
        "its backfill.concurrency of 2, at 4s each",
    )
    bounded = pace_of(backfill, measured(0.1), [ProviderFacts("cloud", 2, 1.0)])
    assert bounded.per_second == 0.5
    assert bounded.because == "the rate of the provider cloud, 2 calls for each resource"


def test_until_full_it_takes_rounds_of_the_concurrency_and_the_pace_after_the_burst() -> None:
    backfill = Backfill(rate=1.0, burst=2, concurrency=10)
    pace = pace_of(backfill, measured(0.5))
    assert full_in(0, backfill, None, pace) == 0
    assert full_in(2, backfill, measured(0.5), pace) == 0.5
    assert full_in(5, backfill, measured(0.5), pace) == 3.5
    assert full_in(5, backfill, measured(0.5), pace, rest=10) == 13.5
    narrow = Backfill(rate=100.0, burst=100, concurrency=2)
    assert full_in(5, narrow, measured(1.0), pace_of(narrow, measured(1.0))) == 3
    assert full_in(5, backfill, None, pace) is None


def test_the_estimate_says_what_it_assumes() -> None:
    spec = a_pool(min=3, max=20, backfill=Backfill(rate=5.0, burst=10, concurrency=4))
    found = explain_pool(replace(facts(spec, ready=1), creation=measured(4.0)))
    assert found.summary == "web has 1 ready and keeps 3: it is full again in about 4s."
    assert (
        "It is full in about 4s, if no creation fails and nothing more is claimed until then."
    ) in found.why
    assert "one takes 4s (the median of the last 12)" in " ".join(found.why)
    assert found.facts["fullIn"] == "4s"


def test_without_a_measurement_nobody_pretends_to_know() -> None:
    found = explain_pool(facts(ready=1))
    assert "nobody can say how long one takes" in " ".join(found.why)
    assert "fullIn" not in found.facts


def test_drift_and_removals_that_do_not_work_are_told_with_what_was_found() -> None:
    drifted = facts(ready=2, drifted=(a_member("web-x", problem="server is absent"),))
    assert "1 drifted from what was made and is replaced; web-x: server is absent." in sentences(
        drifted
    )
    stuck = Stuck(ResourceId("web-y"), "server", 7, "no permission", NOW + 9)
    found = explain_pool(replace(facts(ready=3, quarantined=1), stuck=(stuck,)))
    assert "web-y keeps its slot, because its removal is not proved: no permission" in found.why[0]
    assert found.next[0].what == "the removal of web-y is tried again"


def test_what_comes_next_is_in_order_with_ages_and_the_next_end_of_a_claim() -> None:
    spec = a_pool(min=3, max=20, lifetime=Lifetime(max_age=100.0))
    known = replace(
        facts(spec, ready=3, ready_at=NOW - 50),
        oldest=(ResourceId("web-1"), NOW - 50),
        next_end=(ClaimId("c-1"), NOW + 20),
    )
    assert [(one.what, one.within) for one in explain_pool(known).next] == [
        ("c-1 ends, unless it is renewed", 20.0),
        ("web-1 reaches 90 % of maxAge, and one is made in its place", 40.0),
        ("web-1 reaches maxAge and is removed", 50.0),
    ]


def test_a_pool_that_is_no_longer_declared_says_what_becomes_of_it() -> None:
    found = explain_pool(facts(ready=1, bound=2, draining=True))
    assert found.summary == "web is draining: 3 resources are left."
    assert found.why[0].startswith("web is no longer declared: nothing is made for it any more")


def test_a_ledger_that_refuses_is_told_before_all_else() -> None:
    found = explain_pool(replace(facts(), ledger_error="the disk is full"))
    assert "The ledger refuses writes (the disk is full)" in found.why[0]
    assert "fullIn" not in found.facts


def test_moments_are_on_the_wall_clock_that_people_have() -> None:
    known = replace(facts(breaker=Breaker(5, "no", NOW + 12)), present=Present(NOW, 3600.0))
    assert explain_pool(known).next[0].at == NOW + 12 + 3600


def a_switch(kind: SwitchKind, *, until: float | None = None) -> Switch:
    return Switch(kind, "web", Operator(0, "ada"), "the disk is replaced", NOW - 60, until)


def test_a_paused_pool_says_by_whom_for_how_long_and_why() -> None:
    known = facts(coming=1, paused=True)
    switch = a_switch(SwitchKind.PAUSE, until=NOW + 1800)
    found = explain_pool(replace(known, status=replace(known.status, switch=switch)))
    assert found.summary.startswith("web is paused, has 0 ready and keeps 3")
    assert found.why[0] == (
        "web is paused by ada, for 30m more, because: the disk is replaced: nothing new is bound, made or "
        "rolled until 'stoker resume'."
    )
    assert "fullIn" not in found.facts
    assert ("its pause ends", NOW + 1800) in {(one.what, one.at) for one in found.next}


def test_a_drain_by_an_operator_is_told_apart_from_a_pool_that_is_not_declared() -> None:
    known = facts(ready=1, draining=True)
    status = replace(known.status, switch=a_switch(SwitchKind.DRAIN))
    why = explain_pool(replace(known, status=status)).why[0]
    assert why.startswith("web is drained by ada, because: the disk is replaced: nothing is made")


def test_a_refresh_is_told_with_who_asked_for_it() -> None:
    known = facts(ready=3, refresh=True)
    status = replace(known.status, refresh=a_switch(SwitchKind.REFRESH))
    assert "It is being refreshed by ada" in sentences(replace(known, status=status))


def rolled(stage: Stage, *, waits: str = "", **snapshot: Any) -> PoolFacts:
    under = under_way(stage, progress_at=NOW - 60, proves_at=NOW + 20)
    known = facts(rolling=under, **snapshot)
    status = RolloutStatus(
        stage, "d1" * 20, "d0" * 20, NOW - 90, NOW - 60, "it made no progress.", waits,
        NOW + 3600 if waits else None,
    )  # fmt: skip
    return replace(known, status=replace(known.status, rollout=status))


def test_a_canary_is_told_with_what_it_takes_and_what_serves_meanwhile() -> None:
    found = explain_pool(rolled(Stage.CANARY, outdated=3, ready=1))
    told = " ".join(found.why)

    assert (
        "The blueprint changed 1m30s ago. First 1 (rollout.canary) is made of it and must stay healthy "
        "for 30s (rollout.settle); until then the one before serves."
    ) in told
    assert "3 of the ready ones are outdated" in told
    assert "handed out before the others" in told
    assert "1 more than size.min at most (rollout.maxSurge), and 3 ready at least" in told
    coming = {one.what: one.within for one in found.next}
    assert coming["a canary has proved itself, if it stays healthy"] == 20.0
    assert coming["its rollout is paused, unless it makes progress"] == 540.0
    assert (found.facts["rollout"], found.facts["previousDigest"]) == ("canary", "d0" * 20)


def test_a_paused_rollout_is_told_first_with_its_reason_and_the_way_out() -> None:
    found = explain_pool(rolled(Stage.PAUSED, outdated=3))

    assert found.why[0] == (
        "The rollout of d1d1d1d1d1d1 has been paused for 1m: it made no progress. The blueprint before "
        "(d0d0d0d0d0d0) serves on, until another revision changes the blueprint or "
        "'stoker resume web' tries again."
    )


def test_a_rollout_that_waits_says_what_for_and_until_when() -> None:
    found = explain_pool(rolled(Stage.ROLLING, waits="its windows are closed", outdated=3))

    assert found.why[0] == "The rollout waits: its windows are closed; a window opens in 1h."
    assert ("a window of its rollout opens", 3600.0) in [(o.what, o.within) for o in found.next]


def test_what_is_made_of_the_blueprint_before_is_told_apart() -> None:
    told = sentences(rolled(Stage.CANARY, outdated=1, ready=1))

    assert "to make 1 more of the blueprint before: 2 ready, 0 on the way, 3 wanted" in told
