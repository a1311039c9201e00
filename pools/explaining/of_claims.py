"""What happened to a claim, where its time went, why it waits or has ended, when it will end."""

from collections.abc import Iterator
from dataclasses import dataclass

from ...config.json_types import Json
from ...config.units import format_duration
from ..claim import Claim, ClaimState, EndedBecause
from ..expiry import Step, ends_at, next_step
from ..reasons import WaitingFor
from ..resource import Resource
from ..standing import Standing
from ..store import Event
from . import approvals
from .histories import history
from .lasting import bound_to, courtesy
from .obstacles import obstacles
from .pool_facts import PoolFacts
from .shape import Coming, Explanation, Happening, Present, in_time
from .words import be, ordinal, plural, quoted, sentence, span, stopped, within

RULE = (
    "of the ready ones, those up to date are handed out before those outdated (the other way round "
    "until a changed blueprint has proved itself), then those that have been ready for longest"
)
_ENDINGS = {
    EndedBecause.RELEASED: "it was released",
    EndedBecause.EXPIRED: "its time was up, and nobody had renewed it",
    EndedBecause.CLAIMANT_GONE: "its claimant has gone",
    EndedBecause.REVOKED: "it was revoked",
    EndedBecause.FAILED: "it failed",
}


@dataclass(frozen=True, slots=True)
class ClaimFacts:
    """One claim at one moment."""

    claim: Claim
    present: Present
    events: tuple[Event, ...] = ()
    """What the ledger knows of it, oldest first."""
    position: int = 0
    """Its place in line, from 1; 0: it is in none."""
    eta: float | None = None
    """Seconds, estimated."""
    pool: PoolFacts | None = None
    """None when the pool is no longer there."""
    resource: Resource | None = None
    """What it holds, as long as it exists."""
    waiting_for: WaitingFor | None = None
    """Why it is not bound yet, with its code."""
    standing: Standing | None = None
    """What decides its place, while it is in line."""


def explain_claim(facts: ClaimFacts) -> Explanation:
    claim = facts.claim
    why = (
        *_standing(facts),
        *approvals.told(claim, facts.present),
        *_chosen(facts),
        *_time(facts),
        *_asked(facts),
    )
    return Explanation(
        subject=f"claim/{claim.id}",
        summary=_summary(facts),
        facts=_numbers(facts),
        why=why,
        history=(_first(facts), *history(facts.events, claim.id)),
        next=_next(facts),
    )


def _resource(claim: Claim) -> str:
    if len(claim.resources) > 1:
        return f"{', '.join(claim.resources[:-1])} and {claim.resources[-1]}"
    return claim.resources[0] if claim.resources else "its resource"


def _wanted(claim: Claim) -> str:
    """`web`, or `3 of web or spare, where resource.labels.zone == "a"`."""
    wish = claim.wish
    if wish is None:
        return claim.pool
    count = f"{wish.count} of " if wish.count > 1 else ""
    where = f", where {wish.select}" if wish.select else ""
    return f"{count}{' or '.join(wish.pools) or claim.pool}{where}"


def _summary(facts: ClaimFacts) -> str:
    claim, now = facts.claim, facts.present.now
    match claim.state:
        case ClaimState.PENDING if claim.approval is not None and claim.needs_approval:
            has = approvals.missing(claim.approval)
            return f"{claim.id} waits to be approved for {_wanted(claim)}: it has {has}."
        case ClaimState.PENDING:
            eta = "" if facts.eta is None else f", about {span(facts.eta)} to go"
            place = f" as the {ordinal(facts.position)} in line" if facts.position else ""
            return f"{claim.id} waits for {_wanted(claim)}{place}{eta}."
        case ClaimState.FINISHING:
            return f"{claim.id} is being finished on {_resource(claim)}."
        case ClaimState.BOUND:
            end = ends_at(claim.expires_at or now, claim.terms)
            return f"{claim.id} holds {_resource(claim)} and ends {within(end - now)}."
        case ClaimState.ENDING:
            return f"{claim.id} ends, as {_ended(claim)}; {_resource(claim)} is being removed."
        case ClaimState.ENDED:
            ago = "" if claim.ended_at is None else f" {span(now - claim.ended_at)} ago"
            return f"{claim.id} ended{ago}: {_ended(claim)}."
        case _:
            return stopped(f"{claim.id} was {claim.state} ({claim.code}): {claim.detail}")


def _ended(claim: Claim) -> str:
    because = claim.ended_because
    return "it ended" if because is None else _ENDINGS.get(because, f"it ended ({because})")


# Why it is where it is


def _standing(facts: ClaimFacts) -> Iterator[str]:
    match facts.claim.state:
        case ClaimState.PENDING:
            if not facts.claim.needs_approval:
                yield from _waits(facts)
        case ClaimState.BOUND:
            yield from _lasts(facts)
        case ClaimState.ENDING | ClaimState.ENDED:
            yield from _is_over(facts)
        case ClaimState.REFUSED | ClaimState.FAILED:
            yield from _refused(facts)
        case ClaimState.FINISHING:
            yield from _finishes(facts)


