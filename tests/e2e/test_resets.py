"""A released resource is used again: with real files, real processes and a real driver program."""

import os
import secrets
from pathlib import Path

import pytest

from tests.drivers.test_command import example
from tests.fixtures.daemons import RealDaemon, until

CONFIG = """\
apiVersion: stoker/v1
kind: Blueprint
metadata: {{name: bench}}
spec:
  prepare:
    - name: engine                 # takes long to start, and no claimant can change it
      driver: process
      with: {{command: [sleep, "{nap}"]}}
    - name: seat
      driver: command
      with: {{program: ["{program}", "{things}"], reset: true}}
    - {{name: work, driver: directory, with: {{files: {{readme: as it was made}}}}}}
    - name: shell                  # starts in a session of its own whatever is put into `start`
      driver: process
      with:
        command: [sh, -c, 'while sleep 0.02; do [ -e start ] && {{ sh start; rm start; }}; done']
        cwd: "${{parts.work.path}}"
        stop: {{grace: 200ms}}
  finish:
    - name: note
      driver: file
      with: {{path: "${{parts.work.path}}/claim", content: "${{claim.id}}"}}
    - {{name: pass, driver: token}}
  outputs:
    work: "${{parts.work.path}}"
    seat: "${{parts.seat.folder}}"
    engine: "${{parts.engine.pid}}"
    shell: "${{parts.shell.pid}}"
    token: {{value: "${{parts.pass.value}}", secret: true}}
  reset:
    parts: [seat, work, shell]
    verify: {{exec: [sh, -c, '{verify}', "${{parts.work.path}}", "${{parts.seat.folder}}"], within: 2s}}
    maxUses: 3
---
apiVersion: stoker/v1
kind: Pool
metadata: {{name: bench}}
spec:
  blueprint: bench
  size: {{min: 1, max: 1}}
  backfill: {{rate: 10/s}}
"""
CLEAN = '[ "$(ls -A "$0")" = readme ] && [ -z "$(ls -A "$1")" ]'


def start(daemon: RealDaemon, folder: Path, nap: str, *, verify: str = CLEAN) -> None:
    things = folder / "things"
    things.mkdir()
    program = example("folders.sh", folder)
    daemon.write(
        "bench.yaml", CONFIG.format(program=program, things=things, nap=nap, verify=verify)
    )
    daemon.start()
    daemon.until_ready("bench", 1)


def running(word: str) -> list[int]:
    """The processes with this word among their arguments."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and word.encode() in (entry / "cmdline").read_bytes().split(
                b"\0"
            ):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def use(daemon: RealDaemon, nap: str) -> tuple[str, dict[str, object]]:
    """Claims, leaves files and a process of its own behind, and releases."""
    with daemon.client.claim("bench", wait="20s") as claim:
        outputs = dict(claim.outputs)
        work, seat = Path(str(outputs["work"])), Path(str(outputs["seat"]))
        assert {"readme", "claim"} == {path.name for path in work.iterdir()}
        assert "as it was made" == (work / "readme").read_text()
        assert [] == list(seat.iterdir())
        (work / "readme").write_text("changed")
        (work / "mine").write_text("secret")
        (seat / "mine").write_text("secret")
        (work / "new").write_text(f"setsid sleep {nap}1 & setsid sh -c 'sleep {nap}1; :' &")
        (work / "new").rename(work / "start")
        until(lambda: len(running(f"{nap}1")) >= 2, "its own processes run")
        return claim.resource, outputs


@pytest.fixture
def nap() -> str:
    """Seconds of sleep that nobody else on the host sleeps."""
    return str(10_000_000 + secrets.randbelow(90_000_000))


def test_a_reused_resource_holds_nothing_of_the_claim_before(
    daemon: RealDaemon, short_tmp: Path, nap: str
) -> None:
    start(daemon, short_tmp, nap)
    first, told = use(daemon, nap)
    daemon.until_ready("bench", 1)
    assert [] == running(f"{nap}1")
    shown = daemon.client.resource(first)
    assert (1, "ready", None) == (shown["uses"], shown["state"], shown.get("claim"))

    second, told_then = use(daemon, nap)

    assert first == second
    assert told["engine"] == told_then["engine"], "what stays runs on"
    assert told["shell"] != told_then["shell"]
    assert told["token"] != told_then["token"]
    os.kill(int(str(told["engine"])), 0)

    daemon.until_ready("bench", 1)
    third, _ = use(daemon, nap)
    assert first == third
    daemon.until_ready("bench", 1)
    fourth, _ = use(daemon, nap)
    assert first != fourth, "it had served its three claims"


def test_a_resource_that_is_not_proved_clean_is_replaced(
    daemon: RealDaemon, short_tmp: Path, nap: str
) -> None:
    start(daemon, short_tmp, nap, verify="false")
    first, _ = use(daemon, nap)

    daemon.until_ready("bench", 1)

    (shown,) = daemon.client.resources(pool="bench")
    assert first != shown["id"]
    assert [] == running(f"{nap}1")
    events = list(daemon.client.events(resource=first))
    kinds = [event["kind"] for event in events]
    assert kinds[-2:] == ["resource.reset-failed", "resource.gone"]
    assert "exit code 1" in str(events[-2]["reason"])
