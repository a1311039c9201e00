"""The resources that one claim takes together: finished side by side, bound in one transaction.

They are all of one pool. What goes wrong with one uses that one up and leaves the others as they
are. From the first part that touches the outside on, the ledger knows all of them as `finishing`
with their claim, so a crash undoes all; bound they are in one transaction, all or none.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..config.json_types import Json, JsonObject
from ..config.parameters import ParameterProblems
from .assembly import Assembly, claim_facts, failure_sentence, render_outputs, secrets_of
from .claim import Claim, ClaimState, advance, durable, retry, trim
from .driver import DriverError, Rejected, Unavailable
from .errands import Errand
from .judging import with_record
from .lanes import Lane
from .lifecycle import ResourceState
from .pool import Pool
from .resource import Half, Resource, nothing
from .services import Services
from .store import NewEvent, StoreError, Transaction

log = logging.getLogger(__name__)

Failure = DriverError | StoreError


@dataclass(slots=True)
class Hand:
    """What is in hand for one claim."""

    errand: Errand
    resources: list[Resource] = field(default_factory=list[Resource])
    """Taken for it; finished or about to be."""
    shown: dict[str, Json] = field(default_factory=dict[str, Json])
    """The outputs of each that is finished."""
    secret: dict[str, Json] = field(default_factory=dict[str, Json])

    @property
    def missing(self) -> int:
        return self.errand.claim.count - len(self.resources)


class Gangs:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def finish(self, hand: Hand, taken: Iterable[Resource]) -> list[DriverError]:
        """Finishes those just taken; returns what went wrong with those that are used up now.

        Raises `StoreError` when the ledger does not take an intent.
        """
        services, claim, pool = self._services, hand.errand.claim, hand.errand.pool
        now = services.clock.now()
        fresh = list(taken)
        hand.resources += fresh
        for resource in fresh:
            services.inventory.move(resource, ResourceState.FINISHING, f"for {claim.id}", now)
            resource.claim = claim.id
        if claim.state is ClaimState.PENDING:
            advance(claim, ClaimState.FINISHING)
        else:
            claim.version += 1
        claim.resources = [resource.id for resource in hand.resources]
        claim.revision = hand.resources[0].revision
        claim.expires_at = now + claim.ttl
        if not all(self._pure(pool, resource) for resource in fresh):
            transaction = services.store.transaction()
            for resource in fresh:
                transaction.put_resource(resource)
            transaction.put_claim(durable(claim))
            await services.commit(transaction, urgent=True)
        outcomes = await self._make_all(hand, fresh)
        errors: list[DriverError] = []
        for resource, error in zip(fresh, outcomes, strict=True):
            if isinstance(error, StoreError):
                raise error
            if error is not None:
                self._use_up(hand, resource, error)
                errors.append(error)
        return errors

    async def _make_all(self, hand: Hand, fresh: list[Resource]) -> list[Failure | None]:
        """One after the other where nobody has to be waited for; otherwise side by side."""
        if len(fresh) == 1:
            return [await self._make(hand, fresh[0])]
        async with asyncio.TaskGroup() as group:
            making = [
                group.create_task(self._make(hand, resource), name=f"finish {resource.id}")
                for resource in fresh
            ]
        return [task.result() for task in making]

    async def _make(self, hand: Hand, resource: Resource) -> Failure | None:
        services, claim, pool = self._services, hand.errand.claim, hand.errand.pool
        blueprint = pool.blueprint_of(resource)
        try:
            assembly = Assembly(services, resource, Lane.CLAIMS)
            facts = claim_facts(claim, services.clock) if blueprint.reads_claim else None
            scope = assembly.scope(facts, _parameters(claim, pool, resource))
            try:
                async with asyncio.timeout(blueprint.finish_within):
                    await assembly.make(blueprint.finish, Half.FINISH, scope)
            except TimeoutError as error:
                raise Unavailable(
                    f"the finish parts took longer than {blueprint.finish_within:g}s"
                ) from error
            shown, secret = render_outputs(blueprint, scope)
        except (DriverError, StoreError) as error:
            return error
        hand.shown[resource.id], hand.secret[resource.id] = shown, secret
        return None

    def _pure(self, pool: Pool, resource: Resource) -> bool:
        drivers = self._services.drivers
        return all(drivers[plan.driver].pure for plan in pool.blueprint_of(resource).finish)

    def _use_up(self, hand: Hand, resource: Resource, error: DriverError) -> None:
        errand = hand.errand
        why = failure_sentence(error, *secrets_of(resource), errand.claim.params)
        errand.failure = why
        reason = f"finishing failed: {why}"
        log.warning("%s for %s: %s", resource.id, errand.claim.id, reason)
        hand.resources.remove(resource)
        errand.claim.resources = [one.id for one in hand.resources]
        errand.pool.condemn(resource, reason)

    async def bind(self, hand: Hand) -> None:
        """All of them, in one transaction. Raises `StoreError`; then nobody was told."""
        services, claim = self._services, hand.errand.claim
        now = services.clock.now()
        if claim.count == 1:
            (one,) = claim.resources
            shown, secret = hand.shown[one], hand.secret[one]
            claim.outputs = shown if isinstance(shown, dict) else nothing()
            claim.secrets = secret if isinstance(secret, dict) else nothing()
        else:
            claim.outputs = {one: hand.shown[one] for one in claim.resources}
            claim.secrets = {one: hand.secret[one] for one in claim.resources if hand.secret[one]}
        transaction = self._write_bound(claim, hand.resources, now)
        await services.commit(transaction, urgent=True)
        trim(claim)  # kept until now: if this fails, others need them

    def _write_bound(self, claim: Claim, resources: list[Resource], now: float) -> Transaction:
        services = self._services
        transaction = services.store.transaction()
        for resource in resources:
            services.inventory.move(resource, ResourceState.BOUND, f"bound to {claim.id}", now)
            transaction.put_resource(resource)
            for part in resource.parts:
                # What a pure part made is in the claim, and nothing of it has to be removed later.
                if part.half is Half.FINISH and not services.drivers[part.driver].pure:
                    transaction.put_part(resource, part)
        advance(claim, ClaimState.BOUND)
        claim.bound_at = now
        claim.expires_at = now + claim.ttl
        transaction.put_claim(claim)
        for event in bound_events(claim):
            transaction.add_event(event)
        return transaction

    def let_go(self, hand: Hand, reason: str) -> None:
        """The claim comes to nothing, or begins anew: what is in hand goes back or is used up."""
        claim, pool = hand.errand.claim, hand.errand.pool
        resources, hand.resources = hand.resources, []
        hand.shown.clear()
        hand.secret.clear()
        retry(claim)
        for resource in resources:
            log.warning("%s for %s: %s", resource.id, claim.id, reason)
            if resource.state is ResourceState.CLAIMED:
                pool.give_back(resource)
            else:
                pool.condemn(resource, reason)


def bound_events(claim: Claim) -> list[NewEvent]:
    """One for the claim; where there are several resources, one for each of these too."""
    data: dict[str, Json] = {
        **claim.claimant.told(),
        "ttl": claim.ttl,
        "warm": claim.warm,
    }
    if claim.wish is not None and claim.wish.because:
        data["because"] = claim.wish.because
    several = len(claim.resources) > 1
    if several:
        data["resources"] = list(claim.resources)
    data = dict(with_record(data, claim.record))
    events = [
        NewEvent(
            "claim.bound",
            claim.pool,
            claim.only_resource,
            claim.id,
            claim.request_id,
            claim.reason,
            data,
        )
    ]
    if several:
        count = len(claim.resources)
        events += [
            NewEvent(
                "resource.bound",
                claim.pool,
                resource,
                claim.id,
                claim.request_id,
                f"one of {count} of a claim",
            )
            for resource in claim.resources
        ]
    return events


def _parameters(claim: Claim, pool: Pool, resource: Resource) -> JsonObject:
    """What the finish parts are given. Raises `Rejected`.

    Where several pools could serve, the claim keeps what it was given, and each fits it to its own.
    """
    if claim.wish is None or not claim.wish.pools:
        return claim.params
    decided = claim.decision
    given = claim.params if decided is None else {**claim.params, **decided.params}
    try:
        return pool.blueprint_of(resource).parameters.accept(given)
    except ParameterProblems as problems:
        raise Rejected(f"the blueprint takes other parameters by now: {problems}") from problems
