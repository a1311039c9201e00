"""Votes beside what else happens to their claims: renewals, ends, crashes, and voters who hang up."""

import asyncio
from dataclasses import replace

import pytest

from stoker.config.conditions import compile_condition
from stoker.config.policies.facts import APPROVALS, CLAIMS
from stoker.config.policies.rules import Approvals, BreakGlass, Limits, PolicySpec
from stoker.pools.approvals import Outcome
from stoker.pools.claim import Claim, Claimant, ClaimState
from stoker.pools.requests import Code
from stoker.pools.wishes import Wish
from tests.policies.builders import a_policy, allow, approve
from tests.pools.test_approving import BOB, ZOE, guarded, outcome, says, told
from tests.rig import Host, Run, a_box_pool

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("on_the_rig")]

ROOT, EVE = Claimant(0, 0, 1, "root"), Claimant(1001, 1001, 50, "eve")
BY_BOB = guarded().approvals


async def started(host: Host, ready: int = 2) -> Run:
    run = await host.start(a_box_pool(min=ready, max=4))
    await run.until_ready(ready)
    return run


async def hang_up_on_a_vote(run: Run, claim: Claim) -> None:
    """While it is being written."""
    vote = asyncio.create_task(says(run, claim))
    await asyncio.sleep(0.0001)
    vote.cancel()
    await asyncio.gather(vote, return_exceptions=True)


async def test_a_vote_counts_also_when_its_voter_has_hung_up() -> None:
    run = await started(Host(policies=(guarded(),)))
    claim = await run.claim(wait=None)
    await hang_up_on_a_vote(run, claim)
    await run.settle()
    assert (Outcome.GRANTED, ClaimState.BOUND) == (outcome(claim), claim.state)
    assert 1 == (await told(run, claim)).count("claim.approved")
    assert [] == run.breaches()
    await run.stop()


async def test_what_is_counted_is_what_is_held_while_a_vote_is_written_and_after_a_no() -> None:
    run = await started(Host(policies=(guarded(),)))
    seen: list[str] = []
    run.store.on_events(lambda _: seen.extend(run.breaches()))
    for approves in (False, True):
        await says(run, await run.claim(wait=None), approves=approves)
        await run.settle(1)
    assert [] == seen
    await run.stop()


async def test_who_is_an_operator_is_known_when_the_claim_is_approved() -> None:
    run = await started(Host(policies=(a_policy(approve("caller.operator"), approvals=BY_BOB),)))
    claim = await run.claim(wait=None, claimant=ROOT)
    await says(run, claim)
    await run.settle()
    assert (Outcome.GRANTED, ClaimState.BOUND) == (outcome(claim), claim.state)
    await run.stop()


async def test_a_policy_may_ask_for_either_pool_by_a_rule_of_its_own() -> None:
    rules = (approve("pool.name == 'web'", "one"), approve("pool.name == 'old'", "two"))
    run = await Host(policies=(a_policy(*rules, approvals=BY_BOB),)).start(
        a_box_pool(min=1, max=2), a_box_pool(name="old", min=1, max=2)
    )
    claim = await run.claim("", wait=None, wish=Wish(pools=("web", "old")))
    await says(run, claim)
    await run.settle()
    assert (Outcome.GRANTED, ClaimState.BOUND) == (outcome(claim), claim.state)
    await run.stop()


async def test_a_broken_glass_that_was_looked_at_is_not_announced_again_by_a_start() -> None:
    host, spec = Host(policies=(guarded(),)), a_box_pool(min=0, max=1)
    run = await host.start(spec)
    await run.claim(claimant=EVE, reason="it burns", break_glass=True)
    claim = await run.claim(wait=None, reason="it burns", break_glass=True)
    assert ClaimState.PENDING is claim.state
    await says(run, claim)
    await run.crash()
    run = await host.start(spec)
    await run.settle(1)
    assert claim.id not in run.fleet.approving.follow_ups.claims
    assert 1 == (await told(run, claim)).count("claim.break-glass")
    await run.stop()


@pytest.mark.parametrize("approves", [True, False], ids=["approved", "rejected"])
async def test_a_claim_on_the_line_outlives_a_crash_with_its_votes(approves: bool) -> None:
    host, spec = Host(policies=(guarded(2),)), a_box_pool(min=0, max=1)
    run = await host.start(spec)
    asking = asyncio.create_task(run.claim(wait=500.0, key=b"k" * 32, body=b"b"))
    await asyncio.sleep(1)
    (claim,) = run.fleet.approving.undecided()
    await says(run, claim)
    if approves:
        await says(run, claim, ZOE)
    await asyncio.sleep(0.01)
    await run.crash()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    run = await host.start(spec)
    await run.settle()
    found = await run.fleet.find_claim(claim.id)
    assert found.approval is not None
    assert (2 if approves else 1) == len(found.approval.votes)
    assert found.state is (ClaimState.BOUND if approves else ClaimState.PENDING)
    await run.stop()


