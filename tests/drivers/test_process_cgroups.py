"""A part's cgroup: nothing that a program does lets what it started get away."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from stoker.pools.driver import Made
from stoker.pools.drivers import cgroups
from stoker.pools.drivers.cgroups import NoCgroups, Place, find_place, own_place
from stoker.pools.drivers.procfs import take_snapshot
from stoker.pools.ids import PartId
from tests.drivers.processes import (
    PART,
    ProcessHost,
    a_host,
    a_ref,
    aside,
    eventually,
    is_running,
    kill_all,
    pid_of,
    python,
    shell,
    wait_for_text,
)

OTHER = PartId("web-bbbbbbbb.server")
ESCAPE = "env -i setsid sh -c 'echo $$; exec sleep 600' & "
"""Leaves the group, the session and the environment; prints its pid."""
STUBBORN_ESCAPE = (
    "env -i setsid sh -c 'trap \"\" TERM; echo $$; while true; do sleep 0.05; done' & "
)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Where the cgroups of this test's parts lie."""
    try:
        probe = find_place("probe")
    except NoCgroups as why:
        pytest.skip(f"here are no cgroups to be had: {why}")
    probe.folder.rmdir()
    (tmp_path / "parts" / "process").mkdir(parents=True)
    status = (tmp_path / "parts" / "process").stat()
    mark = f"{status.st_dev:x}-{status.st_ino:x}"
    yield Place(probe.folder.with_name(f"stoker-{mark}"), probe.name.replace("probe", mark))
    kill_all(tmp_path)


@pytest.fixture
async def host(place: Place, tmp_path: Path) -> AsyncIterator[ProcessHost]:
    async with a_host(tmp_path) as host:
        yield host


FORKS_FOR_EVER = (
    "import os\n"
    "print(os.getpid(), flush=True)\n"
    "while True:\n"
    "    if os.fork():\n"
    "        os._exit(0)\n"
    "    os.setsid()\n"
)
"""Each process lives for less than a look at it takes."""


def cgroup_of(pid: int) -> str:
    return aside(Path(f"/proc/{pid}/cgroup").read_text)


async def escaped(
    host: ProcessHost, how: str, after: str = "sleep 600", part: PartId = PART
) -> tuple[Made, int]:
    """A new part, and the number of the process that got away from it."""
    made = await host.make_watched(part, command=shell(how + after))
    text = await wait_for_text(Path(str(made.outputs["log"])))
    return made, int(text.split()[0])


async def test_a_process_that_left_group_session_and_environment_ends_with_its_part(
    host: ProcessHost,
) -> None:
    made, away = await escaped(host, ESCAPE)
    assert is_running(away)
    await host.end(a_ref(made))
    assert not is_running(away)
    assert not is_running(pid_of(made))


async def test_it_is_asked_first_and_killed_after_the_grace(host: ProcessHost) -> None:
    made, away = await escaped(host, STUBBORN_ESCAPE)
    with pytest.raises(TimeoutError):
        await host.end(a_ref(made), within=0.3)
    assert is_running(away)
    host.clock.time += 11.0
    await host.end(a_ref(made))
    assert not is_running(away)


async def test_absence_is_not_said_while_it_alone_is_left(host: ProcessHost) -> None:
    made, away = await escaped(host, STUBBORN_ESCAPE, after="true")
    await eventually(lambda: not is_running(pid_of(made)))
    with pytest.raises(TimeoutError):
        await host.end(a_ref(made), within=0.3)
    assert is_running(away)
    host.clock.time += 11.0
    await host.end(a_ref(made))
    assert not is_running(away)


async def test_a_later_daemon_finds_it_also_from_another_cgroup(
    place: Place, tmp_path: Path
) -> None:
    async with a_host(tmp_path) as host:
        made, away = await escaped(host, ESCAPE)
    elsewhere = place.folder.with_name(f"{place.folder.name}-elsewhere")
    aside(elsewhere.mkdir)
    here = place.folder.parent / "cgroup.procs"
    try:
        aside((elsewhere / "cgroup.procs").write_text, str(os.getpid()))
        async with a_host(tmp_path) as host:
            other, _ = await escaped(host, ESCAPE, part=OTHER)
            assert f"{elsewhere.name}/stoker-" in cgroup_of(pid_of(other))
            await host.end(a_ref(made))
            await host.end(a_ref(other, OTHER))
    finally:
        aside(here.write_text, str(os.getpid()))
        aside(elsewhere.rmdir)
    assert not is_running(away)
    assert not place.folder.exists()


async def test_what_forks_without_end_is_killed_in_one_step(host: ProcessHost) -> None:
    made = await host.make_watched(
        command=python(FORKS_FOR_EVER), stop={"signal": "KILL", "grace": "10ms"}
    )
    await wait_for_text(Path(str(made.outputs["log"])))
    host.clock.time += 1.0
    await host.end(a_ref(made))
    assert aside(take_snapshot, host.mark).marked == {}


async def test_a_cgroup_goes_with_its_part_with_those_that_were_made_in_it(
    host: ProcessHost, place: Place
) -> None:
    made, _ = await escaped(host, ESCAPE)
    nested = place.folder / PART / "inner" / "innermost"
    aside(nested.mkdir, parents=True)
    aside((nested / "cgroup.procs").write_text, str(pid_of(made)))
    assert place.folder.exists()
    await host.end(a_ref(made))
    assert not (place.folder / PART).exists()
    await host.driver.close()
    assert not place.folder.exists()


async def test_a_part_that_was_made_before_there_were_cgroups_ends_as_before(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_: str) -> NoReturn:
        raise NoCgroups("a test has none")

    with monkeypatch.context() as without:
        without.setattr(cgroups, "find_place", none)
        async with a_host(tmp_path) as host:
            made = await host.make_watched()
    async with a_host(tmp_path) as host:
        await host.end(a_ref(made))
    assert not is_running(pid_of(made))


MOUNTS = """\
24 1 0:22 / /sys rw,nosuid shared:6 - sysfs sysfs rw
30 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec shared:8 - cgroup2 cgroup2 rw,nsdelegate
"""
HYBRID = """\
34 24 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
44 24 0:37 / /sys/fs/cgroup/uni\\040fied rw,relatime - cgroup2 cgroup2 rw
"""
INSIDE = "30 24 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n"


@pytest.mark.parametrize(
    ("mounts", "own", "folder", "name"),
    [
        (MOUNTS, "0::/system.slice/stoker.service\n", "system.slice/stoker.service", None),
        (MOUNTS, "0::/\n", "", None),
        (HYBRID, "8:pids:/a\n0::/b\n", "uni fied/b", "/b"),
        (INSIDE, "0::/docker/abc/inner\n", "inner", "/docker/abc/inner"),
    ],
)
def test_the_own_cgroup_is_found_where_it_is_mounted(
    mounts: str, own: str, folder: str, name: str | None
) -> None:
    place = own_place(mounts, own)
    assert Path("/sys/fs/cgroup", folder) == place.folder
    assert (name or own[3:].strip()) == place.name
    child = place.below("x").name
    assert child == ("/x" if place.name == "/" else f"{place.name}/x")


@pytest.mark.parametrize(
    ("mounts", "own"),
    [(MOUNTS, "4:memory:/x\n"), ("", "0::/x\n"), (INSIDE, "0::/elsewhere\n")],
)
def test_without_a_cgroup_of_its_own_there_is_none(mounts: str, own: str) -> None:
    with pytest.raises(NoCgroups):
        own_place(mounts, own)
