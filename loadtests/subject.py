"""The daemon under test: the real one, started as a person starts it, on a state folder of its own."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from .processes import resident_bytes, serving
from .wire import Wire, WireError, encode

STOKER = Path(sys.executable).with_name("stoker")

FOLDER = """\
apiVersion: stoker/v1
kind: Blueprint
metadata: {name: folder}
spec:
  prepare:
    - {name: work, driver: directory}
  finish:
    - {name: pass, driver: token}
  outputs:
    path: "${parts.work.path}"
    token: {value: "${parts.pass.value}", secret: true}
"""

POOL = """\
---
apiVersion: stoker/v1
kind: Pool
metadata: {{name: {name}}}
spec:
  blueprint: folder
  size: {{min: {least}, max: {most}}}
  lifetime: {{ttl: 1h, maxTtl: 2h}}
  backfill: {{rate: {rate}/s, burst: {burst}, concurrency: 32}}
"""


def a_pool(name: str, least: int, most: int, *, rate: int = 5000, burst: int = 500) -> str:
    """A pool of folders whose claims finish with a token: no provider is asked at claim."""
    return POOL.format(name=name, least=least, most=most, rate=rate, burst=burst)


def occupied(status: Any) -> int:
    """How many of a pool's slots are taken, by its status."""
    return sum(status["counts"].values())


class Subject:
    """A running daemon and what a caller can ask of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "s"
        self.pid = 0
        self.started_in = 0.0
        """Seconds from the start of the process to readiness."""

    def declare(self, *pools: str) -> None:
        """Replaces the configuration in one rename, as an editor or `git checkout` does."""
        config = self.folder / "config"
        config.mkdir(parents=True, exist_ok=True)
        fresh = self.folder / "fresh.yaml"
        fresh.write_text(FOLDER + "".join(pools), encoding="utf-8")
        fresh.replace(config / "bench.yaml")

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["Subject"]:
        command: Sequence[str | Path] = [
            *(STOKER, "run", "--config", self.folder / "config"),
            *("--state", self.folder / "state", "--socket", self.socket),
            *("--max-destroy", "100%"),  # pools are emptied again and again
        ]
        began = time.perf_counter()
        async with serving(command, self.socket) as process:
            self.pid = process.pid
            await self.until_ready()
            self.started_in = time.perf_counter() - began
            yield self

    async def until_ready(self) -> None:
        wire = await Wire.connect(str(self.socket))
        async with asyncio.timeout(60):
            while (await wire.ask(encode("GET", "/readyz")))[0] != 200:
                await asyncio.sleep(0.005)
        wire.close()

    async def get(self, path: str) -> Any:
        """The JSON answer to a GET."""
        wire = await Wire.connect(str(self.socket))
        status, body = await wire.ask(encode("GET", path))
        wire.close()
        if status != 200:
            raise WireError(f"GET {path} was answered {status}: {body.decode()[:300]}")
        return json.loads(body)

    async def until(self, pool: str, is_so: Callable[[Any], bool], *, within: float) -> None:
        """Waits for the pool's status to be as wanted."""
        try:
            async with asyncio.timeout(within):
                while not is_so(await self.get(f"/v1/pools/{pool}")):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            status = await self.get(f"/v1/pools/{pool}")
            raise WireError(f"pool {pool} did not get there in {within} s: {status}") from None

    async def until_warm(self, pool: str, count: int, *, within: float = 120.0) -> None:
        await self.until(pool, lambda status: status["ready"] >= count, within=within)

    async def until_all_warm(self, *, within: float) -> None:
        """Waits until every pool has as many ready resources as it wants."""
        for status in (await self.get("/v1/pools"))["items"]:
            await self.until_warm(status["name"], status["min"], within=within)

    @asynccontextmanager
    async def following(self, query: str) -> AsyncGenerator[AsyncIterator[bytes]]:
        """The events from now on, one JSON object each; `query` filters them."""
        reader, writer = await asyncio.open_unix_connection(str(self.socket), limit=1 << 20)
        try:
            last = [int(event["seq"]) for event in await self._listed(query)]
            path = f"/v1/events?follow=1&since={max(last, default=0)}&{query}"
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            yield (line async for line in reader if line.startswith(b"{"))
        finally:
            writer.close()

    async def _listed(self, query: str) -> list[Any]:
        reader, writer = await asyncio.open_unix_connection(str(self.socket), limit=1 << 20)
        ask = f"GET /v1/events?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        writer.write(ask.encode())
        await reader.readuntil(b"\r\n\r\n")
        found = [json.loads(line) async for line in reader if line.startswith(b"{")]
        writer.close()
        return found

    async def release(self, ids: Sequence[str], *, clients: int = 16) -> None:
        """Gives claims back; never inside a measurement."""
        left = list(ids)

        async def client() -> None:
            wire = await Wire.connect(str(self.socket))
            while left:
                await wire.ask(encode("DELETE", f"/v1/claims/{left.pop()}"))
            wire.close()

        await asyncio.gather(*[client() for _ in range(clients)])

    def resident(self) -> int:
        return resident_bytes(self.pid)
