"""What goes on in the simulated histories: the scenarios of the real daemon, and some that need a world."""

import asyncio
from dataclasses import replace

from stoker.config.revision import (
    Backfill,
    Courtesy,
    Lifetime,
    PoolSpec,
    Queue,
    RolloutSpec,
    Size,
)
from stoker.pools.binding import Process
from stoker.pools.ids import ResourceId
from stoker.pools.lifecycle import ResourceState
from stoker.pools.rollout import Stage
from stoker.pools.switches import HOST, HostAction, PoolAction, ResourceAction
from stoker.pools.wishes import Wish
from tests.crash.playing import Plot
from tests.crash.policed_plots import POLICED
from tests.crash.simulated import KEY, History
from tests.rig import a_box_pool, a_part, boxes, reusable

TOKEN = a_part("token", "token", {"kind": "random"})
FINISHED = (a_part("page"), TOKEN)
"""Finish parts of which one exists in the world."""


def a_web_pool(min: int = 1, max: int = 4, *, digest: str = "d1") -> PoolSpec:  # noqa: A002
    return PoolSpec(
        "web",
        {},
        boxes(digest=digest, finish=FINISHED),
        Size(min, max),
        Lifetime(ttl=3600.0, max_ttl=7200.0),
        Backfill(rate=1000.0, burst=4, concurrency=2),
        Queue(wait=600.0),
        RolloutSpec(settle=1.0),
    )


PLAIN = a_box_pool(min=1)
"""Its only finish part is pure: a claim is one write."""
OLD = a_box_pool(name="old", min=1)
TWO_OLD = a_box_pool(name="old", min=2)
NEW = a_box_pool(name="new", min=2)


def a_lasting_pool(min: int, *, in_place: bool) -> PoolSpec:  # noqa: A002
    """One resource, which serves several claims."""
    pool = a_web_pool(min, 1)
    return replace(pool, blueprint=reusable(pool.blueprint, in_place=in_place))


async def claim(history: History) -> None:
    await history.claim(key=KEY)


async def claim_without_key(history: History) -> None:
    await history.claim()


async def two_claims(history: History) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(history.claim(key=KEY))
        group.create_task(history.claim())


async def queue(history: History) -> None:
    """Is told "pending", hangs up, and asks for it. After a death it asks with its key first."""
    found = await history.claim(key=KEY, wait=None)
    await history.stand_in_line(found.id)


async def hold(history: History) -> None:
    await history.claim(key=KEY)


async def hold_briefly(history: History) -> None:
    await history.claim(key=KEY, ttl=50.0)


async def release_all(history: History) -> None:
    for told in list(history.told):
        await history.release(told)


async def use_and_release(history: History) -> None:
    if KEY not in history.by_key:
        await history.claim(key=KEY)
    await release_all(history)


async def hold_and_queue(history: History) -> None:
    await history.claim(key=b"o" * 32)
    await history.claim(key=KEY, wait=None)


async def give_up(history: History) -> None:
    for waiting in history.waiting | history.let_go:
        await history.release(waiting)


async def release_one_for_the_other(history: History) -> None:
    """The slot that is freed goes to the one who waits."""
    (holder,), (waiter,) = list(history.told), list(history.waiting)
    await history.release(holder)
    await history.stand_in_line(waiter)


async def released_for_the_other(history: History) -> None:
    for holder in list(history.let_go) or list(history.told):
        if history.waiting:
            await history.release(holder)
    for waiter in list(history.waiting):
        await history.stand_in_line(waiter)


async def expire(history: History) -> None:
    (told,) = history.told
    history.let_go.add(told)
    await history.renew(told, 0.5)
    await expired(history)


async def expired(history: History) -> None:
    """By its first ttl, if the renewal was cut off."""
    for told in history.told:
        deadline = history.host.clock.now() + 100.0
        while any(one.id == told for one in history.run.fleet.live_claims()):
            assert history.host.clock.now() < deadline, f"{told} is bound though it was let go"
            await asyncio.sleep(0.1)


