"""HTTP/1.1 over a Unix socket for asyncio: as much of RFC 9112 as an answer needs.

An answer ends by its Content-Length, by its last chunk, or with the connection. Trailers are
read and dropped; 1xx answers are passed over. Anything else that does not fit is `Lost`.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

from .documents import Reply
from .requests import SILENCE, Request
from .retrying import Lost

KEPT = 8
"""Idle connections kept for the next request."""
LONGEST_LINE = 16 * 1024 * 1024
"""Bytes of one line: of a header, or of an event."""


class Malformed(Exception):
    """The answer is no HTTP/1.1."""


@dataclass(slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    used: bool = False

    def close(self) -> None:
        self.writer.close()


@dataclass(frozen=True, slots=True)
class _Head:
    status: int
    headers: dict[str, str]
    method: str

    @property
    def bodiless(self) -> bool:
        return self.method == "HEAD" or self.status in {204, 304}

    @property
    def chunked(self) -> bool:
        return self.headers.get("transfer-encoding", "").lower().endswith("chunked")

    @property
    def length(self) -> int | None:
        text = self.headers.get("content-length")
        if text is None:
            return None
        if not text.isascii() or not text.isdigit():
            raise Malformed(f"Content-Length {text[:40]!r}")
        return int(text)

    @property
    def keeps_alive(self) -> bool:
        ends = self.bodiless or self.chunked or self.length is not None
        return ends and "close" not in self.headers.get("connection", "").lower()


class AsyncTransport:
    """Sends requests, each with a connection for itself. For one event loop at a time."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._idle: list[_Connection] = []
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None
        """The process and the loop that the idle connections belong to."""

    async def send(self, request: Request) -> Reply:
        """One attempt. Raises `Lost`, or TimeoutError when the answer is late."""
        async with asyncio.timeout(request.timeout):
            kept = None if request.stays else self._take()
            connection = kept or await self._connect()
            try:
                head = await _exchange(connection, request)
                body = b"".join([chunk async for chunk in _body(connection.reader, head)])
            except (OSError, EOFError, Malformed) as error:
                connection.close()
                stale = connection.used and isinstance(error, OSError | EOFError)
                raise Lost(_why(error), connected=True, stale=stale) from error
            except BaseException:  # cancelled: the daemon must see that nobody is on the line
                connection.close()
                raise
        connection.used = True
        if request.stays and head.status < 300:
            return Reply(head.status, head.headers, body, connection)
        if head.keeps_alive and len(self._idle) < KEPT:
            self._idle.append(connection)
        else:
            connection.close()
        return Reply(head.status, head.headers, body)

    async def stream(self, request: Request) -> AsyncIterator[bytes | Reply]:
        """Yields an empty line once begun, then the lines; or the one `Reply` that refuses it."""
        async with asyncio.timeout(request.timeout):
            connection = await self._connect()
        try:
            async with asyncio.timeout(request.timeout):
                head = await _exchange(connection, request)
            if head.status != 200:
                body = b"".join([chunk async for chunk in _body(connection.reader, head)])
                yield Reply(head.status, head.headers, body)
                return
            yield b""
            rest = b""
            body_chunks = _body(connection.reader, head)
            while chunk := await _next_within(body_chunks, SILENCE):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield line
            raise Lost("the stream ended", connected=True)
        except (OSError, EOFError, Malformed) as error:
            if isinstance(error, TimeoutError):
                raise
            raise Lost(_why(error), connected=True) from error
        finally:
            connection.close()

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        for connection in idle:
            try:
                await connection.writer.wait_closed()
            except OSError:
                continue

    def _take(self) -> _Connection | None:
        home = (os.getpid(), asyncio.get_running_loop())
        if self._home != home:  # a fork, or another `asyncio.run`: these are of no use here
            self._home, self._idle = home, []
        return self._idle.pop() if self._idle else None

    async def _connect(self) -> _Connection:
        try:
            streams = await asyncio.open_unix_connection(self.path, limit=LONGEST_LINE)
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise
            full = isinstance(error, BlockingIOError)
            raise Lost(_why(error), connected=full) from error
        return _Connection(*streams)


async def _next_within(chunks: AsyncIterator[bytes], limit: float) -> bytes:
    """The next piece; empty at the end. Raises `Lost` after `limit` seconds of silence."""
    try:
        async with asyncio.timeout(limit):
            return await anext(chunks, b"")
    except TimeoutError:
        raise Lost("nothing was heard any more", connected=True) from None


async def _exchange(connection: _Connection, request: Request) -> _Head:
    headers = {
        "Host": "stoker",
        "Accept": "application/json",
        **request.headers,
        **({"Content-Length": str(len(request.body))} if request.method == "POST" else {}),
    }
    lines = [f"{request.method} {request.path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join(lines) + "\r\n\r\n"
    connection.writer.write(head.encode("latin-1") + request.body)
    await connection.writer.drain()
    while True:
        answer = await _read_head(connection.reader, request.method)
        if answer.status >= 200:
            return answer


async def _read_head(reader: asyncio.StreamReader, method: str) -> _Head:
    version, _, rest = (await _line(reader)).partition(" ")
    status = rest[:3]
    if not version.startswith("HTTP/1.") or not status.isdigit():
        raise Malformed("no status line")
    headers: dict[str, str] = {}
    while line := await _line(reader):
        name, colon, value = line.partition(":")
        if not colon:
            raise Malformed("a header without a colon")
        headers[name.strip().lower()] = value.strip()
    return _Head(int(status), headers, method)


async def _body(reader: asyncio.StreamReader, head: _Head) -> AsyncIterator[bytes]:
    if head.bodiless:
        return
    if head.chunked:
        async for chunk in _chunks(reader):
            yield chunk
    elif (length := head.length) is not None:
        yield await reader.readexactly(length)
    else:
        while chunk := await reader.read(65536):
            yield chunk


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        size_text = (await _line(reader)).partition(";")[0].strip()
        try:
            size = int(size_text, 16)
        except ValueError:
            raise Malformed(f"chunk size {size_text[:40]!r}") from None
        if size == 0:
            while await _line(reader):
                continue
            return
        yield await reader.readexactly(size)
        if await _line(reader):
            raise Malformed("a chunk that is longer than it says")


async def _line(reader: asyncio.StreamReader) -> str:
    try:
        line = await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError:
        raise Malformed("a line that is too long") from None
    return line.decode("latin-1").rstrip("\r\n")


def _why(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "cut off"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or "cut off"
