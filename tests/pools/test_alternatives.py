"""Claims that several pools may serve: the first that can at once, else whichever is ready first."""

import asyncio
from dataclasses import replace
from typing import Unpack

import pytest

from stoker.config.parameters import Parameters
from stoker.config.revision import Courtesy, Lifetime, PoolSpec, Queue
from stoker.pools.claim import Claim, ClaimState
from stoker.pools.expiry import Terms
from stoker.pools.requests import Code, Refusal
from stoker.pools.wishes import Wish
from tests.builders import a_revision
from tests.fakes.world import Faults
from tests.rig import Asked, Host, Run, a_box_pool, a_part, boxes

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("on_the_rig")]

KEY = b"k" * 32


def a_box(name: str, min: int = 1, max: int = 2, **more: object) -> PoolSpec:  # noqa: A002
    pool = a_box_pool(name=name, min=min, max=max, queue=Queue(max=50, wait=600.0))
    return replace(pool, **more)  # type: ignore[arg-type]


async def either(
    run: Run, *names: str, wait: float | None = 30.0, count: int = 1, **more: Unpack[Asked]
) -> Claim:
    more["wish"] = Wish(count, pools=names)
    return await run.claim("", wait=wait, **more)


def because(claim: Claim) -> str:
    assert claim.wish is not None
    return claim.wish.because


async def test_the_first_in_the_list_serves_when_it_can() -> None:
    run = await Host().start(a_box("web"), a_box("work"))
    await run.until_ready(1)
    await run.until_ready(1, "work")

    claim = await either(run, "work", "web")

    assert (claim.pool, claim.warm) == ("work", True)
    assert because(claim) == "work comes first and could serve at once"
    assert run.held(claim).pool == "work"
    await run.stop()


async def test_the_next_one_serves_when_the_first_has_nothing_ready() -> None:
    run = await Host().start(a_box("web", min=0), a_box("work"))
    await run.until_ready(1, "work")

    claim = await either(run, "web", "work")

    assert (claim.pool, claim.warm) == ("work", True)
    assert "could serve at once: web had 0 ready" in because(claim)
    await run.settle(5)
    assert 0 == run.status("web").waiting
    assert run.breaches() == []
    await run.stop()


async def test_who_waits_stands_in_all_lines_and_leaves_them_once_served() -> None:
    run = await Host().start(a_box("web", min=0, max=1), a_box("work", min=0, max=1))
    web, work = await run.claim("web"), await run.claim("work")
    pending = await either(run, "web", "work", wait=None)
    assert (pending.state, pending.pool) == (ClaimState.PENDING, "web")
    assert (1, 1) == (run.status("web").waiting, run.status("work").waiting)
    position, _ = run.fleet.place_in_line(pending)
    assert position == 1

    await run.fleet.release(work.id, request_id="r")
    claim = await run.fleet.settled(pending.id, 30.0)

    assert (claim.state, claim.pool) == (ClaimState.BOUND, "work")
    assert "work was the first of web, work to have enough" in because(claim)
    assert (0, 0) == (run.status("web").waiting, run.status("work").waiting)
    assert web.state is ClaimState.BOUND
    assert run.breaches() == []
    await run.stop()


async def test_the_place_told_is_the_one_in_the_line_that_moves_soonest() -> None:
    host = Host(faults=Faults(latency=(1.0, 1.0)))
    run = await host.start(a_box("web", min=0, max=1), a_box("work", min=0, max=1))
    web, work = await run.claim("web"), await run.claim("work")
    await run.settle(5)
    ahead = [asyncio.create_task(run.claim("web", wait=300.0)) for _ in range(3)]
    await run.settle(1)

    pending = await either(run, "web", "work", wait=None)

    assert run.fleet.place_in_line(pending)[0] == 1
    for claim in (web, work):
        await run.fleet.release(claim.id, request_id="r")
    for task in ahead:
        task.cancel()
    await asyncio.gather(*ahead, return_exceptions=True)
    await run.stop()


