"""Looks at the host are shared by those who wait, and never older than the question."""

import asyncio
import os
import subprocess
import sys

import pytest

from stoker.pools.driver import Unavailable
from stoker.pools.drivers.procfs import Snapshot
from stoker.pools.drivers.snapshots import Snapshots
from tests.drivers.processes import PART, eventually, read_facts, read_marks, take_snapshot


class SlowHost:
    """Counts the looks; each takes a moment and shows how many had begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.fails = False

    async def look(self) -> Snapshot:
        self.begun += 1
        number = self.begun
        await asyncio.sleep(0.02)
        if self.fails:
            raise Unavailable("/proc is not mounted")
        return Snapshot({}, {PART: ()} if number == 1 else {})


async def test_those_who_wait_together_share_one_look() -> None:
    host = SlowHost()
    snapshots = Snapshots(host.look)
    first = await asyncio.gather(*[snapshots.fresh() for _ in range(100)])
    assert (1, 1) == (host.begun, len({id(snapshot) for snapshot in first}))


async def test_who_asks_during_a_look_gets_the_next() -> None:
    host = SlowHost()
    snapshots = Snapshots(host.look)
    early = asyncio.create_task(snapshots.fresh(), name="early")
    await asyncio.sleep(0.01)
    late = await asyncio.gather(*[snapshots.fresh() for _ in range(100)])
    assert (2, {PART}, set()) == (host.begun, set((await early).marked), set(late[0].marked))


async def test_one_who_leaves_takes_nothing_from_the_others() -> None:
    snapshots = Snapshots(SlowHost().look)
    leaving = asyncio.create_task(snapshots.fresh(), name="leaving")
    staying = asyncio.create_task(snapshots.fresh(), name="staying")
    await asyncio.sleep(0.01)
    leaving.cancel()
    assert PART in (await staying).marked


async def test_a_look_that_fails_is_told_to_all_and_the_next_is_new() -> None:
    host = SlowHost()
    host.fails = True
    snapshots = Snapshots(host.look)
    answers = await asyncio.gather(*[snapshots.fresh() for _ in range(3)], return_exceptions=True)
    assert [Unavailable] * 3 == [type(answer) for answer in answers]
    host.fails = False
    assert await snapshots.fresh() is not None


async def test_a_program_whose_name_holds_brackets_and_spaces_is_read_right() -> None:
    code = "import ctypes, time; ctypes.CDLL(None).prctl(15, b') Z 1 (x'); print('named', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        facts = read_facts(process.pid)
        process.kill()
    assert facts is not None
    assert (os.getpid(), True, False) == (facts.parent, facts.alive, facts.stopped)


async def test_marks_are_read_as_whole_variables() -> None:
    env = {"STOKER_PART": "a=b", "NOT_STOKER_STATE": "x", "STOKER_PARTS": "y"}
    with subprocess.Popen(["sleep", "600"], env=env) as process:
        await eventually(lambda: bool(read_marks(process.pid)))
        marks = read_marks(process.pid)
        process.kill()
    assert {"STOKER_PART": "a=b"} == marks


@pytest.mark.parametrize("pid", [0, 2**22 + 1])
async def test_a_process_that_is_not_there_has_neither_facts_nor_marks(pid: int) -> None:
    assert (None, {}) == (read_facts(pid), read_marks(pid))


async def test_threads_of_the_kernel_belong_to_nobody() -> None:
    assert {} == dict(take_snapshot("no such mark").marked)
