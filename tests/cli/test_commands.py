"""Commands against a scripted daemon: what they print, and with which code they exit."""

import importlib.metadata
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from stoker.client import BadRequest, Conflict, Denied, NoDaemon, NotFound, Unavailable
from stoker.daemon.cli.failing import Failed, exit_code_of, wants_json
from stoker.daemon.cli.group import COMMANDS, cli
from tests.client.documents import a_claim, a_problem
from tests.client.scripted_server import ScriptedServer, cut, reply


def stoker(*args: str) -> Result:
    return CliRunner().invoke(cli, args)


def a_pool(**changed: Any) -> dict[str, Any]:
    return {
        "name": "web",
        "blueprint": "site",
        "digest": "d" * 64,
        "revision": "r1",
        "labels": {},
        "min": 3,
        "max": 20,
        "ready": 3,
        "waiting": 0,
        "draining": False,
        "counts": {"ready": 3, "preparing": 1, "bound": 2},
        "unverified": 0,
        "drifted": 0,
        "outdated": 0,
        "breaker": {"state": "closed", "failures": 0},
        "decisions": [],
        **changed,
    }


def a_status(**changed: Any) -> dict[str, Any]:
    return {
        "version": "0.1.0",
        "pid": 7,
        "uptime": "3m",
        "stateFolder": "/state",
        "socket": "/s",
        "ready": True,
        "reasons": [],
        "revision": {"id": "abc", "source": "/config", "appliedAt": "2026-01-01T00:00:00Z"},
        "config": {"ok": True, "problems": []},
        "ledger": {"ok": True},
        "pools": 1,
        "resources": 6,
        "claims": 2,
        "clockStep": "0s",
        **changed,
    }


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Failed("no"), 1),
        (BadRequest("no"), 1),
        (Conflict("no"), 1),
        (click.UsageError("no"), 2),
        (Denied("no"), 3),
        (NotFound("no"), 4),
        (Unavailable("no"), 5),
        (NoDaemon("no"), 5),
        (ValueError("no"), 1),
    ],
)
def test_each_failure_has_its_exit_code(error: Exception, code: int) -> None:
    assert code == exit_code_of(error)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = stoker(command, "--help")
    assert 0 == result.exit_code
    assert f"  stoker {command}" in result.output.partition("Example")[2].replace('eval "$(', "  ")


@pytest.mark.parametrize("command", ["--help", *COMMANDS])
def test_help_fits_a_terminal_of_eighty_columns(command: str) -> None:
    result = stoker(*([command] if command == "--help" else [command, "--help"]))
    assert [] == [line for line in result.output.splitlines() if len(line) > 80]


def test_a_mistyped_command_is_met_with_the_nearest() -> None:
    result = stoker("stauts")
    assert 2 == result.exit_code
    assert "There is no command 'stauts'. Did you mean 'status'?" in result.stderr


def test_without_a_daemon_the_remedy_is_told(short_tmp: Path) -> None:
    result = stoker("status", "--socket", str(short_tmp / "none"))
    assert 5 == result.exit_code
    assert "" == result.stdout
    assert "is it running? Start it with: stoker run --config DIR" in result.stderr


@pytest.mark.parametrize("words", [["-o", "json"], ["-ojson"], ["--output=json"]])
def test_errors_are_problem_documents_when_json_is_asked_for(
    server: ScriptedServer, words: list[str]
) -> None:
    server.answers = [reply(404, a_problem(404, "no-such-claim", requestId="r-1"))]
    result = stoker("claims", "c-1", *words)
    assert 4 == result.exit_code
    problem = json.loads(result.stderr)
    assert ("no-such-claim", 404, "r-1") == (
        problem["code"],
        problem["status"],
        problem["requestId"],
    )


def test_a_wrong_use_is_a_problem_document_too() -> None:
    result = stoker("claim", "-o", "json")
    assert 2 == result.exit_code
    assert "usage" == json.loads(result.stderr)["code"]


def test_what_stands_after_two_dashes_is_not_ours() -> None:
    assert not wants_json(["claim", "web", "--", "jq", "-o", "json"])


