"""Ending processes: all of a part's, none of anybody else's, and absence only when proved."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from stoker.config.json_types import Json
from stoker.pools.driver import NotFound, PartRef, Presence
from stoker.pools.drivers.process_leader import Leader
from tests.drivers.processes import (
    PART,
    PROVIDER,
    ProcessHost,
    a_host,
    a_ref,
    eventually,
    is_running,
    kill_all,
    pid_of,
    python,
    read_facts,
    shell,
    wait_for_text,
)  # fmt: skip

DAEMONISED = (
    "import os, sys, time\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    if os.fork() == 0:\n"
    "        print(os.getpid(), flush=True)\n"
    "        time.sleep(600)\n"
    "    os._exit(0)\n"
    "time.sleep(float(sys.argv[1]))\n"
)
"""Leaves a process behind that is in no group and no session of ours; its pid is printed."""

STUBBORN = "trap '' TERM INT HUP; echo deaf; while true; do sleep 0.05; done"


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    kill_all(tmp_path)


@pytest.fixture
async def host(state: Path) -> AsyncIterator[ProcessHost]:
    async with a_host(state) as host:
        yield host


@pytest.fixture
def bystander() -> Iterator["subprocess.Popen[bytes]"]:
    """A process of somebody else."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        yield process
        process.kill()


def log_of(host: ProcessHost) -> Path:
    return host.state / "parts" / "process" / PART / "stdout.log"


def start_time(pid: int) -> int:
    facts = read_facts(pid)
    assert facts is not None
    return facts.identity.start_time


async def pids_in_log(host: ProcessHost, count: int) -> list[int]:
    await eventually(
        lambda: log_of(host).exists() and log_of(host).read_text().count("\n") == count
    )
    return [int(line) for line in log_of(host).read_text().split()]


async def test_the_first_call_only_asks_and_a_later_one_proves_absence(host: ProcessHost) -> None:
    made = await host.make_watched()
    await host.driver.destroy(a_ref(made))
    await eventually(lambda: host.changes == [PART])
    with pytest.raises(NotFound):
        await host.driver.destroy(a_ref(made))
    assert not log_of(host).parent.exists()
    assert read_facts(pid_of(made)) is None
    assert frozenset() == await host.driver.list_owned()


async def test_what_never_was_is_absent(host: ProcessHost) -> None:
    assert 1 == await host.end(PartRef(PART, PROVIDER, {}))
    assert 1 == await host.end(PartRef(PART, PROVIDER, {}))


async def test_the_stop_signal_is_the_one_of_the_settings(host: ProcessHost) -> None:
    made = await host.make(
        command=shell("trap 'echo bye > said; exit 0' USR1; echo up; while :; do sleep 0.02; done"),
        cwd=str(host.state),
        stop={"signal": "SIGUSR1"},
    )
    await wait_for_text(log_of(host), "up")
    await host.end(a_ref(made))
    assert "bye\n" == (host.state / "said").read_text()


async def test_a_process_that_ignores_the_signal_is_killed_after_the_grace(
    host: ProcessHost,
) -> None:
    made = await host.make(command=shell(STUBBORN), stop={"grace": "10s"})
    ref = a_ref(made)
    await wait_for_text(log_of(host), "deaf")
    await host.driver.destroy(ref)
    host.clock.time += 9.9
    await host.driver.destroy(ref)
    await asyncio.sleep(0.2)
    assert is_running(pid_of(made))
    host.clock.time += 0.1
    await host.end(ref)
    assert not is_running(pid_of(made))


async def test_each_step_returns_quickly(host: ProcessHost) -> None:
    made = await host.make(command=shell(STUBBORN))
    await wait_for_text(log_of(host), "deaf")
    async with asyncio.timeout(1):
        await host.driver.destroy(a_ref(made))
        await host.driver.destroy(a_ref(made))
    host.clock.time += 100
    await host.end(a_ref(made))


async def test_a_stopped_process_is_ended(host: ProcessHost) -> None:
    made = await host.make()
    os.kill(pid_of(made), signal.SIGSTOP)
    await host.end(a_ref(made))
    assert not is_running(pid_of(made))


async def test_grandchildren_end_too(host: ProcessHost) -> None:
    made = await host.make(
        command=shell("sleep 600 & echo $!; sh -c 'sleep 600 & echo $!; wait' & wait")
    )
    children = await pids_in_log(host, 2)
    await host.end(a_ref(made))
    assert [] == [pid for pid in [pid_of(made), *children] if is_running(pid)]


async def test_stubborn_grandchildren_are_killed_though_the_first_process_has_ended(
    host: ProcessHost,
) -> None:
    made = await host.make_watched(
        command=shell(f"sh -c '{STUBBORN.replace(chr(39), chr(34))}' & sleep 0.1; exit 0")
    )
    await eventually(lambda: host.changes == [PART])
    assert Presence.ABSENT is (await host.driver.observe(a_ref(made))).presence
    await host.driver.destroy(a_ref(made))
    host.clock.time += 11
    await host.end(a_ref(made))


