"""What operators set and take back: the words, and what one action changes. Pure.

A `Switch` is in force from the moment that it is durable until it is taken back, replaced, done, or
its `until` has come. A pool is open, paused or draining: of pause and drain the last one holds.
A refresh stands beside them, and a hold is about one resource. An action that is repeated
changes no more than what it says anew; `since` stays that of the first, but a refresh begins anew.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from ..config.json_types import Json


class SwitchKind(StrEnum):
    PAUSE = "pause"
    DRAIN = "drain"
    REFRESH = "refresh"
    HOLD = "hold"
    PIN = "pin"
    """Of the configuration: the revision that is its subject serves, whatever the source says."""


class PoolAction(StrEnum):
    PAUSE = "pause"
    RESUME = "resume"
    DRAIN = "drain"
    REFRESH = "refresh"


class ResourceAction(StrEnum):
    HOLD = "hold"
    UNHOLD = "unhold"
    RETIRE = "retire"


@dataclass(frozen=True, slots=True)
class Operator:
    """Who acts, as the kernel says it."""

    uid: int
    user: str = ""
    subject: str = ""
    """Of its bearer token, for the audit; no switch keeps it."""

    def told(self) -> dict[str, Json]:
        """As the audit says it."""
        said: dict[str, Json] = {"uid": self.uid, "user": self.user}
        return {**said, "subject": self.subject} if self.subject else said

    def __str__(self) -> str:
        return self.user or f"uid {self.uid}"


@dataclass(frozen=True, slots=True)
class Order:
    """What an operator says with an action. `until` is in steady seconds."""

    by: Operator
    reason: str = ""
    until: float | None = None
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Switch:
    """One thing that is in force. Times are steady seconds."""

    kind: SwitchKind
    subject: str
    """The name of a pool; of a hold, the id of a resource; of a pin, that of a revision."""
    by: Operator
    reason: str
    since: float
    until: float | None = None


Key: TypeAlias = tuple[SwitchKind, str]


def key_of(switch: Switch) -> Key:
    return switch.kind, switch.subject


@dataclass(frozen=True, slots=True)
class Change:
    """What is written down, and then true, by one action on a pool."""

    put: Switch | None = None
    drop: tuple[Switch, ...] = ()

    @property
    def nothing(self) -> bool:
        return self.put is None and not self.drop


EVENTS: Mapping[PoolAction, str] = {
    PoolAction.PAUSE: "pool.paused",
    PoolAction.RESUME: "pool.resumed",
    PoolAction.DRAIN: "pool.drained",
    PoolAction.REFRESH: "pool.refreshed",
}
_SHUTTING = frozenset({SwitchKind.PAUSE, SwitchKind.DRAIN})


def change(
    action: PoolAction, pool: str, order: Order, in_force: Iterable[Switch], now: float
) -> Change:
    """What the action changes about a pool's switches. Nothing, when it says nothing new."""
    known = {switch.kind: switch for switch in in_force}
    shut = tuple(switch for kind, switch in known.items() if kind in _SHUTTING)
    if action is PoolAction.RESUME:
        return Change(drop=shut)
    kind = SwitchKind(action.value)
    switch = Switch(kind, pool, order.by, order.reason, now, order.until)
    if kind is SwitchKind.REFRESH:
        return Change(switch)
    before = known.get(kind)
    if before is not None:
        switch = replace(switch, since=before.since)
    if switch == before:
        return Change()
    return Change(switch, tuple(other for other in shut if other.kind is not kind))


def sentence(switch: Switch, until: str) -> str:
    """`by ada until 2026-01-31T12:00:00.000Z: the disk is replaced`; `until` may be empty."""
    end = f" until {until}" if until else ""
    reason = f": {switch.reason}" if switch.reason else ""
    return f"by {switch.by}{end}{reason}"
