"""Serves claims: takes or waits for a resource, finishes it, binds it, and only then answers.

Theory of operation
-------------------

A claim under way is an `Errand`. Up to three resources are tried within its deadline. For each:

1. *Take*: `ready -> claimed`, in memory. Until something is made for the claim it can go back.
2. *Finish*: the parts of `finish` are made with the claim's parameters. If one of them touches the
   outside, an intent (claim and resource `finishing`) is durable before it does.
3. *Bind*: resource, parts, claim, key and event in one durable transaction; then the answer.

A blueprint whose finish parts are all pure (a token) needs the transaction of step 3 alone: a warm
claim of it goes the short way of `handover`.

Whoever asked may leave at any moment. Before step 2 the resource goes back; after it the resource
is used up. A claim with an idempotency key that is bound although its caller has left stays bound:
the caller comes back with the key and gets it. Without a key nobody can ever know of it, so it is
released at once.

Every errand is settled, whatever happens: somebody waits for its outcome.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from ..config.revision import Blueprint
from .approving import Approving
from .assembly import Assembly, claim_facts, failure_sentence, render_outputs, secrets_of
from .ballots import requested
from .claim import OVER, Claim, ClaimState, EndedBecause, advance, durable, retry, trim
from .driver import DriverError, Rejected, Unavailable
from .endings import Endings
from .errands import Errand, GivenUp, Left
from .handover import HandOver, write_bound
from .judging import with_record
from .lanes import Lane
from .lifecycle import ResourceState
from .pool import Pool
from .refusals import defect, stopping, timed_out, unwritable
from .requests import Code, Refusal
from .resource import Half, Resource, nothing
from .services import Services
from .store import NewEvent, StoreError
from .wishing import Wishing

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""How many resources one claim may use up before it fails."""
GAVE_UP_WAITING = frozenset({Code.WAIT_TIMEOUT, Code.NO_CAPACITY, Code.BLUEPRINT_FAILING})


