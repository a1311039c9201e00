"""Several resources for one claim: all or none, whatever goes wrong, and nobody starves of it."""

import asyncio
from dataclasses import replace

import pytest

from stoker.config.revision import Backfill, Lifetime, Queue
from stoker.pools.claim import Claim, Claimant, ClaimState, EndedBecause
from stoker.pools.driver import Made, PartRef, PartRequest, Unavailable
from stoker.pools.ids import ResourceId, resource_of
from stoker.pools.lifecycle import ResourceState
from stoker.pools.requests import ClaimRequest, Code, Refusal
from stoker.pools.wishes import Wish
from tests.builders import a_revision
from tests.fakes.world import Faults
from tests.pools.faults import Ledger, replace_method
from tests.rig import Host, Run, a_box_pool, a_part, boxes

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("on_the_rig")]

TOUCHING = (a_part("page"), a_part("token", "token", {"kind": "random"}))
"""Finish parts of which one exists in the world."""


async def ask(run: Run, uid: int, count: int = 1, *, wait: float | None = 300.0) -> Claim:
    wish = Wish(count) if count > 1 else None
    return await run.fleet.claim(ClaimRequest("web", Claimant(uid, uid, 1), wait=wait, wish=wish))


def states(run: Run, claim: Claim) -> set[ResourceState]:
    return {run.resource(one).state for one in claim.resources}


async def events(run: Run, kind: str) -> list[str]:
    return [event.resource for event in await run.store.events(after=0, limit=1000, kind=kind)]


async def test_a_warm_gang_is_bound_at_once_with_the_outputs_of_each() -> None:
    run = await Host().start(a_box_pool(min=5, max=8))
    await run.until_ready(5)

    claim = await run.gang(3)

    assert claim.state is ClaimState.BOUND
    assert claim.warm
    assert 3 == len(set(claim.resources))
    assert {ResourceState.BOUND} == states(run, claim)
    every = [claim.outputs_of(one, secrets=True) for one in claim.resources]
    assert [f"{one}.box" for one in claim.resources] == [one["name"] for one in every]
    assert 3 == len({str(one["token"]) for one in every})
    assert {"name"} == set(claim.outputs_of(claim.resources[0], secrets=False))
    assert [""] == await events(run, "claim.bound")
    assert claim.resources == await events(run, "resource.bound")
    assert run.breaches() == []
    await run.stop()


async def test_a_cold_gang_waits_for_all_and_holds_nothing_meanwhile() -> None:
    host = Host(faults=Faults(latency=(1.0, 3.0)))
    run = await host.start(a_box_pool(min=0, max=4, blueprint=boxes(finish=TOUCHING)))

    waiting = asyncio.create_task(run.gang(4))
    for _ in range(20):
        await asyncio.sleep(0.1)
        if not waiting.done():
            counts = run.status().counts
            held = counts[ResourceState.CLAIMED] + counts[ResourceState.BOUND]
            assert held == 0
    claim = await waiting

    assert 4 == len(claim.resources)
    assert not claim.warm
    assert run.breaches() == []
    await run.stop()


async def test_a_gang_ends_with_the_last_of_its_resources_and_not_before() -> None:
    run = await Host().start(a_box_pool(min=3, max=3))
    await run.until_ready(3)
    claim = await run.gang(3)
    destroy, slow = run.driver.destroy, claim.resources[1]

    async def destroy_slowly(part: PartRef) -> None:
        if resource_of(part.id) == slow:
            await asyncio.sleep(20)
        await destroy(part)

    replace_method(run.driver, "destroy", destroy_slowly)
    await run.fleet.release(claim.id, request_id="r")
    await run.settle(10)

    assert (claim.state, [slow]) == (
        ClaimState.ENDING,
        [one for one in claim.resources if run.fleet.resource(one) is not None],
    )
    await run.settle(60)
    ended = await run.fleet.find_claim(claim.id)
    assert (ended.state, ended.ended_because) == (ClaimState.ENDED, EndedBecause.RELEASED)
    assert [""] == await events(run, "claim.released")
    assert run.breaches() == []
    await run.stop()


