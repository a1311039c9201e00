"""Users who are neither root nor the daemon's own claim by policies, from a real daemon."""

import grp
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from stoker.client import Denied, Stoker
from stoker.daemon.cli.group import cli
from tests.fixtures.callers import Someone, ask_as, connect_as, needs_root
from tests.fixtures.daemons import RealDaemon, until, work_pool
from tests.fixtures.daemons import ask as curl

pytestmark = needs_root
GAMES = grp.getgrnam("games")
ADA = Someone(61001, 65534, (GAMES.gr_gid,))
BOB = Someone(61002, 65534)
POLICY = """
---
apiVersion: stoker/v1
kind: Policy
metadata: {name: players}
spec:
  pools: [work]
  defaults: {ttl: 10m}
  rules:
    - {name: members, effect: allow, when: '"games" in caller.groups'}
    - {name: root, effect: allow, when: caller.uid == 0}
    - name: not-so-long
      effect: deny
      when: request.ttl > duration("1h")
      message: an hour is enough
  limits: {maxActivePerCaller: 2}
"""


@pytest.fixture
def daemon(short_tmp: Path) -> Iterator[RealDaemon]:
    short_tmp.chmod(0o711)  # others have to get to the socket
    real = RealDaemon(short_tmp)
    try:
        yield real
    finally:
        real.clear()


def served(daemon: RealDaemon, policy: str = POLICY) -> None:
    daemon.write("a.yaml", work_pool(4) + policy)
    daemon.start("--socket-mode", "0666")
    daemon.until_ready("work", 4)


def claim(daemon: RealDaemon, who: Someone, key: str | None = None, **more: Any) -> tuple[int, Any]:
    headers = {} if key is None else {"Idempotency-Key": key}
    return ask_as(who, daemon.socket, "POST /v1/claims", {"pool": "work", **more}, headers)


_connecting = threading.Lock()


def raced(daemon: RealDaemon) -> int:
    """Connects one after the other, because a process is one user at a time; asks at once."""
    with _connecting:
        peer = connect_as(ADA, daemon.socket)
    with peer:
        peer.settimeout(30.0)
        body = json.dumps({"pool": "work"}).encode()
        head = f"POST /v1/claims HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        peer.sendall(head.encode() + body)
        return int(peer.recv(65536).split()[1])


def text_as_root(daemon: RealDaemon, path: str) -> str:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(30.0)
        peer.connect(str(daemon.socket))
        peer.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        found = b""
        while received := peer.recv(65536):
            found += received
    return found.decode()


def test_a_member_of_the_group_claims_and_others_are_told_why_not(daemon: RealDaemon) -> None:
    served(daemon)

    status, given = claim(daemon, ADA)
    assert (201, "10m") == (status, given["ttl"])
    decision = given["decision"]
    assert ("players", "members") == (decision["policy"], decision["rule"])
    assert "ttl" == decision["mutations"][0]["path"]
    assert given["resources"][0]["outputs"]["token"]
    assert "0.000ms" != given["timing"]["policy"]

    status, told = claim(daemon, BOB)
    assert (403, "denied", "") == (status, told["code"], told["rule"])
    status, told = claim(daemon, ADA, ttl="2h")
    assert (403, "players", "not-so-long") == (status, told["policy"], told["rule"])
    assert "an hour is enough" == told["detail"]

    (refused,) = [it for it in daemon.events("claim.refused") if it["data"]["uid"] == BOB.uid]
    assert "deny" == refused["data"]["decision"]["verdict"]
    counted = text_as_root(daemon, "/metrics")
    rule = 'outcome="allow",policy="players",rule="members"'
    assert f"stoker_policy_decisions_total{{{rule}}} 1.0" in counted
    assert "stoker_policy_seconds_count 3.0" in counted


