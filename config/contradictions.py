"""Numbers of one document that cannot be true together."""

from collections.abc import Iterator

from .documents import Document
from .manifests import Pool, Provider, default_burst
from .problems import Problem
from .revision import Backfill, Lifetime, ProviderLimits, Queue, Size
from .units import format_duration

_MAX_TTL = 14400.0
_RESERVE = 4


def pool_contradictions(document: Document, pool: Pool) -> Iterator[Problem]:
    spec = pool.spec
    if spec.size.min > spec.size.max:
        yield document.problem(
            ("spec", "size", "min"),
            f"min ({spec.size.min}) is more than max ({spec.size.max})",
            "lower min or raise max",
        )
    limit = spec.lifetime.max_ttl
    if limit is not None and spec.lifetime.ttl > limit:
        given = "ttl" in spec.lifetime.model_fields_set
        ttl = format_duration(spec.lifetime.ttl)
        said = f"ttl ({ttl})" if given else f"the ttl of {ttl}, which holds when none is written,"
        yield document.problem(
            ("spec", "lifetime", "ttl" if given else "maxTtl"),
            f"{said} is longer than maxTtl ({format_duration(limit)})",
            "shorten ttl or lengthen maxTtl" if given else "write a shorter ttl",
        )


def provider_contradictions(document: Document, provider: Provider) -> Iterator[Problem]:
    limits = provider.spec.limits
    if limits.reserve is not None and limits.reserve >= limits.concurrency:
        yield document.problem(
            ("spec", "limits", "reserve"),
            f"reserve ({limits.reserve}) leaves nothing of concurrency ({limits.concurrency}) for backfill",
            "lower reserve below concurrency",
        )
    if limits.burst is not None and limits.rate is None:
        yield document.problem(
            ("spec", "limits", "burst"), "burst means nothing without a rate", "write a rate too"
        )


def size_of(pool: Pool) -> Size:
    return Size(pool.spec.size.min, pool.spec.size.max)


def lifetime_of(pool: Pool) -> Lifetime:
    lifetime = pool.spec.lifetime
    longest = lifetime.max_ttl if lifetime.max_ttl is not None else max(_MAX_TTL, lifetime.ttl)
    return Lifetime(lifetime.ttl, longest, lifetime.max_age)


def backfill_of(pool: Pool) -> Backfill:
    backfill = pool.spec.backfill
    burst = backfill.burst if backfill.burst is not None else default_burst(backfill.rate)
    return Backfill(backfill.rate, burst, backfill.concurrency)


def queue_of(pool: Pool) -> Queue:
    return Queue(pool.spec.queue.max, pool.spec.queue.wait)


def limits_of(provider: Provider) -> ProviderLimits:
    limits = provider.spec.limits
    burst = limits.burst
    if burst is None:
        burst = default_burst(limits.rate) if limits.rate is not None else 1
    reserve = limits.reserve
    if reserve is None:
        reserve = min(_RESERVE, limits.concurrency // 4)
    return ProviderLimits(limits.rate, burst, limits.concurrency, reserve)
