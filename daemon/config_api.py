"""`/v1/config/…`: the revisions that were applied, and what operators decide about them.

Also served while the daemon starts: where a held revision is the only one, nothing else gets it going.
"""

from typing import Annotated

from aiohttp import web
from pydantic import Field

from ..pools.requests import Code
from .calls import Call, Handle, Route
from .deciding import SHORTEST
from .models import Plain, read
from .operating_api import BODY_CODES, SetBody, TakeBackBody, order_of
from .status import RevisionFacts
from .status_answers import KeptRevisionJson, KeptRevisionsJson, StandingJson, SyncJson
from .status_presentation import show_kept, show_standing, show_sync
from .steering import Stay, Steering

MOST_DIGITS = 64
RevisionName = Annotated[
    Plain,
    Field(
        min_length=SHORTEST,
        max_length=MOST_DIGITS,
        description="A revision's id, or the beginning of its commit.",
    ),
]


class AcceptBody(TakeBackBody):
    """Names the revision that is held, so that no other one is accepted by mistake."""

    revision: RevisionName


class StayBody(SetBody):
    """The body of `pin` and `rollback`; may be left out."""

    revision: Annotated[
        RevisionName | None,
        Field(
            description="To pin: else the one that serves. To go back to: else the one before it."
        ),
    ] = None
    accept: Annotated[bool, Field(description="Also when that destroys too much.")] = False


async def _steering(call: Call) -> Steering:
    host = call.host
    if host.gate.stopping or host.steering is None:
        await host.gate.enter()
    assert host.steering is not None
    return host.steering


def _serving(call: Call) -> RevisionFacts | None:
    assert call.host.status is not None
    return call.host.status().revision


async def history(call: Call) -> web.StreamResponse:
    steering = await _steering(call)
    serving, to_wall = _serving(call), steering.clock.to_wall
    kept = await steering.history()
    items = [show_kept(one, serving, steering.pin, to_wall) for one in kept]
    return call.answer(KeptRevisionsJson(items=items, more=False))


async def show(call: Call) -> web.StreamResponse:
    steering = await _steering(call)
    kept = await steering.find(call.name(Code.NO_SUCH_REVISION))
    return call.answer(show_kept(kept, _serving(call), steering.pin, steering.clock.to_wall))


async def standing(call: Call) -> web.StreamResponse:
    steering = await _steering(call)
    pools = steering.standing()
    to_wall = steering.clock.to_wall
    return call.answer(show_standing(pools, _serving(call), steering.max_destroy, to_wall))


async def accept(call: Call) -> web.StreamResponse:
    steering = await _steering(call)
    body = read(AcceptBody, await call.body())
    now = steering.clock.now()
    await steering.accept(body.revision, order_of(call, body, now, steering.clock.to_wall(now)))
    return _outcome(call, steering)


def _stay(how: Stay) -> Handle:
    async def handle(call: Call) -> web.StreamResponse:
        steering = await _steering(call)
        data = await call.body()
        body = read(StayBody, data) if data.strip() else StayBody()
        now = steering.clock.now()
        order = order_of(call, body, now, steering.clock.to_wall(now))
        await steering.stay(how, body.revision or "", order, accept=body.accept)
        return _outcome(call, steering)

    return handle


async def unpin(call: Call) -> web.StreamResponse:
    steering = await _steering(call)
    data = await call.body()
    body = read(TakeBackBody, data) if data.strip() else TakeBackBody()
    now = steering.clock.now()
    await steering.unpin(order_of(call, body, now, steering.clock.to_wall(now)))
    return _outcome(call, steering)


def _outcome(call: Call, steering: Steering) -> web.StreamResponse:
    assert call.host.status is not None
    return call.answer(show_sync(call.host.status(), steering.clock.to_wall, done=True))


ROUTES = (
    Route(
        "GET",
        "/v1/config/revisions",
        history,
        "Lists the revisions that were applied and can be gone back to.",
        {200: KeptRevisionsJson},
        codes=(Code.LEDGER_UNAVAILABLE,),
    ),
    Route(
        "GET",
        "/v1/config/revisions/{id}",
        show,
        "Shows one of them with its files.",
        {200: KeptRevisionJson},
        codes=(Code.NO_SUCH_REVISION, Code.LEDGER_UNAVAILABLE),
    ),
    Route(
        "GET",
        "/v1/config/standing",
        standing,
        "Shows what a new revision would be compared with: the one that serves, and what stands.",
        {200: StandingJson},
    ),
    Route(
        "POST",
        "/v1/config/accept",
        accept,
        "Applies the revision that is held, although it destroys much.",
        {200: SyncJson},
        codes=(Code.REVISION_NOT_HELD, *BODY_CODES),
        body=AcceptBody,
    ),
    *(
        Route(
            "POST",
            f"/v1/config/{action}",
            _stay(how),
            summary,
            {200: SyncJson},
            codes=(
                Code.NO_SUCH_REVISION,
                Code.REVISION_HELD,
                Code.REVISION_UNUSABLE,
                *BODY_CODES,
            ),
            body=StayBody,
            body_required=False,
        )
        for action, how, summary in (
            (
                "pin",
                Stay.PIN,
                "Stays at a revision, whatever the source says, until it is unpinned.",
            ),
            ("rollback", Stay.ROLL_BACK, "Applies an earlier revision again, and pins it."),
        )
    ),
    Route(
        "POST",
        "/v1/config/unpin",
        unpin,
        "Ends a pin: what the source holds is applied again.",
        {200: SyncJson},
        codes=BODY_CODES,
        body=TakeBackBody,
        body_required=False,
    ),
)
