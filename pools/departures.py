"""When a claim has ended: with the last of its resources to leave it.

A resource has left once what was made for the claim is proved absent: it is gone, held by an operator,
or ready for another claim. Those of one claim leave side by side, and write that down one by one, so
that the last one knows that it is the last. A claim with one resource passes through untouched.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from .claim import Claim
from .ids import ClaimId, ResourceId
from .resource import Resource


class Departures:
    def __init__(self) -> None:
        self._staying: dict[ClaimId, set[ResourceId]] = {}
        """Those that are still with an ending claim."""
        self._locks: dict[ClaimId, asyncio.Lock] = {}

    def expect(self, resource: Resource, claim: Claim | None) -> None:
        """The resource begins to leave. Of one claim all begin before the first has left."""
        if claim is not None and len(claim.resources) > 1:
            self._staying.setdefault(claim.id, set()).add(resource.id)

    @asynccontextmanager
    async def turn(self, resource: Resource, claim: Claim | None) -> AsyncGenerator[Claim | None]:
        """For writing down that the resource has left: the claim if it ends with that, else None.

        If the body raises, the resource has not left.
        """
        if claim is None or len(claim.resources) < 2:
            yield claim
            return
        async with self._locks.setdefault(claim.id, asyncio.Lock()):
            staying = self._staying.get(claim.id, set())
            last = staying <= {resource.id}
            yield claim if last else None
            staying.discard(resource.id)
            if last:
                self._staying.pop(claim.id, None)
                self._locks.pop(claim.id, None)
