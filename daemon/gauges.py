"""Metrics that are a state: read from the fleet, the ledger and the server when they are asked for."""

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..config.json_types import Json
from ..pools.approving import Undecided
from ..pools.lifecycle import ResourceState
from ..pools.rollout import Stage
from ..pools.status import PoolStatus
from .facade import FleetView
from .logs import BoundedQueue
from .status import StatusFacts


class Ledger(Protocol):
    """The store, as far as its figures are read."""

    def statistics(self) -> Mapping[str, Json]: ...


class Misgranted(Protocol):
    """Who looks for claims that the present policies would deny."""

    def figures(self) -> Mapping[tuple[str, str, bool], int]:
        """How many there are, by pool, policy, and whether that is certain."""
        ...


@dataclass(frozen=True, slots=True)
class SocketFacts:
    """What the server of the socket says of itself."""

    connections: int = 0
    followers: int = 0
    parked: int = 0
    turned_away: int = 0
    keys_age: float = 0.0
    """Seconds since an issuer's keys were last fetched: the oldest ones."""


_POOL_GAUGES: tuple[tuple[str, str, Callable[[PoolStatus], float]], ...] = (
    ("ready", "Resources that can be claimed now.", lambda pool: pool.ready),
    ("waiting", "Claims in the pool's queue.", lambda pool: pool.waiting),
    ("size_min", "How many the pool keeps ready.", lambda pool: pool.min),
    ("size_max", "How many may exist in all.", lambda pool: pool.max),
    ("unverified", "Ready by the ledger, not yet observed.", lambda pool: pool.unverified),
    ("drifted", "Ready or bound, and different from what was made.", lambda pool: pool.drifted),
    ("outdated", "Made from an earlier blueprint.", lambda pool: pool.outdated),
    (
        "paused",
        "1 when the pool is paused, by an operator or where it is declared.",
        lambda pool: pool.paused,
    ),
    (
        "draining",
        "1 when the pool empties itself: no longer declared, or drained, alone or with the host.",
        lambda pool: pool.draining,
    ),
    (
        "refreshing",
        "1 when ready resources from before a refresh are left.",
        lambda pool: pool.refresh is not None,
    ),
    (
        "breaker_open",
        "1 when the blueprint fails and is not tried freely.",
        lambda pool: pool.breaker.state != "closed",
    ),
)
_LEDGER_COUNTERS = (
    ("commits", "stoker_ledger_commits", "Commits to disk."),
    ("transactions", "stoker_ledger_transactions", "Transactions in those commits."),
    ("rows", "stoker_ledger_rows", "Rows written."),
    ("failed", "stoker_ledger_failed_commits", "Commits that the disk or the file refused."),
    ("busy_seconds", "stoker_ledger_busy_seconds", "Time spent writing."),
    ("checkpoints", "stoker_ledger_checkpoints", "Times the write-ahead log was folded in."),
    ("checkpoint_seconds", "stoker_ledger_checkpoint_seconds", "Time spent folding it in."),
)
_LEDGER_GAUGES = (
    ("waiting", "stoker_ledger_waiting", "Transactions waiting to be written."),
    ("bytes", "stoker_ledger_bytes", "Size of the ledger's file."),
    ("wal_bytes", "stoker_ledger_wal_bytes", "Size of its write-ahead log."),
)


class Gauges(Collector):
    """Everything that is read at a scrape. What is not there yet is left out.

    `read` takes the figures in the event loop; `collect` gives them to the thread that writes.
    """

    def __init__(self) -> None:
        self._taken: list[Metric] = []
        self.fleet: FleetView | None = None
        self.ledger: Ledger | None = None
        self.status: Callable[[], StatusFacts] | None = None
        self.socket: Callable[[], SocketFacts] | None = None
        self.misgrants: Misgranted | None = None

    def read(self) -> None:
        self._taken = list(self._now())

    def collect(self) -> list[Metric]:
        return self._taken

    def _now(self) -> Iterator[Metric]:
        if self.fleet is not None:
            yield from _of_pools(self.fleet.pools())
            yield _of_claims(self.fleet)
            yield from _of_approvals(self.fleet.approving.figures())
            yield GaugeMetricFamily(
                "stoker_processes_followed",
                "Processes with whose end a claim ends.",
                value=self.fleet.ties.processes,
            )
        yield from _of_misgrants({} if self.misgrants is None else self.misgrants.figures())
        if self.ledger is not None:
            yield from _of_ledger(self.ledger.statistics())
        if self.status is not None:
            facts = self.status()
            yield from _of_status(facts)
            yield from _of_repository(facts, facts.now)
        if self.socket is not None:
            yield from _of_socket(self.socket())
        yield _counter(
            "stoker_log_lines_dropped", "Log lines lost because nobody read.", BoundedQueue.dropped
        )


