"""Who says whether a claim may be: the seam between the pools and whoever knows the policies.

The pools ask a `Judge` in the same step in which they register a claim or decide about a renewal,
so that nothing comes between a count and what it was counted for. The daemon brings the judge;
without one every claim may be.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast

from ..config.json_types import Json, JsonObject
from ..config.revision import PoolSpec, Revision
from .approvals import Approval, Need
from .claim import Claim, Claimant
from .decided import Decided
from .requests import ClaimRequest, Code, Refusal
from .resource import nothing
from .usage import Usage


class Asking(NamedTuple):
    """That a claim may be once others have approved, or was served without."""

    needs: tuple[Need, ...]
    within: float
    """Seconds: in which they have to, or have to look at it."""
    broke_glass: bool
    facts: JsonObject
    """Of the request; see `Approval`."""


class Ruling(NamedTuple):
    """That a claim or a renewal may be, and as what."""

    ttl: float | None
    """Seconds; None: as it was asked for."""
    params: JsonObject
    labels: JsonObject
    decided: Decided | None = None
    """None: no policy is about it."""
    record: JsonObject = nothing()
    """For the audit: the facts and what the rules said. Holds no secret."""
    seconds: float = 0.0
    """How long it took to decide."""
    asking: Asking | None = None
    """None: it may be at once, and nobody has to look at it."""


class Denial(Refusal):
    """That it may not be. `record` as that of a `Ruling`; empty when nothing was decided."""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        record: JsonObject | None = None,
        retry_after: float | None = None,
        details: JsonObject | None = None,
    ) -> None:
        super().__init__(code, message, retry_after=retry_after, details=details)
        self.record: JsonObject = record or nothing()


@dataclass(frozen=True, slots=True)
class Renewal:
    """A claim that is to last longer."""

    claim: Claim
    by: Claimant
    """Whose identity counts."""
    ttl: float | None
    remaining: float
    """Seconds that it has left."""


@dataclass(frozen=True, slots=True)
class Place:
    """The pool that a claim is about, at this moment."""

    spec: PoolSpec
    ready: int = 0
    size: int = 0
    """How many resources there are."""


class Asked(NamedTuple):
    """A request as policies shaped it before."""

    ttl: float
    params: JsonObject
    labels: JsonObject


class Admits(NamedTuple):
    """Who may decide about a claim."""

    policies: tuple[str, ...] = ()
    """Those that let this person."""
    not_by_webhook: tuple[str, ...] = ()
    """Those that take no vote by the webhook that carried this one."""
    changed: tuple[str, ...] = ()
    """Those whose approvers are not any more as they were when the claim asked for them."""


class Judge(Protocol):
    """Pure but for its own metrics: it neither waits nor counts what it lets pass."""

    async def prepare(self, revision: Revision) -> None:
        """Makes ready what takes time, before the revision is applied."""
        ...

    def declare(self, revision: Revision) -> None:
        """From now on the policies of this revision hold. Called when its pools do."""
        ...

    def claim(self, request: ClaimRequest, place: Place, usage: Usage) -> Ruling:
        """Raises `Denial`."""
        ...

    def renew(self, renewal: Renewal, place: Place, usage: Usage) -> Ruling:
        """Raises `Denial`."""
        ...

    def again(self, claim: Claim, asked: Asked, place: Place, usage: Usage) -> Ruling:
        """What policies say by now of a claim that was approved. Raises `Denial`."""
        ...

    def admits(self, approval: Approval, by: Claimant, carried_by: str = "") -> Admits:
        """Which of the policies that ask for it let this person decide. `carried_by`: the webhook by which
        the vote came, if it did. Raises `Denial`.
        """
        ...


class Unjudged:
    """Without policies: everything may be, as it was asked for."""

    async def prepare(self, revision: Revision) -> None: ...

    def declare(self, revision: Revision) -> None: ...

    def claim(self, request: ClaimRequest, place: Place, usage: Usage) -> Ruling:  # noqa: ARG002 - the protocol's signature
        return Ruling(request.ttl, request.params, request.labels)

    def renew(self, renewal: Renewal, place: Place, usage: Usage) -> Ruling:  # noqa: ARG002
        return Ruling(renewal.ttl, renewal.claim.params, renewal.claim.labels)

    def again(self, claim: Claim, asked: Asked, place: Place, usage: Usage) -> Ruling:  # noqa: ARG002
        return Ruling(asked.ttl, asked.params, asked.labels)

    def admits(self, approval: Approval, by: Claimant, carried_by: str = "") -> Admits:  # noqa: ARG002
        return Admits()


def as_ruled(request: ClaimRequest, ruling: Ruling) -> ClaimRequest:
    """The request as policies have shaped it."""
    if ruling.decided is None:
        return request
    return request._replace(ttl=ruling.ttl, params=ruling.params, labels=ruling.labels)


def with_record(data: Mapping[str, Json], record: JsonObject) -> JsonObject:
    """An event's data, with what was decided if there is anything."""
    return {**data, "decision": cast("Json", record)} if record else data
