"""The config directory followed by the real daemon: live changes, broken states, restarts."""

import signal
import time
from pathlib import Path

import pytest

from tests.fixtures.daemons import RealDaemon, until, work_pool

POLICY = """
apiVersion: stoker/v1
kind: Policy
metadata: {name: team}
spec:
  rules: [{name: members, effect: allow, when: 'caller.operator || "web" in caller.groups'}]
---
apiVersion: stoker/v1
kind: PolicyTest
metadata: {name: team}
spec:
  given: {pool: {name: work}, caller: {groups: [GROUP]}}
  cases: [{name: members may, expect: {verdict: allow}}]
""".lstrip()


def test_a_changed_size_takes_effect_without_a_restart(daemon: RealDaemon) -> None:
    daemon.write("work.yaml", work_pool(2))
    daemon.start()
    daemon.until_ready("work", 2)

    daemon.write("work.yaml", work_pool(5))
    daemon.until_ready("work", 5)
    daemon.write("work.yaml", work_pool(4))
    daemon.until_ready("work", 4)


def test_a_changed_blueprint_replaces_what_is_ready(daemon: RealDaemon) -> None:
    daemon.write("work.yaml", work_pool(2))
    daemon.start()
    daemon.until_ready("work", 2)
    before = {resource["id"] for resource in daemon.client.resources()}

    text = work_pool(2).replace("driver: directory}", "driver: directory, with: {mode: '0700'}}")
    daemon.write("work.yaml", text)

    def replaced() -> bool:
        now = {r["id"] for r in daemon.client.resources() if r["state"] == "ready"}
        return len(now) == 2 and not now & before

    until(replaced, "both are replaced")


def test_pools_come_and_go_while_it_runs(daemon: RealDaemon) -> None:
    daemon.write("work.yaml", work_pool(1))
    daemon.start()
    daemon.until_ready("work", 1)

    daemon.write(
        "more.yaml",
        work_pool(1, pool="more")
        .replace("name: folder", "name: other")
        .replace("blueprint: folder", "blueprint: other"),
    )
    until(lambda: {pool["name"] for pool in daemon.client.pools()} == {"work", "more"}, "two pools")
    daemon.until_ready("more", 1)
    (daemon.config / "more.yaml").unlink()
    held = until(lambda: daemon.client.status()["config"].get("held"), "it is held")
    daemon.client.steer("accept", revision=held["revision"])

    until(lambda: [pool["name"] for pool in daemon.client.pools()] == ["work"], "one pool again")
    assert list((daemon.state / "parts" / "directory").glob("more-*")) == []


def test_a_broken_state_changes_nothing_and_is_told_everywhere(daemon: RealDaemon) -> None:
    daemon.write("work.yaml", work_pool(2))
    daemon.start()
    daemon.until_ready("work", 2)
    good = daemon.client.status()["revision"]["id"]

    daemon.write("work.yaml", work_pool(2).replace("size: {min: 2", "size: {mni: 2"))
    status = until(
        lambda: not daemon.client.status()["config"]["ok"] and daemon.client.status(), "told"
    )

    assert status["revision"]["id"] == good
    assert any(
        "work.yaml:" in problem and "min" in problem for problem in status["config"]["problems"]
    )
    assert daemon.ready("work") == 2
    assert daemon.client.claim("work", wait="5s").state == "bound"
    assert "the configuration is broken" in daemon.said()

    daemon.write("work.yaml", work_pool(3))
    daemon.until_ready("work", 3)
    assert daemon.client.status()["config"]["ok"]


def test_policies_whose_own_tests_fail_are_refused_with_the_place_and_the_last_ones_serve(
    daemon: RealDaemon,
) -> None:
    daemon.write("work.yaml", work_pool(1))
    daemon.write("policy.yaml", POLICY.replace("GROUP", "web"))
    daemon.start()
    daemon.until_ready("work", 1)
    good = daemon.client.status()["revision"]["id"]

    daemon.write("policy.yaml", POLICY.replace("GROUP", "dba"))
    status = until(
        lambda: not daemon.client.status()["config"]["ok"] and daemon.client.status(), "told"
    )

    assert status["revision"]["id"] == good
    told = status["config"]["problems"][0]
    assert "policy.yaml:12:" in told
    assert "the case 'members may' fails: expected allow, got deny" in told
    assert daemon.client.claim("work", wait="5s").state == "bound"
    daemon.write("policy.yaml", POLICY.replace("GROUP", "web"))
    until(lambda: daemon.client.status()["config"]["ok"], "mended")


def test_a_restart_with_a_broken_directory_serves_the_last_good_revision(
    daemon: RealDaemon,
) -> None:
    daemon.write("work.yaml", work_pool(2))
    daemon.start()
    daemon.until_ready("work", 2)
    good = daemon.client.status()["revision"]["id"]
    daemon.kill()
    daemon.write("work.yaml", "kind: [")

    daemon.start()

    status = daemon.client.status()
    assert status["revision"]["id"] == good
    assert not status["config"]["ok"]
    assert daemon.client.claim("work", wait="5s").state == "bound"


