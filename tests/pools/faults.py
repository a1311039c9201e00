"""Ways to let the ledger and the drivers of a `Run` misbehave, from one moment to another."""

import asyncio
from collections.abc import Callable

from stoker.pools.store import StoreError
from tests.rig import Run


class Ledger:
    """Takes the place of a run's commit delay: fails commits before or after they were written."""

    def __init__(self, run: Run, fails: Callable[[int], bool] = lambda _: False) -> None:
        """`fails` is asked with the number of the gap: even ones lie before a write, odd ones after."""
        self.fails = fails
        self.gap = 0
        self.down = False
        self.takes = 0.0003
        """Seconds of each gap."""
        run.store._writer._delay = self._pause

    async def _pause(self) -> None:
        gap, self.gap = self.gap, self.gap + 1
        await asyncio.sleep(self.takes)
        if self.down or self.fails(gap):
            raise StoreError("the simulated disk is full")


def raising(error: BaseException):
    """A driver's method that breaks its contract."""

    async def method(*args, **more):
        raise error

    return method


async def hanging(*args, **more) -> None:
    """A driver's method that never returns."""
    await asyncio.Event().wait()
