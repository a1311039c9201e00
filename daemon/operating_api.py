"""`/v1/pools/{name}/…`, `/v1/resources/{id}/…`, `/v1/freeze` and the like: what operators do."""

from typing import Annotated, TypeAlias

from aiohttp import web
from pydantic import Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from ..pools.ids import ResourceId
from ..pools.requests import Code
from ..pools.switches import HostAction, Operator, Order, PoolAction, ResourceAction
from .answers import HostJson, ResourceJson
from .calls import Call, Handle, Route
from .models import MAX_REASON, Body, Plain, read
from .pool_answers import PoolJson
from .presentation import show_host, show_pool, show_resource
from .problems_http import AnyCode, HttpCode, Problem
from .until import Until, UntilError, parse_until


def _until(value: object) -> object:
    try:
        if isinstance(value, str):
            return parse_until(value)
        raise UntilError("write it as text, such as '90m' or '2026-01-31T12:00:00Z'")
    except UntilError as error:
        raise PydanticCustomError("stoker", "{sentence}", {"sentence": str(error)}) from error


_UNTIL_SCHEMA = {
    "type": "string",
    "pattern": "^(([0-9]+(\\.[0-9]+)?(ms|s|m|h|d))+"
    "|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:.]+([Zz]|[+-][0-9]{2}:[0-9]{2}))$",
    "format": "duration-or-moment-within-366d",
    "examples": ["90m"],
}
Reason = Annotated[Plain, Field(max_length=MAX_REASON, description="For the audit.")]


class TakeBackBody(Body):
    """The body of an action that is done once and for all; may be left out."""

    reason: Reason = ""


class SetBody(TakeBackBody):
    """The body of an action that stays in force; may be left out."""

    until: Annotated[
        Annotated[Until, PlainValidator(_until), WithJsonSchema(_UNTIL_SCHEMA)] | None,
        Field(description="For so long, or to that moment; within 366 days."),
    ] = None


Action: TypeAlias = PoolAction | ResourceAction | HostAction
_SET: frozenset[Action] = frozenset(
    {
        *(PoolAction.PAUSE, PoolAction.DRAIN, PoolAction.REFRESH),
        *(HostAction.FREEZE, HostAction.DRAIN),
        ResourceAction.HOLD,
    }
)
"""Those that stay in force."""


def _body_of(action: Action) -> type[TakeBackBody]:
    return SetBody if action in _SET else TakeBackBody


async def _order(call: Call, action: Action, now: float, wall: float) -> Order:
    data = await call.body()
    model = _body_of(action)
    return order_of(call, read(model, data) if data.strip() else model(), now, wall)


def order_of(call: Call, body: TakeBackBody, now: float, wall: float) -> Order:
    """`now` is steady, `wall` the same moment on the clock on the wall. Raises `Problem`."""
    until = None
    if isinstance(body, SetBody) and body.until is not None:
        try:
            until = now + body.until.left(wall)
        except UntilError as error:
            raise Problem(
                HttpCode.INVALID,
                f"'until': {error}.",
                details={"errors": [{"field": "until", "message": str(error)}]},
            ) from None
    caller = call.caller
    by = Operator(caller.uid, caller.user, caller.token.subject if caller.token else "")
    return Order(by, body.reason, until, call.id)


def _on_pool(action: PoolAction) -> Handle:
    async def handle(call: Call) -> web.StreamResponse:
        name = call.name(Code.NO_SUCH_POOL)
        core = await call.host.gate.enter()
        now = core.clock.now()
        order = await _order(call, action, now, core.clock.to_wall(now))
        pool = await core.fleet.operate_pool(action, name, order)
        return call.answer(show_pool(pool, core.clock.to_wall))

    return handle


def _on_host(action: HostAction) -> Handle:
    async def handle(call: Call) -> web.StreamResponse:
        core = await call.host.gate.enter()
        now = core.clock.now()
        order = await _order(call, action, now, core.clock.to_wall(now))
        host = await core.fleet.operate_host(action, order)
        return call.answer(show_host(host, core.clock.to_wall))

    return handle


def _on_resource(action: ResourceAction) -> Handle:
    async def handle(call: Call) -> web.StreamResponse:
        name = ResourceId(call.name(Code.NO_SUCH_RESOURCE))
        core = await call.host.gate.enter()
        now = core.clock.now()
        order = await _order(call, action, now, core.clock.to_wall(now))
        resource = await core.fleet.operate_resource(action, name, order)
        return call.answer(show_resource(resource, core.clock.to_wall, parts=True))

    return handle


BODY_CODES: tuple[AnyCode, ...] = (
    HttpCode.MALFORMED,
    HttpCode.INVALID,
    HttpCode.UNSUPPORTED_MEDIA_TYPE,
    HttpCode.EXPECTATION_FAILED,
    HttpCode.TOO_LARGE,
    HttpCode.TOO_SLOW,
    Code.LEDGER_UNAVAILABLE,
)
_ON_POOLS = {
    PoolAction.PAUSE: "Stops binding new claims and making resources, until it is resumed.",
    PoolAction.RESUME: "Ends a pause or a drain.",
    PoolAction.DRAIN: "Empties the pool: what is bound lives on, nothing new is bound or made.",
    PoolAction.REFRESH: "Replaces every ready resource by a new one, as the pool rolls.",
}
_ON_HOST: dict[HostAction, tuple[str, tuple[Code, ...]]] = {
    HostAction.FREEZE: (
        "Lets nothing change by itself in any pool, until it is thawed; what is ready is handed out.",
        (),
    ),
    HostAction.THAW: ("Ends a freeze, unless a file freezes the host.", (Code.SET_ELSEWHERE,)),
    HostAction.DRAIN: ("Empties every pool of all that is not bound, until it is resumed.", ()),
    HostAction.RESUME: ("Ends a drain of all pools; what is set on one pool stays.", ()),
}
_ON_RESOURCES: dict[ResourceAction, tuple[str, tuple[Code, ...]]] = {
    ResourceAction.HOLD: (
        "Keeps the resource for inspection, until a date: now, or when its claim has ended.",
        (Code.RESOURCE_LEAVING,),
    ),
    ResourceAction.UNHOLD: ("Ends a hold: what is held is removed.", ()),
    ResourceAction.RETIRE: (
        "Removes a ready or held resource.",
        (Code.RESOURCE_CLAIMED, Code.RESOURCE_COMING),
    ),
}

ROUTES = (
    *(
        Route(
            "POST",
            f"/v1/pools/{{name}}/{action}",
            _on_pool(action),
            summary,
            {200: PoolJson},
            codes=(
                Code.NO_SUCH_POOL,
                *([Code.SET_ELSEWHERE] if action is PoolAction.RESUME else []),
                *BODY_CODES,
            ),
            body=_body_of(action),
            body_required=False,
        )
        for action, summary in _ON_POOLS.items()
    ),
    *(
        Route(
            "POST",
            f"/v1/{action}",
            _on_host(action),
            summary,
            {200: HostJson},
            codes=(*codes, *BODY_CODES),
            body=_body_of(action),
            body_required=False,
        )
        for action, (summary, codes) in _ON_HOST.items()
    ),
    *(
        Route(
            "POST",
            f"/v1/resources/{{id}}/{action}",
            _on_resource(action),
            summary,
            {200: ResourceJson},
            codes=(Code.NO_SUCH_RESOURCE, *codes, *BODY_CODES),
            body=_body_of(action),
            body_required=False,
        )
        for action, (summary, codes) in _ON_RESOURCES.items()
    ),
)
