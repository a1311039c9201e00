"""Revisions are taken over one after the other, and nothing that goes wrong with one ends the daemon."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from stoker.config.loading import LoadResult
from stoker.config.problems import Problem
from stoker.daemon.synchroniser import RETRY_AFTER
from stoker.pools.claim import ClaimState
from stoker.pools.requests import ClaimRequest
from stoker.pools.store import NewEvent, StoreError, Transaction
from stoker.pools.stores.transaction import SqliteTransaction
from tests.daemon.following import Scene, files
from tests.pools.faults import Ledger, raising, replace_method
from tests.rig import ME, Host, virtual_throttle

pytestmark = [pytest.mark.looptime]


@pytest.fixture(autouse=True)
def virtual_time() -> Iterator[None]:
    with virtual_throttle():
        yield


async def test_a_directory_that_was_changed_while_the_daemon_was_down_does_not_waste_what_stands() -> (
    None
):
    host = Host()
    scene = Scene(host)
    await scene.start(files("old", "ticket"))
    await scene.run.until_ready(2)
    before = {resource.id for resource in scene.run.fleet.resources()}
    kept = await scene.stop()
    host.world.faults.latency = (20.0, 20.0)

    scene = Scene(host)
    await scene.start(files("new", "badge"), kept)
    host.world.faults.latency = (0.0, 0.0)
    claim = await scene.run.claim(wait=5.0)

    assert claim.state is ClaimState.BOUND
    assert set(claim.resources) <= before
    assert claim.outputs["label"] == "old"
    await scene.stop()


async def test_the_same_commit_read_from_another_folder_does_not_waste_what_stands() -> None:
    host, commit = Host(), "c" * 40
    scene = Scene(host)
    await scene.start(files("old", "ticket"), commit=commit)
    await scene.run.until_ready(2)
    before = {resource.id for resource in scene.run.fleet.resources()}
    kept = await scene.stop()
    host.world.faults.latency = (20.0, 20.0)

    scene = Scene(host)
    scene.place = "test?path=other"
    await scene.start(files("new", "badge"), kept, commit=commit)
    host.world.faults.latency = (0.0, 0.0)
    claim = await scene.run.claim(wait=5.0)

    assert set(claim.resources) <= before
    assert "old" == claim.outputs["label"]
    history = await scene.steering.history()
    assert ["test?path=other", "test"] == [one.source for one in history]
    await scene.stop()


async def test_whatever_became_of_a_try_the_next_one_tells_of_the_very_same_event() -> None:
    """The ledger then writes it once: see the stores' tests of a commit in doubt."""
    scene = Scene(Host())
    await scene.start(files("one"))
    commit, told = scene.run.store.commit, list[NewEvent]()

    async def in_doubt(transaction: Transaction, *, urgent: bool = False) -> None:
        assert isinstance(transaction, SqliteTransaction)
        applied = [one.event for one in transaction.events if one.event.kind == "config.applied"]
        told.extend(applied)
        if applied and len(told) < 3:
            raise StoreError("the disk did not answer")
        await commit(transaction, urgent=urgent)

    scene.run.store.commit = in_doubt  # type: ignore[method-assign]
    wanted = await scene.find(files("two"))
    await asyncio.sleep(3 * RETRY_AFTER)
    assert wanted == scene.serves
    assert 3 == len(told)
    assert told[0] is told[1] is told[2]
    await scene.stop()


async def test_a_revision_that_meets_a_defect_is_shown_as_broken_and_the_last_one_serves() -> None:
    scene = Scene(Host())
    await scene.start(files("one"))
    await scene.run.until_ready(2)
    apply, serving = scene.run.fleet.apply, scene.synchroniser.state.revision
    replace_method(scene.run.fleet, "apply", raising(ValueError("a defect")))
    scene.hold(files("two"))
    await asyncio.sleep(1)

    state = scene.synchroniser.state
    assert state.revision is serving
    assert state.broken_since is not None
    assert "a defect" in state.problems[0]
    assert (await scene.run.claim()).state is ClaimState.BOUND
    replace_method(scene.run.fleet, "apply", apply)
    scene.hold(files("three"))
    await asyncio.sleep(1)
    assert scene.synchroniser.state.problems == ()
    assert not scene.task.done()
    await scene.stop()


async def test_a_revision_waits_for_a_ledger_that_refuses() -> None:
    scene = Scene(Host())
    await scene.start(files("one"))
    ledger = Ledger(scene.run)
    ledger.down = True
    scene.hold(files("two"))
    await asyncio.sleep(3 * RETRY_AFTER)
    before = scene.synchroniser.state.revision
    ledger.down = False
    await asyncio.sleep(3 * RETRY_AFTER)

    assert scene.synchroniser.state.revision is not before
    await scene.stop()


