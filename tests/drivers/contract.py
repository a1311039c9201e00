"""What every driver keeps, run over each real one and over the fake, so that the fake cannot lie.

For a driver, write a `Harness` (its settings, and how to look at and meddle with the outside
without it), and a class `TestX(DriverContract)` with a fixture `harness` that yields an open one:

    class TestDirectory(DriverContract):
        @pytest.fixture
        async def harness(self, tmp_path: Path) -> AsyncIterator[Harness]:
            async with DirectoryHarness(tmp_path).opened() as harness:
                yield harness
"""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Self

import pytest

from stoker.config.json_types import JsonObject
from stoker.pools.driver import (
    Driver,
    DriverError,
    Made,
    NotFound,
    PartRef,
    PartRequest,
    Presence,
    ProviderRef,
    Rejected,
    ResettingDriver,
)  # fmt: skip
from stoker.pools.ids import PartId

ONE, OTHER = PartId("web-k3v9q2xa.thing"), PartId("web-77mzp4qd.thing")
WITHIN = 10.0
"""Seconds of patience with the outside."""


class Harness(ABC):
    """One driver and its outside."""

    watches = True
    """Whether the driver tells by itself when a watched part is removed."""
    resets = False
    """Whether the driver can reset such a part in place."""
    cuts: tuple[float, ...] = (0.0, 0.0005, 0.002, 0.01)
    """Seconds after the beginning of a call at which it is cancelled."""
    driver: Driver

    def __init__(self) -> None:
        self.changes: list[PartId] = []
        """What the driver reported as changed."""

    @abstractmethod
    def build(self) -> Driver:
        """A new driver, not open yet, over the same outside: a run of the daemon."""

    @abstractmethod
    def settings(self, part: PartId, allotted: JsonObject) -> JsonObject:
        """The rendered `with` of the part. With nothing allotted: what renders without `self`."""

    @abstractmethod
    def bad_settings(self, part: PartId) -> JsonObject:
        """Settings that pass no check of the driver."""

    @abstractmethod
    async def exists(self, part: PartId) -> bool:
        """Looks at the outside, without the driver."""

    @abstractmethod
    async def spoil(self, part: PartId) -> None:
        """Changes what was made, without the driver, so that it is still there."""

    @abstractmethod
    async def remove(self, part: PartId) -> None:
        """Removes what was made, without the driver."""

    @abstractmethod
    async def soil(self, part: PartId) -> None:
        """Leaves behind what a user of the part may leave, without the driver."""

    @abstractmethod
    async def soiled(self, part: PartId) -> bool:
        """Whether anything of that is left."""

    @abstractmethod
    async def plant_strangers(self, near: PartId) -> Callable[[], bool]:
        """Makes things that look like the part and are not; returns "they are all unharmed"."""

    def resetting(self) -> ResettingDriver:
        assert isinstance(self.driver, ResettingDriver)
        return self.driver

    def provider(self) -> ProviderRef:
        return ProviderRef("default")

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[Self]:
        self.driver = self.build()
        await self.driver.open(self.changes.append)
        try:
            yield self
        finally:
            await self.driver.close()

    async def restart(self) -> None:
        """The daemon ends and starts again; what was made stays."""
        await self.driver.close()
        self.driver = self.build()
        await self.driver.open(self.changes.append)

    async def request(self, part: PartId = ONE) -> PartRequest:
        """A request with what the driver allotted for it."""
        first = self._request(part, self.settings(part, {}), {})
        allotted = await self.driver.allot(first)
        return self._request(part, self.settings(part, allotted), allotted)

    def bad_request(self, part: PartId = ONE) -> PartRequest:
        return self._request(part, self.bad_settings(part), {})

    def intended(self, request: PartRequest) -> PartRef:
        return PartRef(request.id, request.provider, self.driver.intend(request))

    def made(self, request: PartRequest, made: Made) -> PartRef:
        return PartRef(request.id, request.provider, made.handle)

    async def created(self, part: PartId = ONE) -> PartRef:
        request = await self.request(part)
        return self.made(request, await self.driver.create(request))

    async def destroyed(self, part: PartRef) -> int:
        """Destroys until absence is proved; returns after how many calls."""
        async with asyncio.timeout(WITHIN):
            for count in range(1, 1000):
                try:
                    await self.driver.destroy(part)
                except NotFound:
                    return count
                await asyncio.sleep(0.01)
        raise AssertionError("destroy never proves absence")

    async def told(self, part: PartId) -> None:
        """Waits until the driver reports a change of the part."""
        async with asyncio.timeout(WITHIN):
            while part not in self.changes:
                await asyncio.sleep(0.005)

    def _request(self, part: PartId, settings: JsonObject, allotted: JsonObject) -> PartRequest:
        return PartRequest(part, "web", settings, allotted, self.provider())


