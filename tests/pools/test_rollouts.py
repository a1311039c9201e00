"""A pool whose blueprint changes: good and bad ones, claims meanwhile, restarts, operators, windows."""

import asyncio
from collections import Counter
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest

from stoker.config.parameters import Parameters
from stoker.config.revision import Blueprint, PoolSpec, RolloutSpec
from stoker.config.shares import Share
from stoker.config.windows import Window
from stoker.pools.driver import Unavailable
from stoker.pools.ids import part_id
from stoker.pools.lifecycle import ResourceState
from stoker.pools.requests import Refusal
from stoker.pools.rollout import Stage
from stoker.pools.status import RolloutStatus
from stoker.pools.switches import Operator, Order, PoolAction
from tests.builders import a_revision
from tests.fakes.world import Faults
from tests.pools.faults import Ledger, raising, replace_method
from tests.rig import EPOCH, Host, Run, a_box_pool, a_part, boxes, reusable

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("on_the_rig")]

QUICK = RolloutSpec(settle=10.0, progress_deadline=120.0)
ORDER = Order(Operator(1000, "ada"), "it is repaired")


def made_as(digest: str, *, works: bool = True) -> Blueprint:
    return replace(boxes(digest=digest), prepare=(a_part(settings={"reject": not works}),))


def a_web_pool(
    digest: str = "d1", *, works: bool = True, min: int = 3, max: int = 9,  # noqa: A002
    rollout: RolloutSpec = QUICK,
) -> PoolSpec:  # fmt: skip
    blueprint = made_as(digest, works=works)
    return a_box_pool(min=min, max=max, blueprint=blueprint, rollout=rollout)


async def declare(run: Run, spec: PoolSpec, revision: str = "r2") -> None:
    await run.apply(a_revision(spec, id=revision))


async def started(spec: PoolSpec | None = None, host: Host | None = None) -> Run:
    run = await (host or Host()).start(spec or a_web_pool())
    await run.until_ready((spec or a_web_pool()).size.min)
    return run


def ready(run: Run) -> dict[str, int]:
    """How many are claimable, by digest."""
    return dict(Counter(r.digest for r in run.fleet.resources() if r.claimable))


def rollout(run: Run) -> RolloutStatus | None:
    return run.status().rollout


def stage(run: Run) -> Stage | None:
    under = rollout(run)
    return None if under is None else under.stage


async def until_stage(run: Run, wanted: Stage | None, within: float = 600.0) -> None:
    async with asyncio.timeout(within):
        while stage(run) is not wanted:
            await asyncio.sleep(0.01)


async def told(run: Run) -> list[str]:
    events = await run.store.events(after=0, limit=9999, kind="rollout.")
    return [event.kind.removeprefix("rollout.") for event in events]


async def test_a_good_blueprint_is_tried_with_one_and_then_replaces_the_others() -> None:
    run = await started()
    await declare(run, a_web_pool("d2"))
    await run.settle(5)
    assert (ready(run), stage(run)) == ({"d1": 3, "d2": 1}, Stage.CANARY)

    least = 3
    while stage(run) is not None:
        least = min(least, run.ready())
        await asyncio.sleep(0.005)
    assert (ready(run), least) == ({"d2": 3}, 3)
    assert await told(run) == ["started", "advanced", "finished"]
    assert run.store.load().rollouts == []
    assert run.breaches() == []
    await run.stop()


async def test_a_change_of_the_size_alone_rolls_nothing() -> None:
    run = await started()
    before = {resource.id for resource in run.fleet.resources()}
    await declare(run, a_web_pool(min=5))
    await run.until_ready(5)

    assert before <= {resource.id for resource in run.fleet.resources()}
    assert await told(run) == []
    await run.stop()


