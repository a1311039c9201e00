"""A receiver is told of what became of each configuration: signed, in order, at least once."""

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from stoker.config.settings import NOTIFIED
from stoker.daemon import notifying
from stoker.daemon.notifying import CURSOR, GIVE_UP_AFTER, Notifier, Receiver
from stoker.daemon.signatures import sign
from stoker.pools.sealing import Sealer
from stoker.pools.store import NewEvent, StoreError
from stoker.pools.stores.sqlite import SqliteStore
from tests.conftest import ROOT
from tests.daemon.harness import SOON

SECRET = b"a secret that both know"
SEALER = Sealer(b"k" * 32)


def the_documented_check() -> Callable[[bytes, str, bytes], bool]:
    """The example of docs/webhooks.md, as a receiver would run it."""
    page = (ROOT / "docs" / "webhooks.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(found[1], names)
    check: Callable[[bytes, str, bytes], bool] = names["is_from_stoker"]
    return check


is_from_stoker = the_documented_check()


@dataclass
class Told:
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Hook:
    """A receiver that answers as the test says."""

    url: str = ""
    told: list[Told] = field(default_factory=list[Told])
    statuses: list[int] = field(default_factory=list[int])
    """What it answers next; 204 when there is nothing more."""
    hangs: bool = False

    async def answer(self, request: web.Request) -> web.Response:
        self.told.append(Told(dict(request.headers), await request.read()))
        if self.hangs:
            await asyncio.sleep(60)
        status = self.statuses.pop(0) if self.statuses else 204
        headers = {"Location": "/elsewhere"} if status == 302 else {}
        return web.Response(status=status, headers=headers)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(SOON):
            while len(self.told) < count:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def a_hook() -> AsyncGenerator[Hook]:
    hook = Hook()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", hook.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    hook.url = f"http://ada:p4ssw0rd@127.0.0.1:{port}/T0KEN"
    try:
        yield hook
    finally:
        await runner.cleanup()


class Scene:
    """One life of a ledger, with somebody who tells of it."""

    def __init__(self, folder: Path, hook: Hook) -> None:
        (folder / "state").mkdir(mode=0o700, exist_ok=True)
        (folder / "secret").write_bytes(SECRET)
        self.store = SqliteStore.open(folder / "state", sealer=SEALER, wall=time.time)
        image = self.store.load()
        self.outcomes: list[str] = []
        self.ahead = 0.0
        """Seconds that its clock goes before ours."""
        self.notifier = Notifier(
            Receiver(hook.url, folder / "secret", frozenset(NOTIFIED)),
            self.store,
            position=image.cursors.get(CURSOR, image.last_event),
            count=self.outcomes.append,
            wall=lambda: time.time() + self.ahead,
            chance=lambda: 0.0,
        )
        self.task = asyncio.create_task(self.notifier.run())

    async def happen(self, kind: str, reason: str = "") -> None:
        transaction = self.store.transaction()
        transaction.add_event(NewEvent(kind, reason=reason, data={"commit": "c" * 40}))
        await self.store.commit(transaction)

    def kill(self) -> None:
        """The process ends: nothing more is written."""
        self.task.cancel()
        self.store.kill()

    async def until_kept(self, event: int) -> None:
        async with asyncio.timeout(SOON):
            while self.store.load().cursors.get(CURSOR) != event:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def telling(folder: Path, hook: Hook) -> AsyncGenerator[Scene]:
    scene = Scene(folder, hook)
    try:
        yield scene
    finally:
        scene.task.cancel()
        await asyncio.gather(scene.task, return_exceptions=True)
        await scene.store.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifying, "LONGEST_PAUSE", 0.05)


async def test_what_is_told_is_the_event_and_its_signature_fits_as_documented(
    short_tmp: Path,
) -> None:
    async with a_hook() as hook, telling(short_tmp, hook) as scene:
        await scene.happen("config.refused", "pools.yaml:3:1: it is wrong")
        await hook.until(1)

        (told,) = hook.told
        assert told.json["kind"] == told.headers["Stoker-Event"] == "config.refused"
        assert told.json["reason"] == "pools.yaml:3:1: it is wrong"
        assert told.json["data"]["commit"] == "c" * 40
        assert told.json["host"]
        assert told.headers["Stoker-Delivery"] == str(told.json["seq"])
        signature = told.headers["Stoker-Signature"]
        assert is_from_stoker(SECRET, signature, told.body)
        assert not is_from_stoker(b"another secret", signature, told.body)
        assert not is_from_stoker(SECRET, signature, told.body + b" ")
        old = re.sub(r"t=\d+", "t=1700000000", signature)
        assert not is_from_stoker(SECRET, old, told.body)
        assert not is_from_stoker(SECRET, "", told.body)
        late = sign(SECRET, told.body, int(time.time()) - 3600)
        assert not is_from_stoker(SECRET, late, told.body)


