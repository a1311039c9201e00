"""Claims and renewals as policies let them be: on the real desk, with the real policies."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest

from stoker.config.parameters import Parameters
from stoker.config.policies.rules import ClaimRate, Limits, PolicySpec, Shape
from stoker.config.revision import Blueprint, Cost
from stoker.pools.claim import Claim, Claimant, ClaimState, Token
from stoker.pools.judging import Denial
from stoker.pools.requests import Code, Refusal
from stoker.pools.usage import HOUR
from stoker.pools.wishes import Wish
from tests.policies.builders import a_policy, a_rule, allow, deny
from tests.rig import ME, Host, Run, a_box_pool, boxes, virtual_throttle

pytestmark = [pytest.mark.looptime, pytest.mark.usefixtures("throttled")]
ADA = Claimant(1001, 1001, 1, "ada", "/usr/bin/python3", "ada.service", ("web", "dba"))
BOB = Claimant(1002, 1002, 2, "bob", groups=("web",))


@pytest.fixture(autouse=True)
def throttled() -> Iterator[None]:
    with virtual_throttle():
        yield


def with_parameters(blueprint: Blueprint, **schemas: object) -> Blueprint:
    return replace(blueprint, parameters=Parameters.compile(schemas))  # type: ignore[arg-type]


async def refused(work: object) -> Denial:
    with pytest.raises(Denial) as caught:
        await work  # type: ignore[misc]
    return caught.value


async def a_run(
    *policies: PolicySpec, size: int = 4, host: Host | None = None, **more: object
) -> Run:
    host = host or Host()
    host.policies = policies
    run = await host.start(a_box_pool(min=size, **more))  # type: ignore[arg-type]
    await run.until_ready(size)
    return run


async def events(run: Run, kind: str) -> list[dict[str, object]]:
    found = await run.store.events(after=0, limit=1000, kind=kind)
    return [dict(event.data) for event in found]


async def test_the_verdict_is_kept_with_the_claim_and_told_again_to_a_retry() -> None:
    run = await a_run(
        a_policy(
            allow('"web" in caller.groups', name="members"),
            shape=Shape(default_ttl=120.0, forced_labels={"team": "web"}, cost_centre="w-1"),
        )
    )
    asked = {"claimant": ADA, "key": b"k" * 32, "body": b"b"}
    claim = await run.claim(**asked)  # type: ignore[arg-type]

    decided = claim.decision
    assert decided is not None
    assert ("team", "members", "w-1") == (decided.policy, decided.rule, decided.cost_centre)
    assert (120.0, {"team": "web"}) == (claim.ttl, claim.labels)
    assert {"ttl", "labels.team", "costCentre"} == {str(one["path"]) for one in decided.mutations}
    await run.crash()
    again = await run.host.start(a_box_pool(min=4))
    retried = await again.claim(**asked)  # type: ignore[arg-type]
    assert (claim.id, decided) == (retried.id, retried.decision)
    await again.stop()


async def test_a_denial_names_its_rule_and_stands_in_the_audit_with_the_facts() -> None:
    run = await a_run(
        a_policy(
            allow(),
            a_rule("deny", 'caller.user == "bob"', name="no-bobs", message="no bobs today"),
        )
    )
    denial = await refused(run.claim(claimant=BOB, reason="why not"))

    assert (Code.DENIED, "no bobs today") == (denial.code, denial.message)
    assert {"policy": "team", "rule": "no-bobs"} == denial.details
    assert [] == list(run.fleet.live_claims())
    (told,) = await events(run, "claim.refused")
    decision = told["decision"]
    assert isinstance(decision, dict)
    assert ("deny", "no-bobs") == (decision["verdict"], decision["rule"])
    assert decision["facts"]["caller"]["user"] == "bob"
    assert decision["facts"]["request"]["reason"] == "why not"
    assert decision["revision"] == run.fleet.revision.id  # type: ignore[union-attr]
    assert [("deny", "team", "no-bobs")] == run.decisions
    await run.stop()


async def test_the_facts_of_what_is_allowed_stand_in_the_audit_without_secrets() -> None:
    blueprint = with_parameters(
        boxes(),
        role={"type": "string", "default": "reader"},
        password={"type": "string", "writeOnly": True, "default": ""},
    )
    run = await a_run(
        a_policy(
            allow(
                'request.params.role == "reader" && request.params.password != "x" '
                '&& caller.unit == "ada.service" && pool.ready == 2'
            ),
            shape=Shape(forced_params={"password": "hidden-by-policy"}),
        ),
        size=2,
        blueprint=blueprint,
    )
    claim = await run.claim(claimant=ADA, params={"password": "my-secret"})

    (told,) = await events(run, "claim.bound")
    text = repr(told)
    assert "my-secret" not in text
    assert "hidden-by-policy" not in text
    assert "hidden-by-policy" not in repr(claim.decision and claim.decision.mutations)
    facts = told["decision"]["facts"]  # type: ignore[index]
    assert {"name": "web", "ready": 2, "size": 2} == facts["pool"]
    assert ["web", "dba"] == facts["caller"]["groups"]
    assert "hidden-by-policy" == claim.params["password"]  # what it was made with
    await run.stop()


async def test_what_is_not_known_of_a_caller_is_never_taken_for_what_is_not_there() -> None:
    run = await a_run(
        a_policy(
            allow(),
            deny('"contractors" in caller.groups', name="no-contractors"),
            deny('caller.user == "bob"', name="no-bobs"),
        )
    )
    nameless = replace(ADA, groups=(), unknown=("groups",))
    denial = await refused(run.claim(claimant=nameless))
    assert (Code.CALLER_UNKNOWN, 1.0) == (denial.code, denial.retry_after)
    assert "your groups" in denial.message
    assert ("error", "team", "no-contractors") == run.decisions[-1]
    await run.claim(claimant=replace(ADA, exe="", unknown=("exe", "unit")))  # nobody asks for these
    bob = await refused(run.claim(claimant=replace(BOB, groups=(), unknown=("groups",))))
    assert (Code.DENIED, "no-bobs") == (bob.code, bob.details["rule"])
    await run.stop()


async def test_a_limit_of_a_group_denies_whose_groups_are_not_known() -> None:
    run = await a_run(a_policy(allow(), limits=Limits(max_active_per_group={"web": 3})))
    denial = await refused(run.claim(claimant=replace(ADA, groups=(), unknown=("groups",))))
    assert Code.CALLER_UNKNOWN is denial.code
    await run.stop()


# Limits


async def test_of_claims_that_race_no_more_pass_than_the_limit_grants() -> None:
    run = await a_run(a_policy(allow(), limits=Limits(max_active_per_caller=3)), size=8)
    outcomes = await asyncio.gather(
        *(run.claim(claimant=who) for _ in range(6) for who in (ADA, BOB)), return_exceptions=True
    )
    bound = [it for it in outcomes if isinstance(it, Claim)]
    denied = [it for it in outcomes if isinstance(it, Denial)]
    assert (6, 6) == (len(bound), len(denied))
    assert {Code.LIMIT_REACHED} == {it.code for it in denied}
    assert {"policy": "team", "rule": "limits.maxActivePerCaller"} == denied[0].details
    assert [] == run.breaches()
    await run.fleet.release(bound[0].id, request_id="r")
    await run.claim(claimant=bound[0].claimant)  # at once, though the resource may still be there
    await refused(run.claim(claimant=bound[0].claimant))
    await run.stop()


async def test_a_limit_holds_over_a_crash_for_what_is_held_and_for_what_was_asked() -> None:
    pool = a_box_pool(min=4, blueprint=replace(boxes(), cost=Cost(per_hour=60.0)))
    limits = Limits(
        max_active_per_group={"web": 3},
        max_active_per_label={"team": 2},
        rate_per_caller=ClaimRate(3, 86400.0),
        spend_per_day=1.01,
    )
    host = Host(policies=(a_policy(allow(), limits=limits),))
    run = await host.start(pool)
    await run.until_ready(4)
    first = await run.claim(claimant=ADA, ttl=30.0, labels={"team": "a"})
    await run.claim(claimant=ADA, ttl=20.0)
    await run.fleet.release(first.id, request_id="r")
    await run.settle(5.0)

    await run.crash()
    run = await host.start(pool)
    await run.until_ready(4)
    dear = await refused(run.claim(claimant=ADA, ttl=15.0))
    assert "limits.spendPerDay" == dear.details["rule"]
    await run.claim(claimant=ADA, ttl=10.0)
    often = await refused(run.claim(claimant=ADA, ttl=0.001, labels={"team": "c"}))
    assert "limits.ratePerCaller" == often.details["rule"]
    unlabelled = await refused(run.claim(claimant=BOB))
    assert "limits.maxActivePerLabel.team" == unlabelled.details["rule"]
    await run.claim(claimant=BOB, ttl=0.5, labels={"team": "b"})
    members = await refused(run.claim(claimant=BOB, ttl=0.1, labels={"team": "c"}))
    assert "limits.maxActivePerGroup.web" == members.details["rule"]
    assert [] == run.breaches()
    await run.stop()


BOT = Claimant(1003, 1003, 3, "bot", groups=("web",))


def by_token(subject: str, issuer: str = "https://login.example.org/", uid: int = 1003) -> Claimant:
    """Somebody whose claims come through a user of the host."""
    claims = {"iss": issuer, "sub": subject, "aud": "stoker"}
    return replace(BOT, uid=uid, token=Token(issuer, subject, claims))


async def test_behind_one_user_each_subject_of_a_token_has_limits_of_its_own() -> None:
    limits = Limits(max_active_per_caller=2, rate_per_caller=ClaimRate(3, 86400.0))
    run = await a_run(a_policy(allow(), limits=limits), size=8)
    callers = (by_token("ada"), by_token("bob"), by_token("ada", "https://other.example.org/"), BOT)
    outcomes = await asyncio.gather(
        *(run.claim(claimant=who) for _ in range(4) for who in callers), return_exceptions=True
    )
    bound = [it for it in outcomes if isinstance(it, Claim)]
    held = [sum(it.claimant.counts_as == who.counts_as for it in bound) for who in callers]
    assert [2, 2, 2, 2] == held
    assert {Code.LIMIT_REACHED} == {it.code for it in outcomes if isinstance(it, Denial)}
    assert [] == run.breaches()
    elsewhere = await refused(run.claim(claimant=by_token("ada", uid=1004)))
    assert "limits.maxActivePerCaller" == elsewhere.details["rule"]
    await run.stop()


async def test_what_counts_by_token_is_counted_by_token_after_a_crash() -> None:
    pool = a_box_pool(min=4, blueprint=replace(boxes(), cost=Cost(per_hour=60.0)))
    limits = Limits(
        max_active_per_caller=1, rate_per_caller=ClaimRate(2, 86400.0), spend_per_day=1.01
    )
    host = Host(policies=(a_policy(allow(), limits=limits),))
    run = await host.start(pool)
    await run.until_ready(4)
    ada, bob = by_token("ada"), by_token("bob")
    over = await run.claim(claimant=ada, ttl=40.0)
    await run.fleet.release(over.id, request_id="r")
    held = await run.claim(claimant=bob, ttl=20.0)
    await run.settle(5.0)

    await run.crash()
    run = await host.start(pool)
    await run.until_ready(4)
    usage, now = run.services.usage, run.host.clock.now()
    assert (0, 1) == (usage.active(ada.counts_as), usage.active(bob.counts_as))
    assert [1, 1, 0] == [
        usage.claims_within(who.counts_as, HOUR, ("*",), now) for who in (ada, bob, BOT)
    ]
    dear = await refused(run.claim(claimant=ada, ttl=30.0))
    assert "limits.spendPerDay" == dear.details["rule"]
    full = await refused(run.claim(claimant=bob, ttl=1.0))
    assert "limits.maxActivePerCaller" == full.details["rule"]
    await run.claim(claimant=ada, ttl=10.0)
    await run.fleet.release(held.id, request_id="r")
    await run.claim(claimant=bob, ttl=10.0)
    often = await refused(run.claim(claimant=bob, ttl=0.001))
    assert often.details["rule"] in {"limits.ratePerCaller", "limits.maxActivePerCaller"}
    await run.claim(claimant=BOT, ttl=0.5)
    assert [] == run.breaches()
    await run.stop()


async def test_a_claim_that_waits_counts_and_one_that_waited_in_vain_does_not() -> None:
    run = await a_run(a_policy(allow(), limits=Limits(max_active_per_caller=2)), size=1, max=1)
    held = await run.claim(claimant=ADA)
    waiting = asyncio.create_task(run.claim(claimant=ADA, wait=1.0))
    await asyncio.sleep(0.1)
    await refused(run.claim(claimant=ADA))
    with pytest.raises(Refusal):
        await waiting
    assert 1 == run.services.usage.active(ADA.uid)
    assert 1 == run.services.usage.claims_within(ADA.uid, 3600.0, ("*",), run.host.clock.now())
    await run.fleet.release(held.id, request_id="r")
    assert [] == run.breaches()
    await run.stop()


async def test_a_claim_that_was_told_pending_keeps_its_verdict_and_its_place_over_a_crash() -> None:
    run = await a_run(
        a_policy(allow(name="all"), limits=Limits(max_active_per_caller=2)), size=1, max=1
    )
    held = await run.claim(claimant=ADA)
    pending = await run.claim(claimant=ADA, wait=None)
    assert ClaimState.PENDING is pending.state
    (told,) = await events(run, "claim.pending")
    assert "decision" in told

    await run.crash()
    again = await run.host.start(a_box_pool(min=1, max=1))
    await refused(again.claim(claimant=ADA))
    await again.fleet.release(held.id, request_id="r")
    served = await again.fleet.settled(pending.id, 60.0)
    assert ClaimState.BOUND is served.state
    assert served.decision is not None
    assert "all" == served.decision.rule
    assert ["decision" in one for one in await events(again, "claim.bound")] == [True, False]
    await again.stop()


# Several pools


async def two_pools(*policies: PolicySpec) -> Run:
    host = Host(policies=policies)
    run = await host.start(a_box_pool(min=2), a_box_pool(name="spare", min=2))
    await run.until_ready(2)
    await run.until_ready(2, "spare")
    return run


async def test_a_pool_that_policies_deny_is_passed_over_like_a_closed_one() -> None:
    run = await two_pools(
        a_policy(deny(name="closed"), name="web-rules", pools=("web",)),
        a_policy(allow(), name="spare-rules", pools=("spare",), shape=Shape(default_ttl=77.0)),
    )
    claim = await run.claim("", claimant=ADA, wish=Wish(pools=("web", "spare")))
    assert ("spare", 77.0) == (claim.pool, claim.ttl)
    assert claim.decision is not None
    assert "spare-rules" == claim.decision.policy
    assert claim.wish is not None
    assert "web cannot: denied" in claim.wish.because
    denial = await refused(run.claim("", claimant=ADA, wish=Wish(pools=("web",))))
    assert (Code.DENIED, "closed") == (denial.code, denial.details["rule"])
    await run.stop()


async def test_each_pool_shapes_the_claim_by_its_own_policies() -> None:
    run = await two_pools(
        a_policy(
            allow(), name="web-rules", pools=("web",), shape=Shape(forced_labels={"of": "web"})
        ),
        a_policy(
            allow(), name="spare-rules", pools=("spare",), shape=Shape(forced_labels={"of": "sp"})
        ),
    )
    wish = Wish(pools=("web", "spare"))
    first = await run.claim("", claimant=ADA, wish=replace(wish), labels={"x": "y"})
    await run.claim(claimant=ADA)
    second = await run.claim("", claimant=ADA, wish=replace(wish), labels={"x": "y"})
    assert ("web", {"x": "y", "of": "web"}) == (first.pool, first.labels)
    assert ("spare", {"x": "y", "of": "sp"}) == (second.pool, second.labels)
    assert 2 == run.services.usage.active(ADA.uid, ("web",))
    assert 1 == run.services.usage.active(ADA.uid, ("spare",))
    assert [] == run.breaches()
    await run.stop()


# Renewals


async def test_a_renewal_is_asked_about_shortened_and_denied() -> None:
    run = await a_run(
        a_policy(
            allow(),
            deny('request.action == "renew" && request.ttl > duration("50s")', name="not-so-long"),
            shape=Shape(max_ttl=100.0),
        )
    )
    claim = await run.claim(claimant=ADA, ttl=300.0)
    assert 100.0 == claim.ttl
    denial = await refused(run.fleet.renew(claim.id, 60.0, request_id="r1"))
    assert "not-so-long" == denial.details["rule"]
    renewed = await run.fleet.renew(claim.id, 40.0, request_id="r2")
    assert 40.0 == renewed.ttl
    (told,) = await events(run, "claim.renewal-refused")
    assert "not-so-long" == told["decision"]["rule"]  # type: ignore[index]
    (told,) = await events(run, "claim.renewed")
    assert "allow" == told["decision"]["verdict"]  # type: ignore[index]
    await run.stop()


async def test_a_renewal_sees_the_parameters_of_its_claim_also_after_a_restart() -> None:
    blueprint = with_parameters(boxes(), role={"type": "string"})
    policy = a_policy(allow('request.params.role == "reader"'), allow("false", name="never"))
    run = await a_run(policy, blueprint=blueprint)
    claim = await run.claim(claimant=ADA, params={"role": "reader"})
    await run.fleet.renew(claim.id, 40.0, request_id="r")
    await run.crash()
    again = await run.host.start(a_box_pool(min=4, blueprint=blueprint))
    assert 41.0 == (await again.fleet.renew(claim.id, 41.0, request_id="r")).ttl
    await again.stop()


async def test_a_parameter_that_a_policy_forces_need_not_be_passed() -> None:
    blueprint = with_parameters(boxes(), role={"type": "string"})
    shape = Shape(forced_params={"role": "reader"})
    run = await a_run(a_policy(allow(), shape=shape), blueprint=blueprint)
    claim = await run.claim(claimant=ADA)
    assert {"role": "reader"} == claim.params
    with pytest.raises(Refusal, match="no parameter 'rol'"):
        await run.claim(claimant=ADA, params={"rol": "x"})
    await run.stop()


async def test_a_renewal_costs_only_what_it_adds() -> None:
    blueprint = replace(boxes(), cost=Cost(per_hour=3600.0))
    run = await a_run(a_policy(allow(), limits=Limits(spend_per_day=150.0)), blueprint=blueprint)
    claim = await run.claim(claimant=ADA, ttl=100.0)
    usage, day = run.services.usage, int(run.host.clock.now() // 86400)
    await run.settle(30.0)
    await run.fleet.renew(claim.id, None, request_id="r")
    assert 130.0 == pytest.approx(usage.spent_on(ADA.uid, day), abs=0.1)
    await run.settle(50.0)
    denial = await refused(run.fleet.renew(claim.id, None, request_id="r"))
    assert "limits.spendPerDay" == denial.details["rule"]
    assert 130.0 == pytest.approx(usage.spent_on(ADA.uid, day), abs=0.1)
    await run.stop()


# Stages


async def test_a_shadow_is_told_and_changes_nothing() -> None:
    run = await a_run(
        a_policy(allow(name="all"), name="real"),
        a_policy(deny(name="nobody"), name="new", mode="shadow"),
    )
    claim = await run.claim(claimant=ADA)
    assert claim.decision is not None
    assert "all" == claim.decision.rule
    assert claim.decision.shadow == {
        "verdict": "deny", "policy": "new", "rule": "nobody", "differs": True,
    }  # fmt: skip
    await run.stop()


async def test_what_a_shadow_would_change_about_a_claim_is_told_and_kept() -> None:
    run = await a_run(
        a_policy(allow(name="all"), name="real"),
        a_policy(name="new", mode="shadow", shape=Shape(max_ttl=60.0, forced_labels={"a": "b"})),
    )
    claim = await run.claim(claimant=ADA)
    assert claim.decision is not None
    kept = claim.decision.shadow
    assert kept is not None
    assert ("allow", True, "1m") == (kept["verdict"], kept["differs"], kept["ttl"])
    assert [
        {"path": "ttl", "before": None, "after": "1m", "policy": "new"},
        {"path": "labels.a", "before": None, "after": "b", "policy": "new"},
    ] == kept["mutations"]
    assert ({}, claim.decision.ttl) == (claim.labels, claim.ttl)
    await run.stop()


async def test_while_nothing_is_enforced_root_and_the_daemons_user_may_and_nobody_else() -> None:
    run = await a_run(a_policy(allow(), mode="shadow"))
    claim = await run.claim(claimant=replace(ADA, uid=0))
    assert claim.decision is not None
    assert ("built-in", "daemon-user") == (claim.decision.policy, claim.decision.rule)
    denial = await refused(run.claim(claimant=ADA))
    assert "only root" in denial.message
    await run.stop()


async def test_a_revision_with_other_policies_holds_from_the_moment_it_is_applied() -> None:
    run = await a_run(a_policy(allow()))
    await run.claim(claimant=ADA)
    run.host.policies = (a_policy(allow('caller.user == "bob"')),)
    await run.fleet.apply(replace(run.host.revision(a_box_pool(min=4)), id="other", digest="o"))
    await refused(run.claim(claimant=ADA))
    await run.claim(claimant=BOB)
    assert ME.uid not in {ADA.uid, BOB.uid}
    await run.stop()


OUTCOME = tuple[str, str, float, str]


async def outcomes(seed: int, *policies: PolicySpec) -> list[OUTCOME]:
    """What becomes of many claims and renewals, drawn by the seed."""
    draw = Random(seed)
    run = await a_run(*policies, size=6)
    found: list[OUTCOME] = []
    for _ in range(25):
        who = draw.choice([ADA, BOB])
        asked: dict[str, object] = {"ttl": draw.choice([None, 30.0, 90.0])}
        asked["labels"] = draw.choice([{}, {"team": "a"}])
        held = [it for it in run.fleet.live_claims() if it.state is ClaimState.BOUND]
        what = draw.random()
        try:
            if held and what < 0.2:
                await run.fleet.release(draw.choice(held).id, request_id="r")
            elif held and what < 0.4:
                claim = await run.fleet.renew(draw.choice(held).id, None, request_id="r")
                found.append(("renewed", "", claim.ttl, str(claim.labels)))
            else:
                claim = await run.claim(claimant=who, wait=0.0, **asked)  # type: ignore[arg-type]
                assert claim.decision is not None
                found.append((claim.pool, claim.decision.rule, claim.ttl, str(claim.labels)))
        except Refusal as refusal:
            found.append(("refused", str(refusal.details.get("rule")), 0.0, refusal.code))
    assert [] == run.breaches()
    await run.stop()
    return found


@pytest.mark.parametrize("seed", range(8))
async def test_a_shadow_never_changes_an_outcome(seed: int) -> None:
    draw = Random(seed)
    real = a_policy(
        allow('"web" in caller.groups'),
        deny('request.ttl > duration("60s") && caller.user == "bob"', name="short"),
        name="real",
        limits=Limits(max_active_per_caller=3),
        shape=Shape(default_ttl=45.0),
    )
    shadow = a_policy(
        draw.choice([deny(), allow(), allow("false"), deny("1 / 0 > 1")]),
        name="new",
        mode=draw.choice(["shadow", "canary"]),
        canary="false",
        limits=Limits(max_ttl=10.0, max_active_per_caller=draw.choice([1, 100])),
        shape=Shape(forced_labels={"team": "b"}, max_ttl=20.0),
    )
    assert await outcomes(seed, real) == await outcomes(seed, real, shadow)
