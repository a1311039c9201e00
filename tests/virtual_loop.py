"""An event loop whose time is a number: whoever sleeps is called when nobody else has work.

It is for simulations that touch nothing outside of their process; timers are all they wait for.
`looptime`, which the other tests use, also serves sockets and threads, at several times the cost.
"""

import asyncio
import selectors


class VirtualLoop(asyncio.SelectorEventLoop):
    """Begins at zero. Sockets, signals and threads are served only when no timer is set."""

    def __init__(self) -> None:
        self._waiting = _Waiting()
        super().__init__(self._waiting)

    def time(self) -> float:
        return self._waiting.now


class _Waiting(selectors.SelectSelector):
    """What the loop does while it has nothing to do: it lets the time pass that it was to wait."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:  # no timer: only something from outside can wake the loop
            return super().select(None)
        self.now += timeout
        return []
