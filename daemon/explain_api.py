"""`/v1/explain/…`: why something is as it is, in sentences with the numbers."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

from aiohttp import web

from ..config.spelling import nearest, suggestion
from ..config.units import format_duration
from ..pools.evidence import Evidence
from ..pools.explaining.histories import of_pool
from ..pools.explaining.of_blueprints import explain_blueprint
from ..pools.explaining.of_claims import explain_claim
from ..pools.explaining.of_pools import explain_pool
from ..pools.explaining.of_resources import explain_resource
from ..pools.explaining.shape import Coming, Explanation, Happening
from ..pools.ids import ClaimId
from ..pools.requests import ClaimRequest, Code, Refusal, typed_params
from ..pools.store import Event
from ..pools.wishes import Wish
from .answers import ComingJson, ExplanationJson, HappeningJson, VerdictJson
from .calls import Call, Door, Handle, Route, for_callers, for_claimants, for_operators
from .decided_why import in_numbers, record_in, rules_told, sentences
from .decision_models import DecisionBody
from .event_stream import Filters
from .facade import Core
from .models import read
from .ownership import own_claim
from .presentation import rfc3339
from .problems_http import AnyCode, HttpCode

MOST_EVENTS = 200
"""The newest ones of a claim or a resource; a claim that is renewed for hours has many."""
MOST_OF_A_POOL = 20
MOST_COMPARED = 2000
"""Names that a mistyped one is compared with."""


async def explain_one_pool(call: Call) -> web.StreamResponse:
    name = call.name(Code.NO_SUCH_POOL)
    core = await call.host.gate.enter()
    evidence = core.fleet.evidence
    if evidence.of_pool(name) is None:
        raise _unknown(Code.NO_SUCH_POOL, name, suggestion(name, evidence.pools()))
    told = of_pool(
        [
            *await _events(call, pool=name, kind="resource.", limit=500),
            *await _events(call, pool=name, kind="pool.", limit=MOST_OF_A_POOL),
        ]
    )
    facts = evidence.of_pool(name)  # after the ledger was asked: what is said is of now
    if facts is None:
        raise _unknown(Code.NO_SUCH_POOL, name, suggestion(name, evidence.pools()))
    history = tuple(sorted(told, key=lambda one: one.at))[-MOST_OF_A_POOL:]
    return call.answer(show(explain_pool(facts, history)))


async def explain_one_claim(call: Call) -> web.StreamResponse:
    name = call.name(Code.NO_SUCH_CLAIM)
    core = await call.host.gate.enter()
    try:
        await core.fleet.find_claim(ClaimId(name))
    except Refusal as refusal:
        if refusal.code is not Code.NO_SUCH_CLAIM:
            raise
        raise _near(Code.NO_SUCH_CLAIM, name, core.fleet.evidence.claims()) from None
    await own_claim(call, core, ClaimId(name))
    events = await _events(call, claim=name)
    claim = await core.fleet.find_claim(ClaimId(name))
    explanation = explain_claim(core.fleet.evidence.of_claim(claim, events))
    return call.answer(show(_with_decision(call, core, claim.pool, events, explanation)))


def _with_decision(
    call: Call, core: Core, pool: str, events: list[Event], explanation: Explanation
) -> Explanation:
    """And why policies let it be, if any was about it."""
    record, judge = record_in(events), call.host.judge
    if record is None or judge is None:
        return explanation
    same = judge.revision == record.get("revision")
    rules = rules_told(
        record, judge.index.of(pool) if same else None, core.fleet.evidence.spec_of(pool)
    )
    return replace(
        explanation,
        why=(*explanation.why, *sentences(record, rules)),
        facts={**explanation.facts, "policy": in_numbers(record, rules)},
    )


async def explain_decision(call: Call) -> web.StreamResponse:
    """Nothing is claimed. By the caller's own identity, as when it claims."""
    core = await call.host.gate.enter()
    data = await call.body()
    body = read(DecisionBody, data)
    place = core.fleet.place_of(body.pool)
    judge = call.host.judge
    assert judge is not None  # it is there before anything is served
    request = ClaimRequest(
        pool=body.pool,
        claimant=call.caller,
        params=body.params or {},
        ttl=body.ttl,
        reason=body.reason,
        labels=body.labels or {},
        wish=Wish(body.count),
    )
    request = request._replace(params=typed_params(request, place.spec))
    return call.answer(judge.explain(request, place, core.fleet.usage))


