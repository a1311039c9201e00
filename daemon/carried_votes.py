"""Which webhooks may carry votes, and whether what came is signed by one of them, in time, and for the first time."""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from ..pools.requests import Code, Refusal
from .problems_http import HttpCode, Problem
from .shared_secrets import NoSecret, read_secret
from .signatures import HEADER, MOST_REMEMBERED, TOLERANCE, Deliveries, signed
from .voters import Voters

log = logging.getLogger(__name__)

WARNED_EVERY = 60.0
"""Seconds between two warnings about files that are no secrets: whoever knocks does not fill the log."""
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class CarriedVotes:
    """Which webhooks there are, and what they have delivered. `wall`: Unix time."""

    def __init__(
        self,
        secrets: Path | None,
        wall: Callable[[], float] = time.time,
        *,
        most: int = MOST_REMEMBERED,
    ) -> None:
        """`secrets`: a folder with a file for each webhook, by its name. `most`: remembered of each."""
        self._most = most
        self._secrets = secrets
        self._wall = wall
        self._since = wall()
        self._taken: dict[str, Deliveries] = {}
        """By webhook: one that delivers too much, or ahead of time, shuts out no other."""
        self._warned_at = float("-inf")
        self.voters = Voters()

    async def look(self) -> None:
        """At the start: says in the log what is wrong with the secrets. Raises `NoSecret` without their folder."""
        if self._secrets is not None:
            for trouble in await asyncio.to_thread(_troubles, self._secrets):
                log.warning("%s", trouble)

    async def check(self, name: str, headers: list[str], body: bytes) -> None:
        """Returns for what this webhook has signed just now, and not delivered before. Raises `Problem`, `Refusal`."""
        delivery = None
        if len(headers) == 1 and self._secrets is not None and _NAME.fullmatch(name):
            secret = await self._secret(self._secrets / name)
            delivery = signed(secret, headers[0], body) if secret else None
        if delivery is None:
            raise Problem(
                HttpCode.SIGNATURE_INVALID,
                f"Sign the body with the secret of a webhook that there is: {HEADER}: t=TIME,v1=MAC.",
            )
        taken = self._taken.setdefault(name, Deliveries(self._since, self._most))
        now = self._wall()
        if taken.cannot_tell(delivery.sent):
            raise Refusal(
                Code.STARTING,
                "The daemon has just started, and takes what is signed from the next second on; sign it anew.",
                retry_after=1.0,
            )
        if not taken.is_timely(delivery.sent, now):
            raise Problem(
                HttpCode.SIGNATURE_EXPIRED,
                f"It was signed more than {TOLERANCE} seconds before or after now, or before the daemon"
                " started; sign it anew.",
            )
        if not taken.take(delivery, now):
            raise Problem(
                HttpCode.SIGNATURE_REPEATED,
                "It was delivered before, and counts once; what came of it stands with the claim.",
            )

    async def _secret(self, path: Path) -> bytes | None:
        """None for a webhook that there is not. A file that is no secret signs nothing: its sender learns no more."""
        try:
            return await asyncio.to_thread(read_secret, path)
        except NoSecret as error:
            now = monotonic()
            if now - self._warned_at >= WARNED_EVERY and await asyncio.to_thread(path.exists):
                self._warned_at = now
                log.warning("a vote by the webhook %s is not taken: %s", path.name, error)
            return None


def _troubles(folder: Path) -> list[str]:
    """What nobody finds out who is told 401 alone. Blocks on the disk; raises `NoSecret`."""
    try:
        open_to_all = bool(folder.stat().st_mode & 0o001)
        files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise NoSecret(
            f"the folder {folder} of votes.secrets cannot be read ({(error.strerror or 'error').lower()}); "
            "make it, with a file for each webhook, or name another one"
        ) from None
    found = [_trouble(path, open_to_all=open_to_all) for path in files]
    return [one for one in found if one]


def _trouble(path: Path, *, open_to_all: bool) -> str:
    if not _NAME.fullmatch(path.name):
        return f"the file {path} names no webhook; write letters a to z, digits and inner hyphens"
    try:
        read_secret(path)
        mode = path.stat().st_mode
    except (NoSecret, OSError) as error:
        return f"no vote by the webhook {path.name} is taken: {error}"
    if open_to_all and mode & 0o006:
        return f"every user of this host can vote by the webhook {path.name}: run chmod 600 {path}"
    return ""