async def test_a_bad_blueprint_never_empties_the_pool_however_much_is_claimed() -> None:
    run = await started()
    await declare(run, a_web_pool("d2", works=False))
    for _ in range(40):
        claim = await run.claim(wait=30.0)
        assert run.held(claim).digest == "d1"
        await run.fleet.release(claim.id, request_id="r")
        await run.settle(5)

    under = rollout(run)
    assert under is not None
    assert under.stage is Stage.PAUSED
    assert "progressDeadline" in under.reason
    assert "asks to be refused" in under.reason
    assert ready(run) == {"d1": 3}
    assert await told(run) == ["started", "paused"]
    assert run.breaches() == []
    await run.stop()


async def test_a_canary_that_breaks_before_it_settled_does_not_count() -> None:
    run = await started()
    await declare(run, a_web_pool("d2"))
    for _ in range(30):
        for resource in list(run.fleet.resources()):
            if resource.digest == "d2" and resource.claimable:
                run.host.world.drift(part_id(resource.id, "box"), "it fell over")
        await run.settle(5)

    under = rollout(run)
    assert under is not None
    assert under.stage is Stage.PAUSED
    assert "it fell over" in under.reason
    assert ready(run)["d1"] == 3
    await run.stop()


async def test_claims_get_the_old_ones_until_the_new_blueprint_has_proved_itself() -> None:
    run = await started()
    await declare(run, a_web_pool("d2"))
    await run.settle(5)
    assert ready(run) == {"d1": 3, "d2": 1}

    first = await run.claim()
    await until_stage(run, Stage.ROLLING)
    second = await run.claim()
    assert (run.held(first).digest, run.held(second).digest) == ("d1", "d2")
    await run.stop()


async def test_the_last_of_several_changes_is_what_the_pool_comes_to() -> None:
    run = await started()
    for number in range(2, 6):
        await declare(run, a_web_pool(f"d{number}"), f"r{number}")
        await run.settle(4)
    await until_stage(run, None)

    assert ready(run) == {"d5": 3}
    assert run.breaches() == []
    await run.stop()


async def test_a_change_back_ends_a_bad_rollout_at_once() -> None:
    run = await started()
    before = {resource.id for resource in run.fleet.resources()}
    await declare(run, a_web_pool("d2", works=False))
    await run.settle(30)
    await declare(run, a_web_pool("d1"), "r3")
    await until_stage(run, None, within=1.0)

    assert {resource.id for resource in run.fleet.resources() if resource.claimable} == before
    await run.stop()


async def test_bound_ones_are_never_touched() -> None:
    run = await started()
    claims = [await run.claim() for _ in range(2)]
    await declare(run, a_web_pool("d2"))
    await until_stage(run, None)

    held = [run.held(claim) for claim in claims]
    assert [(one.digest, one.state) for one in held] == [("d1", ResourceState.BOUND)] * 2
    await run.stop()


async def test_without_a_slot_one_goes_first_and_no_more_than_one_is_missing() -> None:
    run = await started(a_web_pool(max=3))
    await declare(run, a_web_pool("d2", max=3))
    least = 3
    while stage(run) is not None:
        least = min(least, run.ready())
        await asyncio.sleep(0.005)

    assert (ready(run), least) == ({"d2": 3}, 2)
    await run.stop()


async def test_a_pool_that_is_full_of_claims_waits_for_a_slot_and_is_not_paused_for_it() -> None:
    run = await started(a_web_pool(min=1, max=2))
    claims = [await run.claim(wait=60.0) for _ in range(2)]
    await declare(run, a_web_pool("d2", min=1, max=2))
    await run.settle(1000)
    under = rollout(run)
    assert under is not None
    assert (under.stage, under.waits) == (Stage.CANARY, "no slot is free for a new one")

    for claim in claims:
        await run.fleet.release(claim.id, request_id="r")
    await until_stage(run, None)
    assert ready(run) == {"d2": 1}
    await run.stop()


