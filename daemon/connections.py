"""Connections: aiohttp's protocol with the peer's identity, and with bounds on time and size.

aiohttp parses; this adds what a server for strangers needs. One sweep a second looks at all
connections instead of a timer per request: heads that come too slowly, answers that nobody
reads, and more connections than we want to keep.

The low-level server of aiohttp is used because it serves a fifth more requests than
`web.Application` here (median of interleaved runs), and because the errors of its parser can be
turned into problem documents.
"""

import asyncio
import heapq
import logging
import socket
from collections.abc import Awaitable, Callable
from time import CLOCK_BOOTTIME, clock_gettime
from typing import Any, cast

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from ..policies.access import Verdict
from ..pools.binding import Process
from ..pools.claim import Claimant
from .answering import Answer
from .peers import Credentials
from .problems_http import CONTENT_TYPE, HttpCode, Problem, raw_answer

log = logging.getLogger(__name__)

MAX_URL = 8192
MAX_FIELD = 8191
"""One less than MAX_URL, so that the parser's error tells which of the two was too long."""
MAX_HEAD = 16 * 1024
"""Bytes of all headers together."""
MAX_HEADERS = 64
MAX_BODY = 256 * 1024
HEAD_WITHIN = 10.0
"""Seconds from the first byte of a request to the end of its headers."""
BODY_WITHIN = 10.0
"""Seconds from the end of the headers to the end of the body."""
READ_WITHIN = 30.0
"""Seconds in which a caller must take at least some of an answer that does not fit the socket."""
KEEPALIVE = 300.0
"""Seconds an idle connection is kept."""
LINGER = 1.0
"""Seconds in which the rest of a refused body is read and thrown away."""
SWEEP_EVERY = 1.0
_EVICT_AT_ONCE = 64

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
NewId = Callable[[], str]


class Connection(RequestHandler):
    """One connection. `credentials` is None for a TCP peer, whom the kernel cannot name."""

    __slots__ = (
        "accepted_at",
        "at_end",
        "claimant",
        "credentials",
        "head_bytes",
        "head_since",
        "head_too_long",
        "home",
        "peer",
        "process",
        "stalled",
        "verdict",
        "waiting_bytes",
    )

    def __init__(
        self,
        server: "ConnectionServer",
        peer: socket.socket,
        credentials: Credentials | None,
        *,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=KEEPALIVE,
            tcp_keepalive=False,
            access_log=None,  # type: ignore[arg-type]  # aiohttp's way to say "no access log"
            max_line_size=MAX_URL,
            max_field_size=MAX_FIELD,
            max_headers=MAX_HEADERS,
            lingering_time=LINGER,
            auto_decompress=False,
        )
        self.home = server
        self.peer = peer
        self.credentials = credentials
        self.claimant: Claimant | None = None
        self.verdict: Verdict | None = None
        self.process: Process | None = None
        """The peer's process, once a claim was bound to it."""
        self.accepted_at = clock_gettime(CLOCK_BOOTTIME)
        """By the clock of the start times in /proc."""
        self.at_end: Callable[[], None] | None = None
        """Told when the connection has ended. While claims hang on it, it is not closed for being
        idle."""
        self.head_bytes = 0
        self.head_since: float | None = None
        self.head_too_long = False
        self.waiting_bytes = 0
        self.stalled: float | None = None

    @property
    def idle(self) -> bool:
        """No request is being handled: none has come, or its headers are not complete."""
        return self._waiter is not None and not self._waiter.done()

    @property
    def idle_until(self) -> float:
        return self._next_keepalive_close_time

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self.at_end is not None:
            self.at_end()

    def _process_keepalive(self) -> None:
        if self.at_end is not None:
            self._next_keepalive_close_time = self._loop.time() + KEEPALIVE
        super()._process_keepalive()

    def data_received(self, data: bytes) -> None:
        if not data:  # aiohttp asks itself whether something is left
            super().data_received(data)
            return
        before = self._request_count
        super().data_received(data)
        if self._request_count != before:
            self.head_too_long = self.head_bytes + len(data) > MAX_HEAD
            self.head_bytes = 0
            self.head_since = None
        elif self._waiter is not None or not before:
            # No request is at work, so this is part of a head. (Before the first request the
            # task that waits for one may not have begun.)
            self.head_bytes += len(data)
            if self.head_since is None:
                self.head_since = self._loop.time()
            if self.head_bytes > MAX_HEAD + MAX_URL:
                self.abandon(headers_too_large())

    def abandon(self, problem: Problem) -> None:
        """Tells the peer why, without a request to answer, and closes."""
        transport = self.transport
        if transport is not None:
            transport.write(raw_answer(problem, self.home.new_id()))
            self.home.on_problem(problem)
        self.force_close()

    def sweep(self, now: float, transport: asyncio.Transport) -> None:
        """Ends the connection when its request comes, or its answer leaves, too slowly.

        `transport` is given because a connection that is being closed no longer has it, and may
        wait for ever for a caller to read the last answer.
        """
        if self.head_since is not None and self.idle and now - self.head_since > HEAD_WITHIN:
            self.abandon(too_slow("headers", HEAD_WITHIN))
            return
        waiting = transport.get_write_buffer_size()
        if not waiting:
            self.stalled = None
        elif self.stalled is None or waiting < self.waiting_bytes:
            self.stalled = now
        elif now - self.stalled > READ_WITHIN:
            log.debug("a caller does not read its answer; the connection is cut")
            transport.abort()
        self.waiting_bytes = waiting

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - aiohttp's signature
        status: int = 500,  # noqa: ARG002
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Called by aiohttp for what it could not parse; everything else is answered before."""
        problem = problem_of_parser(exc, message or "")
        self.home.on_problem(problem)
        response = problem_response(problem, self.home.new_id())
        response.force_close()
        return response


class ConnectionEnd:
    """The end of a connection, for the claims that hang on it. One at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def watch(self, ended: Callable[[], None]) -> None:
        self._connection.at_end = ended
        if self._connection.transport is None:
            asyncio.get_running_loop().call_soon(self._told)

    def _told(self) -> None:
        if self._connection.at_end is not None:
            self._connection.at_end()

    def close(self) -> None:
        self._connection.at_end = None


