"""The documents of the config directory as pydantic models, exactly as people write them.

Nothing is compiled here and nothing refers to another document; `checking` does both. Keys are
camelCase in YAML. JSON Schemas come from these models too (`schema`).
"""

import math
from typing import Annotated, Literal, cast

from pydantic import BaseModel, BeforeValidator, Field, JsonValue, model_validator

from .fields import (
    Count,
    Duration,
    LabelKey,
    LabelValue,
    Manifest,
    Name,
    OutputName,
    PartName,
    Rate,
    wrong,
)
from .rollout_manifests import Rollout
from .units import format_duration

API_VERSION = "stoker/v1"


def default_burst(rate: float) -> int:
    """What a tenth of a second of the rate brings, and at least one."""
    return max(1, math.ceil(rate / 10))


class Metadata(Manifest):
    name: Name
    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=64)] = Field(
        default_factory=dict[str, str]
    )
    """For people, filters and policies."""
    annotations: dict[str, str] = Field(default_factory=dict[str, str])
    """Notes for people; nothing reads them."""


class Ready(Manifest):
    """When a part is ready: exactly one of http, tcp, exec and log, asked until it passes."""

    http: str | None = None
    """A URL that must answer with a status from 200 to 399."""
    verify: bool | None = None
    """Whether the certificate of an https URL must be trusted by this host. Left out: it must."""
    tcp: str | None = None
    """`host:port` that must accept a connection."""
    exec: Annotated[list[str], Field(min_length=1)] | None = None
    """A program with its arguments that must end with exit code 0."""
    log: str | None = None
    """A pattern (RE2) that a line of the part's output must match."""
    within: Duration = 30.0
    """How long it may take."""
    every: Duration = 0.25
    """The longest pause between two questions."""

    @model_validator(mode="after")
    def has_one_kind(self) -> "Ready":
        _one_kind(self, ("http", "tcp", "exec", "log"), self.within, self.every)
        if self.verify is not None and self.http is None:
            kind = next(kind for kind in ("tcp", "exec", "log") if getattr(self, kind) is not None)
            raise wrong(
                f"verify says how an http check treats certificates, and this one is of the kind {kind}",
                "remove verify",
            )
        return self


class Verify(Manifest):
    """What proves that a resource was brought back: exactly one of http, tcp and exec.

    There is no `log`: a line that was written before the claim would prove nothing.
    """

    http: str | None = None
    """A URL that must answer with a status from 200 to 399."""
    tcp: str | None = None
    """`host:port` that must accept a connection."""
    exec: Annotated[list[str], Field(min_length=1)] | None = None
    """A program with its arguments that must end with exit code 0."""
    within: Duration = 30.0
    """How long it may take."""
    every: Duration = 0.25
    """The longest pause between two questions."""

    @model_validator(mode="after")
    def has_one_kind(self) -> "Verify":
        _one_kind(self, ("http", "tcp", "exec"), self.within, self.every)
        return self


def _one_kind(check: BaseModel, kinds: tuple[str, ...], within: float, every: float) -> None:
    """Refuses a check that asks nothing, several things, or too rarely."""
    given = [kind for kind in kinds if getattr(check, kind) is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none of them"
        port = "self" if "log" in kinds else "parts.NAME"
        raise wrong(
            f"expected exactly one of {', '.join(kinds[:-1])} and {kinds[-1]}, got {found}",
            f'write one of them, such as {{http: "http://127.0.0.1:${{{port}.ports.http}}/"}}',
        )
    if every > within:
        raise wrong(
            f"every ({format_duration(every)}) is longer than within ({format_duration(within)})",
            "ask more often, or wait longer",
        )


class Part(Manifest):
    name: PartName
    driver: str
    """What makes it: directory, file, process, command, token."""
    provider: str | None = None
    """The Provider it lives in; the driver's own default when left out."""
    with_: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue], alias="with")
    """The driver's settings; strings may hold `${…}` expressions."""
    ready: Ready | None = None
    depends_on: Annotated[list[str], Field(max_length=100)] = Field(default_factory=list[str])
    """Parts that must be there first, where no expression says so already."""


class Output(Manifest):
    value: JsonValue
    """What the claim's holder is told; strings may hold `${…}` expressions."""
    secret: bool = False
    """Sealed in the ledger and never logged."""


def _output(value: object) -> object:
    """`url: "…"` is short for `url: {value: "…"}`."""
    return cast("object", value) if isinstance(value, dict) else {"value": value}


ShortOutput = Annotated[
    Output,
    BeforeValidator(_output, json_schema_input_type=Output | str | int | float | bool),
]


class Cost(Manifest):
    per_hour: Annotated[float, Field(ge=0, le=1e9)] = 0.0
    """Of one resource, in your currency."""
    centre: Annotated[str, Field(max_length=63)] = ""
    """Who pays."""