async def test_a_refusal_is_written_down_with_its_reason_and_its_commit() -> None:
    scene = Scene(Host())
    await scene.start(files("one"))
    problem = Problem("https://host/p", 0, 0, "", "it is not signed", "sign it")
    scene.source.queue.put_nowait(LoadResult(None, (problem,), "", "https://host/p", "c" * 40))
    await asyncio.sleep(1)

    events = await scene.run.store.events(after=0, limit=100)
    (refused,) = [event for event in events if event.kind == "config.refused"]
    assert str(problem) == refused.reason
    assert ("c" * 40, "https://host/p") == (refused.data["commit"], refused.data["source"])
    await scene.stop()


async def test_a_refusal_that_the_ledger_does_not_take_ends_nothing() -> None:
    scene = Scene(Host())
    await scene.start(files("one"))
    ledger = Ledger(scene.run)
    ledger.down = True
    scene.hold({"all.yaml": "kind: Pond\n"})
    await asyncio.sleep(1)
    assert scene.synchroniser.state.broken_since is not None
    ledger.down = False
    scene.hold(files("two"))
    await asyncio.sleep(3 * RETRY_AFTER)
    assert scene.synchroniser.state.broken_since is None
    await scene.stop()


async def test_the_last_good_commit_serves_before_a_repository_has_said_anything() -> None:
    host = Host()
    scene = Scene(host)
    await scene.start(files("one"))
    await scene.run.until_ready(2)
    kept = await scene.stop()
    assert kept is not None

    scene = Scene(host)
    scene.source.remote = True
    await scene.run.open()
    commit = replace(kept, id="c" * 12, commit="c" * 40, source="https://host/p")
    scene.task = asyncio.create_task(scene.synchroniser.follow(commit))
    await asyncio.wait_for(scene.synchroniser.applied.wait(), 60)
    await scene.run.fleet.start()
    await scene.run.until_ready(2)

    state = scene.synchroniser.state
    assert state.revision is not None
    assert ("c" * 12, "c" * 40) == (state.revision.id, state.revision.commit)
    assert (None, ()) == (state.broken_since, state.problems)
    again = await scene.stop()
    assert again is not None
    assert "c" * 40 == again.commit


async def test_a_broken_directory_at_the_start_falls_back_to_the_last_good_revision() -> None:
    host = Host()
    scene = Scene(host)
    await scene.start(files("one"))
    await scene.run.until_ready(2)
    kept = await scene.stop()

    scene = Scene(host)
    await scene.start({"all.yaml": "apiVersion: stoker/v1\nkind: Pond\n"}, kept)
    await scene.run.until_ready(2)

    state = scene.synchroniser.state
    assert state.revision is not None
    assert kept is not None
    assert state.revision.id == kept.id
    assert state.problems
    await scene.stop()


POLICIES = """
---
apiVersion: stoker/v1
kind: Policy
metadata: {name: team}
spec:
  rules: [{name: members, effect: allow, when: '"web" in caller.groups'}]
---
apiVersion: stoker/v1
kind: PolicyTest
metadata: {name: team}
spec:
  given: {pool: {name: web}}
  cases: [{name: members may, given: {caller: {groups: [GROUP]}}, expect: {verdict: allow}}]
"""


async def test_a_revision_whose_policy_tests_fail_is_refused_and_the_last_one_serves() -> None:
    scene = Scene(Host())
    await scene.start({"a.yaml": files("one")["all.yaml"] + POLICIES.replace("GROUP", "web")})
    await scene.run.until_ready(2)
    serving = scene.synchroniser.state.revision
    assert serving is not None
    assert ["team"] == list(serving.policies)

    scene.hold({"a.yaml": files("two")["all.yaml"] + POLICIES.replace("GROUP", "dba")})
    while scene.synchroniser.state.broken_since is None:
        await asyncio.sleep(0.1)  # of the virtual clock

    state = scene.synchroniser.state
    assert state.revision is serving
    assert "the case 'members may' fails: expected allow, got deny" in state.problems[0]
    member = replace(ME, groups=("web",))
    claim = await scene.run.fleet.claim(ClaimRequest("web", member, wait=30.0))
    assert claim.decision is not None
    assert ("team", serving.id) == (claim.decision.policy, claim.decision.revision)
    await scene.stop()
