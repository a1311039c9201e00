"""Claims that wait for an approval, under virtual time: crashes, deadlines, and those who leave."""

import asyncio
from dataclasses import replace

import pytest

from stoker.config.conditions import compile_condition
from stoker.config.json_types import JsonObject
from stoker.config.parameters import Parameters
from stoker.config.policies.facts import APPROVALS, CLAIMS
from stoker.config.policies.rules import Approvals, BreakGlass, Limits, PolicySpec
from stoker.config.revision import PoolSpec
from stoker.pools.approvals import Outcome
from stoker.pools.ballots import Ballot, digest_told
from stoker.pools.claim import OVER, Claim, Claimant, ClaimState, EndedBecause, Token
from stoker.pools.requests import Code, Refusal
from stoker.pools.wishes import Wish
from tests.policies.builders import a_policy, allow, approve, deny
from tests.pools.faults import Ledger
from tests.rig import ME, Host, Run, a_box_pool, boxes

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("on_the_rig")]

BOB, ZOE = Claimant(2, 2, 20, "bob"), Claimant(3, 3, 30, "zoe")
ONE = Limits(max_active_per_caller=1)


def guarded(quorum: int = 1, deadline: float = 600.0, *, limits: Limits = ONE) -> PolicySpec:
    may = compile_condition("approver.uid in [2, 3]", APPROVALS)
    glass = BreakGlass(compile_condition("true", CLAIMS), 3600.0)
    return a_policy(approve(), approvals=Approvals(may, quorum, deadline, glass), limits=limits)


async def says(
    run: Run, claim: Claim, by: Claimant = BOB, *, approves: bool = True, reason: str = ""
) -> Claim:
    return await run.fleet.approving.vote(claim.id, Ballot(by, approves, reason, "r"))


def outcome(claim: Claim) -> Outcome | None:
    return None if claim.approval is None else claim.approval.outcome


async def refused(run: Run, claim: Claim, by: Claimant = BOB) -> Code:
    with pytest.raises(Refusal) as caught:
        await says(run, claim, by)
    return caught.value.code


async def told(run: Run, claim: Claim) -> list[str]:
    events = await run.store.events(after=0, limit=1000, claim=claim.id)
    return [event.kind for event in events]


async def started(host: Host, *pools: PoolSpec) -> Run:
    run = await host.start(*(pools or (a_box_pool(min=2, max=4),)))
    await run.until_ready(2)
    return run


async def test_it_holds_nothing_while_it_waits_and_is_served_once_approved() -> None:
    run = await started(Host(policies=(guarded(),)))
    claim = await run.claim(wait=None)
    assert (ClaimState.PENDING, 2) == (claim.state, run.ready())
    assert 0 == run.status().waiting
    other = await run.claim(wait=None)  # a limit of one does not count what only waits
    assert Outcome.GRANTED is outcome(await says(run, claim))
    await run.settle()
    assert ClaimState.BOUND is claim.state
    assert Outcome.REJECTED is outcome(await says(run, other))  # by now it does
    await run.settle()
    found = await run.fleet.find_claim(other.id)
    assert (ClaimState.REFUSED, Code.LIMIT_REACHED) == (found.state, found.code)
    assert [] == run.breaches()
    await run.stop()


@pytest.mark.parametrize("at", range(14))
@pytest.mark.parametrize("approves", [True, False], ids=["approved", "rejected"])
async def test_a_crash_at_any_write_loses_no_vote_that_was_answered(
    at: int, approves: bool
) -> None:
    host = Host(policies=(guarded(2),))
    spec = a_box_pool(min=2, max=4)
    run = await started(host, spec)
    cut = asyncio.Event()
    gaps = 0

    async def gap() -> None:
        nonlocal gaps
        gaps += 1
        if gaps > at:
            cut.set()
            await asyncio.Event().wait()

    run.gap = gap
    answered: list[str] = []
    key = {"key": b"k" * 32, "body": b"b"}

    async def go() -> None:
        claim = await run.claim(wait=None, **key)  # type: ignore[arg-type]
        answered.append("claim")
        await says(run, claim)
        answered.append("bob")
        await says(run, claim, ZOE, approves=approves)
        answered.append("zoe")
        await run.fleet.settled(claim.id, 60.0)

    going = asyncio.create_task(go())
    stop = asyncio.create_task(cut.wait())
    await asyncio.wait({going, stop}, return_when=asyncio.FIRST_COMPLETED)
    going.cancel()
    stop.cancel()
    await run.crash()
    await asyncio.gather(going, stop, return_exceptions=True)

    run = await host.start(spec)
    claim = await run.claim(wait=None, **key)  # type: ignore[arg-type]
    if claim.approval is not None and "bob" in answered:
        assert 2 in [vote.by.uid for vote in claim.approval.votes]
    if "zoe" in answered:
        assert outcome(claim) is (Outcome.GRANTED if approves else Outcome.REJECTED)
    for by, yes in ((BOB, True), (ZOE, approves)):
        claim = await says(run, claim, by, approves=yes)
    await run.settle(120)
    claim = await run.fleet.find_claim(claim.id)
    assert claim.state is (ClaimState.BOUND if approves else ClaimState.REFUSED)
    kinds = await told(run, claim)
    assert 2 == kinds.count("claim.voted")
    assert 1 == kinds.count("claim.approved" if approves else "claim.rejected")
    assert [] == run.breaches()
    await run.stop()


