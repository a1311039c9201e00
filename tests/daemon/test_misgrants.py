"""Which bound claims the present policies would deny, and of which nobody can tell."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from stoker.config.policies.rules import Limits, PolicySpec
from stoker.daemon.judging import PolicyJudge
from stoker.daemon.misgrant_watch import KIND, MisgrantWatch
from stoker.daemon.misgrants import Misgrant, Place, misgrant_of
from stoker.policies.index import index_of
from stoker.pools.approvals import Approval, Outcome
from stoker.pools.claim import Claim, Claimant, ClaimState, Token
from stoker.pools.decided import Decided
from stoker.pools.ids import ClaimId
from stoker.pools.store import Event, StoreError
from tests.policies.builders import a_policy, a_rule, allow, approve, deny
from tests.rig import Host, Run, a_box_pool, virtual_throttle

ADA = Claimant(1001, 1001, 1, "ada", "/usr/bin/python3", "ada.service", ("web",))
MADE = datetime(2026, 1, 31, 12, tzinfo=UTC)
DECIDED = Decided("team", "any", 60.0, {}, {}, "", (), None, "r1")


def a_claim(claimant: Claimant = ADA, **more: Any) -> Claim:
    given: dict[str, Any] = {"state": ClaimState.BOUND, "decision": DECIDED, **more}
    return Claim(ClaimId("c-1"), "web", claimant, 0.0, 60.0, 600.0, 30.0, **given)


def found(claim: Claim, *policies: PolicySpec, **pool: Any) -> Misgrant | None:
    spec = a_box_pool(**pool)
    place = Place(spec, index_of(policies, [spec.name]).of(spec.name), 0, "here")
    return misgrant_of(claim, place, MADE)


def test_a_claim_that_the_policies_would_let_be_is_none() -> None:
    assert found(a_claim(), a_policy(allow('"web" in caller.groups'))) is None


def test_a_claim_that_a_rule_denies_is_named_with_it() -> None:
    rule = a_rule("deny", 'caller.user == "ada"', name="no-adas", message="no adas")
    misgrant = found(a_claim(), a_policy(allow(), rule))
    assert Misgrant("team", "no-adas", "no adas", True) == misgrant
    nobody = found(a_claim(), a_policy(allow('caller.user == "bob"')))
    assert nobody is not None
    assert ("", True) == (nobody.policy, nobody.certain)


def test_what_a_limit_of_the_request_denies_is_one_and_what_is_counted_is_not() -> None:
    long = found(replace(a_claim(), ttl=500.0), a_policy(allow(), limits=Limits(max_ttl=100.0)))
    assert long is not None
    assert "limits.maxTtl" == long.rule
    assert found(a_claim(), a_policy(allow(), limits=Limits(max_active_per_caller=1))) is None


def test_a_claim_is_judged_as_of_when_it_was_made() -> None:
    policy = a_policy(allow('now < timestamp("2026-02-01T00:00:00Z")'))
    assert found(a_claim(), policy) is None


def test_what_depends_on_how_full_the_pool_was_is_held_against_nobody() -> None:
    for rule in ("pool.ready > 3", "pool.ready < 3", "pool.size > 3"):
        assert found(a_claim(), a_policy(allow(rule))) is None


def test_an_approval_that_is_asked_for_by_now_and_was_never_given_is_one() -> None:
    asks = a_policy(approve(name="asks"))
    never = found(a_claim(), asks)
    assert never is not None
    assert "asks" == never.rule
    given = Approval("d", (), 0.0, 10.0, outcome=Outcome.GRANTED)
    assert found(a_claim(approval=given), asks) is None


def test_of_a_token_whose_body_is_gone_nobody_can_tell_what_it_said() -> None:
    by_token = replace(ADA, token=Token("https://login", "ada"))
    misgrant = found(a_claim(by_token), a_policy(allow('caller.token.team == "web"')))
    assert misgrant is not None
    assert not misgrant.certain
    certain = found(
        a_claim(by_token), a_policy(allow('caller.user == "bob"'), deny("caller.uid == 1001"))
    )
    assert certain is not None
    assert certain.certain


@pytest.fixture
def throttled() -> Iterator[None]:
    with virtual_throttle():
        yield


def a_watch(run: Run) -> MisgrantWatch:
    judge = run.services.judge
    assert isinstance(judge, PolicyJudge)
    return MisgrantWatch(run.fleet, run.services, judge)


async def told(run: Run) -> list[Event]:
    return list(await run.store.events(after=0, limit=100, kind=KIND))


@pytest.mark.looptime
@pytest.mark.usefixtures("throttled")
async def test_claims_that_other_policies_would_deny_are_found_told_once_and_forgotten() -> None:
    host = Host(policies=(a_policy(allow()),))
    run = await host.start(a_box_pool(min=4))
    await run.until_ready(4)
    ada = await run.claim(claimant=ADA)
    bob = await run.claim(claimant=replace(ADA, uid=1002, user="bob"))
    watch = a_watch(run)
    await watch.look()
    assert {} == watch.figures()

    host.policies = (
        a_policy(allow('caller.user == "bob"'), deny('caller.user == "ada"', name="x")),
    )
    await run.fleet.apply(replace(host.revision(a_box_pool(min=4)), id="r2", digest="d2"))
    for _ in range(3):
        await watch.look()
    assert {("web", "team", True): 1} == watch.figures()
    (event,) = await told(run)
    assert (ada.id, "x", 1001) == (event.claim, event.data["rule"], event.data["uid"])

    await run.fleet.release(ada.id, request_id="r")
    await watch.look()
    assert {} == watch.figures()
    assert bob.state is ClaimState.BOUND
    await run.stop()


@pytest.mark.looptime
@pytest.mark.usefixtures("throttled")
async def test_what_cannot_be_written_down_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(policies=(a_policy(allow()),))
    run = await host.start(a_box_pool(min=2))
    await run.until_ready(2)
    await run.claim(claimant=ADA)
    watch = a_watch(run)
    host.policies = (a_policy(deny()),)
    await run.fleet.apply(replace(host.revision(a_box_pool(min=2)), id="r2", digest="d2"))

    async def full(*_: object, **__: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(run.store, "commit", full)
        await watch.look()
    assert [] == await told(run)
    await watch.look()
    assert 1 == len(await told(run))
    await run.stop()
