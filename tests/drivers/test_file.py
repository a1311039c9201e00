"""The file driver: the contract, and what only files can do."""

import base64
import os
import shutil
import stat
from collections.abc import AsyncIterator, Callable
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
from stoker.pools.drivers.context import DriverContext
from stoker.pools.drivers.file import create_driver
from stoker.pools.ids import PartId
from tests.drivers.contract import ONE, DriverContract, Harness


class FileHarness(Harness):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.state = folder / "state"
        self.root = folder / "root"
        self.root.mkdir()

    def build(self) -> Driver:
        return create_driver(DriverContext(self.state, SteadyClock(0)))

    def provider(self) -> ProviderRef:
        return ProviderRef("files", {"roots": [str(self.root)]})

    def path(self, part: PartId = ONE) -> Path:
        return self.root / f"{part}.html"

    def settings(self, part: PartId, allotted: JsonObject) -> JsonObject:
        return {"path": str(self.path(part)), "content": "hello"}

    def bad_settings(self, part: PartId) -> JsonObject:
        return {"path": str(self.path(part)), "content": "hello", "base64": "aGVsbG8="}

    async def exists(self, part: PartId) -> bool:
        return self.path(part).exists()

    async def spoil(self, part: PartId) -> None:
        self.path(part).write_text("howdy")

    async def remove(self, part: PartId) -> None:
        self.path(part).unlink()

    async def soil(self, part: PartId) -> None:
        self.path(part).write_text("changed by its user")

    async def soiled(self, part: PartId) -> bool:
        return self.path(part).exists() and self.path(part).read_text() != "hello"

    async def plant_strangers(self, near: PartId) -> Callable[[], bool]:
        beside = [self.root / f"{near}.html{tail}" for tail in (".bak", "~", ".1")]
        records = self.state / "parts/file"
        noted = [records / "notes.txt", records / f"{near}.json.bak", records / f"{near}.x.json"]
        for path in (*beside, *noted):
            path.write_text("hello")
        return lambda: all(path.read_text() == "hello" for path in (*beside, *noted))

    def leftovers(self) -> list[str]:
        """Everything that the driver left, except empty folders."""
        return [
            path.name
            for place in (self.root, self.state)
            for path in place.rglob("*")
            if path.is_file()
        ]


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[FileHarness]:
    async with FileHarness(tmp_path).opened() as harness:
        yield harness


class TestContract(DriverContract):
    """The contract, over the fixture above."""


def a_request(harness: FileHarness, settings: JsonObject, part: PartId = ONE) -> PartRequest:
    return PartRequest(part, "web", settings, {}, harness.provider())


async def test_content_mode_and_digest_are_as_declared(harness: FileHarness) -> None:
    before = os.umask(0o077)
    try:
        data = base64.b64encode(b"\x00\xff").decode()
        settings: JsonObject = {"path": str(harness.path()), "base64": data, "mode": "0664"}
        made = await harness.driver.create(a_request(harness, settings))
    finally:
        os.umask(before)
    assert b"\x00\xff" == harness.path().read_bytes()
    assert 0o664 == stat.S_IMODE(harness.path().stat().st_mode)
    expected = "06eb7d6a69ee19e5fbdf749018d3d2abfa04bcbd1365db312eb86dc7169389b8"
    assert {"path": str(harness.path()), "sha256": expected} == made.outputs


async def test_nothing_is_left_after_a_removal(harness: FileHarness) -> None:
    await harness.destroyed(await harness.created())
    assert [] == harness.leftovers()


async def test_a_file_inside_the_folder_of_a_part_needs_no_provider(harness: FileHarness) -> None:
    folder = harness.state / "parts/directory/web-k3v9q2xa.site"
    folder.mkdir(parents=True)
    settings: JsonObject = {"path": f"{folder}/index.html", "content": "hi"}
    await harness.driver.create(PartRequest(ONE, "web", settings, {}, ProviderRef("file")))
    assert "hi" == (folder / "index.html").read_text()


@pytest.mark.parametrize(
    "below",
    ["x", "directory/x", "directory/.trash.a.b/x", "file/a.b/x.json", "directory/a.b/../../x", ""],
)
async def test_the_daemons_own_folders_cannot_be_written(harness: FileHarness, below: str) -> None:
    settings: JsonObject = {"path": f"{harness.state}/parts/{below}", "content": "hi"}
    with pytest.raises(Rejected):
        await harness.driver.create(a_request(harness, settings))


@pytest.mark.parametrize(
    "path",
    ["/etc/stoker-test", "relative", "", "/", "{root}", "{root}/", "{root}/../x", "{root}//x"],
)
async def test_paths_that_lead_elsewhere_are_rejected(harness: FileHarness, path: str) -> None:
    settings: JsonObject = {"path": path.format(root=harness.root), "content": "hi"}
    with pytest.raises(Rejected):
        await harness.driver.create(a_request(harness, settings))
    assert [] == harness.leftovers()


