"""Policy documents: what they compile to, and every mistake with its place and a remedy."""

import time

import pytest

from stoker.config.policies.rules import ClaimRate, Effect, Limits, Mode, Shape
from stoker.config.schema import json_schema
from tests.config.catalogue import CATALOGUE, loaded
from tests.config.policies.documents import (
    BASE,
    a_policy_with,
    a_test_with,
    problems,
    the_revision,
)


def test_a_policy_reaches_the_revision_in_base_units() -> None:
    text = a_policy_with(
        """
  pools: [box*, "b?xes"]
  when: '"web" in caller.groups'
  mode: canary
  canary: {share: 12.5%, when: "caller.uid > 999"}
  rules:
    - {name: members, effect: allow}
    - {name: long, effect: approve, when: 'request.ttl > duration("1h")', message: ask first}
  limits:
    maxTtl: 2h
    maxActivePerCaller: 5
    maxActivePerGroup: {web: 20}
    maxActivePerLabel: {branch: 2}
    spendPerDay: 12.5
    ratePerCaller: 30/h
    params: {role: [reader, writer], size: []}
  defaults: {ttl: 30m, labels: {team: web}, params: {role: reader}}
  caps: {ttl: 1h}
  forced: {labels: {owner: web}, costCentre: sandboxes}
  reason: {pattern: "^[A-Z]+-[0-9]+"}
  approvals:
    approvers: '"leads" in approver.groups && approver.uid != caller.uid'
    quorum: 2
    deadline: 20m
    breakGlass: {when: '"oncall" in caller.groups', followUp: 8h}
"""
    )
    policy = the_revision(text).policies["team"]

    assert (("box*", "b?xes"), Mode.CANARY) == (policy.pools, policy.mode)
    assert policy.when is not None
    assert '"web" in caller.groups' == policy.when.source
    assert policy.canary is not None
    assert 0.125 == policy.canary.share
    assert [("members", Effect.ALLOW, "true", ""), ("long", Effect.APPROVE, 'request.ttl > duration("1h")', "ask first")] == [
        (it.name, it.effect, it.when.source, it.message) for it in policy.rules
    ]  # fmt: skip
    assert Limits(
        7200.0, 5, {"web": 20}, {"branch": 2}, 12.5, ClaimRate(30, 3600.0),
        {"role": ("reader", "writer"), "size": ()},
    ) == policy.limits  # fmt: skip
    assert Shape(
        1800.0, {"team": "web"}, {"role": "reader"}, 3600.0, {"owner": "web"}, {}, "sandboxes"
    ) == policy.shape  # fmt: skip
    assert policy.reason is not None
    assert "^[A-Z]+-[0-9]+" == policy.reason.source
    approvals = policy.approvals
    assert approvals is not None
    assert (2, 1200.0) == (approvals.quorum, approvals.deadline)
    assert approvals.break_glass is not None
    assert 28800.0 == approvals.break_glass.follow_up


def test_a_policy_is_about_all_pools_and_enforced_unless_it_says_otherwise() -> None:
    policy = the_revision(a_policy_with("  rules: [{name: all, effect: allow}]")).policies["team"]

    assert (("*",), Mode.ENFORCE, None) == (policy.pools, policy.mode, policy.reason)
    assert policy.covers("boxes")


RULE = "  rules:\n    - {name: one, effect: deny, when: '%s'}"
AT = len("    - {name: one, effect: deny, when: '")
"""The column of the quote."""


def column(text: str, word: str) -> int:
    """Of the word; of the quote before the text where it begins with it."""
    at = text.index(word)
    return AT + at + 1 if at else AT


