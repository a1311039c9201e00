"""A simulated outside: what exists survives crashes of the daemon, and nothing there is reliable.

A `SimulatedWorld` holds the things and draws all misfortune from one seeded `random.Random`.
Each run of the daemon talks to it through its own `SimulatedDriver`; `disconnect` cuts that one
off as a crash does. Everything happens in the loop's time (`asyncio.sleep`), so under a virtual
clock an hour takes a moment, and equal seeds give equal histories.

What it keeps of the driver contract even while it misbehaves: `destroy` raises `NotFound` only
when the thing is gone, and nothing happens after a call was given up by a living driver. What it
does not promise, as real providers don't: that `observe` and `list_owned` are up to date.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from stoker.config.catalogue import DriverFacts, OutputFacts, ValueType
from stoker.config.json_types import JsonObject
from stoker.pools.driver import (
    Changed,
    Exhausted,
    Made,
    NotFound,
    Observation,
    PartRef,
    PartRequest,
    Presence,
    Rejected,
    Throttled,
    Unavailable,
)  # fmt: skip
from stoker.pools.ids import PartId

T = TypeVar("T")


class SimulatedSettings(BaseModel):
    """`with` of a simulated part."""

    model_config = ConfigDict(extra="forbid")

    label: str = ""
    """Given back as an output: lets blueprints refer to each other's parts."""
    reject: bool = False
    """True: every creation is refused."""
    reset: bool = False
    """Whether such a part can be reset in place."""


FACTS = DriverFacts(
    name="simulated",
    settings=SimulatedSettings,
    outputs={
        "name": OutputFacts(ValueType.STRING),
        "label": OutputFacts(ValueType.STRING),
        "secret": OutputFacts(ValueType.STRING, secret=True),
    },
    reset_setting="reset",
)


@dataclass(slots=True)
class Faults:
    """How bad the world is. Chances are in [0, 1] per call, times in seconds. All zero: perfect."""

    latency: tuple[float, float] = (0.0, 0.0)
    """A call takes between these."""
    slow: float = 0.0
    """Chance that it takes `slow_latency` instead."""
    slow_latency: float = 60.0
    fail: float = 0.0
    """Chance to fail before anything happened."""
    lose: float = 0.0
    """Chance that the answer is lost after it happened."""
    throttle: float = 0.0
    exhaust: float = 0.0
    """Chance that a creation finds no capacity, beside `capacity`."""
    capacity: int | None = None
    """How many things there may be."""
    stale: float = 0.0
    """For so long after a creation the thing is not shown, and after a removal it still is."""
    lie: float = 0.0
    """Chance that a reset says that it is done, and has done nothing."""
    deaf: float = 0.0
    """Chance that a change behind the daemon's back is not told to a watch."""


@dataclass(slots=True)
class Thing:
    part: PartId
    pool: str
    serial: int
    made_at: float
    incarnation: int
    """Which driver made it."""
    drift: str = ""
    """What is different from how it was made."""
    soil: set[str] = field(default_factory=set[str])
    """What its users have left in it."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One real change, whether anyone was told of it or not."""

    at: float
    kind: str
    """created | destroyed | reset | drifted | vanished"""
    part: PartId
    incarnation: int
    """The driver that did it; 0 for what happened behind the daemon's back."""


@dataclass(slots=True)
class _Fate:
    """What will become of one call, drawn when it begins."""

    before: float = 0.0
    after: float = 0.0
    refusal: Exception | None = None
    lost: bool = False


@dataclass(slots=True)
class _Flight:
    """A call under way."""

    effect: Callable[[], object]
    landed: bool


