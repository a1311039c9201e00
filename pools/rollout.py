"""How a changed blueprint comes to serve: stage by stage, within a budget. Pure.

    canary ──► rolling ──► over            canary, rolling ──► paused ──► canary

    canary    a few of the new blueprint are made, and stay healthy for a while
    rolling   the others are replaced, as many at a time as the budget allows
    paused    there was no progress for too long: nothing is replaced until an operator or another
              change of the blueprint lets it go on

Until the new blueprint has proved itself, and whenever it fails, the previous one *serves*: its
resources are handed out first, and what claims take is made anew from it. So a blueprint that does
not work never empties a pool. The previous one is whichever was last rolled out to the end; a
change in the middle of a rollout begins another one from it, and a change back to it needs no canary.
When nothing of the previous one is left and it cannot be made either, there is nothing to protect,
and the new one serves at once.

A refresh replaces ready ones too, within the same budget. It has no stages: the blueprint is known.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from ..config.revision import PoolSpec
from ..config.units import format_duration
from ..config.windows import opening
from .breaker import THRESHOLD, Breaker


class Stage(StrEnum):
    CANARY = "canary"
    ROLLING = "rolling"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class Rollout:
    """One pool's, from its beginning to its end. The ledger keeps it. Times are steady seconds."""

    pool: str
    digest: str
    """Of the blueprint that comes."""
    previous: str
    """The digest of the one that served before."""
    revision: str
    """In which that one is declared."""
    stage: Stage
    started_at: float
    since: float
    """When the stage began."""
    reason: str = ""
    """Why it came to this stage."""


@dataclass(frozen=True, slots=True)
class Served:
    """What a pool makes before a change."""

    digest: str
    revision: str
    worked: bool
    """A resource of it was ready once."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a pool remembers of its rollout from one pass to the next."""

    progress_at: float = 0.0
    """When it last came nearer to its end; later by what it waited for without a fault of its own."""
    trouble: str = ""
    """What last went wrong with the new blueprint."""


@dataclass(frozen=True, slots=True)
class Underway:
    """A rollout at one moment, as far as planning needs it."""

    rollout: Rollout
    known: bool = True
    """The previous blueprint is another one, and can be made."""
    breaker: Breaker = field(default_factory=Breaker)
    """Of the previous blueprint."""
    proven: int = 0
    """Up-to-date ones that were ready for long enough, or serve a claim."""
    proves_at: float | None = None
    """When the next one will have been."""
    in_use: int = 0
    """Up-to-date ones that serve a claim."""
    memory: Memory = field(default_factory=Memory)


@dataclass(frozen=True, slots=True)
class Counts:
    """The resources of a pool, as far as a rollout weighs them."""

    current: int
    """Ready and up to date."""
    outdated: int
    """Ready and not."""
    coming: int
    """Being made up to date, or ready so and not yet observed."""
    coming_outdated: int
    resetting: int
    waiting: int
    aging: int = 0
    """Of the current ones, those to be replaced because of their age."""
    room: int = 0
    """Free slots."""
    slot_soon: bool = False
    """One is about to be freed or filled."""

    @property
    def ready(self) -> int:
        return self.current + self.outdated

    @property
    def in_all(self) -> int:
        return self.ready + self.coming + self.coming_outdated + self.resetting


@dataclass(frozen=True, slots=True)
class Budget:
    """What a rollout may do to a pool, in resources."""

    surge: int
    least: int
    """So many stay ready while there is room for new ones."""
    least_without_room: int
    """So many stay ready when one has to go before another can be made."""


def budget(spec: PoolSpec) -> Budget:
    """As Kubernetes rounds: up for the surge, down for the unavailable, but not both to nothing."""
    rules, target = spec.rollout, spec.size.min
    floor = 0 if rules.floor is None else rules.floor.of(target, up=True)
    fewer = rules.max_unavailable.of(target, up=False)
    one_fewer = fewer or min(1, rules.max_unavailable.number)
    return Budget(
        rules.max_surge.of(target, up=True),
        max(floor, target - fewer, 0),
        max(floor, target - one_fewer, 0),
    )


def canaries(spec: PoolSpec) -> int:
    """How many have to prove themselves: a pool that keeps none ready has nothing to try it on."""
    return min(spec.rollout.canary, spec.size.min)


