"""`stoker policy test` and `stoker policy explain`, on real directories."""

import json
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from stoker.daemon.cli.group import cli

POOL = """\
apiVersion: stoker/v1
kind: Blueprint
metadata: {name: box}
spec:
  parameters: {role: {type: string, default: reader}}
  prepare: [{name: site, driver: directory}]
---
apiVersion: stoker/v1
kind: Pool
metadata: {name: db, labels: {tier: production}}
spec: {blueprint: box, size: {min: 1, max: 3}}
"""
POLICY = """\
apiVersion: stoker/v1
kind: Policy
metadata: {name: db-team}
spec:
  pools: [db]
  rules:
    - {name: payments, effect: allow, when: 'caller.unit == "payments.service"'}
    - {name: team, effect: allow, when: '"dba" in caller.groups'}
    - name: short-in-production
      effect: deny
      when: 'request.ttl > duration("1h") && pool.labels.tier == "production"'
      message: production claims end within an hour
  limits: {maxActivePerCaller: 2}
  forced: {labels: {owner: dba}}
"""
TEST = """\
apiVersion: stoker/v1
kind: PolicyTest
metadata: {name: db-team}
spec:
  given: {pool: {name: db}, caller: {unit: payments.service}}
  cases:
    - {name: the payments service may claim, expect: {verdict: allow, rule: payments}}
    - name: nobody may for two hours
      given: {request: {ttl: 2h}}
      expect: {verdict: VERDICT, rule: short-in-production}
    - {name: nobody else may, given: {caller: {unit: other.service}}, expect: {verdict: deny}}
"""


def stoker(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pool.yaml").write_text(POOL)
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "test.yaml").write_text(TEST.replace("VERDICT", "deny"))
    return tmp_path


def test_cases_are_a_table_with_the_rules_that_none_tries(folder: Path) -> None:
    result = stoker("policy", "test", folder)
    assert 0 == result.exit_code
    lines = result.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert ["TEST", "CASE", "VERDICT", "RULE", "RESULT"] == lines[0].split()
    assert "db-team/payments" in lines[1]
    assert lines[1].endswith("pass")
    assert "db-team/team  true" in lines
    assert "3 passed, 0 failed; 2 of 3 rules are tried both ways." == lines[-1]


def test_a_case_that_fails_is_told_with_its_place_and_the_code_is_1(folder: Path) -> None:
    (folder / "test.yaml").write_text(TEST.replace("VERDICT", "allow"))
    result = stoker("policy", "test", folder)
    assert 1 == result.exit_code
    assert f"nobody may for two hours ({folder}/test.yaml:8:7)" in result.stdout
    words = " ".join(result.stdout.split())
    assert "verdict: expected allow, got deny: production claims end within an hour" in words
    assert "2 passed, 1 failed" in result.stdout


def test_cases_are_told_to_programs(folder: Path) -> None:
    (folder / "test.yaml").write_text(TEST.replace("VERDICT", "allow"))
    result = stoker("policy", "test", folder, "-o", "json")
    assert 1 == result.exit_code
    found = json.loads(result.stdout)
    assert [True, False, True] == [case["passed"] for case in found["cases"]]
    assert "verdict" == found["cases"][1]["wrong"][0]["key"]
    assert [{"policy": "db-team", "rule": "team", "neverTrue": True, "neverFalse": False}] == (
        found["untried"]
    )


def test_without_a_case_it_says_so(folder: Path) -> None:
    (folder / "test.yaml").unlink()
    result = stoker("policy", "test", folder)
    assert 0 == result.exit_code
    assert "has no case of a PolicyTest" in result.stdout
    assert "0 of 3 rules are tried both ways." in result.stdout


def test_a_directory_with_errors_is_told(folder: Path) -> None:
    (folder / "policy.yaml").write_text(POLICY.replace("caller.unit", "caller.unti"))
    result = stoker("policy", "test", folder)
    assert 1 == result.exit_code
    assert "'caller' has no member 'unti'" in result.stderr
    assert f"stoker validate {folder}" in result.stderr
    assert 1 == stoker("policy", "test", folder / "none").exit_code


def test_validate_runs_the_cases(folder: Path) -> None:
    assert 0 == stoker("validate", folder).exit_code
    (folder / "test.yaml").write_text(TEST.replace("VERDICT", "allow"))
    result = stoker("validate", folder)
    assert 1 == result.exit_code
    assert (
        f"{folder}/test.yaml:10:25: error: spec.cases[1].expect.verdict: the case" in result.stdout
    )


