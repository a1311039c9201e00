"""Going back, pinning and unpinning: durable, audited, and stronger than what the source says."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from stoker.daemon import steering
from stoker.daemon.steering import DATE_REACHED, Stay
from stoker.pools.requests import Code, Refusal
from stoker.pools.store import KeptRevision
from stoker.pools.switches import Operator, Order
from tests.daemon.following import Scene, files
from tests.daemon.test_holding_revisions import sized
from tests.pools.faults import Ledger
from tests.rig import Host, virtual_throttle

pytestmark = [pytest.mark.looptime]
ADA = Order(Operator(7, "ada"), "it does not start", request_id="req-1")


@pytest.fixture(autouse=True)
def virtual_time() -> Iterator[None]:
    with virtual_throttle():
        yield


async def a_scene() -> tuple[Scene, str, str]:
    """With two revisions, of which the second one serves."""
    scene = Scene(Host())
    await scene.start(files("one"))
    first = scene.serves
    second = await scene.find(files("two"))
    assert second == scene.serves != first
    return scene, first, second


async def test_the_history_tells_the_newest_first_and_gives_the_files() -> None:
    scene, first, second = await a_scene()
    assert [second, first] == [one.id for one in await scene.steering.history()]
    kept = await scene.steering.find(first[:7])
    assert files("one") == kept.files
    with pytest.raises(Refusal) as refused:
        await scene.steering.find("0000000")
    assert Code.NO_SUCH_REVISION is refused.value.code
    await scene.stop()


async def test_a_rollback_serves_the_one_before_and_stays_there_until_it_is_unpinned() -> None:
    scene, first, _second = await a_scene()
    await scene.steering.stay(Stay.ROLL_BACK, "", ADA, accept=False)
    assert first == scene.serves
    third = await scene.find(files("three"))
    pin, seen = scene.state.pin, scene.state.seen
    assert pin is not None
    assert seen is not None
    assert (first, first, third) == (scene.serves, pin.subject, seen.id)
    assert ("ada", "it does not start") == (pin.by.user, pin.reason)
    await scene.steering.unpin(ADA)
    assert (third, None, None) == (scene.serves, scene.state.pin, scene.state.seen)
    kinds = [event.kind for event in await scene.told()]
    assert [
        "config.applied",
        "config.applied",
        "config.rolled-back",
        "config.applied",
        "config.unpinned",
        "config.applied",
    ] == kinds
    back = (await scene.told("config.rolled-back"))[0]
    assert (first, "ada", "req-1") == (back.data["revision"], back.data["user"], back.request)
    await scene.stop()


async def test_a_second_rollback_returns() -> None:
    scene, first, second = await a_scene()
    await scene.steering.stay(Stay.ROLL_BACK, "", ADA, accept=False)
    await scene.steering.stay(Stay.ROLL_BACK, "", ADA, accept=False)
    assert second == scene.serves
    assert scene.state.pin is not None
    assert second == scene.state.pin.subject
    assert 1 == len(scene.run.store.load().switches)
    assert [second, first] == [one.id for one in await scene.steering.history()]
    await scene.stop()


async def test_a_pin_keeps_what_serves_over_restarts() -> None:
    scene, _, second = await a_scene()
    await scene.steering.stay(Stay.PIN, "", ADA, accept=False)
    await scene.find(files("three"))
    assert second == scene.serves
    for _ in range(2):
        scene = await scene.again(files("four"))
        assert second == scene.serves
        assert scene.state.pin is not None
        assert scene.state.seen is not None
    await scene.steering.unpin(ADA)
    assert scene.state.revision is not None
    assert files("four") == scene.state.revision.files
    scene = await scene.again(files("five"))
    assert scene.state.pin is None
    assert files("five") == scene.state.revision.files if scene.state.revision else False
    await scene.stop()


async def test_a_restart_applies_nothing_anew() -> None:
    scene, first, second = await a_scene()
    told = [one.seq for one in await scene.told("config.applied")]
    at = (await scene.steering.history())[0].applied_at
    await asyncio.sleep(500)
    for content in ("two", "broken: ["):
        scene = await scene.again(files("two") if content == "two" else {"all.yaml": content})
        assert (second, at) == (scene.serves, scene.state.applied_at)
        assert told == [one.seq for one in await scene.told("config.applied")]
        assert at == (await scene.steering.history())[0].applied_at
    scene = await scene.again(files("one"))
    assert first == scene.serves
    assert len(told) + 1 == len(await scene.told("config.applied"))
    assert scene.state.applied_at > at + 400
    await scene.stop()


async def test_a_pin_ends_at_its_date_also_after_a_restart() -> None:
    scene, first, _ = await a_scene()
    order = replace(ADA, until=scene.host.clock.now() + 100)
    await scene.steering.stay(Stay.PIN, first, order, accept=False)
    scene = await scene.again(files("three"))
    assert first == scene.serves
    await asyncio.sleep(110)
    assert scene.state.revision is not None
    assert files("three") == scene.state.revision.files
    (event,) = await scene.told("config.unpinned")
    assert (DATE_REACHED, first) == (event.reason, event.data["revision"])
    assert [] == scene.run.store.load().switches
    await scene.stop()


async def test_a_pin_that_is_replaced_does_not_end_at_the_date_of_the_first() -> None:
    scene, first, _ = await a_scene()
    order = replace(ADA, until=scene.host.clock.now() + 100)
    await scene.steering.stay(Stay.PIN, "", order, accept=False)
    await scene.steering.stay(Stay.PIN, first, ADA, accept=False)
    await asyncio.sleep(200)
    assert first == scene.serves
    assert scene.state.pin is not None
    await scene.stop()


async def test_a_pin_sets_aside_what_is_held_and_unpinning_holds_it_again() -> None:
    scene = Scene(Host())
    await scene.start(sized(10))
    serving, wanted = scene.serves, await scene.find(sized(1))
    await scene.steering.stay(Stay.PIN, "", ADA, accept=False)
    assert scene.state.held is None
    assert scene.state.seen is not None
    with pytest.raises(Refusal) as refused:
        await scene.steering.accept(wanted, ADA)
    assert Code.REVISION_NOT_HELD is refused.value.code
    await scene.steering.unpin(ADA)
    assert serving == scene.serves
    assert scene.state.held is not None
    await scene.stop()


async def test_a_rollback_that_destroys_too_much_must_be_accepted() -> None:
    scene = Scene(Host())
    await scene.start(sized(2))
    first, second = scene.serves, await scene.find(sized(10))
    await scene.run.until_ready(10)
    with pytest.raises(Refusal) as refused:
        await scene.steering.stay(Stay.ROLL_BACK, "", ADA, accept=False)
    assert Code.REVISION_HELD is refused.value.code
    assert "8 of the 10" in refused.value.message
    assert (second, None) == (scene.serves, scene.state.pin)
    await scene.steering.stay(Stay.ROLL_BACK, "", ADA, accept=True)
    assert first == scene.serves
    await scene.run.until_ready(2)
    await scene.stop()


async def test_there_is_nothing_before_the_first_one_and_nothing_to_unpin() -> None:
    scene = Scene(Host())
    await scene.start(files("one"))
    with pytest.raises(Refusal) as refused:
        await scene.steering.stay(Stay.ROLL_BACK, "", ADA, accept=False)
    assert Code.NO_SUCH_REVISION is refused.value.code
    await scene.steering.unpin(ADA)
    assert [] == await scene.told("config.unpinned")
    await scene.stop()


async def test_what_this_version_cannot_read_is_not_gone_back_to() -> None:
    scene, _, second = await a_scene()
    transaction = scene.run.store.transaction()
    alien = KeptRevision("alien" * 2, "test", 1.0, {"a.yaml": "kind: Pond"}, "")
    current = await scene.run.store.revision(second, "test")
    assert current is not None
    transaction.put_revision(alien)
    transaction.put_revision(current)
    await scene.run.store.commit(transaction)
    with pytest.raises(Refusal) as refused:
        await scene.steering.stay(Stay.ROLL_BACK, "", ADA, accept=True)
    assert Code.REVISION_UNUSABLE is refused.value.code
    assert "no kind 'Pond'" in refused.value.message
    assert second == scene.serves
    await scene.stop()


async def test_what_the_ledger_does_not_take_is_not_true() -> None:
    scene, first, second = await a_scene()
    ledger = Ledger(scene.run)
    for how, which in ((Stay.ROLL_BACK, first), (Stay.PIN, "")):
        ledger.down = True
        with pytest.raises(Refusal) as refused:
            await scene.steering.stay(how, which, ADA, accept=True)
        assert Code.LEDGER_UNAVAILABLE is refused.value.code
        assert (second, None) == (scene.serves, scene.state.pin)
        ledger.down = False
        await asyncio.sleep(1)
    await scene.steering.stay(Stay.PIN, "", ADA, accept=False)
    ledger.down = True
    with pytest.raises(Refusal):
        await scene.steering.unpin(ADA)
    assert scene.state.pin is not None
    ledger.down = False
    await scene.stop()


async def test_an_operator_is_told_when_another_revision_waits_for_the_ledger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(steering, "BUSY_AFTER", 2.0)
    scene, _, _ = await a_scene()
    ledger = Ledger(scene.run)
    ledger.down = True
    third = await scene.find(files("three"))
    with pytest.raises(Refusal) as refused:
        await scene.steering.stay(Stay.PIN, "", ADA, accept=False)
    assert Code.LEDGER_UNAVAILABLE is refused.value.code
    ledger.down = False
    await asyncio.sleep(5)
    assert third == scene.serves
    assert 1 == sum(one.data["revision"] == third for one in await scene.told("config.applied"))
    await scene.stop()


async def test_a_pin_that_nobody_can_lift_now_is_lifted_later() -> None:
    scene, first, _ = await a_scene()
    order = replace(ADA, until=scene.host.clock.now() + 10)
    await scene.steering.stay(Stay.PIN, first, order, accept=False)
    ledger = Ledger(scene.run)
    ledger.down = True
    await asyncio.sleep(30)
    assert first == scene.serves
    ledger.down = False
    await asyncio.sleep(30)
    assert scene.state.pin is None
    assert first != scene.serves
    await scene.stop()
