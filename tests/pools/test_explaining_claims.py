"""What is said of a claim in each of its states."""

from dataclasses import replace
from typing import Any

from stoker.config.json_types import Json, JsonObject
from stoker.pools.approvals import Approval, Need, Outcome, Vote, Voter
from stoker.pools.binding import Bind, Binding, Process
from stoker.pools.claim import Claim, Claimant, ClaimState, EndedBecause, Timing
from stoker.pools.expiry import Terms
from stoker.pools.explaining.of_claims import ClaimFacts, explain_claim
from stoker.pools.explaining.shape import Present
from stoker.pools.ids import ClaimId, ResourceId
from stoker.pools.lifecycle import ResourceState
from stoker.pools.reasons import WaitCode, WaitingFor
from stoker.pools.standing import Standing
from stoker.pools.store import Event
from tests.builders import a_pool, a_resource
from tests.pools.test_explaining_pools import facts as pool_facts

NOW = 1000.0
WEB = ResourceId("web-aaaaaaaa")
PRESENT = Present(NOW)


def a_claim(state: ClaimState = ClaimState.BOUND, **more: Any) -> Claim:
    given: dict[str, Any] = {
        "id": ClaimId("c-1"),
        "pool": "web",
        "claimant": Claimant(1000, 1000, 42, "ada", "/usr/bin/curl"),
        "created_at": NOW - 60,
        "ttl": 300.0,
        "max_ttl": 3600.0,
        "deadline": NOW + 30,
        "state": state,
        "revision": "r1",
    }
    if state not in {ClaimState.PENDING, ClaimState.REFUSED, ClaimState.FAILED}:
        given |= {"resources": [WEB], "bound_at": NOW - 60, "expires_at": NOW + 240}
    return Claim(**{**given, **more})


def an_event(
    kind: str,
    *,
    resource: str = "",
    request: str = "",
    reason: str = "",
    data: JsonObject | None = None,
) -> Event:
    return Event(1, NOW - 10, kind, "web", resource, "c-1", request, reason, data or {}, "")


def test_a_bound_claim_says_what_it_holds_until_when_and_how_far_it_can_be_renewed() -> None:
    found = explain_claim(ClaimFacts(a_claim(), PRESENT))
    assert found.summary == "c-1 holds web-aaaaaaaa and ends in 4m."
    assert found.why[0] == (
        "A renewal lets it end 5m from then, but no later than 59m from now (maxTtl 1h)."
    )
    assert [(one.what, one.within) for one in found.next] == [
        ("it expires, unless it is renewed, and its resource is taken away", 240.0),
    ]


def test_a_claim_that_has_lasted_as_long_as_it_may_says_so() -> None:
    claim = a_claim(max_ttl=300.0)
    found = explain_claim(ClaimFacts(claim, PRESENT))
    assert found.why[0] == "It cannot be renewed any further: it lasts 5m at most (maxTtl)."


def test_notice_grace_and_binding_are_told() -> None:
    claim = a_claim(terms=Terms(60.0, 10.0), binding=Binding(Bind.PROCESS, Process(42, 1, "boot")))
    found = explain_claim(ClaimFacts(claim, PRESENT))
    assert found.summary == "c-1 holds web-aaaaaaaa and ends in 4m10s."
    assert "Its pool announces the expiry 1m before (lifetime.notice)." in found.why
    assert "It also ends with the process 42, which asked for it." in found.why
    assert [(one.what, one.within) for one in found.next] == [
        ("its expiry is announced", 180.0),
        ("it expires, unless it is renewed", 240.0),
        ("its grace is over and its resource is taken away", 250.0),
    ]


def test_in_its_grace_a_claim_cannot_be_renewed() -> None:
    claim = a_claim(expires_at=NOW - 1, terms=Terms(grace=10.0, lapsed=True))
    found = explain_claim(ClaimFacts(claim, PRESENT))
    assert "cannot be renewed any more" in found.why[0]
    assert found.next[0].within == 9.0


