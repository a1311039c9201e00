"""The real daemon while a blueprint changes: a good one, a bad one, kill -9, and what people are told."""

import subprocess
import sys
from typing import Any

import pytest

from tests.fixtures.daemons import RealDaemon, ask, until, work_pool

QUICK = "{settle: 300ms, progressDeadline: 4s}"


OLD = "driver: directory}"
NEW = "driver: directory, with: {mode: '0700'}}"
BAD = """driver: directory}
    - name: server
      driver: process
      with: {command: [sleep, "600"]}
      ready: {exec: [ls, /no/such/FLAG], within: 300ms, every: 20ms}"""
"""What is asked of it is never so, unless FLAG is replaced by a file that is there."""


def pool_with(place: str, *, minimum: int = 3, rollout: str = QUICK) -> str:
    return work_pool(minimum, rollout=rollout).replace("driver: directory}", place)


def stoker(daemon: RealDaemon, *words: str) -> str:
    command = [sys.executable, "-m", "stoker.daemon", *words, "--socket", str(daemon.socket)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ready(daemon: RealDaemon) -> set[str]:
    return {str(r["id"]) for r in daemon.client.resources() if r["claimable"]}


def digests(daemon: RealDaemon) -> set[str]:
    """Of what can be claimed."""
    return {str(r["digest"]) for r in daemon.client.resources() if r["claimable"]}


def rollout(daemon: RealDaemon) -> dict[str, Any]:
    return dict(daemon.client.pool("work").get("rollout", {}))


def serving(daemon: RealDaemon, minimum: int = 3) -> set[str]:
    daemon.start()
    daemon.until_ready("work", minimum)
    return ready(daemon)


def kinds(daemon: RealDaemon) -> list[str]:
    return [event["kind"] for event in daemon.events("rollout.")]


def test_a_good_blueprint_replaces_all_and_leaves_no_gap(daemon: RealDaemon) -> None:
    daemon.write("work.yaml", pool_with(OLD))
    before, least, most = serving(daemon), [3], [3]
    daemon.write("work.yaml", pool_with(NEW))

    def over() -> bool:
        pool = daemon.client.pool("work")
        least.append(pool["ready"])
        counts = pool["counts"]
        most.append(sum(counts.get(state, 0) for state in ("ready", "planned", "preparing")))
        return "rollout.finished" in kinds(daemon)

    until(over, "the rollout is over")
    assert not before & ready(daemon)
    assert (min(least), max(most)) == (3, 4)
    assert kinds(daemon) == ["rollout.started", "rollout.advanced", "rollout.finished"]
    assert "rollout" not in daemon.client.pool("work")


def test_a_bad_blueprint_is_paused_and_told_and_the_pool_serves_on(daemon: RealDaemon) -> None:
    daemon.write("work.yaml", pool_with(OLD))
    serving(daemon)
    daemon.write("work.yaml", pool_with(BAD))

    while rollout(daemon).get("stage") != "paused":
        claim = daemon.client.claim("work", wait="5s")  # what is taken is made anew meanwhile
        assert claim.state == "bound"
        daemon.client.release(claim.id)
        daemon.until_ready("work", 3)
    told = rollout(daemon)
    assert "/no/such/FLAG" in told["reason"]
    assert "progressDeadline" in told["reason"]

    assert "The rollout is paused" in stoker(daemon, "status")
    shown = stoker(daemon, "pools", "work")
    assert "/no/such/FLAG" in shown
    assert "stoker resume work" in shown
    explained = stoker(daemon, "explain", "pool/work")
    assert "serves on" in explained
    (event,) = daemon.events("rollout.paused")
    assert (event["pool"], event["data"]["stage"]) == ("work", "paused")
    assert "/no/such/FLAG" in event["reason"]
    _, metrics = ask(daemon, "/metrics")
    assert 'stoker_pool_rollout{pool="work",stage="paused"} 1.0' in metrics


def test_a_paused_rollout_survives_kill_9_and_goes_on_when_the_pool_is_resumed(
    daemon: RealDaemon,
) -> None:
    flag = daemon.folder / "flag"
    comes_later = BAD.replace("/no/such/FLAG", str(flag))
    daemon.write("work.yaml", pool_with(OLD))
    serving(daemon)
    daemon.write("work.yaml", pool_with(comes_later))
    until(lambda: rollout(daemon).get("stage") == "paused", "it is paused")
    before = rollout(daemon)
    daemon.kill()
    daemon.start()
    daemon.until_ready("work", 3)
    assert rollout(daemon) == before

    assert digests(daemon) == {before["previous"]}
    claim = daemon.client.claim("work", wait="5s")
    assert claim.state == "bound"
    daemon.until_ready("work", 3)
    assert daemon.client.resource(str(claim.resource))["digest"] == before["previous"]
    assert digests(daemon) == {before["previous"]}

    flag.touch()
    stoker(daemon, "resume", "work", "--reason", "the file is there")
    until(lambda: kinds(daemon)[-1] == "rollout.finished", "it goes on")
    resumed = daemon.events("rollout.resumed")
    assert [event["reason"] for event in resumed] == ["the file is there"]
    assert digests(daemon) == {before["digest"]}


def test_a_change_back_ends_a_bad_rollout(daemon: RealDaemon) -> None:
    daemon.write("work.yaml", pool_with(OLD))
    before = serving(daemon)
    daemon.write("work.yaml", pool_with(BAD))
    until(lambda: rollout(daemon), "it has begun")
    daemon.write("work.yaml", pool_with(OLD))

    until(lambda: kinds(daemon)[-1:] == ["rollout.finished"], "it is over")
    assert ready(daemon) == before


def test_outside_its_windows_it_waits_and_says_until_when(daemon: RealDaemon) -> None:
    closed = "{settle: 300ms, windows: [{days: [DAY], from: '03:00', to: '03:01'}]}"
    day = subprocess.run(
        ["date", "-u", "-d", "3 days", "+%a"], capture_output=True, text=True, check=True,
        env={"LC_ALL": "C"},
    )  # fmt: skip
    closed = closed.replace("DAY", day.stdout.strip().lower())
    daemon.write("work.yaml", pool_with(OLD, rollout=closed))
    before = serving(daemon)
    daemon.write("work.yaml", pool_with(NEW, rollout=closed))
    told = until(lambda: rollout(daemon).get("opensAt") and rollout(daemon), "it waits")

    assert told["waits"] == "its windows are closed"
    assert told["opensAt"].endswith("T03:00:00.000Z")
    assert ready(daemon) == before
    assert "its windows are closed" in stoker(daemon, "explain", "pool/work")

    daemon.write("work.yaml", pool_with(NEW))  # without windows it goes on
    until(lambda: kinds(daemon)[-1] == "rollout.finished", "it goes on")


@pytest.mark.parametrize("times", [3])
def test_several_changes_come_to_the_last_one(daemon: RealDaemon, times: int) -> None:
    daemon.write("work.yaml", pool_with(OLD))
    serving(daemon)
    for number in range(times):
        daemon.write("work.yaml", pool_with(f"driver: directory, with: {{mode: '070{number}'}}}}"))
        until(lambda: len(daemon.events("rollout.started")) > number, "it has begun")  # noqa: B023
        daemon.kill()
        daemon.start()
    last = daemon.client.pool("work")["digest"]
    until(lambda: kinds(daemon)[-1] == "rollout.finished", "it is over")
    until(
        lambda: digests(daemon) == {last},
        "all are of the last one",
    )
    assert daemon.ready("work") == 3
