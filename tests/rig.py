"""The real core on simulated surroundings: virtual time, a ledger in memory, a simulated world.

A `Host` is what survives a crash of the daemon (the disk, the world, the clock); `Host.start`
begins one run of the daemon on it and `Run.crash` ends it as `kill -9` would. Needs a loop with
virtual time (`@pytest.mark.looptime`, or `tests.virtual_loop`).
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Generator, Hashable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TypedDict, Unpack
from unittest.mock import patch

from stoker.config.catalogue import ValueType
from stoker.config.json_types import Json, JsonObject
from stoker.config.parameters import Parameters
from stoker.config.policies.rules import PolicySpec
from stoker.config.revision import (
    Backfill,
    Blueprint,
    Lifetime,
    OutputPlan,
    PartPlan,
    PoolSpec,
    Queue,
    ResetPlan,
    Revision,
    RolloutSpec,
)
from stoker.config.shapes import Environment, Shape
from stoker.config.templates import compile_template
from stoker.daemon.judging import PolicyJudge
from stoker.pools.binding import Bind, Binding, Process, Tie, process_ended
from stoker.pools.claim import Claim, Claimant
from stoker.pools.driver import Driver
from stoker.pools.drivers import token
from stoker.pools.drivers.context import DriverContext
from stoker.pools.fleet import Fleet
from stoker.pools.ids import ClaimId, Ids, PartId, ResourceId
from stoker.pools.inventory import Inventory
from stoker.pools.pool import Pool
from stoker.pools.processes import Tied
from stoker.pools.providers import Providers
from stoker.pools.readiness import NotReady
from stoker.pools.requests import ClaimRequest
from stoker.pools.resource import Resource
from stoker.pools.sealing import Sealer
from stoker.pools.services import Services
from stoker.pools.status import PoolStatus
from stoker.pools.stores.sqlite import MemoryDisk, SqliteStore
from stoker.pools.tasks import Tasks
from stoker.pools.telemetry import Silent
from stoker.pools.timers import Timers
from stoker.pools.wishes import Wish
from tests.builders import a_pool, a_revision
from tests.fakes.processes import SimulatedProcesses
from tests.fakes.world import FACTS, Faults, SimulatedDriver, SimulatedWorld

ANYTHING = Environment(
    {root: Shape(ValueType.DYN) for root in ("params", "parts", "self", "resource", "claim")}
)
EPOCH = 1_700_000_000.0
ME = Claimant(uid=1000, gid=1000, pid=4242, user="me")


class VirtualClock:
    """Steady time is the loop's virtual time."""

    def now(self) -> float:
        return EPOCH + asyncio.get_running_loop().time()

    def to_wall(self, steady: float) -> float:
        return steady


class WorldChecks:
    """Parts have no readiness check here; what proves a reset looks at the world itself.

    The check `{"exec": ["clean", PART, …]}` passes when nobody has left anything in these things.
    """

    def __init__(self, world: SimulatedWorld) -> None:
        self._world = world

    async def wait_until_ready(
        self,
        check: JsonObject,
        *,
        still_there: Callable[[], Awaitable[None]] | None = None,
        log_path: Path | None = None,
    ) -> None:
        words = check["exec"]
        assert isinstance(words, list)
        assert words[0] == "clean"
        await asyncio.sleep(0.01)
        for part in words[1:]:
            thing = self._world.things.get(PartId(str(part)))
            if thing is None or thing.soil:
                left = "it is gone" if thing is None else ", ".join(sorted(thing.soil))
                raise NotReady(f"{part} is not clean: {left}")
            self._world.proved[thing.part] = self._world.now()

    async def probe(self, check: JsonObject) -> str | None:
        raise AssertionError(f"no part of the simulation has a readiness check: {check}")


@contextmanager
def virtual_throttle() -> Generator[None]:
    """Lets asyncio-throttle read the loop's virtual time instead of the host's."""
    virtual = SimpleNamespace(monotonic=lambda: asyncio.get_running_loop().time())
    with patch("asyncio_throttle.throttler.time", virtual):
        yield


@dataclass
class Host:
    """What a crash of the daemon leaves standing."""

    seed: int = 0
    faults: Faults = field(default_factory=Faults)
    policies: tuple[PolicySpec, ...] = ()
    """Asked for each claim, if there are any."""

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.world = SimulatedWorld(random.Random(self.random.random()), self.faults)
        self.disk = MemoryDisk()
        self.clock = VirtualClock()
        self.processes = SimulatedProcesses()
        self.sealer = Sealer(self.random.randbytes(32))
        self.revisions: dict[str, Revision] = {}
        """All that were ever applied, by id: what the ledger's files would be read to."""

    async def start(self, *pools: PoolSpec, revision: Revision | None = None) -> "Run":
        run = Run(self)
        await run.open()
        await run.apply(revision or self.revision(*pools))
        await run.fleet.start()
        return run

    def revision(self, *pools: PoolSpec) -> Revision:
        policies = {policy.name: policy for policy in self.policies}
        return replace(a_revision(*pools), policies=policies)


