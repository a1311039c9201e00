"""What is said of a decision before its rules: what is in use, and what shadows would change."""

from stoker.config.policies.rules import Limits, PolicySpec, Shape
from stoker.policies.decision import Check
from stoker.policies.explaining import as_json, explain, sentences
from tests.policies.builders import a_policy, about, allow, deny, some_facts


def said(*policies: PolicySpec) -> list[str]:
    return list(sentences(explain(about(*policies), some_facts())))


def test_what_is_in_use_is_told_where_somebody_counts() -> None:
    policies = about(a_policy(allow(), limits=Limits(max_active_per_caller=5)))

    def two(_: Check) -> float:
        return 2.0

    counted = explain(policies, some_facts(), counted=two)
    limit = "team/limits.maxActivePerCaller is counted for 1000: 5 is the most"
    assert f"{limit}, 2 is taken, and this claim adds 1." in list(sentences(counted))
    assert f"{limit}, and this claim adds 1." in list(sentences(explain(policies, some_facts())))
    found = as_json(counted)["checks"]
    assert [
        {
            "policy": "team", "rule": "limits.maxActivePerCaller", "subject": "1000", "most": 5.0,
            "adds": 1.0, "taken": 2.0,
        }
    ] == found  # fmt: skip


def test_what_a_shadow_would_change_is_told_as_what_it_is() -> None:
    enforced = a_policy(allow())
    later = "If later were enforced, the answer would"
    assert f"{later} be the same." == said(enforced, a_policy(name="later", mode="shadow"))[-1]
    denies = a_policy(deny(name="no"), name="later", mode="shadow")
    assert (
        f"{later} be deny: The rule no of the policy later denies it."
        == (said(enforced, denies)[-1])
    )
    shape = Shape(max_ttl=60.0, forced_labels={"team": "web"})
    shapes = a_policy(name="later", mode="shadow", shape=shape)
    changed = "ttl would become 1m (by later) and labels.team would become web (by later)"
    assert f"{later} still be allow, but {changed}." == said(enforced, shapes)[-1]