async def test_both_become_ready_at_the_same_moment_and_only_one_is_taken() -> None:
    for seed in range(20):
        host = Host(seed, faults=Faults(latency=(0.1, 0.3)))
        run = await host.start(a_box("web", min=0, max=1), a_box("work", min=0, max=1))
        held = [await run.claim("web", wait=60.0), await run.claim("work", wait=60.0)]
        waiting = asyncio.create_task(either(run, "web", "work", wait=60.0))
        await run.settle(1)
        for claim in held:
            await run.fleet.release(claim.id, request_id="r")

        claim = await waiting

        await run.settle(10)
        assert [claim] == list(run.fleet.live_claims())
        assert 1 == sum(
            status.counts[state] for status in run.fleet.pools() for state in status.counts
        )
        assert run.breaches() == []
        await run.stop()


async def test_a_pool_that_is_removed_is_no_longer_waited_for_but_the_others_are() -> None:
    run = await Host().start(a_box("web", min=0, max=1), a_box("work", min=0, max=1))
    held = [await run.claim("web"), await run.claim("work")]
    waiting = asyncio.create_task(either(run, "web", "work", wait=300.0))
    await run.settle(1)

    await run.fleet.apply(a_revision(a_box("work", min=0, max=1), id="r2"))
    await run.settle(1)
    assert not waiting.done()
    await run.fleet.release(held[1].id, request_id="r")
    claim = await waiting

    assert claim.pool == "work"
    again = asyncio.create_task(either(run, "work", wait=300.0))
    await run.settle(1)
    await run.fleet.apply(a_revision(a_box("other"), id="r3"))
    with pytest.raises(Refusal) as refused:
        await again
    assert refused.value.code is Code.DRAINING
    await run.stop()


async def test_labels_name_the_pools() -> None:
    run = await Host().start(
        a_box("web", labels={"team": "web", "size": "s"}),
        a_box("work", labels={"team": "web"}),
        a_box("other"),
    )
    await run.until_ready(1, "work")

    claim = await run.claim("", wish=Wish(labels={"team": "web"}))

    assert claim.wish is not None
    assert claim.wish.pools == ("web", "work")
    assert claim.pool == "web"
    with pytest.raises(Refusal, match="no pool has the labels team=ops; the pools are") as refused:
        await run.claim("", wish=Wish(labels={"team": "ops"}))
    assert refused.value.code is Code.NO_SUCH_POOL
    await run.stop()


async def test_unknown_pools_are_all_named() -> None:
    run = await Host().start(a_box("web"))

    with pytest.raises(Refusal, match="there is no pool wbe or wokr; the pools are: web"):
        await either(run, "web", "wbe", "wokr")
    await run.stop()


async def test_each_pool_serves_on_its_own_terms() -> None:
    parameters = Parameters.compile({"size": {"type": "string", "default": "m"}})
    finish = (a_part("token", "token", {"kind": "random"}),)
    web = a_box("web", min=0, max=1, lifetime=Lifetime(ttl=60.0, max_ttl=100.0))
    work = a_box(
        "work",
        lifetime=Lifetime(ttl=600.0, max_ttl=1000.0, courtesy=Courtesy(5.0, 7.0)),
        blueprint=replace(boxes(finish=finish), parameters=parameters),
    )
    run = await Host().start(web, work)
    await run.until_ready(1, "work")

    own = await either(run, "web", "work")
    asked = await either(run, "web", "work", ttl=500.0, params={"size": "xl"}, wait=60.0)

    assert (own.pool, own.ttl, own.max_ttl, own.terms) == ("work", 600.0, 1000.0, Terms(5.0, 7.0))
    assert (asked.pool, asked.ttl) == ("work", 500.0)
    assert "web cannot: ttl-too-long" in because(asked)
    with pytest.raises(Refusal, match=r"web: .*; work: ") as refused:
        await either(run, "web", "work", params={"colour": "red"})
    assert refused.value.code is Code.UNKNOWN_PARAMETER
    assert refused.value.details["pools"] == {
        "web": "unknown-parameter",
        "work": "unknown-parameter",
    }
    await run.stop()


async def test_a_gang_is_of_one_pool_the_first_that_has_enough() -> None:
    run = await Host().start(a_box("web", min=2, max=4), a_box("work", min=3, max=4))
    await run.until_ready(2)
    await run.until_ready(3, "work")

    claim = await either(run, "web", "work", count=3)

    assert claim.pool == "work"
    assert {"work"} == {run.resource(one).pool for one in claim.resources}
    assert 2 == run.ready("web")
    await run.stop()


