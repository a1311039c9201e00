"""Whether a pool lets claims in, whether it may change by itself, and what those are told who are refused. Pure.

A pool is shut when it is no longer declared, when an operator drains it or the whole host, and when it
is paused, by an operator or where it is declared. A paused one stands still: nothing is handed out and
nothing new is made. A draining one empties itself. A frozen one is open, but nothing of it changes by
itself: it hands out what is ready, and does what an operator orders.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ..config.json_types import Json
from .moments import rfc3339
from .requests import Code, Refusal
from .switches import Switch, SwitchKind, sentence

UNDECLARED = "the pool is no longer declared"
TRY_AGAIN = 30.0
"""Seconds until a caller may ask again at a pool that is shut without an end date."""
LONGEST_RETRY = 3600.0


@dataclass(frozen=True, slots=True)
class InForce:
    """What operators have set that concerns one pool."""

    shut: Switch | None = None
    """The pause or the drain of the pool."""
    refresh: Switch | None = None
    host_drain: Switch | None = None
    freeze: Switch | None = None


class Gate:
    """One pool's. `shut` and its kinds are plain attributes: every claim reads one."""

    __slots__ = (
        "declared",
        "draining",
        "frozen",
        "in_force",
        "paused",
        "paused_at",
        "pool",
        "shut",
    )

    def __init__(self, pool: str, paused_at: str = "") -> None:
        self.pool = pool
        self.declared = True
        self.paused_at = paused_at
        """Where it is declared to be paused; empty when it is not."""
        self.in_force = InForce()
        self.settle()

    def declare(self, *, declared: bool, paused_at: str = "") -> None:
        self.declared = declared
        self.paused_at = paused_at
        self.settle()

    def set(self, in_force: InForce) -> None:
        self.in_force = in_force
        self.settle()

    @property
    def switch(self) -> Switch | None:
        """The pause or the drain that an operator has set, of the host before that of the pool."""
        return self.in_force.host_drain or self.in_force.shut

    @property
    def emptied_because(self) -> str:
        """Why a draining pool lets its ready ones go."""
        if not self.declared or self.switch is None:
            return UNDECLARED
        return f"{self._what()} is drained {sentence(self.switch, '')}"

    def refusal(self, now: float, to_wall: Callable[[float], float]) -> Refusal:
        """What a claim is told at `now` (steady); `to_wall` is `Clock.to_wall`."""
        switch = self.switch
        if not self.declared:
            return undeclared(self.pool)
        if switch is None:
            why = f"the pool {self.pool} is paused in the configuration ({self.paused_at})"
            return Refusal(Code.PAUSED, why, retry_after=TRY_AGAIN)
        until = "" if switch.until is None else rfc3339(to_wall(switch.until))
        what, code = "is paused", Code.PAUSED
        if switch.kind is SwitchKind.DRAIN:
            what, code = "is drained", Code.DRAINING
        details: dict[str, Json] = {
            "by": {"uid": switch.by.uid, "user": switch.by.user},
            "reason": switch.reason,
        }
        if until:
            details["until"] = until
        left = TRY_AGAIN if switch.until is None else switch.until - now
        return Refusal(
            code,
            f"{self._what(self.pool)} {what} {sentence(switch, until)}",
            retry_after=min(LONGEST_RETRY, max(1.0, left)),
            details=details,
        )

    def frozen_because(self, to_wall: Callable[[float], float]) -> str:
        """By whom the host is frozen, until when and why; empty when nothing of this stands still."""
        freeze = self.in_force.freeze
        if not self.frozen or freeze is None:
            return ""
        until = "" if freeze.until is None else rfc3339(to_wall(freeze.until))
        return f"nothing is made while the host is frozen {sentence(freeze, until)}"

    def settle(self) -> None:
        """Derives what is read from what was said."""
        switch = self.switch
        drained = switch is not None and switch.kind is SwitchKind.DRAIN
        self.draining = drained or not self.declared
        self.paused = not self.draining and (switch is not None or bool(self.paused_at))
        self.shut = self.draining or self.paused
        # What an operator drains goes on emptying itself: that is no change by itself.
        freeze = None if drained else self.in_force.freeze
        self.frozen = "" if freeze is None else f"the host is frozen {sentence(freeze, '')}"

    def _what(self, name: str = "") -> str:
        if self.in_force.host_drain is not None:
            return "the whole host"
        return f"the pool {name}".rstrip()


def undeclared(pool: str) -> Refusal:
    return Refusal(Code.DRAINING, f"the pool {pool} is no longer declared and serves no new claims")
