"""What is said of a resource in each of its states."""

from dataclasses import replace
from typing import Any

from stoker.pools.explaining.of_resources import ResourceFacts, explain_resource
from stoker.pools.explaining.pool_facts import Stuck
from stoker.pools.explaining.shape import Present
from stoker.pools.ids import PartId, ResourceId
from stoker.pools.lifecycle import PartState, ResourceState
from stoker.pools.resource import Half, Health, Part, Resource
from stoker.pools.switches import Operator, Switch, SwitchKind
from tests.builders import a_resource
from tests.pools.test_explaining_claims import a_claim, an_event

NOW = 1000.0
PRESENT = Present(NOW)
NAME = "web-aaaaaaaa"


def a_part(name: str, state: PartState = PartState.VERIFIED, ordinal: int = 0, **more: Any) -> Part:
    return Part(
        PartId(f"{NAME}.{name}"), name, "process", "process", Half.PREPARE, ordinal, state, **more
    )


def resource(state: ResourceState = ResourceState.READY, **more: Any) -> Resource:
    made = a_resource(NAME, state=state, ready_at=NOW - 100)
    given: dict[str, Any] = {
        "created_at": NOW - 110,
        "changed_at": NOW - 100,
        "parts": [a_part("server")],
    }
    return replace(made, **{**given, **more})


def facts(known: Resource | None = None, **more: Any) -> ResourceFacts:
    known = resource() if known is None else known
    given: dict[str, Any] = {"digest": "d1", **more}
    return ResourceFacts(NAME, PRESENT, resource=known, **given)


def said(known: ResourceFacts) -> str:
    return " ".join(explain_resource(known).why)


def test_a_ready_one_tells_its_place_and_the_rule() -> None:
    found = explain_resource(facts(resource(reason="made and verified"), place=3))
    assert found.summary == "web-aaaaaaaa has been ready for 1m40s: made and verified."
    assert found.why[0] == (
        "It can be claimed, and is the 3rd to be handed out: up-to-date ones go first, then those "
        "that have been ready for longest."
    )
    assert "is the next to be handed out" in said(facts(place=1))


def test_one_that_was_not_looked_at_or_has_drifted_cannot_be_claimed() -> None:
    assert "nobody knows whether it is still what was made" in said(
        facts(resource(health=Health.UNKNOWN))
    )
    drifted = resource(health=Health.DRIFTED, reason="server is absent")
    assert "because it drifted: server is absent. It is replaced." in said(facts(drifted))


def test_its_blueprint_is_told_and_whether_it_is_outdated() -> None:
    assert "(d1) under the revision r1, which is what its pool makes now." in said(facts())
    assert ("It is outdated: its pool makes d2 now; it is replaced by the pool's rollout.") in said(
        facts(digest="d2")
    )
    bound = resource(ResourceState.BOUND, claim="c-1")
    assert "it lives until its claim ends" in said(facts(bound, digest="d2"))
    assert "its pool is no longer declared" in said(facts(digest=""))


def test_what_was_observed_last_is_told_with_its_age() -> None:
    seen = resource(observed_at=NOW - 4)
    assert "It was last looked at 4s ago: all is as it was made." in said(facts(seen))
    wrong = resource(observed_at=NOW - 4, observed="it cannot be told how it is: no answer")
    assert "looked at 4s ago: it cannot be told how it is: no answer." in said(facts(wrong))
    probed = resource(parts=[a_part("server", ready={"tcp": "127.0.0.1:1"})])
    assert "all of it is looked at every 5m, its readiness checks every 10s." in said(
        facts(probed, observed_every=300.0, probed_every=10.0)
    )


def test_one_that_is_being_made_says_which_part_it_waits_for() -> None:
    waiting = resource(
        ResourceState.PREPARING, parts=[a_part("site"), a_part("server", PartState.CREATED)]
    )
    assert "Its part server is being made and waits for its readiness check." in said(
        facts(waiting)
    )
    asked = resource(ResourceState.PREPARING, parts=[a_part("site", PartState.INTENDED)])
    assert "Its part site is being made and waits for the driver process." in said(facts(asked))
    assert "No part of it is begun" in said(facts(resource(ResourceState.PLANNED, parts=[])))


def test_a_removal_that_is_not_proved_says_why_how_often_and_when_again() -> None:
    stuck = Stuck(ResourceId(NAME), "server", 7, "no permission", NOW + 9)
    gone = resource(ResourceState.QUARANTINED, parts=[a_part("server", PartState.DESTROYING)])
    found = explain_resource(facts(gone, stuck=stuck))
    assert (
        "The absence of server is not proved: no permission. 7 attempts failed; the next one is in "
        "9s."
    ) in found.why
    assert "its slot stays taken and trying goes on for ever" in " ".join(found.why)
    assert [(one.what, one.within) for one in found.next] == [("its removal is tried again", 9.0)]
    assert found.facts["removalAttempts"] == 7


def test_parts_go_in_reverse_order() -> None:
    leaving = resource(
        ResourceState.ENDING,
        parts=[
            a_part("site", PartState.DESTROYING, 0),
            a_part("server", PartState.DESTROYING, 1),
            a_part("page", PartState.ABSENT, 2),
        ],
    )
    assert "It is being removed, in this order: server and site;" in said(facts(leaving))


def test_a_bound_one_names_its_claim_and_when_that_ends() -> None:
    bound = resource(ResourceState.BOUND, claim="c-1")
    found = explain_resource(facts(bound, claim=a_claim()))
    assert found.why[0] == "It belongs to c-1 of ada, which is bound and ends in 4m."
    assert found.next[0].within == 240.0


def test_its_greatest_age_comes_next() -> None:
    found = explain_resource(facts(max_age=200.0)).next
    assert [(one.what, one.within) for one in found] == [
        ("it reaches 90 % of maxAge, and one is made in its place", 80.0),
        ("it reaches maxAge and is removed", 100.0),
    ]


def test_one_that_is_gone_is_told_from_the_ledger_alone() -> None:
    end = an_event("resource.gone", resource=NAME, reason="c-1 was released", data={"parts": ["a"]})
    found = explain_resource(ResourceFacts(NAME, PRESENT, events=(end,)))
    assert found.summary == "web-aaaaaaaa went 10s ago: c-1 was released."
    assert [(one.event, one.detail) for one in found.history] == [
        ("resource.gone", "c-1; parts a; c-1 was released")
    ]


def test_handles_outputs_and_secrets_are_no_part_of_it() -> None:
    part = a_part(
        "server",
        handle={"pid": 4242},
        outputs={"url": "http://out"},
        secrets={"token": "hunter2-hunter2"},
    )
    text = repr(explain_resource(facts(resource(parts=[part]))))
    assert "hunter" not in text
    assert "4242" not in text
    assert "http://out" not in text


def test_one_that_is_kept_says_for_whom_until_when_and_that_it_is_never_handed_out() -> None:
    hold = Switch(SwitchKind.HOLD, NAME, Operator(0, "ada"), "answers 500", NOW - 5, NOW + 600)
    found = explain_resource(facts(resource(ResourceState.HELD, hold=hold)))
    assert found.why[0] == (
        "It is kept for inspection by ada, for 10m more, because: answers 500; it is never handed out "
        "again, and removed then."
    )
    assert ["its hold ends, and it is removed"] == [one.what for one in found.next]
    asked = explain_resource(facts(resource(ResourceState.BOUND, hold=hold)))
    assert "becomes held when it would be removed" in asked.why[0]