def test_a_warm_claim_says_which_rule_chose_its_resource_and_how_long_that_was_ready() -> None:
    resource = a_resource(state=ResourceState.BOUND, ready_at=NOW - 90)
    found = " ".join(explain_claim(ClaimFacts(a_claim(), PRESENT, resource=resource)).why)
    assert (
        "It got web-aaaaaaaa, which was ready for 30s when it came: of the ready ones, those up to "
        "date are handed out before those outdated (the other way round until a changed blueprint "
        "has proved itself), then those that have been ready for longest."
    ) in found


def test_a_cold_claim_says_that_it_waited_and_where_its_time_went() -> None:
    timing = Timing(queued=1.5, finish=0.02, bind=0.0005, total=1.5205)
    found = explain_claim(ClaimFacts(a_claim(warm=False, timing=timing), PRESENT)).why
    assert (
        "Nothing was ready, so it waited 1.5s in line and got web-aaaaaaaa, the next to be ready."
    ) in found
    assert (
        "From the request to the answer it took 1.5s: 1.5s for waiting in line; 20ms for finishing "
        "it with its parameters; 0.50ms for writing it down, so that it survives a crash."
    ) in found


def test_a_waiting_claim_tells_its_place_its_estimate_and_what_its_pool_lacks() -> None:
    pool = pool_facts(a_pool(min=1, max=2), bound=2, waiting=3)
    known = ClaimFacts(a_claim(ClaimState.PENDING), PRESENT, position=2, eta=4.0, pool=pool)
    found = explain_claim(known)
    assert found.summary == "c-1 waits for web as the 2nd in line, about 4s to go."
    assert found.why[0] == "1 claim is before it in line; it has waited for 1m."
    assert "It gives up in 30s if nothing has become ready by then." in found.why
    assert any("2 of 2 slots (size.max) are taken" in sentence for sentence in found.why)
    assert [(one.what, one.within) for one in found.next] == [
        ("it is served (an estimate)", 4.0),
        ("it gives up", 30.0),
    ]
    assert (found.facts["position"], found.facts["eta"]) == (2, "4s")


def test_what_it_waits_for_comes_first_with_its_code() -> None:
    why = WaitingFor(WaitCode.NO_CAPACITY, "all 2 slots are taken.", "size.max")
    known = ClaimFacts(a_claim(ClaimState.PENDING), PRESENT, position=1, waiting_for=why)
    found = explain_claim(known)
    assert found.why[0] == "All 2 slots are taken (no-capacity)."
    assert (found.facts["waitingFor"], found.facts["limit"]) == ("no-capacity", "size.max")


def test_the_rule_that_gave_it_its_priority_is_named() -> None:
    claim = a_claim(ClaimState.PENDING)
    known = ClaimFacts(claim, PRESENT, position=1, standing=Standing(1000, 10, "night"))
    found = explain_claim(known)
    assert "then callers take turns" in found.why[1]
    assert "its priority is 10, by the rule night." in found.why[1]
    assert found.facts["priority"] == 10


def test_where_there_is_no_room_a_waiting_claim_tells_which_claim_ends_next() -> None:
    pool = pool_facts(a_pool(min=0, max=2), bound=2, waiting=1)
    pool = replace(pool, next_end=(ClaimId("c-2"), NOW + 20))
    known = ClaimFacts(a_claim(ClaimState.PENDING), PRESENT, position=1, pool=pool)
    assert [(one.what, one.within) for one in explain_claim(known).next] == [
        ("c-2 ends, unless it is renewed, and its slot becomes free", 20.0),
        ("it gives up", 30.0),
    ]


def test_where_nobody_can_estimate_that_is_said() -> None:
    known = ClaimFacts(a_claim(ClaimState.PENDING), PRESENT, position=1)
    assert explain_claim(known).why[1].startswith("Nobody can say when")


