"""What operators do to one resource: hold it for inspection, let it go again, retire it.

The theory of holds is in `lifecycle`. Whatever is answered is durable. A hold is in force in memory
before it is written, so that nothing can happen to the resource meanwhile; if the ledger refuses, the
operator is told so, and the hold stays until the daemon ends. A removal begins only when it is written
that the hold has ended.

A resource that is held is moved by nobody but this room, and one action at a time.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable

from ..config.json_types import Json
from . import backoff
from .dismantling import Dismantler
from .ids import ResourceId
from .lifecycle import COMING, LEAVING, SERVING, ResourceState
from .moments import rfc3339
from .requests import Code, Refusal
from .resource import Resource
from .services import Services
from .store import NewEvent, StoreError, Transaction
from .switches import Order, ResourceAction, Switch, SwitchKind, sentence
from .timers import Timer

log = logging.getLogger(__name__)

HOLD_FOR = 86400.0
"""Seconds that a hold lasts when its operator says no end."""
LONGEST_PAUSE = 5.0
EVENTS = {
    ResourceAction.HOLD: "resource.held",
    ResourceAction.UNHOLD: "resource.unheld",
    ResourceAction.RETIRE: "resource.retired",
}
DATE_REACHED = "the end date of its hold was reached"


class Holding:
    def __init__(
        self, services: Services, dismantler: Dismantler, *, touch: Callable[[str], None]
    ) -> None:
        self._services = services
        self._touch = touch
        """Told the pool's name when one is no longer ready and has to be replaced."""
        self._dismantler = dismantler
        self._timers: dict[ResourceId, Timer] = {}
        self._lock = asyncio.Lock()

    async def start(self, held: Iterable[Resource], stray: Iterable[Switch]) -> None:
        """Goes on with the holds of the last run, and forgets those of what does not exist."""
        transaction = self._services.store.transaction()
        for switch in stray:
            transaction.drop_switch(switch)
        for resource in held:
            if resource.state is ResourceState.HELD:
                transaction.put_resource(resource)  # it may have become so by the restart
            self._watch(resource)
        try:
            await self._services.commit(transaction)
        except StoreError:
            log.warning("the holds of the last run could not be written; the next start does it")

    async def operate(
        self, action: ResourceAction, resource_id: ResourceId, order: Order
    ) -> Resource:
        """Does it, durably, and returns the resource. Raises `Refusal`; repeating is harmless."""
        work = self._operate(action, resource_id, order)
        name = f"{action} {resource_id}"
        return await self._services.tasks.see_through(work, name, told=Refusal)

    async def _operate(
        self, action: ResourceAction, resource_id: ResourceId, order: Order
    ) -> Resource:
        async with self._lock:
            resource = self._find(resource_id)
            match action:
                case ResourceAction.HOLD:
                    await self._hold(resource, order)
                case ResourceAction.UNHOLD:
                    if resource.hold is not None:
                        await self._end(resource, self._event(action, resource, order))
                case ResourceAction.RETIRE:
                    await self._retire(resource, order)
            self._services.telemetry.operated(resource.pool, action.value)
            return resource

    def keep(self, resource: Resource) -> None:
        """A ready resource whose hold was asked for before it was ready, or while it was claimed."""
        assert resource.hold is not None
        now, reason = self._services.clock.now(), f"held {sentence(resource.hold, '')}"
        self._services.inventory.move(resource, ResourceState.HELD, reason, now)
        self._touch(resource.pool)
        self._services.tasks.start(self._write_kept(resource), f"keep {resource.id}")

    # The actions

    async def _hold(self, resource: Resource, order: Order) -> None:
        services = self._services
        if resource.state in LEAVING - {ResourceState.FAILED} and resource.hold is None:
            raise Refusal(
                Code.RESOURCE_LEAVING,
                f"{resource.id} is being removed already ({resource.reason}); hold one before its "
                "claim ends, or while it is made",
            )
        if resource.renewing:
            raise Refusal(
                Code.RESOURCE_COMING,
                f"{resource.id} is being reset, and what its claim left in it is being removed; "
                "hold one before its claim ends, or once it is ready",
            )
        now = services.clock.now()
        before = resource.hold
        switch = Switch(
            SwitchKind.HOLD,
            resource.id,
            order.by,
            order.reason,
            now if before is None else before.since,
            now + HOLD_FOR if order.until is None else order.until,
        )
        if resource.state is ResourceState.READY:
            reason = f"held {sentence(switch, '')}"
            services.inventory.move(resource, ResourceState.HELD, reason, now)
            self._touch(resource.pool)
        resource.hold = switch
        self._watch(resource)
        transaction = services.store.transaction()
        if resource.state is ResourceState.HELD:
            transaction.put_resource(resource)
        transaction.put_switch(switch)
        transaction.add_event(self._event(ResourceAction.HOLD, resource, order))
        await self._commit(transaction, "hold")

    async def _retire(self, resource: Resource, order: Order) -> None:
        state, event = resource.state, self._event(ResourceAction.RETIRE, resource, order)
        if state in SERVING:
            raise Refusal(
                Code.RESOURCE_CLAIMED,
                f"{resource.id} is {state} to a claim; release the claim {resource.claim or ''}"
                " instead, and it is removed with it",
                details={"claim": resource.claim or ""},
            )
        if state in COMING or state is ResourceState.RESETTING:
            doing = "being reset" if state is ResourceState.RESETTING else "still being made"
            raise Refusal(
                Code.RESOURCE_COMING,
                f"{resource.id} is {doing}; retire it once it is ready",
            )
        if resource.hold is not None:
            await self._end(resource, event)
        elif state is ResourceState.READY:
            await self._retire_ready(resource, order, event)

    async def _retire_ready(self, resource: Resource, order: Order, event: NewEvent) -> None:
        services = self._services
        reason = f"retired by {order.by}" + (f": {order.reason}" if order.reason else "")
        now = services.clock.now()
        services.inventory.move(resource, ResourceState.RETIRING, reason, now)
        self._touch(resource.pool)
        transaction = services.store.transaction()
        self._dismantler.condemn(resource, transaction)
        transaction.add_event(event)
        durable = False
        try:
            await self._commit(transaction, "retirement")
            durable = True
        finally:
            self._dismantler.start(resource, written=durable, event=None if durable else event)

    async def _end(self, resource: Resource, event: NewEvent) -> None:
        """The hold is over. What is held is removed; anything else lives as if it never had been.

        Nothing changes when the ledger refuses.
        """
        services, switch = self._services, resource.hold
        assert switch is not None
        transaction = services.store.transaction()
        transaction.drop_switch(switch)
        transaction.add_event(event)
        ending = None
        if resource.state is ResourceState.HELD:
            now, reason = services.clock.now(), event.reason or "its hold was taken back"
            ending = services.inventory.after(resource, ResourceState.ENDING, reason, now)
            ending.hold = None
            self._dismantler.condemn(ending, transaction)
        try:
            await self._commit(transaction, "end of the hold")
        except Refusal:
            if ending is not None:
                # It may be written all the same: what is written next must be newer than that.
                resource.version = ending.version + 1
            raise
        resource.hold = None
        self._forget(resource.id)
        if resource.state is ResourceState.HELD:
            reason = event.reason or "its hold was taken back"
            now = services.clock.now()
            services.inventory.move(resource, ResourceState.ENDING, reason, now)
            # It may have become held while that was written: then nothing is condemned yet.
            self._dismantler.start(resource, written=ending is not None)

    # Ending by itself

    def _watch(self, resource: Resource) -> None:
        assert resource.hold is not None
        self._forget(resource.id)
        until = resource.hold.until
        if until is not None:
            self._timers[resource.id] = self._services.timers.at(until, lambda: self._due(resource))

    def _forget(self, resource: ResourceId) -> None:
        timer = self._timers.pop(resource, None)
        if timer is not None:
            timer.cancel()

    def _due(self, resource: Resource) -> None:
        switch = resource.hold
        if switch is not None:
            work = self._end_by_itself(resource, switch)
            self._services.tasks.start(work, f"end of the hold of {resource.id}")

    async def _end_by_itself(self, resource: Resource, switch: Switch) -> None:
        """However long the ledger refuses, unless an operator says something else meanwhile."""
        attempt = 0
        while True:
            async with self._lock:
                if resource.hold is not switch:
                    return None
                event = NewEvent(
                    EVENTS[ResourceAction.UNHOLD],
                    pool=resource.pool,
                    resource=resource.id,
                    claim=resource.claim or "",
                    reason=DATE_REACHED,
                )
                try:
                    return await self._end(resource, event)
                except Refusal:
                    attempt += 1
            pause = backoff.delay(attempt, self._services.chance(), cap=LONGEST_PAUSE)
            await asyncio.sleep(pause)

    # Writing

    async def _write_kept(self, resource: Resource) -> None:
        """If the ledger refuses, the next start finds a ready one with a hold, and does the same."""
        async with self._lock:
            if resource.state is not ResourceState.HELD:
                return
            transaction = self._services.store.transaction()
            transaction.put_resource(resource)
            transaction.add_event(
                NewEvent(
                    "resource.kept",
                    pool=resource.pool,
                    resource=resource.id,
                    reason=resource.reason,
                )
            )
            try:
                await self._services.commit(transaction)
            except StoreError:
                log.warning("that %s is held could not be written to the ledger", resource.id)

    async def _commit(self, transaction: Transaction, what: str) -> None:
        try:
            await self._services.commit(transaction, urgent=True)
        except StoreError as error:
            why = f"the {what} cannot be written down: {error}; repeat it"
            raise Refusal(Code.LEDGER_UNAVAILABLE, why, retry_after=2.0) from error

    def _find(self, resource_id: ResourceId) -> Resource:
        resource = self._services.inventory.get(resource_id)
        if resource is None:
            raise Refusal(
                Code.NO_SUCH_RESOURCE,
                f"there is no resource {resource_id}: it never was, or its absence is proved; "
                f"'stoker events --resource {resource_id}' tells its life",
            )
        return resource

    def _event(self, action: ResourceAction, resource: Resource, order: Order) -> NewEvent:
        clock = self._services.clock
        data: dict[str, Json] = {**order.by.told(), "state": resource.state.value}
        if action is ResourceAction.HOLD and resource.hold is not None and resource.hold.until:
            data["until"] = rfc3339(clock.to_wall(resource.hold.until))
        return NewEvent(
            EVENTS[action],
            pool=resource.pool,
            resource=resource.id,
            claim=resource.claim or "",
            request=order.request_id,
            reason=order.reason,
            data=data,
        )
