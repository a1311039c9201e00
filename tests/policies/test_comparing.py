"""What a change of the policies does, told without any claim."""

import pytest

from stoker.config.policies.rules import ClaimRate, Limits, PolicySpec, Shape
from stoker.policies.comparing import Direction, policy_changes
from tests.policies.builders import a_policy, allow, approve, deny

TIGHTENED, LOOSENED, CHANGED = Direction


def told(before: list[PolicySpec], after: list[PolicySpec]) -> list[tuple[str, str, str]]:
    found = policy_changes({it.name: it for it in before}, {it.name: it for it in after})
    return [(it.what, it.direction, it.sentence) for it in found]


@pytest.mark.parametrize(
    ("before", "after", "what", "direction", "words"),
    [
        ([], [allow("caller.uid == 0")], "rules.allow", LOOSENED, "the allow rule allow of the policy team is new"),
        ([allow()], [], "rules.allow", TIGHTENED, "is removed"),
        ([], [deny()], "rules.deny", TIGHTENED, "the deny rule deny of the policy team is new"),
        ([deny()], [], "rules.deny", LOOSENED, "is removed"),
        ([], [approve()], "rules.approve", CHANGED, "is new"),
        ([allow()], [deny(name="allow")], "rules.allow", TIGHTENED, "goes from allow to deny"),
        ([approve(name="a")], [allow(name="a")], "rules.a", LOOSENED, "goes from approve to allow"),
        ([allow()], [allow("caller.uid == 7")], "rules.allow", CHANGED, "is true for other claims: caller.uid == 7"),
    ],
)  # fmt: skip
def test_a_changed_rule(
    before: list[object], after: list[object], what: str, direction: Direction, words: str
) -> None:
    old = a_policy(*before)  # type: ignore[arg-type]
    new = a_policy(*after, approvals=old.approvals)  # type: ignore[arg-type]
    if new.approvals != old.approvals:
        old = a_policy(*before, approvals=new.approvals)  # type: ignore[arg-type]
    (found,) = told([old], [new])
    assert (what, direction) == found[:2]
    assert words in found[2]


@pytest.mark.parametrize(
    ("before", "after", "what", "direction", "words"),
    [
        (Limits(), Limits(max_ttl=3600.0), "limits.maxTtl", TIGHTENED, "from no limit to 1h"),
        (Limits(max_ttl=3600.0), Limits(max_ttl=1800.0), "limits.maxTtl", TIGHTENED, "from 1h to 30m"),
        (Limits(max_ttl=1800.0), Limits(max_ttl=3600.0), "limits.maxTtl", LOOSENED, "from 30m to 1h"),
        (Limits(spend_per_day=5.0), Limits(), "limits.spendPerDay", LOOSENED, "from 5 to no limit"),
        (Limits(rate_per_caller=ClaimRate(60, 3600.0)), Limits(rate_per_caller=ClaimRate(2, 60.0)), "limits.ratePerCaller", LOOSENED, "from 60/h to 2/m"),
        (Limits(max_active_per_group={"web": 3}), Limits(max_active_per_group={"web": 2}), "limits.maxActivePerGroup.web", TIGHTENED, "from 3 to 2"),
        (Limits(params={"a": (1,)}), Limits(params={"a": (1, 2)}), "limits.params", CHANGED, "other limits.params"),
    ],
)  # fmt: skip
def test_a_changed_limit(
    before: Limits, after: Limits, what: str, direction: Direction, words: str
) -> None:
    (found,) = told([a_policy(limits=before)], [a_policy(limits=after)])
    assert (what, direction) == found[:2]
    assert words in found[2]


def test_whole_policies_come_and_go() -> None:
    base = a_policy(name="base")
    for policy, added, removed in (
        (a_policy(allow()), LOOSENED, TIGHTENED),
        (a_policy(deny()), TIGHTENED, LOOSENED),
        (a_policy(allow(), deny()), CHANGED, CHANGED),
        (a_policy(allow(), limits=Limits(max_ttl=1.0)), CHANGED, CHANGED),
        (a_policy(deny(), mode="shadow"), CHANGED, CHANGED),
    ):
        assert [added] == [it[1] for it in told([base], [base, policy])]
        assert [removed] == [it[1] for it in told([base, policy], [base])]


def test_the_first_policy_that_is_enforced_and_the_last_are_told() -> None:
    shadow, enforced = a_policy(allow(), mode="shadow"), a_policy(allow())
    assert "only what a rule allows may be claimed" in told([shadow], [enforced])[0][2]
    assert "root and the daemon's user alone may claim" in told([enforced], [shadow])[0][2]
    assert ("mode", CHANGED, "the policy team goes from shadow to enforce") in told(
        [shadow], [enforced]
    )


def test_everything_else_that_differs_is_told_as_changed() -> None:
    before = a_policy(allow())
    for after, what in (
        (a_policy(allow(), pools=("web",)), "pools"),
        (a_policy(allow(), when="caller.uid == 1"), "when"),
        (a_policy(allow(), shape=Shape(max_ttl=1.0)), "defaults, caps or forced"),
    ):
        assert [(what, CHANGED)] == [it[:2] for it in told([before], [after])]
    asking = a_policy(allow(), reason="x")
    assert [("reason", TIGHTENED)] == [it[:2] for it in told([before], [asking])]
    assert [("reason", LOOSENED)] == [it[:2] for it in told([asking], [before])]
    assert [("reason", CHANGED)] == [
        it[:2] for it in told([asking], [a_policy(allow(), reason="y")])
    ]
    assert [] == told([asking], [a_policy(allow(), reason="x")])
