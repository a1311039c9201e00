"""Errors as people and programs get them: RFC 9457 problem documents with a stable code.

`docs/errors.md` lists every code with its meaning, cause and remedy; a test compares the two.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from pydantic_core import to_json

from ..config.json_types import Json, JsonObject
from ..pools.requests import Code, Refusal

CONTENT_TYPE = "application/problem+json"


class HttpCode(StrEnum):
    """Codes of the socket itself; those of the pools are in `stoker.pools.requests.Code`."""

    MALFORMED = "malformed"
    INVALID = "invalid"
    TOKENS_NOT_ACCEPTED = "tokens-not-accepted"
    INVALID_TOKEN = "invalid-token"  # noqa: S105 - a code
    EXPIRED_TOKEN = "expired-token"  # noqa: S105 - a code
    KEYS_UNAVAILABLE = "keys-unavailable"
    SIGNATURE_INVALID = "signature-invalid"
    SIGNATURE_EXPIRED = "signature-expired"
    SIGNATURE_REPEATED = "signature-repeated"
    NOT_FOUND = "not-found"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    TOO_SLOW = "too-slow"
    TOO_LARGE = "too-large"
    URI_TOO_LONG = "uri-too-long"
    HEADERS_TOO_LARGE = "headers-too-large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    EXPECTATION_FAILED = "expectation-failed"
    BUSY = "busy"
    INTERNAL = "internal"


AnyCode: TypeAlias = HttpCode | Code


@dataclass(frozen=True, slots=True)
class Meaning:
    status: int
    title: str
    retry: bool = False
    """True when trying again later may help: the answer then always has a Retry-After."""


MEANINGS: dict[AnyCode, Meaning] = {
    HttpCode.MALFORMED: Meaning(400, "Malformed request"),
    HttpCode.INVALID: Meaning(422, "Invalid value"),
    HttpCode.TOKENS_NOT_ACCEPTED: Meaning(401, "Tokens are not accepted"),
    HttpCode.INVALID_TOKEN: Meaning(401, "Invalid token"),
    HttpCode.EXPIRED_TOKEN: Meaning(401, "Expired token"),
    HttpCode.KEYS_UNAVAILABLE: Meaning(503, "Keys unavailable", retry=True),
    HttpCode.SIGNATURE_INVALID: Meaning(401, "Not signed by a known webhook"),
    HttpCode.SIGNATURE_EXPIRED: Meaning(401, "Signed at another time"),
    HttpCode.SIGNATURE_REPEATED: Meaning(409, "Delivered before"),
    HttpCode.NOT_FOUND: Meaning(404, "No such address"),
    HttpCode.METHOD_NOT_ALLOWED: Meaning(405, "Method not allowed"),
    HttpCode.TOO_SLOW: Meaning(408, "The request came too slowly"),
    HttpCode.TOO_LARGE: Meaning(413, "Body too large"),
    HttpCode.URI_TOO_LONG: Meaning(414, "Address too long"),
    HttpCode.HEADERS_TOO_LARGE: Meaning(431, "Headers too large"),
    HttpCode.UNSUPPORTED_MEDIA_TYPE: Meaning(415, "Unsupported media type"),
    HttpCode.EXPECTATION_FAILED: Meaning(417, "Expectation failed"),
    HttpCode.BUSY: Meaning(503, "Too busy", retry=True),
    HttpCode.INTERNAL: Meaning(500, "Internal error"),
    Code.DENIED: Meaning(403, "Denied"),
    Code.APPROVAL_REJECTED: Meaning(403, "Rejected"),
    Code.APPROVAL_LAPSED: Meaning(403, "Nobody approved in time"),
    Code.NO_APPROVAL: Meaning(409, "Nothing to approve"),
    Code.VOTE_CONTRADICTS: Meaning(409, "You have said the opposite"),
    Code.VOTE_LATE: Meaning(409, "Decided already"),
    Code.VOTE_MISMATCH: Meaning(409, "Not what is asked for"),
    Code.VOTER_UNKNOWN: Meaning(422, "Voter unknown"),
    Code.LIMIT_REACHED: Meaning(429, "Limit reached", retry=True),
    Code.CALLER_UNKNOWN: Meaning(503, "Caller unknown", retry=True),
    Code.NO_SUCH_POOL: Meaning(404, "No such pool"),
    Code.NO_SUCH_CLAIM: Meaning(404, "No such claim"),
    Code.NO_SUCH_RESOURCE: Meaning(404, "No such resource"),
    Code.NO_SUCH_BLUEPRINT: Meaning(404, "No such blueprint"),
    Code.NO_SUCH_REVISION: Meaning(404, "No such revision"),
    Code.UNKNOWN_PARAMETER: Meaning(422, "Unknown parameter"),
    Code.BAD_PARAMETER: Meaning(422, "Bad parameter"),
    Code.TTL_TOO_LONG: Meaning(422, "Time to live too long"),
    Code.COUNT_TOO_LARGE: Meaning(422, "More resources than the pool may have"),
    Code.BAD_SELECT: Meaning(422, "Bad select"),
    Code.KEY_REUSED: Meaning(409, "Idempotency key reused"),
    Code.CANNOT_FOLLOW: Meaning(422, "The claimant cannot be followed"),
    Code.TOO_MANY_FOLLOWED: Meaning(503, "Too many processes are followed", retry=True),
    Code.CLAIM_OVER: Meaning(409, "Claim is over"),
    Code.CLAIM_PENDING: Meaning(409, "Claim is not bound yet"),
    Code.QUEUE_FULL: Meaning(429, "Queue full", retry=True),
    Code.NO_CAPACITY: Meaning(503, "No capacity", retry=True),
    Code.NO_MATCH: Meaning(503, "No resource matches", retry=True),
    Code.WAIT_TIMEOUT: Meaning(503, "Nothing became ready in time", retry=True),
    Code.BLUEPRINT_FAILING: Meaning(503, "Blueprint failing", retry=True),
    Code.FINISH_FAILED: Meaning(503, "Finishing failed", retry=True),
    Code.PAUSED: Meaning(503, "Pool is paused", retry=True),
    Code.DRAINING: Meaning(503, "Pool is draining", retry=True),
    Code.SET_ELSEWHERE: Meaning(409, "Set elsewhere"),
    Code.RESOURCE_CLAIMED: Meaning(409, "Resource is claimed"),
    Code.RESOURCE_COMING: Meaning(409, "Resource is being made"),
    Code.RESOURCE_LEAVING: Meaning(409, "Resource is being removed"),
    Code.REVISION_HELD: Meaning(409, "Revision must be accepted"),
    Code.REVISION_NOT_HELD: Meaning(409, "Revision is not held"),
    Code.REVISION_UNUSABLE: Meaning(409, "Revision cannot be used"),
    Code.STOPPING: Meaning(503, "Daemon is stopping", retry=True),
    Code.STARTING: Meaning(503, "Daemon is starting", retry=True),
    Code.LEDGER_UNAVAILABLE: Meaning(503, "Ledger unavailable", retry=True),
}


class Problem(Exception):
    """A "no" on its way to the caller. `detail` is a sentence that a person can act on."""

    def __init__(
        self,
        code: AnyCode,
        detail: str,
        *,
        retry_after: float | None = None,
        details: JsonObject | None = None,
        headers: dict[str, str] | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.details: JsonObject = details or {}
        self.headers = headers or {}
        self.close = close
        """True when the connection cannot be used for another request."""
        self.retry_after = retry_after
        if retry_after is None and MEANINGS[code].retry:
            self.retry_after = 1.0

    @property
    def status(self) -> int:
        return MEANINGS[self.code].status

    def document(self, request_id: str) -> dict[str, Json]:
        """The problem document; the refusal's own details stand beside the members of RFC 9457."""
        document: dict[str, Json] = dict(self.details)
        document.update(
            type=f"urn:stoker:problem:{self.code}",
            title=MEANINGS[self.code].title,
            status=self.status,
            code=str(self.code),
            detail=self.detail,
            requestId=request_id,
        )
        if self.retry_after is not None:
            document["retryAfter"] = self.retry_after
        return document

    def body(self, request_id: str) -> bytes:
        return to_json(self.document(request_id))

    def retry_after_header(self) -> str | None:
        """Whole seconds, at least one."""
        if self.retry_after is None:
            return None
        return str(max(1, math.ceil(self.retry_after)))


def of_refusal(refusal: Refusal) -> Problem:
    return Problem(
        refusal.code,
        refusal.message,
        retry_after=refusal.retry_after,
        details=refusal.details,
    )


def raw_answer(problem: Problem, request_id: str) -> bytes:
    """A whole HTTP answer that ends the connection, for where no request could be read."""
    body = problem.body(request_id)
    lines = [
        f"HTTP/1.1 {problem.status} {MEANINGS[problem.code].title}",
        f"Content-Type: {CONTENT_TYPE}",
        f"Content-Length: {len(body)}",
        f"X-Request-Id: {request_id}",
        "Connection: close",
    ]
    after = problem.retry_after_header()
    if after is not None:
        lines.append(f"Retry-After: {after}")
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body
