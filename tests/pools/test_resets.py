"""A resource that serves several claims: only when it was brought back, and that was proved."""

import asyncio

import pytest

from stoker.config.revision import Lifetime, RolloutSpec
from stoker.pools.claim import Claim, ClaimState
from stoker.pools.ids import part_id
from stoker.pools.lifecycle import ResourceState
from stoker.pools.resource import Resource
from stoker.pools.store import Event
from tests.builders import a_revision
from tests.fakes.world import Faults
from tests.rig import Host, Run, a_box_pool, a_part, boxes, reusable

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("on_the_rig")]

AT_ONCE = RolloutSpec(canary=0)
"""Otherwise the blueprint before serves on, and its resources are reset, until a canary proved itself."""
S = ResourceState
TOKEN = a_part("token", "token", {"kind": "random"})
FINISHED = boxes(finish=(a_part("page"), TOKEN))
"""With a finish part that exists in the world."""


async def a_used_one(run: Run, *, soil: bool = True) -> tuple[Claim, Resource]:
    """A claim on the one ready resource; its holder leaves something of theirs in it."""
    await run.until_ready(1)
    claim = await run.claim()
    resource = run.held(claim)
    if soil:
        run.host.world.use(part_id(resource.id, "box"), claim.id)
    return claim, resource


async def start(*, max: int = 1, faults: Faults | None = None, **more: object) -> Run:  # noqa: A002
    blueprint = more.pop("blueprint", None) or reusable()
    host = Host(faults=faults or Faults())
    pool = a_box_pool(min=1, max=max, blueprint=blueprint, **more)  # type: ignore[arg-type]
    return await host.start(pool)


async def released(run: Run, claim: Claim) -> None:
    await run.fleet.release(claim.id, request_id="r")


async def events(run: Run, resource: Resource) -> list[Event]:
    return list(await run.store.events(after=0, limit=100, resource=resource.id))


@pytest.mark.parametrize("in_place", [True, False])
async def test_a_released_resource_serves_another_claim_with_nothing_of_the_first_in_it(
    in_place: bool,
) -> None:
    run = await start(blueprint=reusable(FINISHED, in_place=in_place))
    first, resource = await a_used_one(run)

    await released(run, first)
    await run.until_ready(1)
    second = await run.claim()

    assert second.resources == first.resources
    assert run.host.world.things[part_id(resource.id, "box")].soil == set()
    assert second.secrets["token"] != first.secrets["token"]
    assert run.held(second).uses == 2
    assert run.breaches() == []
    calls = run.host.world.calls
    assert (calls.get("reset", 0), calls["create"]) == ((1, 3) if in_place else (0, 4))
    await run.stop()


async def test_the_claim_is_ending_until_the_resource_is_proved_to_be_clean() -> None:
    run = await start(faults=Faults(latency=(1.0, 1.0)), blueprint=reusable(FINISHED))
    first, resource = await a_used_one(run)

    await released(run, first)

    seen: list[tuple[str, str]] = []
    while not seen or seen[-1][0] != "ready":
        await asyncio.sleep(0.05)
        now = (str(resource.state), str((await run.fleet.find_claim(first.id)).state))
        if not seen or seen[-1] != now:
            seen.append(now)
    assert seen == [("resetting", "ending"), ("ready", "ended")]
    assert resource.claim is None
    ended = await run.fleet.find_claim(first.id)
    assert (ended.ended_because, dict(ended.secrets)) == ("released", {})
    await run.stop()


async def test_what_was_made_for_the_claim_is_gone_before_anything_is_reset() -> None:
    run = await start(blueprint=reusable(FINISHED))
    first, resource = await a_used_one(run)

    await released(run, first)
    await run.until_ready(1)

    effects = [(effect.kind, effect.part) for effect in run.host.world.log]
    page, box = part_id(resource.id, "page"), part_id(resource.id, "box")
    assert effects == [("created", box), ("created", page), ("destroyed", page), ("reset", box)]
    assert [part.name for part in resource.parts] == ["box"]
    (kept,) = run.store.load().resources
    assert [part.name for part in kept.parts] == ["box"]
    assert (kept.state, kept.uses, kept.claim) == (S.READY, 1, None)
    await run.stop()


