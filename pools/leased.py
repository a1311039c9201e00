"""What must hold between claims and resources at every moment. Pure."""

from collections.abc import Iterable, Iterator

from .claim import Claim, ClaimState
from .ids import ClaimId, ResourceId
from .inventory import Inventory


def lease_breaches(inventory: Inventory, claims: Iterable[Claim]) -> Iterator[str]:
    """What is leased twice, to nobody, or in part; nothing unless there is a defect."""
    holders: dict[ResourceId, ClaimId] = {}
    for claim in claims:
        for resource_id in claim.resources:
            resource = inventory.get(resource_id)
            if claim.state is ClaimState.ENDING and (
                resource is None or resource.claim != claim.id
            ):
                continue  # it may serve another claim while others still leave this one
            if resource_id in holders:
                yield f"{resource_id} is leased to {holders[resource_id]} and {claim.id}"
            holders[resource_id] = claim.id
            if claim.state is ClaimState.BOUND and resource is None:
                yield f"{claim.id} is bound to {resource_id}, which does not exist"
        if claim.state is ClaimState.BOUND and len(claim.resources) != claim.count:
            yield f"{claim.id} is bound to {len(claim.resources)} of {claim.count}"
