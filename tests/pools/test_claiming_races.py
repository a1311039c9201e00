"""Whoever comes, leaves, releases or changes something at the worst moment: nothing is stuck or lost."""

import asyncio

import pytest

from stoker.config.revision import Lifetime, PartPlan
from stoker.pools.claim import Claim, ClaimState, EndedBecause
from stoker.pools.lifecycle import ResourceState
from stoker.pools.requests import Code, Refusal
from tests.builders import a_revision
from tests.fakes.world import Faults
from tests.pools.faults import Ledger, codes
from tests.rig import ME, Host, Run, a_box_pool, a_part, an_output, boxes

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("on_the_rig")]

PAGE = (a_part("page"), a_part("token", "token", {"kind": "random"}))
MOMENTS = [(after, steps) for after in range(10) for steps in range(5)]
"""When a claimant hangs up: tenths of a millisecond, and turns of the loop after that."""


async def hang_up(task: asyncio.Task[Claim], after: int, steps: int) -> None:
    await asyncio.sleep(after * 0.0001)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize("finish", [None, PAGE], ids=["pure", "with a driver"])
async def test_a_claimant_without_a_key_that_hangs_up_at_any_moment_leaves_no_claim(
    finish: tuple[PartPlan, ...] | None,
) -> None:
    host = Host(faults=Faults(latency=(0.0002, 0.0002)))
    run = await host.start(a_box_pool(min=2, max=6, blueprint=boxes(finish=finish)))
    for after, steps in MOMENTS:
        await run.until_ready(2)
        claiming = asyncio.create_task(run.claim())
        await hang_up(claiming, after, steps)
        await run.settle(3)

        told = not claiming.cancelled()
        assert told == bool(list(run.fleet.live_claims())), f"hung up at {after}, {steps}"
        if told:
            await run.fleet.release(claiming.result().id, request_id="r")
            await run.settle(3)
    assert run.breaches() == []
    assert run.forgotten() == set()
    await run.stop()


async def test_a_claimant_with_a_key_that_hangs_up_at_any_moment_finds_one_claim_later() -> None:
    run = await Host().start(a_box_pool(min=2, max=6, blueprint=boxes(finish=PAGE)))
    for number, (after, steps) in enumerate(MOMENTS):
        await run.until_ready(2)
        key = number.to_bytes(32, "big")
        await hang_up(asyncio.create_task(run.claim(key=key, body=b"b")), after, steps)
        claim = await run.claim(key=key, body=b"b")

        assert claim.state is ClaimState.BOUND, f"hung up at {after}, {steps}"
        assert [live.id for live in run.fleet.live_claims()] == [claim.id]
        await run.fleet.release(claim.id, request_id="r")
        await run.settle(3)
    assert run.breaches() == []
    await run.stop()


async def test_a_retry_that_came_while_the_claim_was_written_down_is_served_although_the_first_left() -> (
    None
):
    run = await Host(faults=Faults(latency=(1.0, 1.0))).start(a_box_pool(min=0, max=2))
    Ledger(run).takes = 0.5
    first = asyncio.create_task(run.claim(wait=None, key=b"k", body=b"b"))
    await asyncio.sleep(0.1)
    retry = asyncio.create_task(run.claim(wait=None, key=b"k", body=b"b"))
    await asyncio.sleep(0.1)
    first.cancel()

    pending = await asyncio.wait_for(retry, 30)
    claim = await run.fleet.settled(pending.id, 60.0)

    assert claim.state is ClaimState.BOUND
    await run.stop()


async def test_a_retry_is_told_pending_only_once_that_is_durable() -> None:
    run = await Host(faults=Faults(latency=(9.0, 9.0))).start(a_box_pool(min=0, max=2))
    ledger = Ledger(run)
    ledger.takes = 0.5
    first = asyncio.create_task(run.claim(wait=None, key=b"k", body=b"b"))
    await asyncio.sleep(0.1)
    ledger.down = True

    with pytest.raises(Refusal) as caught:
        await run.claim(wait=None, key=b"k", body=b"b")

    assert caught.value.code is Code.LEDGER_UNAVAILABLE
    with pytest.raises(Refusal):
        await first
    await run.stop()