def test_the_pools_are_a_table_for_people(server: ScriptedServer) -> None:
    server.answers = [reply(200, {"items": [a_pool(waiting=2)], "more": False})]
    result = stoker("pools")
    assert [
        "POOL  READY  COMING  BOUND  WAITING  MAX  NOTE",
        "web   3/3    1       2      2        20",
    ] == (result.stdout.splitlines())


def test_the_pools_are_a_list_for_programs(server: ScriptedServer) -> None:
    server.answers = [reply(200, {"items": [a_pool()], "more": False})]
    assert [a_pool()] == json.loads(stoker("pools", "-o", "json").stdout)


def test_a_list_that_is_not_all_says_so(server: ScriptedServer) -> None:
    server.answers = [reply(200, {"items": [a_pool()], "more": True})]
    assert "There are more than these 1" in stoker("pools").stderr


def test_a_pool_says_what_is_wrong_with_it(server: ScriptedServer) -> None:
    broken = a_pool(
        ready=0,
        counts={"failed": 1, "quarantined": 1},
        breaker={"state": "open", "failures": 5, "lastError": "no such program: x"},
        draining=True,
        decisions=["backfill 3: 0 of 3 are ready"],
    )
    server.answers = [reply(200, broken)]
    output = stoker("pools", "web").stdout
    assert "The blueprint site failed 5 times in a row: no such program: x." in output
    assert "stoker resources --pool web --state quarantined" in output
    assert "It is draining" in output
    assert "  backfill 3: 0 of 3 are ready" in output


def test_status_of_a_healthy_daemon(server: ScriptedServer) -> None:
    server.answers = [reply(200, a_status()), reply(200, {"items": [a_pool()], "more": False})]
    output = stoker("status").stdout
    assert "health:   healthy" in output
    assert re.search(r"config: +abc from /config, applied .* ago", output)
    assert "web   3/3" in output
    assert "!" not in output


def test_status_says_what_is_wrong_and_what_to_do(server: ScriptedServer) -> None:
    broken = a_status(
        config={"ok": False, "problems": ["web.yaml:3:1: spec: no such key."]},
        ledger={"ok": False, "error": "the disk is full"},
    )
    server.answers = [reply(200, broken), reply(200, {"items": [], "more": False})]
    output = stoker("status").stdout
    assert "serving an older configuration" in output
    assert "    web.yaml:3:1: spec: no such key." in output
    assert "stoker validate DIR" in output
    assert "The ledger cannot be written: the disk is full" in output


def test_a_claim_is_shown_with_its_outputs(server: ScriptedServer) -> None:
    server.answers = [reply(201, a_claim())]
    output = stoker("claim", "web").stdout
    assert re.search(r"^claim: +c-1$", output, re.MULTILINE)
    assert re.search(r"^url: +http://x$", output, re.MULTILINE)
    assert re.search(r"^expires: +in 59s", output, re.MULTILINE)


def test_parameters_are_text_unless_they_are_said_to_be_json(server: ScriptedServer) -> None:
    server.answers = [reply(201, a_claim())]
    result = stoker(
        *("claim", "web", "-o", "json", "--ttl", "5m", "-l", "team=a", "--key", "k"),
        *("--param", "a=3", "--param", "b:=3", "--param-json", "c=[1]", "--param", "d=x=y"),
    )
    assert 0 == result.exit_code
    assert {"a": "3", "b": 3, "c": [1], "d": "x=y"} == server.seen[0].json["params"]
    assert ("5m", {"team": "a"}, "60s", "k") == (
        server.seen[0].json["ttl"],
        server.seen[0].json["labels"],
        server.seen[0].json["wait"],
        server.seen[0].headers["idempotency-key"],
    )
    assert "c-1" == json.loads(result.stdout)["id"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--param", "x"], "write NAME=TEXT or NAME:=JSON"),
        (["--param", "x:=y"], "is no JSON"),
        (["--param-json", "x=y"], "is no JSON"),
        (["--ttl", "soon"], "is no duration"),
        (["--wait", "5"], "is no duration"),
        (["-l", "team"], "write NAME=VALUE"),
        (["--count", "0"], "0 is not in the range"),
        (["--count", "65"], "65 is not in the range"),
        (["--pool-label", "team=web"], "Name the POOL to claim from, or pools by --pool-label."),
    ],
)
def test_a_wrong_option_is_told_before_anything_is_claimed(
    server: ScriptedServer, words: list[str], told: str
) -> None:
    result = stoker("claim", "web", *words)
    assert 2 == result.exit_code
    assert told in " ".join(result.stderr.split())
    assert [] == server.seen


