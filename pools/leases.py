"""The end of a claim: renewal, release, expiry. Everything that ends one passes through `end`.

`expiry` says what is due when; a claim has one timer, for whatever comes next.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

from ..config.json_types import Json
from ..config.units import format_duration
from .admission import Admission
from .choosing import ttl_too_long
from .claim import Claim, Claimant, ClaimState, EndedBecause, advance
from .endings import Endings
from .expiry import Step, Terms, due, ends_at, next_step
from .ids import ClaimId
from .judging import with_record
from .lifecycle import ResourceState
from .moments import rfc3339
from .requests import Code, Refusal
from .resource import Resource, nothing
from .returns import Returns
from .services import Services
from .store import NewEvent, StoreError, Transaction
from .timers import Timer

log = logging.getLogger(__name__)

ANNOUNCE_AGAIN = 5.0
"""Seconds after which an announcement is tried again that the ledger refused."""


class Leases:
    """The bound claims and the moments at which they end."""

    def __init__(
        self,
        services: Services,
        returns: Returns,
        endings: Endings,
        over: Callable[[Claim], None],
        admission: Admission,
    ) -> None:
        self._services = services
        self._returns = returns
        self._endings = endings
        self._over = over
        """Told of a claim that has ended without a resource to take away."""
        self._admission = admission
        self._timers: dict[ClaimId, Timer] = {}
        self._renewing: Counter[ClaimId] = Counter()
        """Renewals being written: an expiry waits for what becomes of them."""
        self._ending: dict[ClaimId, asyncio.Future[StoreError | None]] = {}
        """Ends being written: whoever asks for one again waits for the same."""

    async def resume(self, claims: Iterable[Claim]) -> None:
        """After a start: claims whose time came meanwhile end before anybody sees them again."""
        now = self._services.clock.now()
        late: list[Claim] = []
        for claim in claims:
            if claim.expires_at is None or ends_at(claim.expires_at, claim.terms) <= now:
                late.append(claim)
            else:
                self.watch(claim)
        await asyncio.gather(*(self._expire(claim) for claim in late))

    def watch(self, claim: Claim) -> None:
        """From now on the claim ends by itself, and what its terms grant happens before."""
        assert claim.expires_at is not None
        when = claim.expires_at
        if claim.terms is not None:
            when, _ = next_step(when, claim.ttl, claim.terms)
        self._ring(claim, when)

    def _ring(self, claim: Claim, when: float) -> None:
        known = self._timers.pop(claim.id, None)
        if known is not None:
            known.cancel()
        self._timers[claim.id] = self._services.timers.at(when, lambda: self._rung(claim))

    async def renew(self, claim: Claim, ttl: float | None, request_id: str, by: Claimant) -> Claim:
        """The expiry becomes now + width, never past `bound_at + max_ttl`; it never adds up.

        Policies are asked again, by the identity of `by`. Raises `Refusal`.
        """
        services = self._services
        _require_bound(claim)
        assert claim.bound_at is not None
        now = services.clock.now()
        if claim.expires_at is not None and claim.expires_at <= now:
            # Its grace runs; or its timer is about to ring, or late as the host was suspended.
            raise _expired(claim)
        ends = claim.bound_at if claim.expires_at is None else claim.expires_at
        ruling = self._admission.renewed(claim, ttl, by, ends - now)
        width = claim.ttl if ruling.ttl is None else ruling.ttl
        if width > claim.max_ttl:
            raise ttl_too_long(width, claim.max_ttl, claim.pool)
        until = min(now + width, claim.bound_at + claim.max_ttl)
        take_back = self._admission.charge(claim, max(0.0, until - ends))
        claim.version += 1
        renewed = replace(claim, ttl=width, expires_at=until)
        transaction = services.store.transaction()
        transaction.put_claim(renewed)
        transaction.add_event(
            NewEvent(
                "claim.renewed",
                pool=claim.pool,
                resource=claim.only_resource,
                claim=claim.id,
                request=request_id,
                data=with_record({"ttl": width}, ruling.record),
            )
        )
        try:
            await self._commit_renewal(claim, transaction)
        except Refusal:
            take_back()
            raise
        claim.ttl, claim.expires_at = renewed.ttl, renewed.expires_at
        self.watch(claim)
        return claim

    async def _commit_renewal(self, claim: Claim, transaction: Transaction) -> None:
        """The claim keeps its expiry until this is durable, and does not expire meanwhile."""
        self._renewing[claim.id] += 1
        try:
            await self._services.commit(transaction, urgent=True)
        except StoreError as error:
            raise _ledger_refused("renewal", error) from error
        finally:
            self._renewing[claim.id] -= 1
            if not self._renewing[claim.id]:
                del self._renewing[claim.id]
            if claim.state is ClaimState.BOUND:
                self.watch(claim)
        _require_bound(claim)  # it may have been released while the commit ran

    async def end(
        self, claim: Claim, because: EndedBecause, request_id: str = "", *, why: str = ""
    ) -> None:
        """Ends a bound claim: durable first, then its resource is taken away. Repeating is harmless.

        Raises `StoreError` when the ledger refuses; the end goes on by itself then, because it is
        written again until it is taken.
        """
        known = self._ending.get(claim.id)
        if known is not None:
            error = await asyncio.shield(known)
            if error is not None:
                raise error
        if claim.state is not ClaimState.BOUND:
            return
        self.forget(claim)
        advance(claim, ClaimState.ENDING)
        self._services.usage.leave(claim)
        claim.ended_because = because
        self._services.telemetry.claim_ended(claim.pool, because)
        event = NewEvent(
            f"claim.{because}",
            pool=claim.pool,
            resource=claim.only_resource,
            claim=claim.id,
            request=request_id or claim.request_id,
            reason=why,
            data={"resources": list(claim.resources)} if len(claim.resources) > 1 else nothing(),
        )
        resources = self._held(claim)
        if resources:
            await self._take_away(claim, resources, event)
        else:
            await self._end_at_once(claim)

    async def _take_away(self, claim: Claim, resources: list[Resource], event: NewEvent) -> None:
        services = self._services
        reason = f"{claim.id} was {claim.ended_because}"
        if claim.ended_because is EndedBecause.CLAIMANT_GONE:
            reason = f"the claimant of {claim.id} is gone"
        transaction = services.store.transaction()
        for resource in resources:
            self._returns.take_back(resource, reason, transaction)
        transaction.put_claim(claim)
        transaction.add_event(event)
        written: asyncio.Future[StoreError | None] = asyncio.get_running_loop().create_future()
        self._ending[claim.id] = written

        def told(error: StoreError | None) -> None:
            del self._ending[claim.id]
            written.set_result(error)
            unwritten = None if error is None else event
            for resource in resources:
                self._returns.go_on(resource, claim, written=error is None, event=unwritten)
                unwritten = None

        # Submitted: a caller who leaves takes only the answer away, and who comes again waits for it.
        services.submit(transaction, told, urgent=True)
        refused = await asyncio.shield(written)
        if refused is not None:
            raise refused

    async def _end_at_once(self, claim: Claim) -> None:
        """There is nothing to take away, so nothing that would end the claim later."""
        advance(claim, ClaimState.ENDED)
        claim.ended_at = self._services.clock.now()
        await self._endings.write(claim, keep=True, because="its resource is gone")
        self._over(claim)

    def forget(self, claim: Claim) -> None:
        timer = self._timers.pop(claim.id, None)
        if timer is not None:
            timer.cancel()

    def _rung(self, claim: Claim) -> None:
        """The timer's call. A renewal in the meantime has set another timer."""
        now = self._services.clock.now()
        if claim.state is not ClaimState.BOUND or claim.expires_at is None:
            return
        if claim.id in self._renewing:
            return  # which sets the timer again, whatever its outcome
        step = due(claim.expires_at, claim.ttl, claim.terms, now)
        if step is Step.END:
            self._services.tasks.start(self._expire(claim), f"expire {claim.id}")
        elif step is Step.WAIT or claim.terms is None:
            self.watch(claim)
        else:
            self._announce(claim, claim.terms, step)

    def _announce(self, claim: Claim, terms: Terms, step: Step) -> None:
        """Says that the claim is about to expire, or that its grace has begun.

        That it was said is written with the event, so it is said once for each deadline. The row
        is made here, in one go with the look at `_renewing`: a renewal that begins now has a newer
        one. If the ledger refuses, it was not said and is said later, while there is time.
        """
        before, deadline = terms.announced, claim.expires_at
        if step is Step.ANNOUNCE:
            terms.announced = deadline
        else:
            terms.lapsed = True
        claim.version += 1
        transaction = self._services.store.transaction()
        transaction.put_claim(claim)
        transaction.add_event(self._announcement(claim, terms, step))
        self.watch(claim)

        async def write() -> None:
            try:
                await self._services.commit(transaction, urgent=True)
            except StoreError as error:
                log.warning("%s could not be announced to expire yet: %s", claim.id, error)
                terms.lapsed = False
                if terms.announced == deadline:  # and no later one
                    terms.announced = before
                if claim.state is ClaimState.BOUND and claim.expires_at is not None:
                    now, end = self._services.clock.now(), ends_at(claim.expires_at, terms)
                    self._ring(claim, min(now + ANNOUNCE_AGAIN, max(now, end)))

        self._services.tasks.start(write(), f"announce {claim.id}")

    def _announcement(self, claim: Claim, terms: Terms, step: Step) -> NewEvent:
        assert claim.expires_at is not None
        assert claim.bound_at is not None
        clock = self._services.clock
        data: dict[str, Json] = {"expiresAt": rfc3339(clock.to_wall(claim.expires_at))}
        if terms.grace:
            data["graceUntil"] = rfc3339(clock.to_wall(claim.expires_at + terms.grace))
        if step is Step.LAPSE:
            kind = "claim.lapsed"
            reason = f"its time is up; work in flight has {format_duration(terms.grace)} to end"
        else:
            kind = "claim.expiring"
            left = format_duration(round(max(0.0, claim.expires_at - clock.now()), 1))
            renewable = claim.expires_at < claim.bound_at + claim.max_ttl
            data["renewable"] = renewable
            reason = f"it expires in {left}" + (
                " unless it is renewed" if renewable else ", and it has lasted as long as it may"
            )
        return NewEvent(
            kind,
            pool=claim.pool,
            resource=claim.only_resource,
            claim=claim.id,
            request=claim.request_id,
            reason=reason,
            data=data,
        )

    async def _expire(self, claim: Claim) -> None:
        try:
            await self.end(claim, EndedBecause.EXPIRED)
        except StoreError as error:
            log.warning("the expiry of %s could not be written yet: %s", claim.id, error)

    def _held(self, claim: Claim) -> list[Resource]:
        found = map(self._services.inventory.get, claim.resources)
        return [one for one in found if one is not None and one.state is ResourceState.BOUND]


def _expired(claim: Claim) -> Refusal:
    in_grace = claim.terms is not None and claim.terms.grace
    how = "has expired, and its grace is no time for renewals" if in_grace else "has expired"
    return Refusal(Code.CLAIM_OVER, f"the claim {claim.id} {how}; make a new claim")


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
