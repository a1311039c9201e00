"""The addresses at which the daemon listens, each with its connections. Opened and closed by `server`."""

import socket
from typing import Protocol

from aiohttp import web

from ..config.settings import Address
from .calls import Host
from .connections import ConnectionServer
from .listener import AcceptLoop, SocketError, turn_away
from .peers import credentials_of
from .problems_http import HttpCode, Problem, raw_answer

_BACKLOG = 64


class Answers(Protocol):
    """Who answers what comes through a door."""

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse: ...

    def count(self, problem: Problem, /) -> None: ...


class Door:
    """A listening socket with its connections."""

    def __init__(
        self, listening: socket.socket, dispatch: Answers, host: Host, max_connections: int
    ) -> None:
        self.server = ConnectionServer(
            dispatch, new_id=host.new_id, on_problem=dispatch.count, max_connections=max_connections
        )
        self._unix = listening.family == socket.AF_UNIX
        self.port = None if self._unix else int(listening.getsockname()[1])
        self._no_room = 0
        no_descriptor = Problem(
            HttpCode.BUSY, "The daemon has no file descriptor left for this connection; try again."
        )
        self._accepting = AcceptLoop(listening, self._accepted, raw_answer(no_descriptor, ""))

    @property
    def turned_away(self) -> int:
        return self._no_room + self._accepting.refused

    def close(self) -> None:
        self._accepting.close()

    async def finish(self, grace: float) -> None:
        self.server.pre_shutdown()
        await self.server.shutdown(grace)

    def _accepted(self, connection: socket.socket) -> None:
        try:
            credentials = credentials_of(connection) if self._unix else None
        except OSError:
            connection.close()
            return
        refused = self.server.accept(connection, credentials)
        if refused is not None:
            self._no_room += 1
            turn_away(connection, refused)


def listen_tcp(address: Address, what: str, flag: str) -> socket.socket:
    """`what` is the address for, and `flag` names it. Raises `SocketError`."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise SocketError(
            f"The {what} address {address.host}:{address.port} cannot be opened:"
            f" {error.strerror}; choose another with {flag}."
        ) from error
    return listening
