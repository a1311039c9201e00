"""`POST /v1/claims/{id}/approve` and `/reject`: what others say about a claim, before it or afterwards."""

from aiohttp import web

from ..pools.ballots import Ballot
from ..pools.ids import ClaimId
from ..pools.requests import Code
from .answers import ClaimJson
from .calls import Call, Handle, Route, for_callers
from .claims_api import shown_claim
from .models import read
from .operating_api import BODY_CODES, TakeBackBody


def _says(*, approves: bool) -> Handle:
    async def handle(call: Call) -> web.StreamResponse:
        claim_id = ClaimId(call.name(Code.NO_SUCH_CLAIM))
        core = await call.host.gate.enter()
        data = await call.body()
        body = read(TakeBackBody, data) if data.strip() else TakeBackBody()
        ballot = Ballot(call.caller, approves, body.reason, call.id)
        claim = await core.fleet.approving.vote(claim_id, ballot)
        return call.answer(shown_claim(call, core, claim, secrets=False))

    return handle


_CODES = (
    Code.NO_SUCH_CLAIM,
    Code.NO_APPROVAL,
    Code.VOTE_CONTRADICTS,
    Code.VOTE_LATE,
    Code.CLAIM_OVER,
    Code.CALLER_UNKNOWN,
    *BODY_CODES,
)

ROUTES = tuple(
    Route(
        "POST",
        f"/v1/claims/{{id}}/{word}",
        _says(approves=approves),
        summary,
        {200: ClaimJson},
        door=for_callers,
        codes=_CODES,
        body=TakeBackBody,
        body_required=False,
    )
    for word, approves, summary in (
        ("approve", True, "Approves a claim that waits for it, or one that did without."),
        ("reject", False, "Rejects a claim that waits for an approval, or one that did without."),
    )
)
