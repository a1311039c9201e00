"""What is to be done about one pool, now. Pure: a snapshot in, commands with reasons out.

The order is the policy: broken and expired resources go first, then waiting claims are served,
outdated ones are rolled within the budget that `rollout` works out, surplus is removed, and last
the pool is filled up. Of a paused pool, only the first. Of a frozen one, waiting claims are served and
nothing else: what stands may be the last that works, so even what is too old stays until somebody thaws.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from ..config.revision import PoolSpec
from . import rollout
from .breaker import Breaker
from .ids import ResourceId
from .rollout import Counts, Course, Step, Underway


@dataclass(frozen=True, slots=True)
class Member:
    """One claimable or suspect resource, as far as planning needs it."""

    id: ResourceId
    ready_at: float
    problem: str = ""
    """For a drifted one: what was observed."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One pool at one moment."""

    occupied: int
    """Slots taken, resources on their way out included."""
    current: int
    """Claimable and up to date."""
    outdated: int
    """Claimable, from an earlier blueprint or from before a refresh."""
    coming: int
    """Being made to the present blueprint, or ready so but not yet observed."""
    under_way: int
    """Those of them that are being made."""
    leaving: int
    """On their way out and expected to be gone soon: quarantined ones are not."""
    waiting: int
    held: int = 0
    """Kept for inspection, with their slots."""
    resetting: int = 0
    """Released and about to be ready again, if that can be verified."""
    coming_outdated: int = 0
    """As `coming`, of an earlier blueprint or from before a refresh."""
    under_way_outdated: int = 0
    drifted: tuple[Member, ...] = ()
    oldest_current: tuple[Member, ...] = ()
    """The oldest up-to-date ones, as many as one pass may retire."""
    oldest_outdated: tuple[Member, ...] = ()
    breaker: Breaker = field(default_factory=Breaker)
    draining: bool = False
    emptied_because: str = "the pool is no longer declared"
    """Said of a draining one."""
    paused: bool = False
    """An operator wants it to stand still: what is broken goes, and nothing comes."""
    frozen: str = ""
    """Why nothing may change by itself at present, if so."""
    refresh: bool = False
    """An operator wants every ready one replaced; those begun before that are outdated."""
    rolling: Underway | None = None
    """The rollout of a changed blueprint."""
    wall: float = 0.0
    """Wall-clock seconds, by which the windows of rollouts open."""

    @property
    def on_the_way(self) -> int:
        """Whatever the blueprint: each will serve somebody."""
        return self.coming + self.coming_outdated

    @property
    def serving_breaker(self) -> Breaker:
        """Of the blueprint from which those are served who wait."""
        under = self.rolling
        return self.breaker if under is None or not self.holding else under.breaker

    @property
    def holding(self) -> bool:
        """The previous blueprint serves."""
        return self.rolling is not None and rollout.holding(
            self.rolling, self.outdated, self.breaker
        )


@dataclass(frozen=True, slots=True)
class Retire:
    resource: ResourceId
    cause: str
    """drifted | expired | outdated | surplus | drained"""
    reason: str


@dataclass(frozen=True, slots=True)
class Serve:
    """Hand claimable resources to the first `count` waiting claims."""

    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class Create:
    """Begin `count` creations at once, in the claims' lane."""

    count: int
    reason: str
    previous: bool = False
    """From the blueprint before the one that is being rolled out."""


@dataclass(frozen=True, slots=True)
class Fill:
    """Begin up to `count` creations at the pool's pace."""

    count: int
    reason: str
    previous: bool = False


Command = Retire | Serve | Create | Fill

REPLACE_FROM = 0.9
"""From this share of `maxAge` on a ready one is replaced, if that can be done without a gap: what
was filled at once would otherwise also expire at once, and leave the pool empty."""
MOST_RETIRED_AT_ONCE = 64
"""A pass retires no more than this; the next one goes on. It bounds the length of a pass."""


@dataclass(frozen=True, slots=True)
class Plan:
    commands: tuple[Command, ...]
    wake_at: float | None = None
    """When time alone changes the answer: an age reached, a breaker's rest over."""
    step: Step | None = None
    """What becomes of the rollout that is under way."""
    waits: str = ""
    """Why what is outdated is not replaced now."""
    opens_at: float | None = None
    """When a window lets it be."""
    remaining: int = 0
    """How much of the rollout is left."""

    @property
    def fills(self) -> tuple[Fill, ...]:
        return tuple(command for command in self.commands if isinstance(command, Fill))


