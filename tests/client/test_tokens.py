"""The token that requests carry: given, asked for each time, or read from a file anew."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stoker.client import AsyncStoker, Denied, Stoker

from .documents import a_claim
from .scripted_server import ScriptedServer, reply


def ask(kind: type[Any], path: Path, times: int = 1, **given: Any) -> None:
    if kind is Stoker:
        with Stoker(path, **given) as stoker:
            for _ in range(times):
                stoker.show("c-1")
        return

    async def run() -> None:
        async with AsyncStoker(path, **given) as stoker:
            for _ in range(times):
                await stoker.show("c-1")

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(run())


def sent(server: ScriptedServer) -> list[str | None]:
    return [seen.headers.get("authorization") for seen in server.seen]


@pytest.fixture(params=[Stoker, AsyncStoker])
def kind(request: pytest.FixtureRequest) -> type[Any]:
    found: type[Any] = request.param
    return found


def test_without_a_token_none_is_sent(server: ScriptedServer, kind: type[Any]) -> None:
    server.answers = [reply(200, a_claim())]
    ask(kind, server.path)
    ask(kind, server.path, token="")
    assert [None, None] == sent(server)


def test_a_token_is_sent_with_each_request(server: ScriptedServer, kind: type[Any]) -> None:
    server.answers = [reply(200, a_claim())]
    ask(kind, server.path, 2, token="a.b.c")
    assert ["Bearer a.b.c", "Bearer a.b.c"] == sent(server)


def test_a_token_is_asked_for_anew_for_each_request(
    server: ScriptedServer, kind: type[Any]
) -> None:
    server.answers = [reply(200, a_claim())]
    numbers = iter(range(2))
    ask(kind, server.path, 2, token=lambda: f"token{next(numbers)}")
    assert ["Bearer token0", "Bearer token1"] == sent(server)


def test_a_file_is_named_by_the_variable_and_read_anew(
    server: ScriptedServer, kind: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = [reply(200, a_claim())]
    file = tmp_path / "token"
    monkeypatch.setenv("STOKER_TOKEN_FILE", str(file))
    for token in ("one", "two"):
        file.write_text(f"{token}\n")
        ask(kind, server.path)
    ask(kind, server.path, token="mine")
    assert ["Bearer one", "Bearer two", "Bearer mine"] == sent(server)


@pytest.mark.parametrize("content", [None, "", "two words", "a\r\nX-Evil: 1", "caf\u00e9", "\x00"])
def test_a_file_without_a_token_is_told_and_nothing_is_sent(
    server: ScriptedServer,
    kind: type[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: str | None,
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("STOKER_TOKEN_FILE", str(file))
    with pytest.raises(Denied, match=r"token") as refused:
        ask(kind, server.path)
    assert "no-token" == refused.value.code
    assert not content or content not in str(refused.value)
    assert [] == server.seen


@pytest.mark.parametrize("token", ["two words", "a\nb", lambda: "a\r\nb: c"])
def test_a_token_cannot_say_another_header(
    server: ScriptedServer, kind: type[Any], token: str | Callable[[], str]
) -> None:
    with pytest.raises(Denied):
        ask(kind, server.path, token=token)
    assert [] == server.seen
