"""Why a claim waits: a code, a sentence, and the limit that holds it up. Pure.

It is worked out when somebody asks, from the same snapshot that planning decides by, so it says
what the next pass would say. docs/errors.md lists the codes, and a test compares the two.
"""

from dataclasses import dataclass
from enum import StrEnum

from ..config.revision import PoolSpec
from ..config.units import format_duration
from .breaker import THRESHOLD
from .plan import Snapshot


class WaitCode(StrEnum):
    """What a claim waits for. Where a refusal for the same cause exists, it has the same code."""

    APPROVAL = "approval"
    BEING_MADE = "being-made"
    BEING_RESET = "being-reset"
    HANDED_OVER = "being-handed-over"
    FINISHING = "finishing"
    PAUSED = "paused"
    FROZEN = "frozen"
    NO_CAPACITY = "no-capacity"
    NO_MATCH = "no-match"
    BLUEPRINT_FAILING = "blueprint-failing"
    PROVIDER_BUSY = "provider-busy"
    LEDGER_UNAVAILABLE = "ledger-unavailable"


@dataclass(frozen=True, slots=True)
class WaitingFor:
    """`limit` names the setting or the mechanism that holds the claim up, if one does."""

    code: WaitCode
    detail: str
    limit: str = ""


@dataclass(frozen=True, slots=True)
class Waited:
    """What is known beside the snapshot. Times are steady seconds, widths are seconds."""

    position: int
    """The claim's place in the line, 1 is next; or how many resources it takes until it is served."""
    seconds_to_create: float | None = None
    ledger_error: str = ""
    paused: str = ""
    """By whom the pool is paused, until when and why, when it is."""
    frozen: str = ""
    """That nothing is made, by whom, until when and why, when the host is frozen."""


def why_waiting(spec: PoolSpec, snapshot: Snapshot, now: float, known: Waited) -> WaitingFor:
    """What a pending claim at `known.position` waits for at `now`."""
    if known.ledger_error:
        why = f"claims cannot be written down at present: {known.ledger_error}"
        return WaitingFor(WaitCode.LEDGER_UNAVAILABLE, why, "ledger")
    if known.paused:
        return WaitingFor(WaitCode.PAUSED, known.paused, "pause")
    ready = snapshot.current + snapshot.outdated
    if known.position <= ready:
        why = f"{_count(ready, 'resource is', 'resources are')} ready and about to be handed over"
        return WaitingFor(WaitCode.HANDED_OVER, why)
    if known.position - ready <= snapshot.on_the_way:
        return WaitingFor(WaitCode.BEING_MADE, _being_made(snapshot, known))
    if known.position - ready <= snapshot.on_the_way + snapshot.resetting:
        why = f"{_count(snapshot.resetting, 'resource is', 'resources are')} being reset after a claim"
        return WaitingFor(WaitCode.BEING_RESET, why)
    if known.frozen:
        return WaitingFor(WaitCode.FROZEN, known.frozen, "freeze")
    return _held_up(spec, snapshot, now) or WaitingFor(
        WaitCode.BEING_MADE, "a resource is about to be made for it" + _takes(known)
    )


def _held_up(spec: PoolSpec, snapshot: Snapshot, now: float) -> WaitingFor | None:
    """The limit that keeps a resource from being made for it."""
    if snapshot.occupied >= spec.size.max:
        return WaitingFor(WaitCode.NO_CAPACITY, _full(spec, snapshot), "size.max")
    breaker = snapshot.serving_breaker
    left = format_duration(max(1, round(breaker.until - now)))
    if breaker.failures >= THRESHOLD:
        then = f"the next attempt is in {left}" if now < breaker.until else "one is being tried"
        why = (
            f"creating a resource of the pool {spec.name} failed {breaker.failures} times in a row"
            f" and {then}; the last error: {breaker.last_error}"
        )
        return WaitingFor(WaitCode.BLUEPRINT_FAILING, why, "breaker")
    if now < breaker.until:
        why = f"the provider asks for patience, for {left} more: {breaker.last_error}"
        return WaitingFor(WaitCode.PROVIDER_BUSY, why, "provider")
    return None


def _full(spec: PoolSpec, snapshot: Snapshot) -> str:
    parts = (
        (snapshot.current + snapshot.outdated, "ready"),
        (snapshot.under_way + snapshot.under_way_outdated, "being made"),
        (snapshot.resetting, "being reset"),
        (snapshot.leaving, "being removed"),
        (len(snapshot.drifted), "to be replaced"),
        (snapshot.held, "held for inspection"),
    )
    used = snapshot.occupied - sum(count for count, _ in parts)
    told = [f"{used} in use", *(f"{count} {how}" for count, how in parts if count)]
    return (
        f"the pool {spec.name} has all the {snapshot.occupied} resources that its size.max"
        f" ({spec.size.max}) allows: {', '.join(told)}; release one, or raise size.max"
    )


def _being_made(snapshot: Snapshot, known: Waited) -> str:
    coming = _count(snapshot.on_the_way, "resource is", "resources are")
    return f"{coming} being made, and it is number {known.position} in the line{_takes(known)}"


def _takes(known: Waited) -> str:
    if known.seconds_to_create is None:
        return ""
    return f"; making one takes about {format_duration(_rounded(known.seconds_to_create))}"


def _rounded(seconds: float) -> float:
    """Two digits or so: it is an average."""
    return (
        round(seconds, 2) if seconds < 1 else round(seconds, 1) if seconds < 60 else round(seconds)
    )


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
