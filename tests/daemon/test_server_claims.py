"""Claims over the socket, as callers meet them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from stoker.config.json_types import Json
from stoker.pools.claim import ClaimState
from tests.daemon.harness import SOON, a_server
from tests.fakes.world import Faults
from tests.rig import a_box_pool

SLOW = Faults(latency=(0.5, 0.5))


async def test_a_warm_claim_is_answered_bound_with_its_secrets(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        reply = await served.caller.claim(ttl="30m", labels={"run": "7"}, reason="a test")
        claim = reply.json
        assert (reply.status, claim["state"], claim["warm"]) == (201, "bound", True)
        assert reply.headers["Location"] == f"/v1/claims/{claim['id']}"
        assert reply.headers["X-Request-Id"].startswith("r-")
        assert {"name", "token"} == set(claim["resources"][0]["outputs"])
        assert claim["ttl"] == "30m"
        assert claim["labels"] == {"run": "7"}
        assert claim["reason"] == "a test"
        assert claim["expiresAt"].endswith("Z")
        assert float(claim["timing"]["total"].removesuffix("ms")) > 0
        assert claim["caller"]["pid"] > 0


async def test_secrets_are_shown_to_the_claimant_and_in_no_list(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        claim = (await served.caller.claim()).json
        secret = claim["resources"][0]["outputs"]["token"]
        shown = await served.caller.get(f"/v1/claims/{claim['id']}")
        assert claim["resources"] == shown.json["resources"]
        for path in ("/v1/claims", "/v1/resources", "/v1/events", "/v1/pools", "/metrics"):
            assert secret.encode() not in (await served.caller.get(path)).body, path
        resource = claim["resources"][0]["id"]
        shown = await served.caller.get(f"/v1/resources/{resource}")
        assert secret.encode() not in shown.body


async def test_a_claim_that_must_wait_is_answered_202_with_its_place(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=0, max=1), faults=SLOW) as served:
        reply = await served.caller.claim()
        claim = reply.json
        assert (reply.status, claim["state"], claim["position"]) == (202, "pending", 1)
        assert reply.headers["Location"] == f"/v1/claims/{claim['id']}"
        bound = await served.caller.get(f"/v1/claims/{claim['id']}?wait=10s")
        assert bound.json["state"] == "bound"
        assert "token" in bound.json["resources"][0]["outputs"]


async def test_a_waiting_claim_says_why_it_waits_and_a_bound_one_does_not(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1, max=1)) as served:
        first = (await served.caller.claim()).json
        assert "waitingFor" not in first
        waiting = (await served.caller.claim()).json
        told = waiting["waitingFor"]
        assert ("no-capacity", "size.max") == (told["code"], told["limit"])
        assert "1 in use" in told["detail"]
        shown = (await served.caller.get(f"/v1/claims/{waiting['id']}")).json
        assert told == shown["waitingFor"]
        await served.caller.ask("DELETE", f"/v1/claims/{first['id']}")
        bound = (await served.caller.get(f"/v1/claims/{waiting['id']}?wait=10s")).json
        assert "bound" == bound["state"]
        assert "waitingFor" not in bound


async def test_a_claim_that_waits_for_a_creation_says_so(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=0, max=1), faults=SLOW) as served:
        claim = (await served.caller.claim()).json
        assert "being-made" == claim["waitingFor"]["code"]


async def test_a_long_poll_ends_with_its_own_time(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=0, max=1), faults=SLOW) as served:
        claim = (await served.caller.claim()).json
        reply = await served.caller.get(f"/v1/claims/{claim['id']}?wait=10ms")
        assert (reply.status, reply.json["state"]) == (200, "pending")


async def test_a_claim_may_wait_on_the_line(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=0, max=1), faults=SLOW) as served:
        reply = await served.caller.claim(wait="10s")
        assert (reply.status, reply.json["warm"]) == (201, False)


async def test_waiting_in_vain_is_answered_with_retry_after(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=0, max=2), faults=SLOW) as served:
        reply = await served.caller.claim(wait="50ms")
        assert (reply.status, reply.json["code"]) == (503, "wait-timeout")
        assert int(reply.headers["Retry-After"]) >= 1
        assert (await served.caller.get("/v1/claims")).json["items"] == []


async def test_a_claimant_that_hangs_up_is_never_handed_anything(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1, max=2), faults=SLOW) as served:
        first = (await served.caller.claim()).json["id"]
        body = b'{"pool":"web","wait":"30s"}'
        _, writer = await asyncio.open_unix_connection(str(served.settings.socket))
        writer.write(
            b"POST /v1/claims HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        async with asyncio.timeout(SOON):
            while len(list(served.run.fleet.live_claims())) < 2:
                await asyncio.sleep(0.01)
        writer.close()
        async with asyncio.timeout(SOON):
            while [first] != [claim.id for claim in served.run.fleet.live_claims()]:
                await asyncio.sleep(0.01)
        await served.run.until_ready(1, within=SOON)
        assert (await served.caller.claim()).json["warm"]


async def test_a_claim_without_a_key_whose_answer_cannot_be_written_is_given_back(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        claim_of_fleet = served.run.fleet.claim
        claimed: list[Any] = []

        async def claim_and_lose_the_caller(request: Any) -> Any:
            claimed.append(await claim_of_fleet(request))
            for connection in served.server.door.present:
                assert connection.transport is not None
                connection.transport.abort()
            return claimed[-1]

        monkeypatch.setattr(served.run.fleet, "claim", claim_and_lose_the_caller)
        body = b'{"pool":"web"}'
        head = b"POST /v1/claims HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        await served.caller.raw(head + body)
        async with asyncio.timeout(SOON):
            while claimed[0].state in {ClaimState.BOUND, ClaimState.FINISHING}:
                await asyncio.sleep(0.01)
        assert claimed[0].ended_because is not None


async def test_a_retry_with_the_same_key_gets_the_same_claim_and_secrets(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=2)) as served:
        first = await served.caller.claim(key="k-1", ttl="30m", labels={"a": "1", "b": "2"})
        spelled = b'{ "labels": {"b": "2", "a": "1"},\n "ttl": "1800s", "pool": "web" }'
        again = await served.caller.ask(
            "POST",
            "/v1/claims",
            data=spelled,
            headers={"Idempotency-Key": "k-1", "Content-Type": "application/json"},
        )
        assert (201, 201) == (first.status, again.status)
        assert first.json["id"] == again.json["id"]
        assert first.json["resources"] == again.json["resources"]


async def test_a_key_with_another_body_is_refused(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=2)) as served:
        await served.caller.claim(key="k-1")
        reply = await served.caller.claim(key="k-1", ttl="5m")
        assert (reply.status, reply.json["code"]) == (409, "key-reused")


async def test_a_retry_after_the_end_gets_the_ended_claim(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        claim = (await served.caller.claim(key="k-1")).json
        await served.caller.ask("DELETE", f"/v1/claims/{claim['id']}")
        reply = await served.caller.claim(key="k-1")
        assert (reply.status, reply.json["id"]) == (200, claim["id"])
        assert reply.json["endedBecause"] == "released"


@pytest.mark.parametrize("key", ["", "a b", "ä", "x" * 256])
async def test_a_key_that_is_no_key_is_malformed(short_tmp: Path, key: str) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        body = b'{"pool":"web"}'
        reply = await served.caller.raw(
            b"POST /v1/claims HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Idempotency-Key: %s\r\nContent-Length: %d\r\n\r\n" % (key.encode(), len(body)) + body
        )
        assert reply.startswith(b"HTTP/1.1 400 ")
        assert b'"code":"malformed"' in reply


async def test_a_renewal_moves_the_expiry_and_its_body_may_be_left_out(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        claim = (await served.caller.claim(ttl="1m")).json
        path = f"/v1/claims/{claim['id']}/renew"
        longer = await served.caller.ask("POST", path, {"ttl": "10m"})
        assert (longer.status, longer.json["ttl"]) == (200, "10m")
        assert longer.json["expiresAt"] > claim["expiresAt"]
        assert (await served.caller.ask("POST", path)).status == 200
        assert (await served.caller.ask("POST", path, {"ttl": "9d"})).json["code"] == "ttl-too-long"


async def test_a_release_can_be_repeated(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        claim = (await served.caller.claim()).json
        replies = [await served.caller.ask("DELETE", f"/v1/claims/{claim['id']}") for _ in range(3)]
        assert [200, 200, 200] == [reply.status for reply in replies]
        assert {"released"} == {reply.json["endedBecause"] for reply in replies}
        assert "token" not in replies[0].body.decode()


async def test_ended_claims_are_listed_when_asked_for(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        claim = (await served.caller.claim(labels={"run": "7"})).json
        await served.caller.ask("DELETE", f"/v1/claims/{claim['id']}")
        async with asyncio.timeout(SOON):
            while not (found := (await served.caller.get("/v1/claims?state=ended")).json["items"]):
                await asyncio.sleep(0.02)
        assert [claim["id"]] == [one["id"] for one in found]


async def test_claims_are_filtered_by_pool_state_label_and_limit(short_tmp: Path) -> None:
    pools = a_box_pool(name="web", min=2), a_box_pool(name="db", min=1)
    async with a_server(short_tmp, *pools) as served:
        one = (await served.caller.claim("web", labels={"run": "1"})).json["id"]
        two = (await served.caller.claim("web", labels={"run": "2"})).json["id"]
        three = (await served.caller.claim("db")).json["id"]

        async def listed(query: str) -> list[str]:
            reply = await served.caller.get(f"/v1/claims?{query}")
            return [item["id"] for item in reply.json["items"]]

        assert [one, two, three] == await listed("")
        assert [three] == await listed("pool=db")
        assert [two] == await listed("label=run=2")
        assert [one, two] == await listed("label=run&state=bound")
        assert [] == await listed("state=pending")
        assert [one] == await listed("limit=1")
        assert (await served.caller.get("/v1/claims?limit=1")).json["more"] is True
        assert (await served.caller.get("/v1/claims?limit=3")).json["more"] is False


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        ({"pool": "wbe"}, 404, "no-such-pool", "web"),
        ({"pool": "web", "tll": "5m"}, 422, "invalid", "did you mean 'ttl'?"),
        ({}, 422, "invalid", "'pool': this field is required"),
        ({"pool": "web", "ttl": 300}, 422, "invalid", '"90s"'),
        ({"pool": "web", "ttl": "0s"}, 422, "invalid", "above zero"),
        ({"pool": "web", "ttl": "99h"}, 422, "ttl-too-long", ""),
        ({"pool": "web", "wait": "2h"}, 422, "invalid", "at most 1h"),
        ({"pool": "web", "count": 0}, 422, "invalid", "greater than or equal to 1"),
        ({"pool": "web", "count": 65}, 422, "invalid", "less than or equal to 64"),
        ({"pool": "web", "count": 9}, 422, "count-too-large", "may have 2 resources in all"),
        ({"pool": "web", "select": ""}, 422, "invalid", "'select'"),
        ({"pool": "web", "select": "x" * 1025}, 422, "invalid", "1024"),
        (
            {"pool": "web", "select": "outputs.nam == 'a'"},
            422,
            "bad-select",
            "did you mean 'name'?",
        ),
        ({"pool": []}, 422, "invalid", "'pool'"),
        ({"pool": ["web", "wbe"]}, 404, "no-such-pool", "there is no pool wbe"),
        ({"pool": ["web", "web"]}, 422, "invalid", "write each pool once"),
        ({"pool": ["web", ""]}, 422, "invalid", "'pool.1'"),
        ({"pool": 7}, 422, "invalid", "a list of pools"),
        ({"pool": {}}, 422, "invalid", "'pool.matchLabels': this field is required"),
        ({"pool": {"matchLabels": {}}}, 422, "invalid", "write an object of 1 to 64 labels"),
        ({"pool": {"matchLabels": {"team": 1}}}, 422, "invalid", "'pool.matchLabels.team'"),
        ({"pool": {"matchLabels": {"a": "b"}, "x": 1}}, 422, "invalid", "known are matchLabels"),
        ({"pool": {"matchLabels": {"team": "ops"}}}, 404, "no-such-pool", "the labels team=ops"),
        ({"pool": "web", "bind": "terminal"}, 422, "invalid", "'bind'"),
        ({"pool": "web", "params": {"x": 1}}, 422, "unknown-parameter", "x"),
        ({"pool": "web", "reason": "x" * 1001}, 422, "invalid", "1000"),
        ({"pool": "web", "reason": "\x1b[2J"}, 422, "invalid", "control"),
        ({"pool": "web", "labels": {str(n): "" for n in range(65)}}, 422, "invalid", "64"),
        ({"pool": "web", "labels": {"k": "x" * 64}}, 422, "invalid", "63"),
        ({"pool": "web\x00", "ttl": "5m"}, 422, "invalid", "control"),
        ({"pool": "w" * 129}, 422, "invalid", "128"),
        ({"pool": "web", "params": {"a": "x" * 65536}}, 422, "invalid", "64 KiB"),
        ([], 422, "invalid", "JSON object"),
    ],
)
async def test_a_bad_value_is_named_with_its_remedy(
    short_tmp: Path, body: Any, status: int, code: str, said: str
) -> None:
    async with a_server(short_tmp, a_box_pool(min=1, max=2)) as served:
        reply = await served.caller.ask("POST", "/v1/claims", body)
        assert (status, code) == (reply.status, reply.json["code"])
        assert said in reply.json["detail"]
        assert reply.headers["Content-Type"] == "application/problem+json"
        assert reply.json["requestId"] == reply.headers["X-Request-Id"]


async def test_all_wrong_fields_are_named_at_once(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        body: Json = {"pol": "web", "ttl": 5, "wait": "x", "labels": []}
        reply = await served.caller.ask("POST", "/v1/claims", body)
        named = {error["field"] for error in reply.json["errors"]}
        assert {"pool", "pol", "ttl", "wait", "labels"} == named


@pytest.mark.parametrize(
    "body", [b"", b"{", b"{'a':1}", b'{"pool":"\xff"}', b"[" * 100_000, b"NaN,"]
)
async def test_what_is_no_json_is_malformed(short_tmp: Path, body: bytes) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        reply = await served.caller.ask(
            "POST", "/v1/claims", data=body, headers={"Content-Type": "application/json"}
        )
        assert (reply.status, reply.json["code"]) == (400, "malformed")
        assert (await served.caller.claim()).status == 201


async def test_numbers_that_json_does_not_have_are_refused(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        for value in ("NaN", "1e999", "-Infinity", str(2**70)):
            data = f'{{"pool":"web","params":{{"a":{value}}}}}'.encode()
            headers = {"Content-Type": "application/json"}
            reply = await served.caller.ask("POST", "/v1/claims", data=data, headers=headers)
            assert (reply.status, reply.json["code"]) == (422, "invalid"), value


async def test_a_claim_id_of_forbidden_characters_does_not_exist(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        for path in ("/v1/claims/%00", "/v1/claims/a%2Fb", "/v1/claims/..", "/v1/claims/nope"):
            target = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
            reply = await served.caller.raw(target)
            assert b"no-such-claim" in reply, path
            json.loads(reply.partition(b"\r\n\r\n")[2])
