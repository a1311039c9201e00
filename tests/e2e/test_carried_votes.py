"""Votes that a webhook carries, with the real daemon: asked out, signed in, by curl."""

import hashlib
import hmac
import json
import pwd
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.e2e.test_approvals import POOLS, Guarded, start
from tests.fixtures.callers import Someone, ask_as, needs_root
from tests.fixtures.daemons import until
from tests.fixtures.repositories import free_port

pytestmark = needs_root
SECRET = b"the secret of the chat bot, and of nobody else"
ADA, BOB, ZOE, EVE = [it for it in pwd.getpwall() if it.pw_uid not in {0, 65534}][:4]
"""Users of this host, whoever they are. Ada claims, Bob and Zoe may approve, and so may Ada; not Eve."""
LOGIN = "https://login.example.org/"
POLICY = f"""
apiVersion: stoker/v1
kind: Policy
metadata: {{name: guarded}}
spec:
  rules:
    - {{name: asks, effect: approve, when: "true"}}
  approvals:
    approvers: >-
      approver.user in ["{ADA.pw_name}", "{BOB.pw_name}", "{ZOE.pw_name}"]
      || approver.token.sub == "zoe" && "sre" in approver.token.groups
    quorum: 2
    webhooks: WEBHOOKS
"""


class Bot:
    """Signs, and delivers with curl."""

    def __init__(self, port: int) -> None:
        self.port = port

    def signed(self, body: bytes, *, secret: bytes = SECRET, at: float | None = None) -> str:
        sent = int(time.time() if at is None else at)
        mac = hmac.new(secret, b"%d." % sent + body, hashlib.sha256).hexdigest()
        return f"t={sent},v1={mac}"

    def deliver(self, body: bytes, signature: str, name: str = "chat") -> tuple[int, Any]:
        command = [
            *("curl", "-sS", "--max-time", "20", "-w", "\n%{http_code}", "--data-binary", "@-"),
            *("-H", "Content-Type: application/json", "-H", f"Stoker-Signature: {signature}"),
            f"http://127.0.0.1:{self.port}/v1/votes/{name}",
        ]
        done = subprocess.run(command, input=body, capture_output=True, check=True)
        text, _, status = done.stdout.decode().rpartition("\n")
        return int(status), json.loads(text)

    def votes(self, asked: Any, who: Any, vote: str = "approve", **more: Any) -> tuple[int, Any]:
        """`asked`: the event, or what it says of the claim and its digest."""
        voter = {"user": who.pw_name} if isinstance(who, pwd.struct_passwd) else who
        said = {"claim": asked["claim"], "digest": asked["data"]["digest"], "vote": vote}
        body = json.dumps({**said, "voter": voter, **more}).encode()
        return self.deliver(body, self.signed(body))


class Carried(Guarded):
    bot: Bot

    def admit(self, *webhooks: str) -> None:
        self.write("policy.yaml", POLICY.replace("WEBHOOKS", json.dumps(webhooks)))

    def open(self) -> None:
        self.bot = Bot(free_port())
        secrets = self.folder / "votes"
        secrets.mkdir(mode=0o700, exist_ok=True)
        (secrets / "chat").write_bytes(SECRET + b"\n")
        start(self, "--votes-address", str(self.bot.port), "--votes-secrets", str(secrets))
        time.sleep(1.0)  # what was signed in the second of the start is not taken

    def shows(self, claim: str, uid: int = ADA.pw_uid) -> Any:
        return super().shows(claim, uid)

    def asked(self, who: Any = ADA, **body: Any) -> Any:
        """A claim that waits, as the webhook out tells of it."""
        sent = {"pool": "passes", "reason": "OPS-1", **body}
        someone = Someone(who.pw_uid, who.pw_gid)
        status, claim = ask_as(someone, self.socket, "POST /v1/claims", sent)
        assert 202 == status, claim
        (event,) = [
            one for one in self.events("claim.approval-requested") if one["claim"] == claim["id"]
        ]
        assert event["data"]["digest"] == claim["approval"]["digest"]
        return event


