from collections.abc import Iterator
from pathlib import Path

import pytest

from .scripted_server import ScriptedServer


@pytest.fixture
def server(short_tmp: Path) -> Iterator[ScriptedServer]:
    with ScriptedServer(short_tmp / "s") as running:
        yield running
