"""What was planned is what happens; what would destroy too much waits; and there is a way back."""

import asyncio
import json
import random
import re
import subprocess
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from stoker.client import AsyncStoker, NotFound
from stoker.config.loading import load
from stoker.config.revision import Revision
from stoker.pools.drivers import catalogue
from stoker.pools.impact import MAX_DESTROY, accepted_by, as_declared, impact, objections
from tests.fixtures.daemons import STOKER, RealDaemon, until, work_pool
from tests.fixtures.repositories import Repository

FAST = ("--config-poll", "1s")
NEVER = ("--config-poll", "1h")
BLUEPRINT, POOL = work_pool(1).split("---\n")
OTHER_BLUEPRINT = BLUEPRINT.replace("name: folder", "name: other")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "remote")


def pools(**sizes: int) -> str:
    """One blueprint and these pools."""
    return "---\n".join(
        [BLUEPRINT, *(work_pool(size, pool=name).split("---\n")[1] for name, size in sizes.items())]
    )


def stoker(daemon: RealDaemon, *args: str) -> subprocess.CompletedProcess[str]:
    command = [*STOKER, *args, "--socket", str(daemon.socket)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def applied(daemon: RealDaemon) -> str:
    revision = daemon.client.status().get("revision", {})
    return str(revision.get("commit") or revision.get("id", ""))


def held(daemon: RealDaemon) -> dict[str, Any]:
    found: dict[str, Any] = daemon.client.status()["config"].get("held", {})
    return found


def standing(daemon: RealDaemon) -> dict[str, set[str]]:
    """The ids of what is not on its way out, by pool."""
    found: dict[str, set[str]] = {}
    for one in daemon.client.resources():
        if one["state"] in {"ready", "bound", "preparing", "planned"}:
            found.setdefault(one["pool"], set()).add(one["id"])
    return found


def settled(daemon: RealDaemon, sizes: dict[str, int]) -> bool:
    """Each pool has as many ready ones as it should, all up to date, and nothing is on its way."""
    states = [one["state"] for one in daemon.client.resources()]
    found = {pool["name"]: pool for pool in daemon.client.pools()}
    return set(states) <= {"ready", "bound"} and all(
        (size, 0) == (found[name]["ready"], found[name]["outdated"]) for name, size in sizes.items()
    )


def test_what_was_planned_is_what_happens(daemon: RealDaemon, tmp_path: Path) -> None:
    before = pools(grows=2, shrinks=10, goes=3, stays=2)
    rolls = work_pool(4, pool="rolls").replace("folder", "other")
    daemon.write("all.yaml", f"{before}---\n{rolls}")
    daemon.start()
    until(
        lambda: settled(daemon, {"grows": 2, "shrinks": 10, "goes": 3, "stays": 2, "rolls": 4}),
        "all is full",
    )
    claimed = daemon.client.claim("goes", wait="10s")
    daemon.client.claim("rolls", wait="10s")
    until(lambda: settled(daemon, {"goes": 3, "rolls": 4}), "both are full again")
    after = pools(grows=5, shrinks=7, comes=2, stays=2)
    changed = rolls.replace("driver: directory}", "driver: directory, with: {mode: '0700'}}")
    planned = tmp_path / "planned"
    planned.mkdir()
    (planned / "all.yaml").write_text(f"{after}---\n{changed}")
    stood = standing(daemon)

    done = stoker(daemon, "plan", str(planned), "--live", "-o", "json")
    assert 3 == done.returncode, done.stderr
    plan = json.loads(done.stdout)
    assert {"goes"} == {one["name"] for one in plan["pools"] if one["fate"] == "removed"}
    daemon.write("all.yaml", (planned / "all.yaml").read_text())
    waiting = until(lambda: held(daemon), "it is held")
    assert plan["held"] == waiting["because"]
    assert plan["revision"] == waiting["revision"]
    assert stood == standing(daemon)
    assert 0 == stoker(daemon, "apply", "--accept", plan["revision"]).returncode
    sizes = {"grows": 5, "shrinks": 7, "comes": 2, "stays": 2, "rolls": 4}
    until(lambda: settled(daemon, sizes), "all of it happened")

    stands = standing(daemon)
    told = {one["name"]: one for one in plan["pools"]}
    assert {"grows", "shrinks", "goes", "comes", "rolls"} == set(told)
    for name, one in told.items():
        new = stands.get(name, set()) - stood.get(name, set())
        gone = stood.get(name, set()) - stands.get(name, set())
        assert one["created"] + one["rolled"] == len(new), name
        assert one["destroyed"] + one["rolled"] == len(gone), name
    assert stands["goes"] == {
        one["id"] for one in daemon.client.show(claimed.id).document["resources"]
    }
    assert (1, 4, 3) == (
        told["goes"]["drained"],
        told["rolls"]["rolled"],
        told["shrinks"]["destroyed"],
    )
    assert stood["stays"] == stands["stays"]
    again = stoker(daemon, "plan", str(planned), "--live", "--exit-code")
    assert (0, True) == (again.returncode, again.stdout.startswith("No change"))


def test_a_commit_that_would_destroy_too_much_waits_also_over_a_crash(
    daemon: RealDaemon, repository: Repository
) -> None:
    good = repository.commit({"all.yaml": pools(web=3, db=2)})
    daemon.follows = f"{repository.url}?ref=main"
    daemon.start(*NEVER)
    daemon.until_ready("web", 3)
    bad = repository.commit({"all.yaml": pools(web=3)})
    done = stoker(daemon, "sync")
    assert 3 == done.returncode
    assert f"Revision {bad[:12]} has been held" in done.stdout
    assert "the pool db would be removed: 2 resources destroyed" in done.stdout
    assert f"stoker apply --accept {bad[:12]}" in stoker(daemon, "status").stdout
    (event,) = daemon.events("config.held")
    assert (bad, daemon.follows) == (event["data"]["commit"], event["data"]["source"])
    for _ in range(2):
        daemon.kill()
        daemon.start(*NEVER)
        until(lambda: held(daemon), "it is held again")
        assert good == applied(daemon)
        assert bad == held(daemon)["commit"]
    daemon.until_ready("db", 2)
    refused = stoker(daemon, "apply", "--accept", good[:12][::-1])
    assert 1 == refused.returncode
    assert f"What is held is {bad[:12]}" in refused.stderr
    worse = repository.commit({"all.yaml": pools(db=2)})
    refused = stoker(daemon, "apply", "--accept", bad)
    assert 1 == refused.returncode, "it looked, and the branch has moved on"
    assert f"What is held is {worse[:12]}" in refused.stderr
    wanted = repository.commit({"all.yaml": pools(web=3)})
    done = stoker(daemon, "apply", "--accept", wanted[:10], "--reason", "db is no longer used")
    assert 0 == done.returncode, done.stderr
    assert f"serving {wanted[:12]}" in done.stdout
    until(lambda: [pool["name"] for pool in daemon.client.pools()] == ["web"], "db is gone")
    (accepted,) = daemon.events("config.accepted")
    assert ("db is no longer used", wanted) == (accepted["reason"], accepted["data"]["commit"])


def test_a_commit_accepts_in_its_own_files_what_it_destroys(
    daemon: RealDaemon, repository: Repository
) -> None:
    repository.commit({"all.yaml": pools(web=3, db=2)})
    daemon.follows = f"{repository.url}?ref=main"
    daemon.start(*FAST)
    daemon.until_ready("db", 2)
    annotated = pools(web=3).replace(
        "metadata: {name: web}",
        "metadata: {name: web, annotations: {stoker/accept-destroy: 'db (ticket 7)'}}",
    )
    commit = repository.commit({"all.yaml": annotated})
    assert 0 == stoker(daemon, "sync").returncode
    assert commit == applied(daemon)


@pytest.mark.parametrize("left", [BLUEPRINT, ""])
def test_a_tree_without_pools_never_means_that_all_goes(daemon: RealDaemon, left: str) -> None:
    daemon.write("work.yaml", work_pool(2))
    daemon.start()
    daemon.until_ready("work", 2)
    serving, stood = applied(daemon), standing(daemon)
    daemon.write("work.yaml", left)
    until(lambda: held(daemon) or daemon.client.status()["config"]["problems"], "it is told")
    assert serving == applied(daemon)
    daemon.kill()
    daemon.start()
    assert serving == applied(daemon)
    assert stood == standing(daemon)
    daemon.client.claim("work", wait="10s")


def test_there_is_a_way_back_that_lasts_until_it_is_given_up(
    daemon: RealDaemon, repository: Repository
) -> None:
    first = repository.commit({"all.yaml": pools(web=2)})
    daemon.follows = f"{repository.url}?ref=main"
    daemon.start(*FAST)
    second = repository.commit({"all.yaml": pools(web=3)})
    assert 0 == stoker(daemon, "sync").returncode
    daemon.until_ready("web", 3)

    refused = stoker(daemon, "config", "rollback")
    assert 1 == refused.returncode
    assert "would destroy too much" in refused.stderr
    done = stoker(daemon, "config", "rollback", "--accept", "--reason", "three are too dear")
    assert 0 == done.returncode, done.stderr
    assert first == applied(daemon)
    daemon.until_ready("web", 2)
    third = repository.commit({"all.yaml": pools(web=4)})
    stoker(daemon, "sync")
    daemon.kill()
    daemon.start(*FAST)
    until(lambda: "seen" in daemon.client.status()["config"], "what is new is seen")
    status = stoker(daemon, "status").stdout
    assert re.search(
        rf"Revision {first[:12]} is pinned by \w+ .* ago: three are too dear\. "
        rf"The source holds {third[:12]}\. End it with: stoker config unpin",
        status,
    )
    assert first == applied(daemon)
    assert ["pin"] == [one["action"] for one in daemon.client.status()["inForce"]]
    history = stoker(daemon, "config", "history").stdout.splitlines()
    assert [first[:12], second[:12]] == [line.split()[0] for line in history[1:]]
    assert "pinned" in history[1]
    shown = json.loads(stoker(daemon, "config", "show", second[:8], "-o", "json").stdout)
    assert (second, {"all.yaml": pools(web=3)}) == (shown["commit"], shown["files"])
    assert 0 == stoker(daemon, "config", "unpin").returncode
    assert third == applied(daemon)
    until(lambda: not daemon.client.status()["inForce"], "nothing is pinned")
    kinds = [event["kind"] for event in daemon.events("config.")]
    assert 1 == kinds.count("config.rolled-back") == kinds.count("config.unpinned")


def test_a_rollback_survives_that_the_history_was_rewritten(
    daemon: RealDaemon, repository: Repository
) -> None:
    first = repository.commit({"all.yaml": pools(web=3)})
    daemon.follows = f"{repository.url}?ref=main"
    daemon.start(*FAST)
    repository.commit({"all.yaml": pools(web=4)})
    stoker(daemon, "sync")
    assert 0 == stoker(daemon, "config", "rollback").returncode
    assert first == applied(daemon)
    repository.git("reset", "-q", "--hard", first)
    other = repository.commit({"all.yaml": pools(web=5)})
    stoker(daemon, "sync")
    assert first == applied(daemon)
    assert 0 == stoker(daemon, "config", "unpin").returncode
    assert other == applied(daemon)


async def test_programs_can_do_it_too(daemon: RealDaemon) -> None:
    daemon.write("all.yaml", pools(web=2))
    await asyncio.to_thread(daemon.start)
    async with AsyncStoker(daemon.socket) as client:
        (only,) = await client.revisions()
        shown = await client.revision(only["id"])
        assert (True, pools(web=2)) == (shown["serving"], shown["files"]["all.yaml"])
        standing = await client.standing()
        assert (only["id"], 0.3) == (standing["revision"]["id"], standing["maxDestroy"])
        pinned = await client.steer("pin", until="1h", reason="a test")
        assert ("a test", only["id"]) == (
            pinned["config"]["pinned"]["reason"],
            pinned["config"]["pinned"]["revision"],
        )
        assert "pinned" not in (await client.steer("unpin"))["config"]
        with pytest.raises(NotFound):
            await client.revision("0000000")


def read(files: dict[str, str]) -> Revision:
    result = load(files, catalogue(), "test")
    assert result.revision is not None, result.problems
    return result.revision


def may_follow(before: Revision, after: Revision) -> bool:
    """Without anybody's acceptance, whatever stood at the time."""
    found = impact(before, after, as_declared(before))
    return not objections(found, MAX_DESTROY, accepted_by(before, after))


@pytest.mark.timeout(180)
def test_whatever_is_pushed_no_step_destroys_more_than_may_go_unasked(
    daemon: RealDaemon, repository: Repository
) -> None:
    """A writer pushes sizes and removals at random, the daemon is killed at random, and an operator
    accepts, pins and unpins at random: from each applied revision to the next, either the guard lets it
    pass, or that very revision was accepted."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    written: dict[str, Revision] = {}

    def push() -> str:
        sizes = {name: chance.randint(0, 6) for name in ("a", "b", "c") if chance.random() < 0.85}
        files = {"all.yaml": pools(**sizes)}
        commit = repository.commit(dict(files))
        written[commit[:12]] = read(files)
        return commit

    push()
    daemon.follows = f"{repository.url}?ref=main"
    daemon.start(*FAST)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        newest = push()
        match chance.randrange(10):
            case 0:
                daemon.kill()
                daemon.start(*FAST)
            case 1 | 2:
                stoker(daemon, "apply", "--accept", newest[:12])
            case 3:
                stoker(daemon, "config", "pin")
            case 4 | 5:
                stoker(daemon, "config", "unpin")
            case 6:
                stoker(daemon, "config", "rollback")
            case _:
                daemon.client.sync()
    stoker(daemon, "config", "unpin")
    last = push()
    done = stoker(daemon, "apply", "--accept", last[:12])
    assert last == applied(daemon), done.stderr
    accepted = {event["data"]["revision"] for event in daemon.events("config.accepted")}

    order = [event["data"]["revision"] for event in daemon.events("config.applied")]
    steps = [(one, two) for one, two in pairwise(order) if one != two]
    assert len(steps) > 3
    for before, after in steps:
        free = may_follow(written[before], written[after])
        assert free or after in accepted, f"{before} to {after}"
    assert daemon.events("config.held")
    assert "defect" not in daemon.said()
