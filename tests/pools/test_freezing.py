"""The whole host is frozen, by command or by a file, and drained; a pool is paused where it is declared."""

import asyncio
from dataclasses import replace

import pytest

from stoker.config.revision import Lifetime, PoolSpec
from stoker.pools.claim import ClaimState
from stoker.pools.fleet import Frozen
from stoker.pools.lifecycle import ResourceState
from stoker.pools.requests import Code, Refusal
from stoker.pools.switches import HostAction, Operator, Order, PoolAction, Switch, SwitchKind
from tests.builders import a_revision
from tests.fakes.world import Faults
from tests.pools.faults import Ledger
from tests.rig import Host, Run, a_box_pool, boxes

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("on_the_rig")]

ADA = Operator(1000, "ada")
FILE = "/etc/stoker/freeze"


async def do(run: Run, action: HostAction, *, lasting: float | None = None) -> None:
    until = None if lasting is None else run.host.clock.now() + lasting
    await run.fleet.operate_host(action, Order(ADA, "an incident", until, "r-1"))


async def on_web(run: Run, action: PoolAction) -> None:
    await run.fleet.operate_pool(action, "web", Order(ADA))


def a_file(run: Run, reason: str = "no changes today") -> Switch:
    return Switch(SwitchKind.FREEZE, FILE, Operator(0), reason, run.host.clock.now())


def effects(run: Run) -> list[str]:
    return [effect.kind for effect in run.host.world.log]


async def kinds(run: Run, prefix: str) -> list[str]:
    return [event.kind for event in await run.store.events(after=0, limit=99, kind=prefix)]


async def refusal_of(run: Run, wait: float | None = 0.0) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await run.claim(wait=wait)
    return caught.value


def paused_there(**pool: int) -> PoolSpec:
    return replace(a_box_pool(**pool), paused_at="web.yaml:12:3")  # type: ignore[arg-type]


async def test_in_a_freeze_what_is_ready_is_handed_out_and_nothing_is_made_or_removed() -> None:
    young = Lifetime(max_age=50.0)
    run = await Host().start(replace(a_box_pool(min=3), lifetime=young))
    await run.until_ready(3)
    await do(run, HostAction.FREEZE)
    before = effects(run)
    claim = await run.claim(wait=0.0)
    await on_web(run, PoolAction.REFRESH)
    await run.settle(200)

    assert claim.state is ClaimState.BOUND
    assert effects(run) == before
    assert run.ready() == 2
    await do(run, HostAction.THAW)
    await run.settle(20)
    assert run.ready() == 3
    assert run.status().refresh is None
    await run.stop()


async def test_in_a_freeze_renewal_release_expiry_and_removal_go_on() -> None:
    run = await Host().start(a_box_pool(min=3))
    await run.until_ready(3)
    renewed, released, expiring = [await run.claim(ttl=20.0) for _ in range(3)]
    await do(run, HostAction.FREEZE)
    await run.fleet.renew(renewed.id, 600.0, request_id="r")
    await run.fleet.release(released.id, request_id="r")
    await run.settle(30)

    assert (await run.fleet.find_claim(renewed.id)).state is ClaimState.BOUND
    assert (await run.fleet.find_claim(released.id)).state is ClaimState.ENDED
    assert (await run.fleet.find_claim(expiring.id)).state is ClaimState.ENDED
    assert run.status().counts[ResourceState.BOUND] == 1
    await run.stop()


async def test_a_claim_that_finds_nothing_ready_in_a_freeze_waits_and_is_told_why() -> None:
    run = await Host().start(a_box_pool(min=0, max=2))
    await do(run, HostAction.FREEZE, lasting=90.0)

    refusal = await refusal_of(run, wait=5.0)
    assert refusal.code is Code.WAIT_TIMEOUT
    assert "nothing is made while the host is frozen by ada until 2023-" in refusal.message
    waiting = asyncio.create_task(run.claim(wait=600.0))
    await run.settle(100)
    assert waiting.result().state is ClaimState.BOUND
    await run.stop()