@pytest.mark.parametrize("failing", range(8))
async def test_a_vote_that_the_ledger_refuses_can_be_repeated(failing: int) -> None:
    run = await started(Host(policies=(guarded(),)))
    claim = await run.claim(wait=None)
    Ledger(run, lambda gap: failing <= gap < failing + 1)
    for _ in range(5):
        try:
            await says(run, claim)
            break
        except Refusal as refusal:
            if refusal.code is not Code.LEDGER_UNAVAILABLE:
                raise
            await asyncio.sleep(1)
    await run.settle(120)
    assert Outcome.GRANTED is outcome(claim)
    assert ClaimState.BOUND is claim.state or claim.state in OVER
    # twice when it was refused after it was written
    assert (await told(run, claim)).count("claim.approved") in {1, 2}
    assert [] == run.breaches()
    await run.stop()


async def test_it_lapses_while_the_daemon_is_down_too() -> None:
    host = Host(policies=(guarded(),))
    spec = a_box_pool(min=2, max=4)
    run = await started(host, spec)
    here, there = await run.claim(wait=None), await run.claim(wait=None)
    await says(run, there, approves=False)
    await run.settle(300)
    assert ClaimState.PENDING is here.state
    await run.crash()
    await asyncio.sleep(400)
    run = await host.start(spec)
    await run.settle()
    found = await run.fleet.find_claim(here.id)
    assert (ClaimState.REFUSED, Code.APPROVAL_LAPSED) == (found.state, found.code)
    assert "claim.approval-lapsed" in await told(run, found)
    assert Code.VOTE_LATE is await refused(run, found)
    await run.stop()


async def test_who_stays_on_the_line_is_told_that_it_waits_and_the_claim_waits_on() -> None:
    run = await started(Host(policies=(guarded(),)))
    claim = await run.claim(wait=10.0)
    assert "pending" == claim.state.value
    await says(run, claim)
    await run.settle()
    assert ClaimState.BOUND is claim.state
    await run.stop()


async def test_who_leaves_before_anybody_decided_leaves_nothing_behind() -> None:
    run = await started(Host(policies=(guarded(),)))
    waiting = asyncio.create_task(run.claim(wait=500.0))
    await asyncio.sleep(1)
    (claim,) = run.fleet.approving.undecided()
    waiting.cancel()
    await run.settle()
    assert [] == [*run.fleet.approving.undecided()]
    assert Code.NO_SUCH_CLAIM is await refused(run, claim)
    await run.stop()


async def test_a_release_and_a_vote_at_once_end_the_claim_whoever_is_first() -> None:
    for first in (True, False):
        run = await started(Host(policies=(guarded(),)))
        claim = await run.claim(wait=None)
        calls = [says(run, claim), run.fleet.release(claim.id, request_id="r")]
        await asyncio.gather(*(calls if first else calls[::-1]), return_exceptions=True)
        await run.settle()
        found = await run.fleet.find_claim(claim.id)
        assert (ClaimState.ENDED, EndedBecause.RELEASED) == (found.state, found.ended_because)
        assert 2 == run.ready()
        assert [] == run.breaches()
        await run.stop()


async def test_two_who_vote_at_once_both_count() -> None:
    run = await started(Host(policies=(guarded(2),)))
    claim = await run.claim(wait=None)
    await asyncio.gather(says(run, claim, BOB), says(run, claim, ZOE))
    await run.settle()
    assert ClaimState.BOUND is claim.state
    assert 2 == (await told(run, claim)).count("claim.voted")
    await run.stop()


async def test_the_claimant_does_not_vote_under_another_user_with_the_same_token() -> None:
    run = await started(Host(policies=(guarded(),)))
    token = Token("https://login", "ada")
    claim = await run.claim(wait=None, claimant=replace(ME, token=token))
    assert Code.DENIED is await refused(run, claim, replace(BOB, token=token))
    assert Outcome.GRANTED is outcome(await says(run, claim, BOB))
    await run.stop()


