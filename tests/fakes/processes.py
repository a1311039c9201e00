"""Simulated processes: they outlive the daemon, end when they are told to, and all at a reboot."""

import asyncio
from collections.abc import Callable, Iterable, Mapping

from stoker.pools.binding import Process
from stoker.pools.processes import Tied


class SimulatedProcess:
    """What `SimulatedProcesses` gives to whoever follows a process."""

    def __init__(self, owner: "SimulatedProcesses", process: Process) -> None:
        self._owner = owner
        self._process = process
        self._ended: Callable[[], None] | None = None
        owner.held.append(self)

    def watch(self, ended: Callable[[], None]) -> None:
        self._ended = ended
        if self._process not in self._owner.alive:
            self.tell_if(self._process)

    def close(self) -> None:
        self._ended = None
        if self in self._owner.held:
            self._owner.held.remove(self)

    def tell_if(self, process: Process) -> None:
        if process == self._process and self._ended is not None:
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        if self._ended is not None:
            ended, self._ended = self._ended, None
            self.close()
            ended()


class SimulatedProcesses:
    """The `Processes` of a simulated host."""

    def __init__(self) -> None:
        self.most = 1000
        self.boot = "boot-1"
        self.alive: dict[Process, None] = {}
        self.held: list[SimulatedProcess] = []
        """Those that are followed: each would be a file descriptor."""
        self.ended_at: dict[Process, float] = {}
        self.unclear = False
        """True: nothing can be told of any process."""
        self._started = 0

    def start(self) -> Process:
        self._started += 1
        process = Process(1000 + self._started, 5000 + self._started, self.boot)
        self.alive[process] = None
        return process

    def end(self, process: Process) -> None:
        del self.alive[process]
        self.ended_at[process] = asyncio.get_running_loop().time()
        for held in list(self.held):
            held.tell_if(process)

    def reboot(self) -> None:
        """Nothing runs any more, and nobody is told: the daemon is down as well."""
        for process in list(self.alive):
            del self.alive[process]
            self.ended_at[process] = asyncio.get_running_loop().time()
        self.boot = f"{self.boot}'"

    def open(self, process: Process) -> Tied:
        """Takes hold of a process as a connection's pidfd does."""
        return SimulatedProcess(self, process)

    async def find(self, wanted: Iterable[Process]) -> Mapping[Process, Tied | None]:
        await asyncio.sleep(0.001)
        if self.unclear:
            return {}
        return {
            process: SimulatedProcess(self, process) if process in self.alive else None
            for process in wanted
        }


class SimulatedLine:
    """A connection, as the daemon hands it over to be followed. It breaks once."""

    def __init__(self) -> None:
        self.broken_at: float | None = None
        self._ended: Callable[[], None] | None = None

    def watch(self, ended: Callable[[], None]) -> None:
        self._ended = ended
        if self.broken_at is not None:
            asyncio.get_running_loop().call_soon(self._tell)

    def close(self) -> None:
        self._ended = None

    def break_off(self) -> None:
        if self.broken_at is None:
            self.broken_at = asyncio.get_running_loop().time()
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        if self._ended is not None:
            ended, self._ended = self._ended, None
            ended()