async def test_no_revision_is_applied_in_the_place_of_another_in_a_freeze() -> None:
    run = await Host().start(a_box_pool(min=2))
    await run.until_ready(2)
    await do(run, HostAction.FREEZE)
    bigger = a_revision(a_box_pool(min=4, blueprint=boxes(digest="d2")), id="r2")
    with pytest.raises(Frozen):
        await run.fleet.apply(bigger)
    assert (run.status().min, run.status().revision) == (2, "r1")

    await do(run, HostAction.THAW)
    await run.fleet.apply(bigger)
    await run.settle(60)  # a canary has to settle first
    assert (run.ready(), run.status().outdated) == (4, 0)
    await run.stop()


async def test_a_freeze_that_was_asked_for_while_a_revision_is_written_is_answered_after_it() -> (
    None
):
    run = await Host().start(a_box_pool(min=1))
    applying = asyncio.create_task(run.fleet.apply(a_revision(a_box_pool(min=2), id="r2")))
    await asyncio.sleep(0)
    await do(run, HostAction.FREEZE)

    assert applying.done()
    assert run.status().revision == "r2"
    await run.stop()


@pytest.mark.parametrize("crash", [True, False])
async def test_a_freeze_outlives_the_daemon_and_ends_on_its_date(crash: bool) -> None:
    run = await Host().start(a_box_pool(min=1))
    await do(run, HostAction.FREEZE, lasting=100.0)
    await (run.crash() if crash else run.stop())
    run = await run.host.start(a_box_pool(min=4))
    await run.settle(50)
    assert run.status().frozen
    assert run.ready() <= 1

    await run.settle(60)
    assert run.ready() == 4
    assert run.store.load().switches == []
    assert await kinds(run, "host.") == ["host.frozen", "host.thawed"]
    await run.stop()


async def test_a_drain_of_the_host_empties_all_that_is_not_bound_and_refuses_claims() -> None:
    run = await Host(faults=Faults(latency=(1.0, 1.0))).start(
        a_box_pool(min=2), a_box_pool(name="db", min=1)
    )
    await run.until_ready(2)
    claim = await run.claim()
    await do(run, HostAction.DRAIN)
    refusal = await refusal_of(run)
    await run.settle(30)

    assert refusal.code is Code.DRAINING
    assert "the whole host is drained by ada: an incident" in refusal.message
    assert {one.state for one in run.fleet.resources()} == {ResourceState.BOUND}
    assert (await run.fleet.find_claim(claim.id)).state is ClaimState.BOUND
    await do(run, HostAction.RESUME)
    await run.until_ready(2)
    await run.until_ready(1, "db")
    await run.stop()


async def test_those_who_wait_are_told_when_the_host_is_drained() -> None:
    run = await Host(faults=Faults(latency=(9.0, 9.0))).start(a_box_pool(min=0, max=2))
    waiting = asyncio.create_task(run.claim(wait=60.0))
    await run.settle(1)
    await do(run, HostAction.DRAIN)
    await asyncio.wait([waiting])

    error = waiting.exception()
    assert isinstance(error, Refusal)
    assert error.code is Code.DRAINING
    await run.stop()


async def test_a_drain_of_the_host_goes_on_in_a_freeze_and_over_a_restart_and_new_pools() -> None:
    run = await Host().start(a_box_pool(min=2))
    await run.until_ready(2)
    await do(run, HostAction.FREEZE)
    await do(run, HostAction.DRAIN)
    await run.settle(10)
    assert list(run.fleet.resources()) == []
    await run.crash()
    run = await run.host.start(a_box_pool(min=2), a_box_pool(name="new", min=2))
    await run.settle(10)

    assert list(run.fleet.resources()) == []
    assert {pool.draining for pool in run.fleet.pools()} == {True}
    await run.stop()


async def test_resuming_the_host_leaves_what_is_set_on_one_pool() -> None:
    run = await Host().start(a_box_pool(min=1))
    await on_web(run, PoolAction.PAUSE)
    await do(run, HostAction.DRAIN)
    await on_web(run, PoolAction.RESUME)
    assert run.status().draining
    await on_web(run, PoolAction.PAUSE)
    await do(run, HostAction.RESUME)

    assert (run.status().paused, run.status().draining) == (True, False)
    await run.stop()


