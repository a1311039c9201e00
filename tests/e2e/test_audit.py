"""The audit of the real daemon: rotated under load and `kill -9`, proved while it runs."""

import asyncio
import json
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from stoker.pools.sealing import open_sealer
from stoker.pools.store import NewEvent
from stoker.pools.stores.segments import segments
from stoker.pools.stores.sqlite import SqliteStore
from tests.fixtures.daemons import STOKER, RealDaemon, until

EVENTS = 45_000
CONFIG = """
apiVersion: stoker/v1
kind: Blueprint
metadata: {name: pass}
spec:
  prepare: [{name: key, driver: token}]
  outputs: {key: {value: "${parts.key.value}", secret: true}}
---
apiVersion: stoker/v1
kind: Pool
metadata: {name: passes}
spec:
  blueprint: pass
  size: {min: 5, max: 50}
  backfill: {rate: 1000/s, burst: 100}
"""


def fill(state: Path, events: int) -> None:
    """As if the daemon had run for long."""

    async def write() -> None:
        state.mkdir(mode=0o700)
        store = SqliteStore.open(state, sealer=open_sealer(state))
        for batch in range(0, events, 500):
            transaction = store.transaction()
            for number in range(batch, min(batch + 500, events)):
                transaction.add_event(NewEvent("resource.ready", "passes", f"passes-{number}"))
            await store.commit(transaction)
        await store.close()

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(write())


def audit(daemon: RealDaemon, *args: str) -> subprocess.CompletedProcess[str]:
    command = [*STOKER, "audit", *args, "--state", str(daemon.state)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def proof(daemon: RealDaemon, *args: str) -> Any:
    return json.loads(audit(daemon, "verify", "-o", "json", *args).stdout)


@pytest.mark.timeout(180)
def test_a_daemon_that_is_killed_while_it_rotates_neither_loses_nor_doubles_an_event(
    daemon: RealDaemon, tmp_path: Path
) -> None:
    (daemon.config / "pools.yaml").write_text(CONFIG)
    fill(daemon.state, EVENTS)
    chance = random.Random(7)
    flags = ("--audit-events", "1000")
    heads: list[str] = []
    for _ in range(6):
        daemon.start(*flags)
        claim = daemon.client.claim("passes", ttl="1h")
        time.sleep(chance.uniform(0.0, 0.8))  # the moment of the kill is what is tried
        daemon.stop(signal.SIGKILL)
        found = proof(daemon)
        assert found["sound"], found
        assert EVENTS < found["events"] == int(found["head"].partition(":")[0])
        heads.append(found["head"])
        assert claim.id
    daemon.start(*flags)

    def rotated() -> bool:
        kept = segments(daemon.state / "audit")
        return bool(kept) and kept[-1].last >= EVENTS - 1000

    until(rotated, "old events are moved to files", within=60.0)
    daemon.client.claim("passes").release()
    found = proof(daemon, *[word for head in heads for word in ("--expect", head)])
    assert found["sound"], found
    assert (1, 0) == (found["first"], found["skipped"])

    copy = tmp_path / "all.jsonl"
    assert 0 == audit(daemon, "export", str(copy)).returncode
    numbers = [json.loads(line)["seq"] for line in copy.read_text().splitlines()]
    assert list(range(1, len(numbers) + 1)) == numbers
    told = [json.loads(line) for line in copy.read_text().splitlines() if "audit.rotated" in line]
    files = [event["data"]["file"] for event in told]
    assert sorted({path.path.name for path in segments(daemon.state / "audit")}) == sorted(files)

    following = daemon.client.events(follow=True, since=0)
    gap = next(following)
    del following  # which closes its connection
    assert ("stream.gap", 1) == (gap["kind"], gap["from"])
    assert "stoker audit export --after 0" in gap["reason"]