def test_everybody_sees_and_ends_their_own_claims_alone(daemon: RealDaemon) -> None:
    served(daemon)
    _, mine = claim(daemon, ADA)
    at = f"/v1/claims/{mine['id']}"
    roots = daemon.client.claim("work")

    _, listed = ask_as(ADA, daemon.socket, "GET /v1/claims")
    assert [mine["id"]] == [one["id"] for one in listed["items"]]
    for target in (f"GET {at}", f"POST {at}/renew", f"DELETE {at}", f"GET /v1/explain{at[3:]}"):
        status, told = ask_as(BOB, daemon.socket, target)
        assert (403, "own-claims") == (status, told["rule"]), target
    for target in ("GET /v1/events", "GET /v1/resources", "GET /v1/status"):
        status, told = ask_as(ADA, daemon.socket, target)
        assert (403, "operators") == (status, told["rule"]), target
    assert 200 == ask_as(ADA, daemon.socket, "GET /v1/pools/work")[0]
    assert 200 == ask_as(ADA, daemon.socket, f"GET /v1/explain{at[3:]}")[0]
    assert 200 == ask_as(ADA, daemon.socket, f"POST {at}/renew", {"ttl": "5m"})[0]
    assert 403 == ask_as(ADA, daemon.socket, f"POST {at}/renew", {"ttl": "90m"})[0]
    assert 200 == ask_as(ADA, daemon.socket, f"DELETE {at}")[0]
    roots.release()


def test_what_policies_changed_is_shown_to_who_claims(daemon: RealDaemon) -> None:
    served(daemon, POLICY.replace("{ttl: 10m}", "{ttl: 10m, labels: {env: dev}}"))
    shown = CliRunner().invoke(cli, ["claim", "work", "--socket", str(daemon.socket)])
    assert 0 == shown.exit_code, shown.output
    (changed,) = [line for line in shown.output.splitlines() if line.startswith("changed:")]
    assert "ttl (unset) -> 10m by players; labels.env (unset) -> dev by players" in changed


def test_what_no_waiting_makes_possible_is_denied_and_not_put_off(daemon: RealDaemon) -> None:
    served(daemon)
    status, told = claim(daemon, ADA, count=3)
    assert (403, "denied", "limits.maxActivePerCaller") == (status, told["code"], told["rule"])
    assert told["detail"].endswith("this claim asks for 3 more, and 2 is the most. Ask for fewer.")
    assert 201 == claim(daemon, ADA)[0]
    status, told = claim(daemon, ADA, count=2)
    assert (429, 5.0) == (status, told["retryAfter"])
    assert "You hold 1 resource, this claim asks for 2 more, and 2 is the most." in told["detail"]