async def test_a_blueprint_that_never_worked_is_replaced_without_a_canary() -> None:
    run = await Host().start(a_web_pool(works=False))
    await run.settle(60)
    await declare(run, a_web_pool("d2"))
    await run.until_ready(3, within=2.0)

    assert await told(run) == []
    await run.stop()


async def test_when_the_old_one_is_lost_and_cannot_be_made_the_new_one_serves_at_once() -> None:
    run = await started()
    create = run.driver.create
    replace_method(run.driver, "create", raising(Unavailable("its image is gone")))
    for resource in list(run.fleet.resources()):
        run.host.world.drift(part_id(resource.id, "box"))
    await run.settle(60)
    assert run.ready() == 0
    closed = replace(QUICK, windows=(window(-120, -60),))
    await declare(run, a_web_pool("d2", rollout=closed))
    await run.settle(60)  # the previous one is tried for a while
    replace_method(run.driver, "create", create)
    await run.settle(60)

    assert "d2" in ready(run)
    await run.stop()


# Operators


async def resume(run: Run) -> None:
    await run.fleet.operate_pool(PoolAction.RESUME, "web", ORDER)


async def test_a_paused_rollout_is_tried_again_when_the_pool_is_resumed() -> None:
    run = await started()
    create = run.driver.create

    replace_method(run.driver, "create", raising(Unavailable("the registry is down")))
    await declare(run, a_web_pool("d2"))
    await until_stage(run, Stage.PAUSED)
    assert "the registry is down" in str(rollout(run))
    replace_method(run.driver, "create", create)
    await run.settle(600)
    assert (stage(run), ready(run)) == (Stage.PAUSED, {"d1": 3})

    await resume(run)
    assert stage(run) is Stage.CANARY
    await until_stage(run, None)
    assert ready(run) == {"d2": 3}
    assert await told(run) == ["started", "paused", "resumed", "advanced", "finished"]
    await run.stop()


async def test_a_pool_that_is_paused_rolls_nothing_and_its_rollout_is_not_paused_for_it() -> None:
    run = await started()
    await run.fleet.operate_pool(PoolAction.PAUSE, "web", ORDER)
    await declare(run, a_web_pool("d2"))
    await run.settle(1000)
    assert (stage(run), ready(run)) == (Stage.CANARY, {"d1": 3})

    await resume(run)
    await until_stage(run, None)
    await run.stop()


async def test_a_drain_in_the_middle_of_a_rollout_is_not_held_against_it() -> None:
    run = await started()
    await declare(run, a_web_pool("d2"))
    await run.settle(5)
    await run.fleet.operate_pool(PoolAction.DRAIN, "web", ORDER)
    await run.settle(1000)
    assert (stage(run), ready(run)) == (Stage.CANARY, {})

    await resume(run)
    await until_stage(run, None)
    assert ready(run) == {"d2": 3}
    await run.stop()


async def test_a_refresh_keeps_to_the_same_budget_and_needs_no_canary() -> None:
    rules = replace(QUICK, max_surge=Share(2), max_unavailable=Share(0))
    run = await started(a_web_pool(rollout=rules), Host(faults=Faults(latency=(1.0, 1.0))))
    before = {resource.id for resource in run.fleet.resources()}
    await run.fleet.operate_pool(PoolAction.REFRESH, "web", ORDER)
    least, most = 3, 0
    while run.status().refresh is not None:
        least = min(least, run.ready())
        counts = run.status().counts
        most = max(most, sum(counts[s] for s in (ResourceState.READY, ResourceState.PREPARING)))
        await asyncio.sleep(0.005)

    await run.settle(5)
    assert (least, most) == (3, 5)
    assert not before & {resource.id for resource in run.fleet.resources()}
    assert await told(run) == []
    await run.stop()


# Windows


def window(opens: float, closes: float) -> Window:
    """From and to so many minutes after the rig's clock begins, which is at 22:13:20."""
    first = int(EPOCH % 86400) // 60
    days = frozenset(range(7))
    return Window(days, int(first + opens) % 1440, int(first + closes) % 1440, ZoneInfo("UTC"))