class ConnectionServer(web.Server):
    """All connections of one listening socket."""

    def __init__(
        self,
        handler: Handler,
        *,
        new_id: NewId,
        on_problem: Callable[[Problem], None],
        max_connections: int,
    ) -> None:
        super().__init__(
            cast("Any", handler), handler_cancellation=True, request_factory=self._request
        )
        self.new_id = new_id
        self.on_problem = on_problem
        self.max_connections = max_connections
        self._busy = raw_answer(too_many_connections(max_connections), "")
        self._opening: set[asyncio.Task[Any]] = set()
        self._coming: set[socket.socket] = set()
        self._live = 0

    @property
    def open_connections(self) -> int:
        return len(self._coming) + self._live

    @property
    def present(self) -> list[Connection]:
        return cast("list[Connection]", self.connections)

    def accept(self, peer: socket.socket, credentials: Credentials | None) -> bytes | None:
        """Takes over an accepted socket; returns what to tell it when there is no room."""
        if self.open_connections >= self.max_connections and not self._evict():
            return self._busy
        self._coming.add(peer)
        task = self._loop.create_task(self._open(peer, credentials), name="open connection")
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return None

    def sweep(self) -> None:
        now = self._loop.time()
        for connection, transport in list(self._connections.items()):
            cast("Connection", connection).sweep(now, transport)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        self._coming.discard(cast("Connection", handler).peer)
        self._live += 1
        super().connection_made(handler, transport)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        self._live -= 1
        super().connection_lost(handler, exc)

    async def _open(self, peer: socket.socket, credentials: Credentials | None) -> None:
        def connection() -> Connection:
            return Connection(self, peer, credentials, loop=self._loop)

        try:
            await self._loop.connect_accepted_socket(connection, peer)
        except BaseException as error:
            peer.close()
            self._coming.discard(peer)
            if not isinstance(error, OSError):
                raise
            log.debug("an accepted connection could not be opened: %s", error)

    def _evict(self) -> bool:
        """Closes the connections that have been idle longest; False when all are at work."""
        idle = [one for one in self.present if one.idle and one.at_end is None]
        for connection in heapq.nsmallest(_EVICT_AT_ONCE, idle, key=lambda one: one.idle_until):
            connection.force_close()
        return bool(idle)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        return web.BaseRequest(
            message, payload, protocol, writer, task, self._loop, client_max_size=MAX_BODY
        )


def problem_response(problem: Problem, request_id: str) -> Answer:
    """The whole answer for a problem, with its headers."""
    headers = dict(problem.headers)
    after = problem.retry_after_header()
    if after is not None:
        headers["Retry-After"] = after
    response = Answer(
        problem.body(request_id),
        problem.status,
        request_id=request_id,
        content_type=CONTENT_TYPE,
        extra="".join([f"{name}: {value}\r\n" for name, value in headers.items()]),
    )
    if problem.close:
        response.force_close()
    return response


def problem_of_parser(error: BaseException | None, message: str) -> Problem:
    """What the HTTP parser did not like. Its words may quote the request, so none are repeated."""
    if isinstance(error, LineTooLong):
        return headers_too_large() if MAX_FIELD in error.args else uri_too_long()
    if isinstance(error, HttpProcessingError) and "Too many headers" in message:
        return headers_too_large()
    return Problem(
        HttpCode.MALFORMED,
        "The request is not well-formed HTTP/1.1; compare it with what 'curl -v --unix-socket'"
        " sends.",
        close=True,
    )


def headers_too_large() -> Problem:
    return Problem(
        HttpCode.HEADERS_TOO_LARGE,
        f"The headers are larger than {MAX_HEAD // 1024} KiB in all, {MAX_FIELD} bytes in one, or"
        f" {MAX_HEADERS} in number; send fewer.",
        close=True,
    )


def uri_too_long() -> Problem:
    return Problem(
        HttpCode.URI_TOO_LONG,
        f"The address is longer than {MAX_URL} bytes; shorten it.",
        close=True,
    )


def too_slow(what: str, within: float) -> Problem:
    return Problem(
        HttpCode.TOO_SLOW,
        f"The {what} did not arrive within {within:g} s; send the request in one go.",
        close=True,
    )


def too_many_connections(limit: int) -> Problem:
    return Problem(
        HttpCode.BUSY,
        f"All {limit} connections are at work; close those that are not needed and try again.",
        close=True,
    )
