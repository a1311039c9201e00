"""A revision that would destroy too much waits until somebody accepts it, and a restart changes nothing about that."""

import asyncio
from collections.abc import Iterator

import pytest

from stoker.config.checking import ACCEPT
from stoker.pools.requests import Code, Refusal
from stoker.pools.store import KeptRevision
from stoker.pools.switches import Operator, Order
from tests.daemon.following import Scene, files
from tests.pools.faults import Ledger
from tests.rig import Host, virtual_throttle

pytestmark = [pytest.mark.looptime]
ADA = Order(Operator(7, "ada"), "they are not needed", request_id="req-1")
BLUEPRINT_ONLY = {"all.yaml": files("one")["all.yaml"].partition("---")[0]}


@pytest.fixture(autouse=True)
def virtual_time() -> Iterator[None]:
    with virtual_throttle():
        yield


def sized(count: int, *, accept: str = "", pool: str = "web") -> dict[str, str]:
    text = files("one")["all.yaml"].replace("min: 2, max: 6", f"min: {count}, max: 20")
    text = text.replace("name: web", f"name: {pool}")
    if accept:
        text = text.replace("{name: box}", f'{{name: box, annotations: {{{ACCEPT}: "{accept}"}}}}')
    return {"all.yaml": text}


async def a_scene(count: int = 10) -> Scene:
    scene = Scene(Host())
    await scene.start(sized(count))
    await scene.run.until_ready(count)
    return scene


async def test_it_is_held_and_told_and_the_one_before_serves_on() -> None:
    scene = await a_scene()
    serving = scene.serves
    wanted = await scene.find(sized(4))

    held = scene.state.held
    assert held is not None
    assert (wanted, serving) == (held.revision.id, scene.serves)
    assert "6 of the 10 resources of the pool web" in held.because[0]
    assert ((), None) == (scene.state.problems, scene.state.broken_since)
    (event,) = await scene.told("config.held")
    assert (held.because[0], wanted) == (event.reason, event.data["revision"])
    assert 10 == len(list(scene.run.fleet.resources()))
    await scene.stop()


async def test_it_is_applied_when_it_is_accepted_by_its_name() -> None:
    scene = await a_scene()
    wanted = await scene.find(sized(4))
    await scene.steering.accept(wanted[:8], ADA)

    assert (wanted, None) == (scene.serves, scene.state.held)
    await scene.run.until_ready(4)
    accepted, applied = (await scene.told())[-2:]
    assert ("config.accepted", "config.applied") == (accepted.kind, applied.kind)
    assert ("they are not needed", "req-1", "ada") == (
        accepted.reason,
        accepted.request,
        accepted.data["user"],
    )
    await scene.steering.accept(wanted, ADA)  # the answer was lost
    assert 1 == len(await scene.told("config.accepted"))
    await scene.stop()


async def test_no_other_one_is_accepted_by_mistake() -> None:
    scene = await a_scene()
    first = await scene.find(sized(4))
    second = await scene.find(sized(3))
    with pytest.raises(Refusal) as refused:
        await scene.steering.accept(first, ADA)
    assert Code.REVISION_NOT_HELD is refused.value.code
    assert second in refused.value.message
    assert scene.state.held is not None
    assert second == scene.state.held.revision.id
    await scene.find(sized(11))
    assert scene.state.held is None
    with pytest.raises(Refusal):
        await scene.steering.accept(second, ADA)
    await scene.stop()


async def test_a_broken_one_after_it_takes_its_place() -> None:
    scene = await a_scene()
    wanted = await scene.find(sized(4))
    await scene.find({"all.yaml": "kind: Pond"})
    assert scene.state.held is None
    assert scene.state.problems
    assert wanted == await scene.find(sized(4))
    assert scene.state.held is not None
    assert not scene.state.problems
    await scene.stop()


@pytest.mark.parametrize("fill", [True, False])
async def test_a_restart_does_not_let_it_slip_through(fill: bool) -> None:
    scene = Scene(Host())
    if not fill:
        scene.host.world.faults.latency = (1000.0, 1000.0)
    await scene.start(sized(10))
    if fill:
        await scene.run.until_ready(10)
    serving, wanted = scene.serves, await scene.find(sized(1))
    for _ in range(2):
        scene = await scene.again(sized(1))
        assert serving == scene.serves
        assert scene.state.held is not None
        assert wanted == scene.state.held.revision.id
        assert (10 if fill else 0) == scene.run.fleet.pools()[0].ready
    await scene.steering.accept(wanted, ADA)
    scene = await scene.again(sized(1))
    assert wanted == scene.serves
    assert scene.state.held is None
    await scene.stop()


