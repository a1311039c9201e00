"""What comes back: a claim as the daemon shows it, and lists. Pure; shared by both clients."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar, cast

from .durations import seconds
from .errors import BadRequest, Conflict, Denied, NotFound, StokerError, Unavailable, error_of

Document = dict[str, Any]
"""A JSON object as the daemon sent it; docs/api.md and `GET /openapi.json` have its shape."""

OVER = ("ended", "refused", "failed")
"""States that nothing follows."""
WAITING = frozenset({"pending", "finishing"})
"""States on the way to `bound`."""


@dataclass(frozen=True, slots=True)
class ClaimInfo:
    """A claim at one moment. Outputs may be secret, so they are no part of its repr."""

    id: str
    pool: str
    state: str
    resources: tuple[str, ...] = ()
    outputs: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """The outputs of the first resource."""
    each: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    """The outputs of every resource, in the order of `resources`."""
    because: str = ""
    """Why this pool and these resources, where the claim left a choice."""
    expires_at: datetime | None = None
    grace_until: datetime | None = None
    """When its resource is taken away after the expiry, where the pool grants a grace."""
    bind: str = "time"
    """What ends it beside time."""
    ended_because: str = ""
    position: int | None = None
    """While it waits: its place in the queue, from 1."""
    eta: float | None = None
    """While it waits: estimated seconds."""
    waiting_for: Mapping[str, str] = field(default_factory=dict[str, str])
    """While it waits: why, as `code`, `detail` and perhaps `limit` (docs/errors.md)."""
    code: str = ""
    detail: str = ""
    document: Document = field(default_factory=dict[str, Any], repr=False)

    @property
    def over(self) -> bool:
        """It gives nothing any more."""
        return self.state == "ending" or self.state in OVER

    @property
    def waiting(self) -> bool:
        return self.state in WAITING


def claim_info(document: Mapping[str, Any]) -> ClaimInfo:
    """Reads a claim. Unknown fields are kept in `document` only, so a newer daemon is understood."""
    resources = cast("list[Document]", document.get("resources") or [])
    each = tuple(_outputs(resource) for resource in resources)
    chosen = cast("object", document.get("chosen"))
    because = cast("Document", chosen).get("because") if isinstance(chosen, dict) else None
    return ClaimInfo(
        id=str(document.get("id", "")),
        pool=str(document.get("pool", "")),
        state=str(document.get("state", "")),
        resources=tuple(str(r.get("id", "")) for r in resources),
        outputs=each[0] if each else {},
        each=each,
        because=str(because or ""),
        expires_at=moment(document.get("expiresAt")),
        grace_until=moment(document.get("graceUntil")),
        bind=str(document.get("bind") or "time"),
        ended_because=str(document.get("endedBecause") or ""),
        position=_whole(document.get("position")),
        eta=span(document.get("eta")),
        waiting_for=_texts(document.get("waitingFor")),
        code=str(document.get("code") or ""),
        detail=str(document.get("detail") or ""),
        document=dict(document),
    )


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {str(name): str(one) for name, one in cast("Document", value).items()}


def _outputs(resource: Document) -> Mapping[str, Any]:
    found = cast("object", resource.get("outputs"))
    return cast("Document", found) if isinstance(found, dict) else {}


def moment(text: object) -> datetime | None:
    """An RFC 3339 time, or None when there is none."""
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) and text else None
    except ValueError:
        return None


def span(value: object) -> float | None:
    """Seconds, of `4s` or of a number."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    try:
        return seconds(str(value))
    except ValueError:
        return None


T = TypeVar("T")


class Listing(list[T]):
    """A list that says whether it is all."""

    more: bool = False
    """True when there are more than the daemon gives at once: ask with a filter."""


def items(reply: Document) -> Listing[Document]:
    """The list in a reply."""
    found = Listing[Document](cast("list[Document]", reply.get("items") or []))
    found.more = bool(reply.get("more"))
    return found


_REFUSALS: dict[str, type[StokerError]] = {
    "denied": Denied,
    "no-such-pool": NotFound,
    "no-such-claim": NotFound,
    "bad-parameter": BadRequest,
    "unknown-parameter": BadRequest,
    "claim-over": Conflict,
}
_BY_OTHERS = frozenset({"expired", "claimant-gone", "revoked", "failed"})
"""Ends that no holder asks for."""


def refusal_of(claim: ClaimInfo) -> StokerError:
    """Why a claim that was waiting for a resource will never have one, as an exception."""
    kind = _REFUSALS.get(
        claim.code, Conflict if claim.state in {"ending", "ended"} else Unavailable
    )
    because = f" ({claim.ended_because})" if claim.ended_because else ""
    detail = claim.detail or f"The claim {claim.id} is {claim.state}{because}."
    return kind(detail, code=claim.code, problem={"claim": claim.id} if claim.id else None)


def lost_before(claim: ClaimInfo) -> StokerError | None:
    """Why a claim was over before its holder released it, as the release's answer tells."""
    return refusal_of(claim) if claim.ended_because in _BY_OTHERS else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one request. `headers` has lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    line: "Line | None" = None
    """The connection, when it stays open; whoever has the reply closes it."""


class Line(Protocol):
    """A connection on which a claim hangs."""

    def close(self) -> None: ...


def document_of(reply: Reply) -> Document:
    """The JSON object of an answer; a bare list becomes `{"items": …}`. Raises what it refuses."""
    if reply.status >= 300:
        raise error_of(reply.status, reply.headers, reply.body)
    if not reply.body.strip():
        return {}
    try:
        found: object = json.loads(reply.body)
    except ValueError as error:
        raise Unavailable("The answer is no JSON: is this socket a stoker daemon's?") from error
    return cast("Document", found) if isinstance(found, dict) else {"items": found}


def events_of(reply: Reply) -> Iterator[Document]:
    """The events of an answer that has an end, one JSON object a line."""
    if reply.status >= 300:
        document_of(reply)
    for line in reply.body.splitlines():
        if line.strip():
            yield cast("Document", json.loads(line))


def reached(event: Document, before: int = 0) -> int:
    """The number to go on from after this event, or after this gap between two events."""
    if event.get("kind") == "stream.gap":
        return int(event["next"]) - 1 if "next" in event else before
    return int(event.get("seq") or before)
