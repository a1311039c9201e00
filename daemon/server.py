"""The socket: from an accepted connection to a handler, and every error to a problem document.

The composition root makes one `SocketServer`, starts it before anything else is ready (requests
are parked), gives it the core when that is open, and closes it last.
"""

import asyncio
import importlib.metadata
import logging
import os
import socket
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import cache
from typing import Any

from aiohttp import web

from ..config.settings import Address, Settings
from ..policies.access import decide
from ..pools.claim import Claimant
from ..pools.ids import Ids
from ..pools.judging import Denial
from ..pools.requests import Code, Refusal
from ..pools.store import StoreError
from . import (
    approvals_api,
    claims_api,
    config_api,
    events_api,
    explain_api,
    host_api,
    inventory_api,
    operating_api,
    votes_api,
)
from .answering import Answer
from .bearer import Bearers
from .calls import NOBODY, Call, Host, Route, check_door
from .carried_votes import CarriedVotes
from .connections import (
    MAX_HEAD,
    SWEEP_EVERY,
    Connection,
    headers_too_large,
    problem_response,
)
from .denials import Denied
from .doors import Door, listen_tcp
from .event_stream import EventFeed
from .facade import Core
from .gate import Gate, stopping
from .gauges import SocketFacts
from .listener import SocketFile, adopt
from .metrics import Metrics
from .openapi import describe
from .peers import LATE, PeerNames
from .problems_http import HttpCode, Problem, of_refusal
from .routing import Router
from .shared_secrets import NoSecret, find_secret, read_secret
from .status import StatusFacts
from .webhook import Looks, Webhook

log = logging.getLogger(__name__)

MAX_METRICS_CONNECTIONS = 64
MAX_WEBHOOK_CONNECTIONS = 16
MAX_VOTES_CONNECTIONS = 64
WEBHOOK_SECRET = "stoker-webhook-secret"  # noqa: S105 - the name of a credential
ROUTES: tuple[Route, ...] = (
    *claims_api.ROUTES,
    *approvals_api.ROUTES,
    *votes_api.ROUTES,
    *inventory_api.ROUTES,
    *operating_api.ROUTES,
    *events_api.ROUTES,
    *explain_api.ROUTES,
    *config_api.ROUTES,
    *host_api.ROUTES,
)
METRICS_ROUTES: tuple[Route, ...] = (*host_api.OPEN_ROUTES, host_api.METRICS)
"""What the TCP address for metrics serves; nobody is asked who they are there."""


