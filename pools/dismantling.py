"""Takes a resource away: parts in reverse order, each until its absence is proved.

What was made for the claim (credentials among it) goes first and in the claims' lane. A slot is
free only after the last proof; a part that cannot be told to be absent keeps its slot, the
resource is shown as quarantined after a while, and trying goes on for ever.

What an operator holds stops half-way: what was made for the claim goes, the rest stays (see the
theory in `lifecycle`). This task alone decides that, at one point.
"""

import asyncio
import logging
from collections.abc import Callable

from . import backoff
from .asking import ask
from .assembly import failure_sentence, secrets_of
from .claim import OVER, Claim, ClaimState, advance
from .departures import Departures
from .driver import DriverError, NotFound, PartRef, Unavailable
from .explaining.pool_facts import Stuck
from .ids import ResourceId
from .lanes import Lane
from .lifecycle import PartState, ResourceState, check_part_move
from .resource import Half, Part, Resource
from .services import Services
from .store import NewEvent, StoreError, Transaction
from .switches import sentence

log = logging.getLogger(__name__)

QUARANTINE_AFTER = 5
"""Failed attempts at one part before the resource is shown as quarantined."""
FIRST_LOOK = 0.01
LONGEST_LOOK = 1.0


Freed = Callable[[str, Claim | None, float], None]
"""Told when a slot is free again: the pool's name, the claim that ended with the resource, and how
many seconds the removal took."""