async def test_a_rollout_waits_for_its_window_and_the_previous_blueprint_serves_until_then() -> (
    None
):
    night = replace(QUICK, windows=(window(60, 120),))
    run = await started(a_web_pool(rollout=night))
    await declare(run, a_web_pool("d2", rollout=night))
    claim = await run.claim()
    await run.settle(1800)
    assert run.held(claim).digest == "d1"
    assert ready(run) == {"d1": 3}
    under = rollout(run)
    assert under is not None
    assert (under.stage, under.waits) == (Stage.CANARY, "its windows are closed")
    assert under.opens_at == pytest.approx(EPOCH + 3600 - EPOCH % 60)

    await run.settle(1900)
    assert (ready(run), stage(run)) == ({"d2": 3}, None)
    await run.stop()


async def test_a_window_that_closes_in_the_middle_stops_the_replacing_until_it_opens_again() -> (
    None
):
    brief = replace(QUICK, settle=30.0, windows=(window(10, 11), window(30, 60)))
    slow = Host(faults=Faults(latency=(8.0, 8.0)))
    run = await started(a_web_pool(rollout=brief), slow)
    await declare(run, a_web_pool("d2", rollout=brief))
    await run.settle(800)
    assert ready(run).keys() == {"d1", "d2"}
    assert stage(run) is Stage.ROLLING

    await run.settle(1500)
    assert (ready(run), stage(run)) == ({"d2": 3}, None)
    await run.stop()


async def test_a_new_pool_does_not_wait_for_a_window() -> None:
    run = await Host().start(a_web_pool(rollout=replace(QUICK, windows=(window(60, 120),))))

    await run.until_ready(3, within=5.0)
    await run.stop()


# Restarts


async def restarted(run: Run, spec: PoolSpec, revision: str = "r2") -> Run:
    await run.crash()
    return await run.host.start(revision=a_revision(spec, id=revision))


@pytest.mark.parametrize("at", [Stage.CANARY, Stage.ROLLING, Stage.PAUSED])
async def test_a_rollout_goes_on_from_its_stage_after_a_crash(at: Stage) -> None:
    bad = at is Stage.PAUSED
    run = await started()
    await declare(run, a_web_pool("d2", works=not bad))
    await until_stage(run, at)
    before = rollout(run)
    run = await restarted(run, a_web_pool("d2", works=not bad))
    after = rollout(run)

    assert before is not None
    assert after is not None
    assert (after.stage, after.digest, after.previous, after.since, after.reason) == (
        before.stage, before.digest, before.previous, before.since, before.reason,
    )  # fmt: skip
    await run.settle(120)
    assert ready(run) == ({"d1": 3} if bad else {"d2": 3})
    assert (await told(run)).count("started") == 1
    await run.stop()


async def test_the_previous_blueprint_is_known_after_a_crash_when_nothing_of_it_is_left() -> None:
    run = await started()
    await declare(run, a_web_pool("d2", works=False))
    await declare(run, replace(a_web_pool("d2", works=False, min=2)), "r3")
    await until_stage(run, Stage.PAUSED)
    claims = [await run.claim() for _ in range(run.ready())]
    for claim in claims:
        await run.fleet.release(claim.id, request_id="r")
    replace_method(run.driver, "create", raising(Unavailable("not now")))
    for resource in [one for one in run.fleet.resources() if one.claimable]:
        run.host.world.drift(part_id(resource.id, "box"))
    await run.settle(60)
    assert list(run.fleet.resources()) == []

    run = await restarted(run, a_web_pool("d2", works=False, min=2), "r3")
    await run.until_ready(2)
    assert ready(run) == {"d1": 2}
    assert stage(run) is Stage.PAUSED
    await run.stop()