def _waits(facts: ClaimFacts) -> Iterator[str]:
    claim, now = facts.claim, facts.present.now
    if facts.waiting_for is not None:
        yield sentence(f"{quoted(facts.waiting_for.detail)} ({facts.waiting_for.code})")
    if facts.position:
        before = facts.position - 1
        ahead = "Nobody is" if not before else f"{plural(before, 'claim')} {be(before)}"
        yield f"{ahead} before it in line; it has waited for {span(now - claim.created_at)}."
        yield from _by_turns(facts)
    if facts.eta is not None:
        yield (
            f"It is served in about {span(facts.eta)}, an estimate from what is being made, how long "
            "that takes and who is before it."
        )
    elif facts.position:
        yield "Nobody can say when: it depends on a slot that is not free, or on what was never measured."
    yield f"It gives up {within(claim.deadline - now)} if nothing has become ready by then."
    if facts.pool is not None:
        yield from obstacles(facts.pool)


def _by_turns(facts: ClaimFacts) -> Iterator[str]:
    standing = facts.standing
    if standing is None:
        return
    rule = f", by the rule {standing.rule}" if standing.rule else ", as no rule gives it another"
    yield (
        f"The line goes by priority, then callers take turns, then the oldest of a caller goes first; "
        f"its priority is {standing.priority}{rule}."
    )


def _finishes(facts: ClaimFacts) -> Iterator[str]:
    parts = [] if facts.resource is None else facts.resource.parts
    made = [part.name for part in parts if part.half == "finish"]
    if made:
        yield f"The parts of finish are made with its parameters; the one begun last is {made[-1]}."
    else:
        yield "The parts of finish are about to be made with its parameters."


def _lasts(facts: ClaimFacts) -> Iterator[str]:
    claim, now = facts.claim, facts.present.now
    if claim.expires_at is None or claim.bound_at is None:
        return
    last = claim.bound_at + claim.max_ttl
    if now >= claim.expires_at:
        yield (
            "Its time is up. It keeps its resource for the pool's grace and cannot be renewed any more."
        )
    elif claim.expires_at >= last:
        yield f"It cannot be renewed any further: it lasts {span(claim.max_ttl)} at most (maxTtl)."
    else:
        yield (
            f"A renewal lets it end {span(claim.ttl)} from then, but no later than "
            f"{span(last - now)} from now (maxTtl {span(claim.max_ttl)})."
        )
    yield from courtesy(claim)
    yield from bound_to(claim)


def _is_over(facts: ClaimFacts) -> Iterator[str]:
    claim = facts.claim
    end = next(
        (e for e in reversed(facts.events) if e.kind == f"claim.{claim.ended_because}"), None
    )
    request = f" (request {end.request})" if end is not None and end.request else ""
    reason = f": {quoted(end.reason)}" if end is not None and end.reason else ""
    ended = _ended(claim)
    yield f"{ended[0].upper()}{ended[1:]}{request}{reason}."
    if claim.state is ClaimState.ENDING:
        yield (
            f"{_resource(claim)} is taken away: what was made for the claim goes first, and the claim "
            "has ended once all of it is proved absent."
        )
        if facts.resource is not None and facts.resource.reason:
            yield stopped(f"{facts.resource.id} is {facts.resource.state}: {facts.resource.reason}")


def _refused(facts: ClaimFacts) -> Iterator[str]:
    claim = facts.claim
    yield sentence(f"{claim.detail or 'no reason is known'} ({claim.code}; see docs/errors.md)")


# Which resource, and where the time went


def _chosen(facts: ClaimFacts) -> Iterator[str]:
    claim = facts.claim
    if not claim.resources:
        return
    name = _resource(claim)
    if claim.wish is not None:
        because = f", because {claim.wish.because}" if claim.wish.because else ""
        waited = "" if claim.warm else f" after {span(claim.timing.queued)} in line"
        yield f"It asked for {_wanted(claim)} and got {name}{waited}{because}."
        return
    if not claim.warm:
        yield _waited(claim, name)
        return
    since = _ready_for(facts)
    yield f"It got {name}, which was ready{since} when it came: {RULE}."


def _waited(claim: Claim, name: str) -> str:
    """Of one that was not served at once."""
    to_be_approved = approvals.waited(claim)
    if to_be_approved is None:
        waited = span(claim.timing.queued)
        return f"Nothing was ready, so it waited {waited} in line and got {name}, the next to be ready."
    in_line = span(max(0.0, claim.timing.queued - to_be_approved))
    return (
        f"It waited {span(to_be_approved)} to be approved, then {in_line} in line, and got {name}."
    )


def _ready_for(facts: ClaimFacts) -> str:
    """How long the resource had been ready, where that is still known."""
    resource, claim = facts.resource, facts.claim
    if resource is None or resource.ready_at is None or claim.bound_at is None:
        return ""
    return f" for {span(claim.bound_at - resource.ready_at)}"


