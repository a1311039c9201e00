"""What keeps a pool from having all ready that is wanted; said of the pool and of those who wait."""

from collections.abc import Iterator, Mapping

from ...config.units import format_rate
from ..breaker import THRESHOLD
from ..switches import HOST, SwitchKind
from .pool_facts import KINDS, PoolFacts, kinds
from .rollouts import stands_still
from .words import be, listed, ordered, plural, quoted, span, within


def obstacles(facts: PoolFacts) -> Iterator[str]:
    """What keeps the pool from having all ready that is wanted; the first one weighs most."""
    if facts.snapshot.draining:
        yield (
            f"{facts.spec.name} {_draining(facts)}: nothing is made for it any more, what is ready "
            "is removed, and what is bound lives until its claim ends."
        )
        return
    yield from _paused(facts)
    if facts.snapshot.frozen and facts.status.freeze is not None:
        yield (
            f"The host is frozen {ordered(facts.status.freeze, facts.present.now)}: nothing is made, rolled "
            "or removed by itself, and what is ready is handed out, until 'stoker thaw'."
        )
    if facts.status.refresh is not None:
        order = ordered(facts.status.refresh, facts.present.now)
        yield f"It is being refreshed {order}: what is ready is replaced within its ordinary roll."
    if facts.ledger_error:
        yield (
            f"The ledger refuses writes ({quoted(facts.ledger_error)}), and nothing is made or handed "
            "over that is not written down."
        )
    yield from stands_still(facts)
    yield from _failing(facts)
    yield from _throttled(facts)
    if facts.missing:
        yield from _no_room(facts)
        yield from _under_way(facts)
    yield from _not_claimable(facts)
    yield from _stuck(facts)


def _draining(facts: PoolFacts) -> str:
    switch = facts.status.switch
    if switch is None or switch.kind is not SwitchKind.DRAIN:
        return "is no longer declared"
    host = " with the whole host" if switch.subject == HOST else ""
    return f"is drained{host} {ordered(switch, facts.present.now)}"


def _paused(facts: PoolFacts) -> Iterator[str]:
    if not facts.snapshot.paused:
        return
    name, switch, place = facts.spec.name, facts.status.switch, facts.status.paused_at
    still = "nothing new is bound, made or rolled"
    if switch is not None:
        yield f"{name} is paused {ordered(switch, facts.present.now)}: {still} until 'stoker resume'."
    if place:
        yield f"{name} is paused in the configuration ({place}): {still} until that is changed."


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
    short = facts.missing - facts.snapshot.on_the_way - facts.snapshot.resetting - facts.free
    if short <= 0:
        return
    most, occupied = facts.spec.size.max, facts.snapshot.occupied
    taken = f"{occupied} of {plural(most, 'slot')} (size.max) {be(occupied)} taken"
    yield f"{taken}, which leaves no room for {short} that {be(short)} wanted: {taken_by(facts)}."


def taken_by(facts: PoolFacts) -> str:
    words: list[str] = []
    for name, count in kinds(facts.status.counts).items():
        who = f" ({_held_by(facts.holders)})" if name == "bound" and facts.holders else ""
        words.append(f"{count} {name}{who}")
    return listed(words, most=len(KINDS)) or "nothing"


def _held_by(holders: Mapping[str, int]) -> str:
    most = sorted(holders.items(), key=lambda one: (-one[1], one[0]))
    return listed([f"{count} by {name}" for name, count in most], most=3)


def _under_way(facts: PoolFacts) -> Iterator[str]:
    coming = facts.snapshot.on_the_way - facts.status.unverified
    if coming > 0:
        yield f"{coming} {be(coming)} being made; {takes(facts)}."
    resetting = facts.snapshot.resetting
    if resetting:
        yield (
            f"{resetting} {be(resetting)} being reset after a claim, and ready again once that is "
            "verified; otherwise it is removed."
        )
    more = min(facts.missing - facts.snapshot.on_the_way - resetting, facts.free)
    if more > 0 and not facts.rest:
        fill = facts.spec.backfill
        yield (
            f"{more} more {be(more)} to be begun: {format_rate(fill.rate)} (backfill.rate), "
            f"{fill.burst} at once (burst), {fill.concurrency} at a time (concurrency)."
        )


def takes(facts: PoolFacts) -> str:
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
