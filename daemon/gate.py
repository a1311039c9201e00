"""Who may pass: nobody before the fleet is open, and nobody once the daemon stops.

Early requests are parked for a while, so that restarting the daemon is a pause to its callers and
no error.
"""

import asyncio
from collections.abc import Callable

from ..pools.requests import Code, Refusal
from .facade import Core
from .problems_http import HttpCode, Problem

MAX_PARKED = 256
PARK_FOR = 30.0
"""Seconds an early request waits for the daemon to be ready."""


class Gate:
    """Gives requests the core, or tells them why they cannot have it."""

    def __init__(self, *, max_parked: int = MAX_PARKED, park_for: float = PARK_FOR) -> None:
        self.core: Core | None = None
        self.stopping = False
        self.parked = 0
        self._max_parked = max_parked
        self._park_for = park_for
        self._changed = asyncio.Event()
        self.to_cut: set[Callable[[], object]] = set()
        """Called when the gate closes: they wait for long."""

    def open(self, core: Core) -> None:
        self.core = core
        self._changed.set()

    def close(self) -> None:
        """From now on everything is refused, and what waits for long is cut short. Idempotent."""
        self.stopping = True
        self._changed.set()
        for cut in list(self.to_cut):
            cut()

    def on_close(self, cut: Callable[[], object]) -> Callable[[], None]:
        """`cut` is called when the gate closes; call what is returned when it no longer matters."""
        self.to_cut.add(cut)
        return lambda: self.to_cut.discard(cut)

    async def enter(self) -> Core:
        """The core, as soon as there is one. Raises `Refusal` or `Problem`."""
        if self.core is None and not self.stopping:
            await self._park()
        if self.stopping:
            raise stopping()
        assert self.core is not None
        return self.core

    async def _park(self) -> None:
        if self.parked >= self._max_parked:
            raise Problem(
                HttpCode.BUSY, f"{self.parked} requests wait for the daemon to start; try again."
            )
        self.parked += 1
        try:
            async with asyncio.timeout(self._park_for):
                await self._changed.wait()
        except TimeoutError:
            raise Refusal(
                Code.STARTING,
                "The daemon is still starting: it reads its ledger and looks at what exists."
                " 'GET /readyz' says what is missing; try again.",
                retry_after=2.0,
            ) from None
        finally:
            self.parked -= 1


def stopping() -> Refusal:
    return Refusal(
        Code.STOPPING,
        "The daemon is stopping; what is bound stays. Try again when it runs.",
        retry_after=2.0,
    )
