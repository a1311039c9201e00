"""What the daemon counts, for Prometheus. `docs/metrics.md` lists it all; a test compares.

`Metrics` is the pools' `Telemetry`: its methods are called on hot paths, so the children of each
metric are looked up once and kept. What is a state and no event (how many are ready) is read when
somebody asks, by `gauges.Gauges`.
"""

import asyncio
import importlib.metadata
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector

from ..pools.requests import Code
from .decision_metrics import DecisionMetrics
from .facade import FleetView
from .gauges import Gauges, Ledger, Misgranted
from .tallies import Tallies, Tally

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nobody asks for
Series: TypeAlias = tuple[str, str, str]
"""A metric's key in the tables below, its first label and its second (empty when it has one)."""

_CLAIM_BUCKETS = (
    0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0,
)  # fmt: skip
_PART_BUCKETS = (0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0)
_PASS_BUCKETS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.02, 0.1, 0.5)

_HISTOGRAMS_OF_POOLS = {
    "claims": (
        "stoker_claim_seconds",
        "Time from a claim's arrival to its resource, bound and durable.",
        ("pool", "warm"),
        _CLAIM_BUCKETS,
    ),
    "stages": (
        "stoker_stage_seconds",
        "Time spent in each stage of serving and removing.",
        ("pool", "stage"),
        _CLAIM_BUCKETS,
    ),
    "passes": (
        "stoker_pass_seconds",
        "Time to decide what a pool needs.",
        ("pool",),
        _PASS_BUCKETS,
    ),
}
_COUNTERS_OF_POOLS = {
    "refused": ("stoker_claims_refused_total", "Claims that were told no.", ("pool", "code")),
    "ended": (
        "stoker_claims_ended_total",
        "Bound claims that ended, by what ended them.",
        ("pool", "reason"),
    ),
    "breakers": (
        "stoker_breaker_moves_total",
        "Changes of a pool's breaker, by the state it came to.",
        ("pool", "state"),
    ),
    "priorities": (
        "stoker_queue_priority_failures_total",
        "Times that a priority of the queue could not be evaluated and so matched nothing.",
        ("pool",),
    ),
    "operated": (
        "stoker_operator_actions_total",
        "What operators did to pools and their resources.",
        ("pool", "action"),
    ),
    "drift": (
        "stoker_drift_total",
        "Resources found different from what was made, by their state then.",
        ("pool", "state"),
    ),
    "resets": (
        "stoker_resets_total",
        "Released resources of a blueprint with a reset, by what became of them.",
        ("pool", "outcome"),
    ),
}
_HISTOGRAMS_OF_DRIVERS = {
    "made": (
        "stoker_part_create_seconds",
        "Time to create a part and see it ready.",
        ("driver", "outcome"),
        _PART_BUCKETS,
    ),
    "removed": (
        "stoker_part_remove_seconds",
        "Time until a part's absence was proved.",
        ("driver", "outcome"),
        _PART_BUCKETS,
    ),
}
_COUNTERS_OF_DRIVERS = {
    "orphans found": (
        "stoker_orphans_found_total",
        "Things with our mark that the ledger does not know.",
        ("driver",),
    ),
    "orphans removed": (
        "stoker_orphans_removed_total",
        "Orphans whose absence was proved.",
        ("driver",),
    ),
}


