"""What operators do to pools, and to the host as a whole. Durable first, then in force.

`switches.change` decides what an action changes; here it is written down, carried out, and ended when
its date has come. A switch stays in force while its pool is not declared, so that a pool which a
change of the configuration took away for a moment comes back as it was left.

A freeze may also come from a file. It is in force as soon as it is seen, whatever the ledger says: the
file itself is what lasts, and the ledger is told for the audit alone.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial

from . import backoff
from .gates import InForce
from .moments import rfc3339
from .pool import Pool
from .requests import Code, Refusal
from .rolling import event
from .rollout import Stage, retried
from .services import Services
from .status import HostStatus, PoolStatus
from .store import NewEvent, StoreError, Transaction
from .switches import (
    EVENTS,
    HOST,
    HOST_EVENTS,
    Change,
    HostAction,
    Key,
    Order,
    PoolAction,
    Switch,
    SwitchKind,
    change,
    ended_by_itself,
    key_of,
    of_the_host,
)
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
        self.lock = asyncio.Lock()
        """Held while something of this is written, so that a revision is applied before or after it."""
        self.thawed = asyncio.Event()
        """Set while the host is not frozen."""
        self.thawed.set()

    def remember(self, switches: Iterable[Switch]) -> None:
        """What was in force when the last run ended; its dates are watched from now on."""
        for switch in switches:
            self._put(switch)
        self._tell_whether_frozen()

    def in_force(self) -> list[Switch]:
        """What is set on the host and on pools, declared or not, the oldest first."""
        return sorted(self._switches.values(), key=lambda switch: switch.since)

    def fit(self, pool: Pool) -> None:
        """Gives a pool what is in force for it."""
        name, known = pool.spec.name, self._switches
        shut = known.get((SwitchKind.PAUSE, name)) or known.get((SwitchKind.DRAIN, name))
        refresh = known.get((SwitchKind.REFRESH, name))
        host = self.host()
        pool.switch(InForce(shut, refresh, host.drain, host.freeze))

    def host(self) -> HostStatus:
        """What is set on the host as a whole."""
        freezes = [one for one in self._switches.values() if one.kind is SwitchKind.FREEZE]
        return HostStatus(
            freeze=min(freezes, key=lambda one: one.since, default=None),
            drain=self._switches.get((SwitchKind.DRAIN, HOST)),
        )

    async def operate(self, action: PoolAction, name: str, order: Order) -> PoolStatus:
        """Does it, durably, and returns the pool as it is then. Raises `Refusal`."""
        work = self._operate(action, name, order)
        return await self._services.tasks.see_through(work, f"{action} {name}", told=Refusal)

    async def operate_host(self, action: HostAction, order: Order) -> HostStatus:
        """Does it, durably, and returns what is set on the host then. Raises `Refusal`."""
        work = self._operate_host(action, order)
        return await self._services.tasks.see_through(work, f"{action} the host", told=Refusal)

    async def _operate(self, action: PoolAction, name: str, order: Order) -> PoolStatus:
        async with self.lock:
            pool = self._find(name)
            changed = await self._change(action, name, order)
            again = action is PoolAction.RESUME and await self._retry_rollout(name, order)
            if (
                action is PoolAction.RESUME
                and changed.nothing
                and not again
                and pool.gate.paused_at
            ):
                why = f"the pool {name} is paused in the configuration ({pool.gate.paused_at}): remove"
                raise _set_elsewhere(f"{why} 'paused' there", pool.gate.paused_at)
            self._services.telemetry.operated(name, action.value)
            return self._find(name).status()

    async def _retry_rollout(self, name: str, order: Order) -> bool:
        """A paused rollout goes on when its pool is resumed; whether there was one. Raises `Refusal`."""
        pool = self._find(name)
        before = pool.rolling.rollout
        if before is None or before.stage is not Stage.PAUSED:
            return False
        after = retried(before, self._services.clock.now())
        told = event("resumed", after, order.reason)
        data = {**told.data, **order.by.told()}
        transaction = self._services.store.transaction()
        transaction.put_rollout(after)
        transaction.add_event(told._replace(request=order.request_id, data=data))
        await self._commit(transaction)
        if pool.rolling.rollout is before:
            pool.retry_rollout(after)
        return True

    async def _operate_host(self, action: HostAction, order: Order) -> HostStatus:
        async with self.lock:
            changed = await self._change(action, HOST, order)
            left = self.host().freeze
            if action is HostAction.THAW and changed.nothing and left is not None:
                raise _set_elsewhere(
                    f"the host is frozen by a file; remove that file: {left.subject}", left.subject
                )
            self._services.telemetry.operated("", action.value)
            return self.host()

    async def _change(self, action: PoolAction | HostAction, subject: str, order: Order) -> Change:
        known = [switch for switch in self._switches.values() if switch.subject == subject]
        changed = change(action, subject, order, known, self._services.clock.now())
        if not changed.nothing:
            await self._write(changed, self._event(action, subject, order))
            self._take_over(changed)
        return changed

    def refreshed(self, switch: Switch) -> None:
        """Nothing that was begun before this refresh can be handed out any more."""
        self._lift(switch, RENEWED)

    # The file that freezes

    def see_file(self, path: str, found: Switch | None) -> None:
        """What the freeze file says now; None when there is none. A freeze by another file is over."""
        for switch in list(self._switches.values()):
            if switch.kind is SwitchKind.FREEZE and switch.subject not in {HOST, path}:
                self._lift(switch, "the freeze file is another one now")
        known = self._switches.get((SwitchKind.FREEZE, path))
        if found is None:
            if known is not None:
                self._lift(known, f"the file {path} was removed")
            return
        if known is not None:
            found = replace(found, since=known.since)
        if found != known:
            self._take_over(Change(found))
            log.warning("the host is frozen by the file %s: %s", path, found.reason)
            event = self._event(HostAction.FREEZE, path, Order(found.by, found.reason))
            work = self._write_in_the_end(Change(found), event)
            self._services.tasks.start(work, f"freeze by {path}")

    # Ending by themselves

    def _due(self, switch: Switch) -> None:
        self._lift(switch, DATE_REACHED)

    def _lift(self, switch: Switch, reason: str) -> None:
        """At once, whatever the ledger says: what it has forgotten to drop is lifted by a restart too."""
        if self._switches.get(key_of(switch)) is not switch:
            return
        self._take_over(Change(drop=(switch,)))
        kind = ended_by_itself(switch.kind, switch.subject)
        pool = "" if of_the_host(switch) else switch.subject
        event = NewEvent(kind, pool=pool, reason=reason)
        work = self._write_in_the_end(Change(drop=(switch,)), event)
        self._services.tasks.start(work, f"end of the {switch.kind} of {switch.subject}")

    async def _write_in_the_end(self, changed: Change, event: NewEvent) -> None:
        """Until it is written, or something else holds by now."""
        attempt = 0
        while True:
            async with self.lock:
                if not self._still_so(changed) or await self._is_written(changed, event):
                    return
            attempt += 1
            pause = backoff.delay(attempt, self._services.chance(), cap=LONGEST_PAUSE)
            await asyncio.sleep(pause)

    def _still_so(self, changed: Change) -> bool:
        put = changed.put
        if put is not None and self._switches.get(key_of(put)) is not put:
            return False
        return not any(key_of(switch) in self._switches for switch in changed.drop)

    async def _is_written(self, changed: Change, event: NewEvent) -> bool:
        try:
            await self._write(changed, event)
        except Refusal:
            return False
        return True

    # What is in force

    def _take_over(self, changed: Change) -> None:
        touched = [*changed.drop, *([] if changed.put is None else [changed.put])]
        for switch in changed.drop:
            self._drop(switch)
        if changed.put is not None:
            self._put(changed.put)
        self._tell_whether_frozen()
        if any(map(of_the_host, touched)):
            for pool in self._pools.values():
                self.fit(pool)
            return
        for name in {switch.subject for switch in touched} & self._pools.keys():
            self.fit(self._pools[name])

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

    def _tell_whether_frozen(self) -> None:
        if self.host().freeze is None:
            self.thawed.set()
        else:
            self.thawed.clear()

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

    def _event(self, action: PoolAction | HostAction, subject: str, order: Order) -> NewEvent:
        data = order.by.told()
        if order.until is not None:
            data["until"] = rfc3339(self._services.clock.to_wall(order.until))
        if isinstance(action, HostAction) and subject != HOST:
            data["file"] = subject
        return NewEvent(
            EVENTS[action] if isinstance(action, PoolAction) else HOST_EVENTS[action],
            pool=subject if isinstance(action, PoolAction) else "",
            request=order.request_id,
            reason=order.reason,
            data=data,
        )


def _set_elsewhere(why: str, place: str) -> Refusal:
    return Refusal(Code.SET_ELSEWHERE, why, details={"place": place})
