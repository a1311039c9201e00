"""The real daemon follows a real repository: through outages, force pushes, restarts and everything at once."""

import hmac
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.daemons import STOKER, RealDaemon, until, work_pool
from tests.fixtures.receivers import a_receiver
from tests.fixtures.repositories import (
    HttpServer,
    Repository,
    free_port,
    http_server,
    signers,
    signs_with_ssh,
    ssh_key,
)

FAST = ("--config-poll", "1s")
NEVER = ("--config-poll", "1h")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "remote")


@pytest.fixture
def server(repository: Repository) -> Iterator[HttpServer]:
    with http_server(repository.bare.parent) as running:
        yield running


def applied(daemon: RealDaemon) -> str:
    return str(daemon.client.status().get("revision", {}).get("commit", ""))


def stoker(daemon: RealDaemon, *args: str) -> subprocess.CompletedProcess[str]:
    command = [*STOKER, *args, "--socket", str(daemon.socket)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_push_takes_effect_by_itself_and_the_commit_is_on_everything(
    daemon: RealDaemon, repository: Repository
) -> None:
    first = repository.commit({"config/work.yaml": work_pool(1)})
    daemon.follows = f"{repository.url}?ref=main&path=config"
    daemon.start(*FAST)
    daemon.until_ready("work", 1)
    second = repository.commit({"config/work.yaml": work_pool(3)})
    daemon.until_ready("work", 3)

    revision = daemon.client.status()["revision"]
    assert (second[:12], second, daemon.follows) == (
        revision["id"],
        revision["commit"],
        revision["source"],
    )
    made_from = {resource["revision"] for resource in daemon.client.resources()}
    assert made_from == {first[:12], second[:12]}
    claim = daemon.client.claim("work")
    assert daemon.client.show(claim.id).document["revision"] in made_from
    under = {event["data"]["revision"] for event in daemon.events()}
    assert under == made_from
    (bound,) = daemon.events("claim.bound")
    assert bound["data"]["revision"] == second[:12]
    told = [event["data"] for event in daemon.events("config.applied")]
    assert [first, second] == [one["commit"] for one in told]
    assert daemon.follows == told[0]["source"]


def test_sync_looks_at_once_and_tells_what_came_of_it(
    daemon: RealDaemon, repository: Repository
) -> None:
    first = repository.commit({"work.yaml": work_pool(1)})
    daemon.follows = f"{repository.url}?ref=main"
    daemon.start(*NEVER)
    assert first == applied(daemon)
    second = repository.commit({"work.yaml": work_pool(2)})
    done = stoker(daemon, "sync")
    assert 0 == done.returncode, done.stderr
    assert f"serving {second[:12]} from {daemon.follows}" in done.stdout

    broken = repository.commit({"work.yaml": "kind: Nonsense"})
    done = stoker(daemon, "sync")
    assert 1 == done.returncode
    assert f"! The configuration of commit {broken[:12]} has been refused" in done.stdout
    found = json.loads(stoker(daemon, "sync", "-o", "json").stdout)
    assert second == found["revision"]["commit"]
    assert broken == found["config"]["repository"]["seen"]
    assert broken == found["config"]["repository"]["refused"]["commit"]
    assert found["config"]["problems"]
    shown = stoker(daemon, "status").stdout
    assert "serving an older configuration" in shown
    assert f"main is at {broken[:12]}" in shown
    assert broken in [event["data"].get("commit") for event in daemon.events("config.refused")]


def test_sync_looks_at_a_plain_directory_too(daemon: RealDaemon) -> None:
    daemon.write("work.yaml", work_pool(1))
    daemon.start()
    daemon.write("work.yaml", work_pool(2))
    found = daemon.client.sync()
    assert found["done"]
    assert "repository" not in found["config"]
    daemon.until_ready("work", 2)


def test_a_first_configuration_that_cannot_be_used_is_mended_by_a_sync(
    daemon: RealDaemon, repository: Repository
) -> None:
    repository.commit({"work.yaml": "kind: Nonsense"})
    daemon.follows = f"{repository.url}?ref=main"
    daemon.start(*NEVER, ready=False)
    until(lambda: "was not applied" in daemon.said(), "the first commit is refused")
    done = stoker(daemon, "sync")
    assert 1 == done.returncode, done.stderr
    mended = repository.commit({"work.yaml": work_pool(1)})
    done = stoker(daemon, "sync")
    assert 0 == done.returncode, done.stdout + done.stderr
    until(daemon.is_ready, "the daemon is ready")
    assert mended == applied(daemon)


def test_a_restart_without_the_remote_serves_the_last_good_commit_at_once_and_follows_later(
    daemon: RealDaemon, repository: Repository, server: HttpServer
) -> None:
    commit = repository.commit({"work.yaml": work_pool(2)})
    daemon.follows = f"{server.url}?ref=main"
    daemon.start(*FAST)
    daemon.until_ready("work", 2)
    before = {resource["id"] for resource in daemon.client.resources()}
    assert 0 == daemon.stop()
    server.stop()
    subprocess.run(["rm", "-rf", daemon.state / "repository"], check=True)

    started = time.monotonic()
    daemon.start(*FAST)
    assert time.monotonic() - started < 10
    assert commit == applied(daemon)
    assert before == {resource["id"] for resource in daemon.client.resources()}
    assert daemon.client.claim("work").state == "bound"
    until(lambda: daemon.client.status()["config"]["repository"].get("error"), "the outage is told")
    status = daemon.client.status()
    assert status["config"]["ok"]
    assert "the host cannot be reached" in status["config"]["repository"]["error"]
    assert 5 == stoker(daemon, "sync").returncode

    server.start()
    second = repository.commit({"work.yaml": work_pool(4)})
    until(lambda: applied(daemon) == second, "it follows again")
    assert "error" not in daemon.client.status()["config"]["repository"]


def test_a_first_start_without_the_remote_says_what_it_waits_for(
    daemon: RealDaemon, repository: Repository, server: HttpServer
) -> None:
    server.stop()
    daemon.follows = f"{server.url}?ref=main"
    daemon.start(*FAST, ready=False)
    reasons = until(lambda: daemon.client.status()["reasons"], "it answers")
    assert "no configuration was applied yet" in reasons
    until(lambda: "cannot be asked" in str(daemon.client.status()["reasons"]), "it says why")
    commit = repository.commit({"work.yaml": work_pool(1)})
    server.start()
    until(lambda: applied(daemon) == commit, "it starts once there is something")


def test_a_force_push_is_refused_also_after_a_restart_until_it_is_allowed(
    daemon: RealDaemon, repository: Repository
) -> None:
    repository.commit({"work.yaml": work_pool(1)})
    good = repository.commit({"work.yaml": work_pool(2)})
    daemon.follows = f"{repository.url}?ref=main"
    daemon.start(*FAST)
    rewritten = repository.commit({"work.yaml": work_pool(3)}, "--amend")
    assert 1 == stoker(daemon, "sync").returncode
    assert good == applied(daemon)
    daemon.kill()
    daemon.start(*FAST)
    stoker(daemon, "sync")
    assert good == applied(daemon)
    assert "does not descend" in str(daemon.client.status()["config"]["problems"])
    assert 0 == daemon.stop()
    daemon.start(*FAST, "--allow-rewind", "true")
    until(lambda: applied(daemon) == rewritten, "it is taken")


def test_only_signed_commits_are_taken_when_that_is_set(
    daemon: RealDaemon, repository: Repository, tmp_path: Path
) -> None:
    key = ssh_key(tmp_path / "ada")
    (tmp_path / "signers").write_text(signers(key))
    settings = tmp_path / "stoker.yaml"
    settings.write_text(f"configPoll: 1s\nverify: {{ssh: {tmp_path / 'signers'}}}\n")
    signs_with_ssh(repository, key)
    good = repository.commit({"work.yaml": work_pool(1)}, "-S")
    daemon.follows = f"{repository.url}?ref=main"
    daemon.start("--settings", str(settings))
    assert good == applied(daemon)
    repository.commit({"work.yaml": work_pool(2)})
    daemon.client.sync()
    assert good == applied(daemon)
    assert "it is not signed" in str(daemon.client.status()["config"]["problems"])


def test_a_stop_does_not_wait_for_a_repository_that_hangs(
    daemon: RealDaemon, repository: Repository, server: HttpServer
) -> None:
    repository.commit({"work.yaml": work_pool(1)})
    daemon.follows = f"{server.url}?ref=main"
    daemon.start(*NEVER)
    daemon.until_ready("work", 1)
    over = threading.Event()
    server.before = lambda _: over.wait(60)
    answers: list[Any] = []
    waiting = threading.Thread(target=lambda: answers.append(stoker(daemon, "sync")))
    waiting.start()
    before = server.requests
    until(lambda: server.requests > before, "it asks")
    started = time.monotonic()
    try:
        assert 0 == daemon.stop()
        assert time.monotonic() - started < 8
    finally:
        over.set()
        waiting.join()


def test_a_push_notice_takes_effect_at_once_and_what_became_of_it_is_told(
    daemon: RealDaemon, repository: Repository, tmp_path: Path
) -> None:
    (tmp_path / "in").write_text("what the git host knows\n")
    (tmp_path / "out").write_text("what the receiver knows\n")
    with a_receiver() as receiver:
        port = free_port()
        settings = tmp_path / "stoker.yaml"
        settings.write_text(
            f"configPoll: 1h\n"
            f"webhook: {{address: {port}, secretFile: in}}\n"
            f"notify: {{url: 'http://u:p4ss@127.0.0.1:{receiver.port}/T0KEN', secretFile: out}}\n"
        )
        repository.commit({"work.yaml": work_pool(1)})
        daemon.follows = f"{repository.url}?ref=main"
        daemon.start("--settings", str(settings))
        second = repository.commit({"work.yaml": work_pool(2)})
        body = json.dumps({"after": second}).encode()
        signature = hmac.new(b"what the git host knows", body, "sha256").hexdigest()
        headers = {"X-Hub-Signature-256": f"sha256={signature}"}
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/", body, headers)
        with urllib.request.urlopen(asked, timeout=10) as answer:
            assert 202 == answer.status
        until(lambda: applied(daemon) == second, "the push takes effect")
        broken = repository.commit({"work.yaml": "kind: Nonsense"})
        assert 1 == stoker(daemon, "sync").returncode

        def told() -> list[tuple[str, str]]:
            return [(one["kind"], one["data"]["commit"]) for one in receiver.told]

        expected = [("config.applied", second), ("config.refused", broken)]
        until(lambda: told()[-2:] == expected, f"it is told: {told()}")
        status = daemon.client.status()["notify"]
        assert f"http://127.0.0.1:{receiver.port}" == status["receiver"]
        for secret in ("p4ss", "T0KEN", "what the"):
            assert secret not in daemon.said() + str(daemon.client.status())


def test_figures_tell_how_far_behind_it_is(daemon: RealDaemon, repository: Repository) -> None:
    repository.commit({"work.yaml": work_pool(1)})
    daemon.follows = f"{repository.url}?ref=main"
    daemon.start(*FAST)
    repository.commit({"work.yaml": "kind: Nonsense"})
    daemon.client.sync()
    time.sleep(0.1)

    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(daemon.socket))
        asking.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        text = b"".join(iter(lambda: asking.recv(65536), b"")).decode()
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("stoker_"))
    assert float(figures["stoker_config_behind_seconds"]) > 0.05
    assert figures["stoker_config_behind"] == "1.0"
    assert float(figures["stoker_config_silent_seconds"]) < 30
    assert float(figures['stoker_config_polls_total{outcome="new"}']) >= 2
    assert figures["stoker_config_last_load_successful"] == "0.0"