async def test_a_link_on_the_way_is_not_followed(harness: FileHarness, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (harness.root / "inner").symlink_to(elsewhere)
    settings: JsonObject = {"path": f"{harness.root}/inner/x", "content": "hi"}
    with pytest.raises(Rejected, match="link"):
        await harness.driver.create(a_request(harness, settings))
    assert [] == list(elsewhere.iterdir())


async def test_a_folder_swapped_for_a_link_leads_no_removal_astray(
    harness: FileHarness, tmp_path: Path
) -> None:
    (harness.root / "inner").mkdir()
    settings: JsonObject = {"path": f"{harness.root}/inner/x", "content": "hi"}
    request = a_request(harness, settings)
    part = harness.made(request, await harness.driver.create(request))
    elsewhere = tmp_path / "elsewhere"
    (harness.root / "inner").rename(elsewhere)
    (harness.root / "inner").symlink_to(elsewhere)
    assert Presence.ABSENT == (await harness.driver.observe(part)).presence
    with pytest.raises(NotFound):
        await harness.driver.destroy(part)
    assert (elsewhere / "x").exists()


async def test_a_file_that_was_there_before_is_neither_overwritten_nor_removed(
    harness: FileHarness,
) -> None:
    harness.path().write_text("theirs")
    request = await harness.request()
    with pytest.raises(Rejected, match="exists already"):
        await harness.driver.create(request)
    with pytest.raises(NotFound):
        await harness.driver.destroy(harness.intended(request))
    assert "theirs" == harness.path().read_text()


async def test_a_file_edited_in_place_is_removed_with_its_part(harness: FileHarness) -> None:
    part = await harness.created()
    with harness.path().open("a") as file:
        file.write("more")
    await harness.destroyed(part)
    assert [] == harness.leftovers()


async def test_a_file_put_in_its_stead_is_left_alone(harness: FileHarness) -> None:
    part = await harness.created()
    (harness.root / "new").write_text("theirs")
    (harness.root / "new").rename(harness.path())
    assert Presence.DRIFTED == (await harness.driver.observe(part)).presence
    await harness.destroyed(part)
    assert "theirs" == harness.path().read_text()
    assert frozenset() == await harness.driver.list_owned()


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
async def test_something_else_in_its_place_is_drift_and_stays(
    harness: FileHarness, kind: str
) -> None:
    part = await harness.created()
    harness.path().unlink()
    if kind == "pipe":
        os.mkfifo(harness.path())
    elif kind == "link":
        harness.path().symlink_to("/etc/hostname")
    else:
        harness.path().mkdir()
    assert Presence.DRIFTED == (await harness.driver.observe(part)).presence
    await harness.destroyed(part)
    assert harness.path().name in [path.name for path in harness.root.iterdir()]


async def test_a_folder_that_is_gone_proves_absence(harness: FileHarness) -> None:
    (harness.root / "inner").mkdir()
    settings: JsonObject = {"path": f"{harness.root}/inner/x", "content": "hi"}
    request = a_request(harness, settings)
    part = harness.made(request, await harness.driver.create(request))
    shutil.rmtree(harness.root / "inner")
    assert Presence.ABSENT == (await harness.driver.observe(part)).presence
    with pytest.raises(NotFound):
        await harness.driver.destroy(part)
    assert frozenset() == await harness.driver.list_owned()


async def test_a_root_that_is_gone_proves_nothing(harness: FileHarness) -> None:
    """It may be a disk that is not mounted just now."""
    part = await harness.created()
    harness.root.rename(harness.root.with_name("unmounted"))
    with pytest.raises(Unavailable):
        await harness.driver.destroy(part)
    assert frozenset({ONE}) == await harness.driver.list_owned()
    harness.root.with_name("unmounted").rename(harness.root)
    await harness.destroyed(part)


async def test_without_its_record_a_file_is_found_by_the_ledgers_handle(
    harness: FileHarness,
) -> None:
    part = await harness.created()
    (harness.state / f"parts/file/{ONE}.json").unlink()
    assert Presence.PRESENT == (await harness.driver.observe(part)).presence
    await harness.destroyed(part)
    assert not await harness.exists(ONE)


async def test_a_damaged_record_is_no_proof_of_absence(harness: FileHarness) -> None:
    part = await harness.created()
    (harness.state / f"parts/file/{ONE}.json").write_text("{")
    with pytest.raises(Unavailable, match="damaged"):
        await harness.driver.destroy(part)
    assert await harness.exists(ONE)


@pytest.mark.parametrize("cut_at", range(1, 8))
async def test_a_crash_after_any_step_of_writing_leaves_what_is_found_and_removed(
    harness: FileHarness, monkeypatch: pytest.MonkeyPatch, cut_at: int
) -> None:
    """Every durable step is an fsync or the link: the daemon dies before the n-th of them."""
    steps = 0

    class Died(BaseException):
        """The end of the process, as far as the driver's thread can see."""

    def dying(real: Callable[..., object]) -> Callable[..., object]:
        def step(*args: object, **options: object) -> object:
            nonlocal steps
            steps += 1
            if steps >= cut_at:
                raise Died
            return real(*args, **options)

        return step

    request = await harness.request()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", dying(os.fsync))
        patch.setattr(os, "link", dying(os.link))
        with pytest.raises(Died):
            await harness.driver.create(request)
    await harness.restart()
    if await harness.exists(ONE):
        assert ONE in await harness.driver.list_owned()
    made = await harness.driver.create(request)
    assert Presence.PRESENT == (await harness.driver.observe(harness.made(request, made))).presence
    await harness.destroyed(harness.intended(request))
    assert [] == harness.leftovers()


async def test_an_orphan_is_removed_knowing_only_its_id(harness: FileHarness) -> None:
    await harness.created()
    await harness.destroyed(PartRef(ONE, ProviderRef("file"), {}))
    assert not await harness.exists(ONE)


@pytest.mark.parametrize("change", ["write", "replace", "chmod"])
async def test_changes_are_told(harness: FileHarness, change: str) -> None:
    harness.driver.watch(await harness.created())
    harness.changes.clear()
    if change == "write":
        harness.path().write_text("howdy")
    elif change == "chmod":
        harness.path().chmod(0o600)
    else:
        (harness.root / "new").write_text("x")
        (harness.root / "new").rename(harness.path())
    await harness.told(ONE)