def test_a_limit_holds_for_claims_that_race_and_over_kill_9(daemon: RealDaemon) -> None:
    served(daemon)
    answers: list[int] = []

    def hurry() -> None:
        answers.extend(raced(daemon) for _ in range(3))

    threads = [threading.Thread(target=hurry) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (2, 7) == (answers.count(201), answers.count(429)), answers

    daemon.kill()
    daemon.start("--socket-mode", "0666")
    status, told = claim(daemon, ADA)
    assert (429, "limits.maxActivePerCaller") == (status, told["rule"])
    assert told["retryAfter"] > 0


def test_a_retry_is_told_the_same_also_by_the_next_daemon(daemon: RealDaemon) -> None:
    served(daemon)
    _, first = claim(daemon, ADA, key="once")
    daemon.kill()
    daemon.write("a.yaml", work_pool(4) + POLICY.replace("effect: allow", "effect: deny"))
    daemon.start("--socket-mode", "0666")
    status, again = claim(daemon, ADA, key="once")
    assert (201, first["id"], first["decision"]) == (status, again["id"], again["decision"])
    assert 403 == claim(daemon, ADA, key="twice")[0]


def test_hostile_rules_and_reasons_do_not_hold_up_other_callers(daemon: RealDaemon) -> None:
    """Without bounds, one of these conditions alone would hold the loop for seconds, or for ever."""
    many = ",".join(map(str, range(400)))
    nested = [f"[{many}].all(a, [{many}].all(b, a + b + {at} >= 0))" for at in range(30)]
    patterns = [f'request.reason.matches("(a*)*(a|b|ab)*(.*a){{30}}y{at}$")' for at in range(30)]
    rules = "".join(
        f"\n    - {{name: r{at}, effect: deny, when: {json.dumps(rule)}}}"
        for at, rule in enumerate(nested + patterns)
    )
    served(daemon, POLICY.replace("\n  limits:", f"{rules}\n  limits:"))
    answers: list[str] = []
    done = threading.Event()

    def attack() -> None:
        with Stoker(daemon.socket) as stoker:
            while not done.is_set():
                with pytest.raises(Denied) as refused:
                    stoker.claim("work", reason="a" * 1000)
                answers.append(refused.value.detail)

    attacker = threading.Thread(target=attack)
    attacker.start()
    try:
        slowest = 0.0
        until(lambda: len(answers) > 3, "the first hostile claims are refused")
        began = len(answers)
        for _ in range(100):
            before = time.monotonic()
            assert daemon.client.pool("work")["ready"]
            slowest = max(slowest, time.monotonic() - before)
    finally:
        done.set()
        attacker.join()
    assert len(answers) > began
    assert all("steps" in detail for detail in answers)
    assert slowest < 1.0, slowest


def test_a_change_of_the_policies_holds_at_once_and_without_them_nobody_else_may(
    daemon: RealDaemon,
) -> None:
    served(daemon)
    assert 201 == claim(daemon, ADA)[0]
    daemon.write("a.yaml", work_pool(4) + POLICY.replace('"games"', '"nobody-has-this"'))
    until(lambda: claim(daemon, ADA)[0] == 403, "the new policy holds")
    status, told = claim(daemon, ADA)
    assert (403, "") == (status, told["rule"])

    daemon.write("a.yaml", work_pool(4))
    until(
        lambda: claim(daemon, ADA)[1].get("rule") == "everyone-else", "the policies no longer hold"
    )
    kept = Stoker(daemon.socket).claim("work")
    assert "built-in" == daemon.client.show(kept.id).document["decision"]["policy"]
    kept.release()


def test_what_would_be_decided_is_told_by_who_asks_and_what_is_in_use_and_nothing_is_claimed(
    daemon: RealDaemon,
) -> None:
    served(daemon)
    asked = {"pool": "work", "ttl": "2h"}
    status, told = ask_as(ADA, daemon.socket, "POST /v1/explain/decisions", asked)
    assert (200, "deny", "not-so-long") == (status, told["verdict"], told["rule"])
    rules = {one["rule"]: one["value"] for one in told["rules"]}
    assert {"members": "true", "root": "false", "not-so-long": "true"} == rules
    for _ in range(2):
        assert 201 == claim(daemon, ADA)[0]
    _, told = ask_as(ADA, daemon.socket, "POST /v1/explain/decisions", {"pool": "work"})
    assert ("deny", "limits.maxActivePerCaller") == (told["verdict"], told["rule"])
    (counted,) = told["checks"]
    assert (2, 2, 1) == (counted["taken"], counted["most"], counted["adds"])
    assert "2 is the most, 2 is taken, and this claim adds 1." in " ".join(told["why"])
    _, told = ask_as(BOB, daemon.socket, "POST /v1/explain/decisions", {"pool": "work"})
    assert ("deny", "") == (told["verdict"], told["rule"])
    assert 2 == len(daemon.client.claims())


def test_the_command_line_asks_the_daemon_what_it_would_decide(daemon: RealDaemon) -> None:
    served(daemon)

    def explain(*more: str) -> Any:
        where = ("--socket", str(daemon.socket), "--pool", "work")
        return CliRunner().invoke(cli, ["policy", "explain", *more, *where])

    allowed = explain("--live")
    assert 0 == allowed.exit_code, allowed.output
    assert allowed.output.startswith("allow by players/root\n")
    assert "players/not-so-long: deny  false" in allowed.output
    assert max(map(len, allowed.output.splitlines())) <= 80
    denied = explain("--live", "--ttl", "2h", "-o", "json")
    assert (3, "an hour is enough") == (denied.exit_code, json.loads(denied.output)["message"])
    for wrong in (
        (),
        ("--live", "--renew"),
        ("--live", "--bind", "process"),
        ("--live", str(daemon.config)),
        ("--live", "--as-user", "ada"),
        ("--live", "--as-token", "sub=ada"),
    ):
        assert 2 == explain(*wrong).exit_code, wrong


def test_recorded_decisions_are_asked_again_under_other_policies(daemon: RealDaemon) -> None:
    served(daemon)
    assert 201 == claim(daemon, ADA, ttl="30m")[0]
    refused = claim(daemon, BOB)[1]["requestId"]
    daemon.client.claim("work")
    new = daemon.folder / "new"
    new.mkdir()
    stricter = POLICY.replace('duration("1h")', 'duration("20m")')
    (new / "a.yaml").write_text(work_pool(4) + stricter)

    def ask(*command: str, code: int = 0) -> str:
        result = CliRunner().invoke(cli, [*command, "--socket", str(daemon.socket)])
        assert code == result.exit_code, result.output
        return result.output

    diff = ("policy", "diff", str(daemon.config), str(new))
    (one,) = json.loads(ask(*diff, "-o", "json"))
    assert (61001, "work", "allow", "deny") == (
        one["caller"],
        one["pool"],
        one["before"]["verdict"],
        one["after"]["verdict"],
    )
    assert ("not-so-long", "an hour is enough") == (one["after"]["rule"], one["because"])
    shown = ask(*diff)
    assert "allow -> deny" in shown
    assert "work: 1 from allow to deny, by players/not-so-long\n" in shown
    assert "1 of 3 recorded decisions would be different." in shown
    assert max(map(len, shown.splitlines())) <= 80

    planned = ask("plan", str(new), "--live")
    assert "claims: 1 of 3 recorded decisions would be different\n" in planned
    assert "claims: work: 1 from allow to deny, by players/not-so-long\n" in planned
    told = json.loads(ask("plan", str(new), "--live", "-o", "json"))["decisions"]
    assert (3, [one]) == (told["lookedAt"], told["different"])
    assert "- claims: work: 1 from allow" in ask("plan", str(new), "--live", "-o", "markdown")

    laxer = POLICY.replace('"games" in caller.groups', "true")
    (new / "a.yaml").write_text(work_pool(4) + laxer)
    assert refused in ask(*diff)  # what was refused is no claim
    (new / "a.yaml").write_text(work_pool(4) + POLICY)
    assert "0 of 3 recorded decisions would be different.\n" == ask(*diff)


def test_a_claim_that_other_policies_would_deny_by_now_is_an_alarm(daemon: RealDaemon) -> None:
    shadow = """---
apiVersion: stoker/v1
kind: Policy
metadata: {name: next}
spec: {mode: shadow, rules: [{name: no-players, effect: deny, when: caller.uid == 61001}]}
"""
    served(daemon, POLICY + shadow)
    status, made = claim(daemon, ADA)
    assert 201 == status
    shadowed = 'stoker_policy_shadow_total{outcome="deny",policy="next",rule="no-players"} 1.0'
    assert shadowed in curl(daemon, "/metrics")[1]
    assert "stoker_misgrants{" not in curl(daemon, "/metrics")[1]

    enforced = shadow.replace("mode: shadow, ", "")
    daemon.write("a.yaml", work_pool(4) + POLICY + enforced)
    alarm = 'stoker_misgrants{policy="next",pool="work"} 1.0'
    until(lambda: alarm in curl(daemon, "/metrics")[1], "the alarm", within=40, said=daemon.said)
    (event,) = until(lambda: daemon.events("claim.misgrant-found"), "the event")
    assert (made["id"], "next", "no-players", 61001) == (
        event["claim"], event["data"]["policy"], event["data"]["rule"], event["data"]["uid"],
    )  # fmt: skip
    assert "bound" == daemon.client.show(made["id"]).state
    daemon.kill()
    daemon.start("--socket-mode", "0666")
    until(lambda: alarm in curl(daemon, "/metrics")[1], "the alarm after a restart", within=40)
    daemon.client.release(made["id"])
    until(lambda: "stoker_misgrants{" not in curl(daemon, "/metrics")[1], "it is over", within=40)
