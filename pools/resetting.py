"""Brings a released resource back, so that it can serve another claim, or has it removed.

Theory of operation
-------------------

    bound -> resetting                 claim `ending`, parts to be removed `destroying`: one commit
      1. what was made for the claim is removed, credentials first, until its absence is proved
      2. the blueprint's `reset.parts` are removed likewise (once that is written; from there on it
         is too late to hold the resource) and made anew, or reset by their driver
      3. everything that stayed is observed, and `reset.verify` has to pass
    resetting -> ready                 claim `ended`, its secrets and parts erased: one commit

All of that has `reset.within`. Nothing is tried twice: a call whose outcome is unknown may take
effect later, and the parts of the next claim have the names of those of this one. So the first
doubt (an error, a timeout, a difference, a change of plan) ends in the removal of the resource,
which is what happens to one that serves a single claim.

The claim is `ending` until the last commit: that it holds nothing any more is proved only then.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from ..config.expressions import ExpressionError
from ..config.revision import Blueprint, ResetPlan
from ..config.units import format_duration
from .assembly import Assembly, failure_sentence, scope_of, secrets_of
from .claim import Claim, ClaimState, advance
from .dismantling import Dismantler
from .driver import DriverError, NotFound, Rejected, Throttled, Unavailable
from .lanes import Lane
from .lifecycle import PartState, ResourceState, check_part_move
from .pool import Pool
from .resource import Half, Health, Part, Resource
from .reuse import why_not
from .services import Services
from .store import NewEvent, StoreError, Transaction

log = logging.getLogger(__name__)

FIRST_LOOK = 0.01
LONGEST_LOOK = 0.5
"""Seconds between two calls of `destroy`, doubling from the first to the longest."""


@dataclass(frozen=True, slots=True)
class Told:
    """Who is asked and told about a reset."""

    problem: Callable[[Resource, Iterable[Part]], Awaitable[str]]
    """What is different from what was made, of these parts. Raises `DriverError`."""
    look: Callable[[Resource], None]
    """Told of a resource that has to be observed before it counts as healthy."""
    keep: Callable[[Resource], None]
    """Told of a ready one that is to be held."""
    healthy: Callable[[Resource], None]
    """Told of a resource that has become claimable."""
    over: Callable[[Claim], None]
    """Told of a claim that has ended, while its resource lives on."""


class _Unwanted(Exception):
    """The resource could be reset, and is not wanted any more."""


class Resetter:
    """Resets resources in the background, one task each."""

    def __init__(
        self, services: Services, pools: Mapping[str, Pool], dismantler: Dismantler, told: Told
    ) -> None:
        self._services = services
        self._pools = pools
        self._dismantler = dismantler
        self._told = told

    def announce(self, resource: Resource, transaction: Transaction) -> None:
        """Puts into the transaction what `start` will remove; the resource is `resetting` already."""
        transaction.put_resource(resource)
        for part in _made_for_claim(resource):
            self._dismantler.condemn_part(resource, part, transaction)

    def start(self, resource: Resource, claim: Claim, blueprint: Blueprint) -> None:
        """Begins, once what was announced is durable. Call once for each."""
        self._dismantler.departures.expect(resource, claim)
        work = self._reset(resource, claim, blueprint)
        self._services.tasks.start(work, f"reset {resource.id}")

    async def _reset(self, resource: Resource, claim: Claim, blueprint: Blueprint) -> None:
        plan, began = _plan(blueprint), self._services.clock.now()
        assembly = Assembly(self._services, resource, Lane.BACKGROUND)
        try:
            async with asyncio.timeout(plan.within):
                gone = await self._take_apart(resource, plan)
                await self._bring_back(resource, plan, assembly)
                await self._verify(resource, plan)
            async with self._dismantler.departures.turn(resource, claim) as ending:
                self._still_wanted(resource)
                await self._write_ready(resource, claim, ending, (assembly, gone))
                self._done(resource, claim, ending)
        except TimeoutError:
            why = f"the reset took longer than {format_duration(plan.within)}"
            self._give_up(resource, claim, "timeout", why)
        except _Unwanted as reason:
            self._give_up(resource, claim, "unwanted", f"it is not used again, because {reason}")
        except (DriverError, StoreError) as error:
            why = failure_sentence(error, *secrets_of(resource), claim.secrets)
            self._give_up(resource, claim, "failed", f"the reset failed: {why}")
        except Exception as error:  # noqa: BLE001 - nothing may stay in between
            self._services.tasks.report(error, f"resetting {resource.id}")
            why = f"a defect of the daemon ({type(error).__name__})"
            self._give_up(resource, claim, "failed", f"the reset failed: {why}")
        else:
            self._hand_on(resource, self._services.clock.now() - began)

    # The steps

    async def _take_apart(self, resource: Resource, plan: ResetPlan) -> list[Part]:
        """Removes what was made for the claim, then what is made anew. Returns the former."""
        gone = _made_for_claim(resource)
        await self._remove_all(resource, gone)
        if resource.hold is not None:
            raise _Unwanted("it is to be kept for inspection")
        anew = _made_anew(resource, plan)
        if anew:
            resource.renewing = True
            transaction = self._services.store.transaction()
            for part in anew:
                self._dismantler.condemn_part(resource, part, transaction)
            await self._services.commit(transaction)
            await self._remove_all(resource, anew)
        return gone

    async def _remove_all(self, resource: Resource, parts: Iterable[Part]) -> None:
        for part in parts:
            await self._remove(resource, part)
            resource.parts.remove(part)

    async def _remove(self, resource: Resource, part: Part) -> None:
        """Until its absence is proved. Any doubt on the way is raised: see the module."""
        services = self._services
        began, pause = services.clock.now(), FIRST_LOOK
        while not self._dismantler.is_pure(part):
            try:
                await self._dismantler.ask_to_destroy(resource, part)
            except NotFound:
                services.drivers[part.driver].forget(part.id)
                seconds = services.clock.now() - began
                services.telemetry.part_removed(part.driver, "absent", seconds)
                break
            except Throttled as error:  # it was not even tried
                await asyncio.sleep(error.after)
            except DriverError:
                services.telemetry.part_removed(part.driver, "failed", 0.0)
                raise
            else:
                await asyncio.sleep(pause)
                pause = min(LONGEST_LOOK, pause * 2)
        check_part_move(part.id, part.state, PartState.ABSENT)
        part.state = PartState.ABSENT

    async def _bring_back(self, resource: Resource, plan: ResetPlan, assembly: Assembly) -> None:
        scope = scope_of(resource)
        for one in plan.parts:
            part = resource.part(one.name)
            if part is None:
                await assembly.make((one,), Half.PREPARE, scope)
            else:
                await assembly.reset(one, part, scope)

    async def _verify(self, resource: Resource, plan: ResetPlan) -> None:
        """Raises `DriverError` unless all is as it was made, and the blueprint's check passes."""
        anew = {one.name for one in plan.parts} - plan.in_place
        stayed = [
            part
            for part in resource.parts
            if part.name not in anew  # those were checked when they were made
        ]
        problem = await self._told.problem(resource, stayed)
        if problem:
            raise Unavailable(problem)
        try:
            check = plan.verify.render(scope_of(resource))
        except ExpressionError as error:
            raise Rejected(f"reset.verify cannot be rendered: {error}") from error
        assert isinstance(check, dict), "a template of an object renders to one"
        await self._services.readiness.wait_until_ready(check)

    def _still_wanted(self, resource: Resource) -> None:
        pool, now = self._pools.get(resource.pool), self._services.clock.now()
        if pool is None:
            raise _Unwanted("the pool is no longer declared")
        why = why_not(resource, pool.serving, None, now, pool.circumstances_of(resource))
        if why:
            raise _Unwanted(why)

    # The ends

    async def _write_ready(
        self,
        resource: Resource,
        claim: Claim,
        ending: Claim | None,
        parts: tuple[Assembly, list[Part]],
    ) -> None:
        """The moment at which the claim holds nothing any more, and another may have it."""
        services = self._services
        now = services.clock.now()
        ready = services.inventory.after(resource, ResourceState.READY, _reason(claim), now)
        assembly, gone = parts
        transaction = services.store.transaction()
        transaction.put_resource(replace(ready, claim=None))
        for part in assembly.unwritten:
            transaction.put_part(resource, part)
        for part in gone:
            if not self._dismantler.is_pure(part):
                transaction.drop_part(part.id)
        if ending is not None:
            over = replace(ending, ended_at=now)
            advance(over, ClaimState.ENDED)
            transaction.put_claim(over)
        transaction.add_event(_event("resource.reset", resource, claim, _reason(claim)))
        await services.commit(transaction)

    def _done(self, resource: Resource, claim: Claim, ending: Claim | None) -> None:
        """It is durable. Nothing is awaited until it is handed on, so nobody sees half of it."""
        services, now = self._services, self._services.clock.now()
        resource.claim, resource.renewing = None, False
        if ending is not None:
            advance(ending, ClaimState.ENDED)
            ending.ended_at = now
            self._told.over(ending)
        services.inventory.judge(resource, Health.UNKNOWN)
        services.inventory.move(resource, ResourceState.READY, _reason(claim), now)

    def _hand_on(self, resource: Resource, seconds: float) -> None:
        services = self._services
        services.telemetry.reset(resource.pool, "verified")
        services.telemetry.stage(resource.pool, "reset", seconds)
        if resource.hold is not None:
            self._told.keep(resource)  # asked for while the last commit ran
        elif resource.suspect:
            self._told.look(resource)  # something changed meanwhile: it counts once observed
        else:
            services.inventory.judge(resource, Health.HEALTHY)
            self._told.healthy(resource)

    def _give_up(self, resource: Resource, claim: Claim, outcome: str, why: str) -> None:
        services = self._services
        log.log(
            logging.INFO if outcome == "unwanted" else logging.WARNING,
            "%s is removed after %s: %s",
            resource.id,
            claim.id,
            why,
        )
        services.telemetry.reset(resource.pool, outcome)
        resource.version += 1  # above what a commit that failed may have written all the same
        services.inventory.move(resource, ResourceState.ENDING, why, services.clock.now())
        event = _event("resource.reset-failed", resource, claim, why)
        self._dismantler.start(resource, claim, event=None if outcome == "unwanted" else event)


def _plan(blueprint: Blueprint) -> ResetPlan:
    assert blueprint.reset is not None, f"{blueprint.name} declares no reset"
    return blueprint.reset


def _made_for_claim(resource: Resource) -> list[Part]:
    """In the order of removal."""
    return _last_first(part for part in resource.parts if part.half is Half.FINISH)


def _made_anew(resource: Resource, plan: ResetPlan) -> list[Part]:
    """In the order of removal."""
    anew = {one.name for one in plan.parts} - plan.in_place
    return _last_first(part for part in resource.parts if part.name in anew)


def _last_first(parts: Iterable[Part]) -> list[Part]:
    return sorted(parts, key=lambda part: -part.ordinal)


def _reason(claim: Claim) -> str:
    return f"reset and verified after {claim.id}"


def _event(kind: str, resource: Resource, claim: Claim, reason: str) -> NewEvent:
    return NewEvent(
        kind,
        pool=resource.pool,
        resource=resource.id,
        claim=claim.id,
        request=claim.request_id,
        reason=reason,
        data={"uses": resource.uses},
    )