class Dismantler:
    """Removes resources in the background, one task each."""

    def __init__(self, services: Services, *, freed: Freed, over: Callable[[Claim], None]) -> None:
        self._services = services
        self._freed = freed
        self._over = over
        """Told the claim that has ended with its resource."""
        self.stuck: dict[ResourceId, Stuck] = {}
        """Removals that do not work yet, for explanations."""
        self.departures = Departures()

    def start(
        self,
        resource: Resource,
        claim: Claim | None = None,
        *,
        written: bool = False,
        event: NewEvent | None = None,
    ) -> None:
        """Begins, from `failed`, `retiring` or `ending`. Call once per resource.

        `claim` is the one that ends with it. `written`: what `condemn` put into a transaction is
        durable already, and so is the claim's ending. Otherwise both are written before anything
        is removed, together with `event`.
        """
        self.departures.expect(resource, claim)
        work = self._dismantle(resource, claim, written=written, event=event)
        self._services.tasks.start(work, f"remove {resource.id}")

    def condemn(self, resource: Resource, transaction: Transaction) -> None:
        """Writes the intent to remove every part, before any driver is asked to.

        Of a resource that is held afterwards, only those that were made for the claim.
        """
        transaction.put_resource(resource)
        for part in resource.parts:
            if resource.hold is None or part.half is not Half.PREPARE:
                self.condemn_part(resource, part, transaction)

    def condemn_part(self, resource: Resource, part: Part, transaction: Transaction) -> None:
        if part.state not in {PartState.DESTROYING, PartState.ABSENT}:
            check_part_move(part.id, part.state, PartState.DESTROYING)
            part.state = PartState.DESTROYING
        if not self.is_pure(part):
            transaction.put_part(resource, part)

    async def _dismantle(
        self, resource: Resource, claim: Claim | None, *, written: bool, event: NewEvent | None
    ) -> None:
        services = self._services
        started, reason = services.clock.now(), resource.reason
        if resource.state is ResourceState.FAILED:
            services.inventory.move(resource, ResourceState.RETIRING, resource.reason, started)
        if resource.state is ResourceState.RETIRING:
            services.inventory.move(resource, ResourceState.ENDING, resource.reason, started)
        if not written:
            await self._write(resource, event=event, claim=claim)
        await self._remove_condemned(resource)
        if resource.hold is not None:
            async with self.departures.turn(resource, claim) as ending:
                if await self._keep(resource, ending):
                    return
            claim = None  # the hold was taken back while that was written
            now = services.clock.now()
            services.inventory.move(resource, ResourceState.ENDING, resource.reason, now)
        if any(part.state is not PartState.ABSENT for part in resource.parts):
            await self._write(resource, event=None)  # what was spared until its hold ended
            await self._remove_condemned(resource)
        async with self.departures.turn(resource, claim) as ending:
            await self._free(resource, ending, reason)
        took = services.clock.now() - started
        self._freed(resource.pool, claim, took)
        services.telemetry.stage(resource.pool, "remove", took)

    def is_pure(self, part: Part) -> bool:
        """Whether it exists in the ledger alone: there is nothing to remove."""
        driver = self._services.drivers.get(part.driver)
        return driver is not None and driver.pure

    async def _remove_condemned(self, resource: Resource) -> None:
        for part in sorted(resource.parts, key=lambda part: -part.ordinal):
            if part.state is PartState.DESTROYING:
                await self._remove(resource, part)

    async def _keep(self, resource: Resource, claim: Claim | None) -> bool:
        """What was made for the claim is absent: it has ended, and the rest is held. One transaction.

        False when the hold was taken back meanwhile: then the rest has to go as well.
        """
        services = self._services
        inventory, now = services.inventory, services.clock.now()
        hold = resource.hold
        assert hold is not None
        why = f"held {sentence(hold, '')}; before: {resource.reason}"
        if resource.state is ResourceState.QUARANTINED:
            inventory.move(resource, ResourceState.ENDING, resource.reason, now)
        if claim is not None and claim.state not in OVER:
            advance(claim, ClaimState.ENDED)
            claim.ended_at = now
        absent = [part for part in resource.parts if part.state is PartState.ABSENT]
        held = inventory.after(resource, ResourceState.HELD, why, now)
        event = _event("resource.kept", held, why, claim)

        def put(transaction: Transaction) -> None:
            transaction.put_resource(held)
            for part in absent:
                transaction.drop_part(part.id)

        await self._commit(put, event=event, claim=claim)
        resource.parts = [part for part in resource.parts if part not in absent]
        inventory.move(resource, ResourceState.HELD, why, now)
        if claim is not None:
            self._over(claim)
        return _is_held(resource)

    async def _remove(self, resource: Resource, part: Part) -> None:
        """Destroys one part until the driver proves that it is absent."""
        if not self.is_pure(part):
            await self._destroy(resource, part)
        check_part_move(part.id, part.state, PartState.ABSENT)
        part.state = PartState.ABSENT

    async def _destroy(self, resource: Resource, part: Part) -> None:
        services = self._services
        failures, looks = 0, 0
        started = services.clock.now()
        while True:
            try:
                await self.ask_to_destroy(resource, part)
            except NotFound:
                break
            except DriverError as error:
                failures += 1
                services.telemetry.part_removed(part.driver, "failed", 0.0)
                await self._complain(resource, part, error, failures)
                pause = backoff.delay(failures, services.chance())
                self.stuck[resource.id] = Stuck(
                    resource.id,
                    part.name,
                    failures,
                    failure_sentence(error, *secrets_of(resource)),
                    services.clock.now() + pause,
                )
                await asyncio.sleep(pause)
            else:
                looks += 1
                await asyncio.sleep(min(LONGEST_LOOK, FIRST_LOOK * 2 ** min(looks, 16)))
        self.stuck.pop(resource.id, None)
        services.drivers[part.driver].forget(part.id)
        services.telemetry.part_removed(part.driver, "absent", services.clock.now() - started)

    async def ask_to_destroy(self, resource: Resource, part: Part) -> None:
        """One call of its driver. Raises `NotFound` once the part's absence is proved."""
        services = self._services
        driver = services.drivers.get(part.driver)
        if driver is None:
            raise Unavailable(
                f"this version has no driver {part.driver}; start one that has it, or remove "
                f"{part.id} by hand"
            )
        lane = Lane.CLAIMS if part.half is Half.FINISH else Lane.BACKGROUND
        provider = services.providers.get(part.provider, part.driver)
        ref = PartRef(part.id, provider.ref_of(resource.digest), part.handle)
        async with provider.turn(lane):
            await ask(driver, driver.destroy(ref), services.create_within, tasks=services.tasks)

    async def _complain(
        self, resource: Resource, part: Part, error: BaseException, failures: int
    ) -> None:
        """Shows that a removal does not work. The slot stays taken."""
        why = failure_sentence(error, *secrets_of(resource))
        reason = f"{part.name} cannot be removed: {why}"
        log.log(
            logging.WARNING if failures in {1, QUARANTINE_AFTER} else logging.DEBUG,
            "%s: %s (attempt %d)",
            resource.id,
            reason,
            failures,
        )
        if failures == QUARANTINE_AFTER and resource.state is ResourceState.ENDING:
            now = self._services.clock.now()
            self._services.inventory.move(resource, ResourceState.QUARANTINED, reason, now)
            await self._write(resource, event=_event("resource.quarantined", resource, reason))
        else:
            resource.reason = reason

    async def _free(self, resource: Resource, claim: Claim | None, reason: str) -> None:
        """All parts are absent: frees the slot and ends the claim, in one transaction.

        `reason` is why the resource had to go, whatever went wrong with that since.
        """
        services = self._services
        now = services.clock.now()
        if claim is not None and claim.state not in OVER:
            advance(claim, ClaimState.ENDED)
            claim.ended_at = now
        await self._write(
            resource,
            event=_event("resource.gone", resource, reason, claim),
            claim=claim,
            drop=True,
        )
        services.inventory.move(resource, ResourceState.GONE, reason, now)
        if claim is not None:
            self._over(claim)

    async def _write(
        self,
        resource: Resource,
        *,
        event: NewEvent | None,
        claim: Claim | None = None,
        drop: bool = False,
    ) -> None:
        def put(transaction: Transaction) -> None:
            if drop:
                transaction.drop_resource(resource.id)
            else:
                self.condemn(resource, transaction)

        await self._commit(put, event=event, claim=claim)

    async def _commit(
        self, put: Callable[[Transaction], None], *, event: NewEvent | None, claim: Claim | None
    ) -> None:
        """Commits, however long the ledger refuses: removal goes on where it was."""
        attempt = 0
        while True:
            transaction = self._services.store.transaction()
            put(transaction)
            if claim is not None:
                transaction.put_claim(claim)
            if event is not None:
                transaction.add_event(event)
            try:
                return await self._services.commit(transaction)
            except StoreError:
                attempt += 1
                await asyncio.sleep(backoff.delay(attempt, self._services.chance(), cap=5.0))


def _is_held(resource: Resource) -> bool:
    """Asked anew after a wait, in which an operator may have said something."""
    return resource.hold is not None


def _event(kind: str, resource: Resource, reason: str, claim: Claim | None = None) -> NewEvent:
    return NewEvent(
        kind,
        pool=resource.pool,
        resource=resource.id,
        claim=resource.claim or "",
        request=claim.request_id if claim is not None else "",
        reason=reason,
        data={"parts": [part.name for part in resource.parts]},
    )
