"""Why a pool has the size that it has, why nothing is ready, what comes next."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ...config.json_types import Json
from ...config.revision import PoolSpec
from ...config.units import format_duration, format_rate
from ..breaker import THRESHOLD, Breaker
from ..ids import ClaimId, ResourceId
from ..lifecycle import ResourceState
from ..part_times import Measured
from ..plan import REPLACE_FROM, Create, Fill, Plan, Retire, Serve, Snapshot
from ..status import PoolStatus
from .filling import ProviderFacts, full_in, pace_of
from .shape import Coming, Explanation, Happening, Present, in_time
from .words import be, listed, plural, quoted, sentence, span, within

S = ResourceState
KINDS: tuple[tuple[str, frozenset[ResourceState]], ...] = (
    ("ready", frozenset({S.READY})),
    ("being made", frozenset({S.PLANNED, S.PREPARING})),
    ("being handed over", frozenset({S.CLAIMED, S.FINISHING})),
    ("bound", frozenset({S.BOUND})),
    ("held", frozenset({S.HELD})),
    ("being removed", frozenset({S.FAILED, S.RETIRING, S.ENDING})),
    ("quarantined", frozenset({S.QUARANTINED})),
)
"""What people call the states, in the order of a resource's life. Each state has one kind."""
_SAME_MOMENT = 0.001


@dataclass(frozen=True, slots=True)
class Stuck:
    """A removal that does not work yet. Times are steady seconds."""

    resource: ResourceId
    part: str
    failures: int
    why: str
    next_at: float


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """One pool at one moment. Times are steady seconds."""

    spec: PoolSpec
    status: PoolStatus
    snapshot: Snapshot
    present: Present
    plan: Plan = field(default_factory=lambda: Plan(()))
    planned_at: float | None = None
    """When it last decided."""
    breaker: Breaker = field(default_factory=Breaker)
    providers: tuple[ProviderFacts, ...] = ()
    creation: Measured | None = None
    holders: Mapping[str, int] = field(default_factory=dict[str, int])
    """Who has how many bound, by name."""
    next_end: tuple[ClaimId, float] | None = None
    """The claim that ends next, unless it is renewed."""
    oldest: tuple[ResourceId, float] | None = None
    """The one that has been ready for longest, and since when."""
    waiting_since: float | None = None
    """When the claim came that has waited longest."""
    stuck: tuple[Stuck, ...] = ()
    ledger_error: str = ""

    @property
    def target(self) -> int:
        return 0 if self.snapshot.draining else self.spec.size.min

    @property
    def missing(self) -> int:
        """How many are to become ready for all that are wanted, and for all who wait."""
        return max(0, self.target + self.snapshot.waiting - self.status.ready)

    @property
    def free(self) -> int:
        return max(0, self.spec.size.max - self.snapshot.occupied)

    @property
    def rest(self) -> float:
        """Seconds in which nothing may begin."""
        now = self.present.now
        until = max([self.breaker.until, *(one.patient_until for one in self.providers)])
        return max(0.0, until - now)


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
    head = f"{name} has {ready} ready and keeps {target}"
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


# Why not ready


def obstacles(facts: PoolFacts) -> Iterator[str]:
    """What keeps the pool from having all ready that is wanted; the first one weighs most."""
    if facts.snapshot.draining:
        yield (
            f"{facts.spec.name} is no longer declared: nothing is made for it any more, what is ready "
            "is removed, and what is bound lives until its claim ends."
        )
        return
    if facts.ledger_error:
        yield (
            f"The ledger refuses writes ({quoted(facts.ledger_error)}), and nothing is made or handed "
            "over that is not written down."
        )
    yield from _failing(facts)
    yield from _throttled(facts)
    if facts.missing:
        yield from _no_room(facts)
        yield from _under_way(facts)
    yield from _not_claimable(facts)
    yield from _stuck(facts)


