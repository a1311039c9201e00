"""A process driver on a folder of its own, with a clock to be moved by hand and its changes noted.

Used by the tests of the process driver. At the end everything it made is killed.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from stoker.config.json_types import Json
from stoker.pools.driver import Made, NotFound, PartRef, PartRequest, ProviderRef, Unavailable
from stoker.pools.drivers import procfs
from stoker.pools.drivers.context import DriverContext
from stoker.pools.drivers.ports import PortReservations
from stoker.pools.drivers.process import ProcessDriver
from stoker.pools.ids import PartId
from tests.fixtures.cgroups import clear_cgroups

P = ParamSpec("P")
T = TypeVar("T")

PART = PartId("web-aaaaaaaa.server")
PROVIDER = ProviderRef("process")
SLEEP: list[Json] = ["sleep", "600"]


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = 1_000_000.0

    def now(self) -> float:
        return self.time

    def to_wall(self, steady: float) -> float:
        return steady


class OpenDriver(ProcessDriver):
    """The driver with what only its tests need to reach."""

    def have_ports(self, ports: PortReservations) -> None:
        self._ports = ports

    def holds(self, part: PartId) -> bool:
        """Whether the end of the part's process would be told."""
        return self._watching().held(part) is not None


class ProcessHost:
    """One run of the driver on a state folder."""

    def __init__(self, state: Path, clock: HandClock) -> None:
        self.state = state
        self.clock = clock
        self.changes: list[PartId] = []
        self.driver = OpenDriver(DriverContext(state=state, clock=clock))

    async def make(self, part: PartId = PART, **settings: Json) -> Made:
        return await self.driver.create(a_request(part, None, **settings))

    async def make_watched(self, part: PartId = PART, **settings: Json) -> Made:
        made = await self.make(part, **settings)
        self.driver.watch(a_ref(made, part))
        return made

    async def end(self, ref: PartRef, within: float = 10.0) -> int:
        """Calls `destroy` until absence is proved; how many calls that took."""
        calls = 0
        async with asyncio.timeout(within):
            while True:
                calls += 1
                try:
                    await self.driver.destroy(ref)
                except NotFound:
                    return calls
                await asyncio.sleep(0.02)

    @property
    def mark(self) -> str:
        return mark_of(self.state)


def mark_of(state: Path) -> str:
    status = (state / "parts" / "process").stat()
    return f"{status.st_dev:x}-{status.st_ino:x}"


@asynccontextmanager
async def a_host(state: Path, clock: HandClock | None = None) -> AsyncGenerator[ProcessHost]:
    host = ProcessHost(state, clock or HandClock())
    await host.driver.open(host.changes.append)
    try:
        yield host
    finally:
        with suppress(Unavailable):
            await host.driver.close()


def aside(look: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Runs what blocks in another thread: only the driver itself must not block the loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(look, *arguments, **named).result()


def read_facts(pid: int) -> procfs.ProcessFacts | None:
    return aside(procfs.read_facts, pid)


def read_marks(pid: int) -> dict[str, str]:
    return aside(procfs.read_marks, pid) or {}


def take_snapshot(mark: str) -> procfs.Snapshot:
    return aside(procfs.take_snapshot, mark)


def kill_all(state: Path) -> None:
    """Kills whatever is in the cgroups, or carries the mark, of a state folder."""
    if not (state / "parts" / "process").exists():
        return
    aside(clear_cgroups, state)
    for found in take_snapshot(mark_of(state)).marked.values():
        for one in found:
            with suppress(ProcessLookupError):
                os.kill(one.facts.pid, signal.SIGKILL)


def a_request(
    part: PartId = PART, listening: dict[str, int] | None = None, **settings: Json
) -> PartRequest:
    """A process that sleeps, unless the settings say otherwise; `listening`: its ports by name."""
    rendered: dict[str, Json] = {"command": SLEEP, **settings}
    allotted: dict[str, Json] = {}
    if listening is not None:
        rendered["ports"] = list(listening)
        allotted["ports"] = dict[str, Json](listening)
    return PartRequest(part, "web", rendered, allotted, PROVIDER)


def a_ref(made: Made, part: PartId = PART) -> PartRef:
    return PartRef(part, PROVIDER, made.handle)


def python(code: str, *arguments: str) -> list[Json]:
    """A command that runs a few lines of Python, quick to start."""
    return [sys.executable, "-I", "-S", "-c", code, *arguments]


def shell(script: str) -> list[Json]:
    return ["/bin/sh", "-c", script]


def pid_of(made: Made) -> int:
    pid = made.handle["pid"]
    assert isinstance(pid, int)
    return pid


def is_running(pid: int) -> bool:
    facts = read_facts(pid)
    return facts is not None and facts.alive


async def eventually(
    true: Callable[[], bool] | Callable[[], Awaitable[bool]], within: float = 5.0
) -> float:
    """Waits until it is true; how many seconds that took."""
    began = time.monotonic()
    async with asyncio.timeout(within):
        while True:
            answer = true()
            if answer if isinstance(answer, bool) else await answer:
                return time.monotonic() - began
            await asyncio.sleep(0.005)


async def wait_for_text(path: Path, text: str = "", within: float = 5.0) -> str:
    """The content of a file once it holds the text and ends with a newline."""

    def there() -> bool:
        return path.exists() and text in (content := path.read_text()) and content.endswith("\n")

    await eventually(there, within)
    return path.read_text()
