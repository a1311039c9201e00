"""Raw bytes on a real socket: whatever comes, the answer is clear and the rest is served."""

import asyncio
import json
from pathlib import Path

import pytest

from stoker.daemon import calls, connections
from tests.daemon.harness import SOON, Served, a_server
from tests.rig import a_box_pool

CLAIM = b'{"pool":"web"}'
LAST = b"Host: x\r\nConnection: close\r\n"


def post(body: bytes, more: bytes = b"") -> bytes:
    head = b"POST /v1/claims HTTP/1.1\r\n%s%sContent-Length: %d\r\n\r\n"
    return head % (LAST, more, len(body)) + body


def status_of(reply: bytes) -> int:
    assert reply.startswith(b"HTTP/1."), reply[:200]
    return int(reply.split(b" ", 2)[1])


def code_of(reply: bytes) -> str:
    head, _, body = reply.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head, head
    return str(json.loads(body)["code"])


async def still_serves(served: Served) -> bool:
    return (await served.caller.get("/v1/status")).status == 200


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 100,
        b"HELLO\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA\x00B: 1\r\n\r\n",
        b"POST /v1/claims HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/claims HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        (
            b"POST /v1/claims HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
    ],
)
async def test_what_is_no_http_is_told_so_and_cut(short_tmp: Path, data: bytes) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        reply = await served.caller.raw(data)
        assert (400, "malformed") == (status_of(reply), code_of(reply))
        assert await still_serves(served)


