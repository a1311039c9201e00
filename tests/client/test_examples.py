"""The examples of docs/client.md run."""

import asyncio
import re
import textwrap
from pathlib import Path

import pytest

from tests.conftest import ROOT

from .documents import a_claim
from .scripted_server import ScriptedServer, reply

PAGE = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
SYNC, ASYNC = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def answers(server: ScriptedServer, short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOKER_SOCKET", str(short_tmp / "s"))
    server.answers = [reply(201, a_claim()), reply(200, a_claim(state="ended"))]


def test_the_first_example_prints_the_url(
    answers: None, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    exec(SYNC, {})
    assert "http://x\n" == capsys.readouterr().out
    assert ["POST", "DELETE"] == [seen.method for seen in server.seen]


def test_the_example_for_asyncio_prints_the_url(
    answers: None, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    scope: dict[str, object] = {}
    exec("async def main():\n" + textwrap.indent(ASYNC, "    "), scope)
    asyncio.run(scope["main"]())  # type: ignore[operator]
    assert "http://x\n" == capsys.readouterr().out
    assert ["POST", "DELETE"] == [seen.method for seen in server.seen]