def _of_pools(pools: Iterable[PoolStatus]) -> Iterator[Metric]:
    pools = list(pools)
    resources = GaugeMetricFamily(
        "stoker_pool_resources", "Resources by state.", labels=["pool", "state"]
    )
    for pool in pools:
        for state in ResourceState:
            if state is not ResourceState.GONE:
                resources.add_metric([pool.name, state.value], pool.counts.get(state, 0))
    yield resources
    rollouts = GaugeMetricFamily(
        "stoker_pool_rollout",
        "1 for the stage in which the rollout of a changed blueprint is.",
        labels=["pool", "stage"],
    )
    for pool in pools:
        for stage in Stage:
            there = pool.rollout is not None and pool.rollout.stage is stage
            rollouts.add_metric([pool.name, stage.value], float(there))
    yield rollouts
    for name, meaning, read in _POOL_GAUGES:
        gauge = GaugeMetricFamily(f"stoker_pool_{name}", meaning, labels=["pool"])
        for pool in pools:
            gauge.add_metric([pool.name], float(read(pool)))
        yield gauge


def _of_claims(fleet: FleetView) -> Metric:
    active = Tally((claim.pool, claim.state.value) for claim in fleet.live_claims())
    gauge = GaugeMetricFamily(
        "stoker_claims_active", "Claims that are not over, by state.", labels=["pool", "state"]
    )
    for (pool, state), count in active.items():
        gauge.add_metric([pool, state], count)
    return gauge


def _of_approvals(undecided: Undecided) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "stoker_approvals_waiting", "Claims that wait for an approval.", value=undecided.waiting
    )
    yield GaugeMetricFamily(
        "stoker_approvals_oldest_seconds",
        "For how long the oldest of them has waited.",
        value=undecided.oldest,
    )
    yield GaugeMetricFamily(
        "stoker_follow_ups_waiting",
        "Claims that did without an approval, and that nobody has looked at yet.",
        value=undecided.follow_ups,
    )
    yield GaugeMetricFamily(
        "stoker_follow_ups_overdue",
        "Those of them whose follow-up is overdue.",
        value=undecided.overdue,
    )


def _of_misgrants(found: Mapping[tuple[str, str, bool], int]) -> Iterator[Metric]:
    certain = GaugeMetricFamily(
        "stoker_misgrants",
        "Bound claims that the present policies would deny, by the policy that does.",
        labels=["pool", "policy"],
    )
    unknown: Tally[str] = Tally()
    for (pool, policy, is_certain), count in found.items():
        if is_certain:
            certain.add_metric([pool, policy], count)
        else:
            unknown[pool] += count
    yield certain
    uncertain = GaugeMetricFamily(
        "stoker_misgrants_unknown",
        "Bound claims of which nobody can tell whether the present policies would deny them.",
        labels=["pool"],
    )
    for pool, count in unknown.items():
        uncertain.add_metric([pool], count)
    yield uncertain


def _of_ledger(figures: Mapping[str, Json]) -> Iterator[Metric]:
    for key, name, meaning in _LEDGER_COUNTERS:
        yield _counter(name, meaning, _number(figures.get(key)))
    for key, name, meaning in _LEDGER_GAUGES:
        yield GaugeMetricFamily(name, meaning, value=_number(figures.get(key)))