async def test_a_bad_chunk_is_malformed(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        reply = await served.caller.raw(
            b"POST /v1/claims HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
        )
        assert 400 == status_of(reply)
        assert await still_serves(served)


async def test_a_chunked_body_is_read(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        reply = await served.caller.raw(
            b"POST /v1/claims HTTP/1.1\r\n" + LAST + b"Transfer-Encoding: chunked\r\n\r\n"
            b'7\r\n{"pool"\r\n7\r\n:"web"}\r\n0\r\n\r\n'
        )
        assert 201 == status_of(reply)


async def test_an_announced_body_that_is_too_large_is_not_read(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        reply = await served.caller.raw(
            b"POST /v1/claims HTTP/1.1\r\nHost: x\r\nContent-Length: 300000000\r\n\r\n{"
        )
        assert (413, "too-large") == (status_of(reply), code_of(reply))


async def test_a_chunked_body_without_end_is_cut_at_the_limit(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        head = b"POST /v1/claims HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        reply = await served.caller.raw(head + chunk * 8)
        assert (413, "too-large") == (status_of(reply), code_of(reply))
        assert await still_serves(served)


async def test_a_body_of_exactly_the_limit_is_read(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        body = CLAIM + b" " * (connections.MAX_BODY - len(CLAIM))
        assert 201 == status_of(await served.caller.raw(post(body)))


async def test_a_long_address_is_told_so(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        reply = await served.caller.raw(b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + LAST + b"\r\n")
        assert (414, "uri-too-long") == (status_of(reply), code_of(reply))


@pytest.mark.parametrize(
    "headers",
    [
        b"X: " + b"a" * 9000 + b"\r\n",
        b"".join(b"X-%d: 1\r\n" % n for n in range(100)),
        b"".join(b"X-%d: %s\r\n" % (n, b"a" * 4000) for n in range(5)),
    ],
    ids=["one long", "many", "large together"],
)
async def test_large_headers_are_told_so(short_tmp: Path, headers: bytes) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        reply = await served.caller.raw(b"GET /v1/pools HTTP/1.1\r\n" + LAST + headers + b"\r\n")
        assert (431, "headers-too-large") == (status_of(reply), code_of(reply))
        assert await still_serves(served)


async def test_headers_without_end_are_cut(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        reader, writer = await asyncio.open_unix_connection(str(served.settings.socket))
        writer.write(b"GET / HTTP/1.1\r\n")
        for number in range(25):
            writer.write(b"X-%d: %s\r\n" % (number, b"a" * 1000))
        async with asyncio.timeout(SOON):
            reply = await reader.read()
        writer.close()
        assert (431, "headers-too-large") == (status_of(reply), code_of(reply))


async def test_headers_that_come_too_slowly_are_cut(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_WITHIN", 0.1)
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        reply = await served.caller.raw(b"GET /v1/pools HTTP/1.1\r\nHost: ")
        assert (408, "too-slow") == (status_of(reply), code_of(reply))
        assert await still_serves(served)


async def test_a_body_that_comes_too_slowly_is_cut(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "BODY_WITHIN", 0.1)
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        reply = await served.caller.raw(
            b"POST /v1/claims HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{"
        )
        assert (408, "too-slow") == (status_of(reply), code_of(reply))
        assert await still_serves(served)


async def test_a_caller_that_does_not_read_its_answers_is_cut(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "READ_WITHIN", 0.5)
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        reader, writer = await asyncio.open_unix_connection(str(served.settings.socket), limit=1024)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        ask = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
        writer.write(ask * 30)
        door = served.server.door
        async with asyncio.timeout(SOON):
            while door.open_connections == 0:
                await asyncio.sleep(0.01)
            while door.open_connections > 0:
                await asyncio.sleep(0.05)
        writer.transport.abort()
        assert await still_serves(served)


async def test_pipelined_requests_are_answered_in_order(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=2)) as served:
        first = b"GET /v1/pools/web HTTP/1.1\r\nHost: x\r\n\r\n"
        second = b"GET /v1/pools/nope HTTP/1.1\r\nHost: x\r\n\r\n"
        reply = await served.caller.raw(first * 3 + second + post(CLAIM))
        statuses = [int(part[:3]) for part in reply.split(b"HTTP/1.1 ")[1:]]
        assert [200, 200, 200, 404, 201] == statuses


async def test_http_1_0_is_answered_and_closed(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        reply = await served.caller.raw(
            b"POST /v1/claims HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(CLAIM), CLAIM)
        )
        assert 201 == status_of(reply)
        reply = await served.caller.raw(b"GET /v1/events?limit=1 HTTP/1.0\r\n\r\n")
        assert b"chunked" not in reply.lower()


async def test_a_client_that_asks_before_its_body_is_told_to_go_on(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        reader, writer = await asyncio.open_unix_connection(str(served.settings.socket))
        head = b"POST /v1/claims HTTP/1.1\r\n%sExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % (LAST, len(CLAIM)))
        async with asyncio.timeout(SOON):
            assert b"HTTP/1.1 100 Continue\r\n\r\n" == await reader.readuntil(b"\r\n\r\n")
            writer.write(CLAIM)
            assert 201 == status_of(await reader.read())
        writer.close()


async def test_a_client_that_asks_before_a_body_too_large_is_refused_at_once(
    short_tmp: Path,
) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        reply = await served.caller.raw(
            b"POST /v1/claims HTTP/1.1\r\n" + LAST + b"Expect: 100-continue\r\n"
            b"Content-Length: 999999\r\n\r\n"
        )
        assert (413, "too-large") == (status_of(reply), code_of(reply))


async def test_another_expectation_is_refused(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        reply = await served.caller.raw(
            b"POST /v1/claims HTTP/1.1\r\n" + LAST + b"Expect: wonders\r\nContent-Length: 9\r\n\r\n"
        )
        assert (417, "expectation-failed") == (status_of(reply), code_of(reply))


async def test_head_is_get_without_a_body(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        for path in (b"/v1/pools", b"/healthz", b"/v1/events?follow=1"):
            reply = await served.caller.raw(b"HEAD " + path + b" HTTP/1.1\r\n" + LAST + b"\r\n")
            head, _, body = reply.partition(b"\r\n\r\n")
            assert (200, b"") == (status_of(head), body), path


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//v1/claims",
        "/v1/../v1/claims",
        "/v1/./claims",
        "/v1/claims/",
        "/v1/pools//",
        "/V1/claims",
        "/v1/claims/x/bless",
        "/v1/pools/web/stop",
        "/v1/explain/webs/web",
        "/%2e%2e/etc/passwd",
        "/../../etc/passwd",
        "*",
    ],
)
async def test_an_address_that_does_not_exist_is_404(short_tmp: Path, path: str) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        method = b"OPTIONS" if path == "*" else b"GET"
        reply = await served.caller.raw(
            method + b" " + path.encode() + b" HTTP/1.1\r\n" + LAST + b"\r\n"
        )
        assert (404, "not-found") == (status_of(reply), code_of(reply))


@pytest.mark.parametrize("name", ["%00", "%ff", "a%0d%0ab", "%2e%2e", "a%2fb", "%F0%9F%92%A9"])
async def test_binary_in_a_name_is_no_such_thing(short_tmp: Path, name: str) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        for kind in ("pools", "resources", "claims"):
            target = f"GET /v1/{kind}/{name} HTTP/1.1\r\n".encode()
            reply = await served.caller.raw(target + LAST + b"\r\n")
            assert 404 == status_of(reply)
            assert code_of(reply).startswith("n")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/claims", "GET, HEAD, POST"),
        ("POST", "/v1/claims/x", "DELETE, GET, HEAD"),
        ("GET", "/v1/claims/x/renew", "POST"),
        ("DELETE", "/v1/pools/web", "GET, HEAD"),
        ("PATCH", "/v1/status", "GET, HEAD"),
    ],
)
async def test_a_method_that_does_not_fit_is_405_with_what_does(
    short_tmp: Path, method: str, path: str, allowed: str
) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        reply = await served.caller.ask(method, path)
        assert (405, "method-not-allowed") == (reply.status, reply.json["code"])
        assert allowed == reply.headers["Allow"]


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Type: text/plain\r\n",
        b"Content-Type: application/x-www-form-urlencoded\r\n",
        b"Content-Type: application/json; charset=latin-1\r\n",
        b"Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
    ],
)
async def test_a_body_that_is_not_plain_json_is_415(short_tmp: Path, headers: bytes) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        reply = await served.caller.raw(post(CLAIM, headers))
        assert (415, "unsupported-media-type") == (status_of(reply), code_of(reply))


@pytest.mark.parametrize("headers", [b"", b"Content-Type: Application/JSON; charset=UTF-8\r\n"])
async def test_json_is_taken_with_and_without_its_type(short_tmp: Path, headers: bytes) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        assert 201 == status_of(await served.caller.raw(post(CLAIM, headers)))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v1/claims?stat=bound", "did you mean 'state'?"),
        ("/v1/claims?state=bond", "did you mean 'bound'?"),
        ("/v1/claims?state=bound&state=ended", "write it once"),
        ("/v1/claims?limit=-1", "whole number"),
        ("/v1/claims?limit=99999999", "10000"),
        ("/v1/claims?label==x", "NAME=VALUE"),
        ("/v1/claims/c-x?wait=6m", "wait=5m"),
        ("/v1/claims/c-x?wait=soon", "no duration"),
        ("/v1/resources?state=gone", "no state"),
        ("/v1/events?follow=maybe", "follow=1"),
        ("/v1/events?since=x", "whole number"),
    ],
)
async def test_a_bad_query_is_named_with_its_remedy(short_tmp: Path, path: str, said: str) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        reply = await served.caller.get(path)
        assert (422, "invalid") == (reply.status, reply.json["code"])
        assert said in reply.json["detail"]


async def test_a_query_that_is_no_text_is_malformed(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        for query in (b"pool=%ff", b"&".join([b"label=a"] * 60)):
            reply = await served.caller.raw(
                b"GET /v1/claims?" + query + b" HTTP/1.1\r\n" + LAST + b"\r\n"
            )
            assert (400, "malformed") == (status_of(reply), code_of(reply))


async def test_an_absolute_address_is_understood(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        reply = await served.caller.raw(
            b"GET http://stoker/v1/pools?limit=1 HTTP/1.1\r\n" + LAST + b"\r\n"
        )
        assert 200 == status_of(reply)
