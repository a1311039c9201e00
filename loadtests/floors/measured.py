"""Measuring the floors: each starts its server, loads it as the daemon is loaded, and ends it."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from ..generator import Job, Outcome, run_load
from ..processes import NotStarted, module, serving

REQUEST = '{"pool": "bench", "ttl": "10m", "reason": "benchmark"}'


@asynccontextmanager
async def library_serving(folder: Path, length: int) -> AsyncGenerator[Path]:
    """The daemon's HTTP library, doing nothing; answers have `length` bytes. Yields its socket."""
    socket = folder / "library"
    async with serving(module("loadtests.floors.library", socket, length), socket):
        await load(socket, 200)
        yield socket
    socket.unlink(missing_ok=True)


async def library(folder: Path, length: int, count: int, *, clients: int = 1) -> Outcome:
    async with library_serving(folder, length) as socket:
        return await load(socket, count, clients=clients)


async def echo(
    folder: Path, length: int, count: int, *, clients: int = 1, loop: str = "uvloop"
) -> Outcome:
    """A bare asyncio protocol; `loop` is `uvloop` or `asyncio`."""
    socket = folder / f"echo-{loop}"
    async with serving(module("loadtests.floors.echo", socket, length, loop), socket):
        await load(socket, 200)
        outcome = await load(socket, count, clients=clients)
    socket.unlink(missing_ok=True)
    return outcome


async def append(folder: Path, length: int, count: int, *, writers: int = 1) -> Outcome:
    """One row of `length` bytes for each commit, durable."""
    where = folder / "append"
    where.mkdir()
    try:
        process = await asyncio.create_subprocess_exec(
            *module("loadtests.floors.append", where, length, count, writers),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
    finally:
        for file in where.iterdir():
            file.unlink()
        where.rmdir()
    if process.returncode != 0:
        raise NotStarted("the append floor failed; what it said stands above")
    return Outcome(**json.loads(output))


async def load(socket: Path, count: int, *, clients: int = 1) -> Outcome:
    """Loads a floor as the daemon is loaded."""
    return await run_load(Job(str(socket), "/v1/claims", REQUEST, count, clients))