def _of_status(facts: StatusFacts) -> Iterator[Metric]:
    yield GaugeMetricFamily("stoker_ready", "1 when the daemon is ready.", value=facts.ready)
    yield GaugeMetricFamily(
        "stoker_ledger_up", "1 when the ledger took the last write.", value=facts.ledger_ok
    )
    yield GaugeMetricFamily(
        "stoker_audit_head",
        "The number of the newest event; its hash is in the status.",
        value=facts.head.seq,
    )
    yield GaugeMetricFamily(
        "stoker_config_held",
        "1 while a revision waits to be accepted, because it would destroy too much.",
        value=facts.config_held is not None,
    )
    yield GaugeMetricFamily(
        "stoker_config_pinned",
        "1 while a revision is pinned, and nothing newer is applied.",
        value=facts.config_pin is not None,
    )
    yield GaugeMetricFamily(
        "stoker_frozen",
        "1 when the host is frozen: nothing changes by itself.",
        value=facts.host.freeze is not None,
    )
    yield GaugeMetricFamily(
        "stoker_draining",
        "1 when all pools of the host are drained.",
        value=facts.host.drain is not None,
    )
    failing = None if facts.notify is None else facts.notify.failing_since
    yield GaugeMetricFamily(
        "stoker_notify_failing_seconds",
        "For how long the receiver of events could not be told.",
        value=0.0 if failing is None else max(0.0, time.time() - failing),
    )
    yield GaugeMetricFamily(
        "stoker_clock_step_seconds",
        "How far the wall clock was moved while the daemon ran.",
        value=facts.clock_step,
    )


def _of_repository(facts: StatusFacts, now: float) -> Iterator[Metric]:
    """Zero, and empty, for a plain directory."""
    repository = facts.repository
    looks = CounterMetricFamily(
        "stoker_config_polls", "Times that the repository was asked.", labels=["outcome"]
    )
    silent = 0.0
    since = _behind_since(facts)
    if repository is not None:
        looks.add_metric(["unchanged"], repository.unchanged)
        looks.add_metric(["new"], repository.fetched)
        looks.add_metric(["failed"], repository.failed)
        silent = now - (repository.asked_at or repository.followed_at)
    yield looks
    yield GaugeMetricFamily(
        "stoker_config_behind",
        "1 when another revision is applied than the newest one that was seen.",
        value=since is not None,
    )
    yield GaugeMetricFamily(
        "stoker_config_behind_seconds",
        "Since when the oldest revision was seen that is newer than the applied one.",
        value=0.0 if since is None else max(0.0, now - since),
    )
    yield GaugeMetricFamily(
        "stoker_config_silent_seconds",
        "Since when the repository has not answered, or since the start.",
        value=max(0.0, silent),
    )


def _behind_since(facts: StatusFacts) -> float | None:
    """Since when something newer than what is applied has been seen; None when nothing has."""
    applied = facts.revision.commit if facts.revision is not None else ""
    repository = facts.repository
    known = [
        facts.config_broken_since,
        None if facts.waiting is None else facts.waiting.applied_at,
        None if facts.config_held is None else facts.config_held.since,
    ]
    if repository is not None and repository.asked_at is not None and repository.seen != applied:
        known.append(repository.behind_since)
    return min((since for since in known if since is not None), default=None)


def _of_socket(facts: SocketFacts) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "stoker_http_connections", "Open connections to the socket.", value=facts.connections
    )
    yield GaugeMetricFamily(
        "stoker_http_followers", "Callers that follow the events.", value=facts.followers
    )
    yield GaugeMetricFamily(
        "stoker_http_parked", "Requests that wait for the daemon to start.", value=facts.parked
    )
    yield GaugeMetricFamily(
        "stoker_identity_keys_age_seconds",
        "Since when the keys of a token issuer were not fetched: the oldest.",
        value=facts.keys_age,
    )
    yield _counter(
        "stoker_http_turned_away",
        "Connections refused because no file descriptor or no place was left.",
        facts.turned_away,
    )


def _counter(name: str, meaning: str, value: float) -> Metric:
    """`_total` is added to the name by the exposition."""
    return CounterMetricFamily(name, meaning, value=value)


def _number(value: Json) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