def _time(facts: ClaimFacts) -> Iterator[str]:
    timing = facts.claim.timing
    if facts.claim.bound_at is None:
        return
    approved = approvals.waited(facts.claim) is not None
    stages = (
        ("waiting to be approved and in line" if approved else "waiting in line", timing.queued),
        ("asking the policy", timing.policy),
        ("finishing it with its parameters", timing.finish),
        ("writing it down, so that it survives a crash", timing.bind),
    )
    spent = [(seconds, what) for what, seconds in stages if seconds > 0]
    said = "; ".join(f"{span(seconds)} for {what}" for seconds, what in sorted(spent, reverse=True))
    rest = timing.total - sum(seconds for seconds, _ in spent)
    if timing.total and rest > timing.total / 20:
        said += f"; {span(rest)} for the rest"
    yield f"From the request to the answer it took {span(timing.total)}" + (
        f": {said}." if said else "."
    )


def _asked(facts: ClaimFacts) -> Iterator[str]:
    claim = facts.claim
    yield (
        f"{who(claim)} asked for it {span(facts.present.now - claim.created_at)} ago"
        + (f", with the reason: {quoted(claim.reason)}" if claim.reason else "")
        + f"; its ttl is {span(claim.ttl)}."
    )


def who(claim: Claim) -> str:
    """`ada (pid 4242, /usr/bin/curl, unit session-3.scope)`."""
    one = claim.claimant
    known = [f"pid {one.pid}" if one.pid else "", one.exe, f"unit {one.unit}" if one.unit else ""]
    return f"{one.user or f'uid {one.uid}'} ({', '.join(filter(None, known))})".removesuffix(" ()")


def _first(facts: ClaimFacts) -> Happening:
    return Happening(facts.present.wall(facts.claim.created_at), "asked", f"by {who(facts.claim)}")


# What comes next


def _next(facts: ClaimFacts) -> tuple[Coming, ...]:
    match facts.claim.state:
        case ClaimState.PENDING:
            return in_time(_until_served(facts))
        case ClaimState.BOUND:
            return in_time(_until_over(facts))
        case ClaimState.ENDING:
            return (Coming("it has ended, once its resource is proved absent"),)
        case _:
            return ()


def _until_served(facts: ClaimFacts) -> Iterator[Coming]:
    if facts.claim.needs_approval:
        yield from approvals.coming(facts.claim, facts.present)
        return
    yield Coming.when("it gives up", facts.claim.deadline, facts.present)
    if facts.eta is not None:
        yield Coming.after("it is served (an estimate)", facts.eta, facts.present)
    pool = facts.pool
    if pool is not None and pool.next_end is not None and not pool.free:
        claim, when = pool.next_end
        what = f"{claim} ends, unless it is renewed, and its slot becomes free"
        yield Coming.when(what, when, facts.present)


def _until_over(facts: ClaimFacts) -> Iterator[Coming]:
    claim, present = facts.claim, facts.present
    if claim.expires_at is None:
        return
    when, step = next_step(claim.expires_at, claim.ttl, claim.terms)
    if step is Step.ANNOUNCE and when > present.now:
        yield Coming.when("its expiry is announced", when, present)
    end = ends_at(claim.expires_at, claim.terms)
    if end == claim.expires_at:
        what = "it expires, unless it is renewed, and its resource is taken away"
        yield Coming.when(what, end, present)
        return
    if claim.expires_at > present.now:
        yield Coming.when("it expires, unless it is renewed", claim.expires_at, present)
    yield Coming.when("its grace is over and its resource is taken away", end, present)


def _numbers(facts: ClaimFacts) -> dict[str, Json]:
    claim, timing, now = facts.claim, facts.claim.timing, facts.present.now
    found: dict[str, Json] = {
        "pool": claim.pool,
        "state": claim.state.value,
        "resources": [str(resource) for resource in claim.resources],
        "warm": claim.warm,
        "age": format_duration(round(max(0.0, now - claim.created_at), 3)),
        "ttl": format_duration(claim.ttl),
        "maxTtl": format_duration(claim.max_ttl),
        "revision": claim.revision,
        "timing": {
            name: format_duration(round(seconds, 6))
            for name, seconds in (
                ("queued", timing.queued),
                ("policy", timing.policy),
                ("finish", timing.finish),
                ("bind", timing.bind),
                ("total", timing.total),
            )
        },
    }
    if claim.approval is not None:
        found["approval"] = approvals.numbers(claim.approval, facts.present)
    if claim.wish is not None:
        found["wanted"] = _wanted(claim)
    if facts.position:
        found["position"] = facts.position
    if facts.waiting_for is not None:
        found["waitingFor"] = facts.waiting_for.code.value
        found["limit"] = facts.waiting_for.limit
    if facts.standing is not None:
        found["priority"] = facts.standing.priority
    if facts.eta is not None:
        found["eta"] = format_duration(round(facts.eta, 3))
    if claim.state is ClaimState.BOUND and claim.expires_at is not None:
        found["endsIn"] = format_duration(
            round(max(0.0, ends_at(claim.expires_at, claim.terms) - now), 3)
        )
    if claim.ended_because is not None:
        found["endedBecause"] = claim.ended_because.value
    if claim.code:
        found["code"] = claim.code
    return found
