"""What becomes of an approval, whoever says what in whatever order."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.config.json_types import Json
from stoker.pools.approval_texts import came_to_nothing, waiting
from stoker.pools.approvals import (
    NO_UID,
    Approval,
    Contradicts,
    Need,
    NotAdmitted,
    NotByTheClaimant,
    NotToldApart,
    Outcome,
    TooLate,
    Vote,
    VoteError,
    Voter,
    is_covered,
    lapse,
    outcome_of,
    overruled,
    vote,
)
from stoker.pools.stores.approval_rows import approval_from_json, approval_to_json

BY = "chat"
CLAIMANT = Voter(1, "https://login", "ada")


def an_approval(*quorums: int, broke_glass: bool = False) -> Approval:
    needs = tuple(
        Need(f"p{at}", "asks", "true", quorum) for at, quorum in enumerate(quorums or (1,))
    )
    return Approval("d", needs, 0.0, 100.0, broke_glass=broke_glass, facts={"now": "then"})


def says(uid: int, *policies: str, approves: bool = True, subject: str = "") -> Vote:
    issuer = "https://login" if subject else ""
    return Vote(Voter(uid, issuer, subject), approves, 5.0, "", policies or ("p0",))


def voted(approval: Approval, *votes: Vote, now: float = 5.0) -> Approval:
    for one in votes:
        approval = vote(approval, one, claimant=CLAIMANT, now=now)
    return approval


def test_it_is_granted_once_the_quorum_is_complete() -> None:
    first = voted(an_approval(2), says(2))
    assert (Outcome.WAITING, None) == (first.outcome, first.decided_at)
    assert first.waits
    second = voted(first, says(3))
    assert (Outcome.GRANTED, 5.0) == (second.outcome, second.decided_at)
    assert not second.waits


def test_each_policy_that_asks_has_to_be_content() -> None:
    first = voted(an_approval(1, 1), says(2, "p0"))
    assert Outcome.WAITING is first.outcome
    assert Outcome.GRANTED is voted(first, says(3, "p1")).outcome
    assert Outcome.GRANTED is voted(an_approval(1, 1), says(2, "p0", "p1")).outcome


def test_one_rejection_rejects_whoever_approved_before() -> None:
    after = voted(an_approval(2), says(2), replace(says(3, approves=False), reason="use the copy"))
    assert Outcome.REJECTED is after.outcome
    assert "use the copy" in came_to_nothing(after)


@pytest.mark.parametrize(
    "voter",
    [says(1), says(9, subject="ada"), says(1, subject="somebody")],
    ids=["the same user", "another user with the same token", "the same user with another token"],
)
@pytest.mark.parametrize("approves", [True, False])
def test_the_claimant_never_counts(voter: Vote, approves: bool) -> None:
    with pytest.raises(NotByTheClaimant):
        voted(an_approval(), replace(voter, approves=approves))


def test_whom_no_policy_admits_does_not_count() -> None:
    with pytest.raises(NotAdmitted):
        voted(an_approval(), replace(says(2), counts_for=()))
    assert Outcome.WAITING is voted(an_approval(), says(2, "another")).outcome


def test_the_same_vote_again_changes_nothing_and_the_opposite_is_refused() -> None:
    first = voted(an_approval(2), says(2))
    assert voted(first, says(2), now=6.0) is first
    with pytest.raises(Contradicts):
        voted(first, says(2, approves=False))
    with pytest.raises(Contradicts):
        voted(voted(an_approval(2), says(2, subject="bob")), says(7, approves=False, subject="bob"))
    granted = voted(first, says(3))
    assert voted(granted, says(3), now=500.0) is granted
    with pytest.raises(TooLate):
        voted(granted, says(4))


def test_who_is_admitted_by_more_policies_later_is_heard_again_and_stays_one_person() -> None:
    first = voted(an_approval(2, 1), says(2, "p0"))
    assert first is voted(first, says(2, "p0"))
    assert first is voted(first, says(2, "p0", "another"))
    second = voted(first, says(2, "p0", "p1"))
    assert [1, 1] == [second.approved_by(need) for need in second.needs]
    assert second is voted(second, says(2, "p0", "p1"))
    assert second is voted(second, says(2))
    assert second == approval_from_json(approval_to_json(second))
    assert Outcome.GRANTED is voted(second, says(3)).outcome


def test_nobody_counts_twice_under_two_names() -> None:
    one = voted(an_approval(2), says(2, subject="bob"), says(3, subject="bob"))
    assert (Outcome.WAITING, 1) == (one.outcome, one.approved_by(one.needs[0]))
    linked = voted(an_approval(3), says(2, subject="bob"), says(3, subject="eve"))
    assert 2 == linked.approved_by(linked.needs[0])
    both = voted(linked, says(2, subject="eve"))
    assert 1 == both.approved_by(both.needs[0])


def carried(uid: int = NO_UID, subject: str = "") -> Vote:
    """A vote by a webhook, whose sender knows a user, the subject of a token, or both."""
    issuer = "https://login" if subject else ""
    return Vote(Voter(uid, issuer, subject, carried_by=BY), True, 5.0, "", ("p0",))


@pytest.mark.parametrize(
    ("claimant", "voter", "error"),
    [
        (Voter(1), carried(2), None),
        (Voter(1), carried(2, "bob"), None),
        (Voter(1), carried(1), NotByTheClaimant),
        (Voter(1), carried(1, "bob"), NotByTheClaimant),
        (Voter(1), carried(subject="bob"), NotToldApart),
        (CLAIMANT, carried(subject="bob"), None),
        (CLAIMANT, carried(2, "bob"), None),
        (CLAIMANT, carried(subject="ada"), NotByTheClaimant),
        (CLAIMANT, carried(2, "ada"), NotByTheClaimant),
        (CLAIMANT, carried(2), NotToldApart),
    ],
    ids=str,
)
def test_who_votes_by_a_webhook_is_told_apart_from_the_claimant_or_does_not_count(
    claimant: Voter, voter: Vote, error: type[VoteError] | None
) -> None:
    if error is None:
        after = vote(an_approval(), voter, claimant=claimant, now=5.0)
        assert Outcome.GRANTED is after.outcome
        assert after == approval_from_json(approval_to_json(after))
        assert BY == approval_from_json(approval_to_json(after)).votes[0].by.carried_by
    else:
        with pytest.raises(error):
            vote(an_approval(), voter, claimant=claimant, now=5.0)


@pytest.mark.parametrize(
    ("votes", "persons"),
    [
        ([carried(2), carried(3)], 2),
        ([carried(subject="bob"), carried(subject="eve")], 2),
        ([carried(2), says(2)], 1),
        ([carried(2), carried(subject="bob")], 1),
        ([carried(2), carried(subject="bob"), carried(2, "bob")], 1),
        ([carried(subject="bob"), says(3)], 1),
        ([carried(2, "bob"), says(3)], 2),
        ([carried(2), says(3, subject="eve")], 1),
        ([carried(3, "eve"), says(4, subject="bob")], 2),
        ([says(2), says(3), carried(subject="bob")], 1),
    ],
    ids=str,
)
def test_two_who_cannot_be_told_apart_count_once_in_whatever_order(
    votes: list[Vote], persons: int
) -> None:
    for some in (votes, votes[::-1]):
        after = replace(an_approval(5), votes=tuple(some))
        assert persons == after.approved_by(after.needs[0])


def test_it_lapses_at_its_deadline_and_not_before() -> None:
    approval = an_approval()
    assert lapse(approval, 99.9) is approval
    assert Outcome.LAPSED is lapse(approval, 100.0).outcome
    with pytest.raises(TooLate):
        voted(approval, says(2), now=100.0)
    granted = voted(approval, says(2))
    assert lapse(granted, 200.0) is granted
    assert "in 1m" in waiting(approval, 40.0)


def test_who_breaks_no_glass_in_an_emergency_is_told_why() -> None:
    wanted: Json = {"breakGlass": True, "reason": "the site is down"}
    unreasoned: Json = {"breakGlass": True, "reason": " "}
    told = waiting(replace(an_approval(), facts={"request": wanted}), 40.0)
    assert "not its claimant, who may not break the glass for it: " in told
    told = waiting(replace(an_approval(), facts={"request": unreasoned}), 40.0)
    assert "not its claimant, who gave no reason to break the glass (release it" in told
    assert "glass" not in waiting(replace(an_approval(), facts={"request": {}}), 40.0)


def test_a_follow_up_takes_one_person_and_never_lapses() -> None:
    approval = an_approval(3, broke_glass=True)
    assert approval.to_follow_up
    assert not approval.waits
    assert lapse(approval, 1000.0) is approval
    assert Outcome.GRANTED is voted(approval, says(2), now=1000.0).outcome
    with pytest.raises(NotByTheClaimant):
        voted(approval, says(1))


def test_more_needs_than_were_asked_for_are_not_covered() -> None:
    approval = an_approval(2)
    assert is_covered(approval, approval.needs)
    assert is_covered(approval, ())
    assert not is_covered(approval, [replace(approval.needs[0], quorum=3)])
    assert not is_covered(approval, [replace(approval.needs[0], approvers="false")])
    assert not is_covered(approval, [*approval.needs, Need("p9", "asks", "true")])


def test_what_policies_say_later_is_kept() -> None:
    after = overruled(voted(an_approval(), says(2)), "denied", "nothing is claimed today")
    assert (Outcome.REJECTED, "nothing is claimed today") == (after.outcome, came_to_nothing(after))


_VOTERS = st.builds(
    Voter,
    st.integers(1, 5),
    st.just("https://login"),
    st.sampled_from(["", "ada", "bob", "eve"]),
)
_VOTES = st.builds(
    Vote,
    _VOTERS,
    st.just(True),
    st.just(5.0),
    st.just(""),
    st.sets(st.sampled_from(["p0", "p1"]), min_size=1).map(lambda those: tuple(sorted(those))),
)
_QUORUMS = st.lists(st.integers(1, 3), min_size=1, max_size=2)


@given(_QUORUMS, st.lists(_VOTES, max_size=6), st.booleans(), st.randoms())
def test_the_order_of_votes_never_matters(
    quorums: list[int],
    votes: list[Vote],
    rejected: bool,
    chance: Random,
) -> None:
    if rejected and votes:
        votes[0] = replace(votes[0], approves=False)
    other = list(votes)
    chance.shuffle(other)
    approval = an_approval(*quorums)
    assert outcome_of(replace(approval, votes=tuple(votes))) is outcome_of(
        replace(approval, votes=tuple(other))
    )


@given(_QUORUMS, st.lists(_VOTES, max_size=8))
def test_a_grant_has_as_many_different_persons_as_its_quorum_and_never_the_claimant(
    quorums: list[int], votes: list[Vote]
) -> None:
    approval = an_approval(*quorums)
    for one in votes:
        try:
            approval = vote(approval, one, claimant=CLAIMANT, now=5.0)
        except VoteError:
            continue
    voters = [one.by for one in approval.votes]
    assert not any(one.is_same(CLAIMANT) for one in voters)
    if approval.outcome is Outcome.GRANTED:
        for need in approval.needs:
            those = {one.by.uid for one in approval.votes if need.policy in one.counts_for}
            assert len(those) >= need.quorum


@given(_QUORUMS, st.lists(_VOTES, max_size=4), st.booleans(), st.sampled_from(Outcome))
def test_the_ledger_gives_back_what_it_was_given(
    quorums: list[int], votes: list[Vote], broke: bool, outcome: Outcome
) -> None:
    approval = replace(
        an_approval(*quorums, broke_glass=broke),
        votes=tuple(votes),
        outcome=outcome,
        decided_at=None if outcome is Outcome.WAITING else 7.0,
        code="denied" if outcome is Outcome.REJECTED else "",
        detail="why" if outcome is Outcome.REJECTED else "",
    )
    assert approval == approval_from_json(approval_to_json(approval))
