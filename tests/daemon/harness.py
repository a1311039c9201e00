"""The real socket server over the real core, on a real Unix socket, in real time."""

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp

from stoker.config.loading import LoadResult
from stoker.config.policies.rules import PolicySpec
from stoker.config.revision import PoolSpec
from stoker.config.settings import Address, Settings
from stoker.daemon.connections import ConnectionServer
from stoker.daemon.facade import Core
from stoker.daemon.judging import PolicyJudge
from stoker.daemon.metrics import Metrics
from stoker.daemon.server import SocketServer
from stoker.daemon.status import RevisionFacts, StatusFacts
from stoker.daemon.steering import Steering
from stoker.daemon.synchroniser import Synchroniser
from stoker.pools.ids import Ids
from stoker.pools.processes import HostProcesses
from stoker.pools.stores.sqlite import SqliteStore
from tests.daemon.documented import check_documented
from tests.fakes.world import Faults
from tests.rig import Host, Run

SOON = 10.0
"""Seconds in which anything here happens, on a slow machine too."""


@dataclass
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines() if line]


@dataclass
class Caller:
    """A well-behaved HTTP client."""

    socket: Path
    session: aiohttp.ClientSession

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> Reply:
        given = {"Content-Type": "application/json"} if body is not None else {}
        sent = json.dumps(body).encode() if body is not None else data
        async with self.session.request(
            method, f"http://stoker{path}", data=sent, headers={**given, **(headers or {})}
        ) as response:
            reply = Reply(response.status, response.headers, await response.read())
        check_documented(method, path, reply.status, response.content_type, reply.body)
        return reply

    async def get(self, path: str) -> Reply:
        return await self.ask("GET", path)

    async def claim(self, pool: str = "web", *, key: str | None = None, **body: Any) -> Reply:
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self.ask("POST", "/v1/claims", {"pool": pool, **body}, headers=headers)

    async def raw(self, data: bytes, *, within: float = SOON) -> bytes:
        """What comes back for these bytes until the daemon closes the connection."""
        reader, writer = await asyncio.open_unix_connection(str(self.socket))
        try:
            writer.write(data)
            async with asyncio.timeout(within):
                return await reader.read()
        finally:
            writer.close()


class DiskRun(Run):
    """A run with its ledger on a disk: in real time nothing of it may block the loop."""

    def __init__(self, host: Host, folder: Path) -> None:
        super().__init__(host)
        folder.mkdir(mode=0o700)
        self.store = SqliteStore.open(folder, sealer=host.sealer, wall=time.time)
        self.services.store = self.store
        self.services.processes = HostProcesses()


class OpenServer(SocketServer):
    """The server with what only its tests need to reach."""

    @property
    def door(self) -> ConnectionServer:
        """All connections of the socket."""
        return self._doors[0].server


class Quiet:
    """A source of configurations in which nothing changes."""

    remote = False

    async def changes(self) -> AsyncGenerator[LoadResult, None]:
        await asyncio.Event().wait()
        yield  # type: ignore[misc]  # pyright: ignore[reportReturnType] - never reached

    async def sync(self) -> None:
        raise NotImplementedError


@dataclass
class Served:
    """A server with everything behind it."""

    server: OpenServer
    settings: Settings
    metrics: Metrics
    caller: Caller
    run: Run
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    """Overrides of the status."""
    source: Quiet = field(default_factory=Quiet)
    """Where the configuration comes from."""
    synced: bool = True
    """Whether a look for a new configuration comes to its end."""

    def __post_init__(self) -> None:
        run = self.run
        self.synchroniser = Synchroniser(
            self.source, run.fleet, run.services.catalogue, run.host.clock, self.metrics
        )
        self.synchroniser.state.revision = run.fleet.revision
        self.steering = Steering(self.synchroniser, run.services)

    def status(self) -> StatusFacts:
        facts = StatusFacts(
            version="0",
            pid=os.getpid(),
            uptime=61.0,
            state_folder=str(self.settings.state),
            socket=str(self.settings.socket),
            ready=True,
            revision=self.revision,
        )
        return replace(facts, **self.facts)

    @property
    def revision(self) -> RevisionFacts | None:
        serving = self.synchroniser.state.revision
        return None if serving is None else RevisionFacts(serving.id, serving.source, 0.0)

    async def sync(self, within: float) -> bool:
        return self.synced

    def serve(self) -> None:
        run = self.run
        self.metrics.observe(run.fleet, run.store)
        self.server.tell_status(self.status, self.metrics)
        self.server.host.sync = self.sync
        self.server.host.steering = self.steering
        self.server.serve(Core(run.fleet, run.store, run.host.clock, run.store.load().last_event))


def some_settings(folder: Path, **more: Any) -> Settings:
    return Settings(
        config=folder / "config", state=folder / "state", socket=folder / "s.sock", **more
    )


@asynccontextmanager
async def a_caller(socket: Path) -> AsyncGenerator[Caller]:
    connector = aiohttp.UnixConnector(str(socket))
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, auto_decompress=False
    ) as session:
        yield Caller(socket, session)


@asynccontextmanager
async def a_server(
    folder: Path,
    *pools: PoolSpec,
    open_core: bool = True,
    faults: Faults | None = None,
    daemon_uid: int | None = None,
    metrics_address: Address | None = None,
    policies: tuple[PolicySpec, ...] = (),
    **settings: Any,
) -> AsyncGenerator[Served]:
    """Serves these pools until the block ends; with `open_core=False` requests are parked."""
    host = Host(faults=faults or Faults(), policies=policies)
    run = DiskRun(host, folder / "state")
    await run.open()
    await run.fleet.apply(host.revision(*pools))
    await run.fleet.start()
    given = some_settings(folder, metrics=metrics_address, **settings)
    server = OpenServer(given, Ids(time.time), daemon_uid=daemon_uid)
    try:
        await server.start()
        async with a_caller(given.socket) as caller:
            served = Served(server, given, Metrics(), caller, run)
            if open_core:
                judge = run.services.judge
                if not isinstance(judge, PolicyJudge):  # without policies, anybody of a test may
                    uid = server.host.daemon_uid
                    judge = PolicyJudge(host.clock, run, daemon_uid=uid, host="here")
                server.host.judge = judge
                served.serve()
                for pool in pools:
                    await run.until_ready(pool.size.min, pool.name, within=SOON)
            yield served
    finally:
        server.refuse_new()
        await run.fleet.close()
        await server.close(1.0)
        await run.store.close()
