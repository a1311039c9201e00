"""Where claims are asked for: one entry for new claims, retries, questions, renewals and releases.

The desk knows every claim that is not over. It refuses what cannot be served, joins a retry to
what is under way for its key, and hands everything else to `claiming` (up to the bind) and to
`leases` (from the bind to the end).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..config.json_types import JsonObject
from ..config.parameters import ParameterProblems
from ..config.revision import PoolSpec
from .claim import Claim, EndedBecause
from .claiming import Claiming, Errand, Left
from .dismantling import Dismantler
from .ids import ClaimId
from .leases import Leases, ttl_too_long
from .pool import Pool
from .requests import ClaimRequest, Code, Refusal
from .resource import Resource
from .services import Services
from .store import StoreError

log = logging.getLogger(__name__)


class ClaimDesk:
    def __init__(
        self,
        services: Services,
        pools: Mapping[str, Pool],
        dismantler: Dismantler,
        undeclared: Callable[[str], Pool],
    ) -> None:
        self._services = services
        self._pools = pools
        self._undeclared = undeclared
        """Makes the draining pool of a claim whose pool is no longer declared."""
        self._claims: dict[ClaimId, Claim] = {}
        """All that are not over, by id."""
        self._errands: dict[ClaimId, Errand] = {}
        self._by_key: dict[bytes, Errand] = {}
        self._stopping = False
        self.leases = Leases(services, dismantler)
        self._claiming = Claiming(
            services, bound=self.leases.watch, unwanted=self._unwanted, over=self.over
        )

    # Starting and stopping

    def remember(self, claims: dict[ClaimId, Claim]) -> None:
        """What the ledger knows of, at the start."""
        self._claims = claims

    def wait_again(self, claim: Claim) -> None:
        """A claim that was told "pending" by an earlier run of the daemon queues again."""
        errand = Errand(claim)
        self._register(errand)
        pool = self._pools.get(claim.pool) or self._undeclared(claim.pool)
        self._start(errand, pool, None)

    async def close(self, grace: float) -> None:
        """Refuses new claims and those that wait; lets those being served finish within `grace`."""
        self._stopping = True
        for errand in list(self._errands.values()):
            if not errand.claim.answered:
                self._pools[errand.claim.pool].line.dismiss(errand.claim.id, _stopping())
        deadline = self._services.clock.now() + grace
        while any(self._is_serving(errand) for errand in self._errands.values()):
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
                return await self._listen(errand)
            except Left:
                continue  # it was given up just before this retry came

    async def settled(self, claim_id: ClaimId, wait: float) -> Claim:
        """The claim, as soon as it is neither pending nor finishing, or after `wait` seconds."""
        errand = self._errands.get(claim_id)
        if errand is None:
            return await self.find_claim(claim_id)
        try:
            async with asyncio.timeout(wait):
                return await self._listen(errand)
        except (TimeoutError, Refusal):
            return errand.claim

    async def renew(self, claim_id: ClaimId, ttl: float | None, *, request_id: str) -> Claim:
        claim = await self.find_claim(claim_id)
        return await self.leases.renew(claim, ttl, request_id)

    async def release(self, claim_id: ClaimId, *, request_id: str) -> Claim:
        """Ends a claim, whatever its state; repeating it is harmless."""
        claim = await self.find_claim(claim_id)
        errand = self._errands.get(claim_id)
        if errand is not None:
            self._claiming.give_up(errand, self._pools[claim.pool])
            try:
                claim = await self._listen(errand)
            except Refusal:
                return errand.claim
        try:
            await self.leases.end(claim, EndedBecause.RELEASED, request_id)
        except StoreError as error:
            raise Refusal(
                Code.LEDGER_UNAVAILABLE,
                f"the release cannot be written down yet: {error}; repeat it",
                retry_after=2.0,
            ) from error
        return claim

    async def find_claim(self, claim_id: ClaimId) -> Claim:
        """A live or an ended claim; raises `Refusal`."""
        claim = self._claims.get(claim_id)
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

    def place_in_line(self, claim: Claim) -> tuple[int, float | None]:
        """The position (1 is next; 0: not in line) and an estimate in seconds, if there is one."""
        pool = self._pools.get(claim.pool)
        position = pool.line.position(claim.id) if pool is not None else None
        if pool is None or position is None:
            return 0, None
        if pool.seconds_to_create is None or pool.full:
            return position, None
        rounds = -(-position // pool.spec.backfill.concurrency)
        return position, rounds * pool.seconds_to_create

    # Steps of a new claim

    async def _begin(self, request: ClaimRequest) -> Claim:
        pool = self._open_pool(request)
        claim = self._new_claim(request, pool.spec)
        resource = pool.take()
        if resource is None:
            self._refuse_to_queue(pool)
        errand = Errand(claim)
        self._register(errand)
        if resource is None and request.wait is None:
            return await self._pend(errand, pool)
        self._start(errand, pool, resource)
        return await self._listen(errand)

    def _open_pool(self, request: ClaimRequest) -> Pool:
        if self._stopping:
            raise _stopping()
        pool = self._pools.get(request.pool)
        if pool is None:
            known = ", ".join(sorted(self._pools)) or "none"
            raise Refusal(
                Code.NO_SUCH_POOL, f"there is no pool {request.pool}; the pools are: {known}"
            )
        if pool.draining:
            raise Refusal(
                Code.DRAINING,
                f"the pool {request.pool} is no longer declared and takes no new claims",
            )
        if self._services.ledger_error:
            raise Refusal(
                Code.LEDGER_UNAVAILABLE,
                f"claims cannot be written down: {self._services.ledger_error}",
                retry_after=2.0,
            )
        return pool

    def _new_claim(self, request: ClaimRequest, spec: PoolSpec) -> Claim:
        lifetime = spec.lifetime
        ttl = lifetime.ttl if request.ttl is None else request.ttl
        if ttl > lifetime.max_ttl:
            raise ttl_too_long(ttl, lifetime.max_ttl, spec.name)
        now = self._services.clock.now()
        return Claim(
            id=self._services.ids.claim(),
            pool=spec.name,
            claimant=request.claimant,
            created_at=now,
            ttl=ttl,
            max_ttl=lifetime.max_ttl,
            deadline=now + (spec.queue.wait if request.wait is None else request.wait),
            params=_accepted(request, spec),
            labels=request.labels,
            reason=request.reason,
            request_id=request.request_id,
            key=request.key,
            body=request.body,
        )

    def _refuse_to_queue(self, pool: Pool) -> None:
        name = pool.spec.name
        if pool.hopeless:
            breaker = pool.breaker
            raise Refusal(
                Code.BLUEPRINT_FAILING,
                f"the pool {name} has nothing ready, and creating failed {breaker.failures} times "
                f"in a row: {breaker.last_error}",
                retry_after=max(1.0, breaker.until - self._services.clock.now()),
            )
        if len(pool.line) >= pool.spec.queue.max:
            raise Refusal(
                Code.QUEUE_FULL,
                f"{len(pool.line)} claims wait for the pool {name} already, and its queue.max is "
                f"{pool.spec.queue.max}",
                retry_after=max(1.0, pool.seconds_to_create or 1.0),
            )

    async def _pend(self, errand: Errand, pool: Pool) -> Claim:
        """Writes the waiting claim down, so that the caller may be told its id and hang up."""
        claim = errand.claim
        claim.answered = True
        claim.version += 1
        transaction = self._services.store.transaction()
        transaction.put_claim(claim)
        try:
            await self._services.commit(transaction, urgent=True)
        except StoreError as error:
            self.over(claim)
            raise Refusal(
                Code.LEDGER_UNAVAILABLE, f"the claim cannot be written down: {error}"
            ) from error
        except asyncio.CancelledError:
            self.over(claim)
            self._services.tasks.start(self.forget([claim]), f"forget {claim.id}")
            raise
        self._start(errand, pool, None)
        await asyncio.sleep(0)  # it takes its place in the line, which the answer tells
        return claim

    def _register(self, errand: Errand) -> None:
        claim = errand.claim
        self._claims[claim.id] = claim
        self._errands[claim.id] = errand
        if claim.key is not None:
            self._by_key[claim.key] = errand

    def _start(self, errand: Errand, pool: Pool, resource: Resource | None) -> None:
        run = self._run(errand, pool, resource)
        self._services.tasks.start(run, f"claim {errand.claim.id}")

    async def _run(self, errand: Errand, pool: Pool, resource: Resource | None) -> None:
        try:
            await self._claiming.run(errand, pool, resource)
        finally:
            self._unregister(errand.claim)

    def _unregister(self, claim: Claim) -> None:
        self._errands.pop(claim.id, None)
        if claim.key is not None:
            self._by_key.pop(claim.key, None)

    async def _listen(self, errand: Errand) -> Claim:
        pool = self._pools[errand.claim.pool]
        return await errand.listen(lambda: self._claiming.deserted(errand, pool))

    def _known(self, key: bytes) -> Claim | None:
        claim = self._services.store.find_key(key)
        return None if claim is None else self._claims.get(claim.id, claim)

    async def forget(self, claims: list[Claim]) -> None:
        """Drops claims that nobody was told of, with their keys."""
        if not claims:
            return
        transaction = self._services.store.transaction()
        for claim in claims:
            transaction.drop_claim(claim.id)
        try:
            await self._services.commit(transaction)
        except StoreError as error:
            log.warning("%d unanswered claims stay in the ledger: %s", len(claims), error)

    # What the parts tell

    def over(self, claim: Claim) -> None:
        self._claims.pop(claim.id, None)
        self._unregister(claim)
        self.leases.forget(claim)

    def _unwanted(self, claim: Claim) -> None:
        self._services.tasks.start(self._release_unwanted(claim), f"release {claim.id}")

    async def _release_unwanted(self, claim: Claim) -> None:
        try:
            await self.leases.end(claim, EndedBecause.CLAIMANT_GONE)
        except StoreError as error:
            log.warning("the end of %s could not be written yet: %s", claim.id, error)

    def _is_serving(self, errand: Errand) -> bool:
        pool = self._pools.get(errand.claim.pool)
        return pool is not None and pool.line.get(errand.claim.id) is None


def _accepted(request: ClaimRequest, spec: PoolSpec) -> JsonObject:
    try:
        return spec.blueprint.parameters.accept(request.params)
    except ParameterProblems as problems:
        first = problems.problems[0]
        raise Refusal(
            Code(first.code),
            " ".join(
                f"{problem.message} {problem.remedy}".strip() for problem in problems.problems
            ),
            details={"parameters": [problem.name for problem in problems.problems]},
        ) from problems


def _stopping() -> Refusal:
    return Refusal(Code.STOPPING, "the daemon is stopping; try again in a moment", retry_after=2.0)
