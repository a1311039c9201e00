"""Approvals with the real daemon, and several users of the host."""

import http.client
import json
import socket
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.fixtures.callers import Someone, ask_as, needs_root
from tests.fixtures.daemons import STOKER, RealDaemon, until

ADA, BOB, EVE, ZOE = 61001, 61002, 61003, 61004
"""Users without a name. Ada claims, Bob and Zoe may approve, Eve may neither."""

POOLS = """
apiVersion: stoker/v1
kind: Blueprint
metadata: {name: pass}
spec:
  prepare: [{name: key, driver: token}]
  outputs: {key: {value: "${parts.key.value}", secret: true}}
---
apiVersion: stoker/v1
kind: Pool
metadata: {name: passes}
spec: {blueprint: pass, size: {min: 2, max: 5}, lifetime: {ttl: 10m, maxTtl: 1h}}
"""
POLICY = """
apiVersion: stoker/v1
kind: Policy
metadata: {name: guarded}
spec:
  rules:
    - {name: asks, effect: approve, when: "caller.uid in [61001, 61002]"}
  caps: {ttl: 5m}
  limits: {maxActivePerCaller: 1}
  approvals:
    approvers: approver.uid in [61002, 61004]
    quorum: QUORUM
    deadline: DEADLINE
    breakGlass: {when: "caller.uid == 61001", followUp: FOLLOWUP}
"""

pytestmark = needs_root


class Guarded(RealDaemon):
    """A daemon whose socket every user of the host can reach."""

    def policy(
        self, quorum: int = 1, deadline: str = "10m", follow_up: str = "1h", more: str = ""
    ) -> None:
        text = POLICY.replace("QUORUM", str(quorum)).replace("DEADLINE", deadline)
        self.write("policy.yaml", text.replace("FOLLOWUP", follow_up) + more)

    def ask(self, uid: int, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """The status and the document that this user is answered."""
        return ask_as(Someone(uid, uid), self.socket, f"{method} {path}", body)

    def ask_text(self, path: str) -> str:
        connection = http.client.HTTPConnection("stoker", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.socket))
        connection.request("GET", path)
        found = connection.getresponse().read().decode()
        connection.close()
        return found

    def claim(self, uid: int = ADA, **body: Any) -> Any:
        return self.ask(uid, "POST", "/v1/claims", {"pool": "passes", **body})

    def says(self, uid: int, word: str, claim: str, **body: Any) -> Any:
        return self.ask(uid, "POST", f"/v1/claims/{claim}/{word}", body)

    def shows(self, claim: str, uid: int = ADA) -> Any:
        return self.ask(uid, "GET", f"/v1/claims/{claim}")[1]

    def until_state(self, claim: str, state: str) -> Any:
        def there() -> Any:
            found = self.shows(claim)
            return found if found["state"] == state else None

        return until(there, f"{claim} is {state}; it is {self.shows(claim)}")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*STOKER, *command, "--socket", str(self.socket)],
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def guarded(short_tmp: Path) -> Iterator[Guarded]:
    short_tmp.chmod(0o711)
    real = Guarded(short_tmp)
    real.write("pools.yaml", POOLS)
    real.policy()
    try:
        yield real
    finally:
        real.clear()


def start(daemon: Guarded, *flags: str) -> None:
    daemon.start("--socket-mode", "0666", *flags)
    until(
        lambda: daemon.ask(0, "GET", "/v1/pools/passes")[1]["ready"] >= 2,
        "2 passes",
        said=daemon.said,
    )


