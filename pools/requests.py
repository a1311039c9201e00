"""What callers ask of the pools, and how they are refused.

The codes of refusals are part of the public surface: docs/errors.md lists each with its meaning
and remedy, and a test compares the two.
"""

from enum import StrEnum
from typing import NamedTuple

from ..config.json_types import JsonObject
from ..config.parameters import ParameterProblems
from ..config.revision import PoolSpec
from .binding import Tie
from .claim import Claimant
from .resource import nothing
from .wishes import Wish


class Code(StrEnum):
    """Why something was refused. The value is the `code` of the problem document."""

    DENIED = "denied"
    APPROVAL_REJECTED = "approval-rejected"
    APPROVAL_LAPSED = "approval-lapsed"
    NO_APPROVAL = "no-approval"
    VOTE_CONTRADICTS = "vote-contradicts"
    VOTE_LATE = "vote-late"
    VOTE_MISMATCH = "vote-mismatch"
    VOTER_UNKNOWN = "voter-unknown"
    LIMIT_REACHED = "limit-reached"
    CALLER_UNKNOWN = "caller-unknown"
    NO_SUCH_POOL = "no-such-pool"
    NO_SUCH_CLAIM = "no-such-claim"
    NO_SUCH_RESOURCE = "no-such-resource"
    NO_SUCH_BLUEPRINT = "no-such-blueprint"
    NO_SUCH_REVISION = "no-such-revision"
    UNKNOWN_PARAMETER = "unknown-parameter"
    BAD_PARAMETER = "bad-parameter"
    TTL_TOO_LONG = "ttl-too-long"
    COUNT_TOO_LARGE = "count-too-large"
    BAD_SELECT = "bad-select"
    KEY_REUSED = "key-reused"
    CANNOT_FOLLOW = "cannot-follow"
    TOO_MANY_FOLLOWED = "too-many-followed"
    CLAIM_OVER = "claim-over"
    CLAIM_PENDING = "claim-pending"
    QUEUE_FULL = "queue-full"
    NO_CAPACITY = "no-capacity"
    NO_MATCH = "no-match"
    WAIT_TIMEOUT = "wait-timeout"
    BLUEPRINT_FAILING = "blueprint-failing"
    FINISH_FAILED = "finish-failed"
    PAUSED = "paused"
    DRAINING = "draining"
    SET_ELSEWHERE = "set-elsewhere"
    RESOURCE_CLAIMED = "resource-claimed"
    RESOURCE_COMING = "resource-coming"
    RESOURCE_LEAVING = "resource-leaving"
    REVISION_HELD = "revision-held"
    REVISION_NOT_HELD = "revision-not-held"
    REVISION_UNUSABLE = "revision-unusable"
    STOPPING = "stopping"
    STARTING = "starting"
    LEDGER_UNAVAILABLE = "ledger-unavailable"


class Refusal(Exception):
    """A "no" with its reason. The message is a sentence that a person can act on."""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        retry_after: float | None = None,
        details: JsonObject | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after
        """Seconds after which it makes sense to try again."""
        self.details: JsonObject = details or {}


class ClaimRequest(NamedTuple):
    """A claim as it was asked for, already authenticated. Durations are in seconds.

    `wait`: how long the caller stays on the line. None: it does not stay; a claim that cannot be
    bound at once is answered `pending` and waits in the queue for the pool's own `queue.wait`.
    """

    pool: str
    """Empty when it names several, in its `wish`."""
    claimant: Claimant
    params: JsonObject = nothing()
    ttl: float | None = None
    wait: float | None = None
    reason: str = ""
    labels: JsonObject = nothing()
    key: bytes | None = None
    """SHA-256 over the caller's uid and its Idempotency-Key."""
    body: bytes = b""
    """SHA-256 of the canonical request, compared when a key comes again."""
    tie: Tie | None = None
    """What the claim ends with, beside time; held by whoever asks until the claim is made."""
    request_id: str = ""
    break_glass: bool = False
    """It asks to do without an approval that it needs."""
    wish: Wish | None = None
    """What it asks for beside any one resource of the one pool; None for just that."""


def accepted_params(request: ClaimRequest, spec: PoolSpec) -> JsonObject:
    """What the claim is made with, defaults included. Raises `Refusal`."""
    try:
        return spec.blueprint.parameters.accept(request.params)
    except ParameterProblems as problems:
        raise _bad_params(problems) from problems


def typed_params(request: ClaimRequest, spec: PoolSpec) -> JsonObject:
    """What was passed alone, in the types of the blueprint's parameters. Raises `Refusal`."""
    try:
        return spec.blueprint.parameters.typed(request.params)
    except ParameterProblems as problems:
        raise _bad_params(problems) from problems


def _bad_params(problems: ParameterProblems) -> Refusal:
    return Refusal(
        Code(problems.problems[0].code),
        " ".join(
            "; ".join(filter(None, (problem.message, problem.remedy)))
            for problem in problems.problems
        ),
        details={"parameters": [problem.name for problem in problems.problems]},
    )