class Writer:
    """Pushes good, broken, rewritten, empty and deleted branches as fast as it can."""

    def __init__(self, repository: Repository, seed: int) -> None:
        self.repository = repository
        self.chance = random.Random(seed)
        self.good: list[str] = []
        """Every commit that may be applied if its ancestors allow it, in the order of the pushes."""
        self.sizes: dict[str, int] = {}
        """What each of them says, by the revision's name."""

    def good_commit(self) -> str:
        size = self.chance.randint(0, 3)
        commit = self.repository.commit({"work.yaml": work_pool(size)}, push=False)
        self.good.append(commit)
        self.sizes[commit[:12]] = size
        self.repository.push()
        return commit

    def step(self) -> None:
        repository, head = self.repository, self.repository.head()
        match self.chance.choice(
            [
                "good",
                "good",
                "good",
                "broken",
                "rewrite",
                "rewind",
                "empty",
                "delete",
                "rename",
                "flip",
                "link",
            ]
        ):
            case "good":
                self.good_commit()
            case "broken":
                repository.commit({"work.yaml": "kind: Nonsense"})
                repository.git("reset", "-q", "--hard", head)
            case "empty":
                repository.git("rm", "-q", "-r", "--cached", ".")
                repository.git("commit", "-q", "-m", "all is gone")
                repository.push()
                repository.git("reset", "-q", "--hard", head)
            case "rewrite":  # valid, and without the ancestors that it would need
                tree = repository.git("write-tree").strip()
                why = f"rewritten {self.chance.random()}"
                other = repository.git("commit-tree", tree, "-m", why).strip()
                repository.push(f"{other}:refs/heads/main")
            case "rewind" if len(self.good) > 1:
                repository.push("HEAD~1:refs/heads/main")
            case "delete":
                repository.push(":refs/heads/main")
            case "flip":  # between two that are good, as fast as it goes
                for _ in range(3):
                    repository.push("HEAD~1:refs/heads/main" if len(self.good) > 1 else "HEAD")
                    repository.push()
            case "rename":
                repository.push("HEAD:refs/heads/other", ":refs/heads/main")
            case _:
                repository.commit_tree([("120000", "work.yaml", b"/etc/passwd")])