async def test_renewal_and_expiry_are_of_all_of_them() -> None:
    run = await Host().start(a_box_pool(min=2, max=6, lifetime=Lifetime(ttl=30.0, max_ttl=100.0)))
    await run.until_ready(2)
    claim = await run.gang(2)
    await run.settle(20)
    await run.fleet.renew(claim.id, None, request_id="r")
    await run.settle(20)
    assert {ResourceState.BOUND} == states(run, claim)

    await run.settle(20)

    assert claim.ended_because is EndedBecause.EXPIRED
    assert [None, None] == [run.fleet.resource(one) for one in claim.resources]
    await run.stop()


async def test_one_that_cannot_be_finished_is_replaced_and_the_others_stay() -> None:
    run = await Host().start(a_box_pool(min=4, max=6, blueprint=boxes(finish=TOUCHING)))
    await run.until_ready(4)
    create = run.driver.create
    failed: list[ResourceId] = []

    async def fail_once(request: PartRequest) -> Made:
        if request.id.endswith(".page") and not failed:
            failed.append(resource_of(request.id))
            raise Unavailable("not this one")
        return await create(request)

    replace_method(run.driver, "create", fail_once)
    made = {resource.id for resource in run.fleet.resources()}

    claim = await run.gang(3)

    assert 1 == len(failed)
    assert failed[0] not in claim.resources
    assert 3 == len(made & set(claim.resources)), "the fourth took its place"
    assert {ResourceState.BOUND} == states(run, claim)
    await run.settle(10)
    assert run.fleet.resource(failed[0]) is None
    assert run.breaches() == []
    assert not run.forgotten()
    await run.stop()


async def test_a_gang_that_cannot_be_finished_uses_its_resources_up_and_says_why() -> None:
    broken = boxes(finish=(a_part("page", settings={"reject": True}), TOUCHING[1]))
    run = await Host().start(a_box_pool(min=3, max=9, blueprint=broken))
    await run.until_ready(3)
    ready = {resource.id for resource in run.fleet.resources()}

    with pytest.raises(Refusal) as refused:
        await run.gang(3)

    assert refused.value.code is Code.FINISH_FAILED
    await run.settle(30)
    assert ready.isdisjoint({resource.id for resource in run.fleet.resources()})
    assert not list(run.fleet.live_claims())
    assert run.breaches() == []
    assert not run.forgotten()
    await run.stop()


def fail_the_first_page_of_each(run: Run) -> None:
    """One page of each claim cannot be made, and the slot of its resource does not become free."""
    create, destroy = run.driver.create, run.driver.destroy
    unlucky: set[object] = set()
    stuck: set[ResourceId] = set()

    async def create_all_but_one(request: PartRequest) -> Made:
        resource = resource_of(request.id)
        claim = run.resource(resource).claim
        if request.id.endswith(".page") and claim not in unlucky:
            unlucky.add(claim)
            stuck.add(resource)
            raise Unavailable("not this one")
        return await create(request)

    async def never_destroy(part: PartRef) -> None:
        if resource_of(part.id) in stuck:
            await asyncio.sleep(3600)
        await destroy(part)

    replace_method(run.driver, "create", create_all_but_one)
    replace_method(run.driver, "destroy", never_destroy)


async def test_two_gangs_that_wait_for_replacements_do_not_block_each_other() -> None:
    """Both have two of three, and the slots of their third ones do not become free."""
    run = await Host().start(a_box_pool(min=6, max=6, blueprint=boxes(finish=TOUCHING)))
    await run.until_ready(6)
    fail_the_first_page_of_each(run)
    one = asyncio.create_task(ask(run, 1, 3))
    other = asyncio.create_task(ask(run, 2, 3))

    done, waiting = await asyncio.wait({one, other}, timeout=30, return_when="FIRST_COMPLETED")

    (served,) = done
    assert {ResourceState.BOUND} == states(run, served.result())
    await run.fleet.release(served.result().id, request_id="r")
    (late,) = waiting
    assert {ResourceState.BOUND} == states(run, await late)
    assert run.breaches() == []
    await run.crash()


async def test_at_the_deadline_of_a_gang_that_holds_some_these_are_used_up_and_others_served() -> (
    None
):
    run = await Host().start(a_box_pool(min=3, max=3, blueprint=boxes(finish=TOUCHING)))
    await run.until_ready(3)
    fail_the_first_page_of_each(run)
    gang = asyncio.create_task(ask(run, 1, 3, wait=30.0))
    await run.settle(5)
    (held,) = run.fleet.live_claims()
    told = run.fleet.waiting_for(held, 0)
    assert told is not None
    assert f"it has {', '.join(held.resources)}, and waits for 1 more" in told.detail
    single = asyncio.create_task(ask(run, 2, wait=60.0))

    with pytest.raises(Refusal) as refused:
        await gang

    assert refused.value.code is Code.FINISH_FAILED
    assert {ResourceState.BOUND} == states(run, await single)
    assert run.breaches() == []
    await run.crash()


