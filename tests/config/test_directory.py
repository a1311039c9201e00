"""The config directory as a stream: settled contents only, and it recovers from everything."""

import asyncio
import shutil
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import watchfiles

from stoker.config.directory import AWATCH, DirectorySource, Events, whereabouts
from stoker.config.loading import LoadResult
from stoker.config.starter import write_starter
from stoker.pools.drivers import catalogue
from tests.config.catalogue import CATALOGUE, a_blueprint_with

GOOD = a_blueprint_with("  {}")
LONG = 30.0
"""Seconds. Only a failing test waits this long."""


class Stream:
    """The results of a source, one by one."""

    def __init__(self, results: AsyncGenerator[LoadResult, None]) -> None:
        self._results = results

    async def next(self, within: float = LONG) -> LoadResult:
        async with asyncio.timeout(within):
            return await anext(self._results)

    async def largest(self) -> int:
        """`size.max` in the next result, which must be a good one."""
        result = await self.next()
        assert result.revision is not None, result.problems
        return result.revision.pools["boxes"].size.max


class Calm:
    """Whether nothing comes, without losing what may come later."""

    def __init__(self, stream: Stream) -> None:
        self.coming = asyncio.ensure_future(stream.next())

    async def lasts(self, seconds: float) -> bool:
        await asyncio.wait([self.coming], timeout=seconds)
        return not self.coming.done()


@asynccontextmanager
async def following(root: Path, *, patience: float = 5.0) -> AsyncGenerator[Stream]:
    source = DirectorySource(root, CATALOGUE, resync=LONG, patience=patience)
    results = source.changes()
    try:
        yield Stream(results)
    finally:
        await results.aclose()


def resized(largest: int) -> str:
    return GOOD.replace("max: 3", f"max: {largest}")


def save(path: Path, text: str) -> None:
    """As most editors do: a new file beside it, and then in its place."""
    spare = path.with_name(f".{path.name}.tmp")
    spare.write_text(text)
    spare.replace(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "a.yaml").write_text(GOOD)
    return folder


async def test_the_present_content_comes_first_and_then_every_new_one(root: Path) -> None:
    async with following(root) as stream:
        assert 3 == await stream.largest()
        save(root / "a.yaml", resized(4))
        assert 4 == await stream.largest()
        (root / "a.yaml").write_text(resized(5))
        assert 5 == await stream.largest()
        (root / "sub").mkdir()
        await asyncio.sleep(0.2)
        (root / "sub" / "b.yaml").write_text("a: [")
        broken = await stream.next()
        assert broken.revision is None
        assert "sub/b.yaml" == broken.problems[0].file
        (root / "sub" / "b.yaml").unlink()
        assert 5 == await stream.largest()


async def test_a_content_with_the_same_digest_is_not_repeated(root: Path) -> None:
    async with following(root) as stream:
        await stream.next()
        calm = Calm(stream)
        for _ in range(3):
            save(root / "a.yaml", GOOD)
            (root / "notes.txt").write_text("x")
            assert await calm.lasts(0.3)
        save(root / "a.yaml", resized(4))
        assert (await calm.coming).revision is not None


async def test_a_half_written_save_is_never_seen(root: Path) -> None:
    async with following(root) as stream:
        await stream.next()
        calm = Calm(stream)
        with (root / "a.yaml").open("w") as file:
            text = resized(4)
            for at in range(0, len(text), 40):
                file.write(text[at : at + 40])
                file.flush()
                assert await calm.lasts(0.1)
            assert await calm.lasts(0.5)
        revision = (await calm.coming).revision
        assert revision is not None
        assert 4 == revision.pools["boxes"].size.max


async def test_a_writer_that_never_closes_is_told_and_the_content_comes_when_it_does(
    root: Path,
) -> None:
    async with following(root, patience=0.3) as stream:
        await stream.next()
        with (root / "a.yaml").open("w") as file:
            file.write(resized(4))
            file.flush()
            result = await stream.next()
            assert result.revision is None
            assert "a.yaml: another program has had this file open for writing" in str(
                result.problems[0]
            )
        assert 4 == await stream.largest()


async def test_a_directory_that_never_rests_is_told(root: Path) -> None:
    async with following(root, patience=0.3) as stream:
        await stream.next()
        calm = Calm(stream)
        number = 0
        while not calm.coming.done():
            number += 1
            save(root / "a.yaml", resized(3 + number % 5))
            await asyncio.sleep(0.01)
        assert "keep changing" in (await calm.coming).problems[0].message


async def test_the_flip_of_a_linked_root_is_one_change(tmp_path: Path) -> None:
    """As git-sync does it; each version has two files that must fit together."""
    for version in range(5):
        folder = tmp_path / "versions" / str(version)
        folder.mkdir(parents=True)
        head, _, pool = resized(10 + version).partition("\n---")
        (folder / "a.yaml").write_text(head.replace("name: box", f"name: v{version}"))
        (folder / "b.yaml").write_text(pool.replace("blueprint: box", f"blueprint: v{version}"))
    link, spare = tmp_path / "current", tmp_path / "spare"
    link.symlink_to("versions/0")

    async with following(link) as stream:
        assert 10 == await stream.largest()
        for version in range(1, 5):
            spare.symlink_to(f"versions/{version}")
            spare.replace(link)
            assert 10 + version == await stream.largest()
        (tmp_path / "versions" / "4" / "b.yaml").unlink()
        assert (await stream.next()).revision is not None  # a blueprint alone: a warning


