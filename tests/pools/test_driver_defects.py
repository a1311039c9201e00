"""A driver that breaks its contract costs what it was asked for, and nothing else."""

import asyncio
from typing import NoReturn

import pytest

from stoker.daemon.logs import JsonLines, TextLines
from stoker.pools.claim import ClaimState
from stoker.pools.driver import (
    Exhausted,
    Made,
    Observation,
    PartRef,
    PartRequest,
    ProviderRef,
    Throttled,
)
from stoker.pools.ids import PartId
from stoker.pools.lifecycle import COMING, LEAVING, ResourceState
from stoker.pools.requests import Code, Refusal
from tests.builders import a_revision
from tests.fakes.world import Faults
from tests.pools.faults import hanging, raising, replace_method
from tests.rig import Host, Run, a_box_pool, a_part, boxes

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("on_the_rig")]

PAGE = (a_part("page"), a_part("token", "token", {"kind": "random"}))
SURPRISES = [
    ValueError("bad value"),
    OSError(24, "Too many open files"),
    TimeoutError(),
    KeyError("port"),
    asyncio.CancelledError(),
]
ids = [type(error).__name__ for error in SURPRISES]


def nothing_is_stuck(run: Run) -> None:
    assert run.fleet.invariants() == []
    for status in run.fleet.pools():
        for state in (*COMING, *LEAVING, ResourceState.CLAIMED, ResourceState.FINISHING):
            assert status.counts[state] == 0, f"{status.counts}"


@pytest.mark.parametrize("method", ["allot", "create"])
@pytest.mark.parametrize("error", SURPRISES, ids=ids)
async def test_a_creation_that_ends_in_an_unforeseen_error_is_a_failure_like_others(
    method: str, error: BaseException
) -> None:
    run = await Host().start(a_box_pool(min=0, max=2))
    healthy = getattr(run.driver, method)
    setattr(run.driver, method, raising(error))

    with pytest.raises(Refusal) as caught:
        await run.claim(wait=5.0)
    assert caught.value.code is Code.BLUEPRINT_FAILING
    await run.settle(30)
    nothing_is_stuck(run)

    setattr(run.driver, method, healthy)
    assert (await run.claim(wait=600.0)).state is ClaimState.BOUND
    await run.stop()


async def test_an_intent_that_ends_in_an_unforeseen_error_sets_nothing_aside() -> None:
    run = await Host().start(a_box_pool(min=0, max=2))
    forgotten: list[str] = []

    def intend(_: PartRequest) -> NoReturn:
        raise ValueError("no intent")

    replace_method(run.driver, "intend", intend)
    replace_method(run.driver, "forget", forgotten.append)

    with pytest.raises(Refusal):
        await run.claim(wait=2.0)

    assert forgotten
    assert all(part.endswith(".box") for part in forgotten)
    await run.settle(30)
    nothing_is_stuck(run)
    await run.stop()


@pytest.mark.parametrize("error", SURPRISES, ids=ids)
async def test_a_claim_whose_finishing_ends_in_an_unforeseen_error_is_refused(
    error: BaseException,
) -> None:
    run = await Host().start(a_box_pool(min=3, max=9, blueprint=boxes(finish=PAGE)))
    await run.until_ready(3)
    create = run.driver.create

    async def sometimes(request: PartRequest) -> Made:
        if request.id.endswith(".page"):
            raise error
        return await create(request)

    replace_method(run.driver, "create", sometimes)
    with pytest.raises(Refusal) as caught:
        await asyncio.wait_for(run.claim(), 60)

    assert caught.value.code is Code.FINISH_FAILED
    await run.settle(30)
    nothing_is_stuck(run)
    assert run.forgotten() == set()
    await run.stop()


@pytest.mark.parametrize("error", SURPRISES, ids=ids)
async def test_a_removal_that_ends_in_an_unforeseen_error_is_tried_again(
    error: BaseException,
) -> None:
    run = await Host().start(a_box_pool(min=1))
    await run.until_ready(1)
    claim = await run.claim()
    destroy = run.driver.destroy
    replace_method(run.driver, "destroy", raising(error))
    await run.fleet.release(claim.id, request_id="r")
    await run.settle(120)
    assert run.held(claim).state is ResourceState.QUARANTINED

    replace_method(run.driver, "destroy", destroy)
    await run.settle(120)

    assert (await run.fleet.find_claim(claim.id)).state is ClaimState.ENDED
    nothing_is_stuck(run)
    await run.stop()


@pytest.mark.parametrize("error", SURPRISES, ids=ids)
async def test_after_a_start_everything_becomes_ready_although_observing_goes_wrong_for_a_while(
    error: BaseException,
) -> None:
    host = Host()
    run = await host.start(a_box_pool(min=20, max=20))
    await run.until_ready(20)
    await run.crash()

    run = Run(host)
    await run.open()
    observe = run.driver.observe
    replace_method(run.driver, "observe", raising(error))
    await run.fleet.apply(a_revision(a_box_pool(min=20, max=20)))
    await run.fleet.start()
    await run.settle(5)
    assert run.ready() == 0
    replace_method(run.driver, "observe", observe)
    await run.until_ready(20, within=60)
    await run.stop()


