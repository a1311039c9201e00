"""PolicyTest documents: what they expect, which rules they leave untried, and what a failure does."""

import jsonschema_rs
import pytest
import yaml

from stoker.config.problems import Problem
from stoker.config.schema import json_schema
from stoker.policies.testing import Report, checked, run_cases
from tests.config.catalogue import CATALOGUE, loaded
from tests.config.policies.documents import BASE, a_policy_with, a_test_with, problems, the_revision
from tests.conftest import ROOT

POLICY = a_policy_with(
    """
  pools: [boxes]
  rules:
    - {name: members, effect: allow, when: '"web" in caller.groups'}
    - {name: no-admins, effect: deny, when: 'request.params.role == "admin"'}
    - {name: night, effect: approve, when: '!now.inBusinessHours("UTC")'}
  caps: {ttl: 1h}
  limits: {maxActivePerCaller: 2}
  approvals: {approvers: 'approver.uid == 0'}
"""
)


def cases(*lines: str, given: str = "{caller: {groups: [web]}, pool: {name: boxes}}") -> str:
    listed = "\n".join(f"    - {line}" for line in lines)
    return a_test_with(f"  given: {given}\n  cases:\n{listed}")


def report(*documents: str) -> Report:
    return run_cases(the_revision(*documents))


def wrong(case: str) -> list[tuple[str, str]]:
    (ran,) = report(POLICY, cases(case)).ran
    return list(ran.wrong)


@pytest.mark.parametrize(
    "case",
    [
        "{name: a, expect: {verdict: allow}}",
        "{name: a, expect: {verdict: allow, policy: team, rule: members, ttl: 30m, mutations: {}}}",
        "{name: a, given: {request: {ttl: 2h}}, expect: {verdict: allow, ttl: 1h, mutations: {ttl: 1h}}}",
        "{name: a, given: {caller: {groups: [dba]}}, expect: {verdict: deny, rule: ''}}",
        "{name: a, given: {request: {params: {role: admin}}}, expect: {verdict: deny, rule: no-admins}}",
        "{name: a, given: {now: 2030-01-05T12:00:00Z}, expect: {verdict: approve, rule: night}}",
        "{name: a, given: {usage: {active: 2}}, expect: {verdict: deny, rule: limits.maxActivePerCaller}}",
        "{name: a, expect: {verdict: allow, shadow: allow}}",
    ],
)
def test_a_case_that_is_right_passes(case: str) -> None:
    assert [] == wrong(case)


@pytest.mark.parametrize(
    ("case", "key", "sentence"),
    [
        ("{name: a, expect: {verdict: deny}}", "verdict", "expected deny, got allow: The rule members"),
        ("{name: a, expect: {verdict: allow, policy: other}}", "policy", "expected the policy other, got team"),
        ("{name: a, expect: {verdict: allow, rule: night}}", "rule", "expected the rule night, got members"),
        ("{name: a, expect: {verdict: allow, ttl: 31m}}", "ttl", "expected a ttl of 31m, got 30m"),
        ("{name: a, given: {request: {ttl: 2h}}, expect: {verdict: allow, mutations: {}}}", "mutations", "got other mutations: ttl: 1h"),
        ("{name: a, expect: {verdict: allow, shadow: deny}}", "shadow", "expected the shadow deny, got allow"),
        ("{name: a, expect: {verdict: deny, error: true}}", "error", "no rule ends in an error"),
    ],
)  # fmt: skip
def test_a_case_that_is_not_right_says_what_is_wrong(case: str, key: str, sentence: str) -> None:
    found = wrong(case)[0]
    assert key == found[0]
    assert sentence in found[1]


def test_an_error_in_a_rule_is_no_pass_unless_it_is_expected() -> None:
    failing = a_policy_with(
        "  rules: [{name: odd, effect: deny, when: 'request.labels.x == \"y\"'}]"
    )
    told = report(failing, cases("{name: a, expect: {verdict: deny}}")).ran[0].wrong
    assert [
        ("verdict", "team/odd ends in an error: there is no member 'x'; check it with has()")
    ] == [*told]
    expected = cases("{name: a, expect: {verdict: deny, rule: odd, error: true}}")
    assert () == report(failing, expected).ran[0].wrong


def test_facts_of_the_case_stand_over_those_of_the_document() -> None:
    text = cases(
        "{name: own, given: {caller: {user: ada}}, expect: {verdict: allow}}",
        "{name: none, given: {caller: {groups: []}}, expect: {verdict: deny}}",
    )
    assert () == report(POLICY, text).failed


def test_the_pool_brings_its_own_labels_cost_and_defaults() -> None:
    labelled = BASE.replace("{name: boxes}", "{name: boxes, labels: {tier: prod}}")
    policy = a_policy_with(
        "  rules: [{name: a, effect: allow, when: 'pool.labels.tier == \"prod\" && pool.blueprint == \"box\""
        " && request.params.role == \"reader\"'}]"
    )  # fmt: skip
    given = "{pool: {name: boxes}}"
    text = cases(
        "{name: real, expect: {verdict: allow}}",
        "{name: other, given: {pool: {labels: {tier: dev}}}, expect: {verdict: deny}}",
        given=given,
    )
    result = loaded(labelled, p=policy, q=text)
    assert result.revision is not None
    assert () == run_cases(result.revision).failed


