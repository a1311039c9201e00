"""`/v1/claims`: claim, show, list, renew, release."""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence

from aiohttp import web

from ..policies.access import decide, may_see_secrets
from ..pools.binding import Bind
from ..pools.claim import OVER, Claim, ClaimState
from ..pools.ids import ClaimId
from ..pools.requests import ClaimRequest, Code, Refusal
from .answering import Answer
from .answers import ClaimJson, ClaimsJson
from .binding import bind_to
from .calls import Call, Parameter, Route, for_callers, for_claimants, paced
from .facade import Core
from .gate import stopping
from .models import (
    KEY_SCHEMA,
    MAX_POLL,
    POLL_SCHEMA,
    Body,
    ClaimBody,
    RenewBody,
    idempotency_key,
    read,
)
from .ownership import own_claim, seen_claim, sees
from .presentation import show_claim, show_waiting
from .problems_http import HttpCode, Problem

log = logging.getLogger(__name__)

DEFAULT_LIMIT = 1000
MAX_LIMIT = 10_000
WAITING = frozenset({ClaimState.PENDING, ClaimState.FINISHING})

POOL = Parameter("pool", "Only those of this pool.")
LABEL = Parameter(
    "label",
    "Only those with this label: NAME=VALUE, or NAME.",
    {"type": "string", "pattern": "^[^=]"},
    many=True,
)
LIMIT = Parameter(
    "limit",
    f"At most so many; {DEFAULT_LIMIT} unless told.",
    {"type": "integer", "minimum": 0, "maximum": MAX_LIMIT},
)
_WAIT = Parameter(
    "wait", "Answer when the claim is no longer waiting, or after this long (≤ 5m).", POLL_SCHEMA
)
_STATE = Parameter(
    "state",
    "Only those in this state; without it all that are not over.",
    {"type": "string", "enum": [state.value for state in ClaimState]},
)
_APPROVAL = Parameter(
    "approval",
    "Only those that wait for an approval, those that did without one and that nobody has looked at yet,"
    " or (`open`) both.",
    {"type": "string", "enum": ["waiting", "follow-up", "open"]},
)
_LIST = (POOL, _STATE, _APPROVAL, LABEL, LIMIT)
_SHOW = (_WAIT,)


async def create(call: Call) -> web.StreamResponse:
    core = await call.host.gate.enter()
    data = await call.body()
    body = read(ClaimBody, data)
    body.check(len(data))
    headers = call.request.headers
    key = headers.get("Idempotency-Key")
    if key is not None and len(headers.getall("Idempotency-Key")) > 1:
        raise Problem(HttpCode.MALFORMED, "Send one Idempotency-Key header.")
    pool = body.pool
    request = ClaimRequest(
        pool=pool if isinstance(pool, str) else "",
        claimant=call.caller,
        params=body.params or {},
        ttl=body.ttl,
        wait=body.wait,
        reason=body.reason,
        labels=body.labels or {},
        key=None if key is None else idempotency_key(call.caller.identity, key),
        body=b"" if key is None else body.digest(),
        request_id=call.id,
        wish=body.wish(),
        break_glass=body.break_glass,
    )
    if body.bind is None or body.bind == "time":
        claim = await core.fleet.claim(request)
    else:
        claim = await _claim_bound(call, core, request, Bind(body.bind))
    if key is not None:
        return _claimed(call, core, claim)
    return await _hand_over(call, core, claim)


async def _claim_bound(call: Call, core: Core, request: ClaimRequest, to: Bind) -> Claim:
    bound = await bind_to(call, core, to)
    try:
        return await core.fleet.claim(request._replace(tie=bound.tie))
    finally:
        bound.release()


def _claimed(call: Call, core: Core, claim: Claim) -> Answer:
    """201 bound, 202 waiting, 200 for a retry whose claim has ended since; raises for a "no"."""
    if claim.state in {ClaimState.REFUSED, ClaimState.FAILED}:
        raise _refusal_of(claim)
    status = 202 if claim.state in WAITING else 201 if claim.state is ClaimState.BOUND else 200
    return call.answer(_shown(call, core, claim), status, location=f"/v1/claims/{claim.id}")


async def _hand_over(call: Call, core: Core, claim: Claim) -> web.StreamResponse:
    """Writes the answer here, to give the claim back when nobody is there to take it.

    Only for claims without an Idempotency-Key: with one, the claimant comes back for it.
    """
    handed = False
    try:
        response = _claimed(call, core, claim)
        await response.prepare(call.request)
        transport = call.request.transport
        handed = transport is not None and not transport.is_closing()
        return response
    except Refusal:
        handed = True  # it is over already
        raise
    finally:
        if not handed:
            call.host.background(_give_back(call, core, claim.id), f"give back {claim.id}")