async def explain_one_resource(call: Call) -> web.StreamResponse:
    name = call.name(Code.NO_SUCH_RESOURCE)
    core = await call.host.gate.enter()
    evidence: Evidence = core.fleet.evidence
    facts = evidence.of_resource(name, await _events(call, resource=name))
    if facts.resource is None and not facts.events:
        raise _near(Code.NO_SUCH_RESOURCE, name, evidence.resources())
    return call.answer(show(explain_resource(facts)))


async def explain_one_blueprint(call: Call) -> web.StreamResponse:
    name = call.name(Code.NO_SUCH_BLUEPRINT)
    core = await call.host.gate.enter()
    facts = core.fleet.evidence.of_blueprint(name)
    if facts is None:
        known = core.fleet.evidence.blueprints()
        raise _unknown(Code.NO_SUCH_BLUEPRINT, name, suggestion(name, known))
    return call.answer(show(explain_blueprint(facts)))


async def _events(call: Call, *, limit: int = MOST_EVENTS, **filters: str) -> list[Event]:
    feed = call.host.feed
    assert feed is not None
    return await feed.newest(Filters(**filters), limit)


def _unknown(code: Code, name: str, remedy: str) -> Refusal:
    what = code.value.removeprefix("no-such-")
    return Refusal(code, f"there is no {what} {name}; {remedy}")


def _near(code: Code, name: str, known: Iterable[str]) -> Refusal:
    """Ids say little, so none is offered but one that is near."""
    near = nearest(name, islice(known, MOST_COMPARED))
    when = "a day" if code is Code.NO_SUCH_CLAIM else "longer than events are kept"
    remedy = f"did you mean '{near}'?" if near else f"it never was, or it is over for {when}"
    return _unknown(code, name, remedy)


def show(explanation: Explanation) -> ExplanationJson:
    return {
        "subject": explanation.subject,
        "summary": explanation.summary,
        "facts": explanation.facts,
        "why": list(explanation.why),
        "history": [_happening(one) for one in explanation.history],
        "next": [_coming(one) for one in explanation.next],
    }


def _happening(one: Happening) -> HappeningJson:
    return {"at": rfc3339(one.at), "event": one.event, "detail": one.detail}


def _coming(one: Coming) -> ComingJson:
    shown: ComingJson = {"what": one.what}
    if one.at is not None:
        shown["at"] = rfc3339(one.at)
    if one.within is not None:
        shown["in"] = format_duration(round(one.within, 3))
    return shown


def _route(
    kind: str, handle: Handle, summary: str, *codes: AnyCode, door: Door = for_operators
) -> Route:
    return Route(
        "GET",
        f"/v1/explain/{kind}",
        handle,
        summary,
        {200: ExplanationJson},
        codes=codes,
        door=door,
    )


ROUTES = (
    Route(
        "POST",
        "/v1/explain/decisions",
        explain_decision,
        "Says what policies would decide about a claim of the caller, and why; claims nothing.",
        {200: VerdictJson},
        codes=(
            HttpCode.MALFORMED,
            HttpCode.INVALID,
            HttpCode.UNSUPPORTED_MEDIA_TYPE,
            HttpCode.EXPECTATION_FAILED,
            HttpCode.TOO_LARGE,
            HttpCode.TOO_SLOW,
            Code.NO_SUCH_POOL,
            Code.UNKNOWN_PARAMETER,
            Code.BAD_PARAMETER,
        ),
        body=DecisionBody,
        door=for_claimants,
    ),
    _route(
        "pools/{name}",
        explain_one_pool,
        "Says why a pool is as it is.",
        Code.NO_SUCH_POOL,
        Code.LEDGER_UNAVAILABLE,
    ),
    _route(
        "claims/{id}",
        explain_one_claim,
        "Says what became of a claim, and why.",
        Code.NO_SUCH_CLAIM,
        Code.LEDGER_UNAVAILABLE,
        door=for_callers,
    ),
    _route(
        "resources/{id}",
        explain_one_resource,
        "Tells a resource's life, also of one that is gone.",
        Code.NO_SUCH_RESOURCE,
        Code.LEDGER_UNAVAILABLE,
    ),
    _route(
        "blueprints/{name}",
        explain_one_blueprint,
        "Says what a blueprint makes when, why in that order, and how long it takes.",
        Code.NO_SUCH_BLUEPRINT,
    ),
)
