"""When a claim is announced to expire, lapses, and ends. Pure: moments come in as arguments.

    bound ───────────── announced ──────── expires ─────────────── ends
                        `claim.expiring`   `claim.lapsed`          `claim.expired`
                        expiry - notice                            expiry + grace

A pool grants a `notice`, a `grace`, both, or (by default) neither: then its claims have no `Terms`
and end at their expiry. What was announced is kept in the ledger by the transaction that holds the
event, so each deadline is announced once, also over a restart; a renewal makes a new deadline.
"""

from dataclasses import dataclass
from enum import Enum, auto


@dataclass(slots=True)
class Terms:
    """What a claim is granted around its expiry, and what was said of it. Widths are seconds."""

    notice: float | None = None
    """How long before its expiry it is announced."""
    grace: float = 0.0
    """How long after its expiry it keeps its resource, without being renewable."""
    announced: float | None = None
    """The expiry that was announced last."""
    lapsed: bool = False
    """It was said that the grace began."""


class Step(Enum):
    WAIT = auto()
    ANNOUNCE = auto()
    LAPSE = auto()
    END = auto()


def ends_at(expires_at: float, terms: Terms | None) -> float:
    """When the resource is taken away, if nobody releases the claim before."""
    return expires_at if terms is None else expires_at + terms.grace


def lead(notice: float, ttl: float) -> float:
    """Seconds between the announcement and the expiry of a claim of this width.

    A claim that asked for less time than the pool's notice is announced when half of it is left.
    """
    return notice if notice < ttl else ttl / 2


def next_step(expires_at: float, ttl: float, terms: Terms | None) -> tuple[float, Step]:
    """What comes next, and when. A moment that is past means: now."""
    if terms is None:
        return expires_at, Step.END
    if terms.lapsed:
        return expires_at + terms.grace, Step.END
    if terms.notice is not None and terms.announced != expires_at:
        return expires_at - lead(terms.notice, ttl), Step.ANNOUNCE
    if terms.grace:
        return expires_at, Step.LAPSE
    return expires_at, Step.END


def due(expires_at: float, ttl: float, terms: Terms | None, now: float) -> Step:
    """What has to be done now. What was missed (the daemon was down) is not made up for."""
    if now >= ends_at(expires_at, terms):
        return Step.END
    when, step = next_step(expires_at, ttl, terms)
    if now < when:
        return Step.WAIT
    if step is Step.ANNOUNCE and now >= expires_at:
        return Step.LAPSE
    return step
