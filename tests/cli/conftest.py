import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.real_daemon import RealDaemon, a_daemon
from tests.client.scripted_server import ScriptedServer


@pytest.fixture
def server(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """A scripted daemon at the socket that the environment names."""
    monkeypatch.setenv("STOKER_SOCKET", str(short_tmp / "s"))
    with ScriptedServer(short_tmp / "s") as running:
        yield running


@pytest.fixture(scope="module")
def daemon() -> Iterator[RealDaemon]:
    """One real daemon for all tests of a module; what each test claims, it tells by its reason."""
    folder = Path(tempfile.mkdtemp(prefix="stk-"))
    try:
        with a_daemon(folder) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)
