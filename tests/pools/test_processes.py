"""The host's processes and the simulated ones keep the same promises."""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import pytest

from stoker.pools.binding import Process
from stoker.pools.processes import HostProcesses, start_of
from tests.fakes.processes import SimulatedProcesses
from tests.pools.contract_processes import ProcessesContract, Subject

pytestmark = pytest.mark.asyncio


class Children:
    """Real processes of this one. An ended one is left a zombie, as for a careless parent."""

    def __init__(self) -> None:
        self.processes = HostProcesses()
        self._started: dict[int, subprocess.Popen[bytes]] = {}

    def start(self) -> Process:
        child = subprocess.Popen(["sleep", "600"])
        self._started[child.pid] = child
        start = start_of(child.pid)
        assert start is not None
        return Process(child.pid, start, self.processes.boot)

    def end(self, process: Process) -> None:
        child = self._started[process.pid]
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    def clear(self) -> None:
        for child in self._started.values():
            with suppress(ProcessLookupError):
                child.kill()
            child.wait()


@pytest.fixture
def children() -> Iterator[Children]:
    children = Children()
    yield children
    children.clear()


class TestHostProcesses(ProcessesContract):
    @pytest.fixture
    def subject(self, children: Children) -> Subject:
        return Subject(children.processes, children.start, children.end)


class TestSimulatedProcesses(ProcessesContract):
    @pytest.fixture
    def subject(self) -> Subject:
        processes = SimulatedProcesses()
        return Subject(processes, processes.start, processes.end)


async def test_without_a_descriptor_nothing_is_said_of_a_process(children: Children) -> None:
    process = children.start()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        assert {} == dict(await children.processes.find([process]))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert {process} == {*(await children.processes.find([process]))}


async def test_a_part_of_the_file_descriptors_may_be_processes() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft // 4 == HostProcesses().most
