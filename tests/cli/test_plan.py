"""`stoker plan` without a daemon: what is compared, how it is printed, and what the exit code says."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from stoker.daemon.cli.group import cli
from stoker.daemon.cli.plan import CHANGE
from tests.fixtures.daemons import work_pool
from tests.fixtures.repositories import HttpServer, Repository, http_server

BASE = work_pool(10)


def stoker(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def a_folder(where: Path, text: str) -> Path:
    where.mkdir(parents=True)
    (where / "work.yaml").write_text(text)
    return where


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return a_folder(tmp_path / "base", BASE)


def plan(tmp_path: Path, base: Path, text: str, *more: str) -> Result:
    return stoker("plan", a_folder(tmp_path / "new", text), "--against", base, *more)


def as_json(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_against_nothing_everything_is_new(base: Path) -> None:
    result = stoker("plan", base)
    assert 0 == result.exit_code
    assert "Compared with nothing" in result.stdout
    assert "10 to create, 0 to roll, 0 to drain, 0 to destroy" in result.stdout


def test_no_change_is_told_apart_from_a_change_when_asked(tmp_path: Path, base: Path) -> None:
    same = stoker("plan", base, "--against", base, "--exit-code")
    assert (0, True) == (same.exit_code, same.stdout.startswith("No change"))
    assert as_json(stoker("plan", base, "--against", base, "-o", "json"))["change"] is False
    assert CHANGE == plan(tmp_path / "a", base, work_pool(12), "--exit-code").exit_code
    assert 0 == plan(tmp_path / "b", base, work_pool(12)).exit_code


def test_what_would_be_held_is_denied_and_says_how_to_accept_it(tmp_path: Path, base: Path) -> None:
    result = plan(tmp_path / "a", base, work_pool(4), "--exit-code")
    assert 3 == result.exit_code
    assert "It would be held: 6 of the 10 resources of the pool work" in result.stdout
    assert "stoker/accept-destroy: work" in result.stdout
    assert 0 == plan(tmp_path / "b", base, work_pool(4), "--max-destroy", "60%").exit_code
    annotated = work_pool(4).replace(
        "{name: folder}", "{name: folder, annotations: {stoker/accept-destroy: work}}"
    )
    accepted = plan(tmp_path / "c", base, annotated, "-o", "json")
    assert (0, []) == (accepted.exit_code, as_json(accepted)["held"])


def test_a_roll_tells_which_why_how_many_and_for_how_long(tmp_path: Path, base: Path) -> None:
    after = BASE.replace("driver: directory}", "driver: directory, with: {mode: '0700'}}").replace(
        "{rate: 100/s, concurrency: 8}", "{rate: 2/s, burst: 2, concurrency: 8}"
    )
    after = after.replace(
        "{settle: 200ms}", "{settle: 20s, windows: [{from: '22:00', to: '23:00'}]}"
    )
    found = as_json(plan(tmp_path, base, after, "-o", "json"))
    (pool,) = found["pools"]
    assert ("work", 10, "23.5s", 0) == (
        pool["name"],
        pool["rolled"],
        pool["rollTakes"],
        pool["destroyed"],
    )
    assert ["the part place changes with.mode"] == pool["outdatedBecause"]
    assert {"created": 0, "rolled": 10, "drained": 0, "destroyed": 0} == {
        name: found["summary"][name] for name in ("created", "rolled", "drained", "destroyed")
    }
    text = stoker("plan", tmp_path / "new", "--against", base).stdout
    assert "work: rolled, because the part place changes with.mode (10 new ones take 23.5s" in text
    assert "only within mon,tue,wed,thu,fri,sat,sun 22:00-23:00 UTC)" in text
    assert all(len(line) <= 80 for line in text.splitlines() if line.startswith(("POOL", "work ")))


def test_costs_are_told_before_and_after(tmp_path: Path, base: Path) -> None:
    dear = BASE.replace("  outputs:", "  cost: {perHour: 0.25}\n  outputs:", 1)
    found = as_json(plan(tmp_path, base, dear, "-o", "json"))
    assert {"before": 0.0, "after": 2.5} == found["summary"]["costPerHour"]


def test_markdown_is_a_table_and_nothing_of_the_author_becomes_markup(
    tmp_path: Path, base: Path
) -> None:
    sly = BASE.replace("{name: work}", '{name: work, labels: {a: "[x](http://evil) @all"}}')
    text = plan(tmp_path, base, sly, "-o", "markdown").stdout
    assert "| work | changed | - | - | - | - | 0 |" in text.splitlines()
    assert re.search(r"\\\[x\\\]\(http://evil\) \\@all", text)


@pytest.mark.parametrize("output", ["table", "json", "markdown"])
def test_a_directory_with_mistakes_is_refused(tmp_path: Path, base: Path, output: str) -> None:
    result = plan(tmp_path, base, BASE.replace("min:", "mni:"), "-o", output)
    assert 1 == result.exit_code
    assert "mni" in result.stdout
    if output == "json":
        assert as_json(result)["problems"][0]["line"]


def test_wrong_use_is_told(tmp_path: Path, base: Path) -> None:
    assert 2 == stoker("plan", base, "--live", "--against", base).exit_code
    assert 2 == stoker("plan", base, "--max-destroy", "0.3").exit_code
    assert 1 == stoker("plan", tmp_path / "none").exit_code
    assert 1 == stoker("plan", base, "--against", tmp_path / "none").exit_code
    refused = stoker("plan", base, "--against", "ext::sh -c id")
    assert 2 == refused.exit_code
    assert "ext::" in refused.stderr
    broken = a_folder(tmp_path / "broken", "kind: Pond")
    result = stoker("plan", base, "--against", broken)
    assert 1 == result.exit_code
    assert "is refused itself" in result.stderr
    assert 5 == stoker("plan", base, "--live", "--socket", tmp_path / "no.sock").exit_code


def test_a_branch_of_a_repository_is_compared_with_and_nothing_of_it_stays(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    repository = Repository(tmp_path / "remote")
    repository.commit({"work.yaml": work_pool(8)})
    repository.commit({"work.yaml": None, "config/work.yaml": work_pool(9)}, push=False)
    repository.push("HEAD:refs/heads/feature/below")
    root = stoker("plan", base, "--against", f"{repository.url}@main", "-o", "json")
    below = stoker("plan", base, "--against", f"{repository.url}@feature/below?path=config")
    assert 0 == root.exit_code, root.stderr
    assert 2 == as_json(root)["summary"]["created"]
    assert f"{repository.url}?ref=main" in as_json(root)["against"]
    assert "1 to create" in below.stdout
    assert [] == list(temporary.iterdir())
    missing = stoker("plan", base, "--against", f"{repository.url}@nowhere")
    assert 1 == missing.exit_code
    assert "there is no branch or tag 'nowhere'" in missing.stderr


def test_a_repository_that_does_not_answer_is_not_now(tmp_path: Path, base: Path) -> None:
    with http_server(tmp_path) as server:
        url = server.url
    result = stoker("plan", base, "--against", f"{url}@main")
    assert 5 == result.exit_code
    assert "cannot be asked" in result.stderr


def test_a_token_is_sent_where_the_environment_says_and_never_over_plain_http_to_others(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Repository(tmp_path / "remote")
    repository.commit({"work.yaml": work_pool(8)})
    (tmp_path / "token").write_text("a-secret")
    monkeypatch.setenv("STOKER_CONFIG_TOKEN", str(tmp_path / "token"))
    refused = stoker("plan", base, "--against", "http://git.example.org/pools.git@main")
    assert 1 == refused.exit_code
    assert "A token over http://" in refused.stderr
    server: HttpServer
    with http_server(repository.bare.parent) as server:
        assert 0 == stoker("plan", base, "--against", f"{server.url}@main").exit_code


POLICY = """---
apiVersion: stoker/v1
kind: Policy
metadata: {name: everybody}
spec:
  pools: ["*"]
  mode: enforce
  rules:
    - {name: all, effect: allow, when: "true"}
  limits: {maxTtl: MOST}
"""


def test_policies_that_are_tightened_or_loosened_are_told(tmp_path: Path) -> None:
    before = a_folder(tmp_path / "before", BASE + POLICY.replace("MOST", "1h"))
    same = a_folder(tmp_path / "same", BASE + POLICY.replace("MOST", "1h"))
    assert stoker("plan", same, "--against", before).stdout.startswith("No change")
    after = a_folder(tmp_path / "after", BASE + POLICY.replace("MOST", "30m"))
    result = stoker("plan", after, "--against", before, "--exit-code")
    assert CHANGE == result.exit_code
    assert "tightened: " in result.stdout
    (told,) = as_json(stoker("plan", after, "--against", before, "-o", "json"))["policies"]
    assert ("everybody", "limits.maxTtl", "tightened") == (
        told["policy"],
        told["what"],
        told["direction"],
    )