async def _give_back(call: Call, core: Core, claim: ClaimId) -> None:
    try:
        await core.fleet.release(claim, request_id=call.id)
    except Refusal as refusal:
        log.warning(
            "%s was not taken by its claimant and could not be given back: %s",
            claim,
            refusal.message,
            extra={"requestId": call.id},
        )


async def show(call: Call) -> web.StreamResponse:
    query = call.query(_SHOW)
    wait = query.duration("wait", MAX_POLL)
    claim_id = ClaimId(call.name(Code.NO_SUCH_CLAIM))
    core = await call.host.gate.enter()
    claim = await seen_claim(call, core, claim_id)
    if wait is not None:
        claim = await _settled(call, core, claim_id, wait)
    return call.answer(_shown(call, core, claim))


async def _settled(call: Call, core: Core, claim: ClaimId, wait: float) -> Claim:
    """Waits for the claim, but not longer than the daemon runs."""
    poll = asyncio.create_task(core.fleet.settled(claim, wait), name=f"poll {claim}")
    forget = call.host.gate.on_close(poll.cancel)
    try:
        return await poll
    except asyncio.CancelledError:
        if call.host.gate.stopping:
            raise stopping() from None
        raise
    finally:
        forget()
        poll.cancel()


async def renew(call: Call) -> web.StreamResponse:
    claim_id = ClaimId(call.name(Code.NO_SUCH_CLAIM))
    core = await call.host.gate.enter()
    data = await call.body()
    body = read(RenewBody, data) if data.strip() else RenewBody()
    claim = await own_claim(call, core, claim_id)
    same = call.caller.identity == claim.claimant.identity
    by = call.caller if same else claim.claimant  # the right stays the claimant's
    claim = await core.fleet.renew(claim_id, body.ttl, request_id=call.id, by=by)
    return call.answer(_shown(call, core, claim))


async def release(call: Call) -> web.StreamResponse:
    claim_id = ClaimId(call.name(Code.NO_SUCH_CLAIM))
    core = await call.host.gate.enter()
    claim = await own_claim(call, core, claim_id)
    ours = claim.claimant.identity == call.caller.identity
    why = "" if ours else f"by {call.caller}, who did not claim it"
    claim = await core.fleet.release(claim_id, request_id=call.id, why=why)
    return call.answer(_shown(call, core, claim))


async def list_all(call: Call) -> web.StreamResponse:
    query = call.query(_LIST)
    pool = query.text("pool")
    state = query.one_of("state", [one.value for one in ClaimState])
    approval = query.one_of("approval", ["waiting", "follow-up", "open"])
    labels = query.labels()
    limit = query.whole("limit", DEFAULT_LIMIT, MAX_LIMIT)
    core = await call.host.gate.enter()
    claims: Iterable[Claim] = core.fleet.live_claims()
    if approval:
        claims = [*core.fleet.approving.undecided()]
    elif state and ClaimState(state) in OVER:
        claims = await _ended(core, pool, limit)

    def wanted() -> Iterator[ClaimJson | None]:
        for claim in paced(claims):
            if claim is None:
                yield None
            elif (
                sees(call, core, claim)
                and approval in {"", "open", "waiting" if claim.needs_approval else "follow-up"}
                and (not pool or _concerns(claim, pool))
                and state in {"", claim.state.value}
                and has_labels(claim.labels, labels)
            ):
                yield _listed(call, core, claim)

    return await call.answer_list(wanted(), limit)


def _concerns(claim: Claim, pool: str) -> bool:
    """It is of the pool, or waits in its line among others."""
    wish = claim.wish if claim.state is ClaimState.PENDING else None
    return pool == claim.pool or (wish is not None and pool in wish.pools)


async def _ended(core: Core, pool: str, limit: int) -> Sequence[Claim]:
    """One more than asked for, so that `more` can be told."""
    return await core.fleet.ended_claims(pool or None, limit + 1)


def has_labels(labels: Mapping[str, object], wanted: list[tuple[str, str | None]]) -> bool:
    return all(
        key in labels and (value is None or str(labels[key]) == value) for key, value in wanted
    )


def _shown(call: Call, core: Core, claim: Claim) -> ClaimJson:
    own = may_see_secrets(call.caller.identity, claim.claimant.identity)
    return shown_claim(call, core, claim, secrets=own)


def shown_claim(call: Call, core: Core, claim: Claim, *, secrets: bool) -> ClaimJson:
    place = core.fleet.place_in_line(claim) if claim.state is ClaimState.PENDING else None
    shown = show_claim(
        claim,
        core.clock.to_wall,
        decide(claim.claimant.uid, call.host.daemon_uid),
        secrets=secrets,
        place=place if place is not None and place[0] > 0 else None,
    )
    if claim.state in WAITING:
        waiting_for = core.fleet.waiting_for(claim, place[0] if place is not None else 0)
        if waiting_for is not None:
            shown["waitingFor"] = show_waiting(waiting_for)
    return shown


