"""Hands a warm resource over in one go, when nothing outside the ledger has to be made for the claim.

This is the way of nearly every claim, and the one whose speed is promised: taken, finished, written
with one transaction, answered. No task is started and nothing is awaited but that commit, so whoever
leaves meanwhile cancels nothing: the ledger itself calls what follows.

What cannot go this way, or goes wrong on it before the commit, goes the general way (`claiming`)
from the same state: pure parts may be made again.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ..config.catalogue import DriverFacts
from ..config.expressions import ExpressionError
from ..config.revision import Blueprint, PartPlan
from .assembly import checked, claim_facts, render_outputs, rendered, scope_of
from .claim import Claim, ClaimState, advance, trim
from .driver import DriverError, PartRequest, PureDriver
from .errands import Errand
from .ids import part_id
from .judging import with_record
from .lifecycle import ResourceState
from .resource import Half, Resource, nothing
from .services import Services
from .store import NewEvent, StoreError, Transaction

MOST_RECIPES = 4096
"""Blueprints remembered before all are looked at anew."""


@dataclass(frozen=True, slots=True)
class Step:
    """One finish part that exists in the ledger alone."""

    plan: PartPlan
    driver: PureDriver
    facts: DriverFacts


Recipe = tuple[Step, ...] | None
"""How to finish what a blueprint makes; None when something outside has to be made for that."""


class HandOver:
    """See the module."""

    def __init__(
        self,
        services: Services,
        *,
        bound: Callable[[Errand], None],
        refused: Callable[[Errand, Resource, StoreError], None],
        defective: Callable[[Errand, Exception], None],
    ) -> None:
        self._services = services
        self._bound = bound
        """Told of an errand whose claim is bound and durable; settles it."""
        self._refused = refused
        """Told that the ledger did not take the claim."""
        self._defective = defective
        """Told of a defect of the daemon: the errand has to be settled all the same."""
        self._recipes: dict[str, Recipe] = {}
        """By the blueprint's digest."""

    def begin(self, errand: Errand, resource: Resource) -> bool:
        """Sends a claim that was just made, bound, to the ledger.

        False, and nothing changed, when it cannot go this way.
        """
        services, claim = self._services, errand.claim
        blueprint = errand.pool.blueprint_of(resource)
        recipe = self._recipe(blueprint)
        if recipe is None:
            return False
        began = claim.created_at  # a moment ago
        claim.expires_at = began + claim.ttl
        try:
            self._finish(claim, resource, blueprint, recipe)
        except (DriverError, ExpressionError):
            return False  # which the general way meets again, and says so
        claim.resources = [resource.id]
        claim.revision = resource.revision
        resource.claim = claim.id
        timing = claim.timing
        now = services.clock.now()
        timing.finish = now - began
        timing.total = timing.policy + now - claim.created_at
        transaction = write_bound(services, claim, resource, now)
        services.submit(
            transaction, lambda error: self._written(errand, resource, now, error), urgent=True
        )
        return True

    def _written(
        self, errand: Errand, resource: Resource, began: float, error: StoreError | None
    ) -> None:
        try:
            if error is not None:
                self._refused(errand, resource, error)
                return
            claim = errand.claim
            trim(claim)
            now = self._services.clock.now()
            claim.timing.bind = now - began
            claim.timing.total = claim.timing.policy + now - claim.created_at
            self._bound(errand)
        except Exception as unforeseen:  # noqa: BLE001
            self._defective(errand, unforeseen)

    def _finish(
        self, claim: Claim, resource: Resource, blueprint: Blueprint, recipe: tuple[Step, ...]
    ) -> None:
        """Makes the finish parts and renders the outputs. Raises what these raise."""
        facts = claim_facts(claim, self._services.clock) if blueprint.reads_claim else None
        scope = scope_of(resource, facts, claim.params)
        parts = scope["parts"]
        assert isinstance(parts, dict)
        for step in recipe:
            plan = step.plan
            settings = rendered(plan, plan.settings.render(scope))
            provider = self._services.providers.get(plan.provider, plan.driver)
            request = PartRequest(
                part_id(resource.id, plan.name),
                resource.pool,
                checked(step.facts, plan, settings),
                nothing(),
                provider.ref,
            )
            made = step.driver.make(request)
            parts[plan.name] = {**made.outputs, **made.secrets} if made.outputs else made.secrets
        claim.outputs, claim.secrets = render_outputs(blueprint, scope)

    def _recipe(self, blueprint: Blueprint) -> Recipe:
        try:
            return self._recipes[blueprint.digest]
        except KeyError:
            if len(self._recipes) >= MOST_RECIPES:
                self._recipes.clear()
            recipe = self._recipes[blueprint.digest] = self._read(blueprint)
            return recipe

    def _read(self, blueprint: Blueprint) -> Recipe:
        steps: list[Step] = []
        for plan in blueprint.finish:
            driver = self._services.drivers[plan.driver]
            if not isinstance(driver, PureDriver):
                return None
            steps.append(Step(plan, driver, self._services.catalogue[plan.driver]))
        return tuple(steps)


def write_bound(services: Services, claim: Claim, resource: Resource, now: float) -> Transaction:
    """Makes the claim bound to its resource, and says so in a transaction that is yet to commit."""
    services.inventory.move(resource, ResourceState.BOUND, f"bound to {claim.id}", now)
    advance(claim, ClaimState.BOUND)
    claim.bound_at = now
    claim.expires_at = now + claim.ttl
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
            claim.pool,
            resource.id,
            claim.id,
            claim.request_id,
            claim.reason,
            with_record(
                {**claim.claimant.told(), "ttl": claim.ttl, "warm": claim.warm}, claim.record
            ),
        )
    )
    return transaction