class OpenFleet(Fleet):
    """The fleet with what only its tests need to reach."""

    at_end: Callable[[Claim], None] | None = None
    """Called before a claim ends with its resource."""

    def own(self, name: str) -> Pool:
        return self._pools[name]

    def all_pools(self) -> list[Pool]:
        """Where a status of each would tell more than is asked, and takes longer."""
        return [self._pools[name] for name in sorted(self._pools)]

    def known(self, claim: ClaimId) -> Claim | None:
        """One that is not over."""
        return next((one for one in self.live_claims() if one.id == claim), None)

    def _over(self, claim: Claim) -> None:
        if self.at_end is not None:
            self.at_end(claim)
        super()._over(claim)

    def die(self) -> None:
        """Stops what the pools do by themselves, and tells nobody."""
        self._desk.ties.close()
        for pool in self._pools.values():
            pool.close()


class Asked(TypedDict, total=False):
    """What a test may say of a claim, beside its pool and how long it waits."""

    params: JsonObject
    ttl: float | None
    reason: str
    labels: JsonObject
    key: bytes | None
    body: bytes
    request_id: str
    wish: Wish | None
    break_glass: bool


class VirtualJudge(PolicyJudge):
    """Indexes when the revision is declared: a thread would not keep to virtual time."""

    async def prepare(self, revision: Revision) -> None: ...


