"""What the daemon says of itself: status, health, readiness, metrics, and its own description."""

import asyncio

from aiohttp import web

from ..pools.requests import Code, Refusal
from .calls import Call, Route
from .gate import stopping
from .status_answers import HealthJson, StatusJson, SyncJson
from .status_presentation import show_status, show_sync

SYNC_WITHIN = 60.0
"""Seconds that a caller waits until a new configuration is applied or refused."""
METRICS_TEXT = "text/plain"


async def status(call: Call) -> web.StreamResponse:
    """Also while the daemon starts: what keeps it from being ready is asked for most then."""
    facts = call.host.status
    if facts is None:
        await call.host.gate.enter()
        facts = call.host.status
        assert facts is not None
    return call.answer(show_status(facts(), call.host.to_wall))


async def sync(call: Call) -> web.StreamResponse:
    """Looks at the directory, or asks the repository, now instead of at the next poll.

    Also while the daemon starts: a first configuration that cannot be used is mended then.
    """
    host = call.host
    if host.sync is None or host.gate.stopping:
        await host.gate.enter()
    assert host.sync is not None
    assert host.status is not None
    looking = asyncio.ensure_future(host.sync(SYNC_WITHIN))
    forget = host.gate.on_close(looking.cancel)  # a stop does not wait for a repository
    try:
        done = await looking
    except asyncio.CancelledError:
        if not host.gate.stopping:
            raise
        raise stopping() from None
    finally:
        looking.cancel()
        forget()
    return call.answer(show_sync(host.status(), host.to_wall, done=done))


async def health(call: Call) -> web.StreamResponse:
    """The loop turns; that is all that liveness means."""
    return call.answer(HealthJson(status="ok"))


async def readiness(call: Call) -> web.StreamResponse:
    reasons = _not_ready_because(call)
    if not reasons:
        return call.answer(HealthJson(status="ok"))
    return call.answer(HealthJson(status="not ready", reasons=reasons), 503)


def _not_ready_because(call: Call) -> list[str]:
    host = call.host
    if host.gate.stopping:
        return ["the daemon is stopping"]
    if host.gate.core is None or host.status is None:
        return ["the daemon is starting"]
    facts = host.status()
    return [] if facts.ready else list(facts.reasons) or ["no reason is given"]


async def metrics(call: Call) -> web.StreamResponse:
    exposition = call.host.exposition
    if exposition is None:
        raise Refusal(Code.STARTING, "The daemon is still starting; there are no metrics yet.")
    body, content_type = await exposition.render(call.request.headers.get("Accept", ""))
    return call.answer_bytes(body, content_type=content_type)


async def openapi(call: Call) -> web.StreamResponse:
    return call.answer_bytes(await asyncio.to_thread(call.host.openapi))


OPEN_ROUTES = (
    Route("GET", "/healthz", health, "Says that the daemon runs.", {200: HealthJson}, open=True),
    Route(
        "GET",
        "/readyz",
        readiness,
        "Says whether the ledger is open and a configuration is applied; 503 with reasons if not.",
        {200: HealthJson, 503: HealthJson},
        open=True,
    ),
)
METRICS = Route(
    "GET",
    "/metrics",
    metrics,
    "Metrics for Prometheus.",
    {200: None},
    codes=(Code.STARTING,),
    gated=False,
    media=METRICS_TEXT,
)
ROUTES = (
    Route("GET", "/v1/status", status, "Shows the daemon's own state.", {200: StatusJson}),
    Route(
        "POST",
        "/v1/config/sync",
        sync,
        "Looks for a new configuration now, and says what came of it.",
        {200: SyncJson},
    ),
    *OPEN_ROUTES,
    METRICS,
    Route(
        "GET",
        "/openapi.json",
        openapi,
        "Describes this API (OpenAPI 3.1).",
        {200: dict},
        open=True,
    ),
)
