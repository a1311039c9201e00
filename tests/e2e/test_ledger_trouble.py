"""The ledger's disk fills up or turns read-only under a running daemon, or was read-only before.

Claims are refused by a code that says so, what can still be told is told, nothing that was
answered is lost, and where the disk comes back, so does the daemon.
"""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoker.client import StokerError
from tests.fixtures.daemons import RealDaemon, ask, until, work_pool
from tests.fixtures.mounts import FailingDisk, fill, mounted, remount, standing_still

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a loop device needs root of the host")


def claim(daemon: RealDaemon, key: str) -> str:
    return daemon.client.claim("work", wait="5s", key=key).id


def refusal(daemon: RealDaemon, key: str) -> StokerError | None:
    """How a claim is refused; None when it is served."""
    try:
        claim(daemon, key)
    except StokerError as error:
        return error
    return None


def assert_goes_on_without_its_ledger(daemon: RealDaemon, answered: str) -> None:
    """What can be told without writing is told, with the reason why no more is done."""
    assert daemon.client.show(answered).state == "bound"
    assert [pool["name"] for pool in daemon.client.pools()] == ["work"]
    assert ask(daemon, "/healthz")[0] == 200
    code, body = ask(daemon, "/readyz")
    assert (code, "the ledger refuses writes" in body) == (503, True), body
    assert "stoker_ledger_up 0" in ask(daemon, "/metrics")[1]
    status = daemon.client.status()
    assert (status["ready"], status["ledger"]["ok"]) == (False, False)
    assert status["ledger"]["error"]


@pytest.fixture
def on_a_small_disk(daemon: RealDaemon) -> Iterator[RealDaemon]:
    """A daemon whose state folder is a disk of eight megabytes."""
    with mounted(daemon.state, "size=8m,mode=700"):
        daemon.write("work.yaml", work_pool(5, 60))
        daemon.start()
        daemon.until_ready("work", 5)
        yield daemon
        daemon.clear()


@pytest.mark.mounts
def test_a_disk_that_fills_up_under_the_daemon_refuses_claims_until_there_is_room(
    on_a_small_disk: RealDaemon,
) -> None:
    daemon = on_a_small_disk
    answered = {"before": claim(daemon, "before")}
    ballast = daemon.state / "ballast"
    refused: StokerError | None = None
    for number in range(50):  # what the disk has set aside already takes some of them
        fill(ballast)
        key = f"full-{number}"
        refused = refusal(daemon, key)
        if refused is not None:
            break
        answered[key] = claim(daemon, key)
    assert refused is not None
    assert refused.code == "ledger-unavailable"
    assert "full" in str(refused)

    until(lambda: not daemon.client.status()["ledger"]["ok"], "the status says so")
    fill(ballast)
    assert_goes_on_without_its_ledger(daemon, answered["before"])
    ready = daemon.ready("work")
    for number in range(20):  # a refused claim costs no resource
        again = refusal(daemon, f"more-{number}")
        assert again is not None
        assert again.code == "ledger-unavailable"
    assert daemon.ready("work") == ready

    ballast.unlink()
    until(lambda: daemon.client.status()["ready"], "it recovers", said=daemon.said)
    answered["after"] = claim(daemon, "after")
    assert {key: claim(daemon, key) for key in answered} == answered
    daemon.until_ready("work", 5)
    daemon.kill()
    daemon.start()
    assert {key: claim(daemon, key) for key in answered} == answered
    bound = [r["claim"] for r in daemon.client.resources() if r["state"] == "bound"]
    assert sorted(bound) == sorted(answered.values())