async def test_the_resources_events_tell_its_history() -> None:
    run = await start()
    first, resource = await a_used_one(run)
    await released(run, first)
    await run.until_ready(1)
    second = await run.claim()

    told = [(event.kind, event.claim) for event in await events(run, resource)]

    assert told == [
        ("resource.ready", ""),
        ("claim.bound", first.id),
        ("claim.released", first.id),
        ("resource.reset", first.id),
        ("claim.bound", second.id),
    ]
    await run.stop()


async def test_an_expired_claims_resource_is_reset_too() -> None:
    run = await start(lifetime=Lifetime(ttl=5.0))
    _, resource = await a_used_one(run)

    await run.settle(6.0)

    assert (resource.state, resource.uses) == (S.READY, 1)
    await run.stop()


async def gone(run: Run, resource: Resource, why: str) -> list[str]:
    """Waits until it is removed for that reason; returns its events' kinds."""
    await run.settle(60.0)
    assert run.fleet.resource(resource.id) is None
    last = await events(run, resource)
    assert why in last[-1].reason
    assert last[-1].kind == "resource.gone"
    assert run.breaches() == []
    assert run.forgotten() == set()
    return [event.kind for event in last]


async def test_a_reset_that_lies_is_found_out_and_the_resource_removed() -> None:
    run = await start(faults=Faults(lie=1.0))
    first, resource = await a_used_one(run)

    await released(run, first)

    kinds = await gone(run, resource, f"is not clean: {first.id}")
    assert kinds[-2:] == ["resource.reset-failed", "resource.gone"]
    assert (await run.fleet.find_claim(first.id)).state is ClaimState.ENDED
    assert run.ready() == 1
    await run.stop()


async def test_a_reset_that_hangs_is_given_up_in_its_time() -> None:
    run = await start(blueprint=reusable(within=10.0))
    first, resource = await a_used_one(run)
    run.host.world.faults = Faults(latency=(100.0, 100.0))

    await released(run, first)
    states: list[str] = []
    for seconds in (9.0, 2.0):
        await run.settle(seconds)
        states.append(str(resource.state))
    assert states == ["resetting", "ending"]
    run.host.world.faults = Faults()
    await run.settle(200.0)

    await gone(run, resource, "the reset took longer than 10s")
    await run.stop()


@pytest.mark.parametrize("in_place", [True, False])
async def test_a_reset_that_fails_ends_in_the_removal_of_the_resource(in_place: bool) -> None:
    run = await start(blueprint=reusable(in_place=in_place))
    first, resource = await a_used_one(run)
    run.host.world.faults = Faults(fail=1.0)

    await released(run, first)
    await run.settle(5.0)
    run.host.world.faults = Faults()

    await gone(run, resource, "the reset failed: the simulated")
    await run.stop()


async def test_a_removal_of_which_the_answer_was_lost_ends_the_resource() -> None:
    """What is not known to be over could take effect on the next claim's part of that name."""
    run = await start(blueprint=reusable(FINISHED))
    first, resource = await a_used_one(run)
    run.host.world.faults = Faults(lose=1.0)

    await released(run, first)
    await run.settle(0.5)
    run.host.world.faults = Faults()

    await gone(run, resource, "was lost")
    await run.stop()


async def test_a_provider_that_asks_for_patience_is_waited_for() -> None:
    run = await start(blueprint=reusable(FINISHED))
    first, resource = await a_used_one(run)
    run.host.world.faults = Faults(throttle=1.0)

    await released(run, first)
    await run.settle(3.0)
    run.host.world.faults = Faults()
    await run.until_ready(1)

    assert resource.uses == 1
    await run.stop()


async def test_a_part_that_is_gone_by_the_end_of_the_reset_is_found_out() -> None:
    run = await start(blueprint=reusable())
    first, resource = await a_used_one(run, soil=False)
    run.host.world.faults = Faults(deaf=1.0)
    run.host.world.vanish(part_id(resource.id, "box"))

    await released(run, first)

    await gone(run, resource, "is not there")
    await run.stop()