def test_a_refused_claim_says_why_and_when_to_come_again(server: ScriptedServer) -> None:
    problem = a_problem(503, "no-capacity", detail="all 3 are in use", retryAfter=5.0)
    server.answers = [reply(503, problem)]
    result = stoker("claim", "web")
    assert 5 == result.exit_code
    assert "Error: All 3 are in use.\nTry again in 5 s.\n" == result.stderr


def test_a_reply_that_is_lost_is_asked_for_again(server: ScriptedServer) -> None:
    server.answers = [cut(), reply(201, a_claim())]
    assert 0 == stoker("claim", "web").exit_code
    assert 1 == len({seen.headers["idempotency-key"] for seen in server.seen})


def test_several_claims_are_released_and_the_failures_told(server: ScriptedServer) -> None:
    server.answers = [
        reply(200, a_claim(state="ended")),
        reply(404, a_problem(404, "no-such-claim", detail="there is no claim c-2")),
        reply(200, a_claim(state="ending")),
    ]
    result = stoker("release", "c-1", "c-2", "c-3")
    assert 4 == result.exit_code
    assert "c-1 ended\nc-3 ending\n" == result.stdout
    assert "There is no claim c-2." in result.stderr


def test_a_renewed_claim_says_when_it_ends(server: ScriptedServer) -> None:
    server.answers = [reply(200, a_claim(ttl=7200.5))]
    assert "c-1 ends in 2h\n" == stoker("renew", "c-1", "--ttl", "2h").stdout
    assert {"ttl": "2h"} == server.seen[0].json


def test_an_event_is_a_line(server: ScriptedServer) -> None:
    event = {
        "seq": 3,
        "at": "2026-01-01T12:00:00.250Z",
        "kind": "resource.retired",
        "pool": "web",
        "resource": "web-1",
        "reason": "its process \x1b[2J ended",
        "hash": "h",
    }
    server.answers = [reply(200, event)]
    assert (
        "2026-01-01 12:00:00.250  resource.retired      web-1  its process �[2J ended\n"
        == stoker("events").stdout
    )
    server.answers = [reply(200, event)]
    assert event == json.loads(stoker("events", "-o", "json").stdout)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            {"kind": "claim.voted", "claim": "c-1", "reason": "OPS-1", "data": {
                "vote": "approve", "by": {"user": "bob", "uid": 2}}},
            "claim.voted           c-1  approve by bob: OPS-1",
        ),
        (
            {"kind": "claim.voted", "claim": "c-1", "data": {
                "vote": "reject", "by": {"subject": "z\x1b"}, "carriedBy": "chat"}},
            "claim.voted           c-1  reject by z�, by the webhook chat",
        ),
        (
            {"kind": "access.denied", "reason": "no", "data": {"uid": 7, "user": "eve"}},
            "access.denied         eve  no",
        ),
        (
            {"kind": "access.denied", "reason": "no", "data": {"address": "192.0.2.7"}},
            "access.denied         192.0.2.7  no",
        ),
    ],
)  # fmt: skip
def test_an_event_says_who_voted_and_who_was_turned_away(
    server: ScriptedServer, event: dict[str, Any], line: str
) -> None:
    server.answers = [reply(200, {"at": "2026-01-01T12:00:00.250Z", **event})]
    assert f"2026-01-01 12:00:00.250  {line}\n" == stoker("events").stdout


def test_in_an_emergency_a_reason_has_to_be_given(server: ScriptedServer) -> None:
    for reason in ((), ("--reason", " ")):
        refused = stoker("claim", "db", "--break-glass", *reason)
        assert 2 == refused.exit_code
        assert "Say with --reason what the emergency is" in refused.stderr
    assert [] == server.seen


