"""Calls at a moment of steady time, in one heap with one sleep.

The loop's own timers stand still while the host is suspended; steady time does not. So no sleep
is longer than `LONGEST_NAP`, and after a resume everything that is due is called at once.
"""

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

from .clock import Clock

LONGEST_NAP = 15.0


@dataclass(slots=True, order=True)
class Timer:
    when: float
    seq: int
    call: Callable[[], None] | None = field(compare=False)

    def cancel(self) -> None:
        self.call = None


class Timers:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[Timer] = []
        self._seq = 0
        self._nap: asyncio.TimerHandle | None = None

    def at(self, when: float, call: Callable[[], None]) -> Timer:
        """Calls back at steady time `when`, in the event loop; at once if that is past."""
        self._seq += 1
        timer = Timer(when, self._seq, call)
        heapq.heappush(self._heap, timer)
        if self._heap[0] is timer:
            self._sleep()
        return timer

    def close(self) -> None:
        self._heap.clear()
        if self._nap is not None:
            self._nap.cancel()
            self._nap = None

    def _sleep(self) -> None:
        if self._nap is not None:
            self._nap.cancel()
            self._nap = None
        while self._heap and self._heap[0].call is None:
            heapq.heappop(self._heap)
        if self._heap:
            wait = min(LONGEST_NAP, max(0.0, self._heap[0].when - self._clock.now()))
            self._nap = asyncio.get_running_loop().call_later(wait, self._ring)

    def _ring(self) -> None:
        now = self._clock.now()
        while self._heap and self._heap[0].when <= now:
            timer = heapq.heappop(self._heap)
            if timer.call is not None:
                timer.call()
        self._sleep()
