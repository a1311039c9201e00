"""`POST /v1/votes/{name}`: a vote that a webhook carries, such as that of a chat bot, for a person it names.

The body is signed with the secret of the webhook (`signatures`), says what was looked at (the digest that
the webhook out has told), and counts once. Nothing of it is read before the signature is found good. Who the
person is, the sender says; whether such a vote counts, the policies say. Served at the socket and at `votes.address`.
"""

from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from ..pools.ballots import Ballot
from ..pools.ids import ClaimId
from ..pools.requests import Code, Refusal
from .answers import CarriedVoteJson
from .calls import Call, Parameter, Route, for_callers
from .facade import Core
from .models import MAX_NAME, Body, Params, Plain, read
from .operating_api import BODY_CODES, Reason
from .presentation import show_approval
from .problems_http import MEANINGS, HttpCode, Problem
from .signatures import HEADER
from .voters import Said


class VoterBody(Body):
    """The person who votes: a user of the host, the subject of a token, or both."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": ["user"]}, {"required": ["subject"]}],
            "dependentRequired": {
                "issuer": ["subject"],
                "subject": ["issuer"],
                "claims": ["subject"],
            },
        }
    )

    user: Annotated[Plain, Field(min_length=1, max_length=MAX_NAME)] = ""
    issuer: Annotated[Plain, Field(min_length=1, max_length=1000)] = ""
    subject: Annotated[Plain, Field(min_length=1, max_length=1000)] = ""
    claims: Annotated[
        Params, Field(description="What a token of the subject would say: `approver.token`.")
    ] = Field(default_factory=dict[str, Any])

    @model_validator(mode="after")
    def _somebody(self) -> "VoterBody":
        if bool(self.issuer) is not bool(self.subject):
            raise PydanticCustomError("stoker", "write issuer and subject, or none of them")
        if not (self.user or self.subject):
            raise PydanticCustomError("stoker", "write user, or issuer and subject")
        if "claims" in self.model_fields_set and not self.subject:
            raise PydanticCustomError(
                "stoker", "claims are those of a subject: write issuer and subject"
            )
        return self


class VoteBody(Body):
    """What a webhook delivers."""

    claim: Annotated[Plain, Field(min_length=1, max_length=MAX_NAME)]
    digest: Annotated[
        str,
        StringConstraints(pattern="^[0-9a-f]{64}$"),
        Field(description="What was looked at: `data.digest` of the event, or `approval.digest`."),
    ]
    vote: Literal["approve", "reject"]
    voter: VoterBody
    reason: Reason = ""


async def carry(call: Call) -> web.StreamResponse:
    carried, outcome = call.host.carried, "failed"
    try:
        core = await call.host.gate.enter()
        data = await call.body()
        await carried.check(call.names[0], call.request.headers.getall(HEADER, []), data)
        answer = await _vote(call, core, data)
        outcome = "counted"
    except (Problem, Refusal) as refused:
        outcome = _outcome(refused)
        raise
    finally:
        if call.host.exposition is not None:
            call.host.exposition.carried(outcome)
    return answer


async def _vote(call: Call, core: Core, data: bytes) -> web.StreamResponse:
    body = read(VoteBody, data)
    said = body.voter
    by = await call.host.carried.voters.find(
        Said(said.user, said.issuer, said.subject, said.claims)
    )
    ballot = Ballot(
        by,
        body.vote == "approve",
        body.reason,
        call.id,
        carried_by=call.names[0],
        about=body.digest,
    )
    claim = await core.fleet.approving.vote(ClaimId(body.claim), ballot)
    assert claim.approval is not None  # else there was nothing to vote on
    shown: CarriedVoteJson = {
        "claim": claim.id,
        "state": claim.state.value,
        "approval": show_approval(claim.approval, core.clock.to_wall),
    }
    return call.answer(shown)


def _outcome(refused: Problem | Refusal) -> str:
    code = refused.code
    if code in {
        HttpCode.SIGNATURE_INVALID,
        HttpCode.SIGNATURE_EXPIRED,
        HttpCode.SIGNATURE_REPEATED,
    }:
        return "denied"
    status = MEANINGS[code].status
    return "failed" if status >= 500 else "malformed" if isinstance(refused, Problem) else "refused"


ROUTES = (
    Route(
        "POST",
        "/v1/votes/{name}",
        carry,
        "Takes a vote that a webhook carries for a person, signed with the secret of the webhook.",
        {200: CarriedVoteJson},
        door=for_callers,
        codes=(
            HttpCode.SIGNATURE_INVALID,
            HttpCode.SIGNATURE_EXPIRED,
            HttpCode.SIGNATURE_REPEATED,
            Code.NO_SUCH_CLAIM,
            Code.NO_APPROVAL,
            Code.VOTE_CONTRADICTS,
            Code.VOTE_LATE,
            Code.VOTE_MISMATCH,
            Code.VOTER_UNKNOWN,
            Code.CLAIM_OVER,
            Code.CALLER_UNKNOWN,
            *BODY_CODES,
        ),
        body=VoteBody,
        headers=(
            Parameter(HEADER, "`t=` Unix time, `,v1=` HMAC-SHA256 of `TIME.BODY` in hexadecimal."),
        ),
    ),
)
