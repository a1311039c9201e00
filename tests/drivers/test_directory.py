"""The directory driver: the contract, and what only folders can do."""

import asyncio
import ctypes
import errno
import os
import shutil
import stat
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stoker.config.json_types import JsonObject
from stoker.pools.clock import SteadyClock
from stoker.pools.driver import (
    Driver,
    NotFound,
    PartRef,
    PartRequest,
    Presence,
    ProviderRef,
    Rejected,
    Unavailable,
)  # fmt: skip
from stoker.pools.drivers.beneath import opened_folder
from stoker.pools.drivers.context import DriverContext
from stoker.pools.drivers.directory import create_driver
from stoker.pools.drivers.removal import remove_some
from stoker.pools.ids import PartId
from tests.drivers.contract import ONE, OTHER, DriverContract, Harness


class DirectoryHarness(Harness):
    def __init__(self, state: Path) -> None:
        super().__init__()
        self.state = state
        self.root = state / "parts/directory"

    def build(self) -> Driver:
        return create_driver(DriverContext(self.state, SteadyClock(0)))

    def settings(self, part: PartId, allotted: JsonObject) -> JsonObject:
        return {"mode": "0751", "files": {"readme": "hello", "a/b/deep.txt": "ü"}}

    def bad_settings(self, part: PartId) -> JsonObject:
        return {"files": {"../../outside": "x"}}

    async def exists(self, part: PartId) -> bool:
        return (self.root / part).exists()

    async def spoil(self, part: PartId) -> None:
        (self.root / part).chmod(0o700)

    async def remove(self, part: PartId) -> None:
        shutil.rmtree(self.root / part)

    async def soil(self, part: PartId) -> None:
        """Files, changed files, a folder that nobody may enter, a link out of it, and attributes."""
        folder = self.root / part
        (folder / "readme").write_text("changed")
        (folder / "a" / "mine").write_text("secret")
        (folder / "closed").mkdir()
        (folder / "closed" / "inner").write_text("secret")
        (folder / "closed").chmod(0)
        (folder / "link").symlink_to("/etc")

    async def soiled(self, part: PartId) -> bool:
        folder = self.root / part
        left = {path.name for path in self.root.rglob("*")} & {"mine", "closed", "inner", "link"}
        readme = folder / "readme"
        return bool(left) or (readme.exists() and readme.read_text() != "hello")

    async def plant_strangers(self, near: PartId) -> Callable[[], bool]:
        kept = self.state / "kept"
        kept.mkdir()
        names = (f"{near}.bak", f"{near}~", f".{near}", f".making.{near}.old", "notes", "x y.z")
        for name in names:
            (self.root / name).mkdir()
        (self.root / OTHER).symlink_to(kept)
        (self.root / "web-aaaaaaaa.thing").write_text("a file with a part's name")
        return lambda: (
            all((self.root / name).is_dir() for name in names)
            and (self.root / OTHER).is_symlink()
            and kept.is_dir()
            and (self.root / "web-aaaaaaaa.thing").is_file()
        )


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[DirectoryHarness]:
    async with DirectoryHarness(tmp_path).opened() as harness:
        yield harness


class TestContract(DriverContract):
    """The contract, over the fixture above."""


def a_request(settings: JsonObject) -> PartRequest:
    return PartRequest(ONE, "web", settings, {}, ProviderRef("directory"))


def mode_of(path: Path) -> str:
    return f"{stat.S_IMODE(path.lstat().st_mode):04o}"


async def test_modes_are_as_declared_whatever_the_umask(harness: DirectoryHarness) -> None:
    before = os.umask(0o077)
    try:
        await harness.created()
    finally:
        os.umask(before)
    folder = harness.root / ONE
    expected = {"": "0751", "readme": "0640", "a": "0751", "a/b": "0751", "a/b/deep.txt": "0640"}
    assert expected == {name: mode_of(folder / name) for name in expected}
    assert "0711" == mode_of(harness.root)
    assert "ü" == (folder / "a/b/deep.txt").read_text(encoding="utf-8")


