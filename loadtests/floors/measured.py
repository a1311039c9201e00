"""Measuring the floors: each starts its server, loads it as the daemon is loaded, and ends it."""

import asyncio
import json
from pathlib import Path

from ..generator import Job, Outcome, run_load
from ..processes import NotStarted, module, serving

REQUEST = '{"pool": "bench", "ttl": "10m", "reason": "benchmark"}'


async def library(
    folder: Path, length: int, count: int, *, clients: int = 1, body: str = REQUEST
) -> Outcome:
    """The daemon's HTTP library, doing nothing; `length` is the size of its answer in bytes."""
    socket = folder / "library"
    async with serving(module("loadtests.floors.library", socket, length), socket):
        return await _load(socket, body, count, clients)


async def echo(
    folder: Path,
    length: int,
    count: int,
    *,
    clients: int = 1,
    body: str = REQUEST,
    loop: str = "uvloop",
) -> Outcome:
    """A bare asyncio protocol; `loop` is `uvloop` or `asyncio`."""
    socket = folder / f"echo-{loop}"
    async with serving(module("loadtests.floors.echo", socket, length, loop), socket):
        return await _load(socket, body, count, clients)


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


async def _load(socket: Path, body: str, count: int, clients: int) -> Outcome:
    warming = Job(str(socket), "/v1/claims", body, min(count, 200), clients)
    await run_load(warming)
    outcome = await run_load(Job(str(socket), "/v1/claims", body, count, clients))
    socket.unlink(missing_ok=True)
    return outcome
