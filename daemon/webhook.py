"""The listener for pushes: a Git host says that something is new, and the daemon looks now.

Nothing of what is sent is used: a notice that is signed makes the daemon look, as `stoker sync` does.
So a notice that is replayed, late or about another branch costs one look. Notices that come while it
looks make one look more, however many they are. Whoever cannot sign learns nothing.

GitHub and whoever does as it does sign the body (`X-Hub-Signature-256`), Gitea and Forgejo too, under
other names; GitLab sends the secret itself (`X-Gitlab-Token`), which is why anything but loopback
belongs behind a proxy that ends TLS.
"""

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Protocol

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from .answering import Answer
from .connections import BODY_WITHIN
from .problems_http import Problem
from .shared_secrets import NoSecret, read_secret

log = logging.getLogger(__name__)

LARGEST = 1024 * 1024
"""Bytes of a notice. What is larger is refused, and found by the next poll."""
LOOK_WITHIN = 60.0
LOOK_EVERY = 1.0
"""Seconds between the end of a look and the next one that notices make."""
WARN_EVERY = 60.0
_SIGNED = ("X-Hub-Signature-256", "X-Gitea-Signature", "X-Forgejo-Signature", "X-Gogs-Signature")
_PREFIX = "sha256="
_TOKEN = "X-Gitlab-Token"  # noqa: S105 - the name of a header


class Count(Protocol):
    def __call__(self, outcome: str, /) -> None:
        """outcome: accepted | denied | malformed | failed"""


def claims_to_be_signed(headers: Mapping[str, str]) -> bool:
    return any(name in headers for name in (*_SIGNED, _TOKEN))


def is_signed(headers: Mapping[str, str], secret: bytes, digest: str) -> bool:
    """Whether one of the headers proves that its sender has the secret.

    `digest`: HMAC-SHA256 of the body, in hexadecimal. Every comparison takes the same time.
    """
    proved = hmac.compare_digest(headers.get(_TOKEN, "").encode(), secret)
    for name in _SIGNED:
        said = headers.get(name, "").removeprefix(_PREFIX).lower()
        proved |= hmac.compare_digest(said.encode(), digest.encode())
    return proved


class Looks:
    """One look at a time, and one more for all notices that came meanwhile."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()

    def ask(self) -> None:
        self._asked.set()

    async def run(self, sync: Callable[[float], Awaitable[bool]]) -> None:
        """Runs until cancelled. `sync` is what `stoker sync` calls."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await sync(LOOK_WITHIN)
            await asyncio.sleep(LOOK_EVERY)


class Webhook:
    """Answers what comes to the address of the webhook."""

    def __init__(
        self, secret: Path, looks: Looks, *, count: Count, new_id: Callable[[], str]
    ) -> None:
        self._secret = secret
        self._looks = looks
        self._count = count
        self._new_id = new_id
        self._denied = 0
        self._warned_at = float("-inf")

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            status, outcome = await self._judge(request)
        except ConnectionError:
            raise
        except Exception:
            log.exception("a notice of a push failed unexpectedly")
            status, outcome = 500, "failed"
        self._count(outcome)
        answer = Answer(b"", status, request_id=self._new_id(), content_type="text/plain")
        if status != 202:
            answer.force_close()  # what is left of a body that was not read is not a request
        return answer

    def count(self, _problem: Problem) -> None:
        """Told of what was no HTTP."""
        self._count("malformed")

    async def _judge(self, request: web.BaseRequest) -> tuple[int, str]:
        """The status, and what it counts as."""
        if request.method != "POST":
            return 405, "malformed"
        if not claims_to_be_signed(request.headers):
            return self._deny()
        try:
            secret = await asyncio.to_thread(read_secret, self._secret)
        except NoSecret as error:
            log.error("a push is not looked for: %s", error)  # noqa: TRY400 - expected, no traceback
            return 503, "failed"
        if (request.content_length or 0) > LARGEST:
            return 413, "malformed"
        mac, size = hmac.new(secret, digestmod="sha256"), 0
        try:
            async with asyncio.timeout(BODY_WITHIN):
                async for chunk in request.content.iter_any():
                    size += len(chunk)
                    if size > LARGEST:
                        return 413, "malformed"
                    mac.update(chunk)
        except TimeoutError:
            return 408, "malformed"
        except (HttpProcessingError, web.RequestPayloadError):
            return 400, "malformed"
        if not is_signed(request.headers, secret, mac.hexdigest()):
            return self._deny()
        self._looks.ask()
        return 202, "accepted"

    def _deny(self) -> tuple[int, str]:
        self._denied += 1
        if monotonic() - self._warned_at >= WARN_EVERY:
            self._warned_at = monotonic()
            log.warning(
                "a notice of a push was denied, because its signature is not by our secret "
                "(%d so far); compare the secret of the webhook with that of the Git host",
                self._denied,
            )
        return 401, "denied"