def test_a_claim_is_served_once_somebody_else_has_approved_it(guarded: Guarded) -> None:
    start(guarded)
    status, claim = guarded.claim(ttl="1h", reason="OPS-1")
    assert 202 == status, claim
    assert "pending" == claim["state"]
    assert "approval" == claim["waitingFor"]["code"]
    assert "approver.uid in [61002, 61004]" in claim["waitingFor"]["detail"]
    assert [] == claim["resources"]
    assert "position" not in claim
    assert 2 == guarded.ask(0, "GET", "/v1/pools/passes")[1]["ready"]

    listed = guarded.ask(BOB, "GET", "/v1/claims?state=pending")[1]["items"]
    assert [claim["id"]] == [one["id"] for one in listed]
    assert "OPS-1" == listed[0]["reason"]
    status, after = guarded.says(BOB, "approve", claim["id"], reason="agreed")
    assert (200, "granted") == (status, after["approval"]["outcome"]), after
    assert all("key" not in one["outputs"] for one in after["resources"])
    bound = guarded.until_state(claim["id"], "bound")
    assert "key" in bound["resources"][0]["outputs"]
    assert "5m" == bound["ttl"]
    (vote,) = bound["approval"]["votes"]
    assert (BOB, "approve", "agreed") == (vote["uid"], vote["vote"], vote["reason"])

    assert 200 == guarded.says(BOB, "approve", claim["id"])[0]  # again, and harmless
    status, late = guarded.says(ZOE, "reject", claim["id"])
    assert (409, "vote-late") == (status, late["code"])
    status, other = guarded.says(BOB, "reject", claim["id"])
    assert (409, "vote-contradicts") == (status, other["code"])
    kinds = [event["kind"] for event in guarded.events("claim.")]
    assert [
        *("claim.pending", "claim.approval-requested", "claim.voted", "claim.approved"),
        "claim.bound",
    ] == kinds


def test_neither_the_claimant_nor_a_stranger_decides(guarded: Guarded) -> None:
    start(guarded)
    claim = guarded.claim(BOB)[1]["id"]  # whom the policy would let approve
    status, own = guarded.says(BOB, "approve", claim)
    assert (403, "denied", "never-the-claimant") == (status, own["code"], own["rule"]), own
    status, no = guarded.says(EVE, "approve", claim)
    assert (403, "approvals.approvers", "guarded") == (status, no["rule"], no["policy"])
    assert [] == guarded.ask(EVE, "GET", "/v1/claims")[1]["items"]
    assert 403 == guarded.ask(EVE, "GET", f"/v1/claims/{claim}")[0]
    status, root = guarded.says(0, "approve", claim)
    assert 403 == status, root
    assert 404 == guarded.says(ZOE, "approve", "c-nothing")[0]
    assert "pending" == guarded.shows(claim, BOB)["state"]


def test_a_rejection_refuses_the_claim_and_says_by_whom(guarded: Guarded) -> None:
    start(guarded)
    claim = guarded.claim()[1]["id"]
    status, after = guarded.says(ZOE, "reject", claim, reason="use the copy")
    assert (200, "rejected") == (status, after["approval"]["outcome"])
    found = guarded.until_state(claim, "refused")
    assert "approval-rejected" == found["code"]
    assert "use the copy" in found["detail"]
    assert 202 == guarded.claim()[0]  # the place among the limits is free again


def test_votes_survive_a_kill_and_a_granted_claim_goes_on(guarded: Guarded) -> None:
    guarded.policy(quorum=2)
    start(guarded)
    claim = guarded.claim()[1]["id"]
    status, after = guarded.says(BOB, "approve", claim)
    assert (200, "waiting") == (status, after["approval"]["outcome"])
    guarded.kill()
    start(guarded)
    found = guarded.shows(claim)
    assert ("pending", 1) == (found["state"], found["approval"]["needs"][0]["approved"])
    assert 200 == guarded.says(BOB, "approve", claim)[0]
    assert "granted" == guarded.says(ZOE, "approve", claim)[1]["approval"]["outcome"]
    guarded.kill()
    start(guarded)
    guarded.until_state(claim, "bound")
    votes = [event for event in guarded.events("claim.voted") if event["claim"] == claim]
    assert 2 == len(votes)
    assert 429 == guarded.claim()[0]  # it counts among those that Ada has


