"""HTTP/1.1 over a Unix socket for the synchronous client: kept connections, deadlines, streams."""

import http.client
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

from .documents import Reply
from .requests import SILENCE, Request
from .retrying import Lost

KEPT = 8
"""Idle connections kept for the next request."""
LONGEST_LINE = 16 * 1024 * 1024
"""Bytes of one event."""


class UnixConnection(http.client.HTTPConnection):
    """`http.client` with another way to connect."""

    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("stoker", timeout=timeout)
        self.path = path
        self.reached = False
        """Somebody listened."""
        self.used = False
        """It carried an answer before, so the daemon may have closed it in the meantime."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(self.path)
            self.reached = True
        except BaseException:
            self.sock.close()
            raise

    def limit(self, timeout: float | None) -> None:
        self.timeout = timeout
        if self.sock is not None:  # pyright: ignore[reportUnnecessaryComparison]
            self.sock.settimeout(timeout)


class Transport:
    """Sends requests; safe for several threads. Each request has a connection for itself."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._process = os.getpid()
        self._idle: list[UnixConnection] = []
        self._lock = threading.Lock()

    def send(self, request: Request) -> Reply:
        """One attempt. Raises `Lost`, or TimeoutError when the answer is late."""
        connection = UnixConnection(self.path, 0) if request.stays else self._take()
        try:
            response = self._begin(connection, request)
            reply = Reply(response.status, _headers(response), response.read())
        except TimeoutError:
            connection.close()
            raise
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _lost(error, connection) from error
        except BaseException:  # interrupted: the daemon must see that nobody is on the line
            connection.close()
            raise
        connection.used = True
        if request.stays and reply.status < 300:
            return replace(reply, line=connection)
        self._give_back(connection, response)
        return reply

    def stream(self, request: Request) -> Iterator[bytes | Reply]:
        """Yields an empty line once begun, then the lines; or the one `Reply` that refuses it."""
        connection = UnixConnection(self.path, request.timeout)
        begun = False
        try:
            response = self._begin(connection, request)
            if response.status != 200:
                yield Reply(response.status, _headers(response), response.read())
                return
            connection.limit(SILENCE)
            begun = True
            yield b""
            while line := response.readline(LONGEST_LINE):
                yield line
            raise Lost("the stream ended", connected=True)
        except TimeoutError:
            if not begun:
                raise
            raise Lost("nothing was heard any more", connected=True) from None
        except (OSError, http.client.HTTPException) as error:
            raise _lost(error, connection) from error
        finally:
            connection.close()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def __del__(self) -> None:
        # `with Stoker().claim(…)` is meant to be enough: nobody is left who could close it.
        for connection in self._idle:
            connection.close()

    def _begin(self, connection: UnixConnection, request: Request) -> http.client.HTTPResponse:
        connection.limit(request.timeout)
        headers = {"Accept": "application/json", **request.headers}
        connection.request(request.method, request.path, request.body or None, headers)
        return connection.getresponse()

    def _take(self) -> UnixConnection:
        if self._process != os.getpid():
            # A fork: these connections are our parent's, and its lock may be held for ever.
            self._begin_anew()
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return UnixConnection(self.path, 0)

    def _give_back(self, connection: UnixConnection, response: http.client.HTTPResponse) -> None:
        with self._lock:
            if not response.will_close and len(self._idle) < KEPT:
                self._idle.append(connection)
                return
        connection.close()


def _headers(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


def _lost(error: Exception, connection: UnixConnection) -> Lost:
    stale = connection.used and isinstance(
        error, http.client.RemoteDisconnected | BrokenPipeError | ConnectionResetError
    )
    # EAGAIN: the queue of connections not yet accepted is full, so somebody does listen.
    reached = connection.reached or isinstance(error, BlockingIOError)
    return Lost(why_lost(error), connected=reached, stale=stale)


def why_lost(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or "cut off"
