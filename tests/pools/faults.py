"""Ways to let the ledger and the drivers of a `Run` misbehave, from one moment to another."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import NoReturn

from stoker.pools.requests import Code, Refusal
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
        run.gap = self._pause

    async def _pause(self) -> None:
        gap, self.gap = self.gap, self.gap + 1
        await asyncio.sleep(self.takes)
        if self.down or self.fails(gap):
            raise StoreError("the simulated disk is full")


def codes(results: Iterable[object]) -> list[Code | None]:
    """The codes of refusals among results; None for what is no refusal."""
    return [result.code if isinstance(result, Refusal) else None for result in results]


Method = Callable[..., object]
"""Of a driver, whatever it takes and returns."""


def raising(error: BaseException) -> Method:
    """A driver's method that breaks its contract."""

    async def method(*_: object, **__: object) -> NoReturn:
        raise error

    return method


def replace_method(on: object, name: str, by: Method) -> None:
    """From now on `by` is called instead."""
    setattr(on, name, by)


async def hanging(*_: object, **__: object) -> None:
    """A driver's method that never returns."""
    await asyncio.Event().wait()


def run_apart(work: Coroutine[object, object, None]) -> None:
    """Runs it in a loop of its own, for each example of a property; other loops are left alone."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(work)
    finally:
        loop.close()
