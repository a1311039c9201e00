"""`/v1/events`: the audit as newline-delimited JSON, listed or followed."""

from collections.abc import Iterator
from contextlib import aclosing

from aiohttp import web
from multidict import CIMultiDict
from pydantic_core import to_json

from ..pools.requests import Code
from .answers import EventJson, GapJson
from .calls import Call, Parameter, Route
from .event_stream import Batch, EventFeed, Filters, Gap, Item, Silence
from .presentation import show_event
from .problems_http import HttpCode, Problem

NDJSON = "application/x-ndjson"
MAX_FOLLOWERS = 256
_DEFAULT_LIMIT = 1000
_MAX_LIMIT = 10_000
_MAX_SEQ = 2**62
_PIECE = 16 * 1024
"""Bytes after which a follower gets what was put together for it."""

_EVENTS = (
    Parameter(
        "since",
        "Only events with a higher number. Without it, following begins now and a list has the newest.",
        {"type": "integer", "minimum": 0},
    ),
    Parameter(
        "follow",
        "1: stay on the line and send what comes; an empty line every 15 s shows that it lives.",
        {"type": "string", "enum": ["0", "1", "false", "true"]},
    ),
    Parameter("kind", "Only kinds that begin with this, such as `claim.`."),
    Parameter("pool", "Only those of this pool."),
    Parameter("claim", "Only those of this claim."),
    Parameter("resource", "Only those of this resource."),
    Parameter("request", "Only those of the request with this id (`X-Request-Id`)."),
    Parameter(
        "limit",
        f"At most so many, when not following; {_DEFAULT_LIMIT} unless told.",
        {"type": "integer", "minimum": 0, "maximum": _MAX_LIMIT},
    ),
)


async def events(call: Call) -> web.StreamResponse:
    query = call.query(_EVENTS)
    filters = Filters(
        kind=query.text("kind"),
        pool=query.text("pool"),
        resource=query.text("resource"),
        claim=query.text("claim"),
        request=query.text("request"),
    )
    since = query.whole("since", 0, _MAX_SEQ) if query.has("since") else None
    limit = query.whole("limit", _DEFAULT_LIMIT, _MAX_LIMIT)
    follow = query.flag("follow")
    await call.host.gate.enter()
    feed = call.host.feed
    assert feed is not None
    if follow:
        return await _follow(call, feed, since, filters)
    if since is None:
        found = await feed.newest(filters, limit)
    else:
        found = list(await feed.since(since, filters, limit))
    body = b"".join([_line(event) for event in found])
    return call.answer_bytes(body, content_type=NDJSON)


async def _follow(
    call: Call, feed: EventFeed, since: int | None, filters: Filters
) -> web.StreamResponse:
    """Writes as fast as the reader reads and no faster; ends with the feed or the connection."""
    if feed.followers >= MAX_FOLLOWERS:
        raise Problem(
            HttpCode.BUSY,
            f"{MAX_FOLLOWERS} callers follow the events already; try again later, or list them"
            " without 'follow'.",
            retry_after=10.0,
        )
    headers = {
        "Content-Type": NDJSON,
        "Cache-Control": "no-store",
        "Server": "stoker",
        "X-Request-Id": call.id,
    }
    response = web.StreamResponse(headers=CIMultiDict(headers))
    async with aclosing(feed.follow(since, filters)) as batches:
        writer = await response.prepare(call.request)
        if call.request.method == "HEAD":
            return response
        assert writer is not None
        writer.send_headers()
        async for batch in batches:
            for piece in _pieces(batch):
                await response.write(piece)
    await response.write_eof()
    return response


def _pieces(batch: Batch) -> Iterator[bytes]:
    """The lines of a batch, in few writes, and never much of it ahead of the reader."""
    lines: list[bytes] = []
    size = 0
    for item in batch:
        lines.append(_line(item))
        size += len(lines[-1])
        if size >= _PIECE:
            yield b"".join(lines)
            lines, size = [], 0
    if lines:
        yield b"".join(lines)


def _line(item: Item) -> bytes:
    if isinstance(item, Silence):
        return b"\n"
    return to_json(item.line() if isinstance(item, Gap) else show_event(item)) + b"\n"


ROUTES = (
    Route(
        "GET",
        "/v1/events",
        events,
        "Lists or follows events, one JSON object a line; resumable by `since`.",
        {200: EventJson | GapJson},
        codes=(HttpCode.INVALID, HttpCode.MALFORMED, HttpCode.BUSY, Code.LEDGER_UNAVAILABLE),
        query=_EVENTS,
        media=NDJSON,
    ),
)
