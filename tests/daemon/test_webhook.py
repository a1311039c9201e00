"""Notices of pushes, as Git hosts send them: they make the daemon look, and tell strangers nothing."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from stoker.config.settings import Address
from stoker.daemon import webhook
from stoker.daemon.server import SocketServer
from stoker.daemon.shared_secrets import NoSecret, find_secret, read_secret
from stoker.daemon.webhook import LARGEST, is_signed
from stoker.pools.ids import Ids
from tests.daemon.harness import SOON, Served, a_server, some_settings
from tests.rig import a_box_pool

SECRET = b"a secret that both know"
BODY = json.dumps({"ref": "refs/heads/main", "after": "0" * 40}).encode()


def digest(body: bytes = BODY, secret: bytes = SECRET) -> str:
    return hmac.new(secret, body, hashlib.sha256).hexdigest()


SIGNED: dict[str, Mapping[str, str]] = {
    "GitHub": {"X-Hub-Signature-256": f"sha256={digest()}", "X-GitHub-Event": "push"},
    "GitLab": {"X-Gitlab-Token": SECRET.decode(), "X-Gitlab-Event": "Push Hook"},
    "Gitea": {"X-Gitea-Signature": digest(), "X-Gitea-Event": "push"},
    "Forgejo": {"X-Forgejo-Signature": digest().upper()},
}
UNSIGNED: dict[str, Mapping[str, str]] = {
    "nothing": {},
    "another secret": {"X-Hub-Signature-256": f"sha256={digest(secret=b'x' * 32)}"},
    "another body": {"X-Hub-Signature-256": f"sha256={digest(b'{}')}"},
    "an empty signature": {"X-Hub-Signature-256": "sha256="},
    "an empty token": {"X-Gitlab-Token": ""},
    "a wrong token": {"X-Gitlab-Token": SECRET.decode()[:-1]},
    "letters beyond ASCII": {"X-Gitlab-Token": "é" * 16, "X-Gitea-Signature": "é"},
    "SHA-1": {"X-Hub-Signature": hmac.new(SECRET, BODY, "sha1").hexdigest()},
}


@dataclass
class Scene:
    served: Served
    secret: Path
    session: aiohttp.ClientSession
    looks: list[float] = field(default_factory=list[float])
    looking: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: a look ends at once."""

    async def sync(self, _within: float) -> bool:
        self.looks.append(asyncio.get_running_loop().time())
        await self.looking.wait()
        return True

    async def post(
        self, headers: Mapping[str, str], body: bytes = BODY, method: str = "POST"
    ) -> tuple[int, bytes]:
        url = f"http://127.0.0.1:{self.served.server.webhook_port}/any/path"
        async with self.session.request(method, url, data=body, headers=headers) as response:
            return response.status, await response.read()

    async def counted(self, outcome: str) -> float:
        text, _ = await self.served.metrics.render("")
        name = f'stoker_webhook_requests_total{{outcome="{outcome}"}} '
        found = [line for line in text.decode().splitlines() if line.startswith(name)]
        return float(found[0].rpartition(" ")[2]) if found else 0.0


@asynccontextmanager
async def a_webhook(folder: Path) -> AsyncGenerator[Scene]:
    secret = folder / "secret"
    secret.write_bytes(SECRET + b"\n")
    address = Address("127.0.0.1", 0)
    async with (
        a_server(
            folder, a_box_pool(min=0), webhook_address=address, webhook_secret_file=secret
        ) as served,
        aiohttp.ClientSession() as session,
    ):
        scene = Scene(served, secret, session)
        running = asyncio.create_task(served.server.pushes.run(scene.sync))
        try:
            yield scene
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def said_to(scene: Scene, header: str, body: bytes) -> bytes:
    """The first line of what is answered."""
    port = scene.served.server.webhook_port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    token = SECRET.decode()
    head = f"POST / HTTP/1.1\r\nHost: x\r\nX-Gitlab-Token: {token}\r\n{header}\r\n\r\n"
    try:
        writer.write(head.encode() + body)
        async with asyncio.timeout(SOON):
            return await reader.readline()
    finally:
        writer.close()


async def until_looked(scene: Scene, times: int) -> None:
    async with asyncio.timeout(SOON):
        while len(scene.looks) < times:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("host", SIGNED)
async def test_a_signed_notice_is_accepted_and_makes_the_daemon_look(
    short_tmp: Path, host: str
) -> None:
    async with a_webhook(short_tmp) as scene:
        assert await scene.post(SIGNED[host]) == (202, b"")
        await until_looked(scene, 1)
        assert await scene.counted("accepted") == 1


