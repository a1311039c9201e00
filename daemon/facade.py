"""What the API needs of the pools and of the ledger, as Protocols.

`stoker.pools.fleet.Fleet` and every store fulfil them. The API asks for no more than this.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..pools.approving import Approving
from ..pools.claim import Claim, Claimant
from ..pools.clock import Clock
from ..pools.evidence import Evidence
from ..pools.ids import ClaimId, ResourceId
from ..pools.judging import Place
from ..pools.reasons import WaitingFor
from ..pools.requests import ClaimRequest
from ..pools.resource import Resource
from ..pools.status import HostStatus, PoolStatus
from ..pools.store import Event, EventListener
from ..pools.switches import HostAction, Order, PoolAction, ResourceAction
from ..pools.ties import Ties
from ..pools.usage import Usage


class FleetView(Protocol):
    """The pools, as far as callers of the socket see them. Every "no" is a `Refusal`."""

    async def claim(self, request: ClaimRequest, /) -> Claim: ...

    async def settled(self, claim_id: ClaimId, wait: float, /) -> Claim: ...

    async def renew(
        self,
        claim_id: ClaimId,
        ttl: float | None,
        /,
        *,
        request_id: str,
        by: Claimant | None = None,
    ) -> Claim: ...

    async def release(self, claim_id: ClaimId, /, *, request_id: str, why: str = "") -> Claim: ...

    async def find_claim(self, claim_id: ClaimId, /) -> Claim: ...

    def live_claims(self) -> Iterable[Claim]: ...

    async def ended_claims(self, pool: str | None, limit: int, /) -> Sequence[Claim]: ...

    def resources(self) -> Iterable[Resource]: ...

    def resource(self, id: ResourceId, /) -> Resource | None: ...  # noqa: A002

    def pools(self) -> list[PoolStatus]: ...

    def pool(self, name: str, /) -> PoolStatus | None: ...

    def place_of(self, pool: str, /) -> Place:
        """Raises `Refusal` for a pool that there is not."""
        ...

    @property
    def usage(self) -> Usage: ...

    @property
    def evidence(self) -> Evidence: ...

    @property
    def approving(self) -> Approving: ...

    @property
    def ties(self) -> Ties: ...

    async def operate_pool(self, action: PoolAction, name: str, order: Order, /) -> PoolStatus: ...

    async def operate_host(self, action: HostAction, order: Order, /) -> HostStatus: ...

    async def operate_resource(
        self, action: ResourceAction, resource_id: ResourceId, order: Order, /
    ) -> Resource: ...

    def place_in_line(self, claim: Claim, /) -> tuple[int, float | None]: ...

    def waiting_for(self, claim: Claim, position: int, /) -> WaitingFor | None: ...


class EventSource(Protocol):
    """The ledger, as far as events are read from it."""

    async def events(self, *, after: int, limit: int, **filters: str) -> Sequence[Event]: ...

    def on_events(self, listener: EventListener, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Core:
    """What is served once the fleet is open."""

    fleet: FleetView
    events: EventSource
    clock: Clock
    last_event: int = 0
    """The newest event's number when the ledger was opened (`Image.last_event`)."""