class Claiming:
    """The way of a claim from `pending` to `bound`."""

    def __init__(  # noqa: PLR0913 - what the desk is told, each by name
        self,
        services: Services,
        *,
        approving: Approving,
        endings: Endings,
        bound: Callable[[Claim], None],
        end: Callable[[Claim, EndedBecause, str], None],
        over: Callable[[Claim], None],
        settled: Callable[[Errand], None],
        may_queue: Callable[[Pool], None],
    ) -> None:
        self._services = services
        self._approving = approving
        self._endings = endings
        self._bound = bound
        """Told of a claim that is bound and durable: its expiry has to be watched."""
        self._end = end
        """Ends a bound claim that nobody wants any more, for the request with that id."""
        self._over = over
        """Told of a claim that came to nothing."""
        self._settled = settled
        """Told of an errand whose outcome is known."""
        self.stopping = False
        self._wishing = Wishing(
            services,
            write_pending=self._write_pending,
            may_wait=self._refuse_to_wait,
            may_queue=may_queue,
        )
        self._hand_over = HandOver(
            services, bound=self._handed, refused=self._refused, defective=self._broken
        )

    def start(self, errand: Errand, resource: Resource | None, *, pend: bool = False) -> None:
        """Begins to serve the errand; see `run`."""
        by_approval = errand.claim.approval is not None
        if resource is None or by_approval or not self._hand_over.begin(errand, resource):
            work = self.run(errand, resource, pend=pend)
            self._services.tasks.start(work, f"claim {errand.claim.id}")

    async def run(self, errand: Errand, resource: Resource | None, *, pend: bool = False) -> None:
        """Brings the errand to its outcome, with `resource` to begin with if one was taken.

        `pend`: first of all it is written down that the claim waits.
        """
        try:
            if errand.claim.approval is not None:
                pend = await self._before_it_is_served(errand, resource, pend=pend)
            if errand.claim.wish is not None:
                await self._wishing.serve(errand, pend=pend)
            else:
                if pend:
                    await self._write_pending(errand)
                await self._serve(errand, resource)
            self._handed(errand)
        except Refusal as refusal:
            await self._come_to_nothing(errand, refusal)
        except asyncio.CancelledError:
            self._settle(errand, stopping())
            raise
        except Exception as error:  # noqa: BLE001
            await self._break(errand, error)
        finally:
            errand.pool.line.leave(errand.claim.id)

    async def _before_it_is_served(
        self, errand: Errand, resource: Resource | None, *, pend: bool
    ) -> bool:
        """Waits for its approval, or says that it does without; whether to write that it waits.

        Raises `Refusal`, and the resource is given back.
        """
        claim = errand.claim
        assert claim.approval is not None
        if claim.approval.broke_glass:
            told = claim.id in self._approving.follow_ups.claims
            if not told and claim.needs_follow_up:  # and nobody has looked at it in an earlier run
                try:
                    await self._approving.follow_ups.announce(claim)
                except BaseException:
                    if resource is not None:
                        errand.pool.give_back(resource)
                    raise
            return pend
        write = partial(self._write_pending, errand) if pend else None
        await self._approving.wait(errand, write)
        return False

    def deserted(self, errand: Errand) -> None:
        """A caller has left. If it was the last one, the claim is given up as far as that goes."""
        if not errand.deserted:
            return
        if not errand.bound:
            errand.dismiss(Left())
        elif errand.claim.key is None:
            self._end(errand.claim, EndedBecause.CLAIMANT_GONE, errand.claim.request_id)

    def give_up(self, errand: Errand, request_id: str, because: EndedBecause) -> None:
        """The claim is to end. One that is being finished is bound first, and ends then."""
        if errand.given_up is None:
            errand.given_up, errand.because = request_id, because
        errand.dismiss(GivenUp(errand.because))

    async def _serve(self, errand: Errand, resource: Resource | None) -> None:
        """Binds the claim. Raises `Refusal`."""
        pool = errand.pool
        failure: DriverError | None = None
        for attempt in range(ATTEMPTS):
            try:
                if resource is None:
                    resource = await self._wait(errand, again=attempt > 0)
            except Refusal as refusal:
                if failure is None or refusal.code not in GAVE_UP_WAITING:
                    raise
                break  # why it had to wait again says more than that it waited in vain
            up_to_date = resource.digest == pool.spec.blueprint.digest
            failure = await self._bind(errand, resource)
            if failure is None:
                return
            resource = None
            if (isinstance(failure, Rejected) and up_to_date) or errand.deserted:
                break
        raise Refusal(
            Code.FINISH_FAILED,
            f"a resource of the pool {errand.claim.pool} could not be finished for this claim: "
            f"{errand.failure}",
            retry_after=5.0,
        )

    # Waiting

    async def _write_pending(self, errand: Errand) -> None:
        """Writes the waiting claim down, so that callers may be told its id and hang up."""
        claim = errand.claim
        claim.version += 1
        transaction = self._services.store.transaction()
        transaction.put_claim(replace(claim, answered=True))
        transaction.add_event(
            NewEvent(
                "claim.pending",
                pool=claim.pool,
                claim=claim.id,
                request=claim.request_id,
                reason=claim.reason,
                data=with_record(claim.claimant.told(), claim.record),
            )
        )
        if claim.needs_approval:
            clock = self._services.clock
            transaction.add_event(requested(claim, clock.now(), clock.to_wall))
        try:
            await self._services.commit(transaction, urgent=True)
        except StoreError as error:
            raise unwritable(error) from error
        claim.record = nothing()  # the audit has it
        errand.written()

    async def _wait(self, errand: Errand, *, again: bool) -> Resource:
        claim, pool, clock = errand.claim, errand.pool, self._services.clock
        began = clock.now()
        self._refuse_to_wait(errand, began)
        claim.warm = False
        waiter = pool.line.join(claim, first=again)
        pool.touch(at_once=True)
        try:
            async with asyncio.timeout(claim.deadline - began):
                (resource,) = await waiter.turn
                return resource
        except (TimeoutError, asyncio.CancelledError) as error:
            for late in waiter.withdraw():
                pool.give_back(late)
            if isinstance(error, TimeoutError):
                raise timed_out(pool, clock.now() - began) from None
            raise
        finally:
            pool.line.leave(claim.id)
            claim.timing.queued += clock.now() - began
            pool.touch()

    def _refuse_to_wait(self, errand: Errand, now: float) -> None:
        if errand.given_up is not None:
            raise GivenUp(errand.because)
        if errand.deserted:
            raise Left
        if self.stopping and not errand.claim.answered:
            raise stopping()
        if errand.claim.wish is not None:
            return  # of which pools and until when, is found there
        if errand.pool.gate.draining:
            raise errand.pool.shut_because()
        if errand.claim.deadline <= now:
            raise timed_out(errand.pool, 0.0)

    # Finishing and binding

    async def _bind(self, errand: Errand, resource: Resource) -> DriverError | None:
        """Finishes and binds; returns what went wrong with this resource, if anything did."""
        services, claim, pool = self._services, errand.claim, errand.pool
        if errand.deserted or errand.given_up is not None:
            pool.give_back(resource)
            raise Left if errand.given_up is None else GivenUp(errand.because)
        began = services.clock.now()
        try:
            await self._finish(claim, resource, pool.blueprint_of(resource))
            finished = services.clock.now()
            claim.timing.finish = finished - began
            claim.timing.total = claim.timing.policy + finished - claim.created_at
            await self._commit_bound(claim, resource)
        except DriverError as error:
            why = failure_sentence(error, *secrets_of(resource), claim.params)
            errand.failure = why
            self._undo(errand, resource, f"finishing failed: {why}")
            return error
        except StoreError as error:
            self._undo(errand, resource, "the ledger refused the claim")
            raise unwritable(error) from error
        except Exception:
            self._undo(errand, resource, "a defect of the daemon")
            raise
        now = services.clock.now()
        claim.timing.bind = now - finished
        claim.timing.total = claim.timing.policy + now - claim.created_at
        return None

    def _handed(self, errand: Errand) -> None:
        """The claim is bound and durable: whoever asked is told, unless nobody wants it any more."""
        claim = errand.claim
        self._bound(claim)
        if errand.given_up is not None:
            self._end(claim, errand.because, errand.given_up)
        elif errand.deserted and claim.key is None:
            self._end(claim, EndedBecause.CLAIMANT_GONE, claim.request_id)
        self._settle(errand, claim)
        # After the caller's turn, which comes next: it waits for its answer, not for metrics.
        asyncio.get_running_loop().call_soon(self._report, claim)

    def _settle(self, errand: Errand, outcome: Claim | Refusal) -> None:
        errand.settle(outcome)
        self._settled(errand)

    def _broken(self, errand: Errand, error: Exception) -> None:
        self._services.tasks.start(self._break(errand, error), f"claim {errand.claim.id}")

    async def _break(self, errand: Errand, error: Exception) -> None:
        self._services.tasks.report(error, f"serving {errand.claim.id}")
        await self._come_to_nothing(errand, defect(error))

    def _refused(self, errand: Errand, resource: Resource, error: StoreError) -> None:
        """The ledger did not take a claim that was handed over."""
        self._undo(errand, resource, "the ledger refused the claim")
        work = self._come_to_nothing(errand, unwritable(error))
        self._services.tasks.start(work, f"claim {errand.claim.id}")

    async def _finish(self, claim: Claim, resource: Resource, blueprint: Blueprint) -> None:
        """Makes the finish parts and renders the outputs. Raises `DriverError`, `StoreError`."""
        services = self._services
        now = services.clock.now()
        services.inventory.move(resource, ResourceState.FINISHING, f"for {claim.id}", now)
        resource.claim = claim.id
        advance(claim, ClaimState.FINISHING)
        claim.resources = [resource.id]
        claim.revision = resource.revision
        claim.expires_at = now + claim.ttl
        assembly = Assembly(services, resource, Lane.CLAIMS)
        facts = claim_facts(claim, services.clock) if blueprint.reads_claim else None
        scope = assembly.scope(facts, claim.params)
        if all(services.drivers[plan.driver].pure for plan in blueprint.finish):
            await assembly.make(blueprint.finish, Half.FINISH, scope)  # waits for nothing
        else:
            await self._intend(claim, resource)
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
        transaction.put_claim(durable(claim))
        await self._services.commit(transaction, urgent=True)

    async def _commit_bound(self, claim: Claim, resource: Resource) -> None:
        services = self._services
        transaction = write_bound(services, claim, resource, services.clock.now())
        await services.commit(transaction, urgent=True)
        trim(claim)  # kept until now: if this fails, another resource needs them

    def _undo(self, errand: Errand, resource: Resource, reason: str) -> None:
        """The resource is used up; the claim may try another, with what it asked for."""
        log.warning("%s for %s: %s", resource.id, errand.claim.id, reason)
        if resource.state is ResourceState.CLAIMED:
            errand.pool.give_back(resource)
        else:
            errand.pool.condemn(resource, reason)
        retry(errand.claim)

    # Coming to nothing

    async def _come_to_nothing(self, errand: Errand, refusal: Refusal) -> None:
        """Forgets a claim that nobody was told of; writes down the end of one that was answered."""
        services, claim = self._services, errand.claim
        try:
            _end_unbound(claim, refusal, services.clock.now())
            services.usage.leave(claim)
            if not isinstance(refusal, GivenUp):
                services.telemetry.claim_refused(claim.pool, refusal.code)
            if claim.version > 0:  # it may be in the ledger
                keep = claim.answered or (claim.voted_down and not isinstance(refusal, Left))
                await self._endings.write(claim, keep=keep, because=refusal.message)
        finally:
            self._over(claim)
            self._settle(errand, refusal)

    def _report(self, claim: Claim) -> None:
        telemetry, timing = self._services.telemetry, claim.timing
        telemetry.claim_served(claim.pool, warm=claim.warm, seconds=timing.total)
        if not claim.warm:
            telemetry.stage(claim.pool, "queued", timing.queued)
        if timing.policy:
            telemetry.stage(claim.pool, "policy", timing.policy)
        telemetry.stage(claim.pool, "finish", timing.finish)
        telemetry.stage(claim.pool, "bind", timing.bind)


def _end_unbound(claim: Claim, refusal: Refusal, now: float) -> None:
    if isinstance(refusal, GivenUp):
        advance(claim, ClaimState.ENDED)
        claim.ended_because = refusal.because
    elif claim.state not in OVER:
        denied = claim.approval is not None and claim.approval.denied
        advance(claim, ClaimState.REFUSED if denied else ClaimState.FAILED)
    claim.code, claim.detail = refusal.code, refusal.message
    claim.ended_at = now
