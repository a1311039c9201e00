"""Operators hold a resource for inspection, let it go, and retire it; at any moment of its life."""

import asyncio
from typing import TypedDict, Unpack

import pytest

from stoker.pools.claim import Claim, ClaimState
from stoker.pools.ids import ResourceId
from stoker.pools.lifecycle import PartState, ResourceState
from stoker.pools.requests import Code, Refusal
from stoker.pools.resource import Resource
from stoker.pools.switches import Operator, Order, ResourceAction
from tests.builders import a_revision
from tests.fakes.world import Faults
from tests.pools.faults import Ledger, raising, replace_method
from tests.rig import Host, Run, a_box_pool, a_part, boxes

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("on_the_rig")]

ADA = Operator(1000, "ada")
FINISHED = boxes(finish=(a_part("page"), a_part("token", "token", {"kind": "random"})))
"""One finish part exists in the world: what is made for the claim."""
S = ResourceState


class Sizes(TypedDict, total=False):
    min: int
    max: int


async def do(
    run: Run,
    action: ResourceAction,
    resource: ResourceId,
    *,
    reason: str = "odd",
    lasting: float | None = None,
) -> Resource:
    until = None if lasting is None else run.host.clock.now() + lasting
    return await run.fleet.operate_resource(action, resource, Order(ADA, reason, until, "r-1"))


async def hold(run: Run, resource: ResourceId, *, lasting: float | None = None) -> Resource:
    return await do(run, ResourceAction.HOLD, resource, lasting=lasting)


async def restarted(run: Run, **pool: Unpack[Sizes]) -> Run:
    await run.crash()
    return await run.host.start(a_box_pool(blueprint=FINISHED, **pool))


async def a_run(faults: Faults | None = None, **pool: Unpack[Sizes]) -> Run:
    return await Host(faults=faults or Faults()).start(a_box_pool(blueprint=FINISHED, **pool))


def first(run: Run, state: ResourceState = S.READY) -> Resource:
    return next(one for one in run.fleet.resources() if one.state is state)


def state_of(run: Run, resource: ResourceId) -> ResourceState | None:
    found = run.fleet.resource(resource)
    return None if found is None else found.state


def parts_in_the_world(run: Run, resource: ResourceId) -> list[str]:
    exists = run.host.world.exists()
    return sorted(part.removeprefix(f"{resource}.") for part in exists if part.startswith(resource))


async def ended(run: Run, claim: Claim) -> Claim:
    await run.fleet.release(claim.id, request_id="r")
    await run.settle(5)
    return await run.fleet.find_claim(claim.id)


async def test_a_held_ready_one_leaves_the_ready_count_keeps_its_slot_and_is_replaced() -> None:
    run = await a_run(min=2, max=3)
    await run.settle(5)
    held = first(run)
    await hold(run, held.id)
    assert (held.state, run.ready()) == (S.HELD, 1)
    await run.settle(5)

    assert run.ready() == 2
    assert run.status().counts[S.HELD] == 1
    claims = [await run.claim() for _ in range(2)]
    assert held.id not in {claim.resources[0] for claim in claims}
    with pytest.raises(Refusal) as caught:
        await run.claim(wait=1.0)
    assert caught.value.code is Code.NO_CAPACITY
    await run.stop()


async def test_a_hold_without_a_date_ends_after_a_day() -> None:
    run = await a_run(min=1)
    await run.until_ready(1)
    held = first(run)
    await hold(run, held.id)
    assert held.hold is not None

    assert held.hold.until == pytest.approx(run.host.clock.now() + 86400, abs=1)
    await run.stop()


async def test_a_hold_ends_on_its_date_and_the_resource_is_removed() -> None:
    run = await a_run(min=1)
    await run.until_ready(1)
    held = first(run)
    await hold(run, held.id, lasting=60.0)
    await run.settle(59)
    assert held.state is S.HELD
    await run.settle(10)

    assert run.fleet.resource(held.id) is None
    assert run.store.load().switches == []
    assert run.breaches() == []
    await run.stop()