async def test_without_settings_an_empty_folder_is_made(harness: DirectoryHarness) -> None:
    made = await harness.driver.create(a_request({}))
    folder = Path(str(made.outputs["path"]))
    assert [] == list(folder.iterdir())
    assert "0750" == mode_of(folder)


async def test_a_folder_may_be_closed_to_writing(harness: DirectoryHarness) -> None:
    await harness.driver.create(a_request({"mode": "0550", "files": {"a/b": "x"}}))
    assert "0550" == mode_of(harness.root / ONE / "a")


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"mode": 488}, "octal"),
        ({"mode": "4755"}, "octal"),
        ({"files": {"/etc/passwd": "x"}}, "relative"),
        ({"files": {"a/../b": "x"}}, "relative"),
        ({"files": {"a//b": "x"}}, "relative"),
        ({"files": {"n" * 300: "x"}}, "255"),
        ({"files": {"a": "x", "a/b": "x"}}, "folder"),
        ({"flies": {}}, "flies"),
    ],
)
async def test_settings_that_cannot_work_are_named(
    harness: DirectoryHarness, settings: JsonObject, word: str
) -> None:
    with pytest.raises(Rejected, match=word):
        await harness.driver.create(a_request(settings))
    assert not await harness.exists(ONE)


async def test_what_users_put_inside_is_no_drift(harness: DirectoryHarness) -> None:
    part = await harness.created()
    (harness.root / ONE / "readme").unlink()
    (harness.root / ONE / "new").write_text("theirs")
    assert Presence.PRESENT == (await harness.driver.observe(part)).presence


async def test_another_folder_in_its_place_is_drift(harness: DirectoryHarness) -> None:
    part = await harness.created()
    (harness.root / ONE).rename(harness.root / "aside")
    (harness.root / ONE).mkdir()
    (harness.root / ONE).chmod(0o751)
    observation = await harness.driver.observe(part)
    assert (Presence.DRIFTED, True) == (observation.presence, "replaced" in observation.detail)


async def test_a_link_in_its_place_is_never_followed(
    harness: DirectoryHarness, tmp_path: Path
) -> None:
    part = await harness.created()
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "gold").touch()
    shutil.rmtree(harness.root / ONE)
    (harness.root / ONE).symlink_to(treasure)
    assert Presence.DRIFTED == (await harness.driver.observe(part)).presence
    with pytest.raises(NotFound):
        await harness.driver.destroy(part)
    with pytest.raises(Rejected, match="move it away"):
        await harness.driver.create(await harness.request())
    assert (treasure / "gold").exists()


async def test_links_inside_are_removed_and_not_followed(
    harness: DirectoryHarness, tmp_path: Path
) -> None:
    part = await harness.created()
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "gold").touch()
    (harness.root / ONE / "a/link").symlink_to(treasure)
    (harness.root / ONE / "dangling").symlink_to("nowhere")
    await harness.destroyed(part)
    assert (treasure / "gold").exists()


