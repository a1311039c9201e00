"""The making of one resource, from `planned` to `ready`. The pool says when, and what a failure means."""

from ..config.revision import PoolSpec
from .assembly import Assembly
from .lanes import Lane
from .lifecycle import ResourceState
from .part_times import WHOLE, PartTime
from .resource import Half, Resource
from .services import Services
from .store import NewEvent


def planned(services: Services, spec: PoolSpec, revision: str) -> Resource:
    """A new resource in the inventory: from now on it counts, whatever becomes of it."""
    now = services.clock.now()
    identity = services.ids.resource(spec.name)
    while services.inventory.get(identity) is not None:
        identity = services.ids.resource(spec.name)
    resource = Resource(
        id=identity,
        pool=spec.name,
        blueprint=spec.blueprint.name,
        digest=spec.blueprint.digest,
        revision=revision,
        created_at=now,
        changed_at=now,
        labels=dict(spec.labels),
    )
    services.inventory.add(resource)
    return resource


async def make_ready(services: Services, resource: Resource, spec: PoolSpec, lane: Lane) -> None:
    """Makes the `prepare` parts. Raises `DriverError` or `StoreError`; then the resource is used up.

    Afterwards the resource is ready and that is durable, but nobody has judged it healthy yet: it
    becomes claimable by the caller's next step.
    """
    now = services.clock.now()
    services.inventory.move(resource, ResourceState.PREPARING, "being made", now)
    assembly = Assembly(services, resource, lane)
    await assembly.make(spec.blueprint.prepare, Half.PREPARE, assembly.scope())
    await _write_ready(services, resource, assembly)
    services.part_times.add(resource.digest, WHOLE, PartTime(services.clock.now() - now))


async def _write_ready(services: Services, resource: Resource, assembly: Assembly) -> None:
    """Durable first: until then it is being made, for a claim and for whoever observes alike."""
    now, reason = services.clock.now(), "made and verified"
    resource.ready_at = now
    ready = services.inventory.after(resource, ResourceState.READY, reason, now)
    transaction = services.store.transaction()
    transaction.put_resource(ready)
    for part in assembly.unwritten:
        transaction.put_part(resource, part)
    transaction.add_event(NewEvent("resource.ready", pool=resource.pool, resource=resource.id))
    await services.commit(transaction)
    services.inventory.move(resource, ResourceState.READY, reason, now)
