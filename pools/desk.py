"""Where claims are asked for: one entry for new claims, retries, questions, renewals and releases.

The desk knows every claim that is not over. It refuses what cannot be served, joins a retry to
what is under way for its key, and hands everything else to `claiming` (up to the bind) and to
`leases` (from the bind to the end).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from .admission import Admission
from .approving import Approving
from .claim import Claim, Claimant, EndedBecause
from .claiming import Claiming
from .endings import Endings
from .errands import Errand, Left
from .ids import ClaimId
from .judging import Denial
from .leases import Leases
from .ledger_watch import LedgerWatch, SentAway
from .places import Places
from .pool import Pool
from .refusals import stopping
from .requests import ClaimRequest, Code, Refusal
from .resource import Resource
from .returns import Returns
from .services import Services
from .store import StoreError
from .ties import Ties
from .usage import pools_of

log = logging.getLogger(__name__)

AT_ONCE = 100
"""So many claims of one claimant that has gone are ended before other work gets its turn."""
LOST = "it has no resource in the ledger any more"


class ClaimDesk:
    def __init__(
        self,
        services: Services,
        pools: Mapping[str, Pool],
        returns: Returns,
        *,
        undeclared: Callable[[str], Pool],
        look: Callable[[Resource], None],
    ) -> None:
        self._services = services
        self._pools = pools
        self._undeclared = undeclared
        """Makes the draining pool of a claim whose pool is no longer declared."""
        self._look = look
        """Told of a resource that has to be observed."""
        self._claims: dict[ClaimId, Claim] = {}
        """All that are not over, by id."""
        self._errands: dict[ClaimId, Errand] = {}
        self._by_key: dict[bytes, Errand] = {}
        self.places = Places(services, pools, lambda: self._claims)
        self.place_in_line = self.places.place_in_line
        self.nearest_pool = self.places.nearest_pool
        self.endings = Endings(services)
        self.ties = Ties(services, self._gone)
        self.ledger_watch = LedgerWatch(services, self._send_away)
        self._admission = Admission(services, pools, lambda: self._claiming.stopping)
        self.place_of = self._admission.place_of
        self.leases = Leases(services, returns, self.endings, self.over, self._admission)
        self.approving = Approving(services, self._admission, self.find_claim)
        self._claiming = Claiming(
            services,
            approving=self.approving,
            endings=self.endings,
            bound=self._bound,
            end=self._end,
            over=self.over,
            settled=lambda errand: self._unregister(errand.claim),
            may_queue=self.places.may_queue,
        )

    # Starting and stopping

    def remember(self, claims: dict[ClaimId, Claim]) -> None:
        """What the ledger knows of, at the start."""
        self._claims = claims

    async def resume(self, bound: Sequence[Claim], waiting: Iterable[Claim]) -> None:
        """After a start: claims that ended meanwhile end before anybody sees them, others go on."""
        gone = await self.ties.resume((*bound, *waiting))
        for claim in waiting:
            self._wait_again(claim, gone=claim.id in gone)
        await self.leases.resume(bound)
        departed = [claim for claim in bound if claim.id in gone]
        await asyncio.gather(*(self._end_departed(claim, gone[claim.id]) for claim in departed))

    def _wait_again(self, claim: Claim, *, gone: bool) -> None:
        """A claim that was told "pending" by an earlier run of the daemon queues again."""
        errand = self._register(claim, *self._pools_of(claim))
        if gone:
            self._claiming.give_up(errand, claim.request_id, EndedBecause.CLAIMANT_GONE)
        self._claiming.start(errand, None)

    def _pools_of(self, claim: Claim) -> list[Pool]:
        """Those that may serve a claim of an earlier run, as far as they are still declared."""
        names = claim.wish.pools if claim.wish is not None and claim.wish.pools else (claim.pool,)
        found = [self._pools[name] for name in names if name in self._pools]
        return found or [self._undeclared(claim.pool)]

    async def close(self, grace: float) -> None:
        """Refuses new claims and those that wait; lets those being served finish within `grace`."""
        self.ties.close()  # what ends from now on, the next start finds
        self._claiming.stopping = True
        for errand in self._errands.values():
            if not errand.claim.answered:
                errand.dismiss(stopping())
        deadline = self._services.clock.now() + grace
        while any(not errand.in_line for errand in self._errands.values()):
            if self._services.clock.now() >= deadline:
                break
            await asyncio.sleep(0.01)

    # What callers ask for

    async def claim(self, request: ClaimRequest) -> Claim:
        """Serves a claim: bound, or pending when the caller does not stay on the line for it.

        Raises `Refusal`. If the calling task is cancelled, a claim that still waits is given up
        and never handed anything.
        """
        while True:
            if request.key is None:
                return await self._begin(request)
            errand = self._by_key.get(request.key)
            if errand is not None and await errand.abandoned():
                continue
            known = errand.claim if errand is not None else self._known(request.key)
            if known is None:
                return await self._begin(request)
            if known.body != request.body:
                raise Refusal(
                    Code.KEY_REUSED,
                    f"this Idempotency-Key belongs to the claim {known.id}, which was asked for "
                    "with another body; use a new key for a new claim",
                )
            if errand is None or (request.wait is None and known.answered):
                return known
            try:
                return await self._listen(errand, request)
            except Left:
                if errand.given_up is not None:
                    raise
                continue  # it was given up just before this retry came

    async def settled(self, claim_id: ClaimId, wait: float) -> Claim:
        """The claim, as soon as it is neither pending nor finishing, or after `wait` seconds."""
        errand = self._errands.get(claim_id)
        if errand is None:
            return await self.find_claim(claim_id)
        try:
            async with asyncio.timeout(wait):
                return await errand.watch()
        except (TimeoutError, Refusal):
            return errand.claim

    async def renew(
        self,
        claim_id: ClaimId,
        ttl: float | None,
        *,
        request_id: str,
        by: Claimant | None = None,
    ) -> Claim:
        """`by`: whose identity policies go by, if it is not the claimant's as it claimed."""
        with self.ledger_watch.bounded("the renewal"):
            claim = await self.find_claim(claim_id)
            by = by or claim.claimant
            try:
                async with self.approving.turn(claim):
                    return await self.leases.renew(claim, ttl, request_id, by)
            except Denial as denial:
                await self._admission.note_renewal(claim, by, request_id, denial)
                raise

    async def release(self, claim_id: ClaimId, *, request_id: str, why: str = "") -> Claim:
        """Ends a claim, whatever its state; repeating it is harmless."""
        with self.ledger_watch.bounded("the release"):
            return await self._release(claim_id, request_id, why)

    async def _release(self, claim_id: ClaimId, request_id: str, why: str) -> Claim:
        claim = await self.find_claim(claim_id)
        try:
            return await self._end_any(claim, EndedBecause.RELEASED, request_id, why=why)
        except StoreError as error:
            raise Refusal(
                Code.LEDGER_UNAVAILABLE,
                f"the release cannot be written down yet: {error}; repeat it",
                retry_after=2.0,
            ) from error

    async def _end_any(
        self, claim: Claim, because: EndedBecause, request_id: str, *, why: str = ""
    ) -> Claim:
        """Ends a claim, whatever its state. Raises `StoreError`, or `SentAway` in a stall."""
        errand = self._errands.get(claim.id)
        if errand is not None:
            self._claiming.give_up(errand, request_id, because)
            try:
                claim = await errand.watch()
            except SentAway:
                raise
            except Refusal:
                return errand.claim
        await self.leases.end(claim, because, request_id, why=why)
        return claim

    async def find_claim(self, claim_id: ClaimId) -> Claim:
        """A live or an ended claim; raises `Refusal`."""
        claim = self._claims.get(claim_id) or self.endings.unwritten(claim_id)
        if claim is None:
            claim = await self._services.store.claim(claim_id)
        if claim is None:
            raise Refusal(
                Code.NO_SUCH_CLAIM,
                f"there is no claim {claim_id}; it never was, or it ended more than a day ago",
            )
        return claim

    def live_claims(self) -> Iterable[Claim]:
        return self._claims.values()

    async def ended_claims(self, pool: str | None, limit: int) -> Sequence[Claim]:
        return await self._services.store.ended_claims(pool=pool, limit=limit)

    # Steps of a new claim

    async def _begin(self, request: ClaimRequest) -> Claim:
        try:
            errand = self._enter(request)
        except Denial as denial:
            await self._admission.note(request, denial)
            raise
        return await self._listen(errand, request)

    def _enter(self, request: ClaimRequest) -> Errand:
        """From the policies to the registration in one go: nothing is counted twice or too late."""
        claim, pools, others = self._admission.admit(request)
        self._refuse_the_dead(request)
        resource = None
        if claim.needs_approval:
            self.approving.may_ask(claim)
        elif request.wish is None:
            (pool,) = pools
            resource = pool.take(claim.created_at)
            if resource is None:
                self.places.may_queue(pool)
                pool.line.expect(claim.id)
        errand = self._register(claim, *pools)
        errand.ruled_out = others
        if not claim.needs_approval:
            self._services.usage.hold(claim, pools_of(claim))
        if request.tie is not None:
            self.ties.tie(claim.id, request.tie.anchor)
        must_wait = claim.needs_approval or (resource is None and request.wait is None)
        self._claiming.start(errand, resource, pend=must_wait)
        return errand

    def _refuse_the_dead(self, request: ClaimRequest) -> None:
        if request.tie is not None and not self.ties.alive(request.tie.anchor):
            raise Refusal(
                Code.CANNOT_FOLLOW,
                f"the {request.tie.binding.to} that the claim was to be bound to has ended",
            )

    def _register(self, claim: Claim, pool: Pool, *others: Pool) -> Errand:
        errand = self._errands[claim.id] = Errand(claim, pool, others)
        self._claims[claim.id] = claim
        if claim.key is not None:
            self._by_key[claim.key] = errand
        return errand

    def _unregister(self, claim: Claim) -> None:
        errand = self._errands.pop(claim.id, None)
        if claim.key is not None and self._by_key.get(claim.key) is errand:
            self._by_key.pop(claim.key, None)  # and not the errand of whoever came after

    async def _listen(self, errand: Errand, request: ClaimRequest) -> Claim:
        hangs_up, timer = request.wait is None, None
        if request.wait is not None and errand.claim.approval is not None:
            # It may wait for longer than its caller: who leaves the line knows of it.
            until = self._services.clock.now() + request.wait
            timer = self._services.timers.at(until, errand.hang_up)
        try:
            return await errand.listen(lambda: self._claiming.deserted(errand), hangs_up=hangs_up)
        finally:
            if timer is not None:
                timer.cancel()

    def _known(self, key: bytes) -> Claim | None:
        """The claim that the key belongs to. Raises `Refusal` when that cannot be told."""
        try:
            claim = self._services.store.find_key(key)
        except StoreError as error:
            why = f"the ledger cannot be read: {error}"
            raise Refusal(Code.LEDGER_UNAVAILABLE, why, retry_after=2.0) from error
        if claim is None:
            return None
        over = self.endings.unwritten(claim.id)
        if over is not None and not over.answered:
            raise Refusal(
                Code.LEDGER_UNAVAILABLE,
                "an earlier claim with this Idempotency-Key came to nothing, and the ledger could "
                "not be told yet; repeat the request",
                retry_after=2.0,
            )
        return over or self._claims.get(claim.id, claim)

    async def close_books(self, lost: list[Claim], forgotten: list[Claim]) -> None:
        """After a start: ends claims without a resource, and drops those nobody was told of."""
        endings = [
            *(self.endings.write(claim, keep=True, because=LOST) for claim in lost),
            *(self.endings.write(claim, keep=False) for claim in forgotten),
        ]
        await asyncio.gather(*endings)

    # What the parts tell

    def over(self, claim: Claim) -> None:
        self._claims.pop(claim.id, None)
        self._services.usage.leave(claim)
        self.approving.follow_ups.over(claim)
        self._unregister(claim)
        self.leases.forget(claim)
        if claim.binding is not None:
            self.ties.untie(claim.id)

    def _bound(self, claim: Claim) -> None:
        self.leases.watch(claim)
        for resource_id in claim.resources:
            resource = self._services.inventory.get(resource_id)
            if resource is not None and resource.suspect:
                self._look(resource)

    def _gone(self, claims: Sequence[ClaimId], why: str) -> None:
        self._services.tasks.start(self._end_all_departed(claims, why), f"claims left: {why}")

    async def _end_all_departed(self, claims: Sequence[ClaimId], why: str) -> None:
        for number, claim_id in enumerate(claims):
            claim = self._claims.get(claim_id)
            if claim is not None:
                work = self._end_departed(claim, why)
                self._services.tasks.start(work, f"claimant of {claim_id} gone")
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)

    async def _end_departed(self, claim: Claim, why: str) -> None:
        try:
            await self._end_any(claim, EndedBecause.CLAIMANT_GONE, claim.request_id, why=why)
        except SentAway as stall:
            # The errand knows that it was given up, and ends the claim itself.
            log.warning("the end of %s has to wait: %s", claim.id, stall)
        except StoreError as error:
            log.warning("the end of %s could not be written yet: %s", claim.id, error)

    def _send_away(self) -> None:
        """The ledger stands still. Those in line wait for a resource, and have a deadline for it."""
        for errand in list(self._errands.values()):
            if not errand.in_line:
                errand.send_away()

    def _end(self, claim: Claim, because: EndedBecause, request_id: str) -> None:
        work = self._end_unwanted(claim, because, request_id)
        self._services.tasks.start(work, f"end {claim.id}")

    async def _end_unwanted(self, claim: Claim, because: EndedBecause, request_id: str) -> None:
        try:
            await self.leases.end(claim, because, request_id)
        except StoreError as error:
            log.warning("the end of %s could not be written yet: %s", claim.id, error)
