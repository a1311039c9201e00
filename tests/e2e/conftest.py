"""A real daemon for each test, and nothing of it left afterwards."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.daemons import RealDaemon


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[RealDaemon]:
    real = RealDaemon(tmp_path)
    try:
        yield real
    finally:
        real.clear()