async def test_an_unheld_one_is_removed_and_never_ready_again() -> None:
    run = await a_run(min=1)
    await run.until_ready(1)
    held = first(run)
    await hold(run, held.id)
    await do(run, ResourceAction.UNHOLD, held.id)
    assert held.state is S.ENDING
    await run.settle(5)

    assert run.fleet.resource(held.id) is None
    assert parts_in_the_world(run, held.id) == []
    await run.stop()


async def test_a_bound_one_is_held_when_its_claim_has_ended_without_what_was_made_for_it() -> None:
    run = await a_run(min=1)
    claim = await run.claim()
    resource = run.held(claim)
    await hold(run, resource.id)
    assert state_of(run, resource.id) is S.BOUND
    assert (await run.fleet.renew(claim.id, None, request_id="r")).state is ClaimState.BOUND
    assert parts_in_the_world(run, resource.id) == ["box", "page"]

    assert (await ended(run, claim)).state is ClaimState.ENDED
    assert resource.state is S.HELD
    assert parts_in_the_world(run, resource.id) == ["box"]
    assert [(part.name, part.state) for part in resource.parts] == [("box", PartState.VERIFIED)]
    (kept,) = await run.store.events(after=0, limit=9, kind="resource.kept")
    assert (kept.resource, kept.claim) == (resource.id, claim.id)
    await do(run, ResourceAction.UNHOLD, resource.id)
    await run.settle(5)
    assert run.fleet.resource(resource.id) is None
    assert run.breaches() == []
    assert run.forgotten() == set()
    await run.stop()


async def test_the_claim_has_not_ended_while_a_credential_of_it_may_still_be_there() -> None:
    run = await a_run(min=1)
    claim = await run.claim()
    resource = run.held(claim)
    await hold(run, resource.id)
    destroy = run.driver.destroy
    replace_method(run.driver, "destroy", raising(TimeoutError()))
    await run.fleet.release(claim.id, request_id="r")
    await run.settle(120)
    assert (await run.fleet.find_claim(claim.id)).state is ClaimState.ENDING
    assert state_of(run, resource.id) is S.QUARANTINED

    replace_method(run.driver, "destroy", destroy)
    await run.settle(120)
    assert (await run.fleet.find_claim(claim.id)).state is ClaimState.ENDED
    assert resource.state is S.HELD
    await run.stop()


async def test_a_hold_that_ends_while_the_claim_goes_on_leaves_the_claim_alone() -> None:
    run = await a_run(min=1)
    claim = await run.claim(ttl=1000.0)
    resource = run.held(claim)
    await hold(run, resource.id, lasting=10.0)
    await run.settle(30)
    assert (resource.state, resource.hold) == (S.BOUND, None)

    await ended(run, claim)
    assert run.fleet.resource(resource.id) is None
    await run.stop()


async def test_a_hold_that_is_taken_back_while_the_credentials_go_lets_the_rest_go_too() -> None:
    run = await a_run(Faults(latency=(1.0, 1.0)), min=1)
    claim = await run.claim()
    resource = run.held(claim)
    await hold(run, resource.id)
    await run.fleet.release(claim.id, request_id="r")
    assert resource.state is S.ENDING
    await do(run, ResourceAction.UNHOLD, resource.id)
    await run.settle(20)

    assert run.fleet.resource(resource.id) is None
    assert (await run.fleet.find_claim(claim.id)).state is ClaimState.ENDED
    assert run.forgotten() == set()
    assert run.breaches() == []
    await run.stop()