@pytest.mark.parametrize("kind", UNSIGNED)
async def test_what_is_not_signed_is_denied_without_a_word_and_nothing_is_looked_for(
    short_tmp: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_webhook(short_tmp) as scene:
        for _ in range(5):
            assert await scene.post(UNSIGNED[kind]) == (401, b"")
        assert await scene.counted("denied") == 5
        assert scene.looks == []
    assert caplog.text.count("was denied") == 1
    assert SECRET.decode() not in caplog.text


async def test_many_notices_make_one_look_and_one_more_for_those_that_came_meanwhile(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "LOOK_EVERY", 0.0)
    async with a_webhook(short_tmp) as scene:
        await scene.post(SIGNED["GitHub"])
        await until_looked(scene, 1)
        answers = await asyncio.gather(*[scene.post(SIGNED["Gitea"]) for _ in range(12)])
        assert {status for status, _ in answers} == {202}  # although it still looks
        scene.looking.set()
        await until_looked(scene, 2)
        assert await scene.post({}) == (401, b"")
        assert len(scene.looks) == 2


async def test_looks_that_follow_each_other_keep_a_distance(short_tmp: Path) -> None:
    async with a_webhook(short_tmp) as scene:
        scene.looking.set()
        for _ in range(3):
            await scene.post(SIGNED["GitLab"])
            await asyncio.sleep(0.02)
        await until_looked(scene, 2)
        assert scene.looks[1] - scene.looks[0] > 0.9 * webhook.LOOK_EVERY


async def test_other_methods_and_bodies_without_end_are_refused(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "BODY_WITHIN", 0.1)
    async with a_webhook(short_tmp) as scene:
        assert await scene.post(SIGNED["GitHub"], method="GET") == (405, b"")
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        assert b"413" in await said_to(scene, f"Content-Length: {LARGEST + 1}", b"x")
        assert b"413" in await said_to(scene, "Transfer-Encoding: chunked", chunk * 17)
        assert b"408" in await said_to(scene, "Content-Length: 10", b"x")
        assert b"400" in await said_to(scene, "Transfer-Encoding: chunked", b"nonsense\r\n")
        assert scene.looks == []


async def test_the_api_is_not_served_there(short_tmp: Path) -> None:
    async with a_webhook(short_tmp) as scene:
        url = f"http://127.0.0.1:{scene.served.server.webhook_port}"
        for path in ("/v1/status", "/metrics", "/healthz", "/openapi.json"):
            async with scene.session.get(url + path) as response:
                assert (response.status, await response.read()) == (405, b"")


async def test_another_secret_is_taken_without_a_restart_and_none_is_said(
    short_tmp: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_webhook(short_tmp) as scene:
        scene.secret.write_text("another one, longer than the first")
        assert (await scene.post(SIGNED["GitHub"]))[0] == 401
        scene.secret.unlink()
        assert await scene.post(SIGNED["GitHub"]) == (503, b"")
        assert "cannot be read (no such file or directory)" in caplog.text
        scene.secret.write_bytes(SECRET)
        assert (await scene.post(SIGNED["GitHub"]))[0] == 202


@pytest.mark.parametrize("content", [b"", b"short", b"two lines of\nsome length", b"x" * 5000])
async def test_a_start_without_a_good_secret_says_what_to_do(
    short_tmp: Path, content: bytes
) -> None:
    secret = short_tmp / "secret"
    secret.write_bytes(content)
    settings = some_settings(
        short_tmp, webhook_address=Address("127.0.0.1", 0), webhook_secret_file=secret
    )
    with pytest.raises(NoSecret, match="must hold one line of 16 to 4096 bytes; make one with"):
        await SocketServer(settings, Ids(lambda: 0.0)).start()


def test_the_secret_may_be_a_credential_of_the_unit(tmp_path: Path) -> None:
    (tmp_path / "stoker-webhook-secret").write_bytes(SECRET)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}

    found = find_secret(None, "stoker-webhook-secret", environ)
    assert found is not None
    assert read_secret(found) == SECRET
    assert find_secret(tmp_path / "x", "stoker-webhook-secret", environ) == tmp_path / "x"
    assert find_secret(None, "stoker-notify-secret", environ) is None
    assert find_secret(None, "stoker-webhook-secret", {}) is None


def test_no_header_is_no_proof() -> None:
    assert not is_signed({}, SECRET, digest())
    assert is_signed({"X-Hub-Signature-256": f"sha256={digest()}"}, SECRET, digest())