@pytest.mark.parametrize(
    ("when", "word", "message"),
    [
        ("caller.grups == 1", "grups", "'caller' has no member 'grups'. did you mean 'groups'?"),
        ("request.tll > now", "tll", "'request' has no member 'tll'. did you mean 'ttl'?"),
        ("pool.cost.perHours > 1.0", "perHours", "'pool.cost' has no member 'perHours'. did you mean 'perHour'?"),
        ("usage.activ > 1", "activ", "'usage' has no member 'activ'. did you mean 'active'?"),
        ("calller.uid == 1", "calller", "there is no 'calller' here. did you mean 'caller'?"),
        ('params.role == "x"', "params", "'params' cannot be read here. write request.params"),
        ("approver.uid == 1", "approver", "'approver' cannot be read here. it is known only to approvers; read caller, who claims"),
        ('resource.id == "x"', "resource", "'resource' cannot be read here. a policy decides before there is a resource; read pool or request"),
        ('request.ttl > "1h"', "request.ttl", "'>' cannot take a duration and a string. check the types"),
        ("caller.uid", "caller", "the expression gives an int, but a bool is needed here. compare it with something"),
        ("caller.exe.matches(request.reason)", "reason", "the pattern of matches() must stand here as a text. write it in quotes"),
        ('caller.exe.matches("(")', '"("', "the pattern is no regular expression that RE2 takes. see github.com/google/re2/wiki/Syntax"),
        ('now.inBusinessHours("Mars")', '"Mars"', "there is no such time zone. give one such as Europe/Vienna or +01:00"),
        ('now.inBusinessHours("UTC", "9", "17:00")', '"9"', "the text is no time of day. give one from 00:00 to 23:59, such as 09:00"),
        ('now.inBuisnessHours("UTC")', "inBuis", "there is no function 'inBuisnessHours'. did you mean 'inBusinessHours'?"),
        ('request.ttl > duration("1 h")', '"1 h"', "the text is no duration. give a number with ms, s, m, h or d, such as 1h30m"),
        ('now > timestamp("noon")', '"noon"', "the text is no RFC 3339 time. give one such as 2030-01-31T12:00:00Z"),
        ("uid == 1", "uid", "'uid' cannot be read here. write caller.uid"),
        ('labels.team == "x"', "labels", "'labels' cannot be read here. write request.labels or pool.labels"),
        ("caller.uid = 1", "= 1", "'=' cannot stand here. write == to compare"),
        ("caller.operator and true", "and", "'and' cannot stand here. write &&"),
        ("${caller.operator}", "$", "'$' cannot stand here. ${…} stands around expressions within other texts; write the expression alone"),
        ("caller.uid ==", "", "the expression ends too early. complete it"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_condition_is_told_with_its_place(
    when: str, word: str, message: str
) -> None:
    at = column(when, word) if word else AT + len(when) + 1
    assert [f"p0.yaml:6:{at}: spec.rules[0].when: {message}"] == problems(
        a_policy_with(RULE % when)
    )


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("  mood: shadow", "p0.yaml:5:3: spec.mood: there is no key 'mood' here. did you mean 'mode'?"),
        ("  mode: shadowy", "p0.yaml:5:9: spec.mode: expected 'enforce', 'shadow' or 'canary', got 'shadowy'. did you mean 'shadow'?"),
        ("  rules: [{name: a, effect: alow}]", "p0.yaml:5:29: spec.rules[0].effect: expected 'allow', 'deny' or 'approve', got 'alow'. did you mean 'allow'?"),
        ("  rules: [{name: a, effect: allow}, {name: a, effect: deny}]", "p0.yaml:5:44: spec.rules[1].name: there is another rule 'a' in line 5. give one of them another name"),
        ("  rules: [{name: a, effect: approve}]", "p0.yaml:5:29: spec.rules[0].effect: the rule 'a' asks for an approval, and nobody may approve. write spec.approvals: {approvers: …}"),
        ("  pools: [Box]", "p0.yaml:5:11: spec.pools[0]: 'Box' cannot match a pool. use a-z, 0-9, '-', '*' and '?': web*"),
        ("  pools: [boxs]", "p0.yaml:5:11: spec.pools[0]: there is no pool 'boxs'. did you mean 'boxes'?"),
        ("  pools: []", "p0.yaml:5:10: spec.pools: must have at least 1 entries. write another value"),
        ("  mode: canary", "p0.yaml:5:9: spec.mode: nothing says for whom the canary is. write canary: {share: 10%}"),
        ("  canary: {share: 10%}", "p0.yaml:5:3: spec.canary: a canary means nothing in the mode enforce. write mode: canary"),
        ("  mode: canary\n  canary: {share: 0.1}", "p0.yaml:6:19: spec.canary.share: expected a share such as 10%, got 0.1. write more than 0% up to 100%"),
        ("  mode: canary\n  canary: {share: 101%}", "p0.yaml:6:19: spec.canary.share: expected a share such as 10%, got '101%'. write more than 0% up to 100%"),
        ("  mode: canary\n  canary: {}", "p0.yaml:6:11: spec.canary: a canary needs a share or a when. write share: 10%"),
        ("  limits: {ratePerCaller: 0.5/h}", "p0.yaml:5:27: spec.limits.ratePerCaller: '0.5/h' is no whole number of claims. write one such as 30/h"),
        ("  limits: {ratePerCaller: often}", "p0.yaml:5:27: spec.limits.ratePerCaller: 'often' is no rate. write a number per s, m, h or d, such as 5/s"),
        ("  limits: {maxActivePerCaller: 0}", "p0.yaml:5:32: spec.limits.maxActivePerCaller: must be at least 1, not 0. write another value"),
        ("  limits: {maxTtl: 1h}\n  caps: {ttl: 2h}", "p0.yaml:6:15: spec.caps.ttl: 2h is longer than limits.maxTtl (1h). shorten it or lengthen limits.maxTtl"),
        ("  defaults: {ttl: 3h}\n  caps: {ttl: 2h}", "p0.yaml:5:19: spec.defaults.ttl: 3h is longer than caps.ttl (2h). shorten it or lengthen caps.ttl"),
        ("  defaults: {labels: {a: x}}\n  forced: {labels: {a: y}}", "p0.yaml:5:23: spec.defaults.labels.a: 'a' is forced too, so that the default never holds. remove one of them"),
        ("  limits: {params: {role: [reader]}}\n  forced: {params: {role: admin}}", "p0.yaml:6:27: spec.forced.params.role: limits.params does not allow the value that 'role' is forced to. add it there"),
        ("  reason: {pattern: '('}", "p0.yaml:5:21: spec.reason.pattern: the pattern is no regular expression that RE2 takes. see github.com/google/re2/wiki/Syntax"),
        ("  approvals: {approvers: 'aprover.uid == 0'}", "p0.yaml:5:26: spec.approvals.approvers: there is no 'aprover' here. did you mean 'approver'?"),
        ("  approvals: {approvers: 'true', quorum: 0}", "p0.yaml:5:42: spec.approvals.quorum: must be at least 1, not 0. write another value"),
        ("  approvals: {approvers: 'true', breakGlass: {when: 'callr.uid == 0'}}", "p0.yaml:5:53: spec.approvals.breakGlass.when: there is no 'callr' here. did you mean 'caller'?"),
        ("  when: caller.uid", "p0.yaml:5:9: spec.when: the expression gives an int, but a bool is needed here. compare it with something"),
        ("  mode: canary\n  canary: {when: now}", "p0.yaml:6:18: spec.canary.when: the expression gives a timestamp, but a bool is needed here. compare it with something"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place_and_a_remedy(spec: str, told: str) -> None:
    assert [told] == problems(a_policy_with(spec))


def test_two_policies_of_one_name_are_told() -> None:
    one = a_policy_with("  rules: []")
    (told,) = problems(one, one)
    assert "p1.yaml:3:18: metadata.name: there is another Policy 'team' at p0.yaml:3:18" in told


def test_what_is_odd_about_the_pools_is_a_warning() -> None:
    for spec, told in (
        ("  pools: ['bxes*']", "warning: p0.yaml:5:11: spec.pools[0]: no pool matches 'bxes*'. did you mean 'boxes'?"),
        (RULE % 'pool.labels.team == "x"', "warning: p0.yaml:6:39: spec.rules[0].when: the pool 'boxes' has no label 'team', so that the rule ends in an error there, which denies every claim. ask before: has(pool.labels.team) && …"),
        (RULE % 'request.params.rule == "x"', "warning: p0.yaml:6:39: spec.rules[0].when: the pool 'boxes' has no parameter 'rule', so that the rule ends in an error there, which denies every claim. ask before: has(request.params.rule) && …"),
    ):  # fmt: skip
        assert [told] == problems(a_policy_with(spec))
    for when in ('has(pool.labels.team) && pool.labels.team == "x"', 'request.params.role == "x"'):
        assert [] == problems(a_policy_with(RULE % when))


@pytest.mark.parametrize("key", ["defaults", "forced"])
def test_a_parameter_that_no_claim_could_have_is_an_error_and_may_be_avoided_by_a_when(
    key: str,
) -> None:
    at = len(f"  {key}: {{params: {{") + 1
    for given, said in (
        ("rule: x", "there is no parameter 'rule'. did you mean 'role'?"),
        ("role: 5", "parameter 'role': the value is not of type \"string\". see the schema of the parameter"),
    ):  # fmt: skip
        spec = f"  {key}: {{params: {{{given}}}}}"
        column = at + given.index(" ") + 1
        told = f"p0.yaml:5:{column}: spec.{key}.params.{given[:4]}: the pool 'boxes': {said}"
        assert [told] == problems(a_policy_with(spec))
        (odd,) = problems(a_policy_with(f"{spec}\n  when: caller.uid > 9"))
        assert f"warning: {told}" == odd


def test_a_limit_on_a_parameter_that_no_pool_has_is_a_warning() -> None:
    (told,) = problems(a_policy_with("  limits: {params: {rule: [x]}}"))
    assert told.startswith("warning: p0.yaml:5:")
    assert "none of these pools has a parameter 'rule'. did you mean 'role'?" in told


def test_a_scope_that_reads_what_a_pool_lacks_is_a_warning_unless_it_asks_before() -> None:
    (told,) = problems(a_policy_with('  when: pool.labels.zone == "x"'))
    assert "spec.when: the pool 'boxes' has no label 'zone', so that it ends in an error" in told
    asked = '  when: \'"zone" in pool.labels && pool.labels.zone == "x"\''
    assert [] == problems(a_policy_with(asked))


@pytest.mark.parametrize("fact", ["caller.token.team", "request.labels.team"])
def test_reading_what_not_everybody_brings_is_a_warning_unless_it_is_asked_for_before(
    fact: str,
) -> None:
    reads = f'{fact} == "x"'
    (told,) = problems(a_policy_with(RULE % reads))
    assert f"the rule ends in an error for whoever has no '{fact}', which denies" in told
    assert told.startswith("warning: p0.yaml:6:39: spec.rules[0].when: ")
    assert told.endswith(f"ask before: has({fact}) && …")
    assert [] == problems(a_policy_with(RULE % f"has({fact}) && {reads}"))
    assert [] == problems(a_policy_with(f"  when: has({fact})\n{RULE % reads}"))


@pytest.mark.parametrize("key", ["defaults", "forced"])
def test_a_label_that_the_policy_itself_gives_is_there(key: str) -> None:
    given = f"  {key}: {{labels: {{team: x}}}}\n"
    assert [] == problems(a_policy_with(given + RULE % 'request.labels.team == "x"'))


def test_a_mistake_in_a_folded_text_is_told_with_its_own_line_and_column() -> None:
    spec = """  rules:
    - name: one
      effect: deny
      when: >-
        caller.uid == 1 &&

        has(caller.token.sub) &&
          requst.ttl > duration("1h")"""
    (told,) = problems(a_policy_with(spec))
    assert told.startswith("p0.yaml:12:11: spec.rules[0].when: there is no 'requst' here")


def test_pools_in_a_file_that_cannot_be_read_are_not_missed() -> None:
    result = loaded(BASE, p=a_policy_with("  pools: [elsewhere]"), q="a: [")
    assert not [it for it in result.problems if "elsewhere" in it.message]


def test_every_kind_has_a_schema_that_takes_what_loads() -> None:
    for kind in ("Policy", "PolicyTest"):
        assert {"$ref": f"#/$defs/{kind}"}.items() <= json_schema(kind, CATALOGUE).items()


def test_more_cases_than_anybody_would_wait_for_are_refused() -> None:
    cases = "\n".join(f"    - {{name: c{at}, expect: {{verdict: deny}}}}" for at in range(700))
    text = f"  given: {{pool: {{name: boxes}}}}\n  cases:\n{cases}"
    told = problems(*(a_test_with(text, f"t{at}") for at in range(4)))
    (one,) = told
    assert "p2.yaml:6:3: spec.cases: the policy tests up to this one have more than 2000" in one


@pytest.mark.serial
def test_a_thousand_rules_load_in_a_few_seconds() -> None:
    """The benchmark asks for two; a loaded machine gets more."""
    files = {
        f"p{policy}": a_policy_with(
            "  rules:\n"
            + "\n".join(
                f"    - {{name: r{at}, effect: deny, when: 'request.count > {policy * 10 + at} && caller.uid > 7'}}"
                for at in range(10)
            ),
            f"p{policy}",
        )
        for policy in range(100)
    }
    begin = time.perf_counter()
    result = loaded(BASE, **files)
    assert result.revision is not None
    assert 100 == len(result.revision.policies)
    assert time.perf_counter() - begin < 10
