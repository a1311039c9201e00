"""The stream of a repository: when it looks, what it yields, what it tells, and that it ends at once."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from stoker.config.loading import LoadResult
from stoker.config.repositories.access import Access
from stoker.config.repositories.following import Rules
from stoker.config.repositories.source import RepositorySource, Wanted
from stoker.config.repositories.urls import parse_location
from stoker.config.revision import Revision
from tests.config.catalogue import CATALOGUE
from tests.config.repositories.conftest import GOOD, resized
from tests.fixtures.repositories import Repository, http_server

LONG = 30.0


@dataclass
class Stream:
    source: RepositorySource
    results: AsyncGenerator[LoadResult, None]
    serving: Revision | None = None

    async def next(self) -> LoadResult:
        """Applies what came before, and waits for what comes next."""
        async with asyncio.timeout(LONG):
            result = await anext(self.results)
        if result.revision is not None:
            self.serving = result.revision
        return result


@asynccontextmanager
async def streaming(
    folder: Path, url: str, *, poll: float = LONG, serving: Revision | None = None
) -> AsyncGenerator[Stream]:
    wanted = Wanted(parse_location(url), Access(), Rules(), folder / "copy")
    made: list[Stream] = []
    source = RepositorySource(
        wanted, CATALOGUE, serving=lambda: made[0].serving, now=time.monotonic, poll=poll
    )
    made.append(Stream(source, source.changes(), serving))
    try:
        yield made[0]
    finally:
        await made[0].results.aclose()


async def pushed(repository: Repository, size: int) -> str:
    return await asyncio.to_thread(repository.commit, {"a.yaml": resized(size)})


async def test_each_new_commit_comes_once_and_the_facts_say_which(
    repository: Repository, tmp_path: Path
) -> None:
    first = await pushed(repository, 3)
    async with streaming(tmp_path, f"{repository.url}?ref=main", poll=0.05) as stream:
        assert first == (await stream.next()).commit
        second = await pushed(repository, 4)
        assert second == (await stream.next()).commit
        facts = stream.source.facts()
        assert (second, None, "", 2) == (facts.seen, facts.refused, facts.error, facts.fetched)
        coming = asyncio.ensure_future(stream.next())
        await asyncio.wait([coming], timeout=0.5)
        assert not coming.done()
        assert stream.source.facts().unchanged > 2
        third = await pushed(repository, 5)
        assert third == (await coming).commit


async def test_a_sync_ends_when_what_it_found_has_been_applied(
    repository: Repository, tmp_path: Path
) -> None:
    await pushed(repository, 3)
    async with streaming(tmp_path, f"{repository.url}?ref=main") as stream:
        await stream.next()
        coming = asyncio.ensure_future(stream.next())
        await asyncio.sleep(0.05)
        commit = await pushed(repository, 4)
        wish = asyncio.ensure_future(stream.source.sync())
        assert commit == (await coming).commit
        await asyncio.sleep(0.05)
        assert not wish.done()
        coming = asyncio.ensure_future(stream.next())  # what came was applied
        async with asyncio.timeout(LONG):
            await wish
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


async def test_a_refusal_stands_in_the_facts_until_something_good_comes(
    repository: Repository, tmp_path: Path
) -> None:
    await pushed(repository, 3)
    async with streaming(tmp_path, f"{repository.url}?ref=main", poll=0.05) as stream:
        await stream.next()
        bad = await asyncio.to_thread(repository.commit, {"a.yaml": GOOD + "---\nkind: Nope\n"})
        assert (await stream.next()).revision is None
        coming = asyncio.ensure_future(stream.next())
        await asyncio.sleep(0.3)
        refused = stream.source.facts().refused
        assert refused is not None
        assert bad == refused.commit
        assert "Nope" in refused.because
        await pushed(repository, 4)
        await coming
        assert stream.source.facts().refused is None


async def test_an_outage_is_told_in_the_facts_alone_and_tried_again_soon(
    repository: Repository, tmp_path: Path
) -> None:
    commit = await pushed(repository, 3)
    with http_server(repository.bare.parent) as server:
        server.stop()
        async with streaming(tmp_path, f"{server.url}?ref=main") as stream:
            coming = asyncio.ensure_future(stream.next())
            async with asyncio.timeout(LONG):
                while not stream.source.facts().error:
                    await asyncio.sleep(0.02)
            facts = stream.source.facts()
            assert facts.failing_since is not None
            assert facts.asked_at is None
            server.start()
            assert commit == (await coming).commit  # long before the usual pause is over
            assert "" == stream.source.facts().error


async def test_closing_the_stream_ends_a_git_that_hangs(
    repository: Repository, tmp_path: Path
) -> None:
    await pushed(repository, 3)
    over = threading.Event()
    with http_server(repository.bare.parent) as server:
        server.before = lambda _: over.wait(60)
        try:
            async with streaming(tmp_path, f"{server.url}?ref=main") as stream:
                coming = asyncio.ensure_future(stream.next())
                async with asyncio.timeout(LONG):
                    while not server.requests:
                        await asyncio.sleep(0.02)
                started = time.monotonic()
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
            assert time.monotonic() - started < 1
        finally:
            over.set()


async def test_what_serves_already_is_not_repeated_at_a_start(
    repository: Repository, tmp_path: Path
) -> None:
    await pushed(repository, 3)
    async with streaming(tmp_path, f"{repository.url}?ref=main") as stream:
        await stream.next()
        serving = stream.serving
    async with streaming(
        tmp_path, f"{repository.url}?ref=main", poll=0.05, serving=serving
    ) as stream:
        coming = asyncio.ensure_future(stream.next())
        await asyncio.wait([coming], timeout=0.5)
        assert not coming.done()
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