def test_an_emptied_directory_deletes_nothing(daemon: RealDaemon) -> None:
    daemon.write("work.yaml", work_pool(2))
    daemon.start()
    daemon.until_ready("work", 2)

    (daemon.config / "work.yaml").unlink()
    until(lambda: not daemon.client.status()["config"]["ok"], "the empty directory is refused")

    assert daemon.ready("work") == 2


def test_a_half_written_file_is_never_seen(daemon: RealDaemon) -> None:
    """A pool that is declared at the end of a slowly written file must not vanish meanwhile."""
    daemon.write("work.yaml", work_pool(2))
    daemon.start()
    daemon.until_ready("work", 2)
    applied = len(daemon.events("config.applied"))
    text = work_pool(3)

    with (daemon.config / "work.yaml").open("w") as file:
        for start in range(0, len(text), 64):
            file.write(text[start : start + 64])
            file.flush()
            time.sleep(0.05)
    daemon.until_ready("work", 3)

    assert len(daemon.events("config.applied")) == applied + 1
    assert daemon.client.status()["config"]["ok"]


def test_a_symlink_flip_is_followed(daemon: RealDaemon) -> None:
    for number in (1, 2):
        (daemon.folder / f"v{number}").mkdir()
        (daemon.folder / f"v{number}" / "work.yaml").write_text(work_pool(number))
    link = daemon.folder / "current"
    link.symlink_to("v1")
    daemon.config = link
    daemon.start()
    daemon.until_ready("work", 1)

    (daemon.folder / "next").symlink_to("v2")
    (daemon.folder / "next").replace(link)

    daemon.until_ready("work", 2)


def test_a_second_daemon_on_the_same_state_folder_is_refused(
    daemon: RealDaemon, tmp_path: Path
) -> None:
    daemon.write("work.yaml", work_pool(1))
    daemon.start()
    second = RealDaemon(tmp_path / "second")
    second.config, second.state = daemon.config, daemon.state

    second.start(ready=False)
    code = second.wait(20)

    assert code == 1
    assert "another daemon" in second.said()
    assert str(daemon.state) in second.said()
    assert daemon.is_ready()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_clean_and_leaves_what_was_made(
    daemon: RealDaemon, number: signal.Signals
) -> None:
    daemon.write("work.yaml", work_pool(2))
    daemon.start()
    daemon.until_ready("work", 2)
    before = sorted(path.name for path in (daemon.state / "parts" / "directory").iterdir())

    assert daemon.stop(number) == 0

    after = sorted(path.name for path in (daemon.state / "parts" / "directory").iterdir())
    assert after == before
    assert not daemon.socket.exists()


def test_a_claim_survives_kill_9_with_its_secret(daemon: RealDaemon) -> None:
    daemon.write("work.yaml", work_pool(1))
    daemon.start()
    daemon.until_ready("work", 1)
    claim = daemon.client.claim("work", wait="5s", key="the-key")
    token = claim.outputs["token"]
    daemon.kill()

    daemon.start()
    again = daemon.client.claim("work", wait="5s", key="the-key")

    assert (again.id, again.outputs["token"]) == (claim.id, token)
    raw = b"".join(path.read_bytes() for path in daemon.state.glob("ledger.db*"))
    assert token.encode() not in raw
    assert token not in daemon.said()


def test_a_state_folder_that_is_a_file_is_a_clear_error(daemon: RealDaemon) -> None:
    daemon.write("work.yaml", work_pool(1))
    daemon.state = daemon.folder / "file"
    daemon.state.write_text("not a folder")

    daemon.start(ready=False)

    assert daemon.wait(20) == 1
    assert "stoker cannot start" in daemon.said()
    assert "Traceback" not in daemon.said()


def test_a_crash_in_the_middle_of_a_rollout_leaves_the_older_ones_serving(
    daemon: RealDaemon,
) -> None:
    daemon.write("work.yaml", work_pool(2))
    daemon.start()
    daemon.until_ready("work", 2)
    before = {resource["id"] for resource in daemon.client.resources()}
    broken = "driver: command, with: {program: [/no/such/program]}}"
    daemon.write("work.yaml", work_pool(2).replace("driver: directory}", broken))
    applied = "is applied"
    until(lambda: daemon.said().count(applied) == 2, "the second revision is applied")

    for _ in range(2):  # the revision in force is the one that the directory holds, and again
        daemon.kill()
        daemon.start()
        time.sleep(0.5)
        ready = {r["id"] for r in daemon.client.resources() if r["state"] == "ready"}
        assert ready == before, daemon.said()

    claim = daemon.client.claim("work", wait="5s")
    assert claim.resource in before
    assert claim.outputs["token"]
    assert Path(claim.outputs["path"]).is_dir()
