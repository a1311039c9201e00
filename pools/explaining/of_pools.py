"""Why a pool has the size that it has, why nothing is ready, what comes next."""

from collections import Counter
from collections.abc import Iterator

from ...config.json_types import Json
from ...config.units import format_duration
from ..plan import REPLACE_FROM, Create, Fill, Retire, Serve
from ..switches import of_the_host
from .filling import full_in, pace_of
from .obstacles import obstacles, taken_by, takes
from .pool_facts import PoolFacts, kinds
from .rollouts import comes, outdated
from .shape import Coming, Explanation, Happening, in_time
from .words import be, plural, quoted, sentence, span

SAME_MOMENT = 0.01


def explain_pool(facts: PoolFacts, history: tuple[Happening, ...] = ()) -> Explanation:
    why = (*obstacles(facts), *_size(facts), *_decisions(facts), *_filling(facts))
    return Explanation(
        subject=f"pool/{facts.spec.name}",
        summary=_summary(facts),
        facts=_numbers(facts),
        why=why,
        history=history,
        next=_next(facts),
    )


def _summary(facts: PoolFacts) -> str:
    name, ready, target = facts.spec.name, facts.status.ready, facts.target
    if facts.snapshot.draining:
        left = plural(facts.snapshot.occupied, "resource")
        return f"{name} is draining: {left} {be(facts.snapshot.occupied)} left."
    paused = "is paused, " if facts.snapshot.paused else ""
    paused += "is frozen, " if facts.snapshot.frozen else ""
    head = f"{name} {paused}has {ready} ready and keeps {target}"
    if facts.snapshot.waiting:
        waiting = facts.snapshot.waiting
        head += f"; {plural(waiting, 'claim')} {'waits' if waiting == 1 else 'wait'}"
    if not facts.missing:
        return f"{head}: it is full."
    seconds = _full_in(facts)
    if seconds is not None:
        return f"{head}: it is full again in about {span(seconds)}."
    first = next(obstacles(facts), "")
    return f"{head}. {first}".rstrip()


# Why this size


def _size(facts: PoolFacts) -> Iterator[str]:
    size = facts.spec.size
    yield (
        f"It keeps {size.min} ready (size.min) and has {size.max} at most (size.max), "
        "with those in use and those being removed."
    )
    if facts.snapshot.occupied:
        yield f"It has {facts.snapshot.occupied} now: {taken_by(facts)}."
    yield from outdated(facts)
    if facts.waiting_since is not None:
        queue = facts.spec.queue
        yield (
            f"{plural(facts.snapshot.waiting, 'claim')} of {queue.max} that may (queue.max) "
            f"{'waits' if facts.snapshot.waiting == 1 else 'wait'}, the longest for "
            f"{span(facts.present.now - facts.waiting_since)}."
        )


# What was decided


def _decisions(facts: PoolFacts) -> Iterator[str]:
    if facts.planned_at is None:
        return
    ago = span(facts.present.now - facts.planned_at)
    if not facts.plan.commands:
        yield f"It last decided {ago} ago that nothing is to be done."
        return
    retired: Counter[tuple[str, str]] = Counter()
    for command in facts.plan.commands:
        match command:
            case Retire():
                retired[command.cause, command.reason] += 1
            case Serve():
                yield _decided(ago, f"to serve {command.count} who wait", command.reason)
            case Create():
                made = f"to make {command.count} at once for those who wait"
                yield _decided(ago, made, command.reason)
            case Fill():
                before = " of the blueprint before" if command.previous else ""
                yield _decided(ago, f"to make {command.count} more{before}", command.reason)
    for (cause, reason), count in retired.items():
        yield _decided(ago, f"to retire {count} ({cause})", reason)


def _decided(ago: str, what: str, reason: str) -> str:
    return f"It decided {ago} ago {what}: {quoted(reason)}."


# How it fills


def _full_in(facts: PoolFacts) -> float | None:
    """Seconds; None when nobody can tell, or when it needs a slot that is not free."""
    if facts.missing > facts.snapshot.on_the_way + facts.free or facts.ledger_error:
        return None
    if facts.breaker.failures or facts.snapshot.paused or facts.snapshot.frozen:
        return None
    pace = pace_of(facts.spec.backfill, facts.creation, facts.providers)
    return full_in(facts.missing, facts.spec.backfill, facts.creation, pace, rest=facts.rest)


