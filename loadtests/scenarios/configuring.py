"""What a large configuration costs: 500 pools in 2,000 files of a Git repository.

The repository is a real one, over file and over http (`git http-backend`). The daemon is told to look, as by
a push, and answers when the new commit serves; what fetching that commit takes by itself, by the daemon's
own code with a copy of its own, is taken off. That an unchanged repository is not parsed is proved by
making every parse and every fetch an error.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from unittest.mock import patch

from stoker.config.repositories import following
from stoker.config.repositories.access import Access
from stoker.config.repositories.clone import DEPTHS, Clone
from stoker.config.repositories.following import Follower, Rules
from stoker.config.repositories.programs import Programs
from stoker.config.repositories.urls import Location, parse_location
from stoker.pools.drivers import catalogue
from tests.fixtures.repositories import HttpServer, Repository, http_server

from ..processes import serving
from ..report import Row, Section, at_most, fact, p95
from ..scale import Scale, folder
from ..subject import STOKER, Subject
from ..wire import Wire, encode

BLUEPRINT = """\
apiVersion: stoker/v1
kind: Blueprint
metadata: {{name: folder-{number}}}
spec:
  prepare:
    - {{name: work, driver: directory}}
  finish:
    - {{name: pass, driver: token}}
  outputs:
    path: "${{parts.work.path}}"
    token: {{value: "${{parts.pass.value}}", secret: true}}
"""
POOL = """\
apiVersion: stoker/v1
kind: Pool
metadata: {{name: pool-{number}, labels: {{team: team-{number}}}}}
spec:
  blueprint: folder-{number}
  size: {{min: 0, max: {most}}}
  lifetime: {{ttl: 1h, maxTtl: 2h}}
"""


def a_pool(number: int, most: int) -> dict[str, str | bytes | None]:
    return {f"pools/{number:04}.yaml": POOL.format(number=number, most=most)}


def large(pools: int, files: int) -> dict[str, str | bytes | None]:
    """So many pools, each with a file of its own, and blueprints in the rest of the files."""
    found: dict[str, str | bytes | None] = {}
    for number in range(files - pools):
        found[f"blueprints/{number:04}.yaml"] = BLUEPRINT.format(number=number)
    for number in range(pools):
        found |= a_pool(number, 5)
    return found


async def run(scale: Scale) -> Section:
    rows: list[Row] = []
    with folder() as where:
        repository = Repository(where / "remote")
        repository.commit(large(scale.pools, scale.files))
        times = [_validated(repository.work) for _ in range(scale.repetitions)]
        rows.append(at_most("stoker validate", times, "s", 3.0, "<= 3 s"))
        with http_server(repository.bare.parent) as server:
            spent = _clock(server)
            for url in (repository.url, server.url):
                rows += await _over(
                    scale, where, repository, parse_location(f"{url}?ref=main"), spent
                )
    return Section(
        f"{scale.pools} pools in {scale.files:,} files of a Git repository",
        rows,
        [
            "a look at an unchanged repository: one question to git, no fetch and no parse;",
            "over http less the time that the server takes to answer",
        ],
    )


def _validated(config: Path) -> float:
    began = time.perf_counter()
    subprocess.run([STOKER, "validate", config], check=True, capture_output=True)
    return time.perf_counter() - began


def _clock(server: HttpServer) -> list[float]:
    """Seconds that each answer of the server took, as they come."""
    spent: list[float] = []
    answer = server.answer

    def timed(request: BaseHTTPRequestHandler) -> None:
        began = time.perf_counter()
        answer(request)
        spent.append(time.perf_counter() - began)

    server.answer = timed  # type: ignore[method-assign]
    return spent


async def _over(
    scale: Scale, where: Path, repository: Repository, location: Location, spent: list[float]
) -> list[Row]:
    name = location.scheme
    first, fetches, applies = await _changes(scale, where / name, repository, location)
    unchanged = where / f"{name}-unchanged"
    looks = await asyncio.to_thread(_unchanged, scale, unchanged, location, spent)
    return [
        fact(f"first start to ready, {name}", first, "s"),
        fact(f"  fetch of a changed pool, {name}", fetches, "s"),
        at_most("  from the fetch to applied", applies, "s", 1.0, "<= 1 s"),
        at_most(f"  unchanged look p95, {name}", looks, "s", 0.050, "<= 50 ms"),
    ]


async def _changes(
    scale: Scale, where: Path, repository: Repository, location: Location
) -> tuple[list[float], list[float], list[float]]:
    """The first start; and for each change, its fetch alone and the rest of the way."""
    where.mkdir()
    subject = Subject(where)
    aside = Clone(where / "aside", location, Access(), Programs())
    await asyncio.to_thread(aside.fetch, 1)
    command: list[str | Path] = [
        *(STOKER, "run", "--config", str(location), "--config-poll", "1h"),
        *("--state", where / "state", "--socket", subject.socket),
    ]
    began = time.perf_counter()
    fetches: list[float] = []
    applies: list[float] = []
    async with serving(command, subject.socket):
        await subject.until_ready()
        first = [time.perf_counter() - began]
        wire = await Wire.connect(str(subject.socket))
        for change in range(scale.repetitions):
            commit = await asyncio.to_thread(repository.commit, dict(a_pool(change, 6 + change)))
            began = time.perf_counter()
            status, _ = await wire.ask(encode("POST", "/v1/config/sync"))
            took = time.perf_counter() - began
            applied = (await subject.get("/v1/status"))["revision"]["commit"]
            if status != 200 or applied != commit:
                raise AssertionError(f"{applied} is applied, not {commit} ({status})")
            fetches.append(await asyncio.to_thread(_fetch, aside))
            applies.append(max(0.0, took - fetches[-1]))
        wire.close()
    return first, fetches, applies


def _fetch(clone: Clone) -> float:
    began = time.perf_counter()
    clone.tip()
    clone.fetch(DEPTHS[0])
    return time.perf_counter() - began


def _unchanged(scale: Scale, where: Path, location: Location, spent: list[float]) -> list[float]:
    """Seconds of a look that finds nothing new, p95 in each repetition; less what others `spent`."""
    where.mkdir()
    programs = Programs()
    clone = Clone(where, location, Access(), programs)
    follower = Follower(clone, programs, catalogue(), Rules())
    found = follower.look(None).result
    assert found is not None
    assert found.revision is not None, found.problems[:1]
    rounds: list[list[float]] = []
    with _nothing_is_parsed():
        for _ in range(scale.repetitions):
            rounds.append([])
            for _ in range(scale.looks):
                spent.clear()
                began = time.perf_counter()
                look = follower.look(found.revision)
                rounds[-1].append(time.perf_counter() - began - sum(spent))
                assert look.result is None
    return [p95(times) for times in rounds]


@contextmanager
def _nothing_is_parsed() -> Generator[None]:
    def wrong(*_: object, **__: object) -> None:
        raise AssertionError("an unchanged repository was read again")

    with (
        patch.object(following, "load", wrong),
        patch.object(following, "checked_files", wrong),
        patch.object(Clone, "fetch", wrong),
        patch.object(sys.modules["stoker.config.documents"], "read_file", wrong),
    ):
        yield
