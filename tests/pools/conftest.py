"""What tests of the core under virtual time ask for."""

from collections.abc import AsyncIterator

import pytest

from tests.rig import Run, virtual_throttle


@pytest.fixture
async def on_the_rig(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Paces keep to virtual time, and a test that fails in the middle leaves no run behind."""
    begun: list[Run] = []
    open_really = Run.open

    async def open_and_remember(run: Run) -> None:
        begun.append(run)
        await open_really(run)

    monkeypatch.setattr(Run, "open", open_and_remember)
    with virtual_throttle():
        yield
        for run in begun:
            await run.crash()
