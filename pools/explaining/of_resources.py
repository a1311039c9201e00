"""A resource's life so far, the state of its parts, what was observed, and what comes next."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from ...config.json_types import Json
from ...config.units import format_duration
from ..claim import Claim
from ..expiry import ends_at
from ..lifecycle import COMING, LEAVING, ResourceState
from ..plan import REPLACE_FROM
from ..resource import Health, Part, Resource
from ..store import Event
from ..switches import Switch
from .histories import history
from .pool_facts import Stuck
from .shape import Coming, Explanation, Happening, Present, in_time
from .words import listed, ordered, ordinal, plural, quoted, span, stopped, within


@dataclass(frozen=True, slots=True)
class ResourceFacts:
    """One resource at one moment; `resource` is None when it is gone and only its events are left."""

    name: str
    present: Present
    resource: Resource | None = None
    events: tuple[Event, ...] = ()
    """What the ledger knows of it, oldest first."""
    digest: str = ""
    """The digest that its pool makes new ones to; empty when the pool is no longer declared."""
    max_age: float | None = None
    place: int = 0
    """Its place among those to be handed out, from 1; 0: it is not one of them."""
    claim: Claim | None = None
    """The one that holds it."""
    stuck: Stuck | None = None
    observed_every: float | None = None
    """Seconds between two looks at all that stands."""
    probed_every: float | None = None
    """Seconds between two readiness checks."""

    @property
    def outdated(self) -> bool:
        return self.resource is not None and self.resource.digest != self.digest


def explain_resource(facts: ResourceFacts) -> Explanation:
    resource = facts.resource
    told = history(facts.events, facts.name)
    if resource is None:
        return Explanation(
            subject=f"resource/{facts.name}",
            summary=_gone(facts),
            facts={"state": ResourceState.GONE.value},
            why=("Its absence is proved and its slot is free; what is left of it is its history.",),
            history=told,
        )
    return Explanation(
        subject=f"resource/{resource.id}",
        summary=_summary(resource, facts.present.now),
        facts=_numbers(facts, resource),
        why=(
            *_state(facts, resource),
            *_blueprint(facts, resource),
            *_observed(facts, resource),
            *_parts(resource),
        ),
        history=(_first(facts, resource), *told),
        next=_next(facts, resource),
    )


def _gone(facts: ResourceFacts) -> str:
    end = next((one for one in reversed(facts.events) if one.kind == "resource.gone"), None)
    if end is None:
        return f"{facts.name} is gone."
    ago = span(facts.present.wall(facts.present.now) - end.at)
    return stopped(f"{facts.name} went {ago} ago: {quoted(end.reason) or 'no reason is known'}")


def _summary(resource: Resource, now: float) -> str:
    since = span(now - (resource.changed_at or resource.created_at))
    reason = f": {quoted(resource.reason)}" if resource.reason else ""
    return stopped(f"{resource.id} has been {resource.state} for {since}{reason}")


# Why it is in this state


def _state(facts: ResourceFacts, resource: Resource) -> Iterator[str]:
    if resource.hold is not None:
        yield _kept(resource, resource.hold, facts.present.now)
    if resource.state is ResourceState.READY:
        yield from _ready(facts, resource)
    elif resource.state in COMING:
        yield _being_made(resource)
    elif resource.state in LEAVING:
        yield from _leaving(facts, resource)
    elif resource.state is ResourceState.RESETTING:
        yield (
            f"It is being reset after {resource.claim}, which has ended once that is proved: then it "
            "is ready for another claim. If anything goes wrong it is removed."
        )
    elif facts.claim is not None:
        yield from _claimed(facts, facts.claim)


def _kept(resource: Resource, hold: Switch, now: float) -> str:
    order = ordered(hold, now)
    if resource.state is ResourceState.HELD:
        return f"It is kept for inspection {order}; it is never handed out again, and removed then."
    return f"It is to be kept for inspection {order}; it becomes held when it would be removed."


def _ready(facts: ResourceFacts, resource: Resource) -> Iterator[str]:
    if resource.claimable:
        place = "next" if facts.place == 1 else ordinal(facts.place)
        order = "up-to-date ones go first, then those that have been ready for longest"
        yield f"It can be claimed, and is the {place} to be handed out: {order}."
    elif resource.health is Health.UNKNOWN:
        yield (
            "It cannot be claimed yet: the daemon has not looked at it since it started, so nobody "
            "knows whether it is still what was made."
        )
    else:
        yield f"It cannot be claimed, because it drifted: {quoted(resource.reason)}. It is replaced."


def _being_made(resource: Resource) -> str:
    open_parts = [part for part in resource.parts if part.state in {"intended", "created"}]
    if not open_parts:
        return "No part of it is begun: it waits for its turn, or is about to be ready."
    part = open_parts[-1]
    doing = "its readiness check" if part.state == "created" else f"the driver {part.driver}"
    return f"Its part {part.name} is being made and waits for {doing}."


def _leaving(facts: ResourceFacts, resource: Resource) -> Iterator[str]:
    left = [part.name for part in reversed(resource.parts) if part.state != "absent"]
    if left:
        yield f"It is being removed, in this order: {listed(left)}; its slot is free once all are absent."
    if facts.stuck is not None:
        stuck, now = facts.stuck, facts.present.now
        yield (
            f"The absence of {stuck.part} is not proved: {quoted(stuck.why)}. "
            f"{plural(stuck.failures, 'attempt')} failed; the next one is {within(stuck.next_at - now)}."
        )
    if resource.state is ResourceState.QUARANTINED:
        yield (
            "It is quarantined: its slot stays taken and trying goes on for ever, because what may "
            "still exist must not be made twice. Repair what the driver complains of."
        )


def _claimed(facts: ResourceFacts, claim: Claim) -> Iterator[str]:
    user = claim.claimant.user or f"uid {claim.claimant.uid}"
    end = ""
    if claim.expires_at is not None:
        end = f" and ends {within(ends_at(claim.expires_at, claim.terms) - facts.present.now)}"
    yield f"It belongs to {claim.id} of {user}, which is {claim.state}{end}."


# What it is made of


def _blueprint(facts: ResourceFacts, resource: Resource) -> Iterator[str]:
    made = (
        f"It was made from {resource.blueprint} ({resource.digest[:12]}) under the revision "
        f"{resource.revision}"
    )
    if not facts.digest:
        yield f"{made}; its pool is no longer declared, so it goes once nobody holds it."
    elif not facts.outdated:
        yield f"{made}, which is what its pool makes now."
    else:
        fate = (
            "it lives until its claim ends"
            if resource.claim is not None
            else "it is replaced by the pool's rollout"
        )
        yield f"{made}. It is outdated: its pool makes {facts.digest[:12]} now; {fate}."


def _observed(facts: ResourceFacts, resource: Resource) -> Iterator[str]:
    if resource.observed_at is not None:
        ago = span(facts.present.now - resource.observed_at)
        found = quoted(resource.observed) or "all is as it was made"
        yield f"It was last looked at {ago} ago: {found}."
    elif resource.state is ResourceState.READY and resource.health is Health.HEALTHY:
        yield "It was not looked at since it was made and verified."
    if resource.state in {ResourceState.READY, ResourceState.BOUND} and facts.observed_every:
        probed = any(part.ready and "log" not in part.ready for part in resource.parts)
        checks = f", its readiness checks every {span(facts.probed_every or 0.0)}" if probed else ""
        yield (
            f"What changes is noticed at once where the driver can watch; all of it is looked at every "
            f"{span(facts.observed_every)}{checks}."
        )


def _parts(resource: Resource) -> Iterator[str]:
    if not resource.parts:
        yield "No part of it was begun."
        return
    yield "Its parts in the order of creation: " + "; ".join(map(_part, resource.parts)) + "."


def _part(part: Part) -> str:
    return f"{part.name} ({part.driver}, {part.half}) {part.state}"


def _first(facts: ResourceFacts, resource: Resource) -> Happening:
    at = facts.present.wall(resource.created_at)
    return Happening(at, "planned", f"from {resource.blueprint} {resource.digest[:12]}")


# What comes next


def _next(facts: ResourceFacts, resource: Resource) -> tuple[Coming, ...]:
    present = facts.present
    found: list[Coming] = []
    if resource.hold is not None and resource.hold.until is not None:
        found.append(Coming.when("its hold ends, and it is removed", resource.hold.until, present))
    if facts.stuck is not None:
        found.append(Coming.when("its removal is tried again", facts.stuck.next_at, present))
    resetting = resource.state is ResourceState.RESETTING
    if facts.claim is not None and facts.claim.expires_at is not None and not resetting:
        end = ends_at(facts.claim.expires_at, facts.claim.terms)
        what = f"{facts.claim.id} ends, unless it is renewed, and it is taken away"
        found.append(Coming.when(what, end, present))
    if resource.state is ResourceState.READY and facts.max_age is not None:
        found += _ages(facts, resource, facts.max_age)
    return in_time(found)


def _ages(facts: ResourceFacts, resource: Resource, age: float) -> Iterator[Coming]:
    born = resource.created_at if resource.ready_at is None else resource.ready_at
    soft = born + age * REPLACE_FROM
    if facts.present.now < soft:
        share = round(REPLACE_FROM * 100)
        what = f"it reaches {share} % of maxAge, and one is made in its place"
        yield Coming.when(what, soft, facts.present)
    yield Coming.when("it reaches maxAge and is removed", born + age, facts.present)


def _numbers(facts: ResourceFacts, resource: Resource) -> dict[str, Json]:
    now = facts.present.now
    states = Counter(part.state.value for part in resource.parts)
    found: dict[str, Json] = {
        "pool": resource.pool,
        "state": resource.state.value,
        "claimable": resource.claimable,
        "health": resource.health.value,
        "age": format_duration(round(max(0.0, now - resource.created_at), 3)),
        "blueprint": resource.blueprint,
        "digest": resource.digest,
        "revision": resource.revision,
        "outdated": facts.outdated,
        "uses": resource.uses,
        "parts": [
            {"name": part.name, "driver": part.driver, "half": part.half, "state": part.state}
            for part in resource.parts
        ],
        "partStates": dict(states),
    }
    if facts.place:
        found["place"] = facts.place
    if resource.claim is not None:
        found["claim"] = resource.claim
    if resource.ready_at is not None:
        found["readyFor"] = format_duration(round(max(0.0, now - resource.ready_at), 3))
    if facts.stuck is not None:
        found["removalAttempts"] = facts.stuck.failures
    return found