@pytest.mark.parametrize("moment", [round(0.0002 * step, 4) for step in range(1, 16)])
async def test_a_hold_that_is_taken_back_at_any_moment_of_the_end_leaves_nothing(
    moment: float,
) -> None:
    """Also while it is being written that the resource is held."""
    run = await a_run(min=0, max=1)
    claim = await run.claim()
    resource = run.held(claim)
    await hold(run, resource.id)
    releasing = asyncio.create_task(run.fleet.release(claim.id, request_id="r"))
    await asyncio.sleep(moment)
    await do(run, ResourceAction.UNHOLD, resource.id)
    await releasing
    await run.settle(20)

    assert run.fleet.resource(resource.id) is None
    assert run.store.load().switches == []
    assert run.forgotten() == set()
    assert run.breaches() == []
    await run.stop()


@pytest.mark.parametrize("moment", [round(0.0002 * step, 4) for step in range(8)])
async def test_a_hold_that_comes_at_any_moment_of_the_end_holds_or_says_that_it_is_too_late(
    moment: float,
) -> None:
    run = await a_run(min=0, max=1)
    claim = await run.claim()
    resource = run.held(claim)
    releasing = asyncio.create_task(run.fleet.release(claim.id, request_id="r"))
    await asyncio.sleep(moment)
    (held,) = await asyncio.gather(hold(run, resource.id), return_exceptions=True)
    holds = not isinstance(held, BaseException)
    await releasing
    await run.settle(20)

    if not holds:
        assert isinstance(held, Refusal)
        assert held.code in {Code.RESOURCE_LEAVING, Code.NO_SUCH_RESOURCE}
    assert state_of(run, resource.id) is (S.HELD if holds else None)
    assert len(run.store.load().switches) == holds
    assert run.breaches() == []
    await run.stop()


async def test_one_that_is_being_made_is_held_when_it_is_ready() -> None:
    run = await a_run(Faults(latency=(5.0, 5.0)), min=1, max=1)
    await run.settle(1)
    coming = first(run, S.PREPARING)
    waiting = asyncio.create_task(run.claim(wait=8.0))
    await hold(run, coming.id)
    await run.settle(10)

    assert coming.state is S.HELD
    assert isinstance(waiting.exception(), Refusal)
    assert run.store.load().resources[0].state is S.HELD
    await run.stop()


async def test_one_that_fails_to_be_made_is_kept_with_what_there_is_of_it() -> None:
    run = await a_run(Faults(latency=(5.0, 5.0), fail=1.0, lose=1.0), min=1)
    await run.settle(1)
    coming = first(run, S.PREPARING)
    await hold(run, coming.id)
    await run.settle(30)

    assert coming.state is S.HELD
    assert "before:" in coming.reason
    await do(run, ResourceAction.UNHOLD, coming.id)
    run.host.world.faults = Faults()
    await run.settle(600)
    assert run.fleet.resource(coming.id) is None
    await run.stop()


async def test_one_that_could_not_be_finished_for_a_claim_is_held_and_the_claim_gets_another() -> (
    None
):
    run = await a_run(min=2)
    await run.until_ready(2)
    create = run.driver.create
    replace_method(run.driver, "create", raising(TimeoutError()))
    run.host.world.faults = Faults(latency=(1.0, 1.0))
    claiming = asyncio.create_task(run.claim(wait=60.0))
    await asyncio.sleep(0.0004)
    finishing = first(run, S.FINISHING)
    await hold(run, finishing.id)
    await asyncio.sleep(0.001)
    replace_method(run.driver, "create", create)
    claim = await claiming
    await run.settle(10)

    assert claim.state is ClaimState.BOUND
    assert finishing.state is S.HELD
    assert claim.resources != [finishing.id]
    assert run.breaches() == []
    await run.stop()


async def test_whoever_leaves_before_its_claim_is_bound_leaves_a_held_one_behind() -> None:
    run = await a_run(min=1)
    await run.until_ready(1)
    resource = first(run)
    taken = run.fleet.own("web").take(run.host.clock.now())
    assert taken is resource
    await hold(run, resource.id)
    assert state_of(run, resource.id) is S.CLAIMED
    run.fleet.own("web").give_back(resource)

    assert resource.state is S.HELD
    await run.stop()