def test_a_claim_that_nobody_approves_lapses_also_while_the_daemon_is_down(
    guarded: Guarded,
) -> None:
    guarded.policy(deadline="1s")
    start(guarded)
    status, claim = guarded.claim(wait="30s")
    assert (403, "approval-lapsed") == (status, claim["code"]), claim
    assert guarded.events("claim.approval-lapsed")
    second = guarded.claim()[1]["id"]
    guarded.kill()
    start(guarded)
    found = guarded.until_state(second, "refused")
    assert "approval-lapsed" == found["code"]
    status, late = guarded.says(BOB, "approve", second)
    assert (409, "vote-late") == (status, late["code"])


def test_who_waits_on_the_line_is_told_it_is_pending_and_can_release_it(guarded: Guarded) -> None:
    start(guarded)
    status, claim = guarded.claim(wait="300ms")
    assert (202, "pending") == (status, claim["state"])
    status, ended = guarded.ask(ADA, "DELETE", f"/v1/claims/{claim['id']}")
    assert (200, "ended", "released") == (status, ended["state"], ended["endedBecause"])
    status, late = guarded.says(BOB, "approve", claim["id"])
    assert (409, "claim-over") == (status, late["code"])


def test_a_deny_that_came_meanwhile_beats_the_approval(guarded: Guarded) -> None:
    start(guarded)
    claim = guarded.claim()[1]["id"]
    before = guarded.ask(0, "GET", "/v1/status")[1]["revision"]["id"]
    more = """---
apiVersion: stoker/v1
kind: Policy
metadata: {name: frozen}
spec: {rules: [{name: freeze, effect: deny, when: "true", message: nothing is claimed today}]}
"""
    guarded.policy(more=more)
    until(lambda: guarded.ask(0, "GET", "/v1/status")[1]["revision"]["id"] != before, "the freeze")
    status, after = guarded.says(BOB, "approve", claim)
    assert (200, "rejected") == (status, after["approval"]["outcome"]), after
    found = guarded.until_state(claim, "refused")
    assert ("denied", "nothing is claimed today") == (found["code"], found["detail"])


def test_a_limit_that_was_reached_meanwhile_beats_the_approval(guarded: Guarded) -> None:
    start(guarded)
    first, second = guarded.claim()[1]["id"], guarded.claim()[1]["id"]
    assert "granted" == guarded.says(BOB, "approve", first)[1]["approval"]["outcome"]
    guarded.until_state(first, "bound")
    assert "rejected" == guarded.says(BOB, "approve", second)[1]["approval"]["outcome"]
    assert "limit-reached" == guarded.until_state(second, "refused")["code"]


def test_who_breaks_the_glass_is_served_at_once_and_followed_up_after_the_end(
    guarded: Guarded,
) -> None:
    guarded.policy(follow_up="1s")
    start(guarded)
    assert 202 == guarded.claim(breakGlass=True)[0]  # without a reason it asks like any other
    status, claim = guarded.claim(breakGlass=True, reason="the site is down")
    assert (201, "bound") == (status, claim["state"]), claim
    assert claim["approval"]["brokeGlass"]
    (event,) = guarded.events("claim.break-glass")
    assert "the site is down" == event["reason"]
    assert "broke the glass" in guarded.said()
    guarded.ask(ADA, "DELETE", f"/v1/claims/{claim['id']}")
    guarded.until_state(claim["id"], "ended")
    until(lambda: "is overdue" in guarded.said(), "the alarm")
    guarded.kill()
    start(guarded)
    status = guarded.ask(0, "GET", "/v1/status")[1]["approvals"]
    assert {"waiting": 1, "followUps": 1, "overdue": 1} == status
    metrics = guarded.ask_text("/metrics")
    assert "stoker_follow_ups_overdue 1.0" in metrics
    listed = guarded.run("claims", "--pending")
    assert "follow-up" in listed.stdout, listed
    assert "1 to follow up" in guarded.run("status").stdout
    assert 403 == guarded.says(ADA, "approve", claim["id"])[0]
    status, after = guarded.says(BOB, "approve", claim["id"], reason="it was down")
    assert (200, "granted") == (status, after["approval"]["outcome"])
    assert guarded.events("claim.break-glass-reviewed")
    assert 0 == guarded.ask(0, "GET", "/v1/status")[1]["approvals"]["followUps"]
    guarded.kill()
    start(guarded)
    assert 0 == guarded.ask(0, "GET", "/v1/status")[1]["approvals"]["followUps"]