class Metrics:
    """All metrics, in a registry of their own. Implements `stoker.pools.telemetry.Telemetry`."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry(auto_describe=False)
        self._of_pools = _tallies(_HISTOGRAMS_OF_POOLS, registry)
        self._of_drivers = _histograms(_HISTOGRAMS_OF_DRIVERS, registry)
        self._counts = _counters({**_COUNTERS_OF_POOLS, **_COUNTERS_OF_DRIVERS}, registry)
        self._problems = Counter(
            "stoker_http_problems_total",
            "Requests that were answered with an error, by its code.",
            ["code"],
            registry=registry,
        )
        self._pushes = Counter(
            "stoker_webhook_requests_total",
            "What came to the webhook, by what became of it.",
            ["outcome"],
            registry=registry,
        )
        self._carried = Counter(
            "stoker_webhook_votes_total",
            "Votes that webhooks carried, by what became of them.",
            ["outcome"],
            registry=registry,
        )
        self._notices = Counter(
            "stoker_notify_deliveries_total",
            "Attempts to tell the receiver of an event, by their outcome.",
            ["outcome"],
            registry=registry,
        )
        self.decisions = DecisionMetrics(registry)
        self._approvals = Counter(
            "stoker_approvals_total",
            "Approvals that were decided, and claims that did without, by outcome.",
            ["pool", "outcome"],
            registry=registry,
        )
        self._defects = Counter(
            "stoker_defects_total",
            "Background tasks that ended by an error nobody foresaw; each is in the log.",
            registry=registry,
        )
        self._config_ok = Gauge(
            "stoker_config_last_load_successful",
            "1 when the newest state of the config directory could be applied.",
            registry=registry,
        )
        self._config_at = Gauge(
            "stoker_config_revision_applied_timestamp_seconds",
            "When the present revision was applied, in Unix time; 0 before the first.",
            registry=registry,
        )
        self._config_problems = Gauge(
            "stoker_config_problems",
            "Problems found in the newest state of the config directory.",
            registry=registry,
        )
        Info("stoker_build", "The version that runs.", registry=registry).info(
            {"version": importlib.metadata.version("stoker")}
        )
        ProcessCollector(namespace="stoker", registry=registry)
        self.gauges = Gauges()
        registry.register(self.gauges)
        # The children by metric and labels, found by one look-up where it is hot.
        self._tallies: dict[Series, Tally] = {}
        self._counters: dict[Series, Counter] = {}
        self._gone: set[str] = set()
        self._rendering = asyncio.Lock()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="metrics")

    # Where the gauges read

    def observe(
        self, fleet: FleetView, ledger: Ledger, misgrants: Misgranted | None = None
    ) -> None:
        self.gauges.fleet = fleet
        self.gauges.ledger = ledger
        self.gauges.misgrants = misgrants

    # The exposition

    async def render(self, accept: str) -> tuple[bytes, str]:
        """The text and its content type: OpenMetrics for those who ask for it.

        The states are read here, in the loop that owns them; writing them out, which takes
        milliseconds with many pools, is left to a thread.
        """
        encode, content_type = choose_encoder(accept)
        async with self._rendering:
            self._forget_gone_pools()
            self.gauges.read()
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._writer, encode, self.registry), content_type

    def _forget_gone_pools(self) -> None:
        """Drops what was counted for pools that were gone at the last scrape already.

        So pools that come and go do not pile up.
        """
        if self.gauges.fleet is None:
            return
        present = {pool.name for pool in self.gauges.fleet.pools()}
        seen = [*self._tallies, *(key for key in self._counters if key[0] in _COUNTERS_OF_POOLS)]
        gone = {pool for _, pool, _ in seen} - {""} - present
        for series in seen:
            if series[1] in gone & self._gone:
                self._remove(series)
        self._gone = gone

    def _remove(self, series: Series) -> None:
        name, pool, rest = series
        labels = [pool, rest] if rest else [pool]
        if self._tallies.pop(series, None) is not None:
            self._of_pools[name].remove(*labels)
        else:
            del self._counters[series]
            self._counts[name].remove(*labels)

    # What the pools tell (stoker.pools.telemetry.Telemetry)

    def claim_served(self, pool: str, *, warm: bool, seconds: float) -> None:
        self._observe("claims", pool, "yes" if warm else "no", seconds)

    def stage(self, pool: str, stage: str, seconds: float) -> None:
        self._observe("stages", pool, stage, seconds)

    def part_made(self, driver: str, outcome: str, seconds: float) -> None:
        self._time("made", driver, outcome, seconds)

    def part_removed(self, driver: str, outcome: str, seconds: float) -> None:
        self._time("removed", driver, outcome, seconds)

    def pass_done(self, pool: str, seconds: float) -> None:
        self._observe("passes", pool, "", seconds)

    def claim_refused(self, pool: str, code: str) -> None:
        # The name of a pool that does not exist is the caller's free text.
        self._count("refused", "" if code == Code.NO_SUCH_POOL else pool, code)

    def claim_ended(self, pool: str, because: str) -> None:
        self._count("ended", pool, because)

    def breaker_moved(self, pool: str, state: str) -> None:
        self._count("breakers", pool, state)

    def priority_failed(self, pool: str) -> None:
        self._count("priorities", pool, "")

    def drift(self, pool: str, state: str) -> None:
        self._count("drift", pool, state)

    def operated(self, pool: str, action: str) -> None:
        self._count("operated", pool, action)

    def reset(self, pool: str, outcome: str) -> None:
        self._count("resets", pool, outcome)

    def orphan_found(self, driver: str) -> None:
        self._count("orphans found", driver, "")

    def orphan_removed(self, driver: str) -> None:
        self._count("orphans removed", driver, "")

    def approval_decided(self, pool: str, outcome: str) -> None:
        self._approvals.labels(pool, outcome).inc()

    # What the daemon tells

    def problem(self, code: str) -> None:
        self._problems.labels(code).inc()

    def pushed(self, outcome: str) -> None:
        """outcome: accepted | denied | malformed | failed"""
        self._pushes.labels(outcome).inc()

    def carried(self, outcome: str) -> None:
        """outcome: counted | refused | denied | malformed | failed"""
        self._carried.labels(outcome).inc()

    def notified(self, outcome: str) -> None:
        """outcome: delivered | failed | dropped"""
        self._notices.labels(outcome).inc()

    def defect(self) -> None:
        self._defects.inc()

    def config_loaded(self, *, ok: bool, problems: int) -> None:
        self._config_ok.set(1 if ok else 0)
        self._config_problems.set(problems)

    def config_applied(self, wall: float) -> None:
        """`wall`: Unix time."""
        self._config_at.set(wall)

    # The children

    def _observe(self, name: str, first: str, second: str, seconds: float) -> None:
        tally = self._tallies.get((name, first, second))
        if tally is None:
            tally = self._of_pools[name].labels(*([first, second] if second else [first]))
            self._tallies[name, first, second] = tally
        tally.observe(seconds)

    def _time(self, name: str, driver: str, outcome: str, seconds: float) -> None:
        self._of_drivers[name].labels(driver, outcome).observe(seconds)

    def _count(self, name: str, first: str, second: str) -> None:
        child = self._counters.get((name, first, second))
        if child is None:
            child = self._counts[name].labels(*([first, second] if second else [first]))
            self._counters[name, first, second] = child
        child.inc()


def _tallies(
    table: Mapping[str, tuple[str, str, tuple[str, ...], tuple[float, ...]]],
    registry: CollectorRegistry,
) -> dict[str, Tallies]:
    made = {key: Tallies(*facts) for key, facts in table.items()}
    for each in made.values():
        registry.register(each)
    return made


def _histograms(
    table: Mapping[str, tuple[str, str, tuple[str, ...], tuple[float, ...]]],
    registry: CollectorRegistry,
) -> dict[str, Histogram]:
    return {
        key: Histogram(name, meaning, labels, buckets=buckets, registry=registry)
        for key, (name, meaning, labels, buckets) in table.items()
    }


def _counters(
    table: Mapping[str, tuple[str, str, tuple[str, ...]]], registry: CollectorRegistry
) -> dict[str, Counter]:
    return {
        key: Counter(name, meaning, labels, registry=registry)
        for key, (name, meaning, labels) in table.items()
    }
