"""`Authorization: Bearer …`: from the header of a request to what its token says of the caller.

A token that was verified is remembered by its hash, until it expires or the keys of its issuer change,
so that a claim does not pay for the signature again.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..config.issuers import Issuer
from ..pools.claim import Token
from .jwks import KeyFacts, KeySource, NoKeys, fetching
from .problems_http import HttpCode, Problem
from .tokens import BadToken, KeySet, counts_from, peek, verify

REMEMBERED = 4096
_CHALLENGE = 'Bearer realm="stoker"'


@dataclass(frozen=True, slots=True)
class _Known:
    token: Token
    keys: KeySet
    source: KeySource
    counts_from: float


class Bearers:
    """Checks tokens. `wall` and `steady` are seconds; `start` and `close` belong to the event loop."""

    def __init__(
        self,
        issuers: Sequence[Issuer],
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sources = {
            issuer.issuer: KeySource(issuer, fetching(issuer), steady) for issuer in issuers
        }
        self._wall = wall
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """The keys are fetched now, before anybody asks for them."""
        self._tasks = [
            asyncio.create_task(source.run(), name=f"keys of {name}")
            for name, source in self._sources.items()
        ]

    async def close(self) -> None:
        for source in self._sources.values():
            source.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def facts(self) -> list[KeyFacts]:
        return [source.facts() for source in self._sources.values()]

    async def check(self, header: str) -> Token:
        """The header's value. Raises `Problem`, which quotes nothing of it."""
        kind, _, text = header.partition(" ")
        text = text.strip()
        if kind.lower() != "bearer" or not text:
            raise _refused(BadToken("is missing: send 'Authorization: Bearer TOKEN'"))
        if not self._sources:
            raise Problem(
                HttpCode.TOKENS_NOT_ACCEPTED,
                "A token was sent, and this daemon accepts none: 'identity.issuers' is not set in its"
                " settings. Leave the token out, or have its issuer added.",
                headers={"WWW-Authenticate": _CHALLENGE},
            )
        try:
            return await self._check(text)
        except BadToken as bad:
            raise _refused(bad) from None
        except NoKeys as none:
            raise Problem(
                HttpCode.KEYS_UNAVAILABLE,
                f"The token cannot be checked now: {none}.",
                retry_after=5.0,
            ) from None

    async def _check(self, text: str) -> Token:
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
        now = self._wall()
        known = self._known.get(digest)
        if (
            known is not None
            and known.counts_from <= now < known.token.expires_at
            and await known.source.current() is known.keys
        ):
            self._known.move_to_end(digest)
            return known.token
        seen = peek(text)
        source = self._sources.get(seen.issuer)
        if source is None:
            raise BadToken("is of an issuer that is not accepted here (identity.issuers)")
        keys = await source.current()
        try:
            token = verify(text, seen, source.issuer, keys, now)
        except BadToken as bad:
            if not bad.unknown_key:
                raise
            newer = await source.newer(keys)
            if newer is keys:
                raise
            keys = newer
            token = verify(text, seen, source.issuer, keys, now)
        self._remember(
            digest, _Known(token, keys, source, counts_from(token.claims, source.issuer.leeway))
        )
        return token

    def _remember(self, digest: bytes, known: _Known) -> None:
        self._known[digest] = known
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


def _refused(bad: BadToken) -> Problem:
    return Problem(
        HttpCode.EXPIRED_TOKEN if bad.expired else HttpCode.INVALID_TOKEN,
        f"The token {bad}.",
        headers={"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'},
    )
