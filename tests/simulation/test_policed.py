"""The simulator bites where policies, approvals and limits are concerned: each planted defect is found."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

import pytest

from stoker.config.json_types import JsonObject
from stoker.pools.admission import Admission
from stoker.pools.approvals import Approval, Need, Voter
from stoker.pools.claim import Claim
from stoker.pools.follow_ups import FollowUps
from stoker.pools.stores.approval_rows import approval_to_json
from stoker.pools.tasks import T, Tasks
from stoker.pools.usage import Usage
from tests.simulation.running import Outcome, play

HOURS = 0.4
SEEDS = (21, 5, 11, 0, 1, 2, 8, 9, 10, 14, 16, 20, 22, 24)
"""Some whose stories have approvals; where others find something early comes first."""
ASKED = ("approved", "without an approval", "claim.rejected", "claim.approval-lapsed", "votes")
"""What becomes of claims in stories with policies; see `Outcome.consent`."""
Plant = Callable[[pytest.MonkeyPatch], None]


def one_vote_is_enough(patch: pytest.MonkeyPatch) -> None:
    def one(_: Approval, __: Need) -> int:
        return 1

    patch.setattr(Approval, "quorum_of", one)


def everybody_is_somebody_else(patch: pytest.MonkeyPatch) -> None:
    def never(_: Voter, __: Voter) -> bool:
        return False

    patch.setattr(Voter, "is_same", never)


def nobody_has_to_approve(patch: pytest.MonkeyPatch) -> None:
    def none(claim: Claim, asking: object) -> None:
        """Nobody is asked."""

    patch.setattr("stoker.pools.admission._ask", none)


def the_claim_is_changed_with_its_approval(patch: pytest.MonkeyPatch) -> None:
    again = Admission.again

    def longer(self: Admission, claim: Claim) -> tuple[Need, ...]:
        needs = again(self, claim)
        claim.ttl *= 2
        return needs

    patch.setattr(Admission, "again", longer)


def a_deny_of_now_is_not_heard(patch: pytest.MonkeyPatch) -> None:
    def as_before(_: Admission, claim: Claim) -> tuple[Need, ...]:
        assert claim.approval is not None
        return claim.approval.needs

    patch.setattr(Admission, "again", as_before)


def another_rule_counts_as_more(patch: pytest.MonkeyPatch) -> None:
    def with_its_rule(need: Need) -> tuple[str, str]:
        return need.policy, need.rule

    patch.setattr("stoker.pools.approvals._asks", with_its_rule)


def nothing_is_held(patch: pytest.MonkeyPatch) -> None:
    def none(_: Usage, *__: object) -> int:
        return 0

    patch.setattr(Usage, "active", none)


def a_start_forgets_what_is_held(patch: pytest.MonkeyPatch) -> None:
    def forget(_: Usage, *__: object) -> None:
        """Counts from nought."""

    def no_breaches(_: Usage, __: Iterable[Claim]) -> list[str]:
        return []

    patch.setattr(Usage, "restore", forget)
    patch.setattr(Usage, "breaches", no_breaches)


def nothing_was_claimed_before(patch: pytest.MonkeyPatch) -> None:
    def none(_: Usage, *__: object) -> int:
        return 0

    patch.setattr(Usage, "claims_within", none)


def the_ledger_forgets_votes(patch: pytest.MonkeyPatch) -> None:
    def without(approval: Approval) -> JsonObject:
        return approval_to_json(replace(approval, votes=()))

    patch.setattr("stoker.pools.stores.encoding.approval_to_json", without)


def deadlines_open_no_gate(patch: pytest.MonkeyPatch) -> None:
    def stay(_: object) -> None:
        """Stays shut."""

    patch.setattr("stoker.pools.approving._open", stay)


def a_start_forgets_follow_ups(patch: pytest.MonkeyPatch) -> None:
    def forget(_: FollowUps, __: Iterable[Claim]) -> None:
        """Of earlier runs."""

    patch.setattr(FollowUps, "remember", forget)


def the_glass_breaks_in_silence(patch: pytest.MonkeyPatch) -> None:
    async def keep(self: FollowUps, claim: Claim) -> None:
        self._keep(claim)  # pyright: ignore[reportPrivateUsage]

    patch.setattr(FollowUps, "announce", keep)


def a_vote_is_cut_when_its_voter_hangs_up(patch: pytest.MonkeyPatch) -> None:
    async def alone(_: Tasks, work: Awaitable[T], name: str, **__: object) -> T:
        return await work

    patch.setattr(Tasks, "see_through", alone)


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (one_vote_is_enough, ["is bound without the 2 votes"]),
        (everybody_is_somebody_else, ["on their own claim", "vote of its own claimant"]),
        (nobody_has_to_approve, ["is bound without asking"]),
        (the_claim_is_changed_with_its_approval, ["is not what was approved"]),
        (a_deny_of_now_is_not_heard, ["was approved when"]),
        (another_rule_counts_as_more, ["nothing had changed"]),
        (nothing_is_held, ["and the policy grants"]),
        (a_start_forgets_what_is_held, ["and the policy grants"]),
        (nothing_was_claimed_before, ["claims in a minute"]),
        (the_ledger_forgets_votes, ["has lost a vote"]),
        (deadlines_open_no_gate, ["waits for an approval"]),
        (a_start_forgets_follow_ups, ["is forgotten"]),
        (the_glass_breaks_in_silence, ["the audit does not say so"]),
        (a_vote_is_cut_when_its_voter_hangs_up, ["the usage says"]),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_planted_defect_is_found(
    plant: Plant, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)

    problems = (play(seed, HOURS).problem for seed in SEEDS)
    assert any(word in problem for problem in problems for word in words)


def test_claims_are_approved_denied_and_let_pass_in_a_story() -> None:
    outcomes: list[Outcome] = [play(seed, HOURS) for seed in (0, 1, 8)]

    assert [outcome.problem for outcome in outcomes] == ["", "", ""]
    assert min(sum(outcome.consent[kind] for outcome in outcomes) for kind in ASKED) > 3