class Reset(Manifest):
    """How a released resource is brought back, to serve another claim."""

    parts: Annotated[list[str], Field(max_length=100)] = Field(default_factory=list[str])
    """The parts of `prepare` that are brought back to how they were made."""
    verify: Verify
    """What must pass before the resource is ready again; otherwise it is destroyed."""
    max_uses: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    """How many claims one resource may serve before it is replaced."""
    within: Duration = 30.0
    """How long all of it may take, from the release on."""


class BlueprintSpec(Manifest):
    parameters: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """What a claim may pass: a JSON Schema for each parameter."""
    prepare: Annotated[list[Part], Field(max_length=100)] = Field(default_factory=list[Part])
    """The parts that are made ahead of demand."""
    finish: Annotated[list[Part], Field(max_length=100)] = Field(default_factory=list[Part])
    """The parts that are made at claim, with the claim's parameters."""
    outputs: Annotated[dict[OutputName, ShortOutput], Field(max_length=100)] = Field(
        default_factory=dict[str, Output]
    )
    """What the claim's holder is told."""
    cost: Cost = Field(default_factory=Cost)
    finish_within: Duration = 30.0
    """How long making and checking the finish parts may take."""
    reset: Reset | None = None
    """Lets a resource serve several claims, one after the other; without it, it serves one."""


class Size(Manifest):
    min: Annotated[int, Field(ge=0, le=100_000)]
    """How many to keep ready."""
    max: Count
    """How many may exist in all, claimed ones included."""


class Lifetime(Manifest):
    ttl: Duration = 1800.0
    """How long a claim lasts that asks for nothing else."""
    max_ttl: Duration | None = None
    """The longest that a claim may ask for; 4h, or the ttl if that is longer."""
    max_age: Duration | None = None
    """How long a resource may wait unclaimed before it is replaced; for ever when left out."""
    notice: Duration | None = None
    """How long before its expiry a claim is announced to expire; not at all when left out."""
    grace: Duration | None = None
    """How long an expired claim keeps its resource for work in flight, at most 1h; 0 when left out."""


class Backfill(Manifest):
    rate: Rate = 5.0
    """How many creations may begin."""
    burst: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """How many of them at once; what a tenth of a second brings when left out."""
    concurrency: Annotated[int, Field(ge=1, le=1_000)] = 4
    """How many creations may be under way."""


MAX_PRIORITIES = 16


class Priority(Manifest):
    name: Name
    """What explanations call it."""
    when: Annotated[str, Field(min_length=1)]
    """A CEL expression over `caller` and `claim`, without `${…}`; the first that is true decides."""
    priority: Annotated[int, Field(ge=-1000, le=1000)]
    """Higher goes first; 0 is what a claim has that none matches."""


class Queue(Manifest):
    max: Annotated[int, Field(ge=0, le=100_000)] = 1000
    """How many claims may wait."""
    wait: Duration = 60.0
    """How long a claim waits that does not say."""
    priorities: Annotated[list[Priority], Field(max_length=MAX_PRIORITIES)] = Field(
        default_factory=list[Priority]
    )
    """Who goes first among those who wait."""


class PoolSpec(Manifest):
    blueprint: str
    """The name of the Blueprint whose resources it keeps."""
    size: Size
    lifetime: Lifetime = Field(default_factory=Lifetime)
    backfill: Backfill = Field(default_factory=Backfill)
    queue: Queue = Field(default_factory=Queue)
    rollout: Rollout = Field(default_factory=Rollout)
    paused: bool = False
    """Whether it stands still: no new claims, nothing is made or rolled."""


class ProviderLimits(Manifest):
    rate: Rate | None = None
    """How many calls; without limit when left out."""
    burst: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """How many of them at once; what a tenth of a second brings when left out."""
    concurrency: Annotated[int, Field(ge=1, le=1_000)] = 16
    """How many calls may be under way."""
    reserve: Annotated[int, Field(ge=0, le=1_000)] | None = None
    """Of the concurrency, what only claims may use; a quarter, and at most 4, when left out."""


class ProviderSpec(Manifest):
    driver: str
    """The driver that talks to it."""
    with_: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue], alias="with")
    """The driver's settings for the account or endpoint."""
    limits: ProviderLimits = Field(default_factory=ProviderLimits)


class Blueprint(Manifest):
    """How to make one resource."""

    api_version: Literal["stoker/v1"]
    kind: Literal["Blueprint"]
    metadata: Metadata
    spec: BlueprintSpec


class Pool(Manifest):
    """How many resources of a blueprint to keep ready, and how they live and end."""

    api_version: Literal["stoker/v1"]
    kind: Literal["Pool"]
    metadata: Metadata
    spec: PoolSpec


class Provider(Manifest):
    """One account or endpoint that a driver talks to, with its settings and limits."""

    api_version: Literal["stoker/v1"]
    kind: Literal["Provider"]
    metadata: Metadata
    spec: ProviderSpec
