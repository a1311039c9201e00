"""The facts of one claim or renewal, and how conditions see them.

The daemon fills them from the kernel, the request and the pools; policy tests and explanations
from what somebody wrote. `stoker.config.policies.facts` declares the names.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from ..config.json_types import Json, JsonObject

_NOTHING: JsonObject = {}
_NO_LABELS: dict[str, str] = {}
_NO_COUNTS: dict[str, int] = {}


class Action(StrEnum):
    CLAIM = "claim"
    RENEW = "renew"


class CallerFacts(NamedTuple):
    """Who asks, as the kernel says it; `token` as a checked bearer token adds to it."""

    uid: int
    gid: int = 0
    user: str = ""
    groups: tuple[str, ...] = ()
    pid: int = 0
    exe: str = ""
    unit: str = ""
    host: str = ""
    token: JsonObject = _NOTHING
    operator: bool = False
    """Root, or the user that the daemon runs as."""
    unknown: tuple[str, ...] = ()
    """Those of `user`, `groups`, `exe` and `unit` that could not be found out: reading one is an error."""

    @property
    def counted(self) -> str:
        """Who it is to limits, in a word: the user's id, or the subject of the token and its issuer."""
        if not self.token:
            return str(self.uid)
        return f"{self.token.get('sub', '')} of {self.token.get('iss', '')}"

    def scope(self) -> dict[str, object]:
        found: dict[str, object] = {
            "uid": self.uid,
            "user": self.user,
            "gid": self.gid,
            "groups": self.groups,
            "pid": self.pid,
            "exe": self.exe,
            "unit": self.unit,
            "host": self.host,
            "operator": self.operator,
            "token": self.token,
        }
        for name in self.unknown:
            del found[name]
        return found


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """What is asked for. Durations in seconds."""

    action: Action = Action.CLAIM
    params: JsonObject = field(default_factory=dict[str, Json])
    """As passed, without the blueprint's defaults."""
    ttl: float | None = None
    """None: it does not say."""
    count: int = 1
    reason: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    bind: str = ""
    break_glass: bool = False
    remaining: float = 0.0
    """Seconds that a claim to be renewed has left; what it costs is counted already."""


class PoolFacts(NamedTuple):
    name: str
    labels: Mapping[str, str] = _NO_LABELS
    ready: int = 0
    size: int = 0
    blueprint: str = ""
    cost_per_hour: float = 0.0
    cost_centre: str = ""
    ttl: float = 1800.0
    """What a claim gets that neither says nor has a policy that does."""
    param_defaults: JsonObject = _NOTHING
    """Of the blueprint."""


class UsageFacts(NamedTuple):
    """What the caller has and had before this claim."""

    active: int = 0
    """Resources that it holds, in all pools."""
    active_in_pool: int = 0
    active_of_group: Mapping[str, int] = _NO_COUNTS
    """For each of the caller's groups: what its members hold together."""
    active_of_label: Mapping[str, int] = _NO_COUNTS
    """`key=value` to what is held with it; limits read it, conditions do not."""
    claims_last_hour: int = 0
    spend_today: float = 0.0


NO_USAGE = UsageFacts()


class Facts(NamedTuple):
    caller: CallerFacts
    request: RequestFacts
    pool: PoolFacts
    now: datetime
    """Aware."""
    usage: UsageFacts = NO_USAGE


class Shaped(NamedTuple):
    """A request as policies have shaped it: what the rules judge and what the claim gets."""

    ttl: float
    params: JsonObject
    """Without the blueprint's defaults."""
    labels: Mapping[str, str]
    cost_centre: str


def scope_of(facts: Facts, shaped: Shaped, reads: Iterable[str] | None = None) -> dict[str, object]:
    """What conditions read: all of it, or those of `PARTS` that `reads` names."""
    return {name: PARTS[name](facts, shaped) for name in (PARTS if reads is None else reads)}


def _request(facts: Facts, shaped: Shaped) -> dict[str, object]:
    request, pool = facts.request, facts.pool
    return {
        "action": request.action.value,
        "pool": pool.name,
        "params": {**pool.param_defaults, **shaped.params},
        "ttl": timedelta(seconds=shaped.ttl),
        "count": request.count,
        "reason": request.reason,
        "labels": shaped.labels,
        "bind": request.bind,
        "breakGlass": request.break_glass,
    }


def _pool(facts: Facts, _: Shaped) -> dict[str, object]:
    pool = facts.pool
    return {
        "name": pool.name,
        "labels": pool.labels,
        "ready": pool.ready,
        "size": pool.size,
        "blueprint": pool.blueprint,
        "cost": {"perHour": pool.cost_per_hour, "centre": pool.cost_centre},
    }


def _usage(facts: Facts, _: Shaped) -> dict[str, object]:
    usage = facts.usage
    groups = dict.fromkeys(facts.caller.groups, 0)
    return {
        "active": usage.active,
        "activeInPool": usage.active_in_pool,
        "activeOfGroup": {**groups, **usage.active_of_group},
        "claimsLastHour": usage.claims_last_hour,
        "spendToday": usage.spend_today,
    }


PARTS: Mapping[str, Callable[[Facts, Shaped], object]] = {
    "caller": lambda facts, _: facts.caller.scope(),
    "request": _request,
    "pool": _pool,
    "usage": _usage,
    "now": lambda facts, _: facts.now,
}