def _failing(facts: PoolFacts) -> Iterator[str]:
    breaker, now = facts.breaker, facts.present.now
    failures, error = breaker.failures, quoted(breaker.last_error)
    state = breaker.state(now)
    if state == "open" and failures < THRESHOLD:
        yield (
            f"A provider asks for patience ({error}): nothing is made before it, "
            f"{within(breaker.until - now)}."
        )
    elif state == "open":
        yield (
            f"Creating failed {plural(failures, 'time')} in a row, the last time with: {error}. "
            f"It rests and is tried again {within(breaker.until - now)}, with one resource."
        )
    elif state == "half-open":
        trying = "one is being tried" if facts.snapshot.under_way else "one will be tried next"
        yield (
            f"Creating failed {plural(failures, 'time')} in a row, the last time with: {error}. "
            f"Now {trying}, and its outcome decides how it goes on."
        )
    elif failures:
        last = "creation" if failures == 1 else f"{failures} creations"
        yield (
            f"The last {last} failed, with: {error}. After {THRESHOLD} in a row creating rests for "
            "a while."
        )


def _throttled(facts: PoolFacts) -> Iterator[str]:
    now = facts.present.now
    for one in facts.providers:
        if one.patient_until > now:
            yield (
                f"The provider {one.name} throttles: it is not called before "
                f"{span(one.patient_until - now)} have passed."
            )


def _no_room(facts: PoolFacts) -> Iterator[str]:
    short = facts.missing - facts.snapshot.coming - facts.free
    if short <= 0:
        return
    most, occupied = facts.spec.size.max, facts.snapshot.occupied
    taken = f"{occupied} of {plural(most, 'slot')} (size.max) {be(occupied)} taken"
    yield f"{taken}, which leaves no room for {short} that {be(short)} wanted: {_taken_by(facts)}."


def _taken_by(facts: PoolFacts) -> str:
    words: list[str] = []
    for name, count in kinds(facts.status.counts).items():
        who = f" ({_held_by(facts.holders)})" if name == "bound" and facts.holders else ""
        words.append(f"{count} {name}{who}")
    return listed(words, most=len(KINDS)) or "nothing"


def _held_by(holders: Mapping[str, int]) -> str:
    most = sorted(holders.items(), key=lambda one: (-one[1], one[0]))
    return listed([f"{count} by {name}" for name, count in most], most=3)


def _under_way(facts: PoolFacts) -> Iterator[str]:
    coming = facts.snapshot.coming - facts.status.unverified
    if coming > 0:
        yield f"{coming} {be(coming)} being made; {_takes(facts)}."
    more = min(facts.missing - facts.snapshot.coming, facts.free)
    if more > 0 and not facts.rest:
        fill = facts.spec.backfill
        yield (
            f"{more} more {be(more)} to be begun: {format_rate(fill.rate)} (backfill.rate), "
            f"{fill.burst} at once (burst), {fill.concurrency} at a time (concurrency)."
        )


def _takes(facts: PoolFacts) -> str:
    if facts.creation is None:
        return "none was finished since the daemon started, so nobody can say how long one takes"
    one = facts.creation
    known = f"the median of the last {one.samples}" if one.samples > 1 else "measured once"
    return f"one takes {span(one.total)} ({known})"


def _not_claimable(facts: PoolFacts) -> Iterator[str]:
    unverified, drifted = facts.status.unverified, len(facts.snapshot.drifted)
    if unverified:
        yield (
            f"{unverified} {be(unverified)} ready by the ledger but not yet looked at since the daemon "
            "started, and handed out only after that."
        )
    if drifted:
        first = facts.snapshot.drifted[0]
        yield (
            f"{drifted} drifted from what was made and {be(drifted)} replaced; {first.id}: "
            f"{quoted(first.problem)}."
        )


def _stuck(facts: PoolFacts) -> Iterator[str]:
    for one in facts.stuck[:3]:
        yield (
            f"{one.resource} keeps its slot, because its removal is not proved: "
            f"{quoted(one.why)} ({plural(one.failures, 'attempt')})."
        )