def test_people_decide_on_the_command_line(guarded: Guarded) -> None:
    """As root, whom this policy lets approve."""
    text = POLICY.replace("[61002, 61004]", "[0, 61004]").replace("QUORUM", "2")
    guarded.write("policy.yaml", text.replace("DEADLINE", "10m").replace("FOLLOWUP", "1h"))
    start(guarded)
    claim = guarded.claim(reason="OPS-1")[1]["id"]
    listed = guarded.run("claims", "--pending")
    assert claim in listed.stdout
    assert "0/2" in listed.stdout
    explained = guarded.run("explain", f"claim/{claim}").stdout
    assert "Somebody has to approve it" in explained, explained
    done = guarded.run("approve", claim, "--reason", "fine")
    assert (0, f"{claim} waits for 1 more for the policy guarded\n") == (
        done.returncode,
        done.stdout,
    ), done
    shown = json.loads(guarded.run("approve", claim, "-o", "json").stdout)
    assert 1 == len(shown["approval"]["votes"])
    assert "says approve (fine)" in guarded.run("claims", claim).stdout
    wrong = guarded.run("reject", claim)
    assert (1, True) == (wrong.returncode, "the opposite" in wrong.stderr), wrong
    guarded.says(ZOE, "reject", claim, reason="no")
    guarded.until_state(claim, "refused")
    none = guarded.run("claims", "--pending")
    assert "Nobody has to decide" in none.stderr

    claim = guarded.claim()[1]["id"]
    assert 200 == guarded.says(ZOE, "approve", claim)[0]
    before = guarded.ask(0, "GET", "/v1/status")[1]["revision"]["id"]
    three = text.replace("quorum: 2", "quorum: 3")
    guarded.write("policy.yaml", three.replace("DEADLINE", "10m").replace("FOLLOWUP", "1h"))
    until(lambda: guarded.ask(0, "GET", "/v1/status")[1]["revision"]["id"] != before, "the policy")
    overruled = guarded.run("approve", claim)
    why = "rejected: the policies ask for other approvals by now; claim again"
    assert f"{claim} {why}\n" == overruled.stdout, overruled


def test_a_bot_is_told_who_has_to_approve_and_what_was_decided(guarded: Guarded) -> None:
    told: list[dict[str, Any]] = []

    class Bot(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Stoker-Signature"].startswith("t=")
            told.append(json.loads(body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Bot) as bot:
        Thread(target=bot.serve_forever, daemon=True).start()
        secret = guarded.folder / "secret"
        secret.write_text("a secret that both know, and nobody else")
        secret.chmod(0o600)
        url = f"http://127.0.0.1:{bot.server_address[1]}/"
        events = "claim.approval-requested,claim.approved"
        start(
            guarded,
            *("--notify-url", url, "--notify-secret-file", str(secret)),
            *("--notify-events", events),
        )
        claim = guarded.claim(reason="OPS-1")[1]["id"]
        until(lambda: told, "the bot is asked")
        assert ("claim.approval-requested", claim) == (told[0]["kind"], told[0]["claim"])
        assert "approver.uid in [61002, 61004]" in told[0]["data"]["approvers"]
        guarded.says(BOB, "approve", claim, reason="by the button")
        until(lambda: len(told) > 1, "the bot is told")
        assert ("claim.approved", "by the button") == (told[1]["kind"], told[1]["reason"])
        guarded.until_state(claim, "bound")
        bot.shutdown()