class DriverContract:
    """The suite. A subclass has the fixture `harness`."""

    async def test_what_is_created_is_there_and_observed_and_listed(self, harness: Harness) -> None:
        part = await harness.created()
        assert await harness.exists(ONE)
        observation = await harness.driver.observe(part)
        assert Presence.PRESENT == observation.presence, observation.detail
        assert ONE in await harness.driver.list_owned()

    async def test_a_repeated_create_returns_the_same_thing(self, harness: Harness) -> None:
        request = await harness.request()
        first = await harness.driver.create(request)
        assert first == await harness.driver.create(request)

    async def test_a_create_repeated_after_a_restart_returns_the_same_thing(
        self, harness: Harness
    ) -> None:
        request = await harness.request()
        first = await harness.driver.create(request)
        await harness.restart()
        harness.driver.watch(harness.intended(request))
        assert first == await harness.driver.create(request)

    async def test_what_is_kept_is_json_and_the_handle_tells_no_secret(
        self, harness: Harness
    ) -> None:
        made = await harness.driver.create(await harness.request())
        kept = [dict(made.handle), dict(made.outputs), dict(made.secrets)]
        assert kept == json.loads(json.dumps(kept))
        for secret in made.secrets.values():
            assert json.dumps(secret) not in json.dumps(dict(made.handle))

    async def test_destroy_is_repeated_until_absence_is_proved(self, harness: Harness) -> None:
        part = await harness.created()
        await harness.destroyed(part)
        assert not await harness.exists(ONE)
        assert ONE not in await harness.driver.list_owned()
        assert Presence.ABSENT == (await harness.driver.observe(part)).presence
        with pytest.raises(NotFound):
            await harness.driver.destroy(part)

    async def test_what_was_never_made_is_not_found(self, harness: Harness) -> None:
        never = harness.intended(await harness.request())
        with pytest.raises(NotFound):
            await harness.driver.destroy(never)
        assert Presence.ABSENT == (await harness.driver.observe(never)).presence
        assert ONE not in await harness.driver.list_owned()

    async def test_the_intended_handle_is_enough_to_destroy(self, harness: Harness) -> None:
        request = await harness.request()
        intended = harness.intended(request)
        await harness.driver.create(request)
        assert Presence.ABSENT != (await harness.driver.observe(intended)).presence
        await harness.destroyed(intended)
        assert not await harness.exists(ONE)

    async def test_a_later_run_finds_and_destroys_what_an_earlier_one_made(
        self, harness: Harness
    ) -> None:
        part = await harness.created()
        await harness.restart()
        assert await harness.exists(ONE)
        harness.driver.watch(part)
        assert Presence.PRESENT == (await harness.driver.observe(part)).presence
        assert ONE in await harness.driver.list_owned()
        await harness.destroyed(part)
        assert not await harness.exists(ONE)

    async def test_one_part_ends_without_the_other(self, harness: Harness) -> None:
        one, other = await harness.created(ONE), await harness.created(OTHER)
        await harness.destroyed(one)
        assert await harness.exists(OTHER)
        assert Presence.PRESENT == (await harness.driver.observe(other)).presence
        assert frozenset({OTHER}) == await harness.driver.list_owned()

    async def test_a_change_is_observed_as_drift(self, harness: Harness) -> None:
        part = await harness.created()
        await harness.spoil(ONE)
        observation = await harness.driver.observe(part)
        assert Presence.DRIFTED == observation.presence
        assert observation.detail
        await harness.destroyed(part)
        assert not await harness.exists(ONE)

    async def test_a_removal_behind_the_back_is_observed_as_absence(self, harness: Harness) -> None:
        part = await harness.created()
        await harness.remove(ONE)
        observation = await harness.driver.observe(part)
        assert Presence.ABSENT == observation.presence
        assert observation.detail
        await harness.destroyed(part)

    async def test_a_watch_tells_of_a_removal(self, harness: Harness) -> None:
        part = await harness.created()
        harness.driver.watch(part)
        harness.driver.watch(part)
        await harness.remove(ONE)
        if harness.watches:
            await harness.told(ONE)
        assert Presence.ABSENT == (await harness.driver.observe(part)).presence

    async def test_a_forgotten_part_is_told_of_no_more(self, harness: Harness) -> None:
        one, other = await harness.created(ONE), await harness.created(OTHER)
        harness.driver.watch(one)
        harness.driver.watch(other)
        harness.driver.forget(ONE)
        harness.driver.forget(ONE)
        harness.changes.clear()
        await harness.remove(ONE)
        await harness.remove(OTHER)
        if harness.watches:
            await harness.told(OTHER)
        assert ONE not in harness.changes

    async def test_what_is_made_anew_holds_nothing_of_its_earlier_user(
        self, harness: Harness
    ) -> None:
        part = await harness.created()
        await harness.soil(ONE)
        assert await harness.soiled(ONE)
        await harness.destroyed(part)
        harness.driver.forget(ONE)
        assert not await harness.soiled(ONE)
        again = await harness.created()
        assert not await harness.soiled(ONE)
        assert Presence.PRESENT == (await harness.driver.observe(again)).presence

    async def test_a_reset_leaves_nothing_of_the_user_and_the_part_as_it_was_made(
        self, harness: Harness
    ) -> None:
        assert harness.resets == isinstance(harness.driver, ResettingDriver)
        if not harness.resets:
            return  # its parts are made anew, see above
        request = await harness.request()
        made = await harness.driver.create(request)
        other = await harness.created(OTHER)
        part = harness.made(request, made)
        for _ in range(2):
            await harness.soil(ONE)
            await harness.soil(OTHER)
            assert made == await harness.resetting().reset(request, part)
            assert not await harness.soiled(ONE)
            assert await harness.soiled(OTHER)
            assert Presence.PRESENT == (await harness.driver.observe(part)).presence
        await harness.destroyed(part)
        assert not await harness.exists(ONE)
        assert Presence.ABSENT != (await harness.driver.observe(other)).presence

    async def test_what_is_gone_cannot_be_reset(self, harness: Harness) -> None:
        if not harness.resets:
            return
        request = await harness.request()
        part = harness.made(request, await harness.driver.create(request))
        await harness.remove(ONE)
        with pytest.raises(DriverError):
            await harness.resetting().reset(request, part)
        assert not await harness.exists(ONE)

    async def test_after_a_cancelled_reset_the_part_can_be_destroyed(
        self, harness: Harness
    ) -> None:
        for delay in harness.cuts if harness.resets else ():
            request = await harness.request()
            part = harness.made(request, await harness.driver.create(request))
            await harness.soil(ONE)
            await cut(harness.resetting().reset(request, part), delay)
            await harness.destroyed(part)
            assert not await harness.exists(ONE), f"cut after {delay} s"
            harness.driver.forget(ONE)

    async def test_strangers_that_look_alike_are_neither_listed_nor_harmed(
        self, harness: Harness
    ) -> None:
        unharmed = await harness.plant_strangers(ONE)
        part = await harness.created()
        assert frozenset({ONE}) == await harness.driver.list_owned()
        await harness.destroyed(part)
        assert frozenset() == await harness.driver.list_owned()
        assert unharmed()

    async def test_bad_settings_are_rejected_and_leave_nothing(self, harness: Harness) -> None:
        request = harness.bad_request()
        with pytest.raises(Rejected) as refusal:
            await harness.driver.create(request)
        assert len(str(refusal.value).split()) >= 5, "an error is a sentence"
        assert not await harness.exists(ONE)

    async def test_a_cancelled_create_leaves_what_is_listed_or_nothing(
        self, harness: Harness
    ) -> None:
        for delay in harness.cuts:
            request = await harness.request()
            await cut(harness.driver.create(request), delay)
            listed = await harness.driver.list_owned()
            assert ONE in listed or not await harness.exists(ONE), f"cut after {delay} s"
            await harness.destroyed(harness.intended(request))
            assert not await harness.exists(ONE), f"cut after {delay} s"
            harness.driver.forget(ONE)

    async def test_a_create_after_a_cancelled_one_succeeds(self, harness: Harness) -> None:
        for delay in harness.cuts:
            request = await harness.request()
            await cut(harness.driver.create(request), delay)
            made = harness.made(request, await harness.driver.create(request))
            observation = await harness.driver.observe(made)
            assert Presence.PRESENT == observation.presence, f"cut after {delay} s"
            await harness.destroyed(made)
            assert not await harness.exists(ONE), f"cut after {delay} s"
            harness.driver.forget(ONE)

    async def test_a_cancelled_destroy_can_be_repeated(self, harness: Harness) -> None:
        for delay in harness.cuts:
            part = await harness.created()
            await cut(harness.driver.destroy(part), delay)
            listed = await harness.driver.list_owned()
            assert ONE in listed or not await harness.exists(ONE), f"cut after {delay} s"
            await harness.destroyed(part)
            assert not await harness.exists(ONE), f"cut after {delay} s"
            harness.driver.forget(ONE)

    async def test_destroying_during_a_create_ends_in_absence(self, harness: Harness) -> None:
        request = await harness.request()
        creating = asyncio.create_task(harness.driver.create(request), name="create")
        await asyncio.sleep(0)
        creating.cancel()
        with suppress(asyncio.CancelledError):
            await creating
        await harness.destroyed(harness.intended(request))
        await asyncio.sleep(0.05)  # nothing of the cut call comes after
        assert not await harness.exists(ONE)


async def cut(call: Coroutine[object, object, object], delay: float) -> None:
    """Begins a driver's call and cancels it after so many seconds, as a stopping daemon does."""
    task = asyncio.create_task(call, name="to be cut")
    await asyncio.wait({task}, timeout=delay)
    task.cancel()
    with suppress(asyncio.CancelledError, NotFound):
        await task
