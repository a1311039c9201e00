"""What happens behind the daemon's back is noticed: ready resources are replaced, bound ones reported."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from stoker.client import StokerError
from tests.fixtures.daemons import RealDaemon, until

MIXED = """\
apiVersion: stoker/v1
kind: Blueprint
metadata: {name: mixed}
spec:
  prepare:
    - {name: place, driver: directory}
    - name: note
      driver: file
      with: {path: "${parts.place.path}/note.txt", content: "as it was made"}
    - name: server
      driver: process
      with:
        command: [python3, -m, http.server, "${self.ports.http}", --bind, 127.0.0.1]
        cwd: "${parts.place.path}"
        ports: [http]
      ready: {http: "http://127.0.0.1:${self.ports.http}/", within: 20s}
  outputs:
    path: "${parts.place.path}"
    pid: "${parts.server.pid}"
---
apiVersion: stoker/v1
kind: Pool
metadata: {name: mixed}
spec:
  blueprint: mixed
  size: {min: 1, max: 5}
  backfill: {rate: 10/s}
"""


@pytest.fixture
def standing(daemon: RealDaemon) -> RealDaemon:
    daemon.write("mixed.yaml", MIXED)
    daemon.start()
    daemon.until_ready("mixed", 1)
    return daemon


def parts(daemon: RealDaemon, resource: str) -> tuple[Path, int]:
    """The folder and the process of a resource."""
    place = daemon.state / "parts" / "directory" / f"{resource}.place"
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cwd").resolve() == place.resolve():
                    return place, int(entry.name)
            except OSError:
                continue
    raise AssertionError(f"no process in {place}")


def ready(daemon: RealDaemon) -> str:
    return next(str(r["id"]) for r in daemon.client.resources() if r["state"] == "ready")


def kill_process(place: Path, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def delete_the_folder(place: Path, pid: int) -> None:
    shutil.rmtree(place)


def change_the_file(place: Path, pid: int) -> None:
    (place / "note.txt").write_text("changed")


def delete_the_file(place: Path, pid: int) -> None:
    (place / "note.txt").unlink()


def change_the_mode(place: Path, pid: int) -> None:
    place.chmod(0o777)


@pytest.mark.parametrize(
    "harm", [kill_process, delete_the_folder, change_the_file, delete_the_file, change_the_mode]
)
def test_a_ready_resource_that_was_harmed_is_replaced_at_once(
    standing: RealDaemon, harm: Callable[[Path, int], None]
) -> None:
    harmed = ready(standing)
    harm(*parts(standing, harmed))

    def replaced() -> bool:
        known = {r["id"]: r["state"] for r in standing.client.resources()}
        return harmed not in known and "ready" in known.values()

    until(replaced, f"{harmed} is replaced", within=8, said=standing.said)
    [event] = standing.events("resource.drifted")
    assert event["resource"] == harmed
    assert event["reason"]


def test_a_port_that_stopped_answering_is_noticed_by_its_probe(standing: RealDaemon) -> None:
    harmed = ready(standing)
    _, pid = parts(standing, harmed)
    os.kill(pid, signal.SIGSTOP)

    until(
        lambda: harmed not in {r["id"] for r in standing.client.resources()},
        f"{harmed} is replaced:\n{standing.said()}",
        within=30,
    )


def test_a_bound_resource_that_was_harmed_is_reported_and_not_touched(standing: RealDaemon) -> None:
    claim = standing.client.claim("mixed", wait="10s")
    place, pid = parts(standing, claim.resource)

    os.kill(pid, signal.SIGKILL)

    [event] = until(lambda: standing.events("resource.drifted"), "the drift is reported", within=8)
    assert event["claim"] == claim.id
    resource = standing.client.resource(claim.resource)
    assert (resource["state"], resource["health"]) == ("bound", "drifted")
    assert place.exists()
    assert standing.client.show(claim.id).state == "bound"


def test_drift_while_the_daemon_was_down_is_noticed_at_its_start(standing: RealDaemon) -> None:
    harmed = ready(standing)
    place, pid = parts(standing, harmed)
    standing.kill()
    os.kill(pid, signal.SIGKILL)

    standing.start()

    until(lambda: harmed not in {r["id"] for r in standing.client.resources()}, "replaced")
    standing.until_ready("mixed", 1)
    assert not place.exists()


def test_a_restart_adopts_what_still_runs(standing: RealDaemon) -> None:
    before = ready(standing)
    _, pid = parts(standing, before)
    standing.kill()

    standing.start()
    standing.until_ready("mixed", 1)

    assert ready(standing) == before
    assert parts(standing, before)[1] == pid


def test_a_failing_blueprint_stops_itself_and_says_why(daemon: RealDaemon) -> None:
    daemon.write("mixed.yaml", MIXED.replace("[python3, -m", "[no-such-program, -m"))
    daemon.start()

    pool = until(
        lambda: (p := daemon.client.pool("mixed"))["breaker"]["state"] == "open" and p, "it opens"
    )

    assert "no-such-program" in pool["breaker"]["lastError"]
    with pytest.raises(StokerError, match="no-such-program") as caught:
        daemon.client.claim("mixed", wait="0s")
    assert caught.value.code in {"blueprint-failing", "wait-timeout"}
    daemon.write("mixed.yaml", MIXED)
    daemon.until_ready("mixed", 1)
