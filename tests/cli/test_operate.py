"""`stoker pause|resume|drain|refresh|hold|unhold|retire`, against a real daemon and a scripted one."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from stoker.daemon.cli.group import cli
from tests.cli.real_daemon import RealDaemon, eventually
from tests.client.documents import a_problem
from tests.client.scripted_server import ScriptedServer, reply


@pytest.fixture(autouse=True)
def resumed(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test pauses or drains does not stay so for the next one."""
    yield
    if "daemon" in request.fixturenames:
        daemon: RealDaemon = request.getfixturevalue("daemon")
        for command in (("thaw",), ("resume", "--all"), ("resume", "folders", "single")):
            daemon.run(*command)
        eventually(lambda: pool(daemon)["ready"] == 2)


def pool(daemon: RealDaemon, name: str = "folders") -> dict[str, Any]:
    with daemon.client() as client:
        return client.pool(name)


def ready_one(daemon: RealDaemon) -> str:
    with daemon.client() as client:
        return str(client.resources(pool="folders", state="ready")[0]["id"])


def stoker(*args: str) -> Result:
    return CliRunner().invoke(cli, args)


def test_a_pool_is_paused_and_resumed_and_every_view_says_so(daemon: RealDaemon) -> None:
    done = daemon.run("pause", "folders", "--until", "90m", "--reason", "new disk")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"folders is paused, ends in 1h(29|30)m \(.*Z\)\n", done.stdout)
    refused = daemon.run("claim", "folders", "--wait", "1s")
    assert refused.returncode == 5
    assert "paused by" in refused.stderr
    assert "new disk" in refused.stderr
    for view in (("pools",), ("pools", "folders"), ("status",)):
        assert re.search(r"Paused by \w+ .* ago, ends in .*: new disk", daemon.run(*view).stdout), (
            view
        )
    assert "pause" in daemon.run("status").stdout
    (told,) = json.loads(daemon.run("status", "-o", "json").stdout)["inForce"]
    assert (told["action"], told["subject"], told["reason"]) == ("pause", "folders", "new disk")

    assert daemon.run("resume", "folders").stdout == "folders is open\n"
    assert pool(daemon)["paused"] is False


def test_what_an_operator_set_outlives_a_kill_of_the_daemon(daemon: RealDaemon) -> None:
    held = ready_one(daemon)
    assert daemon.run("hold", held, "--until", "1h").returncode == 0
    eventually(lambda: pool(daemon)["ready"] == 2)
    assert daemon.run("pause", "folders").returncode == 0
    daemon.process.kill()
    daemon.process.wait()
    daemon.launch()

    assert pool(daemon)["paused"] is True
    assert "held by" in daemon.run("resources", held).stdout
    assert daemon.run("unhold", held).returncode == 0


def test_a_pool_is_drained_and_fills_again(daemon: RealDaemon) -> None:
    assert daemon.run("drain", "folders", "--reason", "moving").stdout == "folders is draining\n"
    eventually(lambda: not pool(daemon)["counts"])
    assert "Drained by" in daemon.run("pools", "folders").stdout
    assert daemon.run("claim", "folders", "--wait", "1s").returncode == 5


def test_a_pool_is_refreshed(daemon: RealDaemon) -> None:
    before = ready_one(daemon)
    done = daemon.run("refresh", "folders", "-o", "json")
    assert json.loads(done.stdout)["name"] == "folders"
    eventually(lambda: daemon.run("resources", before).returncode == 4)
    eventually(lambda: "refresh" not in pool(daemon))


def test_a_resource_is_held_shown_and_let_go(daemon: RealDaemon) -> None:
    name = ready_one(daemon)
    done = daemon.run("hold", name, "--reason", "odd")
    assert re.fullmatch(rf"{name} is held, ends in (1d|23h59m) \(.*Z\)\n", done.stdout)
    assert f"{name}  folders  held" in daemon.run("resources").stdout
    assert "held for inspection" in daemon.run("status").stdout
    done = daemon.run("unhold", name)
    assert done.stdout.startswith(f"{name} is ending")
    eventually(lambda: daemon.run("resources", name).returncode == 4)


def test_a_bound_one_is_marked_to_be_held_and_cannot_be_retired(daemon: RealDaemon) -> None:
    claim = json.loads(daemon.run("claim", "folders", "-o", "json").stdout)
    name = claim["resources"][0]["id"]
    assert f"{name} is bound, and held after that" in daemon.run("hold", name).stdout
    assert "bound (to be held)" in daemon.run("resources").stdout
    refused = daemon.run("retire", name)
    assert refused.returncode == 1
    assert f"release the claim {claim['id']}" in refused.stderr
    assert name in refused.stderr, "an id is told as it is, also where a sentence begins with it"
    daemon.run("release", claim["id"])
    eventually(lambda: "held" in daemon.run("resources", name).stdout)
    assert daemon.run("retire", name).returncode == 0


def test_a_ready_one_is_retired_and_replaced(daemon: RealDaemon) -> None:
    name = ready_one(daemon)
    assert daemon.run("retire", name, "--reason", "slow disk").returncode == 0
    eventually(lambda: daemon.run("resources", name).returncode == 4)
    assert "slow disk" in daemon.run("events", "--kind", "resource.retired").stdout


def test_one_that_fails_does_not_keep_the_others_from_it(daemon: RealDaemon) -> None:
    done = daemon.run("pause", "nothing", "single")

    assert done.returncode == 4
    assert "there is no pool nothing" in done.stderr.lower()
    assert pool(daemon, "single")["paused"] is True


