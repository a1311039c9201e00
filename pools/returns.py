"""Takes a resource back from a claim that ends: to be reset where it may serve another, else to be removed.

The end of every bound claim comes through here. What is about to happen is put into the transaction
that ends the claim, so that after a crash the ledger says what may have begun.
"""

from collections.abc import Mapping

from ..config.revision import Blueprint
from .claim import Claim
from .dismantling import Dismantler
from .ids import ResourceId
from .lifecycle import ResourceState
from .pool import Pool
from .resetting import Resetter
from .resource import Resource
from .reuse import Demand, why_not
from .services import Services
from .store import NewEvent, Transaction


class Returns:
    def __init__(
        self,
        services: Services,
        pools: Mapping[str, Pool],
        dismantler: Dismantler,
        resetter: Resetter,
    ) -> None:
        self._services = services
        self._pools = pools
        self._dismantler = dismantler
        self._resetter = resetter
        self._resets: dict[ResourceId, Blueprint] = {}
        """By which blueprint those are reset whose release is being written."""

    def take_back(self, resource: Resource, reason: str, transaction: Transaction) -> None:
        """The resource leaves its claim, for `reason`; what follows is put into the transaction."""
        services = self._services
        now = services.clock.now()
        blueprint, why = self._verdict(resource, now)
        if blueprint is not None:
            services.inventory.move(resource, ResourceState.RESETTING, reason, now)
            self._resets[resource.id] = blueprint
            self._resetter.announce(resource, transaction)
            return
        if why:
            services.telemetry.reset(resource.pool, "unwanted")
            reason = f"{reason}, and it is not used again, because {why}"
        services.inventory.move(resource, ResourceState.ENDING, reason, now)
        self._dismantler.condemn(resource, transaction)

    def go_on(
        self, resource: Resource, claim: Claim, *, written: bool, event: NewEvent | None
    ) -> None:
        """Begins what `take_back` announced. Call once for each.

        If that is not `written`, the resource is removed, after both that and `event` are: nothing is
        reset that the ledger takes for bound.
        """
        blueprint = self._resets.pop(resource.id, None)
        if blueprint is not None and written:
            self._resetter.start(resource, claim, blueprint)
            return
        if blueprint is not None:
            resource.version += 1  # above what a commit that failed may have written all the same
            now, reason = self._services.clock.now(), "its release could not be written at once"
            self._services.telemetry.reset(resource.pool, "failed")
            self._services.inventory.move(resource, ResourceState.ENDING, reason, now)
        self._dismantler.start(resource, claim, written=written, event=event)

    def _verdict(self, resource: Resource, now: float) -> tuple[Blueprint | None, str]:
        """The blueprint to reset it by, or None and why not, if its blueprint has a reset at all."""
        pool = self._pools.get(resource.pool)
        if pool is None or pool.serving.blueprint.reset is None:
            return None, ""
        members = self._services.inventory.members(resource.pool)
        demand = Demand(
            ready=members.ready if members.old_first else len(members.current),
            resetting=members.counts[ResourceState.RESETTING],
            waiting=len(pool.line),
        )
        why = why_not(resource, pool.serving, demand, now, pool.circumstances_of(resource))
        return (None, why) if why else (pool.serving.blueprint, "")
