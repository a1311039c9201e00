"""Tokens over the socket: what they add to a caller, and how each bad one is answered."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from stoker.daemon import bearer, tokens
from stoker.daemon.bearer import Bearers
from stoker.daemon.caller_facts import caller_facts
from stoker.daemon.problems_http import Problem
from stoker.policies.facts import CallerFacts
from stoker.pools.claim import Claimant, Token
from tests.daemon.harness import SOON, Served, a_server
from tests.daemon.signing import (
    ISSUER,
    NOW,
    a_token,
    an_issuer,
    jwks,
    private_key,
    public_jwk,
    raw_token,
)
from tests.rig import a_box_pool


@asynccontextmanager
async def serving(folder: Path, **more: Any) -> AsyncGenerator[Served]:
    keys = folder / "keys.json"
    keys.write_bytes(jwks(public_jwk("ES256", "one"), public_jwk("EdDSA", "two")))
    issuers = (an_issuer(jwks=keys, **more),)
    async with a_server(folder, a_box_pool(min=3), issuers=issuers) as served:
        yield served


def good(**more: Any) -> str:
    return a_token(kid="one", now=time.time(), **more)


def bearing(token: str, key: str | None = None) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {token}"}
    return headers if key is None else {**headers, "Idempotency-Key": key}


async def claim(served: Served, token: str, key: str | None = None, **body: Any) -> Any:
    headers = bearing(token, key)
    return await served.caller.ask("POST", "/v1/claims", {"pool": "web", **body}, headers=headers)


async def test_a_claim_says_whose_token_it_came_with_also_after_a_restart(short_tmp: Path) -> None:
    async with serving(short_tmp) as served:
        token = good(groups=["web"], email="ada@example.org")
        reply = await claim(served, token)
        assert 201 == reply.status
        assert {"issuer": ISSUER, "subject": "ada"} == reply.json["caller"]["token"]
        (live,) = served.run.fleet.live_claims()
        assert live.claimant.token is not None
        assert {} == live.claimant.token.claims, "nor in memory, for as long as the claim lives"
        (kept,) = served.run.store.load().claims
        assert Token(ISSUER, "ada") == kept.claimant.token
        assert kept.claimant.token is not None
        assert {} == kept.claimant.token.claims, "what else it says is not kept"
        (event,) = (await served.caller.get("/v1/events?since=0&kind=claim.bound")).lines
        assert (ISSUER, "ada") == (event["data"]["issuer"], event["data"]["subject"])
        everything = b"".join(path.read_bytes() for path in (short_tmp / "state").glob("ledger*"))
        assert b"ada@example.org" not in everything
        assert token.encode() not in everything


def test_rules_read_every_fact_of_a_caller_and_what_its_token_says() -> None:
    token = Token(ISSUER, "ada", {"iss": ISSUER, "sub": "ada", "groups": ["web"]})
    claimant = Claimant(
        1, 2, 3, "ada", "/usr/bin/curl", "web.service", ("web",), (2, 7), ("exe",), token
    )
    assert caller_facts(claimant, "h") == CallerFacts(
        uid=1,
        gid=2,
        user="ada",
        groups=("web",),
        pid=3,
        exe="/usr/bin/curl",
        unit="web.service",
        host="h",
        token={"iss": ISSUER, "sub": "ada", "groups": ["web"]},
        unknown=("exe",),
    )
    assert {} == caller_facts(Claimant(1, 2, 3), "h").token
    assert f"ada (uid 1, ada of {ISSUER})" == str(claimant)


async def test_who_releases_what_another_claimed_and_operates_is_in_the_audit(
    short_tmp: Path,
) -> None:
    async with serving(short_tmp) as served:
        ask = served.caller.ask
        mine, theirs = (await claim(served, good())).json, (await claim(served, good())).json
        await ask("DELETE", f"/v1/claims/{mine['id']}", headers=bearing(good()))
        await ask("DELETE", f"/v1/claims/{theirs['id']}", headers=bearing(good(sub="bob")))
        await ask("POST", "/v1/pools/web/pause", {}, headers=bearing(good(sub="bob")))
        events = (await served.caller.get("/v1/events?since=0")).lines
        said = {
            one["claim"]: one.get("reason", "") for one in events if one["kind"] == "claim.released"
        }
        assert "" == said[mine["id"]]
        assert f"bob of {ISSUER}), who did not claim it" in said[theirs["id"]]
        (paused,) = [one for one in events if one["kind"] == "pool.paused"]
        assert "bob" == paused["data"]["subject"]


async def test_two_tokens_of_one_user_are_two_callers(short_tmp: Path) -> None:
    async with serving(short_tmp) as served:
        ada, bob = good(), good(sub="bob")
        first = await claim(served, ada, "key")
        again = await claim(served, good(jti="another one"), "key")
        others = await claim(served, bob, "key")
        plain = await served.caller.claim(key="key")
        assert first.json["id"] == again.json["id"]
        assert 3 == len({one.json["id"] for one in (first, others, plain)})


async def test_a_token_of_each_name_is_checked_once(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    real = tokens.verify

    def counted(token: str, *args: Any) -> Token:
        checked.append(token)
        return real(token, *args)

    monkeypatch.setattr(bearer, "verify", counted)
    async with serving(short_tmp) as served:
        token = good()
        for _ in range(5):
            assert (
                200 == (await served.caller.ask("GET", "/v1/pools", headers=bearing(token))).status
            )
        assert [token] == checked


HUGE = "x" * (tokens.MAX_TOKEN + 1)
BAD = {
    "alg none": (raw_token({"alg": "none"}, {"iss": ISSUER}, b""), "invalid-token", "alg none"),
    "hmac": (raw_token({"alg": "HS256"}, {"iss": ISSUER}), "invalid-token", "shared secret"),
    "huge": (HUGE, "invalid-token", "longer than"),
    "of a key that was replaced": (a_token(kid="old", number=1), "invalid-token", "does not list"),
    "of somebody else": (
        a_token(kid="one", iss="https://evil.example.org/"),
        "invalid-token",
        "issuer that is not accepted",
    ),
    "signed by somebody else": (a_token(kid="one", number=1), "invalid-token", "signature"),
    "for somebody else": (a_token(kid="one", aud="else", iat=0, exp=4e9), "invalid-token", "aud"),
    "expired": (a_token(kid="one", exp=1_000_000_000), "expired-token", "has expired"),
    "of the future": (a_token(kid="one", nbf=3e9, exp=4e9), "invalid-token", "nbf"),
    "garbage": ("garbage", "invalid-token", "three parts"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_token_is_a_401_that_names_the_cause_and_quotes_nothing(
    short_tmp: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    token, code, why = BAD[name]
    caplog.set_level(logging.DEBUG)
    async with serving(short_tmp) as served:
        reply = await claim(served, token)
        assert (401, code) == (reply.status, reply.json["code"])
        assert why in reply.json["detail"]
        assert 'Bearer realm="stoker", error="invalid_token"' == reply.headers["WWW-Authenticate"]
        for one in (token, *(part for part in token.split(".") if len(part) > 8)):
            assert one.encode() not in reply.body
            assert one not in caplog.text
        assert [] == (await served.caller.get("/v1/claims")).json["items"]
        text = (await served.caller.get("/metrics")).body.decode()
        assert f'stoker_http_problems_total{{code="{code}"}} 1.0' in text


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        (["Authorization: Basic YTpi"], 401, "invalid-token"),
        (["Authorization: Bearer"], 401, "invalid-token"),
        (["Authorization: "], 401, "invalid-token"),
        (["Authorization: Bearer \xff\xfe"], 401, "invalid-token"),
        (["Authorization: Bearer a", "Authorization: Bearer b"], 400, "malformed"),
        (["Authorization: Bearer " + "x" * 9000], 431, "headers-too-large"),
    ],
)
async def test_an_odd_header_is_refused(
    short_tmp: Path, headers: list[str], status: int, code: str
) -> None:
    async with serving(short_tmp) as served:
        lines = ["GET /v1/pools HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""]
        answer = await served.caller.raw("\r\n".join(lines).encode("latin-1"))
        assert answer.startswith(b"HTTP/1.1 %d" % status)
        assert code == json.loads(answer.partition(b"\r\n\r\n")[2])["code"]


async def test_a_token_that_nobody_accepts_is_refused_and_says_so(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        reply = await claim(served, good())
        assert (401, "tokens-not-accepted") == (reply.status, reply.json["code"])
        assert "identity.issuers" in reply.json["detail"]
        assert 'Bearer realm="stoker"' == reply.headers["WWW-Authenticate"]
        open_to_all = await served.caller.ask("GET", "/healthz", headers=bearing("garbage"))
        assert 200 == open_to_all.status


async def test_keys_that_are_not_there_are_a_503(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuers = (an_issuer(jwks=short_tmp / "none.json"),)
    async with a_server(short_tmp, a_box_pool(min=0), issuers=issuers) as served:
        reply = await claim(served, good())
        assert (503, "keys-unavailable") == (reply.status, reply.json["code"])
        assert "Retry-After" in reply.headers
        (facts,) = served.server.bearers.facts()
        assert (0, ISSUER) == (facts.keys, facts.issuer)
        assert facts.error


async def test_facts_of_the_caller_in_the_body_are_no_facts(short_tmp: Path) -> None:
    async with serving(short_tmp) as served:
        for forged in ("caller", "groups", "uid", "token", "unit"):
            body = {"pool": "web", forged: "root"}
            reply = await served.caller.ask("POST", "/v1/claims", body, headers=bearing(good()))
            assert (422, "invalid") == (reply.status, reply.json["code"])
            assert forged in reply.json["detail"]


class OpenBearers(Bearers):
    @property
    def remembered(self) -> int:
        return len(self._known)


class Tick:
    def __init__(self) -> None:
        self.wall = NOW
        self.steady = 0.0


@asynccontextmanager
async def bearers(folder: Path, tick: Tick, **more: Any) -> AsyncGenerator[OpenBearers]:
    issuers = (an_issuer(jwks=folder / "keys.json", **more),)
    made = OpenBearers(issuers, wall=lambda: tick.wall, steady=lambda: tick.steady)
    made.start()
    try:
        yield made
    finally:
        await made.close()


async def code_of(made: Bearers, token: str) -> str:
    try:
        await made.check(f"Bearer {token}")
    except Problem as problem:
        return str(problem.code)
    return "good"


async def test_a_remembered_token_ends_in_time_and_with_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.daemon.jwks.FILE_EVERY", 0.01)
    keys, tick = tmp_path / "keys.json", Tick()
    keys.write_bytes(jwks(public_jwk("ES256", "one")))
    async with bearers(tmp_path, tick) as made:
        token = a_token(kid="one")
        assert "good" == await code_of(made, token)
        tick.wall = NOW + 359
        assert "good" == await code_of(made, token)
        tick.wall = NOW + 361
        assert "expired-token" == await code_of(made, token)
        tick.wall = NOW - 61
        assert "invalid-token" == await code_of(made, token), "the clock was set back"
        tick.wall = NOW
        assert "good" == await code_of(made, token)
        keys.write_bytes(jwks(public_jwk("ES256", "two", 1)))
        async with asyncio.timeout(SOON):
            while await code_of(made, token) == "good":
                await asyncio.sleep(0.01)
        assert "invalid-token" == await code_of(made, token)
        assert "good" == await code_of(made, a_token(kid="two", number=1))


async def test_a_new_key_is_found_at_the_first_token_that_it_signed(tmp_path: Path) -> None:
    keys, tick = tmp_path / "keys.json", Tick()
    keys.write_bytes(jwks(public_jwk("ES256", "one")))
    async with bearers(tmp_path, tick) as made:
        assert "good" == await code_of(made, a_token(kid="one"))
        keys.write_bytes(jwks(public_jwk("ES256", "one"), public_jwk("EdDSA", "two")))
        new = a_token("EdDSA", kid="two")
        assert "invalid-token" == await code_of(made, new), "a look was taken a moment ago"
        tick.steady += 31
        assert "good" == await code_of(made, new)


async def test_tokens_are_remembered_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bearer, "REMEMBERED", 3)
    (tmp_path / "keys.json").write_bytes(jwks(public_jwk("ES256", "one")))
    async with bearers(tmp_path, Tick()) as made:
        for number in range(10):
            assert "good" == await code_of(made, a_token(kid="one", jti=str(number)))
        assert 3 == made.remembered


def test_the_same_key_signs_for_all_tests() -> None:
    assert private_key("ES256", 0) is private_key("ES256", 0)
