"""Which webhooks may carry votes, and whether what came is signed by one of them, in time, and for the first time."""

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path

from ..pools.requests import Code, Refusal
from .problems_http import HttpCode, Problem
from .shared_secrets import NoSecret, read_secret
from .signatures import HEADER, TOLERANCE, Deliveries, signed
from .voters import Voters

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class CarriedVotes:
    """Which webhooks there are, and what they have delivered. `wall`: Unix time."""

    def __init__(self, secrets: Path | None, wall: Callable[[], float] = time.time) -> None:
        """`secrets`: a folder with a file for each webhook, by its name."""
        self._secrets = secrets
        self._wall = wall
        self._taken = Deliveries(since=wall())
        self.voters = Voters()

    async def check(self, name: str, headers: list[str], body: bytes) -> None:
        """Returns for what this webhook has signed just now, and not delivered before. Raises `Problem`, `Refusal`."""
        delivery = None
        if len(headers) == 1 and self._secrets is not None and _NAME.fullmatch(name):
            secret = await asyncio.to_thread(_secret, self._secrets / name)
            delivery = signed(secret, headers[0], body) if secret else None
        if delivery is None:
            raise Problem(
                HttpCode.SIGNATURE_INVALID,
                f"Sign the body with the secret of a webhook that there is: {HEADER}: t=TIME,v1=MAC.",
            )
        now = self._wall()
        if self._taken.cannot_tell(delivery.sent):
            raise Refusal(
                Code.STARTING,
                "The daemon has just started, and takes what is signed from the next second on; sign it anew.",
                retry_after=1.0,
            )
        if not self._taken.is_timely(delivery.sent, now):
            raise Problem(
                HttpCode.SIGNATURE_EXPIRED,
                f"It was signed more than {TOLERANCE} seconds before or after now, or before the daemon"
                " started; sign it anew.",
            )
        if not self._taken.take(name, delivery, now):
            raise Problem(
                HttpCode.SIGNATURE_REPEATED,
                "It was delivered before, and counts once; what came of it stands with the claim.",
            )


def _secret(path: Path) -> bytes | None:
    """None for a webhook that there is not. A file that is no secret is one that signs nothing."""
    try:
        return read_secret(path)
    except NoSecret:
        return None
