"""For which callers a canary enforces. Pure."""

import hashlib

from .facts import CallerFacts

_WHOLE = 2**64


def enforced_for(caller: CallerFacts, policy: str, share: float) -> bool:
    """Always the same for a caller and a policy; a larger share keeps those of a smaller one.

    Each policy draws its own callers, so that not the same ones meet every canary.
    """
    subject = caller.token.get("sub", "")
    drawn = hashlib.sha256(f"{policy}\0{caller.uid}\0{subject}".encode(errors="replace")).digest()
    return int.from_bytes(drawn[:8], "big") < share * _WHOLE