async def test_events_are_told_in_order_and_others_are_not_told(short_tmp: Path) -> None:
    async with a_hook() as hook, telling(short_tmp, hook) as scene:
        for kind in ("config.applied", "claim.bound", "config.other", "config.refused"):
            await scene.happen(kind)
        await scene.happen("config.held")
        await hook.until(3)
        kinds = [one.json["kind"] for one in hook.told]
        assert kinds == ["config.applied", "config.refused", "config.held"]
        await scene.until_kept(5)
        assert scene.notifier.facts.delivered == 5


@pytest.mark.parametrize("status", [500, 404, 302, 410])
async def test_what_is_not_taken_is_told_again_and_nothing_overtakes_it(
    short_tmp: Path, status: int
) -> None:
    async with a_hook() as hook, telling(short_tmp, hook) as scene:
        hook.statuses = [status, status]
        await scene.happen("config.applied", "first")
        await scene.happen("config.applied", "second")
        await hook.until(4)
        reasons = [one.json["reason"] for one in hook.told]
        assert reasons == ["first", "first", "first", "second"]
        await scene.until_kept(2)
        assert scene.outcomes == ["failed", "failed", "delivered", "delivered"]
        assert scene.notifier.facts.error == ""


async def test_an_outage_is_told_without_the_secrets_of_the_address(
    short_tmp: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hook = Hook(url="http://ada:p4ssw0rd@127.0.0.1:9/T0KEN")
    async with telling(short_tmp, hook) as scene:
        await scene.happen("config.applied")
        async with asyncio.timeout(SOON):
            while not scene.notifier.facts.error:
                await asyncio.sleep(0.005)
        facts = scene.notifier.facts
        assert facts.receiver == "http://127.0.0.1:9"
        assert "cannot be reached" in facts.error
        assert facts.failing_since is not None
    for secret in ("p4ssw0rd", "T0KEN", SECRET.decode()):
        assert secret not in caplog.text + str(facts)
    assert caplog.text.count("cannot be told of events") == 1


async def test_a_receiver_that_hangs_is_left_and_asked_again(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifying, "ANSWER_WITHIN", 0.1)
    async with a_hook() as hook, telling(short_tmp, hook) as scene:
        hook.hangs = True
        await scene.happen("config.applied")
        await hook.until(2)
        assert "does not answer within 0.1s" in scene.notifier.facts.error
        hook.hangs = False
        await scene.until_kept(1)


async def test_a_restart_goes_on_after_the_last_one_that_was_delivered(short_tmp: Path) -> None:
    async with a_hook() as hook:
        async with telling(short_tmp, hook) as scene:
            await scene.happen("config.applied", "before")
            await scene.until_kept(1)
            hook.hangs = True
            await scene.happen("config.applied", "under way")
            await hook.until(2)
            await scene.happen("config.refused", "meanwhile")
        hook.hangs = False
        async with telling(short_tmp, hook) as scene:
            await hook.until(4)
            reasons = [one.json["reason"] for one in hook.told]
            assert reasons == ["before", "under way", "under way", "meanwhile"]
            await scene.until_kept(3)


async def test_one_that_was_delivered_when_the_daemon_died_is_told_again(short_tmp: Path) -> None:
    async with a_hook() as hook:
        scene = Scene(short_tmp, hook)
        await scene.happen("config.held")

        async def refuse(*_: object, **__: object) -> None:
            raise StoreError("the disk is full")

        scene.store.commit = refuse  # type: ignore[method-assign]
        await hook.until(1)
        await asyncio.sleep(0.05)
        scene.kill()
        async with telling(short_tmp, hook) as again:
            await hook.until(2)
            await again.until_kept(1)
        assert hook.told[0].json["seq"] == hook.told[1].json["seq"]


async def test_who_is_told_for_the_first_time_is_not_told_of_the_past(short_tmp: Path) -> None:
    async with a_hook() as hook:
        async with telling(short_tmp, Hook(url="http://127.0.0.1:9/")) as scene:
            await scene.until_kept(0)
        store = SqliteStore.open(short_tmp / "state", sealer=SEALER, wall=time.time)
        transaction = store.transaction()
        transaction.add_event(NewEvent("config.applied", reason="while nobody looked"))
        await store.commit(transaction)
        await store.close()
        async with telling(short_tmp, hook) as scene:
            await hook.until(1)  # the place is known since the first start
            assert hook.told[0].json["reason"] == "while nobody looked"


async def test_what_nobody_took_for_a_day_is_left_out(
    short_tmp: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_hook() as hook, telling(short_tmp, hook) as scene:
        hook.statuses = [500]
        scene.ahead = GIVE_UP_AFTER + 60
        await scene.happen("config.applied", "old")
        await scene.happen("config.applied", "new")
        await hook.until(2)
        await scene.until_kept(2)
        assert scene.outcomes == ["failed", "dropped", "delivered"]
        assert "was not told of event 1" in caplog.text