def test_an_ended_claim_says_why_and_which_request_asked_for_it() -> None:
    claim = a_claim(ClaimState.ENDED, ended_because=EndedBecause.RELEASED, ended_at=NOW - 5)
    events = (an_event("claim.bound"), an_event("claim.released", request="r-9"))
    found = explain_claim(ClaimFacts(claim, PRESENT, events))
    assert found.summary == "c-1 ended 5s ago: it was released."
    assert found.why[0] == "It was released (request r-9)."
    assert found.next == ()


def test_a_claim_whose_claimant_has_gone_quotes_the_event() -> None:
    claim = a_claim(ClaimState.ENDED, ended_because=EndedBecause.CLAIMANT_GONE, ended_at=NOW)
    gone = an_event("claim.claimant-gone", reason="the process 42 that claimed it has ended")
    found = explain_claim(ClaimFacts(claim, PRESENT, (gone,)))
    assert found.why[0] == "Its claimant has gone: the process 42 that claimed it has ended."


def test_a_refused_claim_gives_its_code_and_its_sentence() -> None:
    claim = a_claim(ClaimState.REFUSED, code="wait-timeout", detail="nothing became ready in 30s")
    found = explain_claim(ClaimFacts(claim, PRESENT))
    assert found.summary == "c-1 was refused (wait-timeout): nothing became ready in 30s."
    assert found.why[0].startswith("Nothing became ready in 30s (wait-timeout")
    assert found.facts["code"] == "wait-timeout"


def test_its_history_begins_with_the_request_and_follows_the_ledger() -> None:
    bound = an_event(
        "claim.bound",
        resource=WEB,
        request="r-1",
        reason="to try it",
        data={"uid": 1000, "pid": 42, "ttl": 300.0, "warm": True},
    )
    renewed = an_event("claim.renewed", data={"ttl": 60.0})
    found = explain_claim(ClaimFacts(a_claim(), PRESENT, (bound, renewed))).history
    assert [(one.event, one.detail) for one in found] == [
        ("asked", "by ada (pid 42, /usr/bin/curl)"),
        ("claim.bound", "web-aaaaaaaa; uid 1000 pid 42; warm; for 5m; to try it; request r-1"),
        ("claim.renewed", "for 1m from then"),
    ]


def test_parameters_outputs_and_secrets_are_no_part_of_it() -> None:
    claim = a_claim(
        params={"password": "hunter2-hunter2"},
        outputs={"url": "http://out"},
        secrets={"token": "hunter3-hunter3"},
    )
    text = repr(explain_claim(ClaimFacts(claim, PRESENT)))
    assert "hunter" not in text
    assert "http://out" not in text


TWO = Need("db", "production", 'approver.user == "bob"', 2)


def an_approval(*votes: Vote, **more: Any) -> Approval:
    return Approval("d", (TWO,), NOW - 60, NOW + 600, votes, **more)


def by(
    uid: int, user: str, *, approves: bool = True, reason: str = "", carried_by: str = ""
) -> Vote:
    voter = Voter(uid, user=user, carried_by=carried_by)
    return Vote(voter, approves, NOW - 3, reason, ("db",))


def test_a_claim_that_waits_to_be_approved_says_who_asks_who_may_who_has_and_until_when() -> None:
    bob = by(2, "bob", reason="OPS-1.", carried_by="chat")
    claim = a_claim(ClaimState.PENDING, approval=an_approval(bob))
    found = explain_claim(ClaimFacts(claim, PRESENT))
    assert "c-1 waits to be approved for web: it has 1 of 2 approvals." == found.summary
    assert [
        (
            "Somebody has to approve it, and not its claimant. Until then it holds nothing and "
            "stands in no line."
        ),
        (
            "The policy db asks for it, by its rule production: 1 of 2 approvals is there, by those "
            'for whom this is true: approver.user == "bob".'
        ),
        "bob (uid 2), by the webhook chat, approved it 3s ago, with the reason: OPS-1.",
        (
            "The approval lapses in 10m, and the claim is refused if it is not complete by then. One "
            "rejection by anybody who may approve refuses it at once."
        ),
    ] == list(found.why[:4])
    assert ["its approval lapses, unless it is complete"] == [one.what for one in found.next]
    assert {
        "outcome": "waiting",
        "brokeGlass": False,
        "needs": [
            {
                "policy": "db",
                "rule": "production",
                "approvers": 'approver.user == "bob"',
                "quorum": 2,
                "approved": 1,
            }
        ],
        "votes": 1,
        "within": "10m",
    } == found.facts["approval"]