# How it begins


def begin(
    before: Rollout | None, served: Served | None, spec: PoolSpec, now: float
) -> Rollout | None:
    """The rollout to `spec`, or None when there is nothing to roll from.

    `before` is the one under way, `served` what the pool was made from when there is none.
    """
    digest = spec.blueprint.digest
    if before is not None:
        if before.digest == digest:
            return before
        previous, revision = before.previous, before.revision
    elif served is not None and served.worked and served.digest != digest:
        previous, revision = served.digest, served.revision
    else:
        return None
    back = previous == digest
    stage = Stage.ROLLING if back or not canaries(spec) else Stage.CANARY
    reason = (
        "the blueprint changed back to the one that served before"
        if back
        else "the blueprint changed"
    )
    return Rollout(spec.name, digest, previous, revision, stage, now, now, reason)


def retried(rollout: Rollout, now: float) -> Rollout:
    """A paused one goes on from its beginning."""
    return replace(rollout, stage=Stage.CANARY, since=now, reason="an operator lets it go on")


# What it may do now


@dataclass(frozen=True, slots=True)
class Course:
    """How a pool replaces what is outdated, at one moment."""

    holding: bool = False
    """The previous blueprint serves."""
    replacing: bool = True
    canary: bool = False
    """Only the first few of the new blueprint are made."""
    waits: str = ""
    """Why nothing is replaced, when that is not the blueprint's fault."""
    wake_in: float | None = None
    """Seconds until a window opens or closes."""
    opens_in: float | None = None
    """Seconds until a window opens that is closed now."""


def course(
    spec: PoolSpec,
    under: Underway | None,
    outdated: int,
    breaker: Breaker,
    wall: float,
) -> Course:
    """`outdated` ones are ready; `breaker` is the new blueprint's.

    `wall` is wall-clock time, by which windows open.
    """
    if under is None:
        return Course()
    stage = under.rollout.stage
    keeps = holding(under, outdated, breaker)
    waits, wake_in, opens_in = "", None, None
    if not _lost(under, outdated) and stage is not Stage.PAUSED:
        window = opening(spec.rollout.windows, wall)
        wake_in = None if window.changes_at is None else window.changes_at - wall
        if not window.open:
            opens_in = wake_in
            waits = "its windows are closed"
    return Course(
        keeps,
        not waits and stage is not Stage.PAUSED,
        keeps and stage is Stage.CANARY,
        waits,
        wake_in,
        opens_in,
    )


def holding(under: Underway, outdated: int, breaker: Breaker) -> bool:
    """Whether the previous blueprint serves; `breaker` is the new one's."""
    stage = under.rollout.stage
    if stage is Stage.PAUSED or _lost(under, outdated):
        return under.known and stage is Stage.PAUSED
    return under.known and (stage is Stage.CANARY or _tripped(breaker))


def _lost(under: Underway, outdated: int) -> bool:
    """Nothing is left of the previous blueprint, and no more of it can be made."""
    return not outdated and (not under.known or _tripped(under.breaker))


def _tripped(breaker: Breaker) -> bool:
    return breaker.failures >= THRESHOLD


def new_wanted(spec: PoolSpec, way: Course, counts: Counts, target: int) -> int:
    """How many to make of the new blueprint, before its breaker is asked."""
    if way.holding:
        missing = _trials(spec, way, counts)
    else:
        up_to_date = counts.current - counts.aging + counts.coming + counts.resetting
        missing = target + counts.waiting - up_to_date
        if not way.replacing:
            missing -= counts.outdated + counts.coming_outdated
    return max(0, min(missing, _space(spec, counts, target)))


def previous_wanted(spec: PoolSpec, way: Course, counts: Counts, target: int, new: int) -> int:
    """How many to make of the previous one, beside so many new ones, before its breaker is asked."""
    if not way.holding:
        return 0
    supply = counts.ready + counts.coming_outdated + counts.resetting
    missing = target + counts.waiting - supply
    return max(0, min(missing, _space(spec, counts, target) - new))


def _space(spec: PoolSpec, counts: Counts, target: int) -> int:
    """Never more ready and on the way than the target, those who wait and the surge together."""
    most = target + counts.waiting + counts.aging + budget(spec).surge
    return min(most - counts.in_all, counts.room)