GANG = Wish(count=3)


async def claim_several(history: History) -> None:
    await history.claim(key=KEY, wish=GANG)


async def claim_two(history: History) -> None:
    await history.claim(key=KEY, wish=Wish(count=2))


async def claim_several_without_key(history: History) -> None:
    await history.claim(wish=GANG)


async def queue_for_several(history: History) -> None:
    found = await history.claim(key=KEY, wait=None, wish=GANG)
    await history.stand_in_line(found.id)


async def hold_one_and_queue_for_several(history: History) -> None:
    await history.claim(key=b"o" * 32)
    await history.claim(key=KEY, wait=None, wish=GANG)


async def claim_several_briefly(history: History) -> None:
    await history.claim(key=KEY, ttl=50.0, wish=GANG)


async def fail_to_finish_one_of_several(history: History) -> None:
    await _claim_in_trouble(history, "fail", GANG)


EITHER = Wish(count=2, pools=("web", "old"))


async def claim_of_either(history: History) -> None:
    await history.claim(key=KEY, wish=EITHER)


async def queue_for_either(history: History) -> None:
    found = await history.claim(key=KEY, wait=None, wish=EITHER)
    await history.stand_in_line(found.id)


def the_process(history: History) -> Process:
    """The one that works, over all lives of the daemon."""
    processes = history.host.processes
    return next(iter(processes.alive), None) or processes.start()


async def claim_for_a_process(history: History) -> None:
    await history.claim(key=KEY, process=the_process(history))


async def wait_for_a_process(history: History) -> None:
    await history.claim(key=b"o" * 32)
    await history.claim(key=KEY, wait=None, process=the_process(history))


async def end_the_process(history: History) -> None:
    """The claims of the process are held or waited for by nobody any more."""
    history.host.processes.end(the_process(history))
    history.let_go |= {claim.id for claim in history.run.fleet.live_claims() if claim.binding}
    history.waiting.clear()
    await ended(history)


async def ended(history: History) -> None:
    deadline = history.host.clock.now() + 100.0
    while history.let_go & {one.id for one in history.run.fleet.live_claims()}:
        assert history.host.clock.now() < deadline, "it is held for a process that has ended"
        await asyncio.sleep(0.1)


async def lengthen(history: History) -> None:
    (told,) = history.told
    await history.renew(told, 5400.0)


async def fill(history: History) -> None:
    await history.declare(a_web_pool(3, 5))


async def change(history: History) -> None:
    """Another blueprint for one pool; one is removed and one is added."""
    await history.declare(a_web_pool(1, 4, digest="d2"), NEW)


def _rolled_pool(digest: str, *, works: bool = True) -> PoolSpec:
    pool = a_web_pool(2, 4, digest=digest)
    box = a_part(settings={"reject": not works})
    return replace(
        pool,
        blueprint=replace(pool.blueprint, prepare=(box,)),
        rollout=RolloutSpec(settle=1.0, progress_deadline=3.0),
    )


async def roll(history: History) -> None:
    """A claim comes in the middle of it."""
    await history.declare(_rolled_pool("d2"))
    await asyncio.sleep(1.0)
    await history.claim(key=KEY)
    await history.settle()


async def roll_something_bad(history: History) -> None:
    """It is paused, and what served before serves on."""
    await history.declare(_rolled_pool("d2", works=False))
    while (rollout := history.run.status().rollout) is None or rollout.stage is not Stage.PAUSED:
        await asyncio.sleep(0.1)
    assert history.run.ready() == 2
    await claim(history)


async def repaired(history: History) -> None:
    """Whatever the daemon had come to: it serves, and goes on to what is repaired."""
    await asyncio.sleep(5.0)
    assert history.run.ready() >= 1
    await history.declare(_rolled_pool("d3"), revision="r3")
    await claim(history)