def test_what_happened_says_who_voted_what_and_by_which_way() -> None:
    bob: Json = {"uid": 2, "pid": 7, "user": "bob"}
    zoe: Json = {"issuer": "https://login", "subject": "zoe"}
    events = (
        an_event("claim.voted", data={"by": bob, "vote": "approve"}, reason="OPS-1"),
        an_event("claim.voted", data={"by": zoe, "vote": "reject", "carriedBy": "chat"}),
    )
    found = explain_claim(ClaimFacts(a_claim(), PRESENT, events=events)).history
    assert ["approve by bob (uid 2); OPS-1", "reject by zoe, by the webhook chat"] == [
        one.detail for one in found if one.event == "claim.voted"
    ]


def test_a_claim_that_was_approved_or_not_says_by_whom_and_why() -> None:
    both = an_approval(by(2, "bob"), by(3, "zoe"), outcome=Outcome.GRANTED, decided_at=NOW - 2)
    bound = explain_claim(ClaimFacts(a_claim(approval=both), PRESENT))
    assert "It was approved 2s ago." in bound.why
    assert "zoe (uid 3) approved it 3s ago." in bound.why
    waited = Timing(queued=2.5, total=2.6)
    slow = a_claim(
        approval=replace(both, asked_at=NOW - 4), warm=False, timing=waited, bound_at=NOW - 2
    )
    told = explain_claim(ClaimFacts(slow, PRESENT)).why
    assert "It waited 2s to be approved, then 500ms in line, and got web-aaaaaaaa." in told
    assert any("2.5s for waiting to be approved and in line" in one for one in told), told
    no = an_approval(
        by(3, "zoe", approves=False, reason="use the copy"),
        outcome=Outcome.REJECTED,
        decided_at=NOW,
    )
    refused = a_claim(ClaimState.REFUSED, approval=no, code="approval-rejected", detail="so")
    told = explain_claim(ClaimFacts(refused, PRESENT)).why
    assert "It was not approved: zoe (uid 3) rejected it: use the copy." in told
    lapsed = a_claim(ClaimState.REFUSED, approval=an_approval(outcome=Outcome.LAPSED))
    assert "It was not approved: nobody decided in time" in " ".join(
        explain_claim(ClaimFacts(lapsed, PRESENT)).why
    )


def test_a_claim_that_broke_the_glass_says_whether_somebody_has_looked_at_it() -> None:
    glass = an_approval(broke_glass=True)
    claim = a_claim(approval=glass, reason="the site is down")
    told = explain_claim(ClaimFacts(claim, PRESENT)).why
    assert "It broke the glass and did without an approval: the site is down." in told
    assert (
        "The follow-up is due in 10m: somebody who may approve has to approve or reject it." in told
    )
    late = explain_claim(ClaimFacts(claim, Present(NOW + 660))).why
    assert "The follow-up is overdue since 1m: " in " ".join(late)
    looked = an_approval(
        by(2, "bob"), broke_glass=True, outcome=Outcome.GRANTED, decided_at=NOW - 1
    )
    told = explain_claim(ClaimFacts(a_claim(approval=looked), PRESENT)).why
    assert "Somebody looked at that 1s ago: it is granted." in told
