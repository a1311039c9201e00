"""Whether claims for several resources have all of them or none, and hold nothing while they wait."""

from collections import Counter
from collections.abc import Iterator

from stoker.pools.claim import ClaimState
from stoker.pools.ids import ClaimId, ResourceId
from stoker.pools.lifecycle import ResourceState
from stoker.pools.store import Image
from tests.rig import Run

HAND_OVER = 1.0
"""Seconds for which a resource may be taken without being finished for a claim."""
_WITHOUT = frozenset({ClaimState.PENDING, ClaimState.FINISHING})


class Together:
    """Of one story. `look` tells what is wrong."""

    def __init__(self) -> None:
        self._run: Run | None = None
        self._taken: dict[ResourceId, float] = {}
        """Since when each one is taken and nothing follows."""

    def look(self, run: Run, now: float) -> Iterator[str]:
        if run is not self._run:
            self._run = run
            self._taken.clear()
            yield from _partly_bound(run.store.load(), "by the ledger ")
        resources = list(run.fleet.resources())
        claims = list(run.fleet.live_claims())
        yield from _partly_bound(Image(resources, claims), "")
        holders = {claim.id for claim in claims if claim.state is ClaimState.BOUND}
        for one in resources:
            if one.state is ResourceState.BOUND and one.claim not in holders:
                yield f"{one.id} is bound to nobody: {one.claim} has ended"
        taken = [one.id for one in resources if one.state is ResourceState.CLAIMED]
        self._taken = {one: self._taken.get(one, now) for one in taken}
        for taken_one, since in self._taken.items():
            if now - since > HAND_OVER:
                yield f"{taken_one} is held for {now - since:.1f}s by somebody who still waits"


def _partly_bound(image: Image, how: str) -> Iterator[str]:
    bound: Counter[ClaimId | None] = Counter(
        one.claim for one in image.resources if one.state is ResourceState.BOUND
    )
    for claim in image.claims:
        wanted = claim.count if claim.state is ClaimState.BOUND else 0
        if claim.state in {*_WITHOUT, ClaimState.BOUND} and bound[claim.id] != wanted:
            yield f"{claim.id}, {claim.state}, has {how}{bound[claim.id]} of {claim.count} bound"
