"""Small builders of what the core works with, with defaults that a test may leave alone."""

from dataclasses import replace

from stoker.config.parameters import Parameters
from stoker.config.revision import (
    Backfill,
    Blueprint,
    Lifetime,
    OutputPlan,
    PartPlan,
    PoolSpec,
    ProviderSpec,
    Queue,
    Revision,
    RolloutSpec,
    Size,
)
from stoker.pools.breaker import Breaker
from stoker.pools.ids import ResourceId
from stoker.pools.lifecycle import ResourceState
from stoker.pools.plan import Member, Snapshot
from stoker.pools.resource import Health, Resource
from stoker.pools.rollout import Memory, Rollout, Stage, Underway


def a_blueprint(
    *,
    name: str = "box",
    digest: str = "d1",
    prepare: tuple[PartPlan, ...] = (),
    finish: tuple[PartPlan, ...] = (),
    outputs: tuple[OutputPlan, ...] = (),
) -> Blueprint:
    return Blueprint(name, digest, Parameters.compile({}), prepare, finish, outputs)


def a_pool(
    *,
    name: str = "web",
    min: int = 3,  # noqa: A002
    max: int = 10,  # noqa: A002
    blueprint: Blueprint | None = None,
    lifetime: Lifetime | None = None,
    backfill: Backfill | None = None,
    queue: Queue | None = None,
    rollout: RolloutSpec | None = None,
) -> PoolSpec:
    return PoolSpec(
        name=name,
        labels={},
        blueprint=blueprint or a_blueprint(),
        size=Size(min, max),
        lifetime=lifetime or Lifetime(),
        backfill=backfill or Backfill(rate=100.0, burst=10, concurrency=4),
        queue=queue or Queue(),
        rollout=rollout or RolloutSpec(),
    )


def a_revision(*pools: PoolSpec, id: str = "r1") -> Revision:  # noqa: A002
    providers = {
        name: ProviderSpec(name, name)
        for pool in pools
        for name in [p.driver for p in (*pool.blueprint.prepare, *pool.blueprint.finish)]
    }
    return Revision(id, id * 4, "test", {pool.name: pool for pool in pools}, providers, {})


def a_member(name: str = "web-1", *, ready_at: float = 0.0, problem: str = "") -> Member:
    return Member(ResourceId(name), ready_at, problem)


def members(count: int, *, prefix: str = "web", ready_at: float = 0.0) -> tuple[Member, ...]:
    return tuple(a_member(f"{prefix}-{n}", ready_at=ready_at) for n in range(count))


def a_snapshot(
    *,
    ready: int = 0,
    outdated: int = 0,
    coming: int = 0,
    bound: int = 0,
    leaving: int = 0,
    held: int = 0,
    waiting: int = 0,
    resetting: int = 0,
    drifted: tuple[Member, ...] = (),
    breaker: Breaker | None = None,
    draining: bool = False,
    paused: bool = False,
    frozen: str = "",
    refresh: bool = False,
    ready_at: float = 0.0,
    coming_outdated: int = 0,
    rolling: Underway | None = None,
    wall: float = 0.0,
) -> Snapshot:
    """A consistent snapshot: `occupied` is the sum of its kinds."""
    return Snapshot(
        occupied=ready
        + outdated
        + coming
        + coming_outdated
        + bound
        + leaving
        + held
        + resetting
        + len(drifted),
        current=ready,
        outdated=outdated,
        coming=coming,
        under_way=coming,
        leaving=leaving,
        held=held,
        waiting=waiting,
        resetting=resetting,
        drifted=drifted,
        oldest_current=members(min(ready, 64), ready_at=ready_at),
        oldest_outdated=members(min(outdated, 64), prefix="old", ready_at=ready_at),
        breaker=breaker or Breaker(),
        draining=draining,
        paused=paused,
        frozen=frozen,
        refresh=refresh,
        coming_outdated=coming_outdated,
        under_way_outdated=coming_outdated,
        rolling=rolling,
        wall=wall,
    )


def a_rollout(
    stage: Stage = Stage.CANARY, *, previous: str = "d0", started_at: float = 0.0
) -> Rollout:
    return Rollout(
        "web", "d1", previous, "r0", stage, started_at, started_at, "the blueprint changed"
    )


def under_way(
    stage: Stage = Stage.CANARY,
    *,
    known: bool = True,
    breaker: Breaker | None = None,
    proven: int = 0,
    proves_at: float | None = None,
    in_use: int = 0,
    progress_at: float = 0.0,
    trouble: str = "",
) -> Underway:
    memory = Memory(progress_at, trouble)
    breaker = breaker or Breaker()
    return Underway(a_rollout(stage), known, breaker, proven, proves_at, in_use, memory)


def a_resource(
    name: str = "web-aaaaaaaa",
    *,
    state: ResourceState = ResourceState.PLANNED,
    health: Health = Health.HEALTHY,
    digest: str = "d1",
    pool: str = "web",
    ready_at: float | None = None,
) -> Resource:
    resource = Resource(
        id=ResourceId(name),
        pool=pool,
        blueprint="box",
        digest=digest,
        revision="r1",
        created_at=0.0,
        ready_at=ready_at,
    )
    return replace(resource, state=state, health=health)