async def test_a_resource_serves_no_more_claims_than_it_may() -> None:
    run = await start(blueprint=reusable(max_uses=2))
    first, resource = await a_used_one(run)
    await released(run, first)
    await run.until_ready(1)
    second = await run.claim()
    assert second.resources == [resource.id]

    await released(run, second)

    await gone(run, resource, "it has served 2 of 2 claims")
    await run.until_ready(1)
    await run.stop()


async def test_a_drifted_resource_is_not_reset() -> None:
    run = await start()
    first, resource = await a_used_one(run)
    run.host.world.drift(part_id(resource.id, "box"))
    await run.settle(1.0)

    await released(run, first)

    await gone(run, resource, "it has drifted")
    await run.stop()


async def test_an_outdated_resource_is_not_reset() -> None:
    run = await start()
    first, resource = await a_used_one(run)
    newer = a_box_pool(min=1, max=1, blueprint=reusable(boxes(digest="d2")), rollout=AT_ONCE)
    await run.fleet.apply(a_revision(newer, id="r2"))

    await released(run, first)

    await gone(run, resource, "the blueprint has changed")
    await run.stop()


async def test_a_change_of_the_blueprint_during_the_reset_ends_the_resource() -> None:
    run = await start(faults=Faults(latency=(1.0, 1.0)))
    first, resource = await a_used_one(run)
    await released(run, first)
    assert resource.state is S.RESETTING
    newer = a_box_pool(min=1, max=1, blueprint=reusable(boxes(digest="d2")), rollout=AT_ONCE)

    await run.fleet.apply(a_revision(newer, id="r2"))

    await gone(run, resource, "the blueprint has changed")
    await run.stop()


async def test_the_resource_of_a_pool_that_drains_is_not_reset() -> None:
    run = await start()
    first, resource = await a_used_one(run)
    await run.fleet.apply(a_revision(a_box_pool(name="other"), id="r2"))

    await released(run, first)

    await gone(run, resource, "the pool is no longer declared")
    assert run.fleet.pool("web") is None
    await run.stop()


async def test_a_resource_near_its_greatest_age_is_not_reset() -> None:
    run = await start(lifetime=Lifetime(ttl=500.0, max_age=100.0))
    first, resource = await a_used_one(run)
    await run.settle(95.0)

    await released(run, first)

    await gone(run, resource, "it is near its greatest age")
    await run.stop()


async def test_a_reuse_does_not_make_a_resource_younger() -> None:
    run = await start(lifetime=Lifetime(ttl=500.0, max_age=100.0))
    first, resource = await a_used_one(run)
    await run.settle(50.0)
    await released(run, first)
    await run.until_ready(1)

    await gone(run, resource, "greatest age is near")
    await run.stop()


async def test_a_resource_that_nobody_lacks_is_not_reset() -> None:
    run = await Host().start(a_box_pool(min=1, max=3, blueprint=reusable()))
    first, resource = await a_used_one(run)
    await run.until_ready(1)

    await released(run, first)

    await gone(run, resource, "1 are ready and 1 are wanted")
    await run.stop()


async def test_one_that_waits_gets_the_resource_when_its_reset_is_proved() -> None:
    run = await start(faults=Faults(latency=(0.5, 0.5)))
    first, resource = await a_used_one(run)
    waiting = asyncio.ensure_future(run.claim())
    await run.settle(1.0)

    await released(run, first)
    second = await waiting

    assert second.resources == [resource.id]
    assert run.host.world.things[part_id(resource.id, "box")].soil == set()
    await run.stop()


async def test_one_that_waits_gets_another_when_the_reset_fails() -> None:
    run = await start(faults=Faults(lie=1.0))
    first, resource = await a_used_one(run)
    waiting = asyncio.ensure_future(run.claim())
    await run.settle(1.0)

    await released(run, first)
    second = await waiting

    assert second.resources != [resource.id]
    await run.stop()


async def test_a_change_that_is_told_during_the_reset_is_looked_at_before_the_next_claim() -> None:
    run = await start(faults=Faults(latency=(1.0, 1.0)))
    first, resource = await a_used_one(run)
    await released(run, first)
    run.fleet.health.changed(part_id(resource.id, "box"))
    while resource.state is S.RESETTING:
        await asyncio.sleep(0.05)

    assert not resource.claimable
    await run.until_ready(1)
    assert resource.claimable
    await run.stop()
