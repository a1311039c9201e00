"""Makes the parts of one resource, in order, each written down before and after its driver call.

Used for both halves of a blueprint: `prepare` ahead of demand and `finish` for a claim. Whatever
goes wrong leaves the parts that may exist in the resource's list, for `dismantling` to remove.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from ..config.catalogue import DriverFacts
from ..config.expressions import ExpressionError
from ..config.json_types import Json, JsonObject
from ..config.revision import Blueprint, PartPlan
from ..config.units import format_duration
from .asking import ask, defect
from .claim import Claim
from .clock import Clock
from .driver import (
    Driver,
    DriverError,
    Exhausted,
    Made,
    PartRef,
    PartRequest,
    Presence,
    Rejected,
    ResettingDriver,
    Throttled,
    Unavailable,
)
from .ids import part_id
from .lanes import Lane
from .lifecycle import PartState, check_part_move
from .moments import rfc3339
from .part_times import PartTime
from .providers import Provider
from .redacting import redact
from .resource import Half, Part, Resource, part_values
from .services import Services

Scope = dict[str, object]


class Assembly:
    """The making of one half of one resource."""

    def __init__(self, services: Services, resource: Resource, lane: Lane) -> None:
        self._services = services
        self._resource = resource
        self._lane = lane
        self.unwritten: list[Part] = []
        """Parts that changed since the last commit; whoever commits next writes them too."""

    def scope(self, claim: JsonObject | None = None, params: JsonObject | None = None) -> Scope:
        """What expressions see. `claim` and `params` only for finish parts and outputs."""
        return scope_of(self._resource, claim, params)

    async def make(self, plans: tuple[PartPlan, ...], half: Half, scope: Scope) -> None:
        """Makes the parts one after the other; `scope["parts"]` grows with each.

        Raises `DriverError` for whatever a driver, an expression or a readiness check refuses,
        and `StoreError` when an intent cannot be written (then nothing was asked of the driver).
        """
        parts = scope["parts"]
        assert isinstance(parts, dict)
        for plan in plans:
            try:
                part = await self._make_part(plan, half, scope)
            except ExpressionError as error:
                raise Rejected(f"the part {plan.name} cannot be rendered: {error}") from error
            parts[part.name] = part_values(part)

    async def reset(self, plan: PartPlan, part: Part, scope: Scope) -> None:
        """Has the driver bring a part back in place, and asks its readiness check again.

        Raises `DriverError`, also when something else came back than what is known of the part.
        """
        services = self._services
        driver = services.drivers[plan.driver]
        provider = services.providers.get(plan.provider, plan.driver)
        if not isinstance(driver, ResettingDriver):
            raise Rejected(f"the driver {driver.name} resets nothing in place")
        try:
            settings = rendered(plan, plan.settings.render(scope))
        except ExpressionError as error:
            raise Rejected(f"the part {plan.name} cannot be rendered: {error}") from error
        settings = checked(services.catalogue[plan.driver], plan, settings)
        account = provider.ref_of(self._resource.digest)
        request = PartRequest(part.id, self._resource.pool, settings, {}, account)
        ref = PartRef(part.id, account, part.handle)
        async with provider.turn(self._lane):
            call = driver.reset(request, ref)
            made = await ask(driver, call, services.create_within, tasks=services.tasks)
        known = (part.handle, part.outputs, part.secrets)
        if (made.handle, made.outputs, made.secrets) != known:
            raise Unavailable(f"the part {plan.name} came back from its reset as another one")
        if part.ready:
            await self._verify(part, driver, provider)

    async def write(self, *, urgent: bool = False) -> None:
        """Commits the parts that changed, and the resource with them."""
        transaction = self._services.store.transaction()
        transaction.put_resource(self._resource)
        for part in self.unwritten:
            transaction.put_part(self._resource, part)
        self.unwritten.clear()
        await self._services.commit(transaction, urgent=urgent)

    async def _make_part(self, plan: PartPlan, half: Half, scope: Scope) -> Part:
        services, resource = self._services, self._resource
        driver = services.drivers[plan.driver]
        facts = services.catalogue[plan.driver]
        provider = services.providers.get(plan.provider, plan.driver)
        part = Part(
            part_id(resource.id, plan.name),
            plan.name,
            plan.driver,
            plan.provider,
            half,
            len(resource.parts),
        )
        if driver.pure:
            settings = checked(facts, plan, rendered(plan, plan.settings.render(scope)))
            request = PartRequest(part.id, resource.pool, settings, {}, provider.ref)
            if provider.spec.settings:  # a key to read, say; without settings there is none
                within = services.create_within
                await ask(driver, driver.allot(request), within, tasks=services.tasks)
            made = await ask(driver, driver.create(request), None, tasks=services.tasks)
            self._take_in(part, made)
            _move(part, PartState.VERIFIED)
            return part

        began = services.clock.now()
        request = await self._request(plan, part, driver, provider, scope)
        resource.parts.append(part)
        self.unwritten.append(part)
        await self.write(urgent=self._lane is Lane.CLAIMS)

        made, called = await self._create(driver, provider, request)
        created = services.clock.now()
        self._take_in(part, made)
        driver.watch(PartRef(part.id, request.provider, part.handle))
        if plan.ready is not None:
            own = {**request.allotted, **made.outputs}
            part.ready = rendered(plan, plan.ready.render({**scope, "self": own}))
            await self._verify(part, driver, provider)
        _move(part, PartState.VERIFIED)
        now = services.clock.now()
        time = PartTime(now - began, called=called, checked=now - created)
        services.part_times.add(resource.digest, plan.name, time)
        return part

    async def _request(
        self, plan: PartPlan, part: Part, driver: Driver, provider: Provider, scope: Scope
    ) -> PartRequest:
        """Sets aside what `self` names, renders the settings with it, and fixes the handle.

        When that fails nothing stays set aside: the part is in no list, so nobody else would see
        to it.
        """
        services, pool = self._services, self._resource.pool
        try:
            partly = rendered(plan, plan.settings.render_without(scope, "self"))
            account = provider.ref_of(self._resource.digest)
            bare = PartRequest(part.id, pool, partly, {}, account)
            allotted = await ask(
                driver, driver.allot(bare), services.create_within, tasks=services.tasks
            )
            whole = rendered(plan, plan.settings.render({**scope, "self": allotted}))
            settings = checked(services.catalogue[plan.driver], plan, whole)
            request = PartRequest(part.id, pool, settings, allotted, account)
            part.handle = self._intended(driver, request)
        except BaseException:
            driver.forget(part.id)
            raise
        return request

    def _intended(self, driver: Driver, request: PartRequest) -> JsonObject:
        try:
            return driver.intend(request)
        except DriverError:
            raise
        except Exception as error:
            raise defect(driver, error, self._services.tasks) from error

    async def _create(
        self, driver: Driver, provider: Provider, request: PartRequest
    ) -> tuple[Made, float]:
        """What was made, and the seconds that the driver took for it."""
        services = self._services
        async with provider.turn(self._lane):
            started = services.clock.now()
            outcome = "failed"
            try:
                made = await ask(
                    driver, driver.create(request), services.create_within, tasks=services.tasks
                )
                outcome = "made"
                return made, services.clock.now() - started
            except Throttled:
                outcome = "throttled"
                raise
            except Exhausted:
                outcome = "exhausted"
                raise
            except Rejected:
                outcome = "rejected"
                raise
            finally:
                seconds = services.clock.now() - started
                services.telemetry.part_made(driver.name, outcome, seconds)

    async def _verify(self, part: Part, driver: Driver, provider: Provider) -> None:
        ref = PartRef(part.id, provider.ref_of(self._resource.digest), part.handle)

        services = self._services

        async def still_there() -> None:
            look = driver.observe(ref)
            try:
                seen = await ask(driver, look, services.create_within, tasks=services.tasks)
            except DriverError:
                return  # "cannot tell" is no reason to give up; the check itself has a deadline
            if seen.presence is Presence.ABSENT:
                raise Unavailable(f"{part.name} ended before it was ready: {seen.detail}")

        log = part.outputs.get("log")
        checking = services.readiness.wait_until_ready(
            part.ready,
            still_there=still_there,
            log_path=Path(log) if isinstance(log, str) else None,
        )
        await ask(driver, checking, None, tasks=services.tasks)

    def _take_in(self, part: Part, made: Made) -> None:
        if part not in self._resource.parts:
            self._resource.parts.append(part)
        part.handle = made.handle
        part.outputs = made.outputs
        part.secrets = made.secrets
        _move(part, PartState.CREATED)
        self.unwritten.append(part)


def scope_of(
    resource: Resource, claim: JsonObject | None = None, params: JsonObject | None = None
) -> Scope:
    """See `Assembly.scope`."""
    scope: Scope = {
        "parts": {part.name: part_values(part) for part in resource.parts},
        "resource": {
            "id": resource.id,
            "pool": resource.pool,
            "labels": resource.labels,
            "revision": resource.revision,
        },
    }
    if params is not None:
        scope["params"] = params
    if claim is not None:
        scope["claim"] = claim
    return scope


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


def render_outputs(blueprint: Blueprint, scope: Scope) -> tuple[dict[str, Json], dict[str, Json]]:
    """The claim's outputs: those that may be shown, and the secret ones.

    Raises `Rejected` when an expression fails.
    """
    shown: dict[str, Json] = {}
    secret: dict[str, Json] = {}
    for output in blueprint.outputs:
        try:
            value = output.value.render(scope)
        except ExpressionError as error:
            raise Rejected(f"the output {output.name} cannot be rendered: {error}") from error
        (secret if output.secret else shown)[output.name] = value
    return shown, secret


def failure_sentence(error: BaseException, *secrets: JsonObject) -> str:
    """One bounded line about why making failed, for reasons, events and refusals.

    None of `secrets` is quoted in it.
    """
    text = redact(str(error), *secrets) or type(error).__name__
    return text if len(text) <= 500 else text[:499] + "…"


def secrets_of(resource: Resource) -> list[JsonObject]:
    """What must not be quoted about a resource."""
    return [part.secrets for part in resource.parts if part.secrets]


def rendered(plan: PartPlan, value: Json) -> Mapping[str, Json]:
    """The settings, which an expression cannot turn into something else. Raises `Rejected`."""
    if not isinstance(value, dict):
        raise Rejected(f"the settings of the part {plan.name} are not an object")
    return value


def checked(facts: DriverFacts, plan: PartPlan, settings: JsonObject) -> JsonObject:
    """The settings, if the driver's model accepts them now that the expressions are rendered."""
    if plan.settings.constant:
        return settings  # checked when the configuration was loaded
    try:
        facts.settings.model_validate(settings)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        raise Rejected(f"the part {plan.name} got a bad setting {place}: {first['msg']}") from error
    return settings


def _move(part: Part, to: PartState) -> None:
    check_part_move(part.id, part.state, to)
    part.state = to


__all__ = [
    "Assembly",
    "DriverError",
    "Scope",
    "checked",
    "claim_facts",
    "failure_sentence",
    "render_outputs",
    "rendered",
    "scope_of",
    "secrets_of",
]