async def test_a_pending_claim_whose_caller_left_before_it_was_told_is_not_served() -> None:
    run = await Host().start(a_box_pool(min=0, max=2))
    Ledger(run).takes = 0.5
    claiming = asyncio.create_task(run.claim(wait=None))
    await asyncio.sleep(0.1)
    claiming.cancel()
    await run.settle(20)

    assert list(run.fleet.live_claims()) == []
    await run.stop()


async def test_a_release_while_finishing_fails_gets_no_second_resource() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=3, blueprint=boxes(finish=PAGE)))
    await run.until_ready(3)
    host.world.faults = Faults(latency=(2.0, 2.0), fail=1.0)
    claiming = asyncio.create_task(run.claim(wait=60.0))
    await asyncio.sleep(0.5)
    (claim,) = run.fleet.live_claims()
    releasing = asyncio.create_task(run.fleet.release(claim.id, request_id="r"))
    await asyncio.sleep(2.0)
    host.world.faults = Faults()

    released = await asyncio.wait_for(releasing, 30)

    assert (released.state, released.ended_because) == (ClaimState.ENDED, EndedBecause.RELEASED)
    with pytest.raises(Refusal) as caught:
        await claiming
    assert caught.value.code is Code.CLAIM_OVER
    await run.settle(60)
    assert list(run.fleet.live_claims()) == []
    await run.stop()


async def test_a_release_takes_effect_although_its_caller_hangs_up_while_the_claim_is_finished() -> (
    None
):
    run = await Host(faults=Faults(latency=(2.0, 2.0))).start(
        a_box_pool(min=1, blueprint=boxes(finish=PAGE))
    )
    await run.until_ready(1)
    pending = asyncio.create_task(run.claim(wait=60.0))
    await asyncio.sleep(0.5)
    (claim,) = run.fleet.live_claims()
    releasing = asyncio.create_task(run.fleet.release(claim.id, request_id="r"))
    await asyncio.sleep(0.1)
    releasing.cancel()
    await pending
    await run.settle(20)

    assert claim.state is ClaimState.ENDED
    await run.stop()


async def test_a_surplus_one_that_was_just_handed_over_is_not_retired() -> None:
    run = await Host().start(a_box_pool(min=4, max=8))
    await run.until_ready(4)
    pool = run.fleet.own("web")
    left = pool.line.join(_a_claim(run))
    left.turn.cancel()  # somebody who left, and whose coroutine has not run yet
    waiting = asyncio.create_task(run.claim(wait=60.0))
    await asyncio.sleep(0)
    pool.respec(a_box_pool(min=1, max=8), "r2")

    claim = await asyncio.wait_for(waiting, 60)
    await run.settle(5)

    assert claim.state is ClaimState.BOUND
    assert run.held(claim).state is ResourceState.BOUND
    assert run.breaches() == []
    await run.stop()


def _a_claim(run: Run) -> Claim:
    now = run.host.clock.now()
    return Claim(run.services.ids.claim(), "web", ME, now, 60.0, 60.0, now + 60.0)


async def test_a_claim_from_an_outdated_resource_is_finished_by_the_blueprint_that_made_it() -> (
    None
):
    old = boxes(digest="d1")
    new = boxes(digest="d2", finish=(a_part("page", settings={"label": "${parts.shelf.name}"}),))
    run = await Host(faults=Faults(latency=(5.0, 5.0))).start(a_box_pool(min=2, blueprint=old))
    await run.until_ready(2)
    await run.fleet.apply(a_revision(a_box_pool(min=2, blueprint=new), id="r2"))

    claim = await run.claim()

    assert set(claim.secrets) == {"token"}
    assert claim.revision == "r1"
    await run.stop()


