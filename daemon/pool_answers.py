"""What the API answers about pools, as types. See `answers` for all else."""

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from .answers import SwitchJson, Time


class BreakerJson(TypedDict):
    """What keeps a failing blueprint from being tried again and again."""

    state: str
    failures: int
    lastError: NotRequired[str]
    until: NotRequired[Time]


class RolloutJson(TypedDict):
    """A changed blueprint on its way in; `previous` is the digest of the one that served before."""

    stage: Literal["canary", "rolling", "paused"]
    digest: str
    previous: str
    startedAt: Time
    since: Time
    reason: str
    waits: NotRequired[
        Annotated[
            str, Field(description="Why nothing is replaced now, if no fault of the blueprint.")
        ]
    ]
    opensAt: NotRequired[Annotated[Time, Field(description="When a window lets it go on.")]]


class PoolJson(TypedDict):
    """What a pool says of itself. `ready` counts what can be claimed now."""

    name: str
    blueprint: str
    digest: str
    revision: str
    labels: dict[str, str]
    min: int
    max: int
    ready: int
    waiting: int
    paused: bool
    frozen: bool
    draining: bool
    counts: dict[str, int]
    unverified: int
    drifted: int
    outdated: int
    breaker: BreakerJson
    decisions: list[str]
    pausedAt: NotRequired[str]
    pause: NotRequired[SwitchJson]
    drain: NotRequired[SwitchJson]
    refresh: NotRequired[SwitchJson]
    rollout: NotRequired[RolloutJson]


class PoolsJson(TypedDict):
    items: list[PoolJson]
    more: bool
