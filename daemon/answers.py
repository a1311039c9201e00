"""The shapes of what the API answers. `presentation` fills them, `openapi` publishes them.

Times are RFC 3339 in UTC, durations are text as in the config.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, WithJsonSchema
from typing_extensions import TypedDict

AnyObject = Annotated[
    Mapping[str, Any], WithJsonSchema({"type": "object", "additionalProperties": True})
]
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
Duration = Annotated[str, WithJsonSchema({"type": "string", "examples": ["30m", "1h30m"]})]


class TokenJson(TypedDict):
    """Whose bearer token came with the claim."""

    issuer: str
    subject: str


class CallerJson(TypedDict):
    """Who claimed, as the kernel says it, and what a verified token adds."""

    uid: int
    gid: int
    pid: int
    user: str
    exe: str
    unit: str
    groups: list[str]
    token: NotRequired[TokenJson]


class HandedJson(TypedDict):
    """One resource of a claim, with the outputs that the caller may see."""

    id: str
    outputs: AnyObject


class TimingJson(TypedDict):
    """Durations of each stage of serving the claim, such as `0.412ms`."""

    queued: str
    policy: str
    bind: str
    finish: str
    total: str


class DecisionJson(TypedDict):
    """The rule that allowed the claim."""

    policy: str
    rule: str


class WaitingForJson(TypedDict):
    """Why a claim is not bound yet. `limit` names what holds it up, such as `size.max`."""

    code: str
    detail: str
    limit: NotRequired[str]


ChosenJson = TypedDict(
    "ChosenJson",
    {
        "from": list[str],
        "because": NotRequired[Annotated[str, Field(description="Why this one: in a sentence.")]],
    },
)
ChosenJson.__doc__ = "The pools that could serve the claim, best first, and why one did."


class ClaimJson(TypedDict):
    """A claim. Secret outputs are there for its claimant and root, when one claim is asked for."""

    id: str
    pool: str
    state: str
    resources: list[HandedJson]
    caller: CallerJson
    createdAt: Time
    ttl: Duration
    bind: Annotated[
        str,
        Field(description="What ends it beside time: `time` (nothing), `process`, `connection`."),
    ]
    warm: bool
    revision: str
    timing: TimingJson
    decision: DecisionJson
    reason: str
    labels: AnyObject
    count: NotRequired[
        Annotated[int, Field(description="How many resources, where it is more than one.")]
    ]
    select: NotRequired[Annotated[str, Field(description="What each resource had to fulfil.")]]
    chosen: NotRequired[ChosenJson]
    boundAt: NotRequired[Time]
    expiresAt: NotRequired[Time]
    graceUntil: NotRequired[
        Annotated[
            str,
            WithJsonSchema(
                {
                    "type": "string",
                    "format": "date-time",
                    "description": "When the resource is taken away if nobody releases the claim"
                    " before; where the pool grants a grace after the expiry.",
                }
            ),
        ]
    ]
    endedAt: NotRequired[Time]
    endedBecause: NotRequired[str]
    code: NotRequired[str]
    detail: NotRequired[str]
    position: NotRequired[Annotated[int, Field(description="Place in the queue, from 1.")]]
    eta: NotRequired[Annotated[Duration, Field(description="Estimated time until bound.")]]
    waitingFor: NotRequired[WaitingForJson]


class PartJson(TypedDict):
    """One part of a resource. Secret outputs are never shown."""

    name: str
    driver: str
    provider: str
    half: str
    state: str
    outputs: AnyObject
    handle: AnyObject


class OperatorJson(TypedDict):
    """Who did it, as the kernel says it."""

    uid: int
    user: str


class SwitchJson(TypedDict):
    """What an operator has set, and until when it is in force."""

    by: OperatorJson
    reason: str
    since: Time
    until: NotRequired[Time]


class InForceJson(SwitchJson):
    """The same, in a list of all."""

    action: str
    subject: Annotated[str, Field(description="The name of a pool, or the id of a resource.")]


class ResourceJson(TypedDict):
    """One member of a pool. `parts` is there when one resource is asked for."""

    id: str
    pool: str
    state: str
    claimable: bool
    health: str
    blueprint: str
    digest: str
    revision: str
    createdAt: Time
    changedAt: Time
    readyAt: NotRequired[Time]
    claim: NotRequired[str]
    uses: int
    reason: str
    labels: AnyObject
    hold: NotRequired[
        Annotated[SwitchJson, Field(description="It is held, or will be when its claim ends.")]
    ]
    parts: NotRequired[list[PartJson]]


class BreakerJson(TypedDict):
    """What keeps a failing blueprint from being tried again and again."""

    state: str
    failures: int
    lastError: NotRequired[str]
    until: NotRequired[Time]


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
    draining: bool
    counts: dict[str, int]
    unverified: int
    drifted: int
    outdated: int
    breaker: BreakerJson
    decisions: list[str]
    pause: NotRequired[SwitchJson]
    drain: NotRequired[SwitchJson]
    refresh: NotRequired[SwitchJson]


class RevisionJson(TypedDict):
    id: str
    source: str
    appliedAt: Time
    commit: NotRequired[str]


class RefusedJson(TypedDict):
    """Why what the repository holds now does not serve."""

    commit: NotRequired[str]
    because: str
    since: Time


class RepositoryJson(TypedDict):
    """The Git repository that is followed. `seen` is what its ref names, `askedAt` when it last answered."""

    url: str
    ref: NotRequired[str]
    path: NotRequired[str]
    seen: NotRequired[str]
    seenAt: NotRequired[Time]
    askedAt: NotRequired[Time]
    refused: NotRequired[RefusedJson]
    error: NotRequired[str]
    failingSince: NotRequired[Time]


class NamedRevisionJson(TypedDict):
    """A revision that does not serve."""

    revision: str
    commit: NotRequired[str]


class HeldJson(NamedRevisionJson):
    """A revision that would destroy too much: it waits to be accepted, and the one before serves."""

    because: list[str]
    since: Time


class PinnedJson(SwitchJson):
    """The revision that serves, whatever the source says."""

    revision: str


class ConfigJson(TypedDict):
    """Whether the newest state of the config directory could be applied. `seen` is what the source
    holds while another revision is pinned.
    """

    ok: bool
    problems: list[str]
    brokenSince: NotRequired[Time]
    held: NotRequired[HeldJson]
    pinned: NotRequired[PinnedJson]
    seen: NotRequired[NamedRevisionJson]
    repository: NotRequired[RepositoryJson]


class KeptRevisionJson(RevisionJson):
    """One that can be gone back to. `files` is there when one is asked for."""

    serving: bool
    pinned: bool
    files: NotRequired[AnyObject]


class KeptRevisionsJson(TypedDict):
    """The one that was applied last first."""

    items: list[KeptRevisionJson]
    more: bool


class StandingPoolJson(TypedDict):
    """What stands of one pool. `ready` has, by digest, for how many seconds each has been ready."""

    ready: AnyObject
    coming: int
    bound: int
    held: int
    creation: NotRequired[Annotated[float, Field(description="Seconds that making one takes.")]]


class StandingJson(TypedDict):
    """What a new revision is compared with: the revision that serves, and what stands."""

    revision: NotRequired[RevisionJson]
    maxDestroy: Annotated[float, Field(description="The share of a pool that may go unasked.")]
    pools: dict[str, StandingPoolJson]


class SyncJson(TypedDict):
    """What a look for a new configuration came to. `done` is false when it takes longer than was waited."""

    done: bool
    revision: NotRequired[RevisionJson]
    config: ConfigJson


class IssuerJson(TypedDict):
    """One whose tokens are accepted: how many of its keys are known, and for how long they have been."""

    issuer: str
    keys: int
    age: Duration
    error: NotRequired[str]


class LedgerJson(TypedDict):
    """`head` is NUMBER:HASH of the newest event: kept elsewhere, it proves the end of the audit."""

    ok: bool
    head: str
    error: NotRequired[str]


class StatusJson(TypedDict):
    """What the daemon says of itself."""

    version: str
    pid: int
    uptime: Duration
    stateFolder: str
    socket: str
    ready: bool
    reasons: list[str]
    revision: NotRequired[RevisionJson]
    config: ConfigJson
    ledger: LedgerJson
    pools: int
    resources: int
    claims: int
    clockStep: Duration
    issuers: NotRequired[list[IssuerJson]]
    inForce: Annotated[
        list[InForceJson],
        Field(
            description="What operators have set: pauses, drains, refreshes, holds; 100 at most."
        ),
    ]


class HealthJson(TypedDict):
    """`status` is `ok`, or for readiness `not ready` with the reasons."""

    status: str
    reasons: NotRequired[list[str]]


class EventJson(TypedDict):
    """One line of the audit."""

    seq: int
    at: Time
    kind: str
    pool: NotRequired[str]
    resource: NotRequired[str]
    claim: NotRequired[str]
    requestId: NotRequired[str]
    reason: NotRequired[str]
    data: NotRequired[AnyObject]
    hash: str


GapJson = TypedDict(
    "GapJson",
    {
        "kind": Literal["stream.gap"],
        "from": NotRequired[int],
        "to": NotRequired[int],
        "missed": int,
        "next": int,
        "reason": str,
    },
)
"""In a stream: these events were asked for and no longer exist, or never did (then without `from`)."""


class HappeningJson(TypedDict):
    """One thing that happened, by the ledger or by what the subject itself remembers."""

    at: Time
    event: str
    detail: str


ComingJson = TypedDict(
    "ComingJson", {"what": str, "at": NotRequired[Time], "in": NotRequired[Duration]}
)
"""One thing that comes next; without `at` and `in`, nobody can tell when."""


class ExplanationJson(TypedDict):
    """Why something is as it is. `facts` has the numbers, `why` the sentences."""

    subject: Annotated[str, Field(description="Such as `pool/web` or `claim/c-…`.")]
    summary: str
    facts: AnyObject
    why: list[str]
    history: list[HappeningJson]
    next: list[ComingJson]


class ClaimsJson(TypedDict):
    """`more` says that the limit left some out."""

    items: list[ClaimJson]
    more: bool


class ResourcesJson(TypedDict):
    items: list[ResourceJson]
    more: bool


class PoolsJson(TypedDict):
    items: list[PoolJson]
    more: bool


class ProblemJson(TypedDict):
    """RFC 9457, with a stable `code` (docs/errors.md). Other members give numbers and names."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    requestId: str
    retryAfter: NotRequired[float]