async def test_a_gang_of_five_is_not_starved_by_single_claims_nor_they_by_it() -> None:
    host = Host(faults=Faults(latency=(0.1, 0.5)))
    run = await host.start(a_box_pool(min=0, max=6, queue=Queue(max=1000, wait=600.0)))
    served: list[tuple[str, float]] = []

    async def come_and_go(uid: int) -> None:
        for _ in range(40):
            claim = await ask(run, uid)
            served.append(("single", host.clock.now()))
            await asyncio.sleep(host.random.uniform(0.5, 4.0))
            await run.fleet.release(claim.id, request_id="r")

    async def come_in_five(uid: int) -> None:
        for _ in range(4):
            claim = await ask(run, uid, 5)
            served.append(("gang", host.clock.now()))
            await asyncio.sleep(5.0)
            await run.fleet.release(claim.id, request_id="r")

    async with asyncio.timeout(2000), asyncio.TaskGroup() as group:
        for uid in range(1, 9):
            group.create_task(come_and_go(uid))
        for uid in (20, 21):
            group.create_task(come_in_five(uid))

    assert 8 == sum(kind == "gang" for kind, _ in served)
    assert 320 == sum(kind == "single" for kind, _ in served)
    order = [kind for kind, _ in served]
    gangs = [at for at, kind in enumerate(order) if kind == "gang"]
    assert any(kind == "single" for kind in order[gangs[0] : gangs[-1]])
    longest = max(b - a for a, b in zip([0, *gangs], gangs, strict=False))
    assert longest < 100, "singles pass a gang ten times, not for ever"
    assert run.breaches() == []
    await run.stop()


async def test_gangs_that_want_more_together_than_there_is_are_served_one_after_the_other() -> None:
    host = Host(faults=Faults(latency=(0.1, 0.5)))
    run = await host.start(a_box_pool(min=0, max=5, queue=Queue(max=1000, wait=600.0)))

    async def use(uid: int, count: int) -> None:
        claim = await ask(run, uid, count)
        assert count == len(claim.resources)
        await asyncio.sleep(1.0)
        await run.fleet.release(claim.id, request_id="r")

    async with asyncio.timeout(600), asyncio.TaskGroup() as group:
        for uid in range(12):
            group.create_task(use(uid, 2 + uid % 4))

    assert run.breaches() == []
    await run.stop()


async def test_a_gang_in_vain_is_told_how_many_were_ready() -> None:
    run = await Host().start(a_box_pool(min=0, max=3))
    await run.claim()
    with pytest.raises(Refusal, match="has 2 ready of the 3 that were asked for") as refused:
        await run.gang(3, wait=5.0)
    assert refused.value.code is Code.NO_CAPACITY
    await run.stop()


async def test_more_than_the_pool_may_have_is_refused_with_the_limit() -> None:
    run = await Host().start(a_box_pool(min=0, max=3))

    with pytest.raises(Refusal, match="may have 3 resources in all; 4 were") as refused:
        await run.gang(4)

    assert refused.value.code is Code.COUNT_TOO_LARGE
    assert refused.value.details == {"most": 3}
    await run.stop()


async def test_a_gang_that_must_wait_is_told_so_and_keeps_its_place_over_a_restart() -> None:
    host = Host()
    pool = a_box_pool(min=0, max=3, queue=Queue(wait=600.0))
    run = await host.start(pool)
    held = await run.gang(3)
    key = b"k" * 32
    pending = await run.gang(3, wait=None, key=key)
    assert (pending.state, run.fleet.place_in_line(pending)[0]) == (ClaimState.PENDING, 1)
    await run.crash()

    run = await host.start(pool)
    again = await run.gang(3, wait=None, key=key)
    assert (again.id, again.state) == (pending.id, ClaimState.PENDING)
    await run.fleet.release(held.id, request_id="r")
    settled = await run.fleet.settled(pending.id, 60.0)

    assert settled.state is ClaimState.BOUND
    assert 3 == len(settled.resources)
    retried = await run.gang(3, key=key)
    assert (retried.outputs, retried.secrets) == (settled.outputs, settled.secrets)
    assert run.breaches() == []
    await run.stop()