async def test_a_tree_deeper_than_any_path_may_be_is_removed(harness: DirectoryHarness) -> None:
    part = await harness.created()
    here = os.open(harness.root / ONE, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d" * 20, dir_fd=here)
        inner = os.open("d" * 20, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    await harness.destroyed(part)
    assert [] == list(harness.root.iterdir())


async def test_a_broad_tree_is_removed_in_steps_while_others_are_served(
    harness: DirectoryHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.pools.drivers.directory.STEP", 50)
    part = await harness.created()
    for number in range(40):
        (harness.root / ONE / f"{number}").mkdir()
        for name in range(10):
            (harness.root / ONE / f"{number}/{name}").touch()
    removal = asyncio.create_task(harness.destroyed(part), name="removal")
    await harness.created(OTHER)
    assert not removal.done()
    await removal
    assert [OTHER] == [path.name for path in harness.root.iterdir()]


async def test_a_creation_that_a_crash_cut_is_listed_and_removed(harness: DirectoryHarness) -> None:
    await harness.restart()
    left = harness.root / f".making.{ONE}"
    left.mkdir()
    (left / "half").touch()
    assert frozenset({ONE}) == await harness.driver.list_owned()
    await harness.destroyed(harness.intended(await harness.request()))
    assert not left.exists()


async def test_a_creation_that_a_crash_cut_is_made_anew(harness: DirectoryHarness) -> None:
    left = harness.root / f".making.{ONE}"
    left.mkdir()
    (left / "half").touch()
    await harness.created()
    assert not (harness.root / ONE / "half").exists()
    assert not left.exists()


async def test_a_removal_that_a_crash_cut_is_listed_and_finished(harness: DirectoryHarness) -> None:
    part = await harness.created()
    (harness.root / ONE).rename(harness.root / f".trash.{ONE}")
    assert frozenset({ONE}) == await harness.driver.list_owned()
    assert Presence.ABSENT == (await harness.driver.observe(part)).presence
    await harness.destroyed(part)
    assert [] == list(harness.root.iterdir())


async def test_ten_thousand_watched_folders_cost_one_watch_of_the_kernel(
    harness: DirectoryHarness,
) -> None:
    one = await harness.created()
    for number in range(10_000):
        part = PartId(f"web-{number:08}.thing")
        harness.driver.watch(PartRef(part, one.provider, {}))
    harness.driver.watch(one)
    await harness.remove(ONE)
    await harness.told(ONE)
    assert 1 == kernel_watches()


def kernel_watches() -> int:
    """How many inotify watches this process has."""
    count = 0
    for path in Path("/proc/self/fdinfo").iterdir():
        try:
            count += path.read_text().count("inotify wd:")
        except FileNotFoundError:
            continue
    return count


async def test_a_changed_mode_is_told(harness: DirectoryHarness) -> None:
    harness.driver.watch(await harness.created())
    harness.changes.clear()
    await harness.spoil(ONE)
    await harness.told(ONE)


async def test_the_root_going_and_coming_back_is_told_and_survived(
    harness: DirectoryHarness,
) -> None:
    part = await harness.created()
    harness.driver.watch(part)
    shutil.rmtree(harness.root)
    await harness.told(ONE)
    again = await harness.created()
    harness.driver.watch(again)
    harness.changes.clear()
    await harness.remove(ONE)
    await harness.told(ONE)
    await harness.destroyed(part)


@pytest.mark.parametrize("mode", [0o500, 0o400, 0o000])
def test_folders_closed_to_their_owner_are_removed(short_tmp: Path, mode: int) -> None:
    short_tmp.chmod(0o777)

    def make_and_remove() -> bool:
        inner = short_tmp / "tree/closed/inner"
        inner.mkdir(parents=True)
        (inner / "file").touch()
        for folder in (inner, inner.parent, short_tmp / "tree"):
            folder.chmod(mode)
        with opened_folder(short_tmp) as parent:
            while not remove_some(parent, "tree", 100, "the tree"):
                pass
        return (short_tmp / "tree").exists()

    assert not as_nobody(make_and_remove)


def as_nobody(job: Callable[[], bool]) -> bool:
    """Runs it in a thread that has no rights of root on files (root is refused nothing)."""

    def run() -> bool:
        if os.getuid() == 0:
            ctypes.CDLL(None).setfsuid(65534)  # of this thread alone; it ends with it
        return job()

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(run).result(timeout=30)


async def test_a_mount_point_below_is_never_emptied(
    harness: DirectoryHarness, tmp_path: Path
) -> None:
    """Seen by a stand-in for the mount: rmdir is refused as the kernel refuses it."""
    part = await harness.created()
    mounted = harness.root / ONE / "a/mounted"
    mounted.mkdir()
    (mounted / "precious").touch()
    real = os.rename

    def busy(source: str, place: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if source == "mounted":
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        real(source, place, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "rename", busy)
        with pytest.raises(Unavailable, match="unmount it"):
            await harness.driver.destroy(part)
    assert frozenset({ONE}) == await harness.driver.list_owned()
    assert (harness.root / f".trash.{ONE}/a/mounted/precious").exists()
    await harness.destroyed(part)
