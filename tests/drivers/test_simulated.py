"""The simulated driver: the contract while the world is kind, and its misfortunes when it is not."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from random import Random

import looptime
import pytest

from stoker.config.json_types import JsonObject
from stoker.pools.driver import (
    Driver,
    DriverError,
    Exhausted,
    NotFound,
    PartRef,
    PartRequest,
    Presence,
    ProviderRef,
    Rejected,
    Throttled,
    Unavailable,
)  # fmt: skip
from stoker.pools.ids import PartId
from tests.drivers.contract import ONE, OTHER, DriverContract, Harness
from tests.fakes.world import Effect, Faults, SimulatedDriver, SimulatedWorld

PROVIDER = ProviderRef("simulated")


class SimulatedHarness(Harness):
    resets = True

    def __init__(self) -> None:
        super().__init__()
        self.world = SimulatedWorld(Random(1))

    def build(self) -> Driver:
        return self.world.connect()

    def settings(self, part: PartId, allotted: JsonObject) -> JsonObject:
        return {"label": "a label"}

    def bad_settings(self, part: PartId) -> JsonObject:
        return {"reject": True}

    async def exists(self, part: PartId) -> bool:
        return part in self.world.exists()

    async def spoil(self, part: PartId) -> None:
        self.world.drift(part)

    async def remove(self, part: PartId) -> None:
        self.world.vanish(part)

    async def soil(self, part: PartId) -> None:
        self.world.use(part, "a claim")

    async def soiled(self, part: PartId) -> bool:
        thing = self.world.things.get(part)
        return thing is not None and bool(thing.soil)

    async def plant_strangers(self, near: PartId) -> Callable[[], bool]:
        return lambda: True  # nothing else lives in this world


class TestContract(DriverContract):
    @pytest.fixture
    async def harness(self) -> AsyncIterator[Harness]:
        async with SimulatedHarness().opened() as harness:
            yield harness


def a_request(part: PartId = ONE) -> PartRequest:
    return PartRequest(part, "web", {}, {}, PROVIDER)


def a_part(part: PartId = ONE) -> PartRef:
    return PartRef(part, PROVIDER, {})


def a_world(faults: Faults, seed: int = 1) -> tuple[SimulatedWorld, SimulatedDriver]:
    world = SimulatedWorld(Random(seed), faults)
    return world, world.connect()


@pytest.mark.parametrize(
    ("faults", "kind"),
    [
        (Faults(fail=1.0), Unavailable),
        (Faults(throttle=1.0), Throttled),
        (Faults(exhaust=1.0), Exhausted),
        (Faults(capacity=0), Exhausted),
    ],
)
async def test_a_refused_creation_makes_nothing(faults: Faults, kind: type[DriverError]) -> None:
    world, driver = a_world(faults)
    with pytest.raises(kind):
        await driver.create(a_request())
    assert frozenset() == world.exists()


async def test_a_lost_answer_leaves_the_effect() -> None:
    world, driver = a_world(Faults(lose=1.0))
    with pytest.raises(Unavailable, match="lost"):
        await driver.create(a_request())
    assert {ONE} == world.exists()
    with pytest.raises(Unavailable, match="lost"):
        await driver.destroy(a_part())
    assert ["created", "destroyed"] == [effect.kind for effect in world.log]


@pytest.mark.looptime
async def test_a_stale_world_hides_what_is_new_and_shows_what_is_gone() -> None:
    world, driver = a_world(Faults(stale=10.0))
    await driver.create(a_request())
    assert Presence.ABSENT == (await driver.observe(a_part())).presence
    assert frozenset() == await driver.list_owned()
    await asyncio.sleep(10)
    assert Presence.PRESENT == (await driver.observe(a_part())).presence
    assert {ONE} == await driver.list_owned()
    await driver.destroy(a_part())
    assert frozenset() == world.exists()
    await driver.destroy(a_part())  # no proof while it is still shown
    assert Presence.PRESENT == (await driver.observe(a_part())).presence
    assert {ONE} == await driver.list_owned()
    await asyncio.sleep(10)
    with pytest.raises(NotFound):
        await driver.destroy(a_part())
    assert frozenset() == await driver.list_owned()


@pytest.mark.looptime
async def test_even_a_stale_world_proves_no_absence_of_what_exists() -> None:
    world, driver = a_world(Faults(stale=10.0))
    await driver.create(a_request())
    await driver.destroy(a_part())
    assert frozenset() == world.exists()


@pytest.mark.looptime
async def test_calls_under_way_are_cut_with_and_without_effect_by_a_crash() -> None:
    outcomes: set[bool] = set()
    for seed in range(20):
        world, driver = a_world(Faults(latency=(5.0, 5.0)), seed)
        call = asyncio.create_task(driver.create(a_request()), name="create")
        await asyncio.sleep(0.1)
        driver.disconnect()
        happened = bool(world.exists())
        outcomes.add(happened)
        with pytest.raises(Unavailable):
            await call
        assert happened == bool(world.exists()), "nothing follows a crash"
    assert {True, False} == outcomes


async def test_a_dead_run_of_the_daemon_has_no_effect_and_is_told_nothing() -> None:
    world, driver = a_world(Faults())
    told: list[PartId] = []
    await driver.open(told.append)
    await driver.create(a_request())
    driver.watch(a_part())
    driver.disconnect()
    with pytest.raises(Unavailable):
        await driver.create(a_request(OTHER))
    with pytest.raises(Unavailable):
        await driver.destroy(a_part())
    world.drift(ONE)
    await asyncio.sleep(0)
    assert {ONE} == world.exists()
    assert [] == told


@pytest.mark.looptime
async def test_a_cancelled_call_has_its_effect_at_once_or_never() -> None:
    outcomes: set[bool] = set()
    for seed in range(20):
        world, driver = a_world(Faults(latency=(5.0, 5.0)), seed)
        call = asyncio.create_task(driver.create(a_request()), name="create")
        await asyncio.sleep(0.1)
        call.cancel()
        await asyncio.wait({call})
        happened = bool(world.exists())
        outcomes.add(happened)
        await asyncio.sleep(60)
        assert happened == bool(world.exists())
    assert {True, False} == outcomes


async def test_meddling_is_told_unless_the_world_is_deaf() -> None:
    for deaf, expected in ((0.0, [ONE]), (1.0, [])):
        world, driver = a_world(Faults(deaf=deaf))
        told: list[PartId] = []
        await driver.open(told.append)
        await driver.create(a_request())
        driver.watch(a_part())
        assert ONE == world.meddle()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert expected == told


async def misfortunes(seed: int) -> list[Effect]:
    faults = Faults(
        latency=(0.1, 3.0), slow=0.02, slow_latency=90.0, fail=0.1, lose=0.1, throttle=0.05,
        exhaust=0.05, capacity=15, stale=5.0, deaf=0.2,
    )  # fmt: skip
    world, driver = a_world(faults, seed)

    async def live(part: PartId) -> None:
        for _ in range(40):
            for call in (driver.create(a_request(part)), driver.destroy(a_part(part))):
                try:
                    await call
                except (DriverError, Rejected):
                    await asyncio.sleep(1)
            world.meddle()

    async with asyncio.TaskGroup() as lives:
        for number in range(20):
            lives.create_task(live(PartId(f"web-{number}.a")), name=f"life {number}")
    return world.log


def test_equal_seeds_give_equal_histories_and_an_hour_takes_a_moment() -> None:
    def history(seed: int) -> list[Effect]:
        loop = looptime.new_event_loop(start=0)
        try:
            log = loop.run_until_complete(misfortunes(seed))
            assert loop.time() > 300
            return log
        finally:
            loop.close()

    began = time.monotonic()
    first = history(7)
    assert first == history(7)
    assert first != history(8)
    assert len(first) > 500
    assert time.monotonic() - began < 10
