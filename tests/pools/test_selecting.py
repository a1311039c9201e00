"""Claims that select: the right ones, without holding up the loop or anybody else."""

import asyncio
import time
from dataclasses import replace

import pytest

from stoker.config.revision import PoolSpec, Queue, RolloutSpec
from stoker.pools.claim import Claim, Claimant, ClaimState
from stoker.pools.ids import ResourceId, part_id
from stoker.pools.lifecycle import PartState, ResourceState
from stoker.pools.reasons import WaitCode
from stoker.pools.requests import ClaimRequest, Code, Refusal
from stoker.pools.resource import Half, Health, Part, Resource
from stoker.pools.wishes import Wish
from tests.builders import a_revision
from tests.fakes.world import Faults
from tests.rig import Host, Run, a_box_pool, an_output, boxes

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("on_the_rig")]


def a_zoned_pool(zone: str, *, min: int = 2, max: int = 12) -> PoolSpec:  # noqa: A002
    pool = a_box_pool(min=min, max=max, queue=Queue(max=100, wait=600.0))
    return replace(pool, labels={"zone": zone})


async def two_zones() -> Run:
    """Two ready ones of zone a and then two of zone b."""
    run = await Host().start(a_zoned_pool("a"))
    await run.until_ready(2)
    await run.fleet.apply(a_revision(a_zoned_pool("b", min=4), id="r2"))
    await run.until_ready(4)
    return run


async def select(
    run: Run, expression: str, count: int = 1, *, wait: float | None = 30.0, uid: int = 1
) -> Claim:
    wish = Wish(count, expression)
    return await run.fleet.claim(ClaimRequest("web", Claimant(uid, uid, 1), wait=wait, wish=wish))


def a_box(resource: str) -> Part:
    """Of what needs no world to be claimed."""
    name = part_id(ResourceId(resource), "box")
    return Part(
        *(name, "box", "simulated", "simulated", Half.PREPARE, 0),
        state=PartState.VERIFIED,
        outputs={"name": name},
    )


def zones(run: Run, claim: Claim) -> set[str]:
    return {str(run.resource(one).labels["zone"]) for one in claim.resources}


async def test_labels_and_outputs_select() -> None:
    run = await two_zones()
    last = next(one.id for one in run.fleet.resources() if one.labels["zone"] == "a")

    by_label = await select(run, "resource.labels.zone == 'b'")
    by_output = await select(run, f"outputs.name == '{last}.box'")

    assert {"b"} == zones(run, by_label)
    assert by_label.warm
    assert [last] == by_output.resources
    assert set(by_output.outputs) == {"name"}
    assert by_label.wish is not None
    assert "2 of 4 ready resources match" == by_label.wish.because
    await run.stop()


async def test_several_are_selected_together() -> None:
    run = await two_zones()

    claim = await select(run, "resource.labels.zone == 'a'", 2)

    assert {"a"} == zones(run, claim)
    assert 2 == len(claim.resources)
    await run.stop()


async def test_what_becomes_ready_later_is_looked_at_too() -> None:
    run = await Host().start(a_zoned_pool("a"))
    await run.until_ready(2)
    waiting = asyncio.create_task(select(run, "resource.labels.zone == 'c'", wait=60.0))
    await run.settle(5)
    (pending,) = run.fleet.live_claims()
    assert pending.state is ClaimState.PENDING
    why = run.fleet.waiting_for(pending, 1)
    assert why is not None
    assert (why.code, why.limit) == (WaitCode.NO_MATCH, "select")
    assert "0 of 3 ready resources match" in why.detail, "one was made in case it would"
    assert run.fleet.place_in_line(pending) == (1, None)

    await run.fleet.apply(a_revision(a_zoned_pool("c", min=5), id="r2"))
    claim = await waiting

    assert {"c"} == zones(run, claim)
    assert not claim.warm
    await run.stop()


async def test_one_that_selects_in_vain_holds_up_nobody_and_is_told_why() -> None:
    run = await Host().start(a_zoned_pool("a"))
    await run.until_ready(2)
    waiting = asyncio.create_task(select(run, "resource.labels.zone == 'z'", wait=20.0))
    await run.settle(2)

    others = [await run.claim() for _ in range(2)]
    assert all(claim.warm for claim in others)
    with pytest.raises(Refusal, match=r"0 of . ready resources match") as refused:
        await waiting

    assert refused.value.code is Code.NO_MATCH
    await run.settle(10)
    assert run.ready() == 2, "what was made for it in case it matched is gone"
    assert run.breaches() == []
    await run.stop()


async def test_a_select_that_throws_for_a_resource_refuses_that_one_only_and_says_so() -> None:
    host = Host()
    run = await host.start(replace(a_zoned_pool("a"), labels={}))
    await run.until_ready(2)
    await run.fleet.apply(a_revision(a_zoned_pool("b", min=4), id="r2"))
    await run.until_ready(4)

    claim = await select(run, "resource.labels.zone == 'b'")
    with pytest.raises(Refusal, match=r"2 could not be judged.*there is no member 'zone'"):
        await select(run, "resource.labels.zone == 'nowhere'", wait=1.0)

    assert {"b"} == zones(run, claim)
    await run.stop()


async def test_a_select_that_does_not_compile_is_refused_with_place_and_remedy() -> None:
    run = await Host().start(a_zoned_pool("a"))

    for expression, offset, words in [
        ("resource.label.zone == 'a'", 9, "did you mean 'labels'"),
        ("outputs.token == 'x'", 8, "the output 'token' is secret"),
        ("params.zone == 'x'", 0, "before anybody claims it"),
        ("resource.id", 0, "a bool is needed"),
        ("resource.id ==", 14, ""),
        (" " * 1024 + "true", 1024, "at most 1024 are allowed"),
    ]:
        with pytest.raises(Refusal) as refused:
            await select(run, expression)
        assert refused.value.code is Code.BAD_SELECT
        assert refused.value.details["offset"] == offset, expression
        assert words in refused.value.message
    await run.stop()