async def test_the_flip_of_a_config_map_is_one_change(tmp_path: Path) -> None:
    for version in range(3):
        folder = tmp_path / f"..{version}"
        folder.mkdir()
        (folder / "a.yaml").write_text(resized(10 + version))
    (tmp_path / "..data").symlink_to("..0")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")

    async with following(tmp_path) as stream:
        assert 10 == await stream.largest()
        for version in (1, 2):
            (tmp_path / "..spare").symlink_to(f"..{version}")
            (tmp_path / "..spare").replace(tmp_path / "..data")
            shutil.rmtree(tmp_path / f"..{version - 1}")
            assert 10 + version == await stream.largest()


async def test_a_directory_that_goes_away_is_an_error_until_it_comes_back(root: Path) -> None:
    async with following(root) as stream:
        await stream.next()
        root.rename(root.with_name("elsewhere"))
        gone = await stream.next()
        assert gone.revision is None
        assert "does not exist" in gone.problems[0].message
        root.with_name("elsewhere").rename(root)
        assert 3 == await stream.largest()
        save(root / "a.yaml", resized(4))
        assert 4 == await stream.largest()


async def test_a_directory_that_is_emptied_is_an_error(root: Path) -> None:
    async with following(root) as stream:
        await stream.next()
        (root / "a.yaml").unlink()
        assert (await stream.next()).revision is None


async def test_a_directory_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    async with following(folder) as stream:
        assert (await stream.next()).revision is None
        folder.mkdir(parents=True)
        result = await stream.next()
        assert "there is no document" in result.problems[0].message
        (folder / "a.yaml").write_text(GOOD)
        assert 3 == await stream.largest()


async def test_what_no_event_tells_is_found_by_looking(root: Path) -> None:
    def deaf(*paths: Path, **_: object) -> Events:
        async def never() -> AsyncGenerator[set[tuple[watchfiles.Change, str]], None]:
            await asyncio.sleep(LONG)
            yield set()

        return never()

    results = DirectorySource(root, CATALOGUE, resync=0.1, watch=deaf).changes()
    stream = Stream(results)
    await stream.next()
    save(root / "a.yaml", resized(4))
    assert 4 == await stream.largest()
    await results.aclose()


async def test_without_inotify_it_polls_and_says_so(root: Path) -> None:
    def exhausted(
        *paths: Path,
        watch_filter: Callable[[watchfiles.Change, str], bool] | None,
        recursive: bool,
        force_polling: bool | None,
        step: int,
        debounce: int,
        ignore_permission_denied: bool,
    ) -> Events:
        if not force_polling:
            raise OSError(24, "Too many open files")
        return AWATCH(
            *paths, watch_filter=watch_filter, recursive=recursive, force_polling=True, step=step,
            debounce=debounce, ignore_permission_denied=ignore_permission_denied,
        )  # fmt: skip

    results = DirectorySource(root, CATALOGUE, resync=LONG, watch=exhausted).changes()
    stream = Stream(results)
    await stream.next()
    await asyncio.sleep(0.1)
    save(root / "a.yaml", resized(4))
    result = await stream.next()

    assert result.revision is not None
    assert any("the kernel gives no watch" in str(problem) for problem in result.problems)
    await results.aclose()


async def test_closing_the_stream_ends_every_task_of_it(root: Path) -> None:
    before = asyncio.all_tasks()
    async with following(root) as stream:
        await stream.next()

    assert before == asyncio.all_tasks()


def test_the_links_on_the_way_are_known(tmp_path: Path) -> None:
    (tmp_path / "real" / "config").mkdir(parents=True)
    (tmp_path / "one").symlink_to(tmp_path / "two")
    (tmp_path / "two").symlink_to("real")

    found = whereabouts(tmp_path / "one" / "config")

    real = tmp_path / "real" / "config"
    assert (real, real.stat().st_ino) == (found.tree, found.inode)
    assert {tmp_path / "one", tmp_path / "two", real} == found.names
    (tmp_path / "loop").symlink_to("loop")
    assert whereabouts(tmp_path / "loop").tree is None


async def test_a_change_of_the_starter_is_told_quickly(tmp_path: Path) -> None:
    write_starter(tmp_path / "config")
    file = tmp_path / "config" / "web.yaml"
    text = file.read_text()
    results = DirectorySource(tmp_path / "config", catalogue(), resync=LONG).changes()
    stream = Stream(results)
    await stream.next()
    taken: list[float] = []
    for number in range(20):
        started = time.perf_counter()
        save(file, text.replace("max: 20", f"max: {30 + number}"))
        result = await stream.next()
        taken.append(time.perf_counter() - started)
        assert result.revision is not None
        await asyncio.sleep(0.02)
    await results.aclose()
    assert sorted(taken)[10] < 2  # 0.1 s on an idle machine