async def test_one_provider_that_cannot_tell_does_not_keep_the_others_from_being_ready() -> None:
    """Twelve look at first: with more than that stuck at one driver, nobody would look at the rest."""
    host = Host()
    pools = (a_box_pool(name="stuck", min=15, max=15), a_box_pool(name="web", min=5))
    run = await host.start(*pools)
    await run.until_ready(15, "stuck")
    await run.until_ready(5)
    await run.crash()

    run = Run(host)
    await run.open()
    observe = run.driver.observe

    async def half_blind(part: PartRef) -> Observation:
        if part.id.startswith("stuck"):
            raise Throttled("not now", 0.01) if host.random.random() < 0.5 else TimeoutError
        return await observe(part)

    replace_method(run.driver, "observe", half_blind)
    await run.fleet.apply(a_revision(*pools))
    await run.fleet.start()
    await run.until_ready(5, within=20)
    assert run.ready("stuck") == 0
    await run.stop()


async def test_the_sweep_for_orphans_goes_on_after_an_unforeseen_error() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=1))
    await run.until_ready(1)
    listing = run.driver.list_owned
    replace_method(run.driver, "list_owned", raising(ValueError("no list")))
    await run.settle(400)
    replace_method(run.driver, "list_owned", listing)
    stray = PartId("web-0rphan000000.box")
    request = PartRequest(stray, "web", {}, {}, ProviderRef("simulated"))
    await host.world.connect().create(request)
    await run.settle(400)

    assert stray not in host.world.exists()
    await run.stop()


async def test_what_is_removed_while_the_list_is_on_its_way_is_no_orphan() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=1))
    await run.until_ready(1)
    claim = await run.claim()
    found: list[str] = []
    replace_method(run.services.telemetry, "orphan_found", found.append)

    async def old_list() -> frozenset[PartId]:
        seen = frozenset(host.world.things)
        await run.fleet.release(claim.id, request_id="r")
        await asyncio.sleep(10)
        return seen

    replace_method(run.driver, "list_owned", old_list)
    await run.fleet.orphans.sweep()

    assert found == []
    await run.stop()


@pytest.mark.parametrize("method", ["allot", "create"])
async def test_a_creation_that_never_returns_is_given_up(method: str) -> None:
    run = await Host().start(a_box_pool(min=0, max=1))
    healthy = getattr(run.driver, method)
    setattr(run.driver, method, hanging)
    waiting = asyncio.create_task(run.claim(wait=3000.0))
    await asyncio.sleep(1)
    setattr(run.driver, method, healthy)

    claim = await waiting

    assert claim.timing.queued == pytest.approx(run.services.create_within, abs=10)
    nothing_is_stuck(run)
    await run.stop()


async def test_an_exhausted_provider_pauses_creations_and_claims_go_on_waiting() -> None:
    run = await Host().start(a_box_pool(min=0, max=2))
    create = run.driver.create
    replace_method(run.driver, "create", raising(Exhausted("no port is free", 7.0)))
    waiting = asyncio.create_task(run.claim(wait=60.0))
    await asyncio.sleep(1)
    replace_method(run.driver, "create", create)

    assert (await waiting).state is ClaimState.BOUND
    assert run.status().breaker.failures == 0
    await run.stop()


async def test_a_rejected_probe_with_a_waiter_leads_to_another_probe_later() -> None:
    host = Host(faults=Faults(fail=1.0))
    run = await host.start(a_box_pool(min=0, max=30))
    waiting = [asyncio.create_task(run.claim(wait=3000.0)) for _ in range(2)]
    await run.settle(60)
    assert run.status().breaker.failures > 3
    host.world.faults.fail = 0.0

    claims = await asyncio.gather(*waiting)

    assert {claim.state for claim in claims} == {ClaimState.BOUND}
    await run.settle(120)
    nothing_is_stuck(run)
    await run.stop()


async def test_a_failure_that_quotes_a_secret_is_told_and_logged_without_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    host = Host()
    secret = "s3cret-of-the-first-part"
    run = await host.start(a_box_pool(min=0, max=3, blueprint=boxes(finish=PAGE)))
    create = run.driver.create

    async def chatty(request: PartRequest) -> Made:
        if request.id.endswith(".page"):
            raise ValueError(f"cannot log in with {secret}")
        made = await create(request)
        return type(made)(made.handle, made.outputs, {"secret": secret})

    replace_method(run.driver, "create", chatty)
    with pytest.raises(Refusal) as caught:
        await run.claim(wait=600.0)
    await run.settle(60)

    assert "cannot log in with" in caught.value.message
    assert secret not in caught.value.message
    events = await run.store.events(after=0, limit=10_000)
    assert secret not in repr(events)
    lines = [
        form.format(record)
        for record in caplog.records
        for form in (TextLines(journal=False), JsonLines())
    ]
    assert [line for line in lines if "Traceback" in line]
    assert [line for line in lines if secret in line] == []
    await run.stop()


async def test_a_claim_of_a_driver_that_this_version_does_not_have_is_shown_and_kept() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=1, max=3))
    await run.until_ready(1)
    claim = await run.claim()
    await run.crash()

    run = Run(host)
    driver = run.drivers.pop("simulated")
    await run.open()
    await run.fleet.apply(a_revision(a_box_pool(name="other", min=0)))
    await run.fleet.start()
    await run.fleet.release(claim.id, request_id="r")
    await run.settle(600)
    left = run.held(claim)

    assert left.state is ResourceState.QUARANTINED
    assert "no driver simulated" in left.reason
    run.drivers["simulated"] = driver
    await run.settle(200)
    assert run.fleet.resource(claim.resources[0]) is None
    assert host.world.things == {}
    await run.stop()