class SocketServer:
    def __init__(
        self,
        settings: Settings,
        ids: Ids,
        *,
        daemon_uid: int | None = None,
    ) -> None:
        self._settings = settings
        self._daemon_uid = os.geteuid() if daemon_uid is None else daemon_uid
        self._names = PeerNames()
        self.bearers = Bearers(settings.issuers)
        self._background: set[asyncio.Task[object]] = set()
        self.host = Host(
            daemon_uid=self._daemon_uid,
            gate=Gate(),
            new_id=ids.request,
            background=self._in_background,
            openapi=_description,
            carried=CarriedVotes(settings.votes_secrets),
        )
        self._file: SocketFile | None = None
        self._doors: list[Door] = []
        self._metrics: Door | None = None
        self._webhook: Door | None = None
        self._votes: Door | None = None
        self.pushes = Looks()
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self, fd: int | None = None) -> None:
        """Opens the socket, or takes over a listening one. Raises `SocketError`, `NoSecret`."""
        try:
            await self._open(fd)
        except BaseException:
            await self.close()
            raise

    async def _open(self, fd: int | None) -> None:
        if fd is None:
            self._file = SocketFile(self._settings.socket, mode=self._settings.socket_mode)
            listening = await asyncio.to_thread(self._file.open)
        else:
            listening = adopt(fd)
        dispatch = _Dispatch(self.host, Router(ROUTES), self._names, self.bearers, trusting=False)
        self._doors.append(Door(listening, dispatch, self.host, self._settings.max_connections))
        if self._settings.metrics:
            listening = listen_tcp(self._settings.metrics, "metrics", "--metrics")
            self._metrics = self._open_to_all(listening, METRICS_ROUTES, MAX_METRICS_CONNECTIONS)
        await self.host.carried.look()
        if self._settings.votes_address:
            listening = listen_tcp(self._settings.votes_address, "votes", "--votes-address")
            self._votes = self._open_to_all(listening, votes_api.ROUTES, MAX_VOTES_CONNECTIONS)
        if self._settings.webhook_address:
            await self._open_webhook(self._settings.webhook_address)
        self.bearers.start()
        self._sweeper = asyncio.create_task(self._sweep(), name="sweep of connections")

    def _open_to_all(self, listening: socket.socket, routes: tuple[Route, ...], most: int) -> Door:
        """Over TCP, where nobody is asked who they are."""
        dispatch = _Dispatch(self.host, Router(routes), self._names, self.bearers, trusting=True)
        door = Door(listening, dispatch, self.host, most)
        self._doors.append(door)
        return door

    async def _open_webhook(self, address: Address) -> None:
        secret = find_secret(self._settings.webhook_secret_file, WEBHOOK_SECRET, os.environ)
        if secret is None:
            raise NoSecret(
                "the webhook needs a secret that the Git host has too: webhook.secretFile"
            )
        await asyncio.to_thread(read_secret, secret)  # so that a start says what is wrong with it
        webhook = Webhook(secret, self.pushes, count=self._count_push, new_id=self.host.new_id)
        listening = listen_tcp(address, "webhook", "--webhook-address")
        self._webhook = Door(listening, webhook, self.host, MAX_WEBHOOK_CONNECTIONS)
        self._doors.append(self._webhook)

    def _count_push(self, outcome: str) -> None:
        if outcome == "denied":
            detail = "A notice of a push is not signed by our secret."
            self.host.denials.note(Denied(HttpCode.SIGNATURE_INVALID, detail))
        if self.host.exposition is not None:
            self.host.exposition.pushed(outcome)

    @property
    def metrics_port(self) -> int | None:
        """The TCP port that serves the metrics, once started."""
        return self._metrics.port if self._metrics is not None else None

    @property
    def webhook_port(self) -> int | None:
        """The TCP port that takes notices of pushes, once started."""
        return self._webhook.port if self._webhook is not None else None

    @property
    def votes_port(self) -> int | None:
        """The TCP port that takes votes, once started."""
        return self._votes.port if self._votes is not None else None

    def tell_status(self, status: Callable[[], StatusFacts], metrics: Metrics) -> None:
        """What `/v1/status`, `/readyz` and `/metrics` read. Called before `serve`."""
        self.host.status = status
        self.host.exposition = metrics
        metrics.gauges.status = status
        metrics.gauges.socket = self._facts

    def serve(self, core: Core) -> None:
        """The core is open: parked requests go on."""
        self.host.to_wall = core.clock.to_wall
        self.host.feed = EventFeed(
            core.events, last=core.last_event, keep=self._settings.audit_retention
        )
        self.host.gate.open(core)

    def refuse_new(self) -> None:
        """From now on every request is told that the daemon stops; followers and polls end."""
        self.host.gate.close()
        if self.host.feed is not None:
            self.host.feed.close()

    async def close(self, grace: float = 0.0) -> None:
        """Stops listening, lets requests under way finish within `grace`, then cuts them."""
        self.refuse_new()
        for door in self._doors:
            door.close()
        if self._file is not None:
            await asyncio.to_thread(self._file.remove)
        await asyncio.gather(*[door.finish(grace) for door in self._doors])
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        if self._background:
            await asyncio.wait(self._background, timeout=max(grace, 1.0))
        await self.bearers.close()
        self._names.close()
        self.host.carried.voters.close()

    def _facts(self) -> SocketFacts:
        feed = self.host.feed
        return SocketFacts(
            connections=sum(door.server.open_connections for door in self._doors),
            followers=feed.followers if feed is not None else 0,
            parked=self.host.gate.parked,
            turned_away=sum(door.turned_away for door in self._doors),
            keys_age=max([one.age for one in self.bearers.facts()], default=0.0),
        )

    def _in_background(self, work: Coroutine[Any, Any, object], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._background.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("%s failed", task.get_name(), exc_info=task.exception())

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            for door in self._doors:
                door.server.sweep()


@cache
def _description() -> bytes:
    """Made when somebody first asks: it would be a tenth of a second of every start."""
    return describe(ROUTES, importlib.metadata.version("stoker"))


class _Dispatch:
    """Takes a request to its handler. `trusting`: callers need not be known (over TCP)."""

    def __init__(
        self, host: Host, router: Router, names: PeerNames, bearers: Bearers, *, trusting: bool
    ) -> None:
        self._host = host
        self._router = router
        self._names = names
        self._bearers = bearers
        self._trusting = trusting
        self._debug = log.isEnabledFor(logging.DEBUG)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        request_id = self._host.new_id()
        response: web.StreamResponse
        try:
            response = await self._serve(request, request_id)
        except Denial as denial:  # by policies: the pools tell of it
            response = self._refuse(of_refusal(denial), request_id)
        except Refusal as refusal:
            problem = of_refusal(refusal)
            self._note(problem, request, request_id)
            response = self._refuse(problem, request_id)
        except Problem as problem:
            self._note(problem, request, request_id)
            response = self._refuse(problem, request_id)
        except StoreError as error:  # from a handler that only reads
            response = self._refuse(_unreadable(error), request_id)
        except ConnectionError:
            raise  # the caller has left: there is nobody to answer
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # the caller has left, or its time at shutdown is up
            response = self._refuse(of_refusal(stopping()), request_id)
        except Exception:
            log.exception("a request failed unexpectedly", extra={"requestId": request_id})
            response = self._refuse(_internal(), request_id)
        if self._debug:
            log.debug(
                "%s %s %d", request.method, request.path, response.status,
                extra={"requestId": request_id},
            )  # fmt: skip
        return response

    def count(self, problem: Problem) -> None:
        if self._host.exposition is not None:
            self._host.exposition.problem(problem.code)

    async def _serve(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)
        if connection.head_too_long and _head_size(request) > MAX_HEAD:
            raise headers_too_large()
        route, names, query = self._router.find(request.method, request.raw_path)
        caller = NOBODY
        if not (route.open or self._trusting):
            self._let_in(connection, route)
            caller = connection.claimant or await self._identify(connection)
            if "Authorization" in request.headers:
                caller = await self._with_token(caller, request)
        return await route.handle(Call(request, request_id, caller, self._host, names, query))

    def _let_in(self, connection: Connection, route: Route) -> None:
        """Raises `Problem` for who may not ask for this, whatever the claim."""
        verdict = connection.verdict
        if verdict is None:  # once per connection: who connected does not change
            assert connection.credentials is not None
            verdict = decide(connection.credentials.uid, self._host.daemon_uid)
            connection.verdict = verdict
        if not verdict.allowed:
            check_door(route, self._host, verdict)

    async def _identify(self, connection: Connection) -> Claimant:
        assert connection.credentials is not None
        claimant = await self._names.identify(
            connection.peer, connection.credentials, connection.accepted_at
        )
        if LATE.isdisjoint(claimant.unknown):  # else it is asked again
            connection.claimant = claimant
        return claimant

    async def _with_token(self, caller: Claimant, request: web.BaseRequest) -> Claimant:
        given = request.headers.getall("Authorization")
        if len(given) > 1:
            raise Problem(HttpCode.MALFORMED, "Send one Authorization header.")
        return replace(caller, token=await self._bearers.check(given[0]))

    def _note(self, problem: Problem, request: web.BaseRequest, request_id: str) -> None:
        if problem.code not in _DENIED:
            return
        connection = request.protocol
        assert isinstance(connection, Connection)
        caller, who = connection.claimant, connection.credentials
        if caller is None and who is not None:
            caller = Claimant(who.uid, who.gid, who.pid)
        address = request.remote or "" if caller is None else ""
        self._host.denials.note(Denied(problem.code, problem.detail, caller, address, request_id))

    def _refuse(self, problem: Problem, request_id: str) -> Answer:
        self.count(problem)
        return problem_response(problem, request_id)


_DENIED = frozenset(
    {
        Code.DENIED,
        *(HttpCode.INVALID_TOKEN, HttpCode.EXPIRED_TOKEN, HttpCode.TOKENS_NOT_ACCEPTED),
        *(HttpCode.SIGNATURE_INVALID, HttpCode.SIGNATURE_EXPIRED, HttpCode.SIGNATURE_REPEATED),
    }
)


def _head_size(request: web.BaseRequest) -> int:
    """Bytes of the header lines, with `: ` and the line's end."""
    return sum(len(name) + len(value) + 4 for name, value in request.raw_headers)


def _unreadable(error: StoreError) -> Problem:
    return Problem(
        Code.LEDGER_UNAVAILABLE, f"The ledger cannot be read: {error}; try again.", retry_after=2.0
    )


def _internal() -> Problem:
    return Problem(
        HttpCode.INTERNAL,
        "The daemon met a defect of its own and goes on; its log has the details under this"
        " requestId. Please report it.",
    )