@needs_root
def test_a_ledger_that_turns_read_only_refuses_claims_and_loses_none(
    daemon: RealDaemon, tmp_path: Path
) -> None:
    disk = FailingDisk(tmp_path / "disk.img", daemon.state)
    try:
        daemon.write("work.yaml", work_pool(3, 20))
        daemon.start()
        daemon.until_ready("work", 3)
        answered = claim(daemon, "before")
        ready = daemon.client.pool("work")["ready"]

        disk.abort()

        for number in range(5):
            refused = refusal(daemon, f"during-{number}")
            assert refused is not None
            assert refused.code == "ledger-unavailable", refused
        assert_goes_on_without_its_ledger(daemon, answered)
        with pytest.raises(StokerError) as caught:
            daemon.client.release(answered)
        assert caught.value.code == "ledger-unavailable"
        assert claim(daemon, "before") == answered  # answered from what is known
        assert ready - daemon.ready("work") <= 1, "at most the first refused claim took one"
        assert daemon.stop() == 0, daemon.said()
        assert "Traceback" not in daemon.said()

        disk.unmount()
        disk.mount()
        daemon.start()
        assert claim(daemon, "before") == answered
        daemon.until_ready("work", 3)
        assert claim(daemon, "during-0") != answered
        daemon.stop()
    finally:
        daemon.clear()
        disk.unmount()


def test_a_disk_that_stands_still_refuses_claims_in_time_and_gives_them_later(
    daemon: RealDaemon,
) -> None:
    daemon.write("work.yaml", work_pool(3, 20))
    daemon.start()
    daemon.until_ready("work", 3)
    answered = claim(daemon, "before")
    daemon.until_ready("work", 3)
    assert daemon.process is not None

    with standing_still(daemon.process.pid):
        began = time.monotonic()
        refused = refusal(daemon, "in-doubt")
        assert refused is not None
        assert refused.code == "ledger-unavailable", refused
        assert time.monotonic() - began < 15
        assert_goes_on_without_its_ledger(daemon, answered)
        refused = refusal(daemon, "another")
        assert refused is not None
        assert refused.code == "ledger-unavailable"
        assert claim(daemon, "before") == answered

    until(lambda: daemon.client.status()["ready"], "it recovers", said=daemon.said)
    found = claim(daemon, "in-doubt")
    assert claim(daemon, "in-doubt") == found
    bound = [r["claim"] for r in daemon.client.resources() if r["state"] == "bound"]
    assert sorted(bound) == sorted({answered, found})
    daemon.kill()
    daemon.start()
    assert claim(daemon, "in-doubt") == found


def test_a_daemon_whose_disk_stands_still_can_be_stopped(daemon: RealDaemon) -> None:
    daemon.write("work.yaml", work_pool(1, 20))
    daemon.start("--stop-grace", "1s")
    daemon.until_ready("work", 1)
    answered = claim(daemon, "before")
    assert daemon.process is not None

    with standing_still(daemon.process.pid):
        assert refusal(daemon, "in-doubt") is not None
        os.kill(daemon.process.pid, signal.SIGTERM)
        stat = Path(f"/proc/{daemon.process.pid}/stat")
        # Whoever traces a process has to hear of its end first, so it stays a zombie in here.
        until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "Z", "it ends", within=45)
    assert daemon.wait(5) == 1
    assert "left behind" in daemon.said()

    daemon.start()
    assert claim(daemon, "before") == answered


@pytest.mark.mounts
@pytest.mark.parametrize("used_before", [False, True])
def test_a_read_only_state_folder_ends_the_start_with_a_remedy(
    daemon: RealDaemon, used_before: bool
) -> None:
    daemon.write("work.yaml", work_pool())
    with mounted(daemon.state, "size=8m,mode=700"):
        if used_before:
            daemon.start()
            daemon.stop()
        remount(daemon.state, "bind,ro")
        daemon.log.unlink(missing_ok=True)
        daemon.start(ready=False)
        assert daemon.wait(20) == 1
        [said] = daemon.said().splitlines()
        assert "stoker cannot start" in said
        assert "Read-only file system" in said
        assert "--state" in said
        assert not daemon.socket.exists()

        remount(daemon.state, "bind,rw")
        daemon.start()
        daemon.until_ready("work", 2)
        daemon.clear()