@pytest.mark.timeout(180)
def test_whatever_a_writer_and_the_network_do_only_allowed_commits_are_applied_and_in_order(
    daemon: RealDaemon, repository: Repository, server: HttpServer
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    writer = Writer(repository, seed)
    chance = random.Random(seed + 1)
    first = writer.good_commit()
    daemon.follows = f"{server.url}?ref=main"
    freely = (*FAST, "--max-destroy", "100%")  # what is held, test_safe_changes tortures
    daemon.start(*freely)
    seen: list[str] = [first]
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        writer.step()
        match chance.randrange(12):
            case 0:
                server.stop()
                time.sleep(0.1)
                server.start()
            case 1 if chance.random() < 0.3:
                daemon.kill()
                daemon.start(*freely)
            case 2 | 3 | 4:
                daemon.client.sync()
            case _:
                pass
        commit = applied(daemon)
        if commit != seen[-1]:
            seen.append(commit)
        pool = daemon.client.pool("work")  # one answer is of one moment
        assert pool["min"] == writer.sizes[pool["revision"]], "a mixture of two revisions"
    repository.push()  # what was rewritten or deleted last comes back
    last = writer.good_commit()
    until(
        lambda: last == applied(daemon), "the last one is found by a poll, and nobody asks for it"
    )
    seen.append(last)

    told = [event["data"]["commit"] for event in daemon.events("config.applied")]
    order = {commit: number for number, commit in enumerate(writer.good)}
    for history in (seen, told):
        assert set(history) <= set(order)
        places = [order[commit] for commit in history]
        assert places == sorted(places)
    assert len(set(told)) > 3
    assert daemon.client.status()["config"]["ok"]
    assert "defect" not in daemon.said()


def test_no_git_is_left_behind_when_the_daemon_is_killed_and_restarted(
    daemon: RealDaemon, repository: Repository
) -> None:
    repository.commit({"work.yaml": work_pool(1)})
    daemon.follows = f"{repository.url}?ref=main"
    daemon.start(*FAST)
    daemon.stop(signal.SIGTERM)
    mark = str(daemon.state).encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environ = (entry / "environ").read_bytes()
            except OSError:
                continue
            assert b"GIT_DIR=" + mark not in environ