class SimulatedWorld:
    """The outside. Change `faults` at any time; read `things`, `log` and `calls` for invariants."""

    def __init__(self, random: Random, faults: Faults | None = None) -> None:
        self.random = random
        self.faults = faults or Faults()
        self.things: dict[PartId, Thing] = {}
        """What really exists."""
        self.log: list[Effect] = []
        self.calls: dict[str, int] = {}
        """How often each method of a driver was called."""
        self.proved: dict[PartId, float] = {}
        """When a thing was last looked at and found clean."""
        self._fading: dict[PartId, float] = {}  # removed things still shown, until when
        self._drivers: list[SimulatedDriver] = []  # those that live
        self._incarnations = 0
        self._serial = 0

    def connect(self, name: str = "simulated") -> "SimulatedDriver":
        """The driver of a new run of the daemon."""
        self._incarnations += 1
        driver = SimulatedDriver(self, self._incarnations, name)
        self._drivers.append(driver)
        return driver

    def leave(self, driver: "SimulatedDriver") -> None:
        """A driver is gone for good; nothing is told to it any more."""
        if driver in self._drivers:
            self._drivers.remove(driver)

    def exists(self) -> frozenset[PartId]:
        return frozenset(self.things)

    def drift(self, part: PartId, detail: str = "it was changed") -> None:
        """Changes a thing behind the daemon's back."""
        self.things[part].drift = detail
        self._record("drifted", part, 0)
        self._tell(part)

    def vanish(self, part: PartId) -> None:
        """Removes a thing behind the daemon's back."""
        del self.things[part]
        self._record("vanished", part, 0)
        self._tell(part)

    def meddle(self) -> PartId | None:
        """Drifts or removes a random thing; None when there is nothing."""
        if not self.things:
            return None
        part = self.random.choice(list(self.things))
        if self.random.random() < 0.5:
            self.drift(part)
        else:
            self.vanish(part)
        return part

    def create(self, request: PartRequest, incarnation: int) -> Made:
        thing = self.things.get(request.id)
        if thing is None:
            capacity = self.faults.capacity
            if capacity is not None and len(self.things) >= capacity:
                raise Exhausted(f"all {capacity} places of the simulated world are taken", 5.0)
            self._serial += 1
            thing = Thing(request.id, request.pool, self._serial, self.now(), incarnation)
            self.things[request.id] = thing
            self._fading.pop(request.id, None)
            self._record("created", request.id, incarnation)
        label = request.settings.get("label", "")
        return Made(
            handle={"serial": thing.serial},
            outputs={"name": str(request.id), "label": label},
            secrets={"secret": f"secret-{thing.serial}"},
        )

    def use(self, part: PartId, by: str) -> None:
        """Somebody leaves something of theirs in a thing."""
        self.things[part].soil.add(by)

    def reset(self, request: PartRequest, incarnation: int, *, honest: bool) -> Made:
        thing = self.things.get(request.id)
        if thing is None:
            raise NotFound(f"{request.id} is not there")
        if honest:
            thing.soil.clear()
            thing.drift = ""
        self._record("reset", request.id, incarnation)
        return self.create(request, incarnation)

    def lies(self) -> bool:
        return self._chance(self.faults.lie)

    def observe(self, part: PartId) -> Observation:
        thing = self.things.get(part)
        if not self._is_shown(part, thing):
            return Observation(Presence.ABSENT, f"{part} is not there")
        if thing is not None and thing.drift:
            return Observation(Presence.DRIFTED, thing.drift)
        return Observation(Presence.PRESENT)

    def destroy(self, part: PartId, incarnation: int) -> None:
        if self.things.pop(part, None) is None:
            if self._fading.get(part, 0.0) > self.now():
                return  # still shown: no proof yet
            raise NotFound(f"{part} is not there")
        self._record("destroyed", part, incarnation)
        if self.faults.stale > 0:
            self._fading[part] = self.now() + self.faults.stale

    def listing(self) -> frozenset[PartId]:
        now = self.now()
        self._fading = {part: until for part, until in self._fading.items() if until > now}
        shown = [part for part, thing in self.things.items() if self._is_shown(part, thing)]
        return frozenset([*shown, *self._fading])

    def _is_shown(self, part: PartId, thing: Thing | None) -> bool:
        """What the world says exists: behind the truth by `faults.stale`."""
        if thing is None:
            return self._fading.get(part, 0.0) > self.now()
        return not self.faults.stale or thing.made_at + self.faults.stale <= self.now()

    def fate(self, action: str) -> _Fate:
        """Draws what becomes of a call."""
        faults, chance = self.faults, self._chance
        low, high = faults.latency
        seconds = self.random.uniform(low, high) if high > 0 else 0.0
        if chance(faults.slow):
            seconds = faults.slow_latency
        fate = _Fate(before=seconds)
        if seconds > 0:
            fate.before = seconds * self.random.random()
            fate.after = seconds - fate.before
        if chance(faults.throttle):
            fate.refusal = Throttled("the simulated world asks for patience", 1.0)
        elif chance(faults.fail):
            fate.refusal = Unavailable(f"the simulated {action} failed before anything happened")
        elif action == "create" and chance(faults.exhaust):
            fate.refusal = Exhausted("the simulated world has no room just now", 2.0)
        else:
            fate.lost = chance(faults.lose)
        return fate

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def happens(self) -> bool:
        """Whether a call that is cut takes effect."""
        return self.random.random() < 0.5

    def _chance(self, chance: float) -> bool:
        return chance > 0 and self.random.random() < chance

    def _record(self, kind: str, part: PartId, incarnation: int) -> None:
        self.log.append(Effect(self.now(), kind, part, incarnation))

    def _tell(self, part: PartId) -> None:
        for driver in self._drivers:
            if not self._chance(self.faults.deaf):
                driver.notice(part)


