"""What operators do to a pool: pause, resume, drain and refresh it. Durable first, then in force.

`switches.change` decides what an action changes; here it is written down, carried out, and ended when
its date has come. A switch stays in force while its pool is not declared, so that a pool which a
change of the configuration took away for a moment comes back as it was left.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from functools import partial

from . import backoff
from .moments import rfc3339
from .pool import Pool
from .requests import Code, Refusal
from .rolling import event
from .rollout import Stage, retried
from .services import Services
from .status import PoolStatus
from .store import NewEvent, StoreError, Transaction
from .switches import EVENTS, Change, Key, Order, PoolAction, Switch, SwitchKind, change, key_of
from .timers import Timer

log = logging.getLogger(__name__)

LONGEST_PAUSE = 5.0
DATE_REACHED = "its end date was reached"
RENEWED = "every ready resource is newer than the refresh"


class Operating:
    def __init__(self, services: Services, pools: Mapping[str, Pool]) -> None:
        self._services = services
        self._pools = pools
        self._switches: dict[Key, Switch] = {}
        self._timers: dict[Key, Timer] = {}
        self._lock = asyncio.Lock()

    def remember(self, switches: Iterable[Switch]) -> None:
        """What was in force when the last run ended; its dates are watched from now on."""
        for switch in switches:
            self._put(switch)

    def in_force(self) -> list[Switch]:
        """What is set on pools, declared or not, the oldest first."""
        return sorted(self._switches.values(), key=lambda switch: switch.since)

    def fit(self, pool: Pool) -> None:
        """Gives a pool what is in force for it."""
        name = pool.spec.name
        shut = self._switches.get((SwitchKind.PAUSE, name))
        shut = shut or self._switches.get((SwitchKind.DRAIN, name))
        pool.switch(shut, self._switches.get((SwitchKind.REFRESH, name)))

    async def operate(self, action: PoolAction, name: str, order: Order) -> PoolStatus:
        """Does it, durably, and returns the pool as it is then. Raises `Refusal`."""
        work = self._operate(action, name, order)
        return await self._services.tasks.see_through(work, f"{action} {name}", told=Refusal)

    async def _operate(self, action: PoolAction, name: str, order: Order) -> PoolStatus:
        async with self._lock:
            self._find(name)
            now = self._services.clock.now()
            known = [switch for switch in self._switches.values() if switch.subject == name]
            changed = change(action, name, order, known, now)
            if not changed.nothing:
                await self._write(changed, self._event(action, name, order))
                self._take_over(changed, name)
            if action is PoolAction.RESUME:
                await self._retry_rollout(name, order, now)
            self._services.telemetry.operated(name, action.value)
            return self._find(name).status()

    async def _retry_rollout(self, name: str, order: Order, now: float) -> None:
        """A paused rollout goes on when its pool is resumed. Raises `Refusal`."""
        pool = self._find(name)
        before = pool.rolling.rollout
        if before is None or before.stage is not Stage.PAUSED:
            return
        after = retried(before, now)
        told = event("resumed", after, order.reason)
        data = {**told.data, **order.by.told()}
        transaction = self._services.store.transaction()
        transaction.put_rollout(after)
        transaction.add_event(told._replace(request=order.request_id, data=data))
        await self._commit(transaction)
        if pool.rolling.rollout is before:
            pool.retry_rollout(after)

    def refreshed(self, switch: Switch) -> None:
        """Nothing that was begun before this refresh can be handed out any more."""
        self._lift(switch, "pool.renewed", RENEWED)

    # Ending by themselves

    def _due(self, switch: Switch) -> None:
        self._lift(switch, _ENDED[switch.kind], DATE_REACHED)

    def _lift(self, switch: Switch, kind: str, reason: str) -> None:
        """At once, whatever the ledger says: what it has forgotten to drop is lifted by a restart too."""
        if self._switches.get(key_of(switch)) is not switch:
            return
        self._take_over(Change(drop=(switch,)), switch.subject)
        event = NewEvent(kind, pool=switch.subject, reason=reason)
        work = self._write_lifted(switch, event)
        self._services.tasks.start(work, f"end of the {switch.kind} of {switch.subject}")

    async def _write_lifted(self, switch: Switch, event: NewEvent) -> None:
        attempt = 0
        while True:
            async with self._lock:
                if key_of(switch) in self._switches:
                    return  # an operator has set it again
                if await self._is_written(switch, event):
                    return
            attempt += 1
            pause = backoff.delay(attempt, self._services.chance(), cap=LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _is_written(self, switch: Switch, event: NewEvent) -> bool:
        try:
            await self._write(Change(drop=(switch,)), event)
        except Refusal:
            return False
        return True

    # What is in force

    def _take_over(self, changed: Change, name: str) -> None:
        for switch in changed.drop:
            self._drop(switch)
        if changed.put is not None:
            self._put(changed.put)
        pool = self._pools.get(name)
        if pool is not None:
            self.fit(pool)

    def _put(self, switch: Switch) -> None:
        self._drop(switch)
        self._switches[key_of(switch)] = switch
        if switch.until is not None:
            due = partial(self._due, switch)
            self._timers[key_of(switch)] = self._services.timers.at(switch.until, due)

    def _drop(self, switch: Switch) -> None:
        self._switches.pop(key_of(switch), None)
        timer = self._timers.pop(key_of(switch), None)
        if timer is not None:
            timer.cancel()

    async def _write(self, changed: Change, event: NewEvent) -> None:
        transaction = self._services.store.transaction()
        for switch in changed.drop:
            transaction.drop_switch(switch)
        if changed.put is not None:
            transaction.put_switch(changed.put)
        transaction.add_event(event)
        await self._commit(transaction)

    async def _commit(self, transaction: Transaction) -> None:
        try:
            await self._services.commit(transaction, urgent=True)
        except StoreError as error:
            raise Refusal(
                Code.LEDGER_UNAVAILABLE,
                f"the action cannot be written down: {error}; repeat it",
                retry_after=2.0,
            ) from error

    def _find(self, name: str) -> Pool:
        pool = self._pools.get(name)
        if pool is None:
            known = ", ".join(sorted(self._pools)[:20]) or "none"
            raise Refusal(Code.NO_SUCH_POOL, f"there is no pool {name}; the pools are: {known}")
        return pool

    def _event(self, action: PoolAction, name: str, order: Order) -> NewEvent:
        data = order.by.told()
        if order.until is not None:
            data["until"] = rfc3339(self._services.clock.to_wall(order.until))
        return NewEvent(
            EVENTS[action],
            pool=name,
            request=order.request_id,
            reason=order.reason,
            data=data,
        )


_ENDED = {
    SwitchKind.PAUSE: EVENTS[PoolAction.RESUME],
    SwitchKind.DRAIN: EVENTS[PoolAction.RESUME],
    SwitchKind.REFRESH: "pool.renewed",
}