async def test_a_bound_gang_survives_a_restart_with_its_secrets() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=3, max=6))
    await run.until_ready(3)
    key = b"k" * 32
    claim = await run.gang(3, key=key)
    told = [claim.outputs_of(one, secrets=True) for one in claim.resources]
    await run.crash()

    run = await host.start(a_box_pool(min=3, max=6))
    again = await run.gang(3, key=key)

    assert again.id == claim.id
    assert told == [again.outputs_of(one, secrets=True) for one in again.resources]
    assert run.breaches() == []
    await run.stop()


@pytest.mark.parametrize("steps", range(30))
async def test_a_gang_whose_caller_hangs_up_at_any_moment_leaves_nothing_taken(steps: int) -> None:
    host = Host(faults=Faults(latency=(0.001, 0.002)))
    run = await host.start(a_box_pool(min=2, max=4, blueprint=boxes(finish=TOUCHING)))
    await run.until_ready(2)

    asking = asyncio.create_task(run.gang(3))
    await asyncio.sleep(steps * 0.0003)
    asking.cancel()
    (told,) = await asyncio.gather(asking, return_exceptions=True)
    if isinstance(told, Claim):
        await run.fleet.release(told.id, request_id="r")
    await run.settle(20)

    assert not list(run.fleet.live_claims())
    assert run.ready() == 2
    assert {ResourceState.READY} == {resource.state for resource in run.fleet.resources()}
    assert run.breaches() == []
    assert not run.forgotten()
    await run.stop()


@pytest.mark.parametrize("gap", range(16))
async def test_a_ledger_that_fails_at_any_write_of_a_gang_leaves_none_of_it_or_all(
    gap: int,
) -> None:
    run = await Host().start(a_box_pool(min=3, max=6, blueprint=boxes(finish=TOUCHING)))
    await run.until_ready(3)
    await run.settle(5)
    ledger = Ledger(run, fails=lambda at: at == gap)

    (told,) = await asyncio.gather(run.gang(3), return_exceptions=True)
    await run.settle(60)

    live = list(run.fleet.live_claims())
    if isinstance(told, Claim):
        assert [told] == live
        assert {ResourceState.BOUND} == states(run, told)
    else:
        assert isinstance(told, Refusal), told
        assert not live
    assert ledger.gap > gap
    assert run.ready() == 3
    assert run.breaches() == []
    assert not run.forgotten()
    await run.crash()
    again = await run.host.start(a_box_pool(min=3, max=6, blueprint=boxes(finish=TOUCHING)))
    await again.settle(60)
    assert len(live) == len(list(again.fleet.live_claims()))
    assert again.breaches() == []
    await again.stop()


async def test_a_gang_is_released_while_the_ledger_refuses_and_all_of_it_goes_later() -> None:
    run = await Host().start(a_box_pool(min=3, max=6))
    await run.until_ready(3)
    claim = await run.gang(3)
    ledger = Ledger(run)
    ledger.down = True
    with pytest.raises(Refusal):
        await run.fleet.release(claim.id, request_id="r")
    ledger.down = False
    await run.settle(60)

    assert (await run.fleet.find_claim(claim.id)).state is ClaimState.ENDED
    assert [""] == await events(run, "claim.released")
    assert [None] * 3 == [run.fleet.resource(one) for one in claim.resources]
    await run.stop()


async def test_a_gang_waits_on_when_its_pool_is_made_larger_and_smaller() -> None:
    pool = a_box_pool(
        min=0, max=4, queue=Queue(wait=600.0), backfill=Backfill(rate=100.0, concurrency=4)
    )
    run = await Host().start(pool)
    held = await run.gang(2)
    waiting = asyncio.create_task(run.gang(4, wait=600.0))
    await run.settle(5)
    await run.fleet.apply(a_revision(replace(pool, size=replace(pool.size, max=3)), id="r2"))
    await run.settle(5)
    assert not waiting.done()
    await run.fleet.apply(a_revision(replace(pool, size=replace(pool.size, max=7)), id="r3"))

    claim = await waiting

    assert 4 == len(claim.resources)
    assert held.state is ClaimState.BOUND
    await run.stop()