@pytest.mark.parametrize("command", ["pause", "drain", "refresh", "hold"])
def test_an_end_that_is_none_is_refused_before_anything_is_sent(command: str) -> None:
    result = stoker(command, "web", "--until", "tomorrow")

    assert result.exit_code == 2
    assert "write a duration such as 90m, or a moment" in result.output


@pytest.mark.parametrize(
    "command", ["pause", "resume", "drain", "refresh", "hold", "unhold", "retire"]
)
def test_help_has_an_example(command: str) -> None:
    assert f"stoker {command} web" in stoker(command, "--help").output


def test_errors_follow_the_output_format(server: ScriptedServer) -> None:
    server.answers = [reply(404, a_problem(404, "no-such-pool"))]

    result = stoker("pause", "web", "-o", "json", "--reason", "x")

    assert result.exit_code == 4
    assert json.loads(server.seen[0].body) == {"reason": "x"}


def test_a_host_is_frozen_serves_what_is_ready_and_is_thawed(daemon: RealDaemon) -> None:
    done = daemon.run("freeze", "--until", "4h", "--reason", "an incident")
    assert re.fullmatch(r"the host is frozen by \w+ .* ago, ends in .*: an incident\n", done.stdout)
    claims = [daemon.run("claim", "folders", "--ttl", "2m", "-o", "json") for _ in range(2)]
    assert [claim.returncode for claim in claims] == [0, 0]
    starved = daemon.run("claim", "folders", "--wait", "500ms")
    assert (starved.returncode, "the host is frozen by" in starved.stderr) == (5, True)
    assert "freeze" in daemon.run("status").stdout
    assert "Frozen with the whole host" in daemon.run("pools", "folders").stdout
    explained = daemon.run("explain", "pool/folders").stdout
    assert "until 'stoker thaw'" in " ".join(explained.split())
    assert pool(daemon)["frozen"] is True

    assert daemon.run("thaw").stdout == "the host is open\n"
    for claim in claims:
        daemon.run("release", json.loads(claim.stdout)["id"])


def test_a_configuration_waits_for_the_thaw_and_every_view_says_so(daemon: RealDaemon) -> None:
    file = daemon.folder / "config" / "pools.yaml"
    before = file.read_text()
    daemon.run("freeze")
    file.write_text(before.replace("ttl: 5m", "ttl: 6m"))
    try:
        eventually(lambda: daemon.run("sync").returncode == 1)
        assert "applied when the host is thawed" in daemon.run("status").stdout
        assert "config.held" in daemon.run("events", "--kind", "config.held").stdout
        waiting = json.loads(daemon.run("status", "-o", "json").stdout)["config"]["waiting"]
        daemon.run("thaw")
        eventually(lambda: pool(daemon)["revision"] == waiting["revision"])
        assert daemon.run("sync").returncode == 0
    finally:
        file.write_text(before)
        daemon.run("sync")


def test_a_file_freezes_the_running_daemon_and_the_one_that_starts(daemon: RealDaemon) -> None:
    file = daemon.folder / "state" / "freeze"
    file.write_text("no changes on this day\n")
    eventually(lambda: pool(daemon)["frozen"])
    refused = daemon.run("thaw")
    assert refused.returncode == 1
    assert str(file) in refused.stderr
    daemon.process.kill()
    daemon.process.wait()
    daemon.launch()
    assert pool(daemon)["frozen"] is True
    told = json.loads(daemon.run("status", "-o", "json").stdout)["host"]
    assert (told["frozen"], told["freezeFile"]) == (True, str(file))
    assert told["freeze"]["reason"] == "no changes on this day"
    assert f"by {file}" in daemon.run("status").stdout

    file.unlink()
    eventually(lambda: not pool(daemon)["frozen"])


def test_all_pools_are_drained_at_once_and_opened_at_once(daemon: RealDaemon) -> None:
    done = daemon.run("drain", "--all", "--reason", "the image is bad")
    assert re.fullmatch(r"the host is drained by \w+ .*: the image is bad\n", done.stdout)
    eventually(lambda: not pool(daemon)["counts"] and not pool(daemon, "single")["counts"])
    refused = daemon.run("claim", "single", "--wait", "1s")
    assert (refused.returncode, "the image is bad" in refused.stderr) == (5, True)
    assert "stoker resume --all" in daemon.run("resume", "folders").stdout
    assert "stoker resume --all" in daemon.run("pools", "folders").stdout

    assert daemon.run("resume", "--all").stdout == "the host is open\n"
    eventually(lambda: pool(daemon)["ready"] == 2)


def test_a_pool_that_is_paused_in_the_configuration_is_opened_there(daemon: RealDaemon) -> None:
    file = daemon.folder / "config" / "pools.yaml"
    before = file.read_text()
    head, _, tail = before.rpartition("spec:")
    file.write_text(f"{head}spec:\n  paused: true{tail}")
    place = f"pools.yaml:{head.count(chr(10)) + 2}:3"
    try:
        eventually(lambda: pool(daemon, "single")["paused"])
        refused = daemon.run("resume", "single")
        assert refused.returncode == 1
        assert place in refused.stderr
        assert f"Paused in the configuration ({place})" in daemon.run("pools", "single").stdout
        explained = daemon.run("explain", "pool/single").stdout
        assert f"paused in the configuration ({place})" in " ".join(explained.split())
    finally:
        file.write_text(before)
        eventually(lambda: not pool(daemon, "single")["paused"])


@pytest.mark.parametrize(
    "args", [("drain",), ("resume",), ("drain", "web", "--all"), ("resume", "--all", "web")]
)
def test_pools_are_named_or_all_are_meant(args: tuple[str, ...]) -> None:
    assert stoker(*args).exit_code == 2