async def test_a_file_freezes_at_once_and_thaws_when_it_goes_and_each_is_told_once() -> None:
    run = await Host().start(a_box_pool(min=1))
    for _ in range(3):
        run.fleet.see_freeze_file(FILE, a_file(run))
        assert run.status().frozen
        await run.settle(1)
    run.fleet.see_freeze_file(FILE, a_file(run, "another reason"))
    await run.settle(1)
    await run.crash()
    run = await run.host.start(a_box_pool(min=1))
    assert run.status().frozen
    run.fleet.see_freeze_file(FILE, a_file(run, "another reason"))
    run.fleet.see_freeze_file(FILE, None)
    assert not run.status().frozen
    await run.settle(1)

    events = await run.store.events(after=0, limit=99, kind="host.")
    assert [event.kind for event in events] == ["host.frozen", "host.frozen", "host.thawed"]
    assert events[0].data == {"uid": 0, "user": "", "file": FILE, "revision": "r1"}
    assert events[-1].reason == f"the file {FILE} was removed"
    assert run.store.load().switches == []
    await run.stop()


async def test_a_file_that_freezes_needs_no_ledger_and_is_written_down_in_the_end() -> None:
    run = await Host().start(a_box_pool(min=1))
    ledger = Ledger(run)
    ledger.down = True
    run.fleet.see_freeze_file(FILE, a_file(run))
    await run.settle(10)
    assert run.status().frozen
    assert run.store.load().switches == []
    ledger.down = False
    await run.settle(10)

    assert [one.subject for one in run.store.load().switches] == [FILE]
    await run.stop()


async def test_a_freeze_by_a_file_that_is_configured_no_more_is_over() -> None:
    run = await Host().start(a_box_pool(min=1))
    run.fleet.see_freeze_file(FILE, a_file(run))
    await run.settle(1)
    run.fleet.see_freeze_file("/elsewhere", None)
    await run.settle(1)

    assert not run.status().frozen
    assert run.store.load().switches == []
    await run.stop()


async def test_a_freeze_by_a_file_is_thawed_by_that_file_alone() -> None:
    run = await Host().start(a_box_pool(min=1))
    run.fleet.see_freeze_file(FILE, a_file(run))
    with pytest.raises(Refusal) as caught:
        await do(run, HostAction.THAW)
    assert caught.value.code is Code.SET_ELSEWHERE
    assert f"remove that file: {FILE}" in caught.value.message
    await do(run, HostAction.FREEZE)
    await do(run, HostAction.THAW)  # ends the one by command

    assert run.status().frozen
    run.fleet.see_freeze_file(FILE, None)
    assert not run.status().frozen
    await run.stop()


async def test_an_action_on_the_host_that_the_ledger_refuses_is_not_in_force() -> None:
    run = await Host().start(a_box_pool(min=1))
    ledger = Ledger(run)
    ledger.down = True
    for action in (HostAction.FREEZE, HostAction.DRAIN):
        with pytest.raises(Refusal) as caught:
            await do(run, action)
        assert caught.value.code is Code.LEDGER_UNAVAILABLE
    ledger.down = False

    assert (run.status().frozen, run.status().draining) == (False, False)
    await run.stop()


async def test_a_declared_pause_is_not_lifted_by_resume_which_says_where_it_is_declared() -> None:
    run = await Host().start(paused_there(min=1))
    refusal = await refusal_of(run)
    assert refusal.code is Code.PAUSED
    assert "web.yaml:12:3" in refusal.message
    with pytest.raises(Refusal) as caught:
        await on_web(run, PoolAction.RESUME)

    assert caught.value.code is Code.SET_ELSEWHERE
    assert caught.value.details == {"place": "web.yaml:12:3"}
    assert run.ready() == 0
    await run.stop()


async def test_an_operators_drain_of_a_declared_pause_is_lifted_and_the_pause_stays() -> None:
    run = await Host().start(paused_there(min=1))
    await on_web(run, PoolAction.DRAIN)
    assert run.status().draining
    await on_web(run, PoolAction.RESUME)

    assert (run.status().paused, run.status().draining) == (True, False)
    await run.stop()


async def test_a_pause_that_is_declared_no_more_serves_those_who_wait() -> None:
    run = await Host().start(a_box_pool(min=1, max=3))
    await run.until_ready(1)
    await run.claim()
    waiting = asyncio.create_task(run.claim(wait=600.0))
    await run.fleet.apply(a_revision(paused_there(min=1, max=3), id="r2"))
    await run.settle(60)
    assert not waiting.done()
    await run.fleet.apply(a_revision(a_box_pool(min=1, max=3), id="r3"))
    await run.settle(10)

    assert waiting.result().state is ClaimState.BOUND
    await run.stop()
