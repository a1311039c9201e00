"""Time, from one injected place.

`now()` is the daemon's steady time: seconds since the epoch that never jump. It follows
CLOCK_BOOTTIME, so a suspended host lets time pass and a stepped wall clock does not. Everything
that is compared (expiries, deadlines, ages) is in steady time; people are shown `to_wall`.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

Seconds = float


class Clock(Protocol):
    def now(self) -> Seconds:
        """Steady seconds since the epoch."""
        ...

    def to_wall(self, steady: Seconds) -> Seconds:
        """The same moment on the clock on the wall as it is set now, for people."""
        ...


class SteadyClock:
    """The clock of a host, continued over restarts of the daemon.

    `offset` is steady time minus CLOCK_BOOTTIME. Within one boot it is kept from the first run
    on (the ledger remembers it), so stepping the wall clock while the daemon is down changes
    nothing either. After a reboot it is taken anew from the wall clock, but time never goes back
    behind the last moment that the ledger has seen.
    """

    def __init__(
        self,
        offset: Seconds,
        *,
        boottime: Callable[[], Seconds] | None = None,
        wall: Callable[[], Seconds] = time.time,
    ) -> None:
        self.offset = offset
        self._boottime = boottime or _boottime
        self._wall = wall

    def now(self) -> Seconds:
        return self._boottime() + self.offset

    def to_wall(self, steady: Seconds) -> Seconds:
        return steady + self.step()

    def step(self) -> Seconds:
        """How far the wall clock has been moved away from steady time."""
        return self._wall() - self.now()


def resume_clock(
    *,
    boot_id: str,
    known_boot_id: str | None,
    known_offset: Seconds,
    last_seen: Seconds,
    boottime: Callable[[], Seconds] | None = None,
    wall: Callable[[], Seconds] = time.time,
) -> SteadyClock:
    """The clock to go on with, from what the ledger remembers of the last run."""
    up = (boottime or _boottime)()
    if known_boot_id == boot_id:
        offset = known_offset
    else:
        offset = max(wall(), last_seen) - up
    return SteadyClock(offset, boottime=boottime, wall=wall)


def read_boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _boottime() -> Seconds:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
