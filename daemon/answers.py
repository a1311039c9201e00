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
    """The rule that allowed the claim, and what policies made of it."""

    policy: str
    rule: str
    mutations: NotRequired[
        Annotated[
            list[AnyObject],
            Field(
                description="What policies changed: `path`, `before`, `after` and `policy` of each."
            ),
        ]
    ]
    costCentre: NotRequired[Annotated[str, Field(description="Who pays.")]]
    shadow: NotRequired[
        Annotated[
            AnyObject,
            Field(
                description="What it would be if the policies that do not enforce did: `verdict`,"
                " `policy`, `rule`, and whether anything `differs`; of what would be let"
                " through and differs, `ttl` and `mutations` too."
            ),
        ]
    ]


class WaitingForJson(TypedDict):
    """Why a claim is not bound yet. `limit` names what holds it up, such as `size.max`."""

    code: str
    detail: str
    limit: NotRequired[str]


class NeedJson(TypedDict):
    """The approvals that one policy asks for."""

    policy: str
    rule: str
    approvers: Annotated[str, Field(description="The expression that is true for those who may.")]
    quorum: int
    approved: Annotated[int, Field(description="How many persons have approved so far.")]


class VoteJson(TypedDict):
    """What one person said."""

    uid: Annotated[
        NotRequired[int], Field(description="Not there of who is known by a token alone.")
    ]
    user: str
    carriedBy: Annotated[
        NotRequired[str],
        Field(description="The webhook whose sender says that this person said it."),
    ]
    issuer: NotRequired[str]
    subject: NotRequired[str]
    vote: Annotated[str, Field(description="`approve` or `reject`.")]
    policies: Annotated[list[str], Field(description="For which of them it counts.")]
    reason: str
    at: Time


class ApprovalJson(TypedDict):
    """What others have to say before a claim is served, or, once it broke the glass, afterwards."""

    outcome: Annotated[str, Field(description="`waiting`, `granted`, `rejected` or `lapsed`.")]
    needs: list[NeedJson]
    digest: Annotated[
        NotRequired[str],
        Field(description="Of what is asked for; a vote by a webhook names it. While it waits."),
    ]
    votes: list[VoteJson]
    deadline: Annotated[
        str,
        WithJsonSchema(
            {
                "type": "string",
                "format": "date-time",
                "description": "When it lapses; of a follow-up, when it is overdue.",
            }
        ),
    ]
    brokeGlass: Annotated[
        bool, Field(description="The claim was served at once, and this is its follow-up.")
    ]
    detail: Annotated[
        NotRequired[str], Field(description="Why it is `rejected` although it was approved.")
    ]
    decidedAt: NotRequired[Time]


ChosenJson = TypedDict(
    "ChosenJson",
    {
        "from": list[str],
        "because": NotRequired[Annotated[str, Field(description="Why this one: in a sentence.")]],
    },
)
ChosenJson.__doc__ = "The pools that could serve the claim, best first, and why one did."


class CarriedVoteJson(TypedDict):
    """What became of a claim by a vote that a webhook has carried."""

    claim: str
    state: str
    approval: ApprovalJson


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
    approval: NotRequired[ApprovalJson]


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
    """What an operator has set, and until when it is in force. `host`: it holds for all pools."""

    by: OperatorJson
    reason: str
    since: Time
    until: NotRequired[Time]
    host: NotRequired[bool]


class InForceJson(SwitchJson):
    """The same, in a list of all."""

    action: str
    subject: Annotated[
        str, Field(description="A pool, a resource, `*` for the host, or the file that freezes it.")
    ]


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


class HostJson(TypedDict):
    """What is set on all pools at once: whether the host is frozen, and whether it is drained."""

    frozen: bool
    draining: bool
    freeze: NotRequired[SwitchJson]
    freezeFile: NotRequired[str]
    drain: NotRequired[SwitchJson]


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


class VerdictJson(TypedDict):
    """What policies would decide about a claim, and why."""

    verdict: Annotated[str, Field(description="`allow`, `approve` or `deny`.")]
    policy: str
    rule: str
    message: str
    ttl: Duration
    why: Annotated[list[str], Field(description="In sentences.")]
    mutations: list[AnyObject]
    checks: Annotated[list[AnyObject], Field(description="The limits that are counted.")]
    errors: list[AnyObject]
    approvals: list[AnyObject]
    shadow: AnyObject | None
    rules: Annotated[
        list[AnyObject], Field(description="Each with its value, and `because`: what decided.")
    ]


class ClaimsJson(TypedDict):
    """`more` says that the limit left some out."""

    items: list[ClaimJson]
    more: bool


class ResourcesJson(TypedDict):
    items: list[ResourceJson]
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
