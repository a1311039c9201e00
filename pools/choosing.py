"""Which pools may serve a claim that names several, and why the one that serves it does. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ..config.expressions import ExpressionError
from ..config.revision import PoolSpec
from ..config.selects import compile_select
from ..config.units import format_duration
from .claim import Claim
from .decided import Decided
from .expiry import Terms
from .pool import Pool
from .requests import ClaimRequest, Code, Refusal, accepted_params
from .wishes import MOST_POOLS, Wish


def named_pools(request: ClaimRequest, wish: Wish, pools: Mapping[str, Pool]) -> list[Pool]:
    """Those that the request names, best first. Raises `Refusal` for names that there are not."""
    if wish.labels:
        wanted = wish.labels.items()
        found = [pools[name] for name in sorted(pools) if wanted <= pools[name].spec.labels.items()]
        if not found:
            text = ", ".join(f"{name}={value}" for name, value in sorted(wanted))
            raise _no_such_pool(f"no pool has the labels {text}", pools)
        return found[:MOST_POOLS]
    names = wish.pools or (request.pool,)
    unknown = [name for name in names if name not in pools]
    if unknown:
        raise _no_such_pool(f"there is no pool {' or '.join(unknown)}", pools)
    return [pools[name] for name in names]


def _no_such_pool(what: str, pools: Iterable[str]) -> Refusal:
    known = ", ".join(sorted(pools)) or "none"
    return Refusal(Code.NO_SUCH_POOL, f"{what}; the pools are: {known}")


def check_wish(wish: Wish, request: ClaimRequest, spec: PoolSpec) -> None:
    """Raises `Refusal` for what this pool can never do."""
    if request.ttl is not None and request.ttl > spec.lifetime.max_ttl:
        raise ttl_too_long(request.ttl, spec.lifetime.max_ttl, spec.name)
    if wish.count > spec.size.max:
        raise Refusal(
            Code.COUNT_TOO_LARGE,
            f"the pool {spec.name} may have {spec.size.max} resources in all; {wish.count} were "
            "asked for: ask for fewer, or raise size.max",
            details={"most": spec.size.max},
        )
    if wish.select:
        try:
            compile_select(wish.select, spec.blueprint)
        except ExpressionError as error:
            raise bad_select(error, spec.name) from error
    accepted_params(request, spec)


def bad_select(error: ExpressionError, pool: str) -> Refusal:
    return Refusal(
        Code.BAD_SELECT,
        f"the pool {pool} cannot use this select, at character {error.offset + 1}: {error}",
        details={"offset": error.offset, "remedy": error.remedy},
    )


def ttl_too_long(ttl: float, limit: float, pool: str) -> Refusal:
    return Refusal(
        Code.TTL_TOO_LONG,
        f"a claim in the pool {pool} may last {format_duration(limit)} at most; "
        f"{format_duration(ttl)} was asked for",
        details={"maxTtl": format_duration(limit)},
    )


def waits_for(
    claim: Claim,
    request: ClaimRequest,
    pools: Sequence[Pool],
    others: Mapping[str, Refusal],
    *,
    decisions: Mapping[str, Decided],
) -> None:
    """What a new claim wants is kept with it, now that it is known which pools may serve it."""
    wish = request.wish
    assert wish is not None
    because = "; ".join(f"{name} cannot: {why.code}" for name, why in others.items())
    several = bool(wish.pools or wish.labels)
    names = tuple(pool.spec.name for pool in pools) if several else ()
    claim.wish = replace(wish, pools=names, ttl=request.ttl, because=because)
    if several:
        claim.wish.decisions = decisions
        claim.params = request.params  # each of them fits these to its own blueprint
        if request.wait is None:
            claim.deadline = claim.created_at + max(pool.spec.queue.wait for pool in pools)


def settle_on(claim: Claim, spec: PoolSpec) -> None:
    """That pool serves the claim, on its own terms."""
    if claim.wish is None or not claim.wish.pools:
        return
    claim.pool = spec.name
    claim.ttl = spec.lifetime.ttl if claim.wish.ttl is None else claim.wish.ttl
    claim.decision = claim.wish.decisions.get(spec.name)
    if claim.decision is not None:
        claim.ttl, claim.labels = claim.decision.ttl, claim.decision.labels
    claim.max_ttl = spec.lifetime.max_ttl
    claim.ttl = min(claim.ttl, claim.max_ttl)  # it may have been lowered while the claim waited
    courtesy = spec.lifetime.courtesy
    claim.terms = None if courtesy is None else Terms(courtesy.notice, courtesy.grace)


def why_pool(
    served: Pool, pools: Sequence[Pool], refusals: Mapping[str, Refusal], waited: float | None
) -> str:
    """Why this one of several: it was first in the list, first to serve at once, or ready first."""
    name = served.spec.name
    names = [pool.spec.name for pool in pools]
    if waited is not None:
        took = format_duration(round(waited, 3))
        return f"{name} was the first of {', '.join(names)} to have enough, after {took}"
    before = names[: names.index(name)]
    if not before:
        return f"{name} comes first and could serve at once"
    whys = [f"{one} {_why_not(pools[at], refusals.get(one))}" for at, one in enumerate(before)]
    return f"{name} is the first that could serve at once: {', '.join(whys)}"


def _why_not(pool: Pool, refusal: Refusal | None) -> str:
    if refusal is not None and refusal.code not in {Code.QUEUE_FULL, Code.BLUEPRINT_FAILING}:
        return f"could not ({refusal.code})"
    waiting = len(pool.line)
    return f"had {pool.ready} ready" + (f" and {waiting} waiting" if waiting else "")
