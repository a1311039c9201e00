"""Whether a pool lets claims in, and what those are told whom it does not. Pure.

A pool is shut when it is no longer declared, or when an operator paused or drains it. A paused one
stands still: nothing is handed out and nothing new is made. A draining one empties itself.
"""

from collections.abc import Callable

from ..config.json_types import Json
from .moments import rfc3339
from .requests import Code, Refusal
from .switches import Switch, SwitchKind, sentence

UNDECLARED = "the pool is no longer declared"
TRY_AGAIN = 30.0
"""Seconds until a caller may ask again at a pool that is shut without an end date."""
LONGEST_RETRY = 3600.0


class Gate:
    """One pool's. `shut` and its kinds are plain attributes: every claim reads one."""

    __slots__ = ("declared", "draining", "frozen", "paused", "pool", "refresh", "shut", "switch")

    def __init__(self, pool: str) -> None:
        self.pool = pool
        self.declared = True
        self.switch: Switch | None = None
        """The pause or the drain that is in force."""
        self.frozen = ""
        """Why nothing may be rolled at present, if so."""
        self.refresh: Switch | None = None
        self.shut = False
        self.paused = False
        self.draining = False

    def declare(self, *, declared: bool) -> None:
        self.declared = declared
        self.settle()

    def set(self, switch: Switch | None, refresh: Switch | None) -> None:
        self.switch = switch
        self.refresh = refresh
        self.settle()

    @property
    def emptied_because(self) -> str:
        """Why a draining pool lets its ready ones go."""
        if not self.declared or self.switch is None:
            return UNDECLARED
        return f"the pool is drained {sentence(self.switch, '')}"

    def refusal(self, now: float, to_wall: Callable[[float], float]) -> Refusal:
        """What a claim is told at `now` (steady); `to_wall` is `Clock.to_wall`."""
        switch = self.switch
        if not self.declared or switch is None:
            why = f"the pool {self.pool} is no longer declared and serves no new claims"
            return Refusal(Code.DRAINING, why)
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
            f"the pool {self.pool} {what} {sentence(switch, until)}",
            retry_after=min(LONGEST_RETRY, max(1.0, left)),
            details=details,
        )

    def settle(self) -> None:
        """Derives what is read from what was said."""
        kind = None if self.switch is None else self.switch.kind
        self.draining = not self.declared or kind is SwitchKind.DRAIN
        self.paused = self.declared and kind is SwitchKind.PAUSE
        self.shut = self.draining or self.paused