async def test_a_blueprint_that_changed_while_the_daemon_was_down_is_rolled_too() -> None:
    run = await started()
    await run.crash()
    run = await run.host.start(revision=a_revision(a_web_pool("d2", works=False), id="r2"))
    await run.settle(60)
    assert (stage(run), ready(run)) == (Stage.CANARY, {"d1": 3})

    run = await restarted(run, a_web_pool("d3"), "r3")
    await until_stage(run, None)
    assert ready(run) == {"d3": 3}
    await run.stop()


async def test_a_restart_after_a_rollout_begins_none() -> None:
    run = await started()
    claim = await run.claim()
    await declare(run, a_web_pool("d2"))
    await until_stage(run, None)
    run = await restarted(run, a_web_pool("d2"))
    await run.settle(10)

    assert stage(run) is None
    assert run.held(claim).digest == "d1"
    await run.stop()


async def test_a_step_that_the_ledger_refuses_is_not_taken_before_it_is_written() -> None:
    run = await started()
    await declare(run, a_web_pool("d2"))
    await run.settle(5)
    ledger = Ledger(run)
    ledger.down = True
    await run.settle(60)
    assert stage(run) is Stage.CANARY

    ledger.down = False
    await until_stage(run, None)
    assert await told(run) == ["started", "advanced", "finished"]
    await run.stop()


@pytest.mark.parametrize("after", [0.0, 9.9, 10.1, 10.9, 11.5, 12.5, 13.5])
async def test_a_change_that_comes_while_a_step_is_written_is_what_counts(after: float) -> None:
    """With a ledger that takes its time, so that both are under way at once."""
    run = await started()
    await declare(run, a_web_pool("d2"))
    Ledger(run).takes = 1.0
    await run.settle(after)
    await declare(run, a_web_pool("d3"), "r3")
    assert run.store.load().rollouts[0].digest == "d3"
    run = await restarted(run, a_web_pool("d3"), "r3")
    assert stage(run) is not None
    await until_stage(run, None)

    assert ready(run) == {"d3": 3}
    assert run.store.load().rollouts == []
    await run.stop()


async def test_a_pool_that_is_no_longer_declared_ends_its_rollout() -> None:
    run = await started()
    await declare(run, a_web_pool("d2"))
    await run.settle(5)
    await run.apply(a_revision(a_box_pool(name="other"), id="r3"))
    await run.settle(60)

    assert run.fleet.pool("web") is None
    assert run.store.load().rollouts == []
    assert await told(run) == ["started", "finished"]
    await run.stop()


# What claims are held to


async def test_claims_are_held_to_the_parameters_of_the_blueprint_that_serves() -> None:
    run = await started()
    asks = replace(made_as("d2"), parameters=Parameters.compile({"colour": {"type": "string"}}))
    await declare(run, a_box_pool(min=3, max=9, blueprint=asks, rollout=QUICK))
    await run.settle(5)
    claim = await run.claim(params={})
    assert run.held(claim).digest == "d1"
    with pytest.raises(Refusal):
        await run.claim(params={"colour": "blue"})

    await until_stage(run, None)
    with pytest.raises(Refusal):
        await run.claim(params={})
    assert run.held(await run.claim(params={"colour": "blue"})).digest == "d2"
    await run.stop()


async def test_what_is_reset_is_used_again_while_its_blueprint_serves_on() -> None:
    def lasting(digest: str) -> PoolSpec:
        blueprint = reusable(boxes(digest=digest))
        closed = replace(QUICK, windows=(window(60, 120),))
        return a_box_pool(min=1, max=1, blueprint=blueprint, rollout=closed)

    run = await started(lasting("d1"))
    await declare(run, lasting("d2"))
    used = set[str]()
    for _ in range(3):
        claim = await run.claim(wait=30.0)
        used |= {*claim.resources}
        await run.fleet.release(claim.id, request_id="r")
        await run.until_ready(1)
    assert len(used) == 1

    await run.settle(3700)
    assert (ready(run), stage(run)) == ({"d2": 1}, None)
    await run.stop()