def _trials(spec: PoolSpec, way: Course, counts: Counts) -> int:
    """How many more of the new blueprint are made while the previous one serves."""
    if not way.replacing:
        return 0
    goal = canaries(spec) if way.canary else min(counts.current + 1, spec.size.min)
    return goal - counts.current - counts.coming


def may_go(
    spec: PoolSpec, way: Course, counts: Counts, breaker: Breaker, target: int
) -> tuple[int, int]:
    """How many outdated ready ones may go now to be replaced, and how many must stay ready."""
    limits = budget(spec)
    if not way.replacing or not counts.outdated:
        return 0, limits.least
    count, least = 0, limits.least
    if not way.holding:
        if _tripped(breaker):
            least = max(limits.least, target)
        count = min(counts.outdated, counts.ready - least)
    elif _trials(spec, way, counts) <= 0:
        return 0, least
    if count <= 0 and not _tripped(breaker) and _no_room(limits, counts, target):
        least = limits.least_without_room
        count = min(1, counts.ready - least)
    return max(0, count), least


def _no_room(limits: Budget, counts: Counts, target: int) -> bool:
    """None can be made before one has gone."""
    full = counts.in_all >= target + counts.waiting + counts.aging + limits.surge
    if full and counts.in_all == counts.ready:
        return True
    return counts.room <= 0 and not counts.slot_soon


def beyond(spec: PoolSpec, way: Course, counts: Counts, target: int) -> int:
    """How many ready ones are more than is wanted."""
    tried = way.holding or (way.waits and counts.outdated)  # beside those that stay for now
    allowed = min(counts.current, budget(spec).surge) if tried else 0
    return max(0, counts.ready - target - allowed)


def held_up(spec: PoolSpec, way: Course, counts: Counts, going: int) -> Course:
    """The same, waiting if nothing can be done before somebody else frees a slot."""
    if way.waits or not way.replacing or counts.room > 0 or counts.coming or going:
        return way
    lacks = _trials(spec, way, counts) if way.holding else remaining(counts, spec.size.min)
    return replace(way, waits="no slot is free for a new one") if lacks > 0 else way


# How it goes on


@dataclass(frozen=True, slots=True)
class Step:
    """The next stage. `rollout` is None when it is over."""

    event: str
    """advanced | paused | finished"""
    reason: str
    rollout: Rollout | None


def next_step(
    spec: PoolSpec, under: Underway, way: Course, counts: Counts, now: float
) -> Step | None:
    """What becomes of the rollout at `now`; None: it stays as it is."""
    rollout, target = under.rollout, spec.size.min
    if rollout.stage is Stage.PAUSED:
        return None
    left = counts.outdated + counts.coming_outdated
    if rollout.stage is Stage.ROLLING and not left and counts.current + under.in_use >= target:
        return Step("finished", "all that is ready is up to date", None)
    if way.waits:
        return None
    need = canaries(spec)
    if rollout.stage is Stage.CANARY and under.proven >= need:
        reason = f"{need} of the new blueprint proved {'itself' if need == 1 else 'themselves'}"
        return Step("advanced", reason, _moved(rollout, Stage.ROLLING, now, reason))
    if now >= under.memory.progress_at + spec.rollout.progress_deadline:
        reason = _why_paused(spec, rollout, under)
        return Step("paused", reason, _moved(rollout, Stage.PAUSED, now, reason))
    return None


def remaining(counts: Counts, target: int) -> int:
    """What is left to do, in steps: it falls as a rollout goes on."""
    return counts.outdated + counts.coming_outdated + max(0, target - counts.current)


def _moved(rollout: Rollout, stage: Stage, now: float, reason: str) -> Rollout:
    return replace(rollout, stage=stage, since=now, reason=reason)


def _why_paused(spec: PoolSpec, rollout: Rollout, under: Underway) -> str:
    within = format_duration(spec.rollout.progress_deadline)
    what = "no canary proved itself" if rollout.stage is Stage.CANARY else "it made no progress"
    error = under.memory.trouble
    trouble = f"; the last error: {error}" if error else ""
    return f"{what} within {within} (progressDeadline){trouble}"