def _listed(call: Call, core: Core, claim: Claim) -> ClaimJson:
    """Without secrets, and without the place in line: counting it for each would be quadratic."""
    verdict = decide(claim.claimant.uid, call.host.daemon_uid)
    return show_claim(claim, core.clock.to_wall, verdict, secrets=False)


def _refusal_of(claim: Claim) -> Refusal:
    """A claim that was refused or failed, as the answer to whoever asks for it again."""
    code = Code(claim.code) if claim.code in set(Code) else Code.NO_CAPACITY
    detail = claim.detail or f"The claim {claim.id} is {claim.state}."
    return Refusal(code, detail, details={"claim": claim.id})


_ID = (Code.NO_SUCH_CLAIM,)
_RENEW_BODY: type[Body] = RenewBody

ROUTES = (
    Route(
        "POST",
        "/v1/claims",
        create,
        "Claims resources: 201 bound, 202 waiting, 200 when a retried claim has ended since.",
        {201: ClaimJson, 202: ClaimJson, 200: ClaimJson},
        door=for_claimants,
        codes=(
            HttpCode.MALFORMED,
            HttpCode.INVALID,
            HttpCode.UNSUPPORTED_MEDIA_TYPE,
            HttpCode.EXPECTATION_FAILED,
            HttpCode.TOO_LARGE,
            HttpCode.TOO_SLOW,
            Code.LIMIT_REACHED,
            Code.CALLER_UNKNOWN,
            Code.APPROVAL_REJECTED,
            Code.APPROVAL_LAPSED,
            Code.NO_SUCH_POOL,
            Code.UNKNOWN_PARAMETER,
            Code.BAD_PARAMETER,
            Code.TTL_TOO_LONG,
            Code.COUNT_TOO_LARGE,
            Code.BAD_SELECT,
            Code.KEY_REUSED,
            Code.CANNOT_FOLLOW,
            Code.TOO_MANY_FOLLOWED,
            Code.CLAIM_OVER,
            Code.QUEUE_FULL,
            Code.NO_CAPACITY,
            Code.NO_MATCH,
            Code.WAIT_TIMEOUT,
            Code.BLUEPRINT_FAILING,
            Code.FINISH_FAILED,
            Code.PAUSED,
            Code.DRAINING,
            Code.LEDGER_UNAVAILABLE,
        ),
        body=ClaimBody,
        headers=(
            Parameter(
                "Idempotency-Key",
                "The same key and body give the same claim again, for as long as the claim lives"
                " and a day more; 1 to 255 visible ASCII characters.",
                KEY_SCHEMA,
            ),
        ),
    ),
    Route(
        "GET",
        "/v1/claims",
        list_all,
        "Lists claims, without secrets.",
        {200: ClaimsJson},
        door=for_callers,
        codes=(HttpCode.INVALID, HttpCode.MALFORMED, Code.LEDGER_UNAVAILABLE),
        query=_LIST,
    ),
    Route(
        "GET",
        "/v1/claims/{id}",
        show,
        "Shows a claim; with `wait`, once it no longer waits.",
        {200: ClaimJson},
        door=for_callers,
        codes=(*_ID, HttpCode.INVALID, HttpCode.MALFORMED, Code.LEDGER_UNAVAILABLE),
        query=_SHOW,
    ),
    Route(
        "POST",
        "/v1/claims/{id}/renew",
        renew,
        "Lets the claim end `ttl` from now.",
        {200: ClaimJson},
        door=for_callers,
        codes=(
            *_ID,
            Code.LIMIT_REACHED,
            Code.CALLER_UNKNOWN,
            HttpCode.MALFORMED,
            HttpCode.INVALID,
            HttpCode.UNSUPPORTED_MEDIA_TYPE,
            HttpCode.EXPECTATION_FAILED,
            HttpCode.TOO_LARGE,
            HttpCode.TOO_SLOW,
            Code.TTL_TOO_LONG,
            Code.CLAIM_OVER,
            Code.CLAIM_PENDING,
            Code.LEDGER_UNAVAILABLE,
        ),
        body=_RENEW_BODY,
        body_required=False,
    ),
    Route(
        "DELETE",
        "/v1/claims/{id}",
        release,
        "Ends the claim. Repeating it is harmless.",
        {200: ClaimJson},
        door=for_callers,
        codes=(*_ID, Code.LEDGER_UNAVAILABLE),
    ),
)