async def shrink(history: History) -> None:
    await history.declare(a_web_pool(0, 4))


async def remove_all(history: History) -> None:
    """The pool of a claim is removed; the claim lives on."""
    await history.declare(NEW)


async def remove_all_under_one_who_waits(history: History) -> None:
    """Who waits for a pool that is removed is told so, and is not left waiting."""
    history.let_go |= history.waiting
    history.waiting.clear()
    await history.declare(NEW)


async def drift(history: History) -> None:
    ready = [r for r in history.run.fleet.resources() if r.state is ResourceState.READY]
    history.host.world.vanish(ready[0].parts[0].id)
    while history.run.fleet.resource(ready[0].id) is not None:
        await asyncio.sleep(0.1)


async def _claim_in_trouble(history: History, trouble: str, wish: Wish | None = None) -> None:
    """The first creation from now on meets trouble, and only that one."""
    world = history.host.world
    setattr(world.faults, trouble, 1.0)
    before = world.calls.get("create", 0)
    claiming = asyncio.ensure_future(history.claim(key=KEY, wish=wish))
    try:
        while world.calls.get("create", 0) == before:
            await asyncio.sleep(0.00005)
    finally:
        setattr(world.faults, trouble, 0.0)
        if history.run.dead.is_set():
            claiming.cancel()
    await claiming


async def fail_to_finish(history: History) -> None:
    await _claim_in_trouble(history, "fail")


async def lose_the_answer(history: History) -> None:
    await _claim_in_trouble(history, "lose")


def _ready_one(history: History) -> ResourceId:
    ready = [r.id for r in history.run.fleet.resources() if r.state is ResourceState.READY]
    return min(ready)


async def pause(history: History) -> None:
    await history.on_pool(PoolAction.PAUSE)


async def paused_and_resumed(history: History) -> None:
    """What was answered is in force; a claim that comes then is served once it is resumed."""
    if history.operated == (PoolAction.PAUSE, "web"):
        assert history.run.status().paused
    await history.on_pool(PoolAction.RESUME)
    await claim(history)


async def drain_and_resume(history: History) -> None:
    await history.on_pool(PoolAction.DRAIN)
    await history.on_pool(PoolAction.RESUME)


async def resumed(history: History) -> None:
    if history.operated == (PoolAction.RESUME, "web"):
        assert not history.run.status().draining
    await history.on_pool(PoolAction.RESUME)


async def freeze(history: History) -> None:
    await history.on_host(HostAction.FREEZE)


async def frozen_and_thawed(history: History) -> None:
    """What was answered is in force, and what was made before it is handed out in it."""
    if history.operated == (HostAction.FREEZE, HOST):
        assert history.run.status().frozen
    await history.on_host(HostAction.THAW)
    await claim(history)


async def drain_all_and_resume(history: History) -> None:
    await history.on_host(HostAction.DRAIN)
    await history.on_host(HostAction.RESUME)


async def all_resumed(history: History) -> None:
    if history.operated == (HostAction.RESUME, HOST):
        assert not history.run.status().draining
    await history.on_host(HostAction.RESUME)


async def refresh(history: History) -> None:
    await history.on_pool(PoolAction.REFRESH)


async def refreshed(history: History) -> None:
    await history.settle()
    if history.operated:
        old = [r.id for r in history.run.fleet.resources() if r.created_at < history.operated_at]
        bound = [promise.resources[0] for promise in history.told.values()]
        assert set(old) <= set(bound)


async def hold_and_let_go(history: History) -> None:
    resource = _ready_one(history)
    await history.on_resource(ResourceAction.HOLD, resource)
    await history.on_resource(ResourceAction.UNHOLD, resource)


async def let_go(history: History) -> None:
    """Whoever was told that it is held finds it so, unless its end was asked for."""
    match history.operated:
        case (ResourceAction.HOLD, held):
            assert history.run.resource(ResourceId(held)).state is ResourceState.HELD
        case (ResourceAction.UNHOLD, held):
            found = history.run.fleet.resource(ResourceId(held))
            assert found is None or found.state is not ResourceState.HELD
        case _:
            pass
    await _let_all_go(history)


