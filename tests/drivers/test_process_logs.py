"""Logs stay small while processes go on writing, and descriptors are not lost."""

import asyncio
import errno
import os
import resource
import signal
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stoker.config.json_types import Json
from stoker.pools.driver import Exhausted, PartRef, Presence
from stoker.pools.drivers import log_rotation
from stoker.pools.drivers import process as process_module
from stoker.pools.drivers.log_rotation import LogLimits, open_log, rotate
from stoker.pools.ids import PartId
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
)  # fmt: skip

COUNTING = (
    "import sys\n"
    "n = 0\n"
    "while True:\n"
    "    sys.stdout.write(f'{n:010d}\\n'); n += 1\n"
)  # fmt: skip


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    kill_all(tmp_path)


@pytest.fixture
async def host(state: Path) -> AsyncIterator[ProcessHost]:
    async with a_host(state) as host:
        yield host


def descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


def write(path: Path, text: str) -> None:
    descriptor = open_log(path)
    os.write(descriptor, text.encode())
    os.close(descriptor)


def test_a_log_within_its_limit_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "stdout.log"
    assert not rotate(log, LogLimits(10, 3))
    write(log, "0123456789")
    assert not rotate(log, LogLimits(10, 3))
    assert "0123456789" == log.read_text()


def test_old_logs_move_up_and_the_oldest_goes(tmp_path: Path) -> None:
    log = tmp_path / "stdout.log"
    writer = open_log(log)
    for text in ("first", "second", "third", "fourth"):
        os.write(writer, text.encode())
        assert rotate(log, LogLimits(4, 2))
    os.write(writer, b"now")
    os.close(writer)
    names = ("stdout.log", "stdout.log.1", "stdout.log.2")
    assert ["now", "urth", "hird"] == [(tmp_path / name).read_text() for name in names]
    assert not (tmp_path / "stdout.log.3").exists()
    assert 0o640 == (tmp_path / "stdout.log.1").stat().st_mode & 0o777


def test_without_old_ones_to_keep_a_log_is_only_cut(tmp_path: Path) -> None:
    log = tmp_path / "stdout.log"
    write(log, "0123456789")
    assert rotate(log, LogLimits(4, 0))
    assert ["stdout.log"] == [file.name for file in tmp_path.iterdir()]
    assert 0 == log.stat().st_size


def test_a_log_that_grew_far_beyond_its_limit_keeps_its_end(tmp_path: Path) -> None:
    log = tmp_path / "stdout.log"
    write(log, "x" * 1000 + "the end")
    assert rotate(log, LogLimits(7, 1))
    assert "the end" == (tmp_path / "stdout.log.1").read_text()


def test_on_a_full_disk_a_log_is_cut_without_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    log = tmp_path / "stdout.log"
    write(log, "0123456789")
    monkeypatch.setattr(log_rotation, "_copy", full)
    assert rotate(log, LogLimits(4, 2))
    assert ["stdout.log"] == [file.name for file in tmp_path.iterdir()]
    assert 0 == log.stat().st_size


def test_a_link_in_the_place_of_a_log_is_never_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("0123456789")
    (tmp_path / "stdout.log").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        rotate(tmp_path / "stdout.log", LogLimits(4, 2))
    with pytest.raises(OSError, match="symbolic links"):
        open_log(tmp_path / "stdout.log")
    assert "0123456789" == victim.read_text()


async def test_the_log_of_a_chatty_writer_stays_bounded(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "FIRST_ROTATION", 0.01)
    monkeypatch.setattr(process_module, "ROTATE_EVERY", 0.01)
    logs: dict[str, Json] = {"maxSize": "64KiB", "keep": 2}
    async with a_host(state) as host:
        made = await host.make(command=python(COUNTING), logs=logs)
        folder = state / "parts" / "process" / PART
        await eventually((folder / "stdout.log.2").exists)
        await asyncio.sleep(0.3)
        os.kill(pid_of(made), signal.SIGSTOP)
        await asyncio.sleep(0.1)
        sizes = {file.name: file.stat().st_size for file in folder.glob("stdout.log*")}
        kept = (folder / "stdout.log.1").read_text().splitlines()
        await host.end(a_ref(made))
    assert {"stdout.log", "stdout.log.1", "stdout.log.2"} == set(sizes)
    assert 0 < max(sizes.values()) < 2**20 + log_rotation.SLACK
    numbers = [int(line) for line in kept[1:-1]]
    assert list(range(numbers[0], numbers[0] + len(numbers))) == numbers


async def test_a_life_leaves_no_descriptor_behind(host: ProcessHost) -> None:
    await host.end(a_ref(await host.make_watched()))
    host.driver.forget(PART)
    before = descriptors()
    for number in range(20):
        part = PartId(f"web-{number:08d}.server")
        made = await host.make_watched(part)
        await host.end(a_ref(made, part))
        host.driver.forget(part)
    assert before == descriptors()


async def test_forgetting_a_process_that_runs_gives_its_descriptor_back(host: ProcessHost) -> None:
    before = descriptors()
    await host.make_watched()
    assert len(before) + 1 == len(descriptors())
    host.driver.forget(PART)
    assert before == descriptors()


@contextmanager
def only_descriptors(more: int) -> Generator[None]:
    """Lets this process open only so many more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    top = max(int(name) for name in descriptors())
    taken = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)]
    while taken[-1] < top:
        taken.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(top, *taken) + 1 + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)


async def test_without_descriptors_a_creation_waits_for_better_times(host: ProcessHost) -> None:
    await host.end(a_ref(await host.make()))
    with only_descriptors(0), pytest.raises(Exhausted, match="no file descriptors"):
        await host.make()
    made = await host.make()
    assert is_running(pid_of(made))


async def test_without_a_descriptor_for_the_watch_a_process_is_still_observed(
    host: ProcessHost,
) -> None:
    made = await host.make()
    host.driver.forget(PART)
    ref = PartRef(PART, PROVIDER, made.handle)
    with only_descriptors(1):  # enough to read /proc by, once at a time
        host.driver.watch(ref)
        hog = os.open("/dev/null", os.O_RDONLY)
        await asyncio.sleep(0.05)
        os.close(hog)
        assert Presence.PRESENT is (await host.driver.observe(ref)).presence
    os.kill(pid_of(made), signal.SIGKILL)
    await eventually(lambda: not is_running(pid_of(made)))
    assert Presence.ABSENT is (await host.driver.observe(ref)).presence
    await host.end(ref)
