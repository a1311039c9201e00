"""Calls at a moment of steady time, in one heap with one sleep.

The loop's own timers stand still while the host is suspended; steady time does not. So no sleep
is longer than `LONGEST_NAP`, and after a resume everything that is due is called at once.
"""

import asyncio
import heapq
import logging
from collections.abc import Callable

from .clock import Clock

log = logging.getLogger(__name__)

LONGEST_NAP = 15.0
FEW = 64
"""So many cancelled timers are not worth a clean-up."""


class Timer:
    __slots__ = ("_owner", "call", "when")

    def __init__(self, when: float, call: Callable[[], None], owner: "Timers") -> None:
        self.when = when
        self.call: Callable[[], None] | None = call
        """None once it was called or cancelled."""
        self._owner = owner

    def cancel(self) -> None:
        if self.call is not None:
            self.call = None
            self._owner.cancelled()


class Timers:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Timer]] = []
        """By time, then in the order in which they were set."""
        self._cancelled = 0
        self._seq = 0
        self._nap: asyncio.TimerHandle | None = None
        self._closed = False

    def __len__(self) -> int:
        """How many are kept, cancelled ones included."""
        return len(self._heap)

    def at(self, when: float, call: Callable[[], None]) -> Timer:
        """Calls back at steady time `when`, in the event loop; at once if that is past."""
        self._seq += 1
        timer = Timer(when, call, self)
        if not self._closed:
            heapq.heappush(self._heap, (when, self._seq, timer))
            if self._heap[0][2] is timer:
                self._sleep()
        return timer

    def cancelled(self) -> None:
        """A timer's word that it was cancelled. When most are, they are swept out.

        A renewed claim leaves one behind each time; without this they would stay for hours.
        """
        self._cancelled += 1
        if self._cancelled > max(FEW, len(self._heap) // 2):
            self._heap = [entry for entry in self._heap if entry[2].call is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def close(self) -> None:
        """Nothing is called from now on."""
        self._closed = True
        self._heap.clear()
        if self._nap is not None:
            self._nap.cancel()
            self._nap = None

    def _sleep(self) -> None:
        if self._nap is not None:
            self._nap.cancel()
            self._nap = None
        while self._heap and self._heap[0][2].call is None:
            heapq.heappop(self._heap)
            self._cancelled = max(0, self._cancelled - 1)
        if self._heap and not self._closed:
            wait = min(LONGEST_NAP, max(0.0, self._heap[0][0] - self._clock.now()))
            self._nap = asyncio.get_running_loop().call_later(wait, self._ring)

    def _ring(self) -> None:
        now = self._clock.now()
        while self._heap and self._heap[0][0] <= now:
            timer = heapq.heappop(self._heap)[2]
            call, timer.call = timer.call, None
            if call is None:
                self._cancelled = max(0, self._cancelled - 1)
                continue
            try:
                call()
            except Exception:
                # One defect must not keep every other claim from ending on time.
                log.exception("a timer's call failed; the others go on")
        self._sleep()
