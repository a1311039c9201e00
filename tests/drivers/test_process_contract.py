"""The process driver keeps the contract of all drivers."""

import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from stoker.config.json_types import JsonObject
from stoker.pools.clock import SteadyClock
from stoker.pools.driver import Driver
from stoker.pools.drivers.context import DriverContext
from stoker.pools.drivers.process import create_driver
from stoker.pools.drivers.procfs import Marked
from stoker.pools.ids import PartId
from tests.drivers.contract import DriverContract, Harness
from tests.drivers.processes import kill_all, mark_of, take_snapshot


class ProcessHarness(Harness):
    """Sleeping processes that were given a port each."""

    def __init__(self, state: Path) -> None:
        super().__init__()
        self.state = state
        self.strangers: list[subprocess.Popen[bytes]] = []
        self.left: subprocess.Popen[bytes] | None = None

    def build(self) -> Driver:
        return create_driver(DriverContext(self.state, SteadyClock(0.0)))

    def settings(self, part: PartId, allotted: JsonObject) -> JsonObject:
        command = ["/bin/sh", "-c", "sleep 600 & wait", part, str(allotted.get("ports"))]
        return {"ports": ["http"], **({"command": [*command]} if allotted else {})}

    def bad_settings(self, part: PartId) -> JsonObject:
        return {"command": ["sleep", "600"], "colour": "blue"}

    async def exists(self, part: PartId) -> bool:
        return bool(self.marked(part)) or (self.state / "parts" / "process" / part).exists()

    async def spoil(self, part: PartId) -> None:
        """Stops all its processes."""
        while not (marked := self.marked(part)):
            time.sleep(0.001)
        for one in marked:
            os.kill(one.facts.pid, signal.SIGSTOP)
        while not all(one.facts.stopped for one in self.marked(part)):
            time.sleep(0.001)

    async def remove(self, part: PartId) -> None:
        while not (marked := self.marked(part)):
            time.sleep(0.001)  # it is about to become its program, when it shows no mark
        for one in marked:
            with suppress(ProcessLookupError):
                os.kill(one.facts.pid, signal.SIGKILL)
        while self.marked(part):
            time.sleep(0.001)

    async def soil(self, part: PartId) -> None:
        """A program that its user started in a session of its own, and words in its log."""
        env = {"STOKER_PART": part, "STOKER_STATE": mark_of(self.state)}
        self.left = subprocess.Popen(["sleep", "600"], env=env, start_new_session=True)
        with (self.state / "parts" / "process" / part / "stdout.log").open("a") as log:
            log.write("secret words\n")

    async def soiled(self, part: PartId) -> bool:
        log = self.state / "parts" / "process" / part / "stdout.log"
        said = log.exists() and "secret words" in log.read_text()
        return (self.left is not None and self.left.poll() is None) or said

    async def plant_strangers(self, near: PartId) -> Callable[[], bool]:
        """Processes with the part's name and without the mark of this daemon, and odd folders."""
        root = self.state / "parts" / "process"
        (root / "notes").mkdir()
        (root / f"{near}.d").mkdir()
        mark = mark_of(self.state)
        for env in (
            {"STOKER_PART": near},
            {"STOKER_PART": near, "STOKER_STATE": "1-2"},
            {"STOKER_PART": near, "STOKER_STATE": f"{mark}0"},
            {"STOKER_STATE": mark},
            {"XSTOKER_PART": near, "XSTOKER_STATE": mark},
        ):
            command = ["/bin/sh", "-c", "exec sleep 600", near]
            self.strangers.append(subprocess.Popen(command, env=env, start_new_session=True))
        folders = (root / "notes", root / f"{near}.d")
        return lambda: (
            all(stranger.poll() is None for stranger in self.strangers)
            and all(folder.exists() for folder in folders)
        )

    def marked(self, part: PartId) -> tuple[Marked, ...]:
        return take_snapshot(mark_of(self.state)).marked.get(part, ())

    def clean_up(self) -> None:
        kill_all(self.state)
        left = [] if self.left is None else [self.left]
        for stranger in (*self.strangers, *left):
            stranger.kill()
            stranger.wait()


class TestProcess(DriverContract):
    @pytest.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[Harness]:
        harness = ProcessHarness(tmp_path)
        try:
            async with harness.opened():
                yield harness
        finally:
            harness.clean_up()