@pytest.fixture
def carried(short_tmp: Path) -> Iterator[Carried]:
    short_tmp.chmod(0o711)
    real = Carried(short_tmp)
    real.write("pools.yaml", POOLS)
    real.admit("chat")
    try:
        real.open()
        yield real
    finally:
        real.clear()


def code(answer: tuple[int, Any]) -> tuple[int, str]:
    return answer[0], answer[1]["code"]


def test_a_bot_carries_the_votes_of_those_who_may(carried: Carried) -> None:
    event = carried.asked(ttl="7m")
    data = event["data"]
    assert ("passes", "OPS-1", "7m") == (
        event["pool"],
        data["request"]["reason"],
        data["request"]["ttl"],
    )
    assert [("guarded", 2)] == [(one["policy"], one["quorum"]) for one in data["needs"]]
    assert data["deadline"].endswith("Z")
    assert (ADA.pw_name, ADA.pw_uid) == (data["user"], data["uid"])

    status, after = carried.bot.votes(event, BOB, reason="by the button")
    assert (200, "waiting") == (status, after["approval"]["outcome"]), after
    assert 1 == after["approval"]["needs"][0]["approved"]
    again = carried.bot.votes(event, BOB, reason="by the button, again")
    assert (200, 1) == (again[0], len(again[1]["approval"]["votes"]))
    zoe = {"issuer": LOGIN, "subject": "zoe", "claims": {"groups": ["sre"]}}
    status, bound = carried.bot.votes(event, {**zoe, "user": ZOE.pw_name})
    assert (200, "granted") == (status, bound["approval"]["outcome"]), bound
    carried.until_state(event["claim"], "bound")

    first, second = [one["data"] for one in carried.events("claim.voted")]
    assert ("chat", {"user": BOB.pw_name, "uid": BOB.pw_uid}) == (first["carriedBy"], first["by"])
    assert ("chat", "zoe", LOGIN) == (
        second["carriedBy"], second["by"]["subject"], second["by"]["issuer"],
    )  # fmt: skip
    shown = carried.shows(event["claim"], 0)["approval"]["votes"]
    assert ["chat", "chat"] == [one["carriedBy"] for one in shown]
    assert "by the webhook chat" in carried.run("claims", event["claim"]).stdout
    assert 'stoker_webhook_votes_total{outcome="counted"} 3.0' in carried.ask_text("/metrics")


def test_what_is_not_signed_in_time_and_for_the_first_time_is_refused(carried: Carried) -> None:
    bot, event = carried.bot, carried.asked()
    body = json.dumps({
        "claim": event["claim"], "digest": event["data"]["digest"], "vote": "approve",
        "voter": {"user": BOB.pw_name},
    }).encode()  # fmt: skip
    good = bot.signed(body)
    for signature in (
        "", "t=,v1=", good.partition(",")[0], bot.signed(body, secret=b"x" * 32),
        bot.signed(body.replace(b"approve", b"reject")), good.replace("t=", "t=1"),
    ):  # fmt: skip
        assert (401, "signature-invalid") == code(bot.deliver(body, signature)), signature
    for name in ("other", "..%2Fsecret", "CHAT"):
        assert (401, "signature-invalid") == code(bot.deliver(body, good, name))
    for at in (time.time() - 400, time.time() + 400):
        old = bot.signed(body, at=at)
        assert (401, "signature-expired") == code(bot.deliver(body, old))
    assert 200 == bot.deliver(body, good)[0]
    assert (409, "signature-repeated") == code(bot.deliver(body, good))
    assert (409, "signature-repeated") == code(
        bot.deliver(body, good.upper().replace("T", "t").replace("V", "v"))
    )
    until(lambda: len(carried.events("access.denied")) == 3, "the denials are told")
    codes = {one["data"]["code"]: one["data"] for one in carried.events("access.denied")}
    assert {"signature-invalid", "signature-expired", "signature-repeated"} == set(codes)
    assert "127.0.0.1" == codes["signature-invalid"]["address"]
    carried.kill()
    carried.open()
    assert (401, "signature-expired") == code(carried.bot.deliver(body, good))
    assert 1 == len(carried.events("claim.voted"))
    assert 'stoker_webhook_votes_total{outcome="denied"}' in carried.ask_text("/metrics")


