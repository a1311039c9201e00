"""In a freeze nothing takes the place of the revision that serves, and afterwards the newest one does."""

from collections.abc import Iterator

import pytest

from stoker.daemon.steering import Stay
from stoker.pools.requests import Refusal
from stoker.pools.switches import HostAction, Operator, Order
from tests.daemon.following import Scene, files
from tests.rig import Host, Run, virtual_throttle

pytestmark = [pytest.mark.looptime]


@pytest.fixture(autouse=True)
def virtual_time() -> Iterator[None]:
    with virtual_throttle():
        yield


FROZEN = Order(Operator(1000, "ada"), "an incident")


def waits(scene: Scene) -> bool:
    return scene.state.waiting is not None or scene.state.waiting_since is not None


async def freeze(scene: Scene, action: HostAction = HostAction.FREEZE) -> None:
    await scene.run.fleet.operate_host(action, FROZEN)


async def test_in_a_freeze_a_new_configuration_waits_and_the_newest_is_applied_after_it() -> None:
    scene = Scene(Host())
    await scene.start(files("old"))
    await freeze(scene)
    serving = scene.state.revision
    for label in ("new", "newer"):
        scene.hold(files(label))
        await scene.run.settle(5)
        waiting = scene.state.waiting
        assert waiting is not None
        assert waiting.files == files(label)
        assert scene.state.revision is serving

    await freeze(scene, HostAction.THAW)
    await scene.run.settle(5)
    assert scene.state.waiting is None
    assert scene.state.revision is waiting
    events = await scene.run.store.events(after=0, limit=99, kind="config.")
    told = [(event.kind, event.data["revision"]) for event in events]
    assert [kind for kind, _ in told] == [
        "config.applied",
        "config.held",
        "config.held",
        "config.applied",
    ]
    assert told[-1][1] == told[-2][1]
    await scene.stop()


async def test_what_waits_in_a_freeze_waits_no_more_once_a_revision_is_pinned() -> None:
    scene = Scene(Host())
    await scene.start(files("old"))
    old = scene.serves
    await freeze(scene)
    scene.hold(files("new"))
    await scene.run.settle(5)
    found = scene.state.waiting
    assert found is not None
    with pytest.raises(Refusal, match="needs no acceptance: it is applied when the host is thawed"):
        await scene.steering.accept(found.id, FROZEN)
    await scene.steering.stay(Stay.PIN, "", FROZEN, accept=False)
    assert not waits(scene)
    assert scene.state.seen is not None
    with pytest.raises(Refusal, match=f"while revision {old} is pinned"):
        await scene.steering.accept(scene.state.seen.id, FROZEN)
    await freeze(scene, HostAction.THAW)
    await scene.run.settle(5)
    assert old == scene.serves

    await freeze(scene)
    await scene.steering.unpin(FROZEN)
    assert waits(scene)
    await freeze(scene, HostAction.THAW)
    await scene.run.settle(5)
    assert old != scene.serves
    await scene.stop()


async def test_what_came_in_a_freeze_and_was_taken_back_is_not_applied() -> None:
    scene = Scene(Host())
    await scene.start(files("old"))
    await freeze(scene)
    scene.hold(files("new"))
    await scene.run.settle(5)
    scene.hold(files("old"))
    await scene.run.settle(5)
    assert scene.state.waiting is None
    await freeze(scene, HostAction.THAW)
    await scene.run.settle(5)

    assert scene.state.revision is not None
    assert scene.state.revision.files == files("old")
    await scene.stop()


async def test_a_broken_configuration_is_reported_in_a_freeze_too() -> None:
    scene = Scene(Host())
    await scene.start(files("old"))
    await freeze(scene)
    scene.hold(files("new"))
    scene.hold({"all.yaml": "kind: Nothing"})
    await scene.run.settle(5)
    assert scene.state.problems
    assert scene.state.waiting is None
    scene.hold(files("new"))
    await scene.run.settle(5)

    assert not scene.state.problems
    assert scene.state.waiting is not None
    await scene.stop()


async def test_a_daemon_that_starts_in_a_freeze_serves_what_served_last() -> None:
    scene = Scene(Host())
    await scene.start(files("old"))
    await scene.run.settle(5)
    await freeze(scene)
    kept = await scene.stop()
    again = Scene(scene.host)
    await again.start(files("new"), kept)
    await again.run.settle(5)
    assert again.state.revision is not None
    assert again.state.revision.files == files("old")
    await freeze(again, HostAction.THAW)
    await again.run.settle(5)

    assert again.state.revision.files == files("new")
    await again.stop()


async def test_the_very_first_revision_is_applied_in_a_freeze() -> None:
    host = Host()
    run = Run(host)
    await run.open()
    await run.fleet.operate_host(HostAction.FREEZE, FROZEN)
    await run.stop()
    scene = Scene(host)
    await scene.start(files("first"))
    await scene.run.settle(30)

    assert scene.state.revision is not None
    assert list(scene.run.fleet.resources()) == []
    await scene.stop()


async def test_an_operator_goes_back_to_an_earlier_revision_in_a_freeze() -> None:
    scene = Scene(Host())
    await scene.start(files("old"))
    first = scene.serves
    await scene.find(files("new"))
    await freeze(scene)
    await scene.steering.stay(Stay.ROLL_BACK, first, FROZEN, accept=False)

    assert first == scene.serves
    await freeze(scene, HostAction.THAW)
    await scene.run.settle(5)
    assert first == scene.serves
    await scene.stop()
