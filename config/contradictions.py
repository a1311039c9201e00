"""Numbers of one document that cannot be true together."""

from collections.abc import Iterator

from . import manifests
from .documents import Document
from .manifests import Pool, Provider, default_burst
from .problems import Problem
from .revision import Backfill, Courtesy, Lifetime, Priority, ProviderLimits, Queue, Size
from .units import format_duration

_MAX_TTL = 14400.0
_MAX_GRACE = 3600.0
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
    yield from _courtesy_contradictions(document, spec.lifetime)


def _courtesy_contradictions(document: Document, lifetime: manifests.Lifetime) -> Iterator[Problem]:
    ttl = format_duration(lifetime.ttl)
    if lifetime.notice is not None and lifetime.notice >= lifetime.ttl:
        yield document.problem(
            ("spec", "lifetime", "notice"),
            f"notice ({format_duration(lifetime.notice)}) is not shorter than ttl ({ttl}), so that"
            " every claim would expire soon from its first moment on",
            "shorten notice or lengthen ttl",
        )
    if lifetime.grace is None:
        return
    grace = format_duration(lifetime.grace)
    if lifetime.grace > _MAX_GRACE:
        yield document.problem(
            ("spec", "lifetime", "grace"),
            f"grace ({grace}) is longer than {format_duration(_MAX_GRACE)}",
            "shorten grace, and let claims be renewed while they work",
        )
    elif lifetime.grace > lifetime.ttl:
        yield document.problem(
            ("spec", "lifetime", "grace"),
            f"grace ({grace}) is longer than ttl ({ttl})",
            "shorten grace or lengthen ttl",
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
    plain = lifetime.notice is None and lifetime.grace is None
    courtesy = None if plain else Courtesy(lifetime.notice, lifetime.grace or 0.0)
    return Lifetime(lifetime.ttl, longest, lifetime.max_age, courtesy)


def backfill_of(pool: Pool) -> Backfill:
    backfill = pool.spec.backfill
    burst = backfill.burst if backfill.burst is not None else default_burst(backfill.rate)
    return Backfill(backfill.rate, burst, backfill.concurrency)


def queue_of(pool: Pool, priorities: tuple[Priority, ...]) -> Queue:
    return Queue(pool.spec.queue.max, pool.spec.queue.wait, priorities)


def limits_of(provider: Provider) -> ProviderLimits:
    limits = provider.spec.limits
    burst = limits.burst
    if burst is None:
        burst = default_burst(limits.rate) if limits.rate is not None else 1
    reserve = limits.reserve
    if reserve is None:
        reserve = min(_RESERVE, limits.concurrency // 4)
    return ProviderLimits(limits.rate, burst, limits.concurrency, reserve)
