"""What both clients do with a daemon that answers, fails, dies and comes back."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from stoker.client import (
    AsyncStoker,
    BadRequest,
    Conflict,
    Denied,
    NoDaemon,
    NotFound,
    Stoker,
    StokerError,
    Unavailable,
)
from stoker.client.documents import claim_info
from stoker.client.places import find_socket
from stoker.client.requests import claim_request, list_request

from .documents import a_claim, a_problem
from .scripted_server import (
    ScriptedServer,
    chunked,
    cut,
    cut_within,
    raw,
    reply,
    silence,
)


class SyncClient:
    """The synchronous client, as the tests call it."""

    def __init__(self, path: Path, patience: float = 3.0) -> None:
        self.stoker: Any = Stoker(path, patience=patience)

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.stoker, name)(*args, **kwargs)

    def follow(self, count: int, **filters: Any) -> list[dict[str, Any]]:
        return list(islice(self.stoker.events(follow=True, **filters), count))

    def past(self, **filters: Any) -> list[dict[str, Any]]:
        return list(self.stoker.events(**filters))

    def close(self) -> None:
        self.stoker.close()


class AsyncClient:
    """The client for asyncio, driven from a synchronous test so that both share every test."""

    def __init__(self, path: Path, patience: float = 3.0) -> None:
        self.runner = asyncio.Runner()
        self.stoker = AsyncStoker(path, patience=patience)

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self.runner.run(getattr(self.stoker, name)(*args, **kwargs))

    def follow(self, count: int, **filters: Any) -> list[dict[str, Any]]:
        async def take() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = []
            events = self.stoker.events(follow=True, **filters)
            async for event in events:
                found.append(event)
                if len(found) == count:
                    break
            await events.aclose()  # type: ignore[attr-defined]
            return found

        return self.runner.run(take())

    def past(self, **filters: Any) -> list[dict[str, Any]]:
        async def take() -> list[dict[str, Any]]:
            return [event async for event in self.stoker.events(**filters)]

        return self.runner.run(take())

    def close(self) -> None:
        self.runner.run(self.stoker.close())
        self.runner.close()


AnyClient = SyncClient | AsyncClient


@pytest.fixture(params=[SyncClient, AsyncClient])
def client(request: pytest.FixtureRequest, short_tmp: Path) -> Iterator[AnyClient]:
    made: AnyClient = request.param(short_tmp / "s")
    yield made
    made.close()


def test_a_claim_says_what_was_asked_for(server: ScriptedServer, client: AnyClient) -> None:
    server.answers = [reply(201, a_claim())]
    claim = client.call(
        "claim",
        "web",
        params={"n": 3},
        ttl=90,
        wait="5s",
        key="k",
        reason="tests",
        labels={"team": "a"},
    )
    sent = server.seen[0]
    assert ("POST", "/v1/claims", "k") == (sent.method, sent.path, sent.headers["idempotency-key"])
    assert sent.json == {
        "pool": "web",
        "params": {"n": 3},
        "ttl": "90s",
        "wait": "5s",
        "reason": "tests",
        "labels": {"team": "a"},
    }
    assert claim.outputs == {"url": "http://x", "n": 3}
    assert (claim.id, claim.state, claim.resource) == ("c-1", "bound", "web-1")


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        ("web", "web"),
        (["web", "spare"], ["web", "spare"]),
        (("web",), ["web"]),
        ({"team": "web"}, {"matchLabels": {"team": "web"}}),
    ],
)
def test_several_certain_ones_or_alternatives_are_asked_for(
    server: ScriptedServer, client: AnyClient, pool: object, said: object
) -> None:
    handed = [{"id": f"web-{n}", "outputs": {"n": n}} for n in (1, 2)]
    chosen = {"from": ["web"], "because": "it was there"}
    server.answers = [reply(201, a_claim(resources=handed, chosen=chosen))]
    claim = client.call("claim", pool, count=2, select="resource.id != ''", key="k")
    assert server.seen[0].json == {"pool": said, "count": 2, "select": "resource.id != ''"}
    assert claim.info.resources == ("web-1", "web-2")
    assert (claim.each, claim.outputs) == (({"n": 1}, {"n": 2}), {"n": 1})
    assert claim.info.because == "it was there"


def test_every_claim_has_a_key_of_its_own(server: ScriptedServer, client: AnyClient) -> None:
    server.answers = [reply(201, a_claim())]
    client.call("claim", "web")
    client.call("claim", "web")
    keys = {seen.headers["idempotency-key"] for seen in server.seen}
    assert 2 == len(keys)


@pytest.mark.parametrize(
    "broken", [cut(), cut_within(a_claim()), chunked(b'{"id": "c-', end=False)]
)
def test_a_lost_answer_is_asked_for_again_with_the_same_key(
    server: ScriptedServer, client: AnyClient, broken: Any
) -> None:
    server.answers = [broken, reply(201, a_claim())]
    claim = client.call("claim", "web", params={"n": 3})
    first, second = server.seen
    assert "c-1" == claim.id
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.body == second.body


def test_a_chunked_answer_is_put_together(server: ScriptedServer, client: AnyClient) -> None:
    server.answers = [chunked(b'{"items": [{"na', b'me": "web"}], "more": true}')]
    pools = client.call("pools")
    assert [{"name": "web"}] == pools
    assert pools.more


def test_an_answer_without_a_length_ends_with_the_connection(
    server: ScriptedServer, client: AnyClient
) -> None:
    server.answers = [raw(b'HTTP/1.1 200 OK\r\n\r\n{"ready": true}', keep=False)]
    assert {"ready": True} == client.call("status")


def test_an_interim_answer_is_passed_over(server: ScriptedServer, client: AnyClient) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    server.answers = [raw(interim + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")]
    assert {} == client.call("status")


def test_one_connection_serves_many_requests(server: ScriptedServer, client: AnyClient) -> None:
    server.answers = [reply(200, {})]
    for _ in range(5):
        client.call("status")
    assert 1 == server.connections


def test_an_idle_connection_that_was_closed_is_made_anew(
    server: ScriptedServer, client: AnyClient
) -> None:
    server.answers = [reply(200, {"n": 1})]
    client.call("status")
    server.drop_idle()
    assert {"n": 1} == client.call("status")


def test_a_daemon_that_never_listened_is_not_waited_for(client: AnyClient) -> None:
    started = time.monotonic()
    with pytest.raises(NoDaemon, match=r"is it running\? Start it with: stoker run"):
        client.call("status")
    assert time.monotonic() - started < 1


def test_a_daemon_that_restarts_is_waited_for(short_tmp: Path, client: AnyClient) -> None:
    with ScriptedServer(short_tmp / "s", [reply(200, {"run": 1})]):
        assert {"run": 1} == client.call("status")
    second = ScriptedServer(short_tmp / "s", [reply(200, {"run": 2})])
    timer = threading.Timer(0.3, second.__enter__)
    timer.start()
    assert {"run": 2} == client.call("status")
    timer.join()
    second.__exit__()


def test_a_daemon_that_says_it_restarts_is_waited_for(
    server: ScriptedServer, client: AnyClient
) -> None:
    server.answers = [reply(503, a_problem(503, "stopping")), reply(200, {"run": 2})]
    assert {"run": 2} == client.call("status")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequest),
        (403, Denied),
        (404, NotFound),
        (409, Conflict),
        (413, BadRequest),
        (422, BadRequest),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
def test_a_refusal_becomes_the_exception_of_its_status(
    server: ScriptedServer, client: AnyClient, status: int, kind: type[StokerError]
) -> None:
    server.answers = [reply(status, a_problem(status, "some-code", requestId="r-1"))]
    with pytest.raises(kind) as raised:
        client.call("claim", "web")
    error = raised.value
    assert kind is type(error)
    assert (status, "some-code", "so", "r-1") == (
        error.status,
        error.code,
        error.detail,
        error.request_id,
    )


def test_a_full_queue_says_when_to_come_again(server: ScriptedServer, client: AnyClient) -> None:
    server.answers = [reply(429, a_problem(429, "queue-full"), {"Retry-After": "7"})]
    with pytest.raises(Unavailable) as raised:
        client.call("claim", "web")
    assert 7.0 == raised.value.retry_after
    assert 1 == len(server.seen)


def test_a_refusal_that_is_no_problem_document_is_still_a_sentence(
    server: ScriptedServer, client: AnyClient
) -> None:
    server.answers = [raw(b"HTTP/1.1 502 Bad\r\nContent-Length: 5\r\n\r\noops!")]
    with pytest.raises(Unavailable, match="answered 502"):
        client.call("status")


def test_something_else_at_the_socket_is_told(server: ScriptedServer, client: AnyClient) -> None:
    server.answers = [raw(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhey!")]
    with pytest.raises(Unavailable, match="no JSON"):
        client.call("status")


def test_an_answer_that_never_comes_is_given_up(server: ScriptedServer, client: AnyClient) -> None:
    server.answers = [silence(server.over)]
    request = replace(list_request("status"), timeout=0.2)
    with pytest.raises(NoDaemon, match="not answered within") as raised:
        client.call("request", request)
    assert "no-answer" == raised.value.code


def test_names_are_quoted_in_addresses(server: ScriptedServer, client: AnyClient) -> None:
    server.answers = [reply(404, a_problem(404, "no-such-claim"))]
    with pytest.raises(NotFound):
        client.call("show", "a/b?c=ü", wait=2)
    assert "/v1/claims/a%2Fb%3Fc%3D%C3%BC?wait=2s" == server.seen[0].path


def test_all_claims_are_those_that_live_and_those_that_are_over(
    server: ScriptedServer, client: AnyClient
) -> None:
    server.answers = [
        reply(200, {"items": [a_claim()], "more": False}),
        reply(200, {"items": [a_claim(state="ended")], "more": True}),
        reply(200, {"items": [], "more": False}),
    ]
    claims = client.call("claims", pool="web", all=True)
    assert ["bound", "ended"] == [claim.state for claim in claims]
    assert claims.more
    assert ["pool=web&limit=10000"] == [server.seen[0].path.partition("?")[2]]


def test_renewing_and_releasing_use_the_addresses_of_the_claim(
    server: ScriptedServer, client: AnyClient
) -> None:
    server.answers = [reply(200, a_claim())]
    client.call("renew", "c-1", "2h")
    client.call("release", "c-1")
    first, second = server.seen
    assert ("POST", "/v1/claims/c-1/renew", {"ttl": "2h"}) == (first.method, first.path, first.json)
    assert ("DELETE", "/v1/claims/c-1") == (second.method, second.path)


def test_past_events_are_read_line_by_line(server: ScriptedServer, client: AnyClient) -> None:
    server.answers = [chunked(b'{"seq": 1}\n{"s', b'eq": 2}\n')]
    assert [1, 2] == [event["seq"] for event in client.past(kind="claim.", limit=2)]
    assert "/v1/events?kind=claim.&limit=2" == server.seen[0].path


def test_following_passes_over_empty_lines_and_resumes_where_it_was_cut(
    server: ScriptedServer, client: AnyClient
) -> None:
    server.answers = [
        chunked(b'{"seq": 1}\n', b"\n", b'{"seq"', b": 2}\n", end=False),
        chunked(b'{"kind": "stream.gap"}\n{"seq": 5}\n', end=False),
        chunked(b'{"seq": 6}\n', end=False),
    ]
    events = client.follow(5, since=0)
    assert [1, 2, None, 5, 6] == [event.get("seq") for event in events]
    assert [
        "/v1/events?follow=1&since=0",
        "/v1/events?follow=1&since=2",
        "/v1/events?follow=1&since=5",
    ] == [seen.path for seen in server.seen]


def test_following_is_refused_as_every_other_call(
    server: ScriptedServer, client: AnyClient
) -> None:
    server.answers = [reply(403, a_problem(403, "denied"))]
    with pytest.raises(Denied):
        client.follow(1)


def test_a_duration_that_is_none_is_told_before_anything_is_sent(client: AnyClient) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        client.call("claim", "web", ttl="soon")


def test_the_socket_is_the_one_given_or_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOKER_SOCKET", "/from/environment")
    assert "/given" == find_socket("/given")
    assert "/from/environment" == find_socket(None)


def test_a_claim_says_what_it_is_bound_to_and_is_retried_with_a_key_unless_it_is_the_connection() -> (
    None
):
    bodies = {
        bind: claim_request("web", bind=bind) for bind in ("time", "process", "connection", None)
    }
    assert {"time", "process", "connection", None} == {
        json.loads(request.body).get("bind") for request in bodies.values()
    }
    assert ["connection"] == [
        bind for bind, request in bodies.items() if "Idempotency-Key" not in request.headers
    ]
    assert ["connection"] == [bind for bind, request in bodies.items() if request.stays]
    assert "k" == claim_request("web", key="k", bind="connection").headers["Idempotency-Key"]


def test_a_claim_tells_its_binding_and_its_grace() -> None:
    told = {"id": "c-1", "bind": "process", "graceUntil": "2026-01-31T12:00:30.000Z"}
    assert "process" == claim_info(told).bind
    assert "12:00:30" == f"{claim_info(told).grace_until:%H:%M:%S}"
    assert ("time", None) == (claim_info({}).bind, claim_info({}).grace_until)


def test_an_operators_action_says_why_and_until_when(
    server: ScriptedServer, client: AnyClient
) -> None:
    server.answers = [cut(), reply(200, {"name": "web", "paused": True})]
    pool = client.call("operate", "pools", "web", "pause", reason="new disk", until="90m")

    assert pool["paused"] is True
    assert [(seen.method, seen.path) for seen in server.seen] == [
        ("POST", "/v1/pools/web/pause")
    ] * 2
    assert server.seen[0].json == {"reason": "new disk", "until": "90m"}


def test_an_operators_action_on_the_host_names_no_subject(
    server: ScriptedServer, client: AnyClient
) -> None:
    server.answers = [reply(200, {"frozen": True}), reply(200, {"frozen": False})]
    assert client.call("operate_host", "freeze", reason="an incident", until="4h")["frozen"]
    assert not client.call("operate_host", "thaw")["frozen"]

    assert [(seen.method, seen.path) for seen in server.seen] == [
        ("POST", "/v1/freeze"),
        ("POST", "/v1/thaw"),
    ]
    assert [seen.json for seen in server.seen] == [{"reason": "an incident", "until": "4h"}, {}]