async def test_a_resource_whose_blueprint_is_no_longer_known_is_replaced_and_not_handed_out() -> (
    None
):
    host = Host()
    run = await host.start(a_box_pool(min=2, blueprint=boxes(digest="d1")))
    await run.until_ready(2)
    old = {resource.id for resource in run.fleet.resources()}
    await run.crash()

    run = await host.start(a_box_pool(min=2, blueprint=boxes(digest="d2")))
    claim = await run.claim()

    assert not old & set(claim.resources)
    await run.settle(30)
    assert not old & {resource.id for resource in run.fleet.resources()}
    await run.stop()


async def test_a_claim_that_needs_another_resource_in_a_removed_pool_is_told_so() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=2, blueprint=boxes(finish=PAGE)))
    await run.until_ready(2)
    host.world.faults = Faults(latency=(2.0, 2.0), fail=1.0)
    claiming = asyncio.create_task(run.claim(wait=3600.0))
    await asyncio.sleep(0.5)
    await run.fleet.apply(a_revision(a_box_pool(name="other", min=0), id="r2"))
    began = run.host.clock.now()

    with pytest.raises(Refusal) as caught:
        await claiming

    assert caught.value.code is Code.DRAINING
    assert run.host.clock.now() - began < 10
    host.world.faults = Faults()
    await run.settle(120)
    assert run.fleet.pool("web") is None
    await run.stop()


async def test_waiting_claims_of_a_pool_that_was_removed_while_the_daemon_was_down_are_told_so() -> (
    None
):
    host = Host(faults=Faults(latency=(50.0, 50.0)))
    run = await host.start(a_box_pool(min=0, max=1))
    pending = await run.claim(wait=None)
    await run.crash()

    run = await host.start(a_box_pool(name="other", min=0))
    claim = await run.fleet.settled(pending.id, 5.0)

    assert (claim.state, claim.code) == (ClaimState.FAILED, Code.DRAINING)
    await run.settle(120)
    assert run.fleet.pool("web") is None
    await run.stop()


async def test_waiters_of_a_removed_pool_are_told_at_once_and_the_pool_is_gone() -> None:
    run = await Host(faults=Faults(latency=(5.0, 5.0))).start(a_box_pool(min=0, max=1))
    await run.claim()
    waiting = [asyncio.create_task(run.claim(wait=3600.0)) for _ in range(3)]
    await asyncio.sleep(0.1)
    await run.fleet.apply(a_revision(a_box_pool(name="other", min=0), id="r2"))
    results = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)

    assert codes(results) == [Code.DRAINING] * 3
    await run.stop()


async def test_a_removed_pool_without_resources_is_gone_at_once() -> None:
    run = await Host().start(a_box_pool(min=0), a_box_pool(name="other", min=0))

    await run.fleet.apply(a_revision(a_box_pool(name="other", min=0), id="r2"))
    await run.settle(1)

    assert run.fleet.pool("web") is None
    await run.stop()


async def test_a_pool_that_comes_back_while_it_drains_serves_again() -> None:
    run = await Host(faults=Faults(latency=(5.0, 5.0))).start(a_box_pool(min=2))
    await run.until_ready(2)
    held = await run.claim()
    await run.fleet.apply(a_revision(a_box_pool(name="other", min=0), id="r2"))
    await run.settle(1)
    await run.fleet.apply(a_revision(a_box_pool(min=2), id="r3"))

    claim = await run.claim(wait=60.0)
    await run.until_ready(2)

    assert claim.id != held.id
    assert held.state is ClaimState.BOUND
    assert run.breaches() == []
    await run.stop()


async def test_a_renewal_that_the_ledger_refuses_leaves_the_expiry_where_it_was() -> None:
    run = await Host().start(a_box_pool(min=1, lifetime=Lifetime(ttl=10.0, max_ttl=1000.0)))
    await run.until_ready(1)
    claim = await run.claim()
    expires_at = claim.expires_at
    ledger = Ledger(run)
    await asyncio.sleep(9.9)
    ledger.takes, ledger.down = 0.3, True
    renewing = asyncio.create_task(run.fleet.renew(claim.id, 500.0, request_id="r"))
    await asyncio.sleep(0.35)

    with pytest.raises(Refusal) as caught:
        await renewing
    assert caught.value.code in {Code.LEDGER_UNAVAILABLE, Code.CLAIM_OVER}
    ledger.takes, ledger.down = 0.0003, False
    await run.settle(30)

    assert claim.expires_at == expires_at
    assert (claim.state, claim.ended_because) == (ClaimState.ENDED, EndedBecause.EXPIRED)
    await run.stop()