def _filling(facts: PoolFacts) -> Iterator[str]:
    if facts.snapshot.draining:
        return
    pace = pace_of(facts.spec.backfill, facts.creation, facts.providers)
    yield f"It fills at {pace} at most, held to that by {pace.because}; {takes(facts)}."
    seconds = _full_in(facts)
    if facts.missing and seconds is not None:
        yield (
            f"It is full in about {span(seconds)}, if no creation fails and nothing more is claimed "
            "until then."
        )


# What comes next


def _next(facts: PoolFacts) -> tuple[Coming, ...]:
    found = [*_switched(facts), *_tries(facts), *comes(facts), *_ages(facts), *_ends(facts)]
    seconds = _full_in(facts)
    if facts.missing and seconds is not None:
        found.append(Coming.after("it is full (an estimate)", seconds, facts.present))
    wake = facts.plan.wake_at
    if wake is not None and wake > facts.present.now:
        known = [one.at for one in found if one.at is not None]
        if all(abs(at - facts.present.wall(wake)) > SAME_MOMENT for at in known):
            found.append(Coming.when("it decides anew, as time has passed", wake, facts.present))
    return in_time(found)


def _switched(facts: PoolFacts) -> Iterator[Coming]:
    status = facts.status
    for switch in (status.switch, status.refresh, status.freeze):
        if switch is not None and switch.until is not None:
            whose = "the host's" if of_the_host(switch) else "its"
            yield Coming.when(f"{whose} {switch.kind} ends", switch.until, facts.present)


def _tries(facts: PoolFacts) -> Iterator[Coming]:
    present = facts.present
    if facts.breaker.until > present.now:
        yield Coming.when("creating is tried again", facts.breaker.until, present)
    for one in facts.providers:
        if one.patient_until > present.now:
            yield Coming.when(
                f"the provider {one.name} is called again", one.patient_until, present
            )
    for stuck in facts.stuck[:3]:
        yield Coming.when(f"the removal of {stuck.resource} is tried again", stuck.next_at, present)


def _ages(facts: PoolFacts) -> Iterator[Coming]:
    age = facts.spec.lifetime.max_age
    if age is None or facts.oldest is None or facts.snapshot.draining or facts.snapshot.frozen:
        return
    name, ready_at = facts.oldest
    soft, hard = ready_at + age * REPLACE_FROM, ready_at + age
    if facts.present.now < soft:
        share = round(REPLACE_FROM * 100)
        what = f"{name} reaches {share} % of maxAge, and one is made in its place"
        yield Coming.when(what, soft, facts.present)
    yield Coming.when(f"{name} reaches maxAge and is removed", hard, facts.present)


def _ends(facts: PoolFacts) -> Iterator[Coming]:
    if facts.next_end is not None:
        claim, when = facts.next_end
        yield Coming.when(f"{claim} ends, unless it is renewed", when, facts.present)


def _numbers(facts: PoolFacts) -> dict[str, Json]:
    status, snapshot, size = facts.status, facts.snapshot, facts.spec.size
    counts = kinds(status.counts)
    pace = pace_of(facts.spec.backfill, facts.creation, facts.providers)
    found: dict[str, Json] = {
        "min": size.min,
        "max": size.max,
        "ready": status.ready,
        "outdated": snapshot.outdated,
        "coming": counts.get("being made", 0),
        "bound": counts.get("bound", 0),
        "leaving": counts.get("being removed", 0),
        "quarantined": counts.get("quarantined", 0),
        "resetting": counts.get("being reset", 0),
        "held": counts.get("held", 0),
        "drifted": len(snapshot.drifted),
        "unverified": status.unverified,
        "waiting": snapshot.waiting,
        "occupied": snapshot.occupied,
        "free": facts.free,
        "missing": facts.missing,
        "draining": snapshot.draining,
        "paused": snapshot.paused,
        "frozen": bool(snapshot.frozen),
        "breaker": facts.breaker.state(facts.present.now),
        "failures": facts.breaker.failures,
        "fillRate": str(pace),
        "holders": dict(sorted(facts.holders.items())),
        "revision": status.revision,
        "digest": status.digest,
    }
    rollout = status.rollout
    if rollout is not None:
        found["rollout"] = rollout.stage.value
        found["previousDigest"] = rollout.previous
    if facts.breaker.last_error:
        found["lastError"] = sentence(facts.breaker.last_error)
    if facts.creation is not None:
        found["creationTakes"] = format_duration(round(facts.creation.total, 6))
        found["creationSamples"] = facts.creation.samples
    seconds = _full_in(facts)
    if seconds is not None:
        found["fullIn"] = format_duration(round(seconds, 3))
    return found
