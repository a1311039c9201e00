"""Processes outlive the daemon, and the next daemon knows them again."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoker.pools.driver import PartRef, Presence, Unavailable
from tests.drivers.processes import (
    PART,
    PROVIDER,
    SLEEP,
    a_host,
    a_ref,
    a_request,
    eventually,
    is_running,
    kill_all,
    pid_of,
    read_facts,
)  # fmt: skip

EARLIER_DAEMON = """
import asyncio, json, os, sys
from pathlib import Path
from tests.drivers.processes import a_host

async def main():
    async with a_host(Path(sys.argv[1])) as host:
        made = await host.make(**json.loads(sys.argv[2]))
        print(json.dumps(dict(made.handle)), flush=True)
        os.kill(os.getpid(), 9)

asyncio.run(main())
"""


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    kill_all(tmp_path)


def made_by_an_earlier_daemon(state: Path, **settings: object) -> PartRef:
    """Makes the part in another program, which then dies by `kill -9`."""
    wanted = json.dumps({"command": SLEEP, **settings})
    done = subprocess.run(
        [sys.executable, "-c", EARLIER_DAEMON, str(state), wanted],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        check=False,
        timeout=30,
    )
    assert -signal.SIGKILL == done.returncode
    return PartRef(PART, PROVIDER, json.loads(done.stdout))


def pid_in(ref: PartRef) -> int:
    pid = ref.handle["pid"]
    assert isinstance(pid, int)
    return pid


async def test_a_process_outlives_a_killed_daemon_and_is_known_again(state: Path) -> None:
    ref = made_by_an_earlier_daemon(state)
    facts = read_facts(pid_in(ref))
    assert facts is not None
    assert facts.alive
    assert os.getpid() != facts.parent
    async with a_host(state) as host:
        host.driver.watch(ref)
        assert Presence.PRESENT is (await host.driver.observe(ref)).presence
        assert {PART} == await host.driver.list_owned()
        await host.end(ref)
    assert not is_running(pid_in(ref))


async def test_the_end_of_an_adopted_process_is_told_at_once(state: Path) -> None:
    ref = made_by_an_earlier_daemon(state)
    async with a_host(state) as host:
        host.driver.watch(ref)
        await eventually(lambda: host.driver.holds(PART))
        os.kill(pid_in(ref), signal.SIGKILL)
        assert await eventually(lambda: host.changes == [PART]) < 1
        assert Presence.ABSENT is (await host.driver.observe(ref)).presence
        await host.end(ref)


async def test_an_end_while_no_daemon_ran_is_told_on_the_watch(state: Path) -> None:
    ref = made_by_an_earlier_daemon(state, command=["true"])
    await eventually(lambda: not is_running(pid_in(ref)))
    async with a_host(state) as host:
        host.driver.watch(ref)
        await eventually(lambda: host.changes == [PART])
        seen = await host.driver.observe(ref)
        assert (Presence.ABSENT, f"process {pid_in(ref)} has ended") == (seen.presence, seen.detail)


async def test_creating_again_after_a_crash_adopts_what_was_made(state: Path) -> None:
    ref = made_by_an_earlier_daemon(state)
    async with a_host(state) as host:
        made = await host.make()
        assert ref.handle == made.handle
        await host.end(a_ref(made))


async def test_a_crash_right_after_the_start_loses_nothing(state: Path) -> None:
    ref = made_by_an_earlier_daemon(state)
    (state / "parts" / "process" / PART / "process.json").unlink()
    intended = PartRef(PART, PROVIDER, {"ports": {}})
    async with a_host(state) as host:
        assert Presence.PRESENT is (await host.driver.observe(intended)).presence
        assert {PART} == await host.driver.list_owned()
        await host.end(intended)
    assert not is_running(pid_in(ref))


async def test_a_group_whose_leader_died_before_the_adoption_is_ended_by_its_marks(
    state: Path,
) -> None:
    ref = made_by_an_earlier_daemon(
        state, command=["/bin/sh", "-c", "sleep 600 & sleep 600 & exit 0"]
    )
    await eventually(lambda: not is_running(pid_in(ref)))
    async with a_host(state) as host:
        assert {PART} == await host.driver.list_owned()
        assert await host.end(ref) > 1
        assert frozenset() == await host.driver.list_owned()


async def test_closing_the_driver_leaves_processes_running(state: Path) -> None:
    async with a_host(state) as host:
        made = await host.make_watched()
    assert is_running(pid_of(made))
    async with a_host(state) as host:
        host.driver.watch(a_ref(made))
        os.kill(pid_of(made), signal.SIGTERM)
        await eventually(lambda: host.changes == [PART])
        await host.end(a_ref(made))
    assert not is_running(pid_of(made))


async def test_a_closed_driver_says_so(state: Path) -> None:
    async with a_host(state) as host:
        await host.driver.close()
        with pytest.raises(Unavailable, match="closed"):
            await host.driver.create(a_request())
        with pytest.raises(Unavailable, match="closed"):
            await host.driver.list_owned()


async def test_a_state_folder_reached_by_another_path_is_the_same_one(
    state: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other_path = tmp_path_factory.mktemp("elsewhere") / "link"
    other_path.symlink_to(state)
    async with a_host(state) as host:
        made = await host.make()
    async with a_host(other_path) as host:
        assert {PART} == await host.driver.list_owned()
        assert made.handle == (await host.make()).handle
        await host.end(a_ref(made))


async def test_ten_processes_of_an_earlier_run_are_all_watched(state: Path) -> None:
    names = [PART.replace("aaaaaaaa", f"{number:08d}") for number in range(10)]
    async with a_host(state) as host:
        made = [await host.make(type(PART)(name)) for name in names]
    async with a_host(state) as host:
        for name, one in zip(names, made, strict=True):
            host.driver.watch(PartRef(type(PART)(name), PROVIDER, one.handle))
        await asyncio.sleep(0)
        for one in made:
            os.kill(pid_of(one), signal.SIGKILL)
        await eventually(lambda: set(names) == set(host.changes))