async def test_a_child_without_the_mark_ends_with_its_group(host: ProcessHost) -> None:
    made = await host.make_watched(
        command=shell("env -i /bin/sleep 600 & echo $!; sleep 0.05; exit 0")
    )
    (child,) = await pids_in_log(host, 1)
    await eventually(lambda: host.changes == [PART])
    assert is_running(child)
    await host.end(a_ref(made))
    assert not is_running(child)


@pytest.mark.parametrize("first_lives_for", [600, 0])
async def test_a_daemonised_process_ends_too(host: ProcessHost, first_lives_for: int) -> None:
    made = await host.make(command=python(DAEMONISED, str(first_lives_for)))
    (child,) = await pids_in_log(host, 1)
    facts = read_facts(child)
    assert facts is not None
    assert pid_of(made) not in (facts.group, facts.session)
    await host.end(a_ref(made))
    assert not is_running(child)


async def test_what_was_left_behind_is_listed_though_its_folder_and_first_process_are_gone(
    host: ProcessHost,
) -> None:
    await host.make(command=python(DAEMONISED, "0"))
    (child,) = await pids_in_log(host, 1)
    for file in log_of(host).parent.iterdir():
        file.unlink()
    log_of(host).parent.rmdir()
    assert {PART} == await host.driver.list_owned()
    await host.end(PartRef(PART, PROVIDER, {}))
    assert not is_running(child)


async def test_a_folder_without_a_process_is_listed_and_removed(host: ProcessHost) -> None:
    log_of(host).parent.mkdir()
    assert {PART} == await host.driver.list_owned()
    await host.end(PartRef(PART, PROVIDER, {}))
    assert frozenset() == await host.driver.list_owned()


@pytest.mark.parametrize("changed", ["startTime", "bootId", "neither"])
async def test_a_number_that_somebody_else_has_now_is_left_alone(
    host: ProcessHost, bystander: "subprocess.Popen[bytes]", changed: str
) -> None:
    mine = await host.make()
    await host.end(a_ref(mine))
    handle: dict[str, Json] = {
        "pid": bystander.pid,
        "startTime": start_time(bystander.pid),
        "bootId": mine.handle["bootId"],
    }
    other: dict[str, Json] = {"startTime": start_time(bystander.pid) - 1, "bootId": "another boot"}
    if changed == "neither":
        handle["pid"] = 2**22 + 1  # above the largest number there can be
    else:
        handle[changed] = other[changed]
    ref = PartRef(PART, PROVIDER, handle)
    assert Presence.ABSENT is (await host.driver.observe(ref)).presence
    host.clock.time += 100
    assert 1 == await host.end(ref)
    assert bystander.poll() is None


async def test_a_watch_of_a_number_that_somebody_else_has_now_tells_the_end(
    host: ProcessHost, bystander: "subprocess.Popen[bytes]"
) -> None:
    made = await host.make()
    await host.end(a_ref(made))
    handle = {**made.handle, "pid": bystander.pid, "startTime": start_time(bystander.pid) - 1}
    host.driver.watch(PartRef(PART, PROVIDER, handle))
    await eventually(lambda: host.changes == [PART])


async def test_an_ended_child_keeps_its_number_until_its_part_is_removed(host: ProcessHost) -> None:
    made = await host.make_watched(command=["true"])
    await eventually(lambda: host.changes == [PART])
    facts = read_facts(pid_of(made))
    assert facts is not None
    assert not facts.alive
    await host.end(a_ref(made))
    assert read_facts(pid_of(made)) is None


async def test_a_removal_waits_for_the_start_that_a_cancelled_creation_left(
    host: ProcessHost,
) -> None:
    creations = [asyncio.create_task(host.make(), name="creation") for _ in range(2)]
    while not log_of(host).parent.exists():
        await asyncio.sleep(0)
    for creation in creations:
        creation.cancel()
    await asyncio.gather(*creations, return_exceptions=True)
    await host.end(PartRef(PART, PROVIDER, {"ports": {}}))
    await asyncio.sleep(0.1)
    assert frozenset() == await host.driver.list_owned()


async def test_kernels_without_group_signals_by_pidfd_are_served_by_number(
    host: ProcessHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(_: Leader, __: int) -> bool:
        return False

    monkeypatch.setattr(Leader, "signal_group", cannot)
    made = await host.make(command=shell("sleep 600 & echo $!; wait"))
    (child,) = await pids_in_log(host, 1)
    await host.end(a_ref(made))
    assert not is_running(child)


async def test_a_child_that_was_forgotten_while_it_ran_leaves_no_zombie(host: ProcessHost) -> None:
    made = await host.make_watched(command=["sleep", "0.1"])
    host.driver.forget(PART)
    await eventually(lambda: not is_running(pid_of(made)))
    await eventually(lambda: read_facts(pid_of(made)) is None)
