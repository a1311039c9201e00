"""Points at which the daemon can be cut off: around every ledger write and every driver call.

A point has a name made of what is written or made, with resources and claims numbered in the order
in which they are first seen ("web#2.server create: done"). So a point is the same one in every
run of a scenario, however its tasks interleave, and a failure says where it was.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import ClassVar

from stoker.config.json_types import JsonObject
from stoker.pools.claim import Claim
from stoker.pools.driver import (
    Changed,
    Driver,
    Drivers,
    Made,
    NotFound,
    Observation,
    PartRef,
    PartRequest,
    ResettingDriver,
)
from stoker.pools.ids import ClaimId, PartId, ResourceId, resource_of
from stoker.pools.resource import Part, Resource
from stoker.pools.sealing import Sealer
from stoker.pools.store import ClockAnchor, Done, KeptRevision, NewEvent, StoreError, Transaction
from stoker.pools.stores.sqlite import SqliteStore
from stoker.pools.stores.transaction import SqliteTransaction


class Names:
    """Ids to names that are the same in every run."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._counts: Counter[str] = Counter()

    def resource(self, resource: ResourceId) -> str:
        return self._named(resource, resource.rpartition("-")[0])

    def claim(self, claim: ClaimId) -> str:
        return self._named(claim, "claim")

    def part(self, part: PartId) -> str:
        return f"{self.resource(resource_of(part))}.{part.rpartition('.')[2]}"

    def _named(self, thing: str, kind: str) -> str:
        if thing not in self._names:
            self._counts[kind] += 1
            self._names[thing] = f"{kind}#{self._counts[kind]}"
        return self._names[thing]


class Cuts:
    """Counts the points that are passed, and cuts the daemon off at one of them."""

    def __init__(
        self,
        at: str | None,
        *,
        die: Callable[[], Awaitable[None]],
        passed: Callable[[str], None] = lambda point: None,
        armed: Callable[[], bool] = lambda: True,
    ) -> None:
        self.names = Names()
        self._at = at
        self._die = die
        """Never returns to whoever was cut off."""
        self._passed = passed
        """Told of each point before anything happens there."""
        self._armed = armed
        self._seen: Counter[str] = Counter()

    async def reach(self, point: str) -> None:
        if not self._armed():
            return
        self._seen[point] += 1
        if self._seen[point] > 1:
            point = f"{point} ({self._seen[point]})"
        self._passed(point)
        if point == self._at:
            await self._die()


class NamedTransaction(SqliteTransaction):
    """A transaction that can say what it writes."""

    __slots__ = ("_names", "writes")

    def __init__(self, sealer: Sealer, names: Names) -> None:
        super().__init__(sealer)
        self._names = names
        self.writes: list[str] = []

    def put_resource(self, resource: Resource) -> None:
        super().put_resource(resource)
        self.writes.append(f"{self._names.resource(resource.id)} {resource.state}")

    def put_part(self, resource: Resource, part: Part) -> None:
        super().put_part(resource, part)
        self.writes.append(f"{self._names.part(part.id)} {part.state}")

    def drop_part(self, part: PartId) -> None:
        super().drop_part(part)
        self.writes.append(f"{self._names.part(part)} dropped")

    def drop_resource(self, resource: ResourceId) -> None:
        super().drop_resource(resource)
        self.writes.append(f"{self._names.resource(resource)} dropped")

    def put_claim(self, claim: Claim) -> None:
        super().put_claim(claim)
        self.writes.append(f"{self._names.claim(claim.id)} {claim.state}")

    def drop_claim(self, claim: ClaimId) -> None:
        super().drop_claim(claim)
        self.writes.append(f"{self._names.claim(claim)} dropped")

    def put_revision(self, revision: KeptRevision) -> None:
        super().put_revision(revision)
        self.writes.append("revision")

    def put_anchor(self, anchor: ClockAnchor) -> None:
        super().put_anchor(anchor)
        self.writes.append("anchor")

    def add_event(self, event: NewEvent) -> None:
        super().add_event(event)
        self.writes.append(f"({event.kind})")


class CutStore(SqliteStore):
    """The real ledger, with a point before each commit and one when it is durable."""

    cuts: Cuts
    submitted: ClassVar[set[asyncio.Task[None]]] = set()
    """So that they are not collected under way."""

    def transaction(self) -> NamedTransaction:
        return NamedTransaction(self._sealer, self.cuts.names)

    async def commit(self, transaction: Transaction, *, urgent: bool = False) -> None:
        assert isinstance(transaction, NamedTransaction)
        what = "write " + ", ".join(transaction.writes)
        await self.cuts.reach(f"{what}: not begun")
        await super().commit(transaction, urgent=urgent)
        await self.cuts.reach(f"{what}: durable")

    def submit(self, transaction: Transaction, done: Done, *, urgent: bool = False) -> None:
        async def go() -> None:
            error: StoreError | None = None
            try:
                await self.commit(transaction, urgent=urgent)
            except StoreError as refused:
                error = refused
            done(error)

        task = asyncio.get_running_loop().create_task(go(), name="a submitted commit")
        self.submitted.add(task)
        task.add_done_callback(self.submitted.discard)


class CutDriver:
    """A real driver, with points before and after each creation and removal took effect."""

    def __init__(self, driver: Driver, cuts: Cuts) -> None:
        self.name = driver.name
        self.pure = driver.pure
        self._driver = driver
        self._cuts = cuts
        self._asked: set[PartId] = set()

    async def open(self, changed: Changed) -> None:
        await self._driver.open(changed)

    async def close(self) -> None:
        await self._driver.close()

    async def allot(self, request: PartRequest) -> JsonObject:
        return await self._driver.allot(request)

    def intend(self, request: PartRequest) -> JsonObject:
        return self._driver.intend(request)

    async def create(self, request: PartRequest) -> Made:
        what = f"{self._cuts.names.part(request.id)} create"
        await self._cuts.reach(f"{what}: not begun")
        made = await self._driver.create(request)
        await self._cuts.reach(f"{what}: done")
        return made

    async def reset(self, request: PartRequest, part: PartRef) -> Made:
        assert isinstance(self._driver, ResettingDriver)
        what = f"{self._cuts.names.part(request.id)} reset"
        await self._cuts.reach(f"{what}: not begun")
        made = await self._driver.reset(request, part)
        await self._cuts.reach(f"{what}: done")
        return made

    async def observe(self, part: PartRef) -> Observation:
        return await self._driver.observe(part)

    async def destroy(self, part: PartRef) -> None:
        """How often it has to be repeated is chance, so only the first one and the proof count."""
        what = f"{self._cuts.names.part(part.id)} destroy"
        first = part.id not in self._asked
        self._asked.add(part.id)
        if first:
            await self._cuts.reach(f"{what}: not begun")
        try:
            await self._driver.destroy(part)
        except NotFound:
            await self._cuts.reach(f"{what}: absent")
            raise
        if first:
            await self._cuts.reach(f"{what}: asked")

    async def list_owned(self) -> frozenset[PartId]:
        return await self._driver.list_owned()

    def watch(self, part: PartRef) -> None:
        self._driver.watch(part)

    def forget(self, part: PartId) -> None:
        self._driver.forget(part)


def with_cuts(drivers: Drivers, cuts: Cuts) -> Drivers:
    """The drivers with points around their calls; a pure one touches nothing and is left alone."""
    return {
        name: driver if driver.pure else CutDriver(driver, cuts) for name, driver in drivers.items()
    }
