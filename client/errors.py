"""What can go wrong with a request, as one family of exceptions.

`str(error)` is a sentence for a person; `code` is stable and for programs (docs/errors.md).
"""

import json
from collections.abc import Mapping
from typing import Any, ClassVar, cast


class StokerError(Exception):
    """The daemon said no, or did not answer.

    `status` is the HTTP status, 0 when there was no answer. `retry_after` is in seconds and None
    when the daemon named no time.
    """

    default_code: ClassVar[str] = "failed"

    def __init__(
        self,
        detail: str,
        *,
        status: int = 0,
        code: str = "",
        retry_after: float | None = None,
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.code = code or self.default_code
        self.retry_after = retry_after
        self.problem: dict[str, Any] = dict(problem or {})
        """The problem document (RFC 9457) as it came; empty when there was none."""

    @property
    def request_id(self) -> str:
        return str(self.problem.get("requestId", ""))

    def as_problem(self) -> dict[str, Any]:
        """The problem document, also when the daemon sent none."""
        made: dict[str, Any] = {
            "type": "about:blank",
            "title": type(self).__name__,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        if self.retry_after is not None:
            made["retryAfter"] = self.retry_after
        return {**made, **self.problem}


class BadRequest(StokerError):
    """The request itself is wrong (400, 413, 422 …): sending it again changes nothing."""

    default_code = "bad-request"


class Denied(StokerError):
    """The caller may not do that (401, 403)."""

    default_code = "denied"


class NotFound(StokerError):
    """There is no such pool, claim or resource (404)."""

    default_code = "not-found"


class Conflict(StokerError):
    """It does not fit the present state (409, 410): the key was reused, the claim is over."""

    default_code = "conflict"


class ClaimLost(Conflict):
    """The claim ended while its holder was still at work: it expired, or somebody released it.

    `__cause__` is what the daemon said, or why it could not be asked.
    """

    default_code = "claim-lost"


class Unavailable(StokerError):
    """Not now (429, 5xx, no answer): the queue is full, nothing became ready, the daemon stops."""

    default_code = "unavailable"


class NoDaemon(Unavailable):
    """Nobody listens on the socket, or whoever does stopped answering."""

    default_code = "no-daemon"


_BY_STATUS: dict[int, type[StokerError]] = {
    401: Denied,
    403: Denied,
    404: NotFound,
    409: Conflict,
    410: Conflict,
    429: Unavailable,
}


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> StokerError:
    """The exception for a reply that is no success. `headers` has lower-case names."""
    problem = _problem(body)
    kind = _BY_STATUS.get(status) or (BadRequest if 400 <= status < 500 else Unavailable)
    detail = problem.get("detail") or problem.get("title") or f"The daemon answered {status}."
    return kind(
        str(detail),
        status=status,
        code=str(problem.get("code", "")),
        retry_after=_retry_after(headers.get("retry-after"), problem),
        problem=problem,
    )


def _problem(body: bytes) -> dict[str, Any]:
    try:
        found: object = json.loads(body)
    except ValueError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _retry_after(header: str | None, problem: Mapping[str, Any]) -> float | None:
    """The problem's own number is finer than the header, which holds whole seconds."""
    for given in (problem.get("retryAfter"), header):
        if given is None:
            continue
        try:
            return max(0.0, float(given))
        except (TypeError, ValueError):
            continue
    return None