@pytest.mark.parametrize("when", ["ready", "bound", "held after its claim", "being made"])
async def test_a_hold_outlives_the_daemon(when: str) -> None:
    faults = Faults(latency=(5.0, 5.0)) if when == "being made" else Faults()
    run = await a_run(faults, min=1, max=4)
    claim = None
    await run.settle(1)
    if when in {"bound", "held after its claim"}:
        claim = await run.claim()
        resource = run.held(claim)
    else:
        resource = first(run, S.PREPARING if when == "being made" else S.READY)
    await hold(run, resource.id, lasting=100.0)
    if when == "held after its claim":
        assert claim is not None
        await ended(run, claim)
    run = await restarted(run, min=1, max=4)
    await run.settle(30)
    if when == "bound":
        assert state_of(run, resource.id) is S.BOUND
        assert claim is not None
        await ended(run, claim)

    found = run.resource(resource.id)
    assert found.state is S.HELD
    assert found.hold is not None
    assert found.hold.by == ADA
    await run.settle(100)
    assert run.fleet.resource(resource.id) is None
    assert run.store.load().switches == []
    assert run.forgotten() == set()
    await run.stop()


async def test_a_held_one_whose_pool_is_removed_keeps_the_pool_draining_until_it_is_let_go() -> (
    None
):
    run = await a_run(min=1)
    await run.until_ready(1)
    held = first(run)
    await hold(run, held.id, lasting=50.0)
    await run.fleet.apply(a_revision(id="r2"))
    await run.settle(20)
    assert run.status().draining
    await run.settle(60)

    assert run.fleet.pool("web") is None
    await run.stop()


async def test_a_hold_that_the_ledger_refuses_stays_until_a_restart_and_can_be_asked_again() -> (
    None
):
    run = await a_run(min=1)
    await run.until_ready(1)
    resource = first(run)
    ledger = Ledger(run)
    ledger.down = True
    with pytest.raises(Refusal) as caught:
        await hold(run, resource.id)
    assert caught.value.code is Code.LEDGER_UNAVAILABLE
    assert resource.state is S.HELD
    ledger.down = False
    await hold(run, resource.id)
    run = await restarted(run, min=1)

    assert state_of(run, resource.id) is S.HELD
    await run.stop()


async def test_an_end_of_a_hold_that_the_ledger_refuses_removes_nothing() -> None:
    run = await a_run(min=1)
    await run.until_ready(1)
    resource = first(run)
    await hold(run, resource.id, lasting=20.0)
    ledger = Ledger(run)
    ledger.down = True
    with pytest.raises(Refusal):
        await do(run, ResourceAction.UNHOLD, resource.id)
    await run.settle(30)
    assert (resource.state, parts_in_the_world(run, resource.id)) == (S.HELD, ["box"])
    ledger.down = False
    await run.settle(20)

    assert run.fleet.resource(resource.id) is None
    await run.stop()


async def test_an_end_of_a_hold_whose_answer_was_lost_is_gone_on_from() -> None:
    run = await a_run(min=1)
    await run.until_ready(1)
    resource = first(run)
    await hold(run, resource.id)
    ledger = Ledger(run, fails=lambda gap: gap == 1)
    with pytest.raises(Refusal):
        await do(run, ResourceAction.UNHOLD, resource.id)
    assert ledger.gap > 1
    assert run.store.load().resources[0].state is S.ENDING
    await hold(run, resource.id)
    run = await restarted(run, min=1)
    await run.settle(20)
    assert state_of(run, resource.id) is S.HELD
    assert parts_in_the_world(run, resource.id) == ["box"]
    await do(run, ResourceAction.UNHOLD, resource.id)
    await run.settle(20)

    assert run.fleet.resource(resource.id) is None
    assert run.store.load().switches == []
    await run.stop()


