"""A real daemon with pools of work folders, for the tests of `stoker claim POOL -- COMMAND`."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

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
    process: "subprocess.Popen[str]" = field(init=False)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "STOKER_SOCKET": str(self.folder / "s"), "TERM": "xterm"}

    def client(self) -> Stoker:
        return Stoker(self.folder / "s")

    def start(
        self, *args: str, program: str = "env", log: IO[str] | None = None
    ) -> subprocess.Popen[str]:
        """A `stoker` process of its own, begun by `program`, which becomes it.

        What it says goes to `log`, or into pipes.
        """
        to = subprocess.PIPE if log is None else log
        command = [program, *STOKER, *args]
        return subprocess.Popen(command, env=self.environment, text=True, stdout=to, stderr=to)

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

    def launch(self) -> None:
        """Starts the daemon, and returns once its pools are full."""
        places = {"config": "config", "state": "state", "socket": "s"}
        flags = [
            w for name, place in places.items() for w in (f"--{name}", str(self.folder / place))
        ]
        with (self.folder / "log").open("a") as log:
            self.process = self.start("run", *flags, log=log)
        try:
            eventually(lambda: _is_full(self))
        except AssertionError:
            raise AssertionError((self.folder / "log").read_text()[-4000:]) from None

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(30)


@contextmanager
def a_daemon(folder: Path) -> Generator[RealDaemon]:
    (folder / "config").mkdir()
    (folder / "config" / "pools.yaml").write_text(CONFIG, encoding="utf-8")
    daemon = RealDaemon(folder)
    try:
        daemon.launch()
        yield daemon
    finally:
        daemon.end()


def _is_full(daemon: RealDaemon) -> bool:
    try:
        with daemon.client() as client:
            pools = client.pools()
            busy = {claim.pool for claim in client.claims()}
            return all(pool["ready"] >= pool["min"] or pool["name"] in busy for pool in pools)
    except StokerError:
        return False
