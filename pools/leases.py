"""The end of a claim: renewal, release, expiry. Everything that ends one passes through `end`."""

import logging

from ..config.units import format_duration
from .claim import Claim, ClaimState, EndedBecause, advance
from .dismantling import Dismantler
from .ids import ClaimId
from .lifecycle import ResourceState
from .requests import Code, Refusal
from .resource import Resource
from .services import Services
from .store import NewEvent, StoreError, Transaction
from .timers import Timer

log = logging.getLogger(__name__)


class Leases:
    """The bound claims and the moments at which they end."""

    def __init__(self, services: Services, dismantler: Dismantler) -> None:
        self._services = services
        self._dismantler = dismantler
        self._timers: dict[ClaimId, Timer] = {}

    def watch(self, claim: Claim) -> None:
        """From now on the claim ends by itself at `expires_at`."""
        assert claim.expires_at is not None
        known = self._timers.pop(claim.id, None)
        if known is not None:
            known.cancel()
        self._timers[claim.id] = self._services.timers.at(
            claim.expires_at, lambda: self._expired(claim)
        )

    async def renew(self, claim: Claim, ttl: float | None, request_id: str) -> Claim:
        """The expiry becomes now + width, never past `bound_at + max_ttl`; it never adds up."""
        services = self._services
        _require_bound(claim)
        assert claim.bound_at is not None
        now = services.clock.now()
        width = claim.ttl if ttl is None else ttl
        if width > claim.max_ttl:
            raise ttl_too_long(width, claim.max_ttl, claim.pool)
        before = claim.expires_at, claim.ttl
        claim.ttl = width
        claim.expires_at = min(now + width, claim.bound_at + claim.max_ttl)
        claim.version += 1
        transaction = services.store.transaction()
        transaction.put_claim(claim)
        transaction.add_event(
            NewEvent(
                "claim.renewed",
                pool=claim.pool,
                claim=claim.id,
                request=request_id,
                data={"ttl": width},
            )
        )
        try:
            await services.commit(transaction, urgent=True)
        except StoreError as error:
            if claim.state is ClaimState.BOUND:
                claim.expires_at, claim.ttl = before
            raise _ledger_refused("renewal", error) from error
        _require_bound(claim)  # it may have ended while the commit ran
        self.watch(claim)
        return claim

    async def end(self, claim: Claim, because: EndedBecause, request_id: str = "") -> None:
        """Ends a bound claim: durable first, then its resource is taken away. Repeating is harmless.

        Raises `StoreError` when the ledger refuses; the removal goes on by itself then, because
        the dismantler writes the end again until it is taken.
        """
        if claim.state is not ClaimState.BOUND:
            return
        services = self._services
        now = services.clock.now()
        timer = self._timers.pop(claim.id, None)
        if timer is not None:
            timer.cancel()
        advance(claim, ClaimState.ENDING)
        claim.ended_because = because
        services.telemetry.claim_ended(claim.pool, because)
        resource = self._resource(claim)
        transaction = services.store.transaction()
        if resource is not None:
            reason = f"{claim.id} was {because}" if because != "claimant-gone" else "left behind"
            services.inventory.move(resource, ResourceState.ENDING, reason, now)
            self._dismantler.condemn(resource, transaction)
        transaction.put_claim(claim)
        self._add_event(transaction, claim, because, request_id)
        written = False
        try:
            await services.commit(transaction, urgent=True)
            written = True
        finally:
            if resource is not None:
                self._dismantler.start(resource, claim, written=written)

    def forget(self, claim: Claim) -> None:
        timer = self._timers.pop(claim.id, None)
        if timer is not None:
            timer.cancel()

    def _expired(self, claim: Claim) -> None:
        """The timer's call. A renewal in the meantime has set another timer."""
        now = self._services.clock.now()
        if claim.state is not ClaimState.BOUND or claim.expires_at is None:
            return
        if claim.expires_at > now:
            self.watch(claim)
        else:
            self._services.tasks.start(self._expire(claim), f"expire {claim.id}")

    async def _expire(self, claim: Claim) -> None:
        try:
            await self.end(claim, EndedBecause.EXPIRED)
        except StoreError as error:
            log.warning("the expiry of %s could not be written yet: %s", claim.id, error)

    def _resource(self, claim: Claim) -> Resource | None:
        for resource_id in claim.resources:
            resource = self._services.inventory.get(resource_id)
            if resource is not None and resource.state is ResourceState.BOUND:
                return resource
        return None

    def _add_event(
        self, transaction: Transaction, claim: Claim, because: EndedBecause, request_id: str
    ) -> None:
        transaction.add_event(
            NewEvent(
                f"claim.{because}",
                pool=claim.pool,
                resource=claim.resources[0] if claim.resources else "",
                claim=claim.id,
                request=request_id,
            )
        )


def ttl_too_long(ttl: float, limit: float, pool: str) -> Refusal:
    return Refusal(
        Code.TTL_TOO_LONG,
        f"a claim in the pool {pool} may last {format_duration(limit)} at most; "
        f"{format_duration(ttl)} was asked for",
        details={"maxTtl": format_duration(limit)},
    )


def _ledger_refused(what: str, error: StoreError) -> Refusal:
    return Refusal(
        Code.LEDGER_UNAVAILABLE, f"the {what} cannot be written down: {error}", retry_after=2.0
    )


def _require_bound(claim: Claim) -> None:
    match claim.state:
        case ClaimState.BOUND:
            return
        case ClaimState.PENDING | ClaimState.FINISHING:
            raise Refusal(
                Code.CLAIM_PENDING,
                f"the claim {claim.id} is not bound yet, so there is nothing to renew",
                retry_after=1.0,
            )
        case _:
            raise Refusal(
                Code.CLAIM_OVER,
                f"the claim {claim.id} is over ({claim.ended_because or claim.code}); "
                "make a new claim",
            )
