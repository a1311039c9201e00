"""Holds the first process of each part by its pidfd and tells at once when one ends.

Lives in the event loop of the process driver; only what may wait (looking in /proc for processes
of an earlier run) goes to its threads, many parts in one job.
"""

import asyncio
import logging
from collections.abc import Iterable

from ..driver import Changed, DriverError
from ..ids import PartId
from .process_leader import Leader
from .procfs import Identity
from .workers import Workers

log = logging.getLogger(__name__)


class ProcessWatch:
    """One pidfd for each part that is held, and no more."""

    def __init__(self, workers: Workers, changed: Changed) -> None:
        self._workers = workers
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._held: dict[PartId, Leader] = {}
        self._watched: set[PartId] = set()
        self._read: dict[PartId, int] = {}
        self._wanted: dict[PartId, Identity] = {}
        self._holding: asyncio.Task[None] | None = None
        self._unreaped: list[Leader] = []

    async def close(self) -> None:
        if self._holding is not None:
            self._holding.cancel()
            await asyncio.gather(self._holding, return_exceptions=True)
        self._watched.clear()
        for part in list(self._held):
            self.drop(part)
        self.reap_left()

    def held(self, part: PartId) -> Leader | None:
        return self._held.get(part)

    def hold(self, part: PartId, leader: Leader) -> None:
        """Takes over a process that was just started or found again."""
        known = self._held.get(part)
        if known is not None and known.identity == leader.identity:
            leader.close()
            return
        self._let_go(part)
        self._held[part] = leader
        self._start_reading(part)

    def hold_from_thread(self, part: PartId, leader: Leader) -> None:
        """The same, for a job whose caller may have been cancelled meanwhile."""
        try:
            self._loop.call_soon_threadsafe(self.hold, part, leader)
        except RuntimeError:  # the loop is closed: the daemon has ended
            leader.close()

    def watch(self, part: PartId, identity: Identity | None) -> None:
        """From now on the end of the part's process is told. `identity`: that of an earlier run."""
        self._watched.add(part)
        if part in self._held:
            self._start_reading(part)
        elif identity is not None:
            self._wanted[part] = identity
            if self._holding is None:
                name = "process driver: processes of an earlier run"
                self._holding = self._loop.create_task(self._hold_wanted(), name=name)

    def drop(self, part: PartId) -> None:
        """Ends the watch, and gives the number of an ended process back to the host."""
        self._watched.discard(part)
        self._wanted.pop(part, None)
        self._let_go(part)

    def reap_left(self) -> None:
        """Children that were let go while they ran, and have ended since."""
        self._unreaped = [leader for leader in self._unreaped if not leader.reap()]

    def _let_go(self, part: PartId) -> None:
        self._stop_reading(part)
        leader = self._held.pop(part, None)
        if leader is None:
            return
        if not leader.reap():
            self._unreaped.append(leader)
        leader.close()

    async def _hold_wanted(self) -> None:
        try:
            while self._wanted:
                wanted, self._wanted = self._wanted, {}
                try:
                    found = await self._workers.run(_find, wanted.items())
                except (OSError, DriverError) as error:
                    log.warning("processes of an earlier run cannot be watched: %s", error)
                    return
                for part, leader in found:
                    self._take_found(part, leader)
        finally:
            self._holding = None

    def _take_found(self, part: PartId, leader: Leader | None) -> None:
        if part not in self._watched:  # forgotten meanwhile
            if leader is not None:
                leader.close()
        elif leader is not None:
            self.hold(part, leader)
        elif part not in self._held:
            self._changed(part)

    def _start_reading(self, part: PartId) -> None:
        descriptor = self._held[part].descriptor
        if part in self._watched and part not in self._read and descriptor is not None:
            self._loop.add_reader(descriptor, self._ended, part)
            self._read[part] = descriptor

    def _stop_reading(self, part: PartId) -> None:
        descriptor = self._read.pop(part, None)
        if descriptor is not None:
            self._loop.remove_reader(descriptor)

    def _ended(self, part: PartId) -> None:
        self._stop_reading(part)
        # Kept: until the part is removed its zombie holds the number of the group.
        self._changed(part)


def _find(wanted: Iterable[tuple[PartId, Identity]]) -> list[tuple[PartId, Leader | None]]:
    return [(part, Leader.hold(identity)) for part, identity in wanted]
