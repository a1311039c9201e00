"""Goes on from what the ledger says after a stop or a crash, at whatever point it came.

What was answered survives; what nobody was told of is undone:

    resource                        claim                        what follows
    planned, preparing, failed      -                            removed
    ready                           -                            observed, then claimable again
    finishing                       pending or finishing         resource removed; an answered claim
                                                                 waits again, another is forgotten
    bound                           bound                        watched until it ends
    retiring, ending, quarantined   ending, or none              removal goes on
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from .claim import Claim, ClaimState, retry
from .dismantling import Dismantler
from .driver import PartRef
from .ids import ClaimId
from .lifecycle import ResourceState
from .resource import Health, Resource
from .services import Services
from .store import Image

log = logging.getLogger(__name__)

S = ResourceState


@dataclass(slots=True)
class Recovered:
    """What is left to do once the pools exist."""

    claims: dict[ClaimId, Claim] = field(default_factory=dict[ClaimId, Claim])
    """All that are not over."""
    waiting: list[Claim] = field(default_factory=list[Claim])
    """Answered, not yet bound: they queue again, oldest first."""
    bound: list[Claim] = field(default_factory=list[Claim])
    forgotten: list[Claim] = field(default_factory=list[Claim])
    """Nobody was told of them: to be dropped."""
    leftovers: list[tuple[Resource, Claim | None]] = field(
        default_factory=list[tuple[Resource, Claim | None]]
    )
    """To be dismantled, with the claim that ends with them."""


def recover(services: Services, image: Image) -> Recovered:
    """Fills the inventory and says what has to go on. Starts nothing."""
    result = Recovered()
    for claim in sorted(image.claims, key=lambda claim: (claim.created_at, claim.id)):
        _sort_claim(claim, result)
    now = services.clock.now()
    for resource in sorted(image.resources, key=lambda r: (r.ready_at or r.created_at, r.id)):
        resource.health = Health.UNKNOWN
        services.inventory.add(resource)
        _sort_resource(services, resource, result, now)
        for part in resource.parts:
            driver = services.drivers.get(part.driver)
            if driver is not None and not driver.pure:
                provider = services.providers.get(part.provider, part.driver)
                driver.watch(PartRef(part.id, provider.ref, part.handle))
    return result


def restart_leftovers(recovered: Recovered, dismantler: Dismantler) -> None:
    for resource, claim in recovered.leftovers:
        dismantler.start(resource, claim)


def _sort_claim(claim: Claim, result: Recovered) -> None:
    match claim.state:
        case ClaimState.PENDING | ClaimState.FINISHING:
            if not claim.answered:
                result.forgotten.append(claim)
                return
            retry(claim)
            result.waiting.append(claim)
        case ClaimState.BOUND:
            result.bound.append(claim)
        case _:
            pass
    result.claims[claim.id] = claim


def _sort_resource(services: Services, resource: Resource, result: Recovered, now: float) -> None:
    inventory = services.inventory
    match resource.state:
        case S.PLANNED | S.PREPARING | S.FINISHING:
            inventory.move(resource, S.RETIRING, "the daemon stopped while it was made", now)
        case S.FAILED | S.RETIRING | S.ENDING | S.QUARANTINED:
            pass
        case _:
            return
    if resource.state is S.QUARANTINED:
        inventory.move(resource, S.ENDING, resource.reason, now)
    claim = result.claims.get(resource.claim) if resource.claim is not None else None
    ending = claim if claim is not None and claim.state is ClaimState.ENDING else None
    result.leftovers.append((resource, ending))


def lost_claims(recovered: Recovered, services: Services) -> list[Claim]:
    """Claims that should have a resource and have none: the ledger is not what we wrote."""
    return [
        claim
        for claim in recovered.claims.values()
        if claim.state in {ClaimState.BOUND, ClaimState.ENDING}
        and not any(services.inventory.get(resource) for resource in claim.resources)
    ]


def complain_of_lost(claims: list[Claim], over: Callable[[Claim], None]) -> None:
    for claim in claims:
        log.error("the claim %s has no resource in the ledger and is closed", claim.id)
        over(claim)
