"""What operators set and take back: the words, and what one action changes. Pure.

A `Switch` is in force from the moment that it is durable until it is taken back, replaced, done, or
its `until` has come. A pool is open, paused or draining: of pause and drain the last one holds.
A refresh stands beside them, and a hold is about one resource. The host as a whole may be frozen, by
command and by a file, and drained; that stands beside what is set on its pools. An action that is
repeated changes no more than what it says anew; `since` stays that of the first, but a refresh begins
anew.
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
    FREEZE = "freeze"


class PoolAction(StrEnum):
    PAUSE = "pause"
    RESUME = "resume"
    DRAIN = "drain"
    REFRESH = "refresh"


class HostAction(StrEnum):
    FREEZE = "freeze"
    THAW = "thaw"
    DRAIN = "drain"
    RESUME = "resume"


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
    """The name of a pool, or `HOST`; of a hold, the id of a resource; of a pin, that of a revision;
    of a freeze by a file, its path."""
    by: Operator
    reason: str
    since: float
    until: float | None = None


Key: TypeAlias = tuple[SwitchKind, str]


def key_of(switch: Switch) -> Key:
    return switch.kind, switch.subject


@dataclass(frozen=True, slots=True)
class Change:
    """What is written down, and then true, by one action on a pool or on the host."""

    put: Switch | None = None
    drop: tuple[Switch, ...] = ()

    @property
    def nothing(self) -> bool:
        return self.put is None and not self.drop


HOST = "*"
"""The subject of what is set on all pools at once; no pool can have that name."""
EVENTS: Mapping[PoolAction, str] = {
    PoolAction.PAUSE: "pool.paused",
    PoolAction.RESUME: "pool.resumed",
    PoolAction.DRAIN: "pool.drained",
    PoolAction.REFRESH: "pool.refreshed",
}
HOST_EVENTS: Mapping[HostAction, str] = {  # a table of its own: equal words are equal keys
    HostAction.FREEZE: "host.frozen",
    HostAction.THAW: "host.thawed",
    HostAction.DRAIN: "host.drained",
    HostAction.RESUME: "host.resumed",
}
_SHUTTING = frozenset({SwitchKind.PAUSE, SwitchKind.DRAIN})
_LIFTED = {"resume": _SHUTTING, "thaw": frozenset({SwitchKind.FREEZE})}


def change(
    action: PoolAction | HostAction,
    subject: str,
    order: Order,
    in_force: Iterable[Switch],
    now: float,
) -> Change:
    """What the action changes about the switches of a pool, or of the host; nothing, if nothing is new.

    `in_force`: those of the subject.
    """
    known = {switch.kind: switch for switch in in_force}
    if action in _LIFTED:
        return Change(drop=tuple(one for kind, one in known.items() if kind in _LIFTED[action]))
    kind = SwitchKind(action.value)
    switch = Switch(kind, subject, order.by, order.reason, now, order.until)
    if kind is SwitchKind.REFRESH:
        return Change(switch)
    before = known.get(kind)
    if before is not None:
        switch = replace(switch, since=before.since)
    if switch == before:
        return Change()
    if kind not in _SHUTTING:
        return Change(switch)
    return Change(switch, tuple(one for one in known.values() if one.kind in _SHUTTING - {kind}))


def of_the_host(switch: Switch) -> bool:
    return switch.subject == HOST or switch.kind is SwitchKind.FREEZE


def ended_by_itself(kind: SwitchKind, subject: str) -> str:
    """The event that says that a switch came to its date."""
    if kind is SwitchKind.REFRESH:
        return RENEWED
    if kind is SwitchKind.FREEZE:
        return HOST_EVENTS[HostAction.THAW]
    return HOST_EVENTS[HostAction.RESUME] if subject == HOST else EVENTS[PoolAction.RESUME]


RENEWED = "pool.renewed"


def sentence(switch: Switch, until: str) -> str:
    """`by ada until 2026-01-31T12:00:00.000Z: the disk is replaced`; `until` may be empty."""
    end = f" until {until}" if until else ""
    reason = f": {switch.reason}" if switch.reason else ""
    return f"by {said_by(switch)}{end}{reason}"


def said_by(switch: Switch) -> str:
    """Who has set it: a user, or the file that says so."""
    by_file = switch.kind is SwitchKind.FREEZE and switch.subject != HOST
    return f"the file {switch.subject}" if by_file else str(switch.by)
