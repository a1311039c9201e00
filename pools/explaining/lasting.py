"""What a bound claim is granted around its expiry, and what ends it beside time."""

from collections.abc import Iterator

from ..binding import Bind
from ..claim import Claim
from ..expiry import lead
from .words import span


def courtesy(claim: Claim) -> Iterator[str]:
    """Around the expiry."""
    if claim.terms is None:
        return
    if claim.terms.notice is not None:
        early = span(lead(claim.terms.notice, claim.ttl))
        yield f"Its pool announces the expiry {early} before (lifetime.notice)."
    if claim.terms.grace:
        grace = span(claim.terms.grace)
        yield f"Its pool lets it keep the resource for {grace} after the expiry (lifetime.grace)."


def bound_to(claim: Claim) -> Iterator[str]:
    binding = claim.binding
    if binding is None:
        return
    process = "" if binding.process is None else f"process {binding.process.pid}"
    if binding.to is Bind.CONNECTION:
        peer = f" (after a restart of the daemon: with {process})" if process else ""
        yield f"It also ends with the connection on which it was asked for{peer}."
    elif process:
        yield f"It also ends with the {process}, which asked for it."