async def test_a_ready_one_is_retired_at_once_with_its_reason_and_replaced() -> None:
    run = await a_run(min=2)
    await run.settle(5)
    resource = first(run)
    await do(run, ResourceAction.RETIRE, resource.id, reason="looks odd")
    assert resource.state in {S.RETIRING, S.ENDING}
    await run.until_ready(2, within=1.0)
    run = await restarted(run, min=2)
    await run.settle(5)

    assert run.fleet.resource(resource.id) is None
    (told,) = await run.store.events(after=0, limit=9, kind="resource.retired")
    assert (told.resource, told.reason, told.data["user"]) == (resource.id, "looks odd", "ada")
    await run.stop()


async def test_retiring_twice_is_harmless_and_a_bound_one_is_refused_with_its_claim() -> None:
    run = await a_run(Faults(latency=(2.0, 2.0)), min=2)
    await run.until_ready(2)
    resource = first(run)
    for _ in range(3):
        await do(run, ResourceAction.RETIRE, resource.id)
    claim = await run.claim()
    with pytest.raises(Refusal) as caught:
        await do(run, ResourceAction.RETIRE, claim.resources[0])
    assert caught.value.code is Code.RESOURCE_CLAIMED
    assert f"release the claim {claim.id}" in caught.value.message
    with pytest.raises(Refusal) as caught:
        await do(run, ResourceAction.RETIRE, first(run, S.PREPARING).id)
    assert caught.value.code is Code.RESOURCE_COMING
    with pytest.raises(Refusal) as caught:
        await do(run, ResourceAction.RETIRE, ResourceId("web-nothing"))
    assert caught.value.code is Code.NO_SUCH_RESOURCE
    assert len(await run.store.events(after=0, limit=9, kind="resource.retired")) == 1
    await run.stop()


async def test_a_held_one_that_is_retired_is_removed() -> None:
    run = await a_run(min=1)
    await run.until_ready(1)
    resource = first(run)
    await hold(run, resource.id)
    await do(run, ResourceAction.RETIRE, resource.id)
    await run.settle(5)

    assert run.fleet.resource(resource.id) is None
    assert run.store.load().switches == []
    await run.stop()


async def test_a_retirement_that_the_ledger_refuses_happens_all_the_same_once_it_takes_it() -> None:
    run = await a_run(min=1)
    await run.until_ready(1)
    resource = first(run)
    ledger = Ledger(run)
    ledger.down = True
    with pytest.raises(Refusal):
        await do(run, ResourceAction.RETIRE, resource.id)
    assert parts_in_the_world(run, resource.id) == ["box"]
    ledger.down = False
    await run.settle(30)

    assert run.fleet.resource(resource.id) is None
    assert len(await run.store.events(after=0, limit=9, kind="resource.retired")) == 1
    await run.stop()


async def test_unholding_what_is_not_held_changes_nothing() -> None:
    run = await a_run(min=1)
    await run.until_ready(1)
    resource = first(run)
    await do(run, ResourceAction.UNHOLD, resource.id)

    assert resource.state is S.READY
    await run.stop()


async def test_what_the_ledger_calls_held_without_a_hold_is_removed_at_the_start() -> None:
    run = await a_run(min=1)
    await run.until_ready(1)
    resource = first(run)
    await hold(run, resource.id)
    assert resource.hold is not None
    transaction = run.store.transaction()
    transaction.drop_switch(resource.hold)
    await run.store.commit(transaction)
    run = await restarted(run, min=1)
    await run.settle(10)

    assert run.fleet.resource(resource.id) is None
    await run.stop()


async def test_a_hold_of_what_does_not_exist_is_forgotten_at_the_start() -> None:
    run = await a_run(min=1)
    await run.until_ready(1)
    resource = first(run)
    await hold(run, resource.id)
    transaction = run.store.transaction()
    transaction.drop_resource(resource.id)
    await run.store.commit(transaction)
    run = await restarted(run, min=1)
    await run.settle(10)

    assert run.store.load().switches == []
    await run.stop()
