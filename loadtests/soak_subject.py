"""The daemon of a soak: killed and started over and over on the same state, on pools of two kinds."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from .processes import end
from .promises import Broken, Promises
from .subject import STOKER
from .wire import Wire, WireError, encode

START_WITHIN = 15.0
ANSWER_WITHIN = 60.0
SETTLE_WITHIN = 60.0

MADE = "parts/directory/[a-z]*"
"""The folders of the directory driver, without those that are being made or removed."""

CONFIG = """\
apiVersion: stoker/v1
kind: Blueprint
metadata: {{name: folder}}
spec:
  prepare:
    - {{name: work, driver: directory}}
  finish:
    - {{name: pass, driver: token}}
    - {{name: note, driver: file, with: {{path: "${{parts.work.path}}/claim", content: "${{claim.id}}"}}}}
  outputs:
    path: "${{parts.work.path}}"
    token: {{value: "${{parts.pass.value}}", secret: true}}
---
apiVersion: stoker/v1
kind: Blueprint
metadata: {{name: server}}
spec:
  prepare:
    - {{name: work, driver: directory}}
    - name: process
      driver: process
      with: {{command: [sleep, "1000000"], cwd: "${{parts.work.path}}"}}
  finish:
    - {{name: pass, driver: token}}
  outputs:
    path: "${{parts.work.path}}"
    token: {{value: "${{parts.pass.value}}", secret: true}}
---
apiVersion: stoker/v1
kind: Pool
metadata: {{name: folders}}
spec:
  blueprint: folder
  size: {{min: {folders}, max: 400}}
  lifetime: {{ttl: 1h, maxTtl: 2h}}
  backfill: {{rate: 100/s, burst: 20, concurrency: 8}}
---
apiVersion: stoker/v1
kind: Pool
metadata: {{name: servers}}
spec:
  blueprint: server
  size: {{min: {servers}, max: 40}}
  lifetime: {{ttl: 1h, maxTtl: 2h}}
  backfill: {{rate: 10/s, burst: 5, concurrency: 4}}
"""


class SoakSubject:
    """A daemon that may be down at any moment; every question is repeated until it is answered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._socket = folder / "s"
        self._log = folder / "log"
        self._process: asyncio.subprocess.Process | None = None
        self._idle: list[Wire] = []

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    def declare(self, *, folders: int, servers: int) -> None:
        config = self.folder / "config"
        config.mkdir(exist_ok=True)
        fresh = self.folder / "fresh.yaml"
        fresh.write_text(CONFIG.format(folders=folders, servers=servers), encoding="utf-8")
        fresh.replace(config / "soak.yaml")

    async def prepare(self) -> None:
        self.declare(folders=40, servers=3)
        await self.start()
        await self.until_converged()

    async def start(self) -> float:
        """Starts the daemon; returns after how many seconds it said that it is ready."""
        began = time.monotonic()
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(STOKER, "run", "--config", self.folder / "config"),
                *("--state", self.folder / "state", "--socket", self._socket),
                *("--max-destroy", "100%"),  # in the end the pools are emptied
                stdout=log,
                stderr=log,
            )
        await self._until("ready", self._is_ready, START_WITHIN)
        return time.monotonic() - began

    async def _is_ready(self) -> bool:
        if self._process is not None and self._process.returncode is not None:
            raise Broken(f"the daemon did not start: exit code {self._process.returncode}")
        with suppress(OSError, WireError, TimeoutError):
            wire = await Wire.connect(str(self._socket))
            try:
                async with asyncio.timeout(5):
                    return (await wire.ask(encode("GET", "/readyz")))[0] == 200
            finally:
                wire.close()
        return False

    async def gone(self) -> None:
        if self._process is not None:
            await self._process.wait()
        for wire in self._idle:
            wire.close()
        self._idle.clear()

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        key: str = "",
        promises: Promises | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON of the answer, asked again while the daemon is down or starting."""
        deadline = time.monotonic() + ANSWER_WITHIN
        request = encode(method, path, body, key=key)
        while time.monotonic() < deadline:
            with suppress(OSError, WireError, TimeoutError):
                wire = self._idle.pop() if self._idle else await Wire.connect(str(self._socket))
                async with asyncio.timeout(ANSWER_WITHIN):
                    status, answer = await wire.ask(request)
                self._idle.append(wire)
                found: dict[str, Any] = json.loads(answer) if answer else {}
                if found.get("code") not in {"starting", "stopping"}:
                    return status, found
            if promises is not None:
                promises.repeats += 1
            await asyncio.sleep(0.05)
        raise Broken(f"{method} {path} was not answered within {ANSWER_WITHIN:.0f} s")

    async def show(self, claim: str) -> dict[str, Any] | None:
        status, answer = await self.ask("GET", f"/v1/claims/{claim}")
        return answer if status == 200 else None

    async def release(self, claim: str) -> None:
        status, answer = await self.ask("DELETE", f"/v1/claims/{claim}")
        if status not in {200, 202, 204}:
            raise Broken(f"the release of {claim} was answered {status}: {answer}")

    async def until_converged(self) -> None:
        """Every pool is full, nothing is on its way, and the host holds what the ledger says."""
        await self._until("converged", self._is_converged, SETTLE_WITHIN)

    async def empty(self) -> None:
        self.declare(folders=0, servers=0)
        await self._until("empty", self._is_empty, SETTLE_WITHIN)

    async def _is_converged(self) -> bool:
        _, answer = await self.ask("GET", "/v1/pools")
        full = all(
            pool["ready"] == pool["min"] == sum(pool["counts"].values()) for pool in answer["items"]
        )
        return full and len(answer["items"]) == 2 and await self._agrees_with_host()

    async def _agrees_with_host(self) -> bool:
        """What the directory driver has on disk are the resources that the ledger has."""
        _, answer = await self.ask("GET", "/v1/resources?limit=10000")
        return {one["id"] for one in answer["items"]} == self._resources_on_host()

    def _resources_on_host(self) -> set[str]:
        return {path.name.partition(".")[0] for path in (self.folder / "state").glob(MADE)}

    def _folders(self) -> list[Path]:
        marks = ("folders-", "servers-")
        return [p for p in self.folder.rglob("*") if any(mark in p.name for mark in marks)]

    async def _is_empty(self) -> bool:
        _, answer = await self.ask("GET", "/v1/resources?limit=10000")
        return not answer["items"]

    async def _until(self, what: str, is_so: Callable[[], Awaitable[bool]], within: float) -> None:
        deadline = time.monotonic() + within
        while not await is_so():
            if time.monotonic() > deadline:
                pools = await self.ask("GET", "/v1/pools") if what != "ready" else ""
                raise Broken(f"the daemon is not {what} after {within:.0f} s: {pools}")
            await asyncio.sleep(0.02)

    def what_exists(self) -> list[str]:
        """What drivers made and is still there: folders of resources, processes in them."""
        return [*map(str, self._folders()), *[f"process {pid}" for pid in self._processes()]]

    def _processes(self) -> list[int]:
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [pid for pid in pids if pid != self.pid and self._works_here(pid)]

    def _works_here(self, pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/cwd").readlink().is_relative_to(self.folder)
        except OSError:
            return False

    async def clean_up(self) -> None:
        """Ends the daemon, and what it made if it could not: only what works in our folder."""
        if self._process is not None:
            await end(self._process)
        for pid in self._processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def show_log(self) -> None:
        if self._log.exists():
            last = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-40:]
            print("\n".join(["the daemon's last words:", *last]))