async def _let_all_go(history: History) -> None:
    for resource in list(history.run.fleet.resources()):
        if resource.hold is not None:
            await history.on_resource(ResourceAction.UNHOLD, resource.id)
    await history.settle()
    assert not [r for r in history.run.fleet.resources() if r.state is ResourceState.HELD]


async def hold_the_bound(history: History) -> None:
    (told,) = history.told.values()
    await history.on_resource(ResourceAction.HOLD, told.resources[0])
    await history.release(told.claim)


async def held_after_its_claim(history: History) -> None:
    await release_all(history)
    await history.settle()
    (told,) = history.told.values()
    if history.operated == (ResourceAction.HOLD, told.resources[0]):
        resource = history.run.resource(told.resources[0])
        assert resource.state is ResourceState.HELD
        assert [part.name for part in resource.parts] == ["box"]
    await _let_all_go(history)


async def hold_before(history: History) -> None:
    await history.claim(key=KEY)
    (told,) = history.told.values()
    await history.on_resource(ResourceAction.HOLD, told.resources[0])


async def take_the_hold_back_while_it_ends(history: History) -> None:
    (told,) = history.told.values()
    async with asyncio.TaskGroup() as group:
        group.create_task(history.release(told.claim))
        group.create_task(history.on_resource(ResourceAction.UNHOLD, told.resources[0]))


async def nothing_held_is_left(history: History) -> None:
    await release_all(history)
    await _let_all_go(history)


async def retire(history: History) -> None:
    await history.on_resource(ResourceAction.RETIRE, _ready_one(history))


async def retired(history: History) -> None:
    await history.settle()
    if history.operated is not None:
        assert history.run.fleet.resource(ResourceId(history.operated[1])) is None


