"""Whole answers, written in one piece.

aiohttp's own `Response` prepares headers in a mapping, then serialises and writes them; on the
path of every claim that is a third of the library's own time. An answer of ours has few headers,
all known, so it is one formatted string.
"""

import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

import orjson
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_exceptions import ClientConnectionResetError
from pydantic_core import to_json

_REASONS = {status.value: status.phrase for status in HTTPStatus}
JSON = "application/json"


def encode(value: object) -> bytes:
    """JSON. What orjson refuses (integers beyond 64 bits, lone surrogates) also works."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return to_json(value)


class Answer(web.StreamResponse):
    """A status, a few headers and a body. `extra` has whole header lines, each with its CRLF.

    The base class is there for its type alone: all that aiohttp calls is defined here, and none of
    the base's state is made.
    """

    def __init__(
        self,
        body: bytes,
        status: int = 200,
        *,
        request_id: str,
        content_type: str = JSON,
        extra: str = "",
    ) -> None:
        self._bytes = body
        self._code = status
        self._extra = extra
        self._content_type_line = content_type
        self._request_id = request_id
        self._closing = False
        self._stays = True
        self._written = False

    @property
    def status(self) -> int:
        return self._code

    @property
    def prepared(self) -> bool:
        return self._written

    @property
    def keep_alive(self) -> bool:
        return self._stays

    def force_close(self) -> None:
        """The connection ends after this answer."""
        self._closing = True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Writes everything. Raises `ConnectionError` when the caller has left."""
        if self._written:
            return None
        self._written = True
        self._stays = request.keep_alive and not self._closing
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("the caller has left")
        head = self._head(old=request.version < (1, 1))
        transport.write(head if request.method == "HEAD" else head + self._bytes)
        if request.protocol.writing_paused:
            await request.writer.drain()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write; aiohttp calls it after `prepare`."""
        assert not data

    def _head(self, *, old: bool) -> bytes:
        connection = ""
        if not self._stays:
            connection = "Connection: close\r\n"
        elif old:
            connection = "Connection: keep-alive\r\n"
        return (
            f"HTTP/1.1 {self._code} {_REASONS[self._code]}\r\n"
            f"Content-Type: {self._content_type_line}\r\n"
            f"Content-Length: {len(self._bytes)}\r\n"
            f"X-Request-Id: {self._request_id}\r\n"
            f"{self._extra}{connection}{_rest(int(time.time()))}"
        ).encode("ascii")


@lru_cache(maxsize=1)
def _rest(now: int) -> str:
    """The lines that are the same for all answers of a second."""
    return (
        f"Cache-Control: no-store\r\nDate: {formatdate(now, usegmt=True)}\r\nServer: stoker\r\n\r\n"
    )