def test_an_explanation_shows_each_rule_and_what_decided(folder: Path) -> None:
    asked = ("--pool", "db", "--ttl", "2h", "--as-unit", "payments.service")
    result = stoker("policy", "explain", folder, *asked)
    assert 3 == result.exit_code
    lines = result.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "deny by db-team/short-in-production" == lines[0]
    assert "production claims end within an hour" == lines[1].strip()
    assert "  db-team changes labels.owner from nothing to dba." in lines
    assert "db-team/payments: allow  true" in lines
    assert '  caller.unit == "payments.service" is true' in lines
    assert "db-team/team: allow  false" in lines
    at = lines.index('  request.ttl > duration("1h") is true')
    assert '    request.ttl = "2h"' == lines[at + 1]


def test_an_explanation_of_what_is_allowed_exits_with_0(folder: Path) -> None:
    result = stoker(
        "policy", "explain", folder, "--pool", "db", "--as-user", "ada", "--as-group", "dba"
    )
    assert 0 == result.exit_code, result.stdout
    assert result.stdout.startswith("allow by db-team/team\n")


def test_an_explanation_is_told_to_programs(folder: Path) -> None:
    asked = ("--as-uid", "4711", "--param", "role=admin", "-l", "branch=main", "--reason", "x")
    more = ("--as-exe", "/bin/x", "--as-host", "h", "--count", "2", "--renew", "--break-glass")
    at = ("--at", "2030-01-05T20:00:00+01:00", "-o", "json")
    result = stoker("policy", "explain", folder, "--pool", "db", *asked, *more, *at)
    assert 3 == result.exit_code
    found = json.loads(result.stdout)
    assert ("deny", "", "") == (found["verdict"], found["policy"], found["rule"])
    assert "No rule allows uid 4711 to renew a claim on db." in found["message"]
    assert {"payments": "false", "team": "false", "short-in-production": "false"} == {
        rule["rule"]: rule["value"] for rule in found["rules"]
    }
    because = next(it["because"] for it in found["rules"] if it["rule"] == "team")
    assert [
        {"part": '"dba" in caller.groups', "outcome": "false", "read": {"caller.groups": []}}
    ] == (because)


def test_an_explanation_is_about_the_token_and_the_bind_that_are_given(folder: Path) -> None:
    rules = """\
    - {name: by-token, effect: allow, when: 'has(caller.token.sub) && "dba" in caller.token.roles'}
    - {name: unbound, effect: deny, when: 'request.bind != "process"'}
    - {name: always, effect: deny, when: 'caller.uid < 0'}
"""
    (folder / "test.yaml").unlink()
    given = (folder / "policy.yaml").read_text()
    (folder / "policy.yaml").write_text(given[: given.index("  rules:")] + "  rules:\n" + rules)
    asked = ("--pool", "db", "--as-token", "sub=ada", "--as-token", 'roles:=["dba"]')
    allowed = stoker("policy", "explain", folder, *asked, "--bind", "process")
    assert allowed.stdout.startswith("allow by db-team/by-token\n"), allowed.output
    assert stoker("policy", "explain", folder, *asked).stdout.startswith("deny by db-team/unbound")
    assert 3 == stoker("policy", "explain", folder, "--pool", "db", "--bind", "process").exit_code


def test_a_rule_without_a_condition_is_not_explained_by_one(folder: Path) -> None:
    (folder / "test.yaml").unlink()
    spec = "  rules: [{name: all, effect: allow}]\n"
    given = (folder / "policy.yaml").read_text()
    (folder / "policy.yaml").write_text(given[: given.index("  rules:")] + spec)
    lines = stoker("policy", "explain", folder, "--pool", "db").stdout.splitlines()
    assert "db-team/all: allow  true" == lines[-1]


def test_without_policies_it_is_you_who_may(folder: Path) -> None:
    (folder / "policy.yaml").unlink()
    (folder / "test.yaml").unlink()
    assert 0 == stoker("policy", "explain", folder, "--pool", "db").exit_code
    other = stoker("policy", "explain", folder, "--pool", "db", "--as-uid", "4711")
    assert 3 == other.exit_code
    assert "only root and the user that" in other.stdout


def test_what_cannot_be_explained_is_told(folder: Path) -> None:
    unknown = stoker("policy", "explain", folder, "--pool", "dbb")
    assert 4 == unknown.exit_code
    assert "There is no pool 'dbb': did you mean 'db'?" in unknown.stderr
    assert 2 == stoker("policy", "explain", folder).exit_code
    when = stoker("policy", "explain", folder, "--pool", "db", "--at", "noon")
    assert 2 == when.exit_code
    assert "write one such as 2030-01-31T12:00:00Z" in when.stderr
    assert 2 == stoker("policy", "explain", folder, "--pool", "db", "--ttl", "long").exit_code
    assert 2 == stoker("policy", "tset", folder).exit_code


def test_its_commands_are_completed() -> None:
    complete = ShellComplete(cli, {}, "stoker", "_STOKER_COMPLETE")
    assert ["test"] == [it.value for it in complete.get_completions(["policy"], "t")]
    assert ["--as-unit"] == [
        it.value for it in complete.get_completions(["policy", "explain"], "--as-un")
    ]