WEB = (a_web_pool(),)
COURTEOUS = (replace(WEB[0], lifetime=Lifetime(3600.0, 7200.0, courtesy=Courtesy(20.0, 10.0))),)
PLOTS = (
    Plot("claim", WEB, claim, after=claim, pairs=1),
    Plot("claim without a key", (PLAIN,), claim_without_key),
    Plot("two claims at once", (a_web_pool(2),), two_claims, after=claim),
    Plot("cold claim", (a_web_pool(0),), claim, after=claim, pairs=2),
    Plot("queued claim", (a_web_pool(0),), queue, after=queue, pairs=3),
    Plot("giving up", (a_web_pool(0, 1),), give_up, before=hold_and_queue, after=give_up),
    Plot(
        "release for one who waits",
        (a_web_pool(0, 1),),
        release_one_for_the_other,
        before=hold_and_queue,
        after=released_for_the_other,
        pairs=2,
    ),
    Plot(
        "release with reset",
        (a_lasting_pool(1, in_place=True),),
        use_and_release,
        after=use_and_release,
        pairs=2,
    ),
    Plot(
        "release with parts made anew",
        (a_lasting_pool(1, in_place=False),),
        use_and_release,
        after=use_and_release,
        pairs=2,
    ),
    Plot(
        "reset for one who waits",
        (a_lasting_pool(0, in_place=True),),
        release_one_for_the_other,
        before=hold_and_queue,
        after=released_for_the_other,
        pairs=3,
    ),
    Plot("renewal", WEB, lengthen, before=hold),
    Plot("release", WEB, release_all, before=hold, after=release_all, pairs=1),
    Plot("expiry", WEB, expire, before=hold_briefly, after=expired, pairs=1),
    Plot("expiry with notice and grace", COURTEOUS, expire, before=hold_briefly, after=expired),
    Plot("claim of a process", WEB, claim_for_a_process, after=claim_for_a_process, pairs=1),
    Plot(
        "end of a process", WEB, end_the_process, before=claim_for_a_process, after=ended, pairs=1
    ),
    Plot(
        "end of a process that waits",
        (a_web_pool(0, 1),),
        end_the_process,
        before=wait_for_a_process,
        after=ended,
        pairs=1,
    ),
    Plot("warm gang", (a_web_pool(3, 6),), claim_several, after=claim_several, pairs=5),
    Plot("warm gang, one write", (a_box_pool(min=3, max=6),), claim_several_without_key),
    Plot("cold gang", (a_web_pool(0),), queue_for_several, after=queue_for_several, pairs=9),
    Plot(
        "gang that waits for one who holds",
        (a_web_pool(0, 3),),
        release_one_for_the_other,
        before=hold_one_and_queue_for_several,
        after=released_for_the_other,
        pairs=9,
    ),
    Plot(
        "release of a gang",
        (a_web_pool(0, 4),),
        release_all,
        before=claim_several,
        after=release_all,
        pairs=4,
    ),
    Plot(
        "expiry of a gang", (a_web_pool(0, 4),), expire, before=claim_several_briefly, after=expired
    ),
    Plot(
        "failing finish of one of a gang",
        (a_web_pool(3, 6),),
        fail_to_finish_one_of_several,
        after=claim_several,
    ),
    Plot("claim of either pool", (a_web_pool(1), TWO_OLD), claim_of_either, after=claim_of_either),
    Plot(
        "claim that waits for either pool",
        (a_web_pool(0), a_box_pool(name="old", min=0, max=4)),
        queue_for_either,
        after=queue_for_either,
        pairs=9,
    ),
    Plot(
        "release of a gang that is reset",
        (a_box_pool(min=2, max=4, blueprint=reusable(boxes(finish=FINISHED))),),
        release_all,
        before=claim_two,
        after=release_all,
        pairs=5,
    ),
    Plot("backfill", (a_web_pool(0),), fill, pairs=2),
    Plot("first start", (a_web_pool(2),), from_the_start=True),
    Plot("config change", (a_web_pool(), OLD), change, before=hold, pairs=3),
    Plot("rollout", (_rolled_pool("d1"),), roll, after=claim, pairs=9),
    Plot("bad rollout", (_rolled_pool("d1"),), roll_something_bad, after=repaired),
    Plot("smaller", (a_web_pool(3),), shrink),
    Plot("removed pool", WEB, remove_all, before=hold),
    Plot(
        "removed pool with one who waits",
        (a_web_pool(0, 1),),
        remove_all_under_one_who_waits,
        before=hold_and_queue,
        pairs=1,
    ),
    Plot("drift", WEB, drift),
    Plot("pause", WEB, pause, after=paused_and_resumed, pairs=1),
    Plot("drain", (a_web_pool(2),), drain_and_resume, before=hold, after=resumed, pairs=2),
    Plot("freeze", WEB, freeze, after=frozen_and_thawed, pairs=1),
    Plot(
        "drain of the host",
        (a_web_pool(2),),
        drain_all_and_resume,
        before=hold,
        after=all_resumed,
        pairs=2,
    ),
    Plot("refresh", (a_web_pool(2, 3),), refresh, before=hold, after=refreshed, pairs=3),
    Plot("hold", WEB, hold_and_let_go, after=let_go, pairs=1),
    Plot(
        "hold of a bound one",
        WEB,
        hold_the_bound,
        before=hold,
        after=held_after_its_claim,
        pairs=1,
    ),
    Plot(
        "hold taken back while the claim ends",
        WEB,
        take_the_hold_back_while_it_ends,
        before=hold_before,
        after=nothing_held_is_left,
        pairs=2,
    ),
    Plot("retirement", WEB, retire, after=retired, pairs=1),
    Plot("failing finish", (a_web_pool(2),), fail_to_finish, after=claim, pairs=3),
    Plot("lost answer", (a_web_pool(2),), lose_the_answer, after=claim),
    *POLICED,
)