async def test_two_renewals_at_once_end_with_the_later_one() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=1, lifetime=Lifetime(ttl=10.0, max_ttl=1000.0)))
    await run.until_ready(1)
    claim = await run.claim()
    ledger = Ledger(run, lambda gap: gap == 0)
    one = asyncio.create_task(run.fleet.renew(claim.id, 100.0, request_id="r"))
    await asyncio.sleep(0.0004)
    two = asyncio.create_task(run.fleet.renew(claim.id, 200.0, request_id="r"))
    await asyncio.gather(one, two, return_exceptions=True)

    assert ledger.gap > 1
    assert claim.expires_at == pytest.approx(host.clock.now() + 200.0, abs=1)
    written = await run.services.store.claim(claim.id)
    assert written is not None
    assert written.expires_at == claim.expires_at
    await run.stop()


async def test_a_release_while_a_renewal_is_written_wins() -> None:
    run = await Host().start(a_box_pool(min=1))
    await run.until_ready(1)
    claim = await run.claim()
    renewing = asyncio.create_task(run.fleet.renew(claim.id, 100.0, request_id="r"))
    await asyncio.sleep(0)
    await run.fleet.release(claim.id, request_id="r")

    with pytest.raises(Refusal) as caught:
        await renewing
    assert caught.value.code is Code.CLAIM_OVER
    await run.settle(5)
    written = await run.services.store.claim(claim.id)
    assert written is not None
    assert written.state is ClaimState.ENDED
    await run.stop()


async def test_a_claim_that_will_not_wait_and_cannot_be_finished_is_told_why() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=3, blueprint=boxes(finish=PAGE)))
    await run.until_ready(3)
    host.world.faults.fail = 1.0

    with pytest.raises(Refusal) as caught:
        await run.claim(wait=0.0)

    assert caught.value.code is Code.FINISH_FAILED
    await run.stop()


async def test_a_part_that_vanishes_while_the_next_one_is_made_is_noticed_before_anybody_gets_it() -> (
    None
):
    host = Host()
    blueprint = boxes()
    blueprint = type(blueprint)(
        "box",
        "d1",
        blueprint.parameters,
        (a_part("box"), a_part("second")),
        blueprint.finish,
        (an_output("name", "${parts.box.name}"),),
    )
    run = await host.start(a_box_pool(min=0, max=1, blueprint=blueprint))
    host.world.faults.latency = (4.0, 4.0)
    claiming = asyncio.create_task(run.claim(wait=120.0))
    while len(host.world.things) < 1:
        await asyncio.sleep(0.1)
    await asyncio.sleep(4)
    lame = next(part for part in host.world.things if part.endswith(".box"))
    host.world.vanish(lame)

    claim = await claiming

    assert not lame.startswith(claim.resources[0])
    await run.stop()


async def test_nothing_is_handed_out_before_it_is_durable_that_it_is_ready() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=1, max=1))
    await run.until_ready(1)
    claim = await run.claim()
    ledger = Ledger(run)
    waiting = asyncio.create_task(run.claim(wait=120.0))
    ledger.takes = 1.0
    await run.fleet.release(claim.id, request_id="r")
    while not any(
        r.state is ResourceState.READY or r.ready_at
        for r in run.fleet.resources()
        if r.id not in claim.resources
    ):
        await asyncio.sleep(0.05)
    (coming,) = run.fleet.resources()
    run.fleet.health.changed(coming.parts[0].id)
    await asyncio.sleep(0.1)

    assert not coming.claimable
    assert coming.state is not ResourceState.CLAIMED
    ledger.down = True
    await asyncio.sleep(3.0)
    ledger.down = False
    ledger.takes = 0.0003
    second = await waiting
    assert second.resources != [coming.id]
    assert run.breaches() == []
    await run.stop()