@pytest.mark.parametrize(
    ("policies", "code"),
    [
        ((guarded(2),), Code.DENIED),
        ((a_policy(deny()),), Code.DENIED),
        ((guarded(), a_policy(deny("request.ttl > duration('1s')"), name="new")), Code.DENIED),
    ],
    ids=["a larger quorum", "a deny", "another policy"],
)
async def test_what_policies_say_by_now_beats_what_they_said(
    policies: tuple[PolicySpec, ...], code: Code
) -> None:
    host = Host(policies=(guarded(),))
    run = await started(host, a_box_pool(min=2, max=4))
    claim = await run.claim(wait=None)
    host.policies = tuple(replace(one, approvals=one.approvals) for one in policies)
    revision = replace(host.revision(a_box_pool(min=2, max=4)), id="r2", digest="d2")
    await run.apply(revision)
    if policies[0].approvals is None:
        assert Code.DENIED is await refused(run, claim)  # there is nobody left who may approve
    else:
        assert Outcome.REJECTED is outcome(await says(run, claim))
        await run.settle()
        found = await run.fleet.find_claim(claim.id)
        assert (ClaimState.REFUSED, code) == (found.state, found.code)
    await run.stop()


async def test_a_revision_that_allows_it_meanwhile_needs_one_vote_still() -> None:
    host = Host(policies=(guarded(),))
    run = await started(host, a_box_pool(min=2, max=4))
    claim = await run.claim(wait=None)
    host.policies = (replace(guarded(), rules=(allow(),)),)
    await run.apply(replace(host.revision(a_box_pool(min=2, max=4)), id="r2", digest="d2"))
    assert Outcome.GRANTED is outcome(await says(run, claim))
    await run.stop()


async def test_a_pool_that_serves_at_once_is_taken_before_one_that_asks() -> None:
    asks = replace(guarded(limits=Limits()), pools=("web",))
    free = a_policy(allow(), pools=("spare",), name="free")
    pools = (a_box_pool(min=2, max=4), a_box_pool(name="spare", min=1, max=1))
    run = await started(Host(policies=(asks, free)), *pools)
    await run.until_ready(1, "spare")
    wish = Wish(pools=("web", "spare"))
    claim = await run.claim("", wish=wish)
    assert ("spare", None) == (claim.pool, claim.approval)
    both = await run.claim("", wish=Wish(pools=("web",), count=2), wait=None)
    assert outcome(both) is Outcome.WAITING
    await run.stop()


async def test_a_renewal_within_what_was_approved_needs_no_other_approval() -> None:
    run = await started(Host(policies=(guarded(),)))
    claim = await run.claim(wait=None, ttl=100.0)
    await says(run, claim)
    await run.settle(1)
    await run.fleet.renew(claim.id, 100.0, request_id="r")
    await run.fleet.renew(claim.id, None, request_id="r")
    with pytest.raises(Refusal) as caught:
        await run.fleet.renew(claim.id, 200.0, request_id="r")
    assert Code.DENIED is caught.value.code
    await run.stop()


async def test_a_follow_up_outlives_its_claim_and_the_daemon() -> None:
    host = Host(policies=(guarded(),))
    spec = a_box_pool(min=2, max=4)
    run = await started(host, spec)
    claim = await run.claim(reason="the site is down", break_glass=True)
    assert (ClaimState.BOUND, Outcome.WAITING) == (claim.state, outcome(claim))
    kinds = await told(run, claim)
    assert kinds.index("claim.break-glass") < kinds.index("claim.bound")
    await run.fleet.release(claim.id, request_id="r")
    await run.settle()
    await run.store.purge(keys_before=host.clock.now())
    await run.crash()
    run = await host.start(spec)
    await run.settle(2 * 3600)
    figures = run.fleet.approving.figures()
    assert (1, 1) == (figures.follow_ups, figures.overdue)
    assert Code.DENIED is await refused(run, claim, ME)
    assert Outcome.REJECTED is outcome(await says(run, claim, approves=False, reason="no need"))
    assert [] == [*run.fleet.approving.undecided()]
    await run.crash()
    run = await host.start(spec)
    assert [] == [*run.fleet.approving.undecided()]
    await run.store.purge(keys_before=host.clock.now())  # now it is like any other
    assert Code.NO_SUCH_CLAIM is await refused(run, claim)
    await run.stop()


async def test_an_objection_afterwards_denies_renewals_and_ends_nothing() -> None:
    run = await started(Host(policies=(guarded(),)))
    claim = await run.claim(reason="the site is down", break_glass=True)
    await run.fleet.renew(claim.id, None, request_id="r")
    await says(run, claim, approves=False)
    assert ClaimState.BOUND is claim.state
    with pytest.raises(Refusal):
        await run.fleet.renew(claim.id, None, request_id="r")
    await run.stop()


