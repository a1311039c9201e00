"""What is to be done about one pool, now. Pure: a snapshot in, commands with reasons out.

The order is the policy: broken and expired resources go first, then waiting claims are served,
outdated ones are rolled, surplus is removed, and last the pool is filled up. Of a paused pool, only
the first.
"""

from dataclasses import dataclass, field

from ..config.revision import PoolSpec
from .breaker import Breaker
from .ids import ResourceId


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
    """Being made to the present blueprint, or ready but not yet observed."""
    under_way: int
    """All that are being made, whatever the blueprint."""
    leaving: int
    """On their way out and expected to be gone soon: quarantined ones are not."""
    waiting: int
    held: int = 0
    """Kept for inspection, with their slots."""
    resetting: int = 0
    """Released and about to be ready again, if that can be verified."""
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
    refresh: bool = False
    """An operator wants every ready one replaced; those begun before that are outdated."""


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


@dataclass(frozen=True, slots=True)
class Fill:
    """Begin up to `count` creations at the pool's pace."""

    count: int
    reason: str


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

    @property
    def fill(self) -> int:
        return sum(command.count for command in self.commands if isinstance(command, Fill))


def plan(spec: PoolSpec, snapshot: Snapshot, now: float) -> Plan:
    """The commands for one pool at `now` (steady seconds), in the order to carry them out."""
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
        return Plan((*drifted, *expired), min(wakes, default=None))
    serve = min(snapshot.waiting, current + outdated)
    served: list[Command] = []
    if serve:
        served.append(Serve(serve, f"{snapshot.waiting} waiting, {current + outdated} ready"))
    from_current = min(serve, current)
    current -= from_current
    outdated -= serve - from_current
    aging = max(0, aging - from_current)  # the oldest are handed out first
    waiting = snapshot.waiting - serve

    surplus = _surplus(spec, snapshot, (current, outdated, aging), target, expired)
    created = _creations(spec, snapshot, (current - aging, waiting), target, now, wakes)
    return Plan((*drifted, *expired, *served, *surplus, *created), min(wakes, default=None))


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
    spec: PoolSpec,
    snapshot: Snapshot,
    ready: tuple[int, int, int],
    target: int,
    expired: list[Retire],
) -> list[Retire]:
    """Ready ones beyond the target: outdated first, then the oldest.

    Rolling is the same rule: an outdated one is surplus as soon as an up-to-date one stands
    ready in its place. Only when no slot is free to make that one does one outdated go first.
    So it is with those that come near their greatest age. `ready` is how many up-to-date and how
    many outdated ones are left by the steps before, and how many of the former are that old.
    """
    current, outdated, aging = ready
    leaving = {one.resource for one in expired}
    count = current + outdated - target
    cause, reason = "surplus", f"{current + outdated} are ready and {target} are wanted"
    if snapshot.draining:
        cause, reason = "drained", snapshot.emptied_because
    elif count <= 0 and _stuck(spec, snapshot):
        if outdated:
            count, cause = 1, "outdated"
            what = "the pool was refreshed" if snapshot.refresh else "the blueprint changed"
            reason = f"{what} and no slot is free for a new one"
        elif aging:
            count, cause = 1, "expired"
            reason = "its greatest age is near and no slot is free for a new one"
    found: list[Retire] = []
    for member in (*snapshot.oldest_outdated, *snapshot.oldest_current):
        if len(found) >= min(count, MOST_RETIRED_AT_ONCE):
            break
        if member.id not in leaving:
            found.append(Retire(member.id, cause, reason))
    return found


def _stuck(spec: PoolSpec, snapshot: Snapshot) -> bool:
    """No slot is free for a new one, none is about to be, and none is being used for it already."""
    full = snapshot.occupied >= spec.size.max
    return full and not (snapshot.leaving or snapshot.coming or snapshot.resetting)


def _creations(
    spec: PoolSpec,
    snapshot: Snapshot,
    left: tuple[int, int],
    target: int,
    now: float,
    wakes: list[float],
) -> list[Command]:
    """New ones, in what room there is and as the breaker allows; first for those who wait.

    `left` is how many up-to-date ones stand ready and how many claims wait after serving.
    """
    current, waiting = left
    missing = target + waiting - current - snapshot.coming - snapshot.resetting
    room = spec.size.max - snapshot.occupied
    wanted = min(missing, room)
    if snapshot.draining or wanted <= 0:
        return []
    allowed = snapshot.breaker.allowance(now, snapshot.under_way, wanted)
    if allowed < wanted and now < snapshot.breaker.until:
        wakes.append(snapshot.breaker.until)
    cold = min(allowed, waiting)  # what is on the way is counted, but may be held up in its lane
    commands: list[Command] = []
    if cold:
        commands.append(Create(cold, f"{waiting} waiting and {snapshot.coming} on the way"))
    if allowed > cold:
        have = f"{current} ready, {snapshot.coming} on the way"
        if snapshot.resetting:
            have += f", {snapshot.resetting} being reset"
        commands.append(Fill(allowed - cold, f"{have}, {target} wanted"))
    return commands