def plan(spec: PoolSpec, snapshot: Snapshot, now: float) -> Plan:
    """The commands for one pool at `now` (steady seconds), in the order to carry them out."""
    if snapshot.frozen:
        served = _served(snapshot, snapshot.current + snapshot.outdated)
        return Plan(served, waits=snapshot.frozen)
    wakes: list[float] = []
    target = 0 if snapshot.draining else spec.size.min
    drifted = [
        Retire(member.id, "drifted", member.problem)
        for member in snapshot.drifted[:MOST_RETIRED_AT_ONCE]
    ]
    expired, aging = _expired(spec, snapshot, now, wakes)
    up_to_date = {member.id for member in snapshot.oldest_current}
    old_current = sum(1 for one in expired if one.resource in up_to_date)
    current = snapshot.current - old_current
    outdated = snapshot.outdated - (len(expired) - old_current)

    if snapshot.paused:
        waits = "the pool is paused"
        return Plan((*drifted, *expired), min(wakes, default=None), waits=waits)
    way = rollout.course(spec, snapshot.rolling, snapshot.outdated, snapshot.breaker, snapshot.wall)
    serve = min(snapshot.waiting, current + outdated)
    served = _served(snapshot, current + outdated)
    from_current = max(0, serve - outdated) if way.holding else min(serve, current)
    current -= from_current
    outdated -= serve - from_current
    counts = Counts(
        current,
        outdated,
        snapshot.coming,
        snapshot.coming_outdated,
        snapshot.resetting,
        snapshot.waiting - serve,
        max(0, aging - from_current),  # the oldest are handed out first
        spec.size.max - snapshot.occupied,
        bool(snapshot.leaving or snapshot.on_the_way or snapshot.resetting),
    )
    surplus, going = _surplus(spec, snapshot, way, counts, expired)
    created = [] if snapshot.draining else _creations(spec, snapshot, way, counts, now, wakes)
    commands = (*drifted, *expired, *served, *surplus, *created)
    way = rollout.held_up(spec, way, counts, going)
    if snapshot.draining:
        way = replace(way, waits=snapshot.emptied_because)
    step, times = _rolls_on(spec, snapshot, way, counts, now)
    wakes += times
    left = rollout.remaining(counts, target)
    opens_at = None if way.opens_in is None else now + way.opens_in
    return Plan(commands, min(wakes, default=None), step, way.waits, opens_at, left)


def _served(snapshot: Snapshot, ready: int) -> tuple[Command, ...]:
    serve = 0 if snapshot.paused else min(snapshot.waiting, ready)
    return (Serve(serve, f"{snapshot.waiting} waiting, {ready} ready"),) if serve else ()


def _expired(
    spec: PoolSpec, snapshot: Snapshot, now: float, wakes: list[float]
) -> tuple[list[Retire], int]:
    """Those whose time is up, and how many up-to-date ones are to be replaced before it is."""
    age = spec.lifetime.max_age
    if age is None:
        return [], 0
    found: list[Retire] = []
    aging = 0
    for members in (snapshot.oldest_current, snapshot.oldest_outdated):
        for member in members:
            if member.ready_at + age * REPLACE_FROM > now:
                wakes.append(member.ready_at + age * REPLACE_FROM)
                break
            if member.ready_at + age > now:
                wakes.append(member.ready_at + age)
                aging += members is snapshot.oldest_current
            elif len(found) < MOST_RETIRED_AT_ONCE:
                found.append(Retire(member.id, "expired", f"it was ready for longer than {age:g}s"))
    return found, aging


