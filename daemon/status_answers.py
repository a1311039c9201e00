"""The shapes of what the daemon answers of itself and of its configuration. `status_presentation` fills them."""

from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from .answers import AnyObject, Duration, HostJson, InForceJson, SwitchJson, Time


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


class WaitingRevisionJson(NamedRevisionJson):
    """A revision that is applied when the host is thawed."""

    source: str
    since: Time


class ConfigJson(TypedDict):
    """Whether the newest state of the config directory could be applied. `seen` is what the source
    holds while another revision is pinned.
    """

    ok: bool
    problems: list[str]
    brokenSince: NotRequired[Time]
    held: NotRequired[HeldJson]
    waiting: NotRequired[WaitingRevisionJson]
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


class NotifyJson(TypedDict):
    """Who is told of events, and up to which one. The receiver's path is left out: it may be a secret."""

    receiver: str
    delivered: int
    error: NotRequired[str]
    failingSince: NotRequired[Time]


class LedgerJson(TypedDict):
    """`head` is NUMBER:HASH of the newest event: kept elsewhere, it proves the end of the audit."""

    ok: bool
    head: str
    error: NotRequired[str]


class UndecidedJson(TypedDict):
    """What somebody who may approve has to decide."""

    waiting: Annotated[int, Field(description="Claims that wait for an approval.")]
    followUps: Annotated[
        int, Field(description="Claims that did without one, and that nobody has looked at yet.")
    ]
    overdue: Annotated[int, Field(description="Those of the follow-ups whose time is over.")]


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
    approvals: UndecidedJson
    issuers: NotRequired[list[IssuerJson]]
    host: HostJson
    notify: NotRequired[NotifyJson]
    inForce: Annotated[
        list[InForceJson],
        Field(
            description="What operators have set: pauses, drains, refreshes, holds, freezes; 100 at most."
        ),
    ]


class HealthJson(TypedDict):
    """`status` is `ok`, or for readiness `not ready` with the reasons."""

    status: str
    reasons: NotRequired[list[str]]
