"""Claims that hang on the work, with real processes and a daemon that is killed with kill -9."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from stoker.client import Conflict, Stoker
from tests.conftest import ROOT
from tests.fixtures.daemons import RealDaemon, until, work_pool

CLAIMANT = """
import json, sys, time
from stoker.client import Stoker
stoker = Stoker(sys.argv[1])
claim = stoker.claim("work", wait="20s", ttl="5m", bind=sys.argv[2])
print(json.dumps(claim.info.document), flush=True)
for line in sys.stdin:
    if line == "release\\n":
        claim.release()
        print("released", flush=True)
"""


@contextmanager
def a_claimant(daemon: RealDaemon, bind: str) -> Generator[tuple["subprocess.Popen[str]", Any]]:
    process = subprocess.Popen(
        [sys.executable, "-c", CLAIMANT, str(daemon.socket), bind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def working(daemon: RealDaemon) -> RealDaemon:
    daemon.write("work.yaml", work_pool(2, 20))
    daemon.start()
    daemon.until_ready("work", 2)
    return daemon


def over_because(daemon: RealDaemon, claim: str) -> str:
    until(lambda: daemon.client.show(claim).over, f"{claim} is over", said=daemon.said)
    return daemon.client.show(claim).ended_because


@pytest.mark.parametrize("bind", ["process", "connection"])
def test_a_claim_ends_when_its_process_is_killed(working: RealDaemon, bind: str) -> None:
    took: list[float] = []
    for _ in range(3):
        with a_claimant(working, bind) as (process, told):
            assert bind == told["bind"]
            assert process.pid == told["caller"]["pid"]
            process.kill()
            killed = time.perf_counter()
            while not working.client.show(told["id"]).over:
                time.sleep(0.002)
            took.append(time.perf_counter() - killed)
            assert "claimant-gone" == working.client.show(told["id"]).ended_because
    assert statistics.median(took) < 0.1, took
    working.until_ready("work", 2)


@pytest.mark.parametrize("bind", ["process", "connection"])
def test_killing_the_daemon_ends_no_claim_and_it_follows_the_process_again(
    working: RealDaemon, bind: str
) -> None:
    with a_claimant(working, bind) as (process, told):
        working.kill()
        working.start()
        time.sleep(0.3)
        assert "bound" == working.client.show(told["id"]).state
        process.kill()
        assert "claimant-gone" == over_because(working, told["id"])


@pytest.mark.parametrize("bind", ["process", "connection"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_ends_while_the_daemon_is_down_ends_its_claim_at_the_start(
    working: RealDaemon, number: signal.Signals, bind: str
) -> None:
    with a_claimant(working, bind) as (process, told), a_claimant(working, bind) as (_, kept):
        working.stop(number)
        process.kill()
        process.wait()
        working.start()
        assert working.client.show(told["id"]).over
        assert "claimant-gone" == working.client.show(told["id"]).ended_because
        assert "bound" == working.client.show(kept["id"]).state
        reasons = {one["claim"]: one["reason"] for one in working.events("claim.claimant-gone")}
        assert {told["id"]: f"the process {process.pid} that claimed it has ended"} == reasons


@pytest.mark.parametrize("bind", ["process", "connection"])
def test_a_release_ends_it_as_any_other(working: RealDaemon, bind: str) -> None:
    with a_claimant(working, bind) as (process, told):
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("release\n")
        process.stdin.flush()
        assert "released\n" == process.stdout.readline()
        assert "released" == over_because(working, told["id"])


def test_a_claim_bound_to_its_connection_ends_with_the_claim_object_that_holds_it(
    working: RealDaemon,
) -> None:
    with Stoker(working.socket) as stoker:
        with stoker.claim("work", wait="20s", bind="connection") as claim:
            time.sleep(0.3)
            assert "bound" == stoker.show(claim.id).state
        assert "released" == over_because(working, claim.id)
        kept = stoker.claim("work", wait="20s", bind="connection")
        assert kept.line is not None
        kept.line.close()
        assert "claimant-gone" == over_because(working, kept.id)
        with pytest.raises(Conflict):
            kept.renew()


def test_a_command_under_a_bound_claim_loses_it_with_stoker(working: RealDaemon) -> None:
    command = [sys.executable, "-m", "stoker.daemon", "claim", "work", "--bind", "process"]
    environment = {**os.environ, "STOKER_SOCKET": str(working.socket)}
    with subprocess.Popen(
        [*command, "--", "sh", "-c", "echo $STOKER_CLAIM; exec sleep 600 >/dev/null"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as stoker:
        assert stoker.stdout is not None
        claim = stoker.stdout.readline().strip()
        (child,) = _children(stoker.pid)
        assert "process" == working.client.show(claim).bind
        stoker.kill()
        assert "claimant-gone" == over_because(working, claim)
        os.kill(child, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:  # noqa: PTH123
        return [int(child) for child in file.read().split()]
