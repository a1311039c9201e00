"""What operators do in a story, and what they were answered: the truth that the daemon has to keep."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stoker.pools.ids import ResourceId
from stoker.pools.lifecycle import COMING, ResourceState
from stoker.pools.requests import Code, Refusal
from stoker.pools.resource import Resource
from stoker.pools.rollout import Stage
from stoker.pools.switches import (
    HOST,
    HostAction,
    Operator,
    Order,
    PoolAction,
    ResourceAction,
    Switch,
    SwitchKind,
)

if TYPE_CHECKING:
    from tests.simulation.story import Story

ADA = Operator(1000, "ada")
PATIENCE = 60.0
"""Seconds after which an operator gives up on a daemon that was killed while it was asked."""
SHUTTING = frozenset({PoolAction.PAUSE, PoolAction.DRAIN})
FILE = "/etc/stoker/freeze"


@dataclass
class Shut:
    """A pool or all were paused, drained or frozen: from the answer until its date, or until the next
    thing was asked.
    """

    pool: str
    """`HOST` for all of them."""
    since: float
    until: float


@dataclass
class Held:
    """A hold was answered: until its date, or until its end was asked for."""

    resource: ResourceId
    since: float
    until: float
    whole: bool
    """It came before a reset of the resource had begun, which goes on to remove what it makes anew."""


class Operators:
    """Some people who do not talk to each other. All times are steady seconds."""

    def __init__(self, story: "Story") -> None:
        self._story = story
        self.shut: list[Shut] = []
        self.frozen: list[Shut] = []
        self.file: Switch | None = None
        """What the freeze file says."""
        self.holds: dict[ResourceId, Held] = {}
        self.held: set[ResourceId] = set()
        """Those that were seen held after it was answered: never to be leased again."""
        self.done = 0

    async def work(self) -> None:
        draw = self._story.random
        while True:
            await asyncio.sleep(draw.expovariate(1 / 30))
            if not self._story.up:
                continue
            chance = draw.random()
            if chance < 0.08:
                await self._on_the_host()
            elif chance < 0.35:
                await self._on_a_pool()
            else:
                await self._on_a_resource()

    async def lift_all(self) -> None:
        """Nothing that an operator set is in force any more."""
        fleet = self._story.daemon.fleet
        self._see_file(None)
        self._end_shut(HOST)
        for action in (HostAction.THAW, HostAction.RESUME):
            await self._try_on_host(action, None)
        await self._story.catch_up()
        for status in fleet.pools():
            self._end_shut(status.name)
            await self._try_on_pool(PoolAction.RESUME, status.name, None)
        for held in self.holds.values():
            held.until = min(held.until, self._story.now())
        for resource in list(fleet.resources()):
            if resource.hold is not None:
                await self._try_on_resource(ResourceAction.UNHOLD, resource.id, None)

    async def retry_rollouts(self) -> None:
        """What was paused while nothing worked goes on."""
        for status in self._story.daemon.fleet.pools():
            if status.rollout is not None and status.rollout.stage is Stage.PAUSED:
                await self._try_on_pool(PoolAction.RESUME, status.name, None)

    async def _on_the_host(self) -> None:
        draw = self._story.random
        lasting = draw.choice([5.0, 40.0, 200.0])
        if draw.random() < 0.2:
            self._see_file(Switch(SwitchKind.FREEZE, FILE, ADA, "so", self._story.now()))
            asyncio.get_running_loop().call_later(lasting, self._see_file, None)
            return
        action = draw.choice(list(HostAction))
        until = self._story.now() + lasting
        self._end_shut(HOST, action)
        if not await self._try_on_host(action, until):
            return
        shut = Shut(HOST, self._story.now(), until)
        if action is HostAction.FREEZE:
            self.frozen.append(shut)
        elif action is HostAction.DRAIN:
            self.shut.append(shut)

    def _see_file(self, found: Switch | None) -> None:
        self.file = found
        if self._story.up:  # otherwise the next daemon sees it at its start
            self._story.daemon.fleet.see_freeze_file(FILE, found)

    async def _on_a_pool(self) -> None:
        draw = self._story.random
        pools = [status.name for status in self._story.daemon.fleet.pools()]
        if not pools:
            return
        pool = draw.choice(pools)
        action = draw.choice(list(PoolAction))
        lasting = draw.choice([5.0, 40.0, 200.0, None])
        if action in SHUTTING or action is PoolAction.RESUME:
            self._end_shut(pool)
        until = None if lasting is None else self._story.now() + lasting
        if await self._try_on_pool(action, pool, until) and action in SHUTTING:
            forever = float("inf") if until is None else until
            self.shut.append(Shut(pool, self._story.now(), forever))

    async def _on_a_resource(self) -> None:
        draw = self._story.random
        resources = list(self._story.daemon.fleet.resources())
        if draw.random() < 0.5:
            resources = await self._coming() or resources
        if not resources or not self._story.up:
            return
        chosen = draw.choice(resources)
        resource, whole = chosen.id, not _is_reset(chosen)
        action = draw.choice([*ResourceAction, ResourceAction.HOLD])
        until = self._story.now() + draw.choice([1.0, 20.0, 150.0])
        # Once it was asked for, it may be so, whether it is answered or not.
        ends = until if action is ResourceAction.HOLD else self._story.now()
        held = self.holds.get(resource)
        if held is not None:
            held.until = min(held.until, ends)
        if await self._try_on_resource(action, resource, until) and action is ResourceAction.HOLD:
            whole = whole and not _is_reset(chosen)
            self.holds[resource] = Held(resource, self._story.now(), until, whole)

    async def _coming(self) -> list[Resource]:
        """Those that are being made, as soon as there is one; few are at any one moment."""
        for _ in range(200):
            resources = self._story.daemon.fleet.resources() if self._story.up else ()
            coming = [resource for resource in resources if resource.state in COMING]
            if coming:
                return coming
            await asyncio.sleep(0.05)
        return []

    async def _try_on_pool(self, action: PoolAction, pool: str, until: float | None) -> bool:
        """Whether it was answered, by a daemon that lived on."""
        story, life = self._story, self._story.life
        work = story.daemon.fleet.operate_pool(action, pool, Order(ADA, "why not", until))
        try:
            async with asyncio.timeout(PATIENCE):
                await work
        except TimeoutError:
            return False
        except Refusal as refusal:
            _expect(refusal, Code.NO_SUCH_POOL)
            return False
        self.done += 1
        return life == story.life and story.up

    async def _try_on_host(self, action: HostAction, until: float | None) -> bool:
        story, life = self._story, self._story.life
        try:
            async with asyncio.timeout(PATIENCE):
                await story.daemon.fleet.operate_host(action, Order(ADA, "why not", until))
        except TimeoutError:
            return False
        except Refusal as refusal:
            _expect(refusal, Code.SET_ELSEWHERE)
            return False
        self.done += 1
        return life == story.life and story.up

    async def _try_on_resource(
        self, action: ResourceAction, resource: ResourceId, until: float | None
    ) -> bool:
        story, life = self._story, self._story.life
        work = story.daemon.fleet.operate_resource(action, resource, Order(ADA, "odd", until))
        try:
            async with asyncio.timeout(PATIENCE):
                await work
        except TimeoutError:
            return False
        except Refusal as refusal:
            _expect(
                refusal,
                Code.NO_SUCH_RESOURCE,
                Code.RESOURCE_LEAVING,
                Code.RESOURCE_CLAIMED,
                Code.RESOURCE_COMING,
            )
            return False
        self.done += 1
        return life == story.life and story.up

    def _end_shut(self, pool: str, action: HostAction | None = None) -> None:
        """Once it was asked for, it may be so, whether it is answered or not."""
        ended = {HostAction.FREEZE: self.frozen, HostAction.THAW: self.frozen}
        both = [*self.shut, *self.frozen]
        for shut in both if action is None else ended.get(action, self.shut):
            if shut.pool == pool:
                shut.until = min(shut.until, self._story.now())


def _is_reset(resource: Resource) -> bool:
    return resource.state is ResourceState.RESETTING


def _expect(refusal: Refusal, *codes: Code) -> None:
    assert refusal.code in codes, f"an operator was told {refusal.code}: {refusal}"