async def test_what_was_changed_while_the_daemon_was_down_is_held_too() -> None:
    scene = await a_scene()
    serving = scene.serves
    scene = await scene.again(sized(1, pool="other"))
    assert serving == scene.serves
    assert scene.state.held is not None
    assert 10 == len(list(scene.run.fleet.resources()))
    await scene.stop()


@pytest.mark.parametrize("ready", [0, 3])
async def test_a_directory_without_any_pool_never_means_that_all_goes(ready: int) -> None:
    scene = await a_scene(ready)
    serving, wanted = scene.serves, await scene.find(BLUEPRINT_ONLY)
    assert serving == scene.serves
    assert scene.state.held is not None
    assert "no pool is declared any more" in scene.state.held.because[0]
    await scene.steering.accept(wanted, ADA)
    assert wanted == scene.serves
    await scene.stop()


async def test_a_removed_pool_with_claims_is_held_and_lets_them_live_once_accepted() -> None:
    scene = Scene(Host())
    both = {**sized(3), "more.yaml": sized(0, pool="idle")["all.yaml"].partition("---")[2]}
    await scene.start(both)
    await scene.run.until_ready(3)
    claim = await scene.run.claim("idle", wait=30.0)
    assert claim.bound_at is not None
    wanted = await scene.find(sized(3))
    assert scene.state.held is not None
    assert "1 with a claim" in scene.state.held.because[0]
    await scene.steering.accept(wanted, ADA)
    (resource,) = claim.resources
    await asyncio.sleep(5)
    assert scene.run.fleet.resource(resource) is not None
    with pytest.raises(Refusal):
        await scene.run.claim("idle")
    await scene.stop()


async def test_the_files_can_accept_by_an_annotation_that_does_so_once() -> None:
    scene = await a_scene()
    assert await scene.find(sized(4, accept="web")) == scene.serves
    accepted = (await scene.told("config.applied"))[-1].data["accepted"]
    assert "6 of the 10 resources of the pool web" in str(accepted)
    await scene.run.until_ready(4)
    grown = await scene.find(sized(10, accept="web"))
    await scene.run.until_ready(10)
    await scene.find(sized(5, accept="web"))
    assert grown == scene.serves, "the annotation has done its work"
    assert scene.state.held is not None
    assert await scene.find(sized(5, accept="web, on monday")) == scene.serves
    await scene.stop()


async def test_an_annotation_accepts_no_other_pool() -> None:
    scene = await a_scene()
    serving = scene.serves
    await scene.find(sized(4, accept="database"))
    assert serving == scene.serves
    await scene.stop()


async def test_an_acceptance_that_the_ledger_does_not_take_is_refused_and_changes_nothing() -> None:
    scene = await a_scene()
    serving, wanted = scene.serves, await scene.find(sized(4))
    ledger = Ledger(scene.run)
    ledger.down = True
    with pytest.raises(Refusal) as refused:
        await scene.steering.accept(wanted, ADA)
    assert Code.LEDGER_UNAVAILABLE is refused.value.code
    assert serving == scene.serves
    assert scene.state.held is not None
    ledger.down = False
    await scene.steering.accept(wanted, ADA)
    assert wanted == scene.serves
    assert 1 == len(await scene.told("config.accepted"))
    await scene.stop()


async def test_a_hold_that_the_ledger_cannot_write_down_holds_all_the_same() -> None:
    scene = await a_scene()
    serving = scene.serves
    ledger = Ledger(scene.run)
    ledger.down = True
    await scene.find(sized(4))
    assert serving == scene.serves
    assert scene.state.held is not None
    ledger.down = False
    await scene.stop()


async def test_without_a_last_good_one_that_can_be_read_what_stands_is_protected_too() -> None:
    scene = await a_scene()
    standing = {one.id for one in scene.run.fleet.resources()}
    await scene.stop()
    scene = Scene(scene.host)
    await scene.run.open()
    alien = KeptRevision("alien", "test", 1.0, {"a.yaml": "kind: Pond"})
    task = asyncio.create_task(scene.synchroniser.follow(alien))
    wanted = await scene.find(sized(10, pool="other"))

    assert ("", False) == (scene.serves, scene.synchroniser.applied.is_set())
    assert scene.state.held is not None
    assert "the pool web would be removed" in scene.state.held.because[0]
    assert standing == {one.id for one in scene.run.fleet.resources()}
    await scene.steering.accept(wanted, ADA)
    assert (wanted, True) == (scene.serves, scene.synchroniser.applied.is_set())
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await scene.run.crash()


async def test_without_a_last_good_one_that_can_be_read_what_destroys_nothing_is_applied() -> None:
    scene = await a_scene()
    await scene.stop()
    scene = Scene(scene.host)
    alien = KeptRevision("alien", "test", 1.0, {"a.yaml": "kind: Pond"})
    await scene.start(sized(10), alien)
    await scene.run.until_ready(10)
    await scene.stop()
