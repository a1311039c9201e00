"""The keys of an issuer: fetched ahead, again, at a bounded rate, and kept for a bounded time."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from stoker.daemon import jwks as module
from stoker.daemon.jwks import LOOK_AGAIN_AFTER, MAX_DOCUMENT, KeySource, NoKeys, fetching
from stoker.daemon.tokens import BadKeys
from tests.daemon.harness import SOON
from tests.daemon.signing import an_issuer, jwks, public_jwk

virtual = pytest.mark.looptime
A, B = jwks(public_jwk("ES256", "a")), jwks(public_jwk("EdDSA", "b"))


@dataclass
class Place:
    """Where the keys are: gives a document, fails, or hangs. Counts how often it is asked."""

    document: bytes = A
    broken: bool = False
    hangs: float = 0.0
    asked: list[float] = field(default_factory=list[float])

    async def fetch(self) -> bytes:
        self.asked.append(now())
        await asyncio.sleep(self.hangs)
        if self.broken:
            raise OSError("nobody answers")
        return self.document


def now() -> float:
    return asyncio.get_running_loop().time()


@contextlib.asynccontextmanager
async def running(place: Place, **more: object) -> AsyncGenerator[KeySource]:
    source = KeySource(an_issuer(**more), place.fetch, now)
    task = asyncio.create_task(source.run())
    try:
        yield source
    finally:
        source.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def kids(source: KeySource) -> list[str]:
    return [key.kid for key in (await source.current()).keys]


@virtual
async def test_keys_are_there_before_anybody_asks_and_fetched_again_in_time() -> None:
    place = Place()
    async with running(place, refresh=600.0) as source:
        await asyncio.sleep(1)
        first = await source.current()
        await asyncio.sleep(1200)
        assert [0, 600, 1200] == [round(at) for at in place.asked]
        assert await source.current() is first, "the same document stays the same set"
        place.document = B
        await asyncio.sleep(600)
        assert ["b"] == await kids(source)


@virtual
async def test_who_comes_before_the_first_keys_waits_a_moment_and_is_told() -> None:
    slow = Place(hangs=1.0)
    async with running(slow) as source:
        await source.current()
        assert 1.0 == now()
    hanging = Place(hangs=1000.0)
    async with running(hanging) as source:
        began = now()
        with pytest.raises(NoKeys, match="not fetched yet"):
            await source.current()
        assert module.WAIT_WITHIN == now() - began
        assert 1 == len(hanging.asked)


@virtual
async def test_strange_keys_lead_to_one_look_in_a_while_however_many_come() -> None:
    place = Place()
    async with running(place, refresh=86400.0) as source:
        known = await source.current()
        for _ in range(1000):
            assert await source.newer(known) is known
        assert 1 == len(place.asked)
        await asyncio.sleep(LOOK_AGAIN_AFTER)
        place.document = B
        found = await asyncio.gather(*[source.newer(known) for _ in range(100)])
        assert {found[0]} == set(found)
        assert found[0] is not known
        assert 2 == len(place.asked)


@virtual
async def test_keys_that_cannot_be_fetched_again_count_for_a_bounded_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    place = Place()
    async with running(place, refresh=600.0, max_stale=3600.0) as source:
        await source.current()
        place.broken = True
        await asyncio.sleep(3590)
        await source.current()
        assert "nobody answers" == source.error
        await asyncio.sleep(20)
        with pytest.raises(NoKeys, match="too old"):
            await source.current()
        assert 3600 < source.facts().age < 3700
        assert 1 == sum("cannot be read" in record.getMessage() for record in caplog.records)
        place.broken = False
        await asyncio.sleep(module.LONGEST_RETRY)
        await source.current()
        assert "" == source.facts().error
    pauses = [two - one for one, two in zip(place.asked[1:], place.asked[2:], strict=False)]
    assert max(pauses) <= 600.0
    assert 2.0 == round(min(pauses))


@virtual
async def test_a_document_that_is_none_takes_no_good_keys_away() -> None:
    place = Place()
    async with running(place, refresh=60.0) as source:
        known = await source.current()
        for document in (b"<html>", b'{"keys": []}'):
            place.document = document
            await asyncio.sleep(120)
            assert await source.current() is known
            assert source.error


@virtual
async def test_a_caller_that_leaves_cancels_no_look_for_the_others() -> None:
    place = Place(hangs=1.0)
    async with running(place) as source:
        leaving = asyncio.create_task(source.current())
        staying = asyncio.create_task(source.current())
        await asyncio.sleep(0.5)
        leaving.cancel()
        assert (await staying).keys


async def test_a_file_is_read_and_a_larger_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    fetch = fetching(an_issuer(jwks=path))
    with pytest.raises(FileNotFoundError):
        await fetch()
    path.write_bytes(A)
    assert A == await fetch()
    path.write_bytes(b" " * (MAX_DOCUMENT + 1))
    with pytest.raises(BadKeys, match="larger"):
        await fetch()


async def test_an_address_is_asked_once_without_redirects_and_within_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FETCH_WITHIN", 0.2)
    let_go = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        match request.path:
            case "/keys":
                return web.Response(body=A)
            case "/elsewhere":
                raise web.HTTPFound("/keys")
            case "/large":
                return web.Response(body=b" " * (MAX_DOCUMENT + 1))
            case "/slow":
                await let_go.wait()
            case _:
                pass
        raise web.HTTPNotFound

    app = web.Application()
    app.router.add_get("/{name}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0]
    base = f"http://{host}:{port}"
    try:
        async with asyncio.timeout(SOON):
            monkeypatch.setattr(module, "FETCH_WITHIN", SOON)
            assert A == await fetching(an_issuer(jwks=f"{base}/keys"))()
            for path, why in (("elsewhere", "302"), ("none", "404"), ("large", "more than")):
                with pytest.raises(BadKeys, match=why):
                    await fetching(an_issuer(jwks=f"{base}/{path}"))()
            monkeypatch.setattr(module, "FETCH_WITHIN", 0.1)
            with pytest.raises(TimeoutError):
                await fetching(an_issuer(jwks=f"{base}/slow"))()
    finally:
        let_go.set()
        await runner.cleanup()