class Run:
    """One life of the daemon."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.driver: SimulatedDriver = host.world.connect()
        self.store = SqliteStore.open_memory(
            host.disk, sealer=host.sealer, wall=host.clock.now, delay=self._commit_takes
        )
        self.gap: Callable[[], Awaitable[None]] = _a_moment
        """Awaited before and after each write of the ledger: raises to make a commit fail."""
        self.defects: list[BaseException] = []
        self.drivers: dict[str, Driver] = {
            "simulated": self.driver,
            "token": token.create_driver(DriverContext(Path("nowhere"), host.clock)),
        }
        self.services = Services(
            store=self.store,
            drivers=self.drivers,
            catalogue={"simulated": FACTS, "token": token.FACTS},
            clock=host.clock,
            ids=Ids(host.clock.now, host.random.randbytes),
            telemetry=Silent(),
            providers=Providers(host.clock),
            readiness=WorldChecks(host.world),
            inventory=Inventory(),
            tasks=Tasks(self.defects.append),
            timers=Timers(host.clock),
            processes=host.processes,
            chance=host.random.random,
        )
        self.decisions: list[tuple[str, str, str]] = []
        """Outcome, policy and rule of each decision."""
        if host.policies:
            self.services.judge = VirtualJudge(
                host.clock, self, daemon_uid=0, host="here", timer=host.clock.now
            )
        self.fleet = OpenFleet(self.services)

    def policy_asked(self, seconds: float) -> None: ...

    def policy_shadowed(self, outcome: str, policy: str, rule: str) -> None: ...

    def policy_decided(self, outcome: str, policy: str, rule: str) -> None:
        self.decisions.append((outcome, policy, rule))

    async def open(self) -> None:
        await self.fleet.open(self.store.load())

    async def apply(self, revision: Revision) -> None:
        """At a start, what the ledger remembers is recalled before, as the synchroniser does."""
        if self.fleet.revision is None:
            image = self.store.load()
            for number, kept in enumerate((image.revision, *image.older)):
                known = None if kept is None else self.host.revisions.get(kept.id)
                if known is not None and known.id != revision.id:
                    self.fleet.recall(known, last=number == 0)
        await self.fleet.apply(revision)
        self.host.revisions[revision.id] = revision

    async def stop(self, grace: float = 5.0) -> None:
        await self.fleet.close(grace)
        await self.store.close()

    async def crash(self) -> None:
        """As `kill -9`: nothing of this run has an effect from now on."""
        self.driver.disconnect()
        self.store.kill()
        self.fleet.die()
        self.services.timers.close()
        await self.services.tasks.close()

    async def _commit_takes(self) -> None:
        await self.gap()

    # Shorthands

    async def claim(
        self,
        pool: str = "web",
        *,
        wait: float | None = 30.0,
        claimant: Claimant = ME,
        **more: Unpack[Asked],
    ) -> Claim:
        return await self.fleet.claim(ClaimRequest(pool, claimant, wait=wait, **more))

    async def claim_with(
        self,
        process: Process,
        pool: str = "web",
        *,
        to: Bind = Bind.PROCESS,
        anchor: Hashable = None,
        thing: Tied | None = None,
        wait: float | None = 30.0,
        **more: Unpack[Asked],
    ) -> Claim:
        """A claim that hangs on the process, or on `thing`, a connection of that process."""
        anchor = process if anchor is None else anchor
        thing = self.host.processes.open(process) if thing is None else thing
        tie = Tie(Binding(to, process), anchor)
        hold = self.fleet.ties.hold(anchor, thing, process_ended(process))
        try:
            return await self.fleet.claim(ClaimRequest(pool, ME, wait=wait, tie=tie, **more))
        finally:
            hold.release()

    async def gang(
        self, count: int, pool: str = "web", *, wait: float | None = 30.0, **more: Unpack[Asked]
    ) -> Claim:
        """A claim for so many resources."""
        more["wish"] = Wish(count)
        return await self.claim(pool, wait=wait, **more)

    def held(self, claim: Claim) -> Resource:
        """The resource that the claim holds."""
        return self.resource(claim.resources[0])

    def resource(self, resource_id: ResourceId) -> Resource:
        resource = self.fleet.resource(resource_id)
        assert resource is not None, f"there is no resource {resource_id}"
        return resource

    def status(self, pool: str = "web") -> PoolStatus:
        status = self.fleet.pool(pool)
        assert status is not None, f"there is no pool {pool}"
        return status

    def ready(self, pool: str = "web") -> int:
        status = self.fleet.pool(pool)
        return 0 if status is None else status.ready

    async def settle(self, seconds: float = 30.0) -> None:
        await asyncio.sleep(seconds)

    async def until_ready(self, count: int, pool: str = "web", within: float = 120.0) -> None:
        async with asyncio.timeout(within):
            while self.ready(pool) != count:
                await asyncio.sleep(0.01)

    def breaches(self) -> list[str]:
        return self.fleet.invariants() + [repr(defect) for defect in self.defects]

    def forgotten(self) -> set[PartId]:
        """What exists in the world and in no ledger."""
        known = {part.id for resource in self.fleet.resources() for part in resource.parts}
        return set(self.host.world.exists()) - known


async def _a_moment() -> None:
    await asyncio.sleep(0.0003)


def a_part(
    name: str = "box", driver: str = "simulated", settings: JsonObject | None = None
) -> PartPlan:
    template = compile_template(dict(settings or {}), ANYTHING)
    return PartPlan(name, driver, driver, template, None, frozenset())


def an_output(name: str, expression: str, *, secret: bool = False) -> OutputPlan:
    early = not secret and not any(word in expression for word in ("params", "claim"))
    return OutputPlan(name, compile_template(expression, ANYTHING), secret, early=early)


def boxes(*, digest: str = "d1", finish: tuple[PartPlan, ...] | None = None) -> Blueprint:
    """One simulated part ahead, one token at claim."""
    finish = (a_part("token", "token", {"kind": "random"}),) if finish is None else finish
    outputs = [an_output("name", "${parts.box.name}")]
    if any(part.name == "token" for part in finish):
        outputs.append(an_output("token", "${parts.token.value}", secret=True))
    return Blueprint("box", digest, Parameters.compile({}), (a_part(),), finish, tuple(outputs))


def reusable(
    blueprint: Blueprint | None = None,
    *,
    in_place: bool = True,
    max_uses: int = 10,
    within: float = 30.0,
) -> Blueprint:
    """Boxes that serve several claims: reset in place, or made anew, and then proved to be clean."""
    blueprint = blueprint or boxes()
    names = [part.name for part in blueprint.prepare]
    clean: list[Json] = ["clean", *(f"${{parts.{name}.name}}" for name in names)]
    return replace(
        blueprint,
        reset=ResetPlan(
            parts=blueprint.prepare,
            in_place=frozenset(names if in_place else ()),
            verify=compile_template({"exec": clean, "within": 5.0}, ANYTHING),
            max_uses=max_uses,
            within=within,
        ),
    )


class PoolFacts(TypedDict, total=False):
    name: str
    min: int
    max: int
    lifetime: Lifetime
    backfill: Backfill
    queue: Queue
    rollout: RolloutSpec


def a_box_pool(*, blueprint: Blueprint | None = None, **more: Unpack[PoolFacts]) -> PoolSpec:
    return a_pool(blueprint=blueprint or boxes(), **more)