def test_tables_of_nothing_print_nothing_that_a_program_would_read(server: ScriptedServer) -> None:
    server.answers = [reply(200, {"items": [], "more": False})]
    result = stoker("claims")
    assert ("", "There are no claims.\n") == (result.stdout, result.stderr)
    assert "[]\n" == stoker("resources", "-o", "json").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_completion(shell: str) -> None:
    assert "_STOKER_COMPLETE" in stoker("completion", shell).stdout


def test_names_of_pools_are_completed_by_asking_the_daemon(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = [reply(200, {"items": [a_pool(), a_pool(name="db")], "more": False})]
    monkeypatch.setenv("COMP_WORDS", "stoker claim w")
    monkeypatch.setenv("COMP_CWORD", "2")
    result = CliRunner().invoke(cli, [], env={"_STOKER_COMPLETE": "bash_complete"})
    assert "plain,web\n" == result.stdout


LIGHT = (
    "import sys; from stoker.daemon.cli.group import cli; "
    "import stoker.daemon.cli.{0}; "
    "print(*sorted(set(sys.modules) & {{'pydantic', 'celpy', 'aiohttp', 'rich', 'asyncio', 'yaml', "
    "'stoker.daemon.service', 'cryptography', 'uvloop', 'prometheus_client'}}))"
)


@pytest.mark.parametrize("module", ["claim", "under_claim", "status", "lists", "events", "ending"])
def test_commands_that_ask_the_daemon_load_nothing_that_it_needs(module: str) -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", LIGHT.format(module)], capture_output=True, text=True, check=True
    )
    assert "" == loaded.stdout.strip()


def test_a_command_starts_in_a_moment(server: ScriptedServer) -> None:
    """A bound against mistakes, three times what it takes on an idle host; best of five."""
    took: list[float] = []
    for _ in range(5):
        started = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "stoker.daemon.main", "version"], check=True, capture_output=True
        )
        took.append(time.monotonic() - started)
    assert min(took) < 0.4


def test_the_version_is_told_in_the_usual_way_too() -> None:
    result = stoker("--version")
    assert result.exit_code == 0
    assert result.stdout == f"stoker {importlib.metadata.version('stoker')}\n"


@pytest.mark.parametrize("bind", ["process", "connection"])
def test_a_claim_that_would_end_with_the_command_line_itself_is_wrong_usage(bind: str) -> None:
    result = stoker("claim", "web", "--bind", bind)
    assert 2 == result.exit_code
    assert "needs a COMMAND" in result.stderr
    assert f"stoker claim web --bind {bind} -- COMMAND" in result.stderr


def test_several_certain_ones_and_alternatives_are_asked_for(server: ScriptedServer) -> None:
    server.answers = [reply(201, a_claim())]
    asked: list[tuple[tuple[str, ...], dict[str, object]]] = [
        (("web", "spare"), {"pool": ["web", "spare"]}),
        (("--pool-label", "team=web"), {"pool": {"matchLabels": {"team": "web"}}}),
        (("web", "-n", "3"), {"pool": "web", "count": 3}),
        (
            ("web", "--select", "resource.id != 'x'"),
            {"pool": "web", "select": "resource.id != 'x'"},
        ),
    ]
    for words, said in asked:
        assert 0 == stoker("claim", "--wait", "0", *words, "--key", "k").exit_code
        assert {**said, "wait": "0s"} == server.seen[-1].json
    assert 2 == stoker("claim").exit_code


def test_each_of_several_resources_is_shown_with_its_outputs(server: ScriptedServer) -> None:
    handed = [{"id": f"web-{n}", "outputs": {"url": f"http://{n}"}} for n in (1, 2)]
    chosen = {"from": ["web", "spare"], "because": "web comes first"}
    server.answers = [reply(201, a_claim(resources=handed, count=2, chosen=chosen))]
    output = stoker("claim", "web", "spare", "-n", "2").stdout
    assert re.search(r"^resource: +web-1, web-2$", output, re.MULTILINE)
    assert re.search(r"^chosen: +web comes first$", output, re.MULTILINE)
    assert re.search(r"^web-1\nurl: +http://1\n\nweb-2\nurl: +http://2$", output, re.MULTILINE)