def test_rules_that_no_case_tries_from_both_sides_are_told() -> None:
    text = cases(
        "{name: a, expect: {verdict: allow}}",
        "{name: b, given: {caller: {groups: []}}, expect: {verdict: deny}}",
        "{name: c, given: {request: {params: {role: admin}}}, expect: {verdict: deny}}",
    )
    found = report(POLICY, text)
    assert [("night", True, False)] == [
        (it.rule, it.never_true, it.never_false) for it in found.untried
    ]
    assert 3 == found.rules
    assert 3 == len(report(POLICY).untried)


def test_a_rule_without_a_condition_needs_no_case_that_makes_it_false() -> None:
    always = a_policy_with("  rules: [{name: all, effect: allow}]")
    assert () == report(always, cases("{name: a, expect: {verdict: allow}}")).untried


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (cases("{name: a, expect: {verdict: alow}}"), "p1.yaml:7:35: spec.cases[0].expect.verdict: expected 'allow', 'deny' or 'approve', got 'alow'. did you mean 'allow'?"),
        (cases("{name: a, given: {caller: {usr: x}}, expect: {verdict: deny}}"), "p1.yaml:7:34: spec.cases[0].given.caller.usr: there is no key 'usr' here. did you mean 'user'?"),
        (cases("{name: a, given: {now: noon}, expect: {verdict: deny}}"), "p1.yaml:7:30: spec.cases[0].given.now: 'noon' is no RFC 3339 time. write one such as 2030-01-31T12:00:00Z"),
        (cases("{name: a, expect: {verdict: deny}}", given="{}"), "p1.yaml:7:7: spec.cases[0]: nothing says which pool the case is about. write given: {pool: {name: …}}, here or for all cases"),
        (cases("{name: a, expect: {verdict: deny}}", given="{pool: {name: boxs}}"), "p1.yaml:5:24: spec.given.pool.name: there is no pool 'boxs'. did you mean 'boxes'?"),
        (cases("{name: a, given: {pool: {name: boxs}}, expect: {verdict: deny}}"), "p1.yaml:7:38: spec.cases[0].given.pool.name: there is no pool 'boxs'. did you mean 'boxes'?"),
        (cases("{name: a, expect: {verdict: allow}}", "{name: a, expect: {verdict: allow}}"), "p1.yaml:8:14: spec.cases[1].name: there is another case of this name in line 7. give one of them another name"),
        (a_test_with("  cases: []"), "p1.yaml:5:10: spec.cases: must have at least 1 entries. write another value"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_test_is_told_with_its_place(text: str, told: str) -> None:
    assert [told] == problems(POLICY, text)


def test_a_revision_whose_policy_tests_fail_is_refused_with_the_place_of_what_was_expected() -> (
    None
):
    text = cases(
        "{name: members may, expect: {verdict: deny}}", "{name: b, expect: {verdict: allow}}"
    )
    result = checked(loaded(BASE, p0=POLICY, p1=text))
    assert None is result.revision
    (problem,) = result.errors
    assert isinstance(problem, Problem)
    assert (
        "p1:7:45: spec.cases[0].expect.verdict: the case 'members may' fails: expected deny, got"
        " allow: The rule members of the policy team allows it. Mend the policy or the case."
    ) == str(problem)


def test_a_revision_whose_policy_tests_pass_stays_as_it_is() -> None:
    for text in (cases("{name: b, expect: {verdict: allow}}"), a_policy_with("  rules: []", "x")):
        result = loaded(BASE, p0=POLICY, p1=text)
        assert result is checked(result)
    broken = loaded("kind: [")
    assert broken is checked(broken)


def test_the_example_of_approvals_in_the_documentation_loads_and_passes() -> None:
    page = (ROOT / "docs" / "policies.md").read_text(encoding="utf-8")
    example = page.partition("### Approvals")[2].partition("```yaml\n")[2].partition("```")[0]
    result = loaded(BASE.replace("{name: boxes}", "{name: db}"), p=example)
    assert result.revision is not None, [str(problem) for problem in result.problems]
    found = run_cases(result.revision)
    assert ((), (), 2) == (found.failed, found.untried, len(found.ran))


def test_the_example_of_the_documentation_loads_fits_its_schema_and_passes() -> None:
    page = (ROOT / "docs" / "policies.md").read_text(encoding="utf-8")
    example = page.partition("```yaml\n")[2].partition("```")[0]
    pool = BASE.replace("{name: boxes}", "{name: web, labels: {tier: production}}")
    result = loaded(pool, p=example)
    assert result.revision is not None, [str(problem) for problem in result.problems]
    found = run_cases(result.revision)
    assert ((), ()) == (found.failed, found.untried)
    assert 3 == len(found.ran)
    for document in yaml.safe_load_all(example):
        jsonschema_rs.Draft202012Validator(json_schema(document["kind"], CATALOGUE)).validate(
            document
        )
