"""A real daemon with pools of work folders, for the tests of `stoker claim POOL -- COMMAND`."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stoker.client import ClaimInfo, Stoker, StokerError

STOKER = [sys.executable, "-m", "stoker.daemon.main"]

CONFIG = """
apiVersion: stoker/v1
kind: Blueprint
metadata: {name: folder}
spec:
  parameters:
    greeting: {type: string, default: hello}
  prepare:
    - {name: work, driver: directory}
    - {name: key, driver: token}
  outputs:
    path: "${parts.work.path}"
    greeting: "${params.greeting}"
    api_key: {value: "${parts.key.value}", secret: true}
---
apiVersion: stoker/v1
kind: Pool
metadata: {name: folders}
spec:
  blueprint: folder
  size: {min: 2, max: 6}
  lifetime: {ttl: 5m, maxTtl: 1h}
  backfill: {rate: 50/s, burst: 10}
---
apiVersion: stoker/v1
kind: Pool
metadata: {name: single}
spec:
  blueprint: folder
  size: {min: 1, max: 1}
  backfill: {rate: 50/s, burst: 10}
"""


def eventually(condition: Callable[[], bool], within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@dataclass
class RealDaemon:
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "STOKER_SOCKET": str(self.folder / "s"), "TERM": "xterm"}

    def client(self) -> Stoker:
        return Stoker(self.folder / "s")

    def start(self, *args: str, program: str = "env", **kwargs: object) -> subprocess.Popen[str]:
        """A `stoker` process of its own, begun by `program`, which becomes it."""
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            [program, *STOKER, *args],
            env=self.environment,
            text=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **kwargs},
        )

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*args)
        out, err = process.communicate(timeout=30)
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    def claims(self, pool: str = "folders") -> Sequence[ClaimInfo]:
        with self.client() as client:
            return client.claims(pool=pool)

    def claim_of(self, reason: str, pool: str = "folders") -> ClaimInfo:
        """The claim that was made with this reason, once it is there."""
        found: list[ClaimInfo] = []

        def there() -> bool:
            found[:] = [one for one in self.claims(pool) if one.document["reason"] == reason]
            return bool(found)

        eventually(there)
        return found[0]

    def ended_because(self, claim: str) -> str:
        """How it ended, once it has."""
        with self.client() as client:
            eventually(lambda: client.show(claim).over)
            return client.show(claim).ended_because


@contextmanager
def a_daemon(folder: Path) -> Iterator[RealDaemon]:
    (folder / "config").mkdir()
    (folder / "config" / "pools.yaml").write_text(CONFIG, encoding="utf-8")
    daemon = RealDaemon(folder)
    places = {"config": "config", "state": "state", "socket": "s"}
    flags = [word for name, place in places.items() for word in (f"--{name}", str(folder / place))]
    with (folder / "log").open("w") as log:
        process = daemon.start("run", *flags, stdout=log, stderr=log)
    try:
        eventually(lambda: _is_full(daemon))
        yield daemon
    finally:
        process.terminate()
        process.wait(30)


def _is_full(daemon: RealDaemon) -> bool:
    try:
        with daemon.client() as client:
            return all(pool["ready"] >= pool["min"] for pool in client.pools())
    except StokerError:
        return False
