"""The four questions of readiness: http, tcp, exec and log, each asked once and bounded.

An answer is None (it passes) or a sentence that says what was met instead. `Unavailable` means
that this host lacks what asking needs, which says nothing about the part. Called by `readiness`.
"""

import asyncio
import errno
import os
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Protocol, cast
from urllib.parse import urlsplit

import aiohttp
import re2

from ..config.units import format_duration
from .driver import Unavailable
from .probe_program import Ended, run_program

CONCURRENCY = 64
"""Questions over the network at once; the time a question waits for its turn does not count."""
THREADS = 8
"""Programs run, and logs read, at once."""
OUR_FAULT = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOBUFS,
        errno.EADDRNOTAVAIL,
        errno.EAGAIN,
    }
)
"""Errors of the asking side. They must never make ten thousand healthy resources look dead."""


def check_url(url: str) -> str:
    """The same; `ValueError` unless it is an http or https URL with a host."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"must be a URL such as http://127.0.0.1:8080/, but is {url!r}")
    _ = parts.port  # raises ValueError when it is no port
    return url


def check_address(address: str) -> str:
    """`host:port`, with loopback as the host of a bare port; `ValueError` for anything else."""
    host, _, port = address.rpartition(":")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"must be host:port or a port, but is {address!r}")
    return f"{host or '127.0.0.1'}:{port}"


_BAD_PATTERN = cast("type[Exception]", re2.error)  # pyright: ignore[reportUnknownMemberType]


class Pattern(Protocol):
    """A compiled pattern of google-re2, which has no types of its own."""

    def search(self, text: bytes, /) -> object: ...


class LogSearch:
    """Looks for a line in a growing log, reading each byte once. Used by one thread at a time.

    A process writes `stdout.log` and `stderr.log` side by side, and programs announce themselves
    on either, so both are read.
    """

    CHUNK = 1 << 16
    """Bytes read at once, and the longest line that is looked at as a whole."""

    def __init__(self, pattern: str, path: Path) -> None:
        self._pattern = self.compile(pattern)
        self._text = pattern
        beside = path.with_name("stderr.log")
        self._ends: dict[Path, tuple[int, bytes]] = {path: (0, b""), beside: (0, b"")}

    @staticmethod
    def compile(pattern: str) -> "Pattern":
        options = re2.Options()
        options.log_errors = False
        try:
            return cast("Pattern", re2.compile(pattern.encode(), options))  # type: ignore[no-untyped-call]
        except _BAD_PATTERN as error:
            raise ValueError(f"is no regular expression (RE2 syntax): {_detail(error)}") from error

    def search(self) -> str | None:
        """Reads what is new. Blocks on the disk."""
        for path in self._ends:
            try:
                with path.open("rb") as file:
                    if self._search_file(path, file):
                        return None
            except FileNotFoundError:
                continue
        return f"no line of the log matches {self._text!r}"

    def _search_file(self, path: Path, file: BinaryIO) -> bool:
        offset, rest = self._ends[path]
        if os.fstat(file.fileno()).st_size < offset:
            offset, rest = 0, b""  # it was rotated
        file.seek(offset)
        while chunk := file.read(self.CHUNK):
            offset += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            if any(self._pattern.search(line) for line in lines) or self._pattern.search(rest):
                return True
            rest = rest[-self.CHUNK :]
            self._ends[path] = (offset, rest)
        return False


class Probes:
    """Asks; owns the HTTP session and the threads that asking needs."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._turns = asyncio.Semaphore(CONCURRENCY)
        self._threads = ThreadPoolExecutor(THREADS, "stoker-probe")
        self._programs: set[asyncio.Future[Ended]] = set()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
        await asyncio.gather(*self._programs, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def http(self, url: str, timeout: float, *, verify: bool = True) -> str | None:  # noqa: ASYNC109
        """`verify`: the certificate of an https URL must be one that this host trusts."""
        async with self._turns:
            try:
                asking = self._http_session().get(url, allow_redirects=False, ssl=verify)
                async with asyncio.timeout(timeout), asking as answer:
                    status = answer.status
                    answer.close()  # the status is enough: the body may be endless
            except TimeoutError:
                return f"{url} gave no answer within {format_duration(timeout)}"
            except (aiohttp.ClientError, OSError, ValueError) as error:
                return f"{url} {_met(error)}"
        return None if 200 <= status < 400 else f"{url} answered {status}"

    async def tcp(self, address: str, timeout: float) -> str | None:  # noqa: ASYNC109
        host, _, port = address.rpartition(":")
        async with self._turns:
            try:
                async with asyncio.timeout(timeout):
                    _reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            except TimeoutError:
                return f"{address} gave no answer within {format_duration(timeout)}"
            except OSError as error:
                return f"{address} {_met(error)}"
        writer.transport.abort()
        return None

    async def exec(self, command: Sequence[str], timeout: float) -> str | None:  # noqa: ASYNC109
        """When cancelled, the program and all that it started are killed."""
        try:
            cancel = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        except OSError as error:
            raise _unavailable(error) from error
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._threads, run_program, command, timeout, cancel)
        self._programs.add(running)
        running.add_done_callback(lambda done: self._program_ended(done, cancel))
        try:
            ended = await asyncio.shield(running)
        except OSError as error:
            if error.errno in OUR_FAULT:
                raise _unavailable(error) from error
            return f"{command[0]} cannot be run: {error.strerror or error}"
        except ValueError as error:
            return f"{command[0]} cannot be run: {error}"
        finally:
            if not running.done():
                os.eventfd_write(cancel, 1)
        return _said(command[0], ended, timeout)

    async def log(self, search: LogSearch) -> str | None:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, search.search)
        except OSError as error:
            raise _unavailable(error) from error

    def _program_ended(self, running: "asyncio.Future[Ended]", cancel: int) -> None:
        self._programs.discard(running)
        os.close(cancel)
        if not running.cancelled():
            running.exception()  # a caller that was cancelled asks no more

    def _http_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "stoker-readiness"},
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._session


def _met(error: Exception) -> str:
    """What the network said, as the end of a sentence. Raises `Unavailable` for our own fault."""
    cause = error
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
    elif isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
    if isinstance(cause, OSError) and cause.errno in OUR_FAULT:
        raise _unavailable(cause) from error
    match cause:
        case ssl.SSLCertVerificationError():
            return (
                f"has a certificate that this host does not trust ({cause.verify_message}); install "
                "its authority, or say `verify: false` to ask whoever answers"
            )
        case ssl.SSLError():
            return f"cannot be spoken to over TLS: {cause.reason or cause}"
        case ConnectionRefusedError():
            return "refused the connection"
        case ConnectionResetError() | aiohttp.ServerDisconnectedError():
            return "closed the connection without an answer"
        case aiohttp.ClientPayloadError() | aiohttp.ClientResponseError():
            return "gave an answer that is no HTTP"
        case OSError():
            return f"cannot be reached: {cause.strerror or cause}"
        case _:
            return f"cannot be asked: {cause}"


def _said(program: str, ended: Ended, timeout: float) -> str | None:
    if ended.code == 0:
        return None
    last = f": {ended.last_line}" if ended.last_line else ""
    if ended.code is None:
        return f"{program} did not end within {format_duration(timeout)}{last}"
    if ended.code < 0:
        return f"{program} was killed by signal {-ended.code}{last}"
    return f"{program} ended with exit code {ended.code}{last}"


def _unavailable(error: OSError) -> Unavailable:
    return Unavailable(f"readiness cannot be asked on this host: {error.strerror or error}")


def _detail(error: Exception) -> str:
    text = error.args[0] if error.args else error
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)
