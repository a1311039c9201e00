"""The kernel's reports of changes: names, overflow, a kernel without watches left."""

import asyncio
import errno
import logging
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asyncinotify import Event, Inotify, Mask

from stoker.pools.clock import SteadyClock
from stoker.pools.drivers.inotify import FolderWatch
from stoker.pools.ids import PartId

ONE, OTHER = PartId("web-1.a"), PartId("web-2.a")


class Told(list[PartId]):
    """The reports."""

    async def of(self, part: PartId) -> None:
        async with asyncio.timeout(30):
            while part not in self:
                await asyncio.sleep(0.002)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def watch(told: Told) -> AsyncIterator[FolderWatch]:
    watch = FolderWatch("test", told.append, SteadyClock(0))
    watch.open()
    yield watch
    await watch.close()


async def test_only_the_named_file_is_told(watch: FolderWatch, told: Told, tmp_path: Path) -> None:
    watch.add(ONE, tmp_path / "one")
    watch.add(OTHER, tmp_path / "other")
    (tmp_path / "stranger").touch()
    (tmp_path / "one").touch()
    await told.of(ONE)
    assert {ONE} == set(told)
    assert 1 == watch.watches


async def test_two_parts_may_wait_for_one_file(
    watch: FolderWatch, told: Told, tmp_path: Path
) -> None:
    watch.add(ONE, tmp_path / "x")
    watch.add(OTHER, tmp_path / "x")
    watch.remove(ONE)
    (tmp_path / "x").touch()
    await told.of(OTHER)
    assert ONE not in told


async def test_the_last_part_takes_the_watch_along(watch: FolderWatch, tmp_path: Path) -> None:
    watch.add(ONE, tmp_path / "x")
    watch.add(OTHER, tmp_path / "y")
    watch.remove(ONE)
    assert 1 == watch.watches
    watch.remove(OTHER)
    watch.remove(OTHER)
    assert 0 == watch.watches


async def test_a_part_that_moved_is_watched_in_its_new_place(
    watch: FolderWatch, told: Told, tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    watch.add(ONE, tmp_path / "x")
    watch.add(ONE, tmp_path / "new/x")
    assert 1 == watch.watches
    (tmp_path / "new/x").touch()
    await told.of(ONE)


async def test_a_folder_reached_by_two_paths_is_one_watch_for_both(
    watch: FolderWatch, told: Told, tmp_path: Path
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    watch.add(ONE, tmp_path / "real/x")
    watch.add(OTHER, tmp_path / "link/x")
    assert 1 == watch.watches
    watch.remove(ONE)
    (tmp_path / "real/x").touch()
    await told.of(OTHER)


async def test_a_folder_that_is_not_there_is_told_at_once(
    watch: FolderWatch, told: Told, tmp_path: Path
) -> None:
    watch.add(ONE, tmp_path / "none/x")
    await told.of(ONE)
    assert 0 == watch.watches


async def test_a_folder_that_goes_is_told_for_all_in_it_and_watched_again(
    watch: FolderWatch, told: Told, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    watch.add(ONE, folder / "x")
    watch.add(OTHER, folder / "y")
    shutil.rmtree(folder)
    await told.of(ONE)
    await told.of(OTHER)
    folder.mkdir()
    watch.add(ONE, folder / "x")
    told.clear()
    (folder / "x").touch()
    await told.of(ONE)


async def test_an_overflown_queue_is_told_for_all(
    watch: FolderWatch, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = asyncio.Queue[Event]()

    async def get(self: Inotify) -> Event:
        return await events.get()

    monkeypatch.setattr(Inotify, "get", get)
    other = FolderWatch("overflown", told.append, SteadyClock(0))
    other.open()
    for number in range(600):
        other.add(PartId(f"web-{number}.a"), tmp_path / str(number))
    events.put_nowait(Event(watch=None, mask=Mask.Q_OVERFLOW, cookie=0, name=None))
    await told.of(PartId("web-599.a"))
    await other.close()
    assert 600 == len(told)


async def test_a_real_burst_beyond_the_kernels_queue_loses_nothing(
    watch: FolderWatch, told: Told, tmp_path: Path
) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    watch.add(ONE, tmp_path / "x")
    watch.add(OTHER, tmp_path / "y")
    busy, idle = tmp_path / "busy", tmp_path / "idle"
    busy.touch()
    for _ in range(limit // 2 + 10):  # moving tells twice; nothing is read while we do not await
        busy.rename(idle)
        idle.rename(busy)
    (tmp_path / "x").touch()
    await told.of(ONE)
    await told.of(OTHER)


@pytest.mark.parametrize("when", ["at the start", "later"])
async def test_a_kernel_that_refuses_is_told_to_the_log_once_and_survived(
    told: Told,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    when: str,
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Inotify, "__init__" if when == "at the start" else "add_watch", refuse)
    watch = FolderWatch("refused", told.append, SteadyClock(0))
    with caplog.at_level(logging.WARNING):
        watch.open()
        watch.add(ONE, tmp_path / "x")
        watch.add(OTHER, tmp_path / "y")
    watch.remove(ONE)
    await watch.close()
    assert 1 == len(caplog.records)
    assert "max_user_watches" in caplog.text