@pytest.mark.parametrize("pools", [("old",), ("old", "older")], ids=["one", "several"])
async def test_the_last_vote_counts_nothing_when_a_pool_is_gone_that_policies_were_to_be_asked_about(
    pools: tuple[str, ...],
) -> None:
    host = Host(policies=(guarded(),))  # everybody may hold one
    web = a_box_pool(min=1, max=2)
    gone = [a_box_pool(name=name, min=0, max=2) for name in pools]
    run = await host.start(web, *gone)
    first, *others = pools
    wish = Wish(pools=pools) if others else None
    late = await run.claim("" if wish else first, wait=None, wish=wish)
    await run.until_ready(1)
    await says(run, await run.claim(wait=None))
    await run.settle()
    await run.apply(replace(host.revision(web), id="r2", digest="d2"))
    await run.settle(1)
    assert ["web"] == [status.name for status in run.fleet.pools()]
    voted = await says(run, late)
    assert voted.approval is not None
    assert (Outcome.REJECTED, Code.DRAINING) == (voted.approval.outcome, voted.approval.code)
    assert 1 == run.services.usage.active(late.claimant.counts_as)
    await run.crash()
    run = await host.start(web, *gone)  # they are declared again
    await run.settle()
    assert ClaimState.BOUND is not (await run.fleet.find_claim(late.id)).state
    assert 1 == run.services.usage.active(late.claimant.counts_as)
    await run.stop()


async def test_an_approval_of_several_pools_is_overruled_once_one_of_them_is_gone() -> None:
    """What its policies say nobody can ask, and after a restart it might be there again."""
    host = Host(policies=(guarded(limits=Limits()),))
    web, old = a_box_pool(min=1, max=2), a_box_pool(name="old", min=0, max=2)
    run = await host.start(web, old)
    late = await run.claim("", wait=None, wish=Wish(pools=("web", "old")))
    await run.settle()
    await run.apply(replace(host.revision(web), id="r2", digest="d2"))
    await run.settle(1)
    voted = await says(run, late)
    assert voted.approval is not None
    assert (Outcome.REJECTED, Code.DRAINING) == (voted.approval.outcome, voted.approval.code)
    await run.stop()


def asks_about(pool: str, approver: Claimant) -> PolicySpec:
    may = compile_condition(f"approver.uid == {approver.uid}", APPROVALS)
    glass = BreakGlass(compile_condition("true", CLAIMS), 3600.0)
    return a_policy(
        allow(), approve(), name=pool, pools=(pool,), approvals=Approvals(may, 1, 600.0, glass)
    )


async def test_whoever_is_asked_for_either_pool_looks_at_a_broken_glass() -> None:
    run = await Host(policies=(asks_about("web", BOB), asks_about("old", ZOE))).start(
        a_box_pool(min=2, max=2), a_box_pool(name="old", min=0, max=2)
    )
    await run.until_ready(2)
    wish = Wish(pools=("web", "old"))
    one, other = [
        await run.claim("", wish=wish, reason="it burns", break_glass=True) for _ in range(2)
    ]
    assert ("web", "web") == (one.pool, other.pool)
    await says(run, one, BOB)
    assert [one.id, other.id] == [*run.fleet.approving.follow_ups.claims]
    await says(run, one, ZOE)
    await says(run, other, ZOE, approves=False)  # whom the pool that served it does not ask
    assert (Outcome.GRANTED, Outcome.REJECTED) == (outcome(one), outcome(other))
    assert {} == run.fleet.approving.follow_ups.claims
    await run.stop()


async def test_a_broken_glass_whose_resource_is_lost_is_still_to_be_looked_at() -> None:
    host, spec = Host(policies=(guarded(),)), a_box_pool(min=1, max=1)
    run = await host.start(spec)
    await run.until_ready(1)
    claim = await run.claim(reason="it burns", break_glass=True)
    transaction = run.store.transaction()
    transaction.drop_resource(claim.resources[0])
    await run.store.commit(transaction)
    await run.crash()
    run = await host.start(spec)
    await run.settle(1)
    assert ClaimState.ENDED is (await run.fleet.find_claim(claim.id)).state
    assert [claim.id] == [*run.fleet.approving.follow_ups.claims]
    await says(run, claim)
    assert {} == run.fleet.approving.follow_ups.claims
    await run.crash()
    run = await host.start(spec)
    assert {} == run.fleet.approving.follow_ups.claims
    await run.stop()
