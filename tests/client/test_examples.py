"""The examples of docs/client.md run."""

import re
import textwrap
from pathlib import Path

import pytest

from stoker.client import Denied
from tests.conftest import ROOT

from .documents import a_claim, a_problem
from .scripted_server import Answer, ScriptedServer, chunked, reply

PAGE = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
SYNC, ASYNC, EVENTS, KEYED, WAITING, CHECKED = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def said(
    server: ScriptedServer,
    short_tmp: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> "Said":
    monkeypatch.setenv("STOKER_SOCKET", str(short_tmp / "s"))
    return Said(server, capsys)


class Said:
    """Runs an example against these answers; what it printed."""

    def __init__(self, server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
        self._server = server
        self._capsys = capsys

    def by(self, example: str, *answers: Answer) -> str:
        self._server.answers = list(answers)
        exec(example, {})
        return self.printed()

    def printed(self) -> str:
        return self._capsys.readouterr().out

    @property
    def methods(self) -> list[str]:
        return [seen.method for seen in self._server.seen]


BOUND = reply(201, a_claim())
RELEASED = reply(200, a_claim(state="ended", endedBecause="released"))


def test_the_first_example_prints_the_url(said: Said) -> None:
    assert "http://x\n" == said.by(SYNC, BOUND, RELEASED)
    assert ["POST", "DELETE"] == said.methods


def test_the_example_for_asyncio_prints_the_url(said: Said) -> None:
    program = "import asyncio\nasync def main():\n" + textwrap.indent(ASYNC, "    ")
    assert "http://x\n" == said.by(f"{program}\nasyncio.run(main())", BOUND, RELEASED)
    assert ["POST", "DELETE"] == said.methods


def test_the_example_of_events_prints_what_comes(said: Said) -> None:
    ended = reply(403, a_problem(403, "denied"))
    stream = chunked(b'{"seq": 8, "kind": "claim.bound", "claim": "c-1"}\n', end=False)
    with pytest.raises(Denied):
        said.by(EVENTS, reply(200, {"seq": 7}), stream, ended)
    assert "8 claim.bound c-1\n" == said.printed()


def test_the_example_with_a_key_says_why_not_and_when_again(said: Said) -> None:
    full = reply(429, a_problem(429, "queue-full", retryAfter=1.5))
    assert "not now (queue-full): so; again in 1.5 s\n" == said.by(KEYED, full)


def test_the_example_of_waiting_prints_the_place_the_estimate_and_why(said: Said) -> None:
    why = {"code": "no-capacity", "detail": "all are in use", "limit": "size.max"}
    waiting = reply(202, a_claim(state="pending", position=2, eta="4s", waitingFor=why))
    printed = said.by(WAITING, waiting, reply(200, a_claim()), RELEASED)
    assert "2 4.0 all are in use\nhttp://x\n" == printed


def test_the_example_of_long_work_is_told_when_the_claim_is_lost(said: Said) -> None:
    expired = reply(200, a_claim(state="ended", endedBecause="expired"))
    printed = said.by(CHECKED, BOUND, expired)
    assert printed.startswith("0 http://x\n1 http://x\n2 http://x\nto be done again: The claim c-1")