async def test_an_output_that_is_known_only_at_the_claim_cannot_select() -> None:
    late = replace(boxes(), outputs=(an_output("who", "${claim.id}"),))
    run = await Host().start(a_box_pool(blueprint=late))

    with pytest.raises(Refusal, match="the output 'who' is known only once"):
        await select(run, "outputs.who == 'me'")
    await run.stop()


async def test_a_costly_select_is_stopped_for_each_resource() -> None:
    run = await Host().start(a_zoned_pool("a"))
    await run.until_ready(2)
    listed = ",".join("1" * 200)

    with pytest.raises(Refusal, match=r"\d could not be judged.*more than 1000 steps"):
        await select(run, f"[{listed}].all(x, [{listed}].all(y, x == y))", wait=1.0)
    await run.stop()


async def test_resources_of_an_earlier_blueprint_are_selected_by_its_outputs() -> None:
    run = await Host().start(a_zoned_pool("a"))
    await run.until_ready(2)
    newer = replace(
        boxes(digest="d2"), outputs=(an_output("name", "${parts.box.name}"), an_output("x", "1"))
    )
    at_once = RolloutSpec(canary=0)  # else the earlier blueprint serves, and has no such output
    full = replace(a_zoned_pool("a", max=2), blueprint=newer, rollout=at_once)
    await run.fleet.apply(a_revision(full, id="r2"))

    with pytest.raises(Refusal) as refused:
        await select(run, "outputs.x == '1' && outputs.name == ''", wait=0.0)
    assert "made from an earlier blueprint" in refused.value.message
    await run.stop()


async def test_a_claim_that_selects_waits_in_turn_with_the_others() -> None:
    host = Host(faults=Faults(latency=(0.5, 1.0)))
    run = await host.start(a_zoned_pool("a", min=0, max=2))
    held = [await run.claim(wait=60.0) for _ in range(2)]
    order: list[str] = []

    async def ask(name: str, uid: int, expression: str = "") -> None:
        wish = Wish(select=expression) if expression else None
        asked = ClaimRequest("web", Claimant(uid, uid, 1), wait=300.0, wish=wish)
        claim = await run.fleet.claim(asked)
        order.append(name)
        await run.fleet.release(claim.id, request_id="r")

    async with asyncio.timeout(200), asyncio.TaskGroup() as group:
        for number in range(4):
            match = "resource.labels.zone == 'a'" if number % 2 else ""
            group.create_task(ask(f"{number}", number, match))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await asyncio.sleep(5)
        for claim in held:
            await run.fleet.release(claim.id, request_id="r")

    assert ["0", "1", "2", "3"] == order
    assert run.breaches() == []
    await run.stop()


async def test_gangs_that_select_do_not_starve_behind_single_claims() -> None:
    host = Host(faults=Faults(latency=(0.1, 0.5)))
    run = await host.start(a_zoned_pool("a", min=0, max=4))
    gangs = 0

    async def singles(uid: int) -> None:
        while gangs < 2:
            asked = ClaimRequest("web", Claimant(uid, uid, 1), wait=300.0)
            claim = await run.fleet.claim(asked)
            await asyncio.sleep(host.random.uniform(0.5, 3.0))
            await run.fleet.release(claim.id, request_id="r")

    async with asyncio.timeout(400), asyncio.TaskGroup() as group:
        for uid in range(6):
            group.create_task(singles(uid))
        for uid in (20, 21):
            await asyncio.sleep(5)
            claim = await select(run, "resource.labels.zone == 'a'", 3, wait=300.0, uid=uid)
            gangs += 1
            await run.fleet.release(claim.id, request_id="r")

    assert run.breaches() == []
    await run.stop()


async def test_a_waiting_select_goes_on_after_a_restart() -> None:
    host = Host()
    run = await host.start(a_zoned_pool("a"))
    await run.until_ready(2)
    pending = await select(run, "resource.labels.zone == 'c'", wait=None)
    assert pending.state is ClaimState.PENDING
    await run.crash()

    run = await host.start(a_zoned_pool("c", min=4))
    settled = await run.fleet.settled(pending.id, 100.0)

    assert settled.state is ClaimState.BOUND
    assert {"c"} == zones(run, settled)
    await run.stop()


async def test_thousands_of_ready_resources_are_looked_at_in_slices() -> None:
    run = await Host().start(a_zoned_pool("a", min=0, max=0))
    inventory, clock = run.services.inventory, run.services.clock
    for number in range(3000):
        inventory.add(
            Resource(
                ResourceId(f"web-{number:05}"),
                *("web", "box", "d1", "r1"),
                clock.now(),
                state=ResourceState.READY,
                health=Health.HEALTHY,
                ready_at=clock.now(),
                labels={"zone": "a", "number": str(number)},
                parts=[a_box(f"web-{number:05}")],
            )
        )
    run.fleet.own("web").respec(a_zoned_pool("a", min=2999, max=3000), "r2")
    longest = steps = 0.0
    asking = asyncio.create_task(select(run, "resource.labels.number == '2999'"))
    while not asking.done():
        began = time.thread_time()
        await asyncio.sleep(0.00001)
        steps += 1
        longest = max(longest, time.thread_time() - began)

    assert ["web-02999"] == (await asking).resources
    assert steps >= 40, "many turns of the loop"
    assert longest < 0.1, "none of them long, on a busy machine"
    await run.crash()