class SimulatedDriver:
    """One run of the daemon's way to the world."""

    pure = False

    def __init__(self, world: SimulatedWorld, incarnation: int, name: str) -> None:
        self.name = name
        self.world = world
        self.incarnation = incarnation
        self._alive = True
        self._changed: Changed | None = None
        self._watched: set[PartId] = set()
        self._flights: dict[int, _Flight] = {}  # in the order of their beginnings
        self._begun = 0

    def disconnect(self) -> None:
        """The daemon dies: calls under way are cut, with or without effect; nothing follows."""
        if not self._alive:
            return
        self._alive = False
        self.world.leave(self)
        for flight in self._flights.values():
            if not flight.landed and self.world.happens():
                self._land_unseen(flight)
        self._flights.clear()
        self._watched.clear()

    def notice(self, part: PartId) -> None:
        """The world tells of a change."""
        if self._alive and part in self._watched and self._changed is not None:
            asyncio.get_running_loop().call_soon(self._pass_on, part)

    async def open(self, changed: Changed) -> None:
        self._changed = changed

    async def close(self) -> None:
        self._changed = None

    async def allot(self, request: PartRequest) -> JsonObject:
        return {}

    def intend(self, request: PartRequest) -> JsonObject:
        return {}

    async def create(self, request: PartRequest) -> Made:
        if request.settings.get("reject"):
            raise Rejected(f"{request.id} asks to be refused")
        return await self._call("create", lambda: self.world.create(request, self.incarnation))

    async def reset(self, request: PartRequest, part: PartRef) -> Made:
        honest = not self.world.lies()
        return await self._call(
            "reset", lambda: self.world.reset(request, self.incarnation, honest=honest)
        )

    async def observe(self, part: PartRef) -> Observation:
        return await self._call("observe", lambda: self.world.observe(part.id))

    async def destroy(self, part: PartRef) -> None:
        await self._call("destroy", lambda: self.world.destroy(part.id, self.incarnation))

    async def list_owned(self) -> frozenset[PartId]:
        return await self._call("list", self.world.listing)

    def watch(self, part: PartRef) -> None:
        if self._alive:
            self._watched.add(part.id)

    def forget(self, part: PartId) -> None:
        self._watched.discard(part)

    async def _call(self, action: str, effect: Callable[[], T]) -> T:
        self._check()
        world = self.world
        world.calls[action] = world.calls.get(action, 0) + 1
        fate = world.fate(action)
        flight = _Flight(effect, landed=fate.refusal is not None)  # what is refused never lands
        self._begun += 1
        number = self._begun
        self._flights[number] = flight
        try:
            await asyncio.sleep(fate.before)
            self._check()
            if fate.refusal is not None:
                raise fate.refusal
            flight.landed = True
            answer = effect()
            if fate.after > 0:
                await asyncio.sleep(fate.after)
                self._check()
            if fate.lost:
                raise Unavailable(f"the answer to the simulated {action} was lost")
            return answer
        except asyncio.CancelledError:
            # Given up by the daemon: the request may have arrived all the same, but not later.
            if self._alive and not flight.landed and world.happens():
                self._land_unseen(flight)
            raise
        finally:
            self._flights.pop(number, None)

    def _land_unseen(self, flight: _Flight) -> None:
        flight.landed = True
        try:
            flight.effect()
        except (NotFound, Exhausted):
            return

    def _pass_on(self, part: PartId) -> None:
        if self._alive and part in self._watched and self._changed is not None:
            self._changed(part)

    def _check(self) -> None:
        if not self._alive:
            raise Unavailable("this run of the daemon is over")
