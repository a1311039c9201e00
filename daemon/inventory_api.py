"""`/v1/pools` and `/v1/resources`: what there is."""

from collections.abc import Iterator

from aiohttp import web

from ..pools.ids import ResourceId
from ..pools.lifecycle import ResourceState
from ..pools.requests import Code, Refusal
from .answers import ResourceJson, ResourcesJson
from .calls import Call, Parameter, Route, for_callers, paced
from .claims_api import DEFAULT_LIMIT, LABEL, LIMIT, MAX_LIMIT, POOL, has_labels
from .pool_answers import PoolJson, PoolsJson
from .presentation import show_pool, show_resource
from .problems_http import HttpCode

_STATES = [state.value for state in ResourceState if state is not ResourceState.GONE]
_STATE = Parameter("state", "Only those in this state.", {"type": "string", "enum": _STATES})
_POOLS = (LABEL, LIMIT)
_RESOURCES = (POOL, _STATE, LABEL, LIMIT)


async def list_pools(call: Call) -> web.StreamResponse:
    query = call.query(_POOLS)
    labels = query.labels()
    limit = query.whole("limit", DEFAULT_LIMIT, MAX_LIMIT)
    core = await call.host.gate.enter()

    def wanted() -> Iterator[PoolJson | None]:
        for pool in paced(core.fleet.pools()):
            if pool is None:
                yield None
            elif has_labels(pool.labels, labels):
                yield show_pool(pool, core.clock.to_wall)

    return await call.answer_list(wanted(), limit)


async def show_one_pool(call: Call) -> web.StreamResponse:
    name = call.name(Code.NO_SUCH_POOL)
    core = await call.host.gate.enter()
    pool = core.fleet.pool(name)
    if pool is None:
        known = ", ".join([one.name for one in core.fleet.pools()][:20]) or "none"
        raise Refusal(Code.NO_SUCH_POOL, f"There is no pool {name}; the pools are: {known}.")
    return call.answer(show_pool(pool, core.clock.to_wall))


async def list_resources(call: Call) -> web.StreamResponse:
    query = call.query(_RESOURCES)
    pool = query.text("pool")
    state = query.one_of("state", _STATES)
    labels = query.labels()
    limit = query.whole("limit", DEFAULT_LIMIT, MAX_LIMIT)
    core = await call.host.gate.enter()

    def wanted() -> Iterator[ResourceJson | None]:
        for resource in paced(core.fleet.resources()):
            if resource is None:
                yield None
            elif (
                pool in {"", resource.pool}
                and state in {"", resource.state.value}
                and has_labels(resource.labels, labels)
            ):
                yield show_resource(resource, core.clock.to_wall, parts=False)

    return await call.answer_list(wanted(), limit)


async def show_one_resource(call: Call) -> web.StreamResponse:
    name = call.name(Code.NO_SUCH_RESOURCE)
    core = await call.host.gate.enter()
    resource = core.fleet.resource(ResourceId(name))
    if resource is None:
        raise Refusal(
            Code.NO_SUCH_RESOURCE,
            f"There is no resource {name}: it never was, or its absence is proved;"
            f" 'GET /v1/events?resource={name}' tells its life.",
        )
    return call.answer(show_resource(resource, core.clock.to_wall, parts=True))


_LIST_CODES = (HttpCode.INVALID, HttpCode.MALFORMED)

ROUTES = (
    Route(
        "GET",
        "/v1/pools",
        list_pools,
        "Lists the pools with their figures.",
        {200: PoolsJson},
        door=for_callers,
        codes=_LIST_CODES,
        query=_POOLS,
    ),
    Route(
        "GET",
        "/v1/pools/{name}",
        show_one_pool,
        "Shows a pool.",
        {200: PoolJson},
        door=for_callers,
        codes=(Code.NO_SUCH_POOL,),
    ),
    Route(
        "GET",
        "/v1/resources",
        list_resources,
        "Lists resources, without their parts.",
        {200: ResourcesJson},
        codes=_LIST_CODES,
        query=_RESOURCES,
    ),
    Route(
        "GET",
        "/v1/resources/{id}",
        show_one_resource,
        "Shows a resource with its parts, without secrets.",
        {200: ResourceJson},
        codes=(Code.NO_SUCH_RESOURCE,),
    ),
)