def test_neither_the_claimant_nor_a_stranger_votes_by_webhook(carried: Carried) -> None:
    bot, event = carried.bot, carried.asked()
    own = bot.votes(event, ADA)
    assert (403, "denied", "never-the-claimant") == (*code(own), own[1]["rule"])
    stranger = bot.votes(event, EVE)
    assert (403, "denied", "approvals.approvers") == (*code(stranger), stranger[1]["rule"])
    # Of a subject alone nobody can tell whether it is Ada, whom the kernel knows as a user.
    zoe = {"issuer": LOGIN, "subject": "zoe", "claims": {"groups": ["sre"]}}
    unknown = bot.votes(event, zoe)
    assert (403, "denied", "never-the-claimant") == (*code(unknown), unknown[1]["rule"])
    assert (422, "voter-unknown") == code(bot.votes(event, {"user": "nobody-of-this-name"}))
    assert (422, "invalid") == code(bot.votes(event, {"issuer": LOGIN}))
    assert "pending" == carried.shows(event["claim"], 0)["state"]
    assert [] == carried.events("claim.voted")


def test_a_vote_is_about_the_very_request_that_was_looked_at(carried: Carried) -> None:
    bot, one, other = carried.bot, carried.asked(), carried.asked(ttl="9m")
    swapped = {"claim": one["claim"], "data": other["data"]}
    assert (409, "vote-mismatch") == code(bot.votes(swapped, BOB))
    unknown = {"claim": "c-nothing", "data": one["data"]}
    assert (404, "no-such-claim") == code(bot.votes(unknown, BOB))
    assert 200 == bot.votes(one, BOB)[0]
    assert (409, "vote-contradicts") == code(bot.votes(one, BOB, "reject"))
    assert "rejected" == bot.votes(other, ZOE, "reject", reason="no")[1]["approval"]["outcome"]
    assert (409, "vote-late") == code(bot.votes(other, BOB))
    free = {"claim": other["claim"], "data": {"digest": "0" * 64}}
    assert (409, "vote-late") == code(bot.votes(free, BOB))


def test_no_vote_comes_by_a_webhook_that_the_policy_does_not_take(carried: Carried) -> None:
    event = carried.asked()
    assert 200 == carried.bot.votes(event, BOB)[0]
    before = carried.ask(0, "GET", "/v1/status")[1]["revision"]["id"]
    carried.admit("pager")
    until(lambda: carried.ask(0, "GET", "/v1/status")[1]["revision"]["id"] != before, "the policy")
    refused = carried.bot.votes(event, ZOE)
    assert (403, "denied", "approvals.webhooks") == (*code(refused), refused[1]["rule"])
    assert "chat" in refused[1]["detail"]
    # At the socket the same person may, and completes what the webhook began.
    status, after = carried.says(ZOE.pw_uid, "approve", event["claim"])
    assert (200, "granted") == (status, after["approval"]["outcome"]), after


def test_a_vote_at_the_socket_and_one_by_webhook_are_of_one_person(carried: Carried) -> None:
    event = carried.asked()
    assert 200 == carried.says(BOB.pw_uid, "approve", event["claim"])[0]
    status, after = carried.bot.votes(
        event, {"user": BOB.pw_name, "issuer": LOGIN, "subject": "bob"}
    )
    assert (200, "waiting", 1) == (
        status, after["approval"]["outcome"], after["approval"]["needs"][0]["approved"],
    )  # fmt: skip


