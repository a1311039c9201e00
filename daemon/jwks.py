"""The public keys of an issuer: fetched ahead, fetched again, and kept for a while when that fails.

No claim waits for a fetch but the first ones after the start, and those whose key is not among the
known ones: an issuer may have begun to sign with a new one. Such a look is taken every
`LOOK_AGAIN_AFTER` seconds at most, however many strange tokens come.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from ..config.issuers import Issuer
from .tokens import BadKeys, KeySet, read_keys

log = logging.getLogger(__name__)

MAX_DOCUMENT = 256 * 1024
FETCH_WITHIN = 5.0
WAIT_WITHIN = 2.0
"""Seconds that a caller waits for keys that are being fetched."""
LOOK_AGAIN_AFTER = 30.0
FILE_EVERY = 10.0
"""Seconds after which a file is read again: it costs next to nothing."""
_FIRST_RETRY, LONGEST_RETRY = 2.0, 60.0

Fetch = Callable[[], Awaitable[bytes]]


class NoKeys(Exception):
    """Tokens of this issuer cannot be checked now. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What the status says of an issuer's keys."""

    issuer: str
    keys: int
    age: float
    """Seconds since they were fetched, or since the start."""
    error: str


class KeySource:
    """The keys of one issuer. `now` is steady seconds; `run` is started once and cancelled at the end."""

    def __init__(self, issuer: Issuer, fetch: Fetch, now: Callable[[], float]) -> None:
        self.issuer = issuer
        self._fetch = fetch
        self._now = now
        self._keys: KeySet | None = None
        self._document = b""
        self._fetched_at = now()
        self._tried_at: float | None = None
        self._under_way: asyncio.Task[None] | None = None
        self.error = ""

    def facts(self) -> KeyFacts:
        count = 0 if self._keys is None else len(self._keys.keys)
        return KeyFacts(self.issuer.issuer, count, self._now() - self._fetched_at, self.error)

    async def run(self) -> None:
        retry = _FIRST_RETRY
        every = self.issuer.refresh
        if isinstance(self.issuer.jwks, Path):
            every = min(every, FILE_EVERY)
        while True:
            await self._look()
            if self.error:
                pause, retry = retry, min(2 * retry, LONGEST_RETRY)
            else:
                pause, retry = every, _FIRST_RETRY
            await asyncio.sleep(min(pause, every))

    def close(self) -> None:
        if self._under_way is not None:
            self._under_way.cancel()

    async def current(self) -> KeySet:
        """Raises `NoKeys`. Waits only for the very first fetch."""
        if self._keys is None:
            await self._wait()
        keys = self._keys
        if keys is None:
            raise NoKeys(
                f"the keys of the issuer were not fetched yet: {self.error or 'no answer'}"
            )
        age = self._now() - self._fetched_at
        if self.error and age > self.issuer.max_stale:
            raise NoKeys(f"the keys of the issuer are too old, and cannot be fetched: {self.error}")
        return keys

    async def newer(self, known: KeySet) -> KeySet:
        """The keys after another look, if one is due; else those that are known."""
        tried = self._tried_at
        under_way = self._under_way is not None and not self._under_way.done()
        if under_way or tried is None or self._now() - tried >= LOOK_AGAIN_AFTER:
            await self._wait()
        return self._keys or known

    async def _wait(self) -> None:
        await asyncio.wait([self._task()], timeout=WAIT_WITHIN)

    async def _look(self) -> None:
        await asyncio.wait([self._task()])

    def _task(self) -> "asyncio.Task[None]":
        """The one look that is under way, or a new one."""
        if self._under_way is None or self._under_way.done():
            name = f"keys of {self.issuer.issuer}"
            self._under_way = asyncio.create_task(self._refresh(), name=name)
        return self._under_way

    async def _refresh(self) -> None:
        self._tried_at = self._now()
        try:
            document = await self._fetch()
            if self._keys is None or document != self._document:
                # The same document stays the same set: what was verified under it stays so.
                self._keys, self._document = read_keys(document), document
                self._tell()
        except (BadKeys, OSError, TimeoutError, aiohttp.ClientError, ValueError) as error:
            why = _why(error)
            if why != self.error:
                log.warning("the keys of %s cannot be read: %s", self.issuer.issuer, why)
            self.error = why
            return
        if self.error:
            log.warning("the keys of %s can be read again", self.issuer.issuer)
        self.error = ""
        self._fetched_at = self._now()

    def _tell(self) -> None:
        assert self._keys is not None
        log.info("%d keys of %s are known", len(self._keys.keys), self.issuer.issuer)
        if self._keys.left_out:
            log.warning(
                "%d keys of %s are left out: too weak, shared, private, or not for signing",
                self._keys.left_out,
                self.issuer.issuer,
            )


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {FETCH_WITHIN:g} s"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def fetching(issuer: Issuer) -> Fetch:
    """How the keys of an issuer are read."""
    place = issuer.jwks
    if isinstance(place, Path):
        return lambda: asyncio.to_thread(_read_file, place)
    return lambda: _get(place)


def _read_file(path: Path) -> bytes:
    with path.open("rb") as stream:
        document = stream.read(MAX_DOCUMENT + 1)
    if len(document) > MAX_DOCUMENT:
        raise BadKeys(f"{path} is larger than {MAX_DOCUMENT // 1024} KiB")
    return document


async def _get(url: str) -> bytes:
    """No redirects: the keys are where the settings say, or nowhere."""
    timeout = aiohttp.ClientTimeout(total=FETCH_WITHIN)
    headers = {"Accept": "application/json", "User-Agent": "stoker"}
    async with (
        aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
        session.get(url, allow_redirects=False) as response,
    ):
        if response.status != 200:
            raise BadKeys(f"{url} answered {response.status}")
        document = bytearray()
        async for piece in response.content.iter_chunked(16 * 1024):
            document += piece
            if len(document) > MAX_DOCUMENT:
                raise BadKeys(f"{url} gives more than {MAX_DOCUMENT // 1024} KiB")
        return bytes(document)
