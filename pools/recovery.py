"""Goes on from what the ledger says after a stop or a crash, at whatever point it came.

What was answered survives; what nobody was told of is undone:

    resource                        claim                        what follows
    planned, preparing, failed      -                            removed
    ready                           -                            observed, then claimable again
    held                            -                            held until its end date
    finishing                       pending or finishing         resource removed; an answered claim
                                                                 waits again, another is forgotten
    bound                           bound                        watched until it ends
    bound                           ending, or none              removed
    resetting                       ending                       removed, and the claim ends with it:
                                                                 how far the reset came, and what of
                                                                 it took effect, nobody can tell
    several, as the claim's state   bound or ending              as each of them; the claim ends
                                                                 with the last
    retiring, ending, quarantined   any, or none                 removal goes on, and the claim
                                                                 ends with it
    none                            bound or ending              the claim is ended

A hold beside a resource's state is gone on with as before: what would be removed is held, and so is
what stands ready. What is held without a hold, because the daemon died between the two, is removed.
"""

import logging
from dataclasses import dataclass, field

from .claim import Claim, ClaimState, EndedBecause, advance, retry
from .dismantling import Dismantler
from .driver import PartRef, ProviderRef
from .ids import ClaimId
from .lifecycle import ResourceState
from .resource import Health, Resource
from .services import Services
from .store import Image
from .switches import Switch, SwitchKind, sentence

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
    lost: list[Claim] = field(default_factory=list[Claim])
    """They should have a resource and have none; already over, to be written down."""
    leftovers: list[tuple[Resource, Claim | None]] = field(
        default_factory=list[tuple[Resource, Claim | None]]
    )
    """To be dismantled, with the claim that ends with them."""
    switches: list[Switch] = field(default_factory=list[Switch])
    """What operators have set on pools."""
    held: list[Resource] = field(default_factory=list[Resource])
    """Those with a hold."""
    stray: list[Switch] = field(default_factory=list[Switch])
    """Holds of what does not exist: to be dropped."""


def recover(services: Services, image: Image) -> Recovered:
    """Fills the inventory and says what has to go on. Starts nothing."""
    result = Recovered()
    for claim in sorted(image.claims, key=lambda claim: (claim.created_at, claim.id)):
        _sort_claim(claim, result)
    now = services.clock.now()
    holds = {one.subject: one for one in image.switches if one.kind is SwitchKind.HOLD}
    result.switches = [one for one in image.switches if one.kind is not SwitchKind.HOLD]
    for resource in sorted(image.resources, key=lambda r: (r.ready_at or r.created_at, r.id)):
        resource.health = Health.UNKNOWN
        resource.hold = holds.pop(resource.id, None)
        if resource.hold is not None:
            result.held.append(resource)
        services.inventory.add(resource)
        _sort_resource(services, resource, result, now)
        for part in resource.parts:
            driver = services.drivers.get(part.driver)
            if driver is not None and not driver.pure:
                # What the provider's settings are, nobody knows before a revision is applied.
                driver.watch(PartRef(part.id, ProviderRef(part.provider), part.handle))
    result.stray = list(holds.values())
    _settle_claims(services, result, now)
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
        case _:
            pass
    result.claims[claim.id] = claim


def _sort_resource(services: Services, resource: Resource, result: Recovered, now: float) -> None:
    inventory = services.inventory
    claim = _holder(resource, result)
    match resource.state:
        case S.PLANNED | S.PREPARING | S.FINISHING:
            inventory.move(resource, S.RETIRING, "the daemon stopped while it was made", now)
        case S.BOUND if claim is not None and claim.state is ClaimState.ENDING:
            # One of several: the ledger was told the end of another one before.
            inventory.move(resource, S.ENDING, f"{claim.id} has ended", now)
        case S.BOUND if claim is None or claim.state is not ClaimState.BOUND:
            log.error("%s is bound to no living claim and is removed", resource.id)
            inventory.move(resource, S.ENDING, "no living claim has it", now)
        case S.RESETTING:
            inventory.move(resource, S.ENDING, "the daemon stopped while it was reset", now)
        case S.QUARANTINED:
            inventory.move(resource, S.ENDING, resource.reason, now)
        case S.HELD if resource.hold is None:
            inventory.move(resource, S.ENDING, "its hold has ended", now)
        case S.READY if resource.hold is not None:
            reason = f"held {sentence(resource.hold, '')}"
            inventory.move(resource, S.HELD, reason, now)
            return
        case S.FAILED | S.RETIRING | S.ENDING:
            pass
        case _:
            return
    if claim is not None and claim.state is ClaimState.BOUND:
        advance(claim, ClaimState.ENDING)
        claim.ended_because = EndedBecause.FAILED
    ending = claim if claim is not None and claim.state is ClaimState.ENDING else None
    result.leftovers.append((resource, ending))


def _holder(resource: Resource, result: Recovered) -> Claim | None:
    """The claim that has it. One for which it could not be finished has another by now."""
    claim = result.claims.get(resource.claim) if resource.claim is not None else None
    return claim if claim is not None and resource.id in claim.resources else None


def _settle_claims(services: Services, result: Recovered, now: float) -> None:
    """Sorts out the claims that should have a resource: with one they live on or end with it."""
    for claim in list(result.claims.values()):
        if claim.state not in {ClaimState.BOUND, ClaimState.ENDING}:
            continue
        there = map(services.inventory.get, claim.resources)
        # One of several that has left may serve another claim by now.
        found = [one for one in there if one is not None and one.claim == claim.id]
        if found:
            if claim.state is ClaimState.BOUND:
                result.bound.append(claim)
            else:
                _end_the_rest(services, claim, found, result, now)
            continue
        log.error("the claim %s has no resource in the ledger and is ended", claim.id)
        if claim.state is ClaimState.BOUND:
            advance(claim, ClaimState.ENDING)
            claim.ended_because = EndedBecause.FAILED
        advance(claim, ClaimState.ENDED)
        claim.ended_at = now
        del result.claims[claim.id]
        result.lost.append(claim)


def _end_the_rest(
    services: Services,
    claim: Claim,
    found: list[Resource],
    result: Recovered,
    now: float,
) -> None:
    """Those of an ended claim that were looked at while it still counted as bound."""
    for resource in found:
        if resource.state is S.BOUND:
            services.inventory.move(resource, S.ENDING, f"{claim.id} has ended", now)
            result.leftovers.append((resource, claim))