@pytest.mark.parametrize("failing", range(4))
async def test_a_broken_glass_that_cannot_be_written_down_costs_no_resource(failing: int) -> None:
    run = await started(Host(policies=(guarded(),)))
    Ledger(run, lambda gap: failing <= gap)
    with pytest.raises(Refusal) as caught:
        await run.claim(reason="the site is down", break_glass=True)
    assert Code.LEDGER_UNAVAILABLE is caught.value.code
    await run.crash()


async def test_who_was_asked_by_a_policy_of_then_is_told_that_it_has_changed() -> None:
    host = Host(policies=(guarded(2),))
    run = await started(host)
    claim, gone = await run.claim(wait=None), await run.claim(wait=None)
    await says(run, claim, ZOE)
    may = compile_condition("approver.uid in [3, 4]", APPROVALS)
    host.policies = (a_policy(approve(), approvals=Approvals(may, 2, 600.0)),)
    await run.apply(replace(host.revision(a_box_pool(min=2, max=4)), id="r2", digest="d2"))
    with pytest.raises(Refusal, match="has changed since that was asked for") as caught:
        await says(run, claim)
    assert (Code.DENIED, "approvals.approvers") == (
        caught.value.code,
        caught.value.details["rule"],
    )
    overruled = await says(run, claim, replace(BOB, uid=4))
    assert Outcome.REJECTED is outcome(overruled)
    assert overruled.approval is not None
    assert "ask for other approvals by now" in overruled.approval.detail
    host.policies = (a_policy(deny()),)
    await run.apply(replace(host.revision(a_box_pool(min=2, max=4)), id="r3", digest="d3"))
    with pytest.raises(Refusal, match="or is gone; the claimant has to release it"):
        await says(run, gone)
    await run.stop()


async def test_an_operator_approves_at_the_socket_and_nobody_is_one_by_hearsay() -> None:
    may = compile_condition("approver.operator", APPROVALS)
    policy = a_policy(approve(), approvals=Approvals(may, 1, 600.0, webhooks=("chat",)))
    run = await started(Host(policies=(policy,)))
    claim = await run.claim(claimant=BOB, wait=None)
    carried = Ballot(Claimant(0, 0, 0, "root"), True, carried_by="chat", about=digest_told(claim))
    with pytest.raises(Refusal) as caught:
        await run.fleet.approving.vote(claim.id, carried)
    assert "approvals.approvers" == caught.value.details["rule"]
    assert Outcome.GRANTED is outcome(await says(run, claim, replace(ME, uid=0)))
    await run.stop()


async def test_who_is_asked_is_told_all_but_what_is_secret_and_its_digest_outlives_a_crash() -> (
    None
):
    schemas: JsonObject = {
        "role": {"type": "string"},
        "password": {"type": "string", "writeOnly": True},
    }
    blueprint = replace(boxes(), parameters=Parameters.compile(schemas))
    spec = a_box_pool(min=2, max=4, blueprint=blueprint)
    host = Host(policies=(guarded(2),))
    run = await started(host, spec)
    params = {"role": "reader", "password": "hunter22"}
    claim = await run.claim(wait=None, params=params, reason="OPS-1", labels={"team": "a"})
    (event,) = await run.store.events(after=0, limit=10, kind="claim.approval-requested")
    said = event.data["request"]
    assert isinstance(said, dict)
    assert {"role": "reader", "password": "(secret)"} == said["params"]
    assert ("OPS-1", {"team": "a"}) == (said["reason"], said["labels"])
    assert "hunter22" not in str(event)
    assert [2] == [one["quorum"] for one in event.data["needs"]]  # type: ignore[index, union-attr, call-overload]
    digest = digest_told(claim)
    assert digest == event.data["digest"]
    assert 64 == len(digest)
    other = await run.claim(wait=None, params={**params, "password": "hunter23"}, reason="OPS-1")
    assert digest != digest_told(other)

    await run.crash()
    run = await host.start(spec)
    again = await run.fleet.find_claim(claim.id)
    assert digest == digest_told(again)
    ballot = Ballot(BOB, True, carried_by="pager", about="0" * 64)
    with pytest.raises(Refusal) as caught:
        await run.fleet.approving.vote(claim.id, ballot)
    assert "approvals.webhooks" == caught.value.details["rule"]
    with pytest.raises(Refusal) as caught:
        await run.fleet.approving.vote(claim.id, replace(ballot, carried_by=""))
    assert Code.VOTE_MISMATCH is caught.value.code
    assert not again.approval.votes  # type: ignore[union-attr]
    await run.stop()
