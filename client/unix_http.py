"""HTTP/1.1 over a Unix socket for the synchronous client: kept connections, deadlines, streams."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from .requests import Request
from .retrying import Lost

KEPT = 8
"""Idle connections kept for the next request."""
MOST = 64 * 1024 * 1024
"""Bytes of one answer: more is no answer of a daemon of ours."""


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: dict[str, str]
    """With lower-case names."""
    body: bytes


class UnixConnection(http.client.HTTPConnection):
    """`http.client` with another way to connect."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("stoker", timeout=timeout)
        self.path = path
        self.used = False

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(self.path)
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
        self._idle: list[UnixConnection] = []
        self._lock = threading.Lock()

    def send(self, request: Request) -> Reply:
        """One attempt. Raises `Lost`, or TimeoutError when the answer is late."""
        connection = self._take()
        started = time.monotonic()
        try:
            response = self._begin(connection, request)
            body = _read_until(connection, response, started + request.timeout)
            reply = Reply(response.status, _headers(response), body)
        except TimeoutError:
            connection.close()
            raise
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _lost(error, connection) from error
        except BaseException:
            connection.close()
            raise
        connection.used = True
        self._give_back(connection, response)
        return reply

    def stream(self, request: Request) -> Iterator[bytes | Reply]:
        """Yields the lines of an endless answer as they come, or the one `Reply` that refuses it."""
        connection = UnixConnection(self.path, request.timeout)
        try:
            response = self._begin(connection, request)
            if response.status != 200:
                yield Reply(response.status, _headers(response), response.read(MOST))
                return
            connection.limit(None)
            while line := response.readline(MOST):
                yield line
            raise Lost("the stream ended", connected=True)
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException) as error:
            raise _lost(error, connection) from error
        finally:
            connection.close()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _begin(
        self, connection: UnixConnection, request: Request
    ) -> http.client.HTTPResponse:
        connection.limit(request.timeout)
        headers = {"Accept": "application/json", **request.headers}
        connection.request(request.method, request.path, request.body or None, headers)
        return connection.getresponse()

    def _take(self) -> UnixConnection:
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


def _read_until(
    connection: UnixConnection, response: http.client.HTTPResponse, deadline: float
) -> bytes:
    """The whole body, by one deadline: a server that sends a byte now and then is late too."""
    chunks: list[bytes] = []
    size = 0
    while not response.isclosed():
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.limit(left)
        chunk = response.read1(65536)
        if not chunk:
            break
        chunks.append(chunk)
        size += len(chunk)
        if size > MOST:
            raise Lost("the answer is too large", connected=True)
    return b"".join(chunks)


def _headers(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


def _lost(error: Exception, connection: UnixConnection) -> Lost:
    unreachable = isinstance(error, FileNotFoundError | ConnectionRefusedError | PermissionError)
    stale = connection.used and isinstance(
        error, http.client.RemoteDisconnected | BrokenPipeError | ConnectionResetError
    )
    why = (error.strerror if isinstance(error, OSError) else None) or str(error) or "cut off"
    return Lost(why, connected=not unreachable, stale=stale)