def test_who_votes_by_a_webhook_that_one_policy_takes_votes_for_the_other_at_the_socket(
    carried: Carried,
) -> None:
    before = carried.ask(0, "GET", "/v1/status")[1]["revision"]["id"]
    one = POLICY.replace("quorum: 2", "quorum: 1").replace("WEBHOOKS", '["chat"]')
    other = one.replace("guarded}", "another}").replace('["chat"]', "[]")
    carried.write("policy.yaml", f"{one}---{other}")
    until(lambda: carried.ask(0, "GET", "/v1/status")[1]["revision"]["id"] != before, "the policy")
    event = carried.asked()
    status, after = carried.bot.votes(event, BOB)
    needs = {need["policy"]: need["approved"] for need in after["approval"]["needs"]}
    assert (200, {"another": 0, "guarded": 1}) == (status, needs)
    status, after = carried.says(BOB.pw_uid, "approve", event["claim"])
    assert (200, "granted") == (status, after["approval"]["outcome"]), after
    assert 2 == len(carried.events("claim.voted"))


def test_a_start_without_the_folder_of_secrets_ends_at_once_and_says_why(carried: Carried) -> None:
    carried.kill()
    (carried.folder / "votes" / "pager").write_text("too short")
    carried.open()
    assert "no vote by the webhook pager is taken: the secret file" in carried.said()
    assert (401, "signature-invalid") == code(carried.bot.deliver(b"{}", "t=1,v1=a", "pager"))
    carried.kill()
    nowhere = carried.folder / "nowhere"
    carried.start("--votes-secrets", str(nowhere), ready=False)
    assert carried.process is not None
    assert 1 == carried.process.wait(20)
    assert f"the folder {nowhere} of votes.secrets cannot be read" in carried.said()


SLOW = """
import pwd, time
def getpwnam(name):
    time.sleep(60)
    raise KeyError(name)
pwd.getpwnam = getpwnam
"""


def test_a_directory_that_does_not_answer_holds_up_neither_others_nor_the_stop(
    carried: Carried, monkeypatch: pytest.MonkeyPatch
) -> None:
    carried.kill()
    (carried.folder / "sitecustomize.py").write_text(SLOW)
    monkeypatch.setenv("PYTHONPATH", str(carried.folder))
    carried.open()
    event, answers = carried.asked(), list[tuple[int, Any]]()

    def vote(reason: str) -> None:
        answers.append(carried.bot.votes(event, BOB, reason=reason))

    some = [Thread(target=vote, args=(f"{at}",)) for at in range(4)]
    for each in some:
        each.start()
    for _ in range(10):
        began = time.monotonic()
        assert "pending" == carried.shows(event["claim"], 0)["state"]
        assert time.monotonic() - began < 1.0
    for each in some:
        each.join()
    assert [(503, "caller-unknown")] * 4 == [code(one) for one in answers]
    assert carried.process is not None
    carried.process.terminate()
    assert 0 == carried.process.wait(10)
    assert "stopped; what was made stays" in carried.said()


def test_the_commands_of_the_documentation_deliver_a_vote(carried: Carried) -> None:
    page = (ROOT / "docs" / "webhooks.md").read_text(encoding="utf-8")
    block = page.partition("## In: votes")[2].partition("```console\n")[2].partition("```")[0]
    commands = "".join(line.removeprefix("$ ") for line in block.splitlines(keepends=True))
    commands = commands.replace("/etc/stoker/votes", str(carried.folder / "votes"))
    commands = commands.replace(":9466/", f":{carried.bot.port}/")
    event = carried.asked()
    said = {"claim": event["claim"], "digest": event["data"]["digest"], "vote": "reject"}
    voter = {"user": BOB.pw_name}
    (carried.folder / "vote.json").write_text(json.dumps({**said, "voter": voter}, indent=2))
    done = subprocess.run(
        ["bash", "-euc", commands], cwd=carried.folder, capture_output=True, text=True, check=True
    )
    assert "rejected" == json.loads(done.stdout)["approval"]["outcome"], done