# Why this size


def _size(facts: PoolFacts) -> Iterator[str]:
    size = facts.spec.size
    yield (
        f"It keeps {size.min} ready (size.min) and has {size.max} at most (size.max), "
        "with those in use and those being removed."
    )
    if facts.snapshot.occupied:
        yield f"It has {facts.snapshot.occupied} now: {_taken_by(facts)}."
    if facts.snapshot.outdated:
        count = facts.snapshot.outdated
        yield (
            f"{count} of the ready ones {be(count)} outdated: made to an earlier blueprint, handed out "
            "after the others, and removed as soon as an up-to-date one stands ready in its place."
        )
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
                yield _decided(ago, f"to make {command.count} more", command.reason)
    for (cause, reason), count in retired.items():
        yield _decided(ago, f"to retire {count} ({cause})", reason)


def _decided(ago: str, what: str, reason: str) -> str:
    return f"It decided {ago} ago {what}: {quoted(reason)}."


# How it fills


def _full_in(facts: PoolFacts) -> float | None:
    """Seconds; None when nobody can tell, or when it needs a slot that is not free."""
    if facts.missing > facts.snapshot.coming + facts.free or facts.ledger_error:
        return None
    if facts.breaker.failures:
        return None
    pace = pace_of(facts.spec.backfill, facts.creation, facts.providers)
    return full_in(facts.missing, facts.spec.backfill, facts.creation, pace, rest=facts.rest)


def _filling(facts: PoolFacts) -> Iterator[str]:
    if facts.snapshot.draining:
        return
    pace = pace_of(facts.spec.backfill, facts.creation, facts.providers)
    yield f"It fills at {pace} at most, held to that by {pace.because}; {_takes(facts)}."
    seconds = _full_in(facts)
    if facts.missing and seconds is not None:
        yield (
            f"It is full in about {span(seconds)}, if no creation fails and nothing more is claimed "
            "until then."
        )


# What comes next


def _next(facts: PoolFacts) -> tuple[Coming, ...]:
    found = [*_tries(facts), *_ages(facts), *_ends(facts)]
    seconds = _full_in(facts)
    if facts.missing and seconds is not None:
        found.append(Coming.after("it is full (an estimate)", seconds, facts.present))
    wake = facts.plan.wake_at
    if wake is not None and wake > facts.present.now:
        known = [one.at for one in found if one.at is not None]
        if all(abs(at - facts.present.wall(wake)) > _SMALLEST for at in known):
            found.append(Coming.when("it decides anew, as time has passed", wake, facts.present))
    return in_time(found)


_SMALLEST = 10 * _SAME_MOMENT


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
    if age is None or facts.oldest is None or facts.snapshot.draining:
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


def kinds(counts: Mapping[ResourceState, int]) -> dict[str, int]:
    """How many there are of each kind, without those that there are none of."""
    found = {name: sum(counts.get(state, 0) for state in states) for name, states in KINDS}
    return {name: count for name, count in found.items() if count}


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
        "held": counts.get("held", 0),
        "drifted": len(snapshot.drifted),
        "unverified": status.unverified,
        "waiting": snapshot.waiting,
        "occupied": snapshot.occupied,
        "free": facts.free,
        "missing": facts.missing,
        "draining": snapshot.draining,
        "breaker": facts.breaker.state(facts.present.now),
        "failures": facts.breaker.failures,
        "fillRate": str(pace),
        "holders": dict(sorted(facts.holders.items())),
        "revision": status.revision,
        "digest": status.digest,
    }
    if facts.breaker.last_error:
        found["lastError"] = sentence(facts.breaker.last_error)
    if facts.creation is not None:
        found["creationTakes"] = format_duration(round(facts.creation.total, 6))
        found["creationSamples"] = facts.creation.samples
    seconds = _full_in(facts)
    if seconds is not None:
        found["fullIn"] = format_duration(round(seconds, 3))
    return found
