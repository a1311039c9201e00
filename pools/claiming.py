"""Serves claims: takes or waits for a resource, finishes it, binds it, and only then answers.

Theory of operation
-------------------

A claim under way is an `Errand`. Up to three resources are tried within its deadline. For each:

1. *Take*: `ready -> claimed`, in memory. Until something is made for the claim it can go back.
2. *Finish*: the parts of `finish` are made with the claim's parameters. If one of them touches the
   outside, an intent (claim and resource `finishing`) is durable before it does.
3. *Bind*: resource, parts, claim, key and event in one durable transaction; then the answer.

A blueprint whose finish parts are all pure (a token) needs the transaction of step 3 alone.

Whoever asked may leave at any moment. Before step 2 the resource goes back; after it the resource
is used up. A claim with an idempotency key that is bound although its caller has left stays bound:
the caller comes back with the key and gets it. Without a key nobody can ever know of it, so it is
released at once.
"""

import asyncio
import logging
from collections.abc import Callable

from ..config.json_types import Json
from ..config.units import format_duration
from .assembly import Assembly, failure_sentence, render_outputs
from .claim import Claim, ClaimState, EndedBecause, advance, retry
from .clock import Clock
from .driver import DriverError, Rejected, Unavailable
from .lanes import Lane
from .lifecycle import ResourceState
from .moments import rfc3339
from .pool import Pool
from .requests import Code, Refusal
from .resource import Half, Resource, nothing
from .services import Services
from .store import NewEvent, StoreError

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""How many resources one claim may use up before it fails."""


class Left(Refusal):
    """Everybody who asked has left. Whoever comes back with the key starts anew."""

    def __init__(self) -> None:
        super().__init__(Code.WAIT_TIMEOUT, "the claimant left before the claim was bound")


class GivenUp(Left):
    """The claim was released while it waited."""

    def __init__(self) -> None:
        Refusal.__init__(self, Code.CLAIM_OVER, "the claim was released before it was bound")


class Errand:
    """One claim on its way to being bound, and the callers who stay on the line for it."""

    __slots__ = ("_listeners", "_outcome", "claim")

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self._listeners: dict[asyncio.Future[Claim], None] = {}  # in the order they came
        self._outcome: Claim | Refusal | None = None

    @property
    def deserted(self) -> bool:
        """Nobody stays on the line, and nobody was told of the claim either."""
        return not self._listeners and not self.claim.answered

    async def listen(self, left: Callable[[], None]) -> Claim:
        """The claim once it is bound, or its refusal. `left` is called if the caller leaves first."""
        future: asyncio.Future[Claim] = asyncio.get_running_loop().create_future()
        self._listeners[future] = None
        if self._outcome is not None:
            _tell(future, self._outcome)
        try:
            return await future
        except asyncio.CancelledError:
            self._listeners.pop(future, None)
            left()
            raise
        finally:
            self._listeners.pop(future, None)

    def settle(self, outcome: Claim | Refusal) -> None:
        self._outcome = outcome
        for future in self._listeners:
            _tell(future, outcome)


def _tell(future: asyncio.Future[Claim], outcome: Claim | Refusal) -> None:
    if future.done():
        return
    if isinstance(outcome, Refusal):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


class Claiming:
    """The way of a claim from `pending` to `bound`."""

    def __init__(
        self,
        services: Services,
        *,
        bound: Callable[[Claim], None],
        unwanted: Callable[[Claim], None],
        over: Callable[[Claim], None],
    ) -> None:
        self._services = services
        self._bound = bound
        """Told of a claim that is bound and durable: its expiry has to be watched."""
        self._unwanted = unwanted
        """Told of a claim that was bound for somebody who has left for good."""
        self._over = over
        """Told of a claim that came to nothing."""

    async def run(self, errand: Errand, pool: Pool, resource: Resource | None) -> None:
        """Brings the errand to its outcome, with `resource` to begin with if one was taken."""
        claim = errand.claim
        failure: DriverError | None = None
        try:
            for attempt in range(ATTEMPTS):
                if resource is None:
                    resource = await self._wait(errand, pool, again=attempt > 0)
                failure = await self._bind(errand, pool, resource)
                if failure is None:
                    return errand.settle(claim)
                resource = None
                if isinstance(failure, Rejected) or errand.deserted:
                    break
            raise Refusal(Code.FINISH_FAILED, _finish_failed(pool, failure), retry_after=5.0)
        except Refusal as refusal:
            await self._fail(errand, refusal)
            errand.settle(refusal)

    def deserted(self, errand: Errand, pool: Pool) -> None:
        """A caller has left. If it was the last one, a claim that still waits is given up."""
        if errand.deserted:
            pool.line.dismiss(errand.claim.id, Left())

    def give_up(self, errand: Errand, pool: Pool) -> None:
        """The claim is released. One that is being finished is bound first, and released then."""
        pool.line.dismiss(errand.claim.id, GivenUp())

    # Waiting

    async def _wait(self, errand: Errand, pool: Pool, *, again: bool) -> Resource:
        claim, clock = errand.claim, self._services.clock
        began = clock.now()
        if errand.deserted:
            raise Left
        if claim.deadline <= began:
            raise _timed_out(pool, 0.0)
        claim.warm = False
        waiter = pool.line.join(claim, first=again)
        pool.touch()
        try:
            async with asyncio.timeout(claim.deadline - began):
                return await waiter.turn
        except (TimeoutError, asyncio.CancelledError) as error:
            late = waiter.withdraw()
            if late is not None:
                pool.give_back(late)
            if isinstance(error, TimeoutError):
                raise _timed_out(pool, clock.now() - began) from None
            raise
        finally:
            pool.line.leave(claim.id)
            claim.timing.queued += clock.now() - began
            pool.touch()

    # Finishing and binding

    async def _bind(self, errand: Errand, pool: Pool, resource: Resource) -> DriverError | None:
        """Finishes and binds; returns what went wrong with this resource, if anything did."""
        services, claim = self._services, errand.claim
        if errand.deserted:
            pool.give_back(resource)
            raise Left
        began = services.clock.now()
        pure = all(services.drivers[plan.driver].pure for plan in pool.spec.blueprint.finish)
        try:
            await self._finish(claim, pool, resource, pure=pure)
            finished = services.clock.now()
            claim.timing.finish = finished - began
            await self._commit_bound(errand, pool, resource)
        except DriverError as error:
            self._undo(claim, pool, resource, f"finishing failed: {failure_sentence(error)}")
            return error
        except StoreError as error:
            self._undo(claim, pool, resource, "the ledger refused the claim")
            raise Refusal(
                Code.LEDGER_UNAVAILABLE,
                f"the claim cannot be written down: {error}",
                retry_after=2.0,
            ) from error
        now = services.clock.now()
        claim.timing.bind = now - finished
        claim.timing.total = claim.timing.policy + now - claim.created_at
        self._report(claim)
        self._bound(claim)
        if errand.deserted and claim.key is None:
            self._unwanted(claim)
        return None

    async def _finish(self, claim: Claim, pool: Pool, resource: Resource, *, pure: bool) -> None:
        """Makes the finish parts and renders the outputs. Raises `DriverError`, `StoreError`."""
        services = self._services
        now = services.clock.now()
        services.inventory.move(resource, ResourceState.FINISHING, f"for {claim.id}", now)
        resource.claim = claim.id
        advance(claim, ClaimState.FINISHING)
        claim.resources = [resource.id]
        claim.revision = resource.revision
        claim.expires_at = now + claim.ttl
        blueprint = pool.spec.blueprint
        assembly = Assembly(services, resource, Lane.CLAIMS)
        facts = claim_facts(claim, services.clock) if blueprint.reads_claim else None
        scope = assembly.scope(facts, claim.params)
        if not pure:
            await self._intend(claim, resource)
        if pure:
            await assembly.make(blueprint.finish, Half.FINISH, scope)  # waits for nothing
        else:
            try:
                async with asyncio.timeout(blueprint.finish_within):
                    await assembly.make(blueprint.finish, Half.FINISH, scope)
            except TimeoutError as error:
                raise Unavailable(
                    f"the finish parts took longer than {blueprint.finish_within:g}s"
                ) from error
        claim.outputs, claim.secrets = render_outputs(blueprint, scope)

    async def _intend(self, claim: Claim, resource: Resource) -> None:
        transaction = self._services.store.transaction()
        transaction.put_resource(resource)
        transaction.put_claim(claim)
        await self._services.commit(transaction, urgent=True)

    async def _commit_bound(self, errand: Errand, pool: Pool, resource: Resource) -> None:
        services, claim = self._services, errand.claim
        now = services.clock.now()
        services.inventory.move(resource, ResourceState.BOUND, f"bound to {claim.id}", now)
        advance(claim, ClaimState.BOUND)
        claim.bound_at = now
        claim.expires_at = now + claim.ttl
        claim.params = nothing()
        transaction = services.store.transaction()
        transaction.put_resource(resource)
        for part in resource.parts:
            # What a pure part made is in the claim, and there is nothing of it to remove later.
            if part.half is Half.FINISH and not services.drivers[part.driver].pure:
                transaction.put_part(resource, part)
        transaction.put_claim(claim)
        transaction.add_event(
            NewEvent(
                "claim.bound",
                pool=pool.spec.name,
                resource=resource.id,
                claim=claim.id,
                request=claim.request_id,
                reason=claim.reason,
                data={
                    "uid": claim.claimant.uid,
                    "pid": claim.claimant.pid,
                    "ttl": claim.ttl,
                    "warm": claim.warm,
                },
            )
        )
        await services.commit(transaction, urgent=True)

    def _undo(self, claim: Claim, pool: Pool, resource: Resource, reason: str) -> None:
        """The resource is used up; the claim may try another, with what it asked for."""
        log.warning("%s for %s: %s", resource.id, claim.id, reason)
        pool.condemn(resource, None, reason)
        retry(claim)

    # Coming to nothing

    async def _fail(self, errand: Errand, refusal: Refusal) -> None:
        """Forgets a claim that nobody was told of; writes down the end of one that was answered."""
        services, claim = self._services, errand.claim
        written = claim.version > 0
        if isinstance(refusal, GivenUp):
            advance(claim, ClaimState.ENDED)
            claim.ended_because = EndedBecause.RELEASED
        else:
            advance(claim, ClaimState.FAILED)
            services.telemetry.claim_refused(claim.pool, refusal.code)
        claim.code, claim.detail = refusal.code, refusal.message
        claim.ended_at = services.clock.now()
        if written:
            transaction = services.store.transaction()
            if claim.answered:
                transaction.put_claim(claim)
                transaction.add_event(
                    NewEvent(
                        f"claim.{claim.ended_because or claim.state}",
                        pool=claim.pool,
                        claim=claim.id,
                        request=claim.request_id,
                        reason=refusal.message,
                        data={"code": refusal.code},
                    )
                )
            else:
                transaction.drop_claim(claim.id)
            try:
                await services.commit(transaction, urgent=True)
            except StoreError:
                # It stays in the ledger as unanswered or pending; a restart drops it or times it
                # out, and no resource points to it.
                log.warning("the end of the claim %s could not be written", claim.id)
        self._over(claim)

    def _report(self, claim: Claim) -> None:
        telemetry, timing = self._services.telemetry, claim.timing
        telemetry.claim_served(claim.pool, warm=claim.warm, seconds=timing.total)
        if not claim.warm:
            telemetry.stage(claim.pool, "queued", timing.queued)
        telemetry.stage(claim.pool, "finish", timing.finish)
        telemetry.stage(claim.pool, "bind", timing.bind)


def claim_facts(claim: Claim, clock: Clock) -> dict[str, Json]:
    """What expressions see as `claim`."""
    return {
        "id": claim.id,
        "ttl": format_duration(claim.ttl),
        "expiresAt": rfc3339(clock.to_wall(claim.expires_at or 0.0)),
        "caller": {
            "uid": claim.claimant.uid,
            "gid": claim.claimant.gid,
            "pid": claim.claimant.pid,
            "user": claim.claimant.user,
        },
    }


def _finish_failed(pool: Pool, failure: DriverError | None) -> str:
    why = failure_sentence(failure) if failure is not None else "unknown"
    return f"a resource of the pool {pool.spec.name} could not be finished for this claim: {why}"


def _timed_out(pool: Pool, waited: float) -> Refusal:
    """Says which limit the claim waited at."""
    name, size = pool.spec.name, pool.spec.size
    if pool.breaker.failures and pool.breaker.last_error:
        return Refusal(
            Code.BLUEPRINT_FAILING,
            f"the pool {name} has nothing ready and creating fails: {pool.breaker.last_error}",
            retry_after=5.0,
        )
    if pool.full:
        return Refusal(
            Code.NO_CAPACITY,
            f"all {size.max} resources of the pool {name} are in use; "
            "wait longer, release one, or raise size.max",
            retry_after=5.0,
        )
    return Refusal(
        Code.WAIT_TIMEOUT,
        f"nothing became ready in the pool {name} within {format_duration(round(waited, 3))}; "
        "wait longer or raise size.min",
        retry_after=max(1.0, pool.seconds_to_create or 1.0),
    )
