"""A minimal HTTP/1.1 client over a Unix socket: one keep-alive connection, one request at a time.

It parses no more than a status line, `Content-Length` and a body, so that floors and subject are
measured through the same few microseconds of client.
"""

import asyncio
import re
from typing import cast

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class WireError(Exception):
    """The server closed the connection, or answered something this client does not speak."""


class Wire(asyncio.Protocol):
    """One connection. `ask` is never called twice at a time."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def connect(cls, socket: str) -> "Wire":
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            _, wire = await loop.create_unix_connection(cls, socket)
        return wire

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Sends the bytes of one request; returns status and body."""
        if self._transport is None or self._transport.is_closing():
            raise WireError("the connection is closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or self._answer is None or self._answer.done():
            return
        length = _LENGTH.search(self._received, 0, end + 2)
        if length is None:
            self._answer.set_exception(WireError("an answer without Content-Length"))
            return
        whole = end + 4 + int(length[1])
        if len(self._received) >= whole:
            status, body = int(self._received[9:12]), bytes(self._received[end + 4 : whole])
            del self._received[:whole]
            self._answer.set_result((status, body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or WireError("the server closed the connection"))


def encode(method: str, path: str, body: bytes = b"", *, key: str = "") -> bytes:
    """The bytes of a request as curl would send it; `key` is its Idempotency-Key."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n"
    if key:
        head += f"Idempotency-Key: {key}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body