def _surplus(
    spec: PoolSpec, snapshot: Snapshot, way: Course, counts: Counts, expired: list[Retire]
) -> tuple[list[Retire], int]:
    """Ready ones that are replaced or too many: outdated first, then the oldest. How many roll.

    One that comes near its greatest age is surplus once another stands in its place; only when no
    slot is free to make that one does it go first.
    """
    if snapshot.draining:
        drained = Retire(ResourceId(""), "drained", snapshot.emptied_because)
        return list(_chosen(snapshot, expired, counts.outdated, counts.current, drained)), 0
    target = spec.size.min
    going, least = rollout.may_go(spec, way, counts, snapshot.breaker, target)
    beyond = rollout.beyond(spec, way, counts, target)
    outdated = min(counts.outdated, max(going, beyond))
    current = min(counts.current, max(0, beyond - outdated))
    cause, reason = "surplus", f"{counts.ready} are ready and {target} are wanted"
    if outdated and going:
        what = "the pool was refreshed" if snapshot.refresh else "the blueprint changed"
        cause = "outdated"
        reason = f"{what}: {counts.ready} ready, of which {least} have to stay"
    elif not beyond and counts.aging and counts.room <= 0 and not counts.slot_soon:
        current, cause = 1, "expired"
        reason = "its greatest age is near and no slot is free for a new one"
    why = Retire(ResourceId(""), cause, reason)
    return list(_chosen(snapshot, expired, outdated, current, why)), going


def _chosen(
    snapshot: Snapshot, expired: list[Retire], outdated: int, current: int, why: Retire
) -> Iterator[Retire]:
    """The oldest of each kind, without those that go anyhow."""
    leaving = {one.resource for one in expired}
    left = MOST_RETIRED_AT_ONCE
    for members, most in ((snapshot.oldest_outdated, outdated), (snapshot.oldest_current, current)):
        staying = (member for member in members if member.id not in leaving)
        for member in islice(staying, min(most, left)):
            left -= 1
            yield replace(why, resource=member.id)


def _creations(
    spec: PoolSpec,
    snapshot: Snapshot,
    way: Course,
    counts: Counts,
    now: float,
    wakes: list[float],
) -> list[Command]:
    """New ones, in what room there is and as the breakers allow; first for those who wait."""
    target, waiting = spec.size.min, counts.waiting
    wanted = rollout.new_wanted(spec, way, counts, target)
    new = _allowed(snapshot.breaker, snapshot.under_way, wanted, now, wakes)
    previous, under = 0, snapshot.rolling
    if under is not None:
        wanted = rollout.previous_wanted(spec, way, counts, target, new)
        previous = _allowed(under.breaker, snapshot.under_way_outdated, wanted, now, wakes)
    commands: list[Command] = []
    have = f"{counts.ready if way.holding else counts.current} ready, {snapshot.coming} on the way"
    if snapshot.coming_outdated:
        have += f", {snapshot.coming_outdated} of the blueprint before"
    if snapshot.resetting:
        have += f", {snapshot.resetting} being reset"
    # What is on the way is counted, but may be held up in its lane.
    cold = min(previous if way.holding else new, waiting)
    if way.holding and new:
        trial = "the new blueprint is tried while the previous one serves"
        commands.append(Create(new, trial) if waiting > cold else Fill(new, trial))
    if cold:
        told = f"{waiting} waiting and {snapshot.coming} on the way"
        commands.append(Create(cold, told, way.holding))
    more = (previous if way.holding else new) - cold
    if more > 0:
        commands.append(Fill(more, f"{have}, {target} wanted", way.holding))
    return commands


def _allowed(breaker: Breaker, under_way: int, wanted: int, now: float, wakes: list[float]) -> int:
    allowed = breaker.allowance(now, under_way, wanted) if wanted > 0 else 0
    if allowed < wanted and now < breaker.until:
        wakes.append(breaker.until)
    return allowed


def _rolls_on(
    spec: PoolSpec, snapshot: Snapshot, way: Course, counts: Counts, now: float
) -> tuple[Step | None, list[float]]:
    """What becomes of the rollout, and when time alone may change that."""
    wakes = [] if way.wake_in is None else [now + way.wake_in]
    under = snapshot.rolling
    if under is None or snapshot.draining:
        return None, wakes
    if not way.waits and under.rollout.stage is not rollout.Stage.PAUSED:
        deadline = under.memory.progress_at + spec.rollout.progress_deadline
        due = (deadline, *(() if under.proves_at is None else (under.proves_at,)))
        wakes.extend(when for when in due if when > now)
    return rollout.next_step(spec, under, way, counts, now), wakes
