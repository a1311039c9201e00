from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.scripted_server import ScriptedServer


@pytest.fixture
def server(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """A scripted daemon at the socket that the environment names."""
    monkeypatch.setenv("STOKER_SOCKET", str(short_tmp / "s"))
    with ScriptedServer(short_tmp / "s") as running:
        yield running
