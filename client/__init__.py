"""The Python client. It depends on nothing beyond the standard library.

    with Stoker().claim("web", ttl="30m") as claim:
        print(claim.outputs["url"])

The claim is renewed while it is open and released at the end. `AsyncStoker` is the same for
asyncio; it is loaded when it is first asked for, so that a short script does not pay for it.
"""

from typing import TYPE_CHECKING

from .claim import Claim
from .documents import ClaimInfo, Document
from .errors import (
    BadRequest,
    ClaimLost,
    Conflict,
    Denied,
    NoDaemon,
    NotFound,
    StokerError,
    Unavailable,
)
from .sync_client import Stoker

if TYPE_CHECKING:
    from .async_claim import AsyncClaim
    from .async_client import AsyncStoker

__all__ = [
    "AsyncClaim",
    "AsyncStoker",
    "BadRequest",
    "Claim",
    "ClaimInfo",
    "ClaimLost",
    "Conflict",
    "Denied",
    "Document",
    "NoDaemon",
    "NotFound",
    "Stoker",
    "StokerError",
    "Unavailable",
]


def __getattr__(name: str) -> object:
    if name == "AsyncStoker":
        from .async_client import AsyncStoker  # noqa: PLC0415 - asyncio is loaded when asked for

        return AsyncStoker
    if name == "AsyncClaim":
        from .async_claim import AsyncClaim  # noqa: PLC0415 - as above

        return AsyncClaim
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