async def test_a_full_queue_of_one_pool_leaves_the_others_to_wait_for() -> None:
    web = replace(a_box("web", min=0, max=1), queue=Queue(max=0, wait=60.0))
    run = await Host().start(web, a_box("work", min=0, max=1))
    await run.claim("work")

    with pytest.raises(Refusal) as refused:
        await either(run, "web", "work", wait=5.0)
    assert refused.value.details["pools"] == {"web": "queue-full", "work": "no-capacity"}
    with pytest.raises(Refusal) as refused:
        await either(run, "web", wait=5.0)
    assert refused.value.code is Code.QUEUE_FULL
    await run.stop()


async def test_nothing_in_time_says_why_of_each() -> None:
    run = await Host().start(a_box("web", min=0, max=1), a_box("work", min=0, max=1))
    held = [await run.claim("web"), await run.claim("work")]

    with pytest.raises(Refusal, match=r"web: all 1 resources.*; work: all 1 resources") as refused:
        await either(run, "web", "work", wait=2.0)

    assert refused.value.code is Code.NO_CAPACITY
    assert all(claim.state is ClaimState.BOUND for claim in held)
    assert (0, 0) == (run.status("web").waiting, run.status("work").waiting)
    await run.stop()


async def test_pools_that_were_ruled_out_at_once_are_told_with_those_that_did_not_serve() -> None:
    brief = Lifetime(ttl=30.0, max_ttl=30.0)
    run = await Host().start(a_box("web", min=0, max=1), a_box("work", lifetime=brief))
    await run.claim("web")

    with pytest.raises(Refusal) as refused:
        await either(run, "web", "work", wait=2.0, ttl=60.0)

    assert refused.value.details["pools"] == {"web": "no-capacity", "work": "ttl-too-long"}
    assert refused.value.code is Code.NO_CAPACITY
    await run.stop()


async def test_one_that_waits_for_several_does_so_again_after_a_restart_and_keeps_its_key() -> None:
    host = Host()
    pools = (a_box("web", min=0, max=1), a_box("work", min=0, max=1))
    run = await host.start(*pools)
    held = [await run.claim("web"), await run.claim("work")]
    pending = await either(run, "web", "work", wait=None, key=KEY, params={})
    await run.crash()

    run = await host.start(*pools)
    await run.settle(0.1)
    assert (1, 1) == (run.status("web").waiting, run.status("work").waiting)
    await run.fleet.release(held[1].id, request_id="r")
    claim = await run.fleet.settled(pending.id, 30.0)
    again = await either(run, "web", "work", wait=None, key=KEY, params={})

    assert (claim.state, claim.pool) == (ClaimState.BOUND, "work")
    assert (again.id, again.secrets) == (claim.id, claim.secrets)
    await run.stop()


@pytest.mark.parametrize("steps", range(0, 30, 2))
async def test_who_hangs_up_at_any_moment_leaves_no_line_and_nothing_taken(steps: int) -> None:
    host = Host(faults=Faults(latency=(0.0005, 0.001)))
    run = await host.start(a_box("web", min=0, max=1), a_box("work", min=0, max=1))

    asking = asyncio.create_task(either(run, "web", "work"))
    await asyncio.sleep(steps * 0.0003)
    asking.cancel()
    (told,) = await asyncio.gather(asking, return_exceptions=True)
    if isinstance(told, Claim):
        await run.fleet.release(told.id, request_id="r")
    await run.settle(20)

    assert not list(run.fleet.live_claims())
    assert (0, 0) == (run.status("web").waiting, run.status("work").waiting)
    assert not run.host.world.things
    assert run.breaches() == []
    await run.stop()


@pytest.mark.parametrize("steps", range(12))
async def test_who_comes_back_with_the_key_the_moment_it_hung_up_is_served(steps: int) -> None:
    """The claim that it had left comes to nothing, and it is never told of that one."""
    run = await Host().start(a_box("web", min=1, max=2), a_box("work", min=0, max=2))
    leaving = asyncio.create_task(either(run, "web", "work", count=2, wait=None, key=KEY))
    for _ in range(steps):
        await asyncio.sleep(0)
    leaving.cancel()

    back = asyncio.create_task(either(run, "web", "work", count=2, wait=None, key=KEY))
    told = (
        await back
    )  # it comes after the hang-up was noticed, and before anything was done about it
    await run.settle(10)

    assert ClaimState.BOUND is (await run.fleet.find_claim(told.id)).state
    assert [told.id] == [claim.id for claim in run.fleet.live_claims()]
    assert run.breaches() == []
    await run.stop()
