"""The composition root: builds everything, starts it in order, stops it in reverse.

Order of a start: ledger, clock, socket (requests are parked), drivers and what the ledger says,
configuration, then "ready", and only then filling. A stop goes the other way, with a deadline
for each stage; what was made stays, and so do the claims.
"""

import asyncio
import gc
import importlib.metadata
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

from ..config.repositories.facts import RepositoryFacts
from ..config.repositories.source import RepositorySource
from ..config.revision import Revision
from ..config.settings import Settings
from ..pools.clock import Clock, SteadyClock, read_boot_id, resume_clock
from ..pools.driver import DriverError, Drivers
from ..pools.drivers import build_drivers, catalogue
from ..pools.fleet import Fleet
from ..pools.housekeeping import anchor
from ..pools.ids import Ids
from ..pools.inventory import Inventory
from ..pools.providers import Providers
from ..pools.readiness import Readiness
from ..pools.retention import Retention
from ..pools.sealing import open_sealer
from ..pools.services import Services
from ..pools.store import ClockAnchor, Image, StoreError
from ..pools.stores.sqlite import SqliteStore
from ..pools.switches import Switch, SwitchKind
from ..pools.tasks import Tasks
from ..pools.timers import Timers
from .facade import Core
from .freeze_file import FreezeFile
from .judging import PolicyJudge
from .jwks import KeyFacts
from .listener import SocketError
from .logs import set_up_logs
from .metrics import Metrics
from .misgrant_watch import MisgrantWatch
from .notifying import Notifier, open_notifier
from .server import SocketServer
from .shared_secrets import NoSecret
from .sources import open_source
from .status import HeldFacts, RevisionFacts, StatusFacts
from .steering import Steering
from .stopping import Stop, stop_in_peace, until_told_to_stop, within
from .synchroniser import Synchroniser

log = logging.getLogger(__name__)

COLLECT_AFTER = (20_000, 50, 100)
"""Allocations and passes between garbage collections: rarer than Python's, whose full pass over
what ten thousand resources are made of would be the slowest thing that a claim can meet."""
MOST_IN_FORCE = 100
"""Of what operators have set, so many are in the status; the rest is with pools and resources."""
LAST_RESORT = 15.0
"""Seconds beyond the stop's grace after which the process ends whatever still hangs."""
CLOSE_WITHIN = 5.0
"""Seconds for each of the small steps of a stop."""
SWITCH_INTERVAL = 0.0005
"""Seconds after which a busy worker thread yields to the event loop (Python's default is ten times
that, which shows in the slowest claims)."""


def open_ledger(state: Path) -> SqliteStore:
    """Opens or makes the ledger of a state folder. Raises `StoreError`, `OSError`."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    return SqliteStore.open(state, sealer=open_sealer(state), wall=time.time)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """How the daemon reaches the disk and the host: whoever studies it may step in between."""

    open_ledger: Callable[[Path], SqliteStore] = open_ledger
    build_drivers: Callable[[Path, Clock], Drivers] = build_drivers


HOST = Surroundings()


def run(settings: Settings, surroundings: Surroundings = HOST) -> int:
    """Runs the daemon until it is told to stop; returns the exit code."""
    set_up_logs(settings.log_level, settings.log_format)
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            code = runner.run(_serve(settings, surroundings))
            # From here on only what does not let itself be cancelled can keep the process.
            patience = LAST_RESORT if code == 0 else CLOSE_WITHIN
            last_resort = threading.Timer(patience, os._exit, (code,))
            last_resort.daemon = True
            last_resort.start()
        last_resort.cancel()
        return code
    except (StoreError, SocketError, NoSecret, OSError) as error:
        log.critical("stoker cannot start: %s", error)
    except BaseExceptionGroup as group:
        expected, defects = group.split((StoreError, SocketError, NoSecret, OSError, DriverError))
        if defects is not None:
            log.critical("stoker ends because of a defect", exc_info=defects)
        for one in _leaves(expected):
            log.critical("stoker cannot go on: %s", one)
    return 1


def _leaves(error: BaseException | None) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _leaves(each)
    elif error is not None:
        yield error


@dataclass(slots=True)
class Daemon:
    """The running parts, for the status."""

    settings: Settings
    store: SqliteStore
    clock: SteadyClock
    fleet: Fleet
    synchroniser: Synchroniser
    metrics: Metrics
    started: float
    issuers: Callable[[], Sequence[KeyFacts]]
    repository: Callable[[], RepositoryFacts] | None = None
    """What is known of the followed repository; None for a directory."""
    notifier: Notifier | None = None

    def status(self) -> StatusFacts:
        config = self.synchroniser.state
        fleet = self.fleet
        reasons = self.not_ready_because()
        return StatusFacts(
            version=importlib.metadata.version("stoker"),
            pid=os.getpid(),
            uptime=self.clock.now() - self.started,
            state_folder=str(self.settings.state),
            socket=str(self.settings.socket),
            revision=_facts_of(config.revision, config.applied_at),
            config_held=None
            if config.held is None
            else HeldFacts(
                config.held.revision.id,
                config.held.revision.commit,
                config.held.because[:MOST_IN_FORCE],
                config.held.since,
            ),
            config_pin=config.pin,
            config_seen=_facts_of(config.seen, 0.0),
            waiting=_facts_of(config.waiting, config.waiting_since),
            repository=None if self.repository is None else self.repository(),
            config_ok=config.broken_since is None,
            config_problems=config.problems,
            config_broken_since=config.broken_since,
            ledger_ok=not fleet.ledger_error,
            ledger_error=fleet.ledger_error,
            ready=not reasons,
            reasons=reasons,
            pools=len(fleet.pools()),
            resources=sum(1 for _ in fleet.resources()),
            claims=sum(1 for _ in fleet.live_claims()),
            now=self.clock.now(),
            clock_step=self.clock.step(),
            head=self.store.head(),
            issuers=tuple(self.issuers()),
            host=fleet.host(),
            notify=None if self.notifier is None else self.notifier.facts,
            approvals=fleet.approving.figures(),
            in_force=tuple(islice(self._in_force(), MOST_IN_FORCE)),
        )

    def _in_force(self) -> Iterator[Switch]:
        if self.synchroniser.state.pin is not None:
            yield self.synchroniser.state.pin
        yield from self.fleet.in_force()

    def not_ready_because(self) -> tuple[str, ...]:
        reasons: list[str] = []
        if self.synchroniser.state.revision is None:
            reasons.append("no configuration was applied yet")
            held = self.synchroniser.state.held
            if held is not None:
                reasons.append(f"revision {held.revision.id} is held: {held.because[0]}")
            repository = self.repository() if self.repository is not None else None
            if repository is not None and repository.error:
                reasons.append(f"the repository cannot be asked: {repository.error}")
        if self.fleet.ledger_error:
            reasons.append(f"the ledger refuses writes: {self.fleet.ledger_error}")
        reasons += self.fleet.housekeeping.breaches
        return tuple(reasons)


def _facts_of(revision: Revision | None, since: float | None) -> RevisionFacts | None:
    if revision is None or since is None:
        return None
    return RevisionFacts(revision.id, revision.source, since, revision.commit)


def _report_stray(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody waited for. asyncio itself would log the repr of a task, which quotes its error."""
    log.error("%s", context.get("message", "the loop failed"), exc_info=context.get("exception"))


async def _serve(settings: Settings, surroundings: Surroundings) -> int:
    asyncio.get_running_loop().set_exception_handler(_report_stray)
    store = surroundings.open_ledger(settings.state)
    try:
        image = store.load()
        clock = _clock(image.anchor)
        drivers = surroundings.build_drivers(settings.state, clock)
        server = SocketServer(settings, Ids(time.time))
        await server.start()
        try:
            await _run_daemon(settings, store, image, clock, drivers, server)
        finally:
            await server.close(settings.stop_grace)
    finally:
        closed = await within(CLOSE_WITHIN, store.close(), "the ledger does")
    log.info("stopped; what was made stays, and so do the claims")
    return 0 if closed else 1


async def _run_daemon(
    settings: Settings,
    store: SqliteStore,
    image: Image,
    clock: SteadyClock,
    drivers: Drivers,
    server: SocketServer,
) -> None:
    metrics = Metrics()
    judge = PolicyJudge(
        clock, metrics.decisions, daemon_uid=os.geteuid(), host=socket.gethostname()
    )
    readiness = Readiness(clock)
    tasks = Tasks(on_defect=lambda _: metrics.defect())
    services = Services(
        store=store,
        drivers=drivers,
        catalogue=catalogue(),
        clock=clock,
        ids=Ids(now=clock.now),
        telemetry=metrics,
        providers=Providers(clock),
        readiness=readiness,
        inventory=Inventory(),
        tasks=tasks,
        timers=Timers(clock),
        judge=judge,
        retention=Retention(settings.audit_retention, settings.audit_events, settings.audit_files),
    )
    fleet = Fleet(services, resync_every=settings.resync_interval)
    source = open_source(settings, services.catalogue, fleet, clock)
    freeze_file = FreezeFile(settings.freeze_path, fleet.see_freeze_file, clock.now)
    synchroniser = Synchroniser(
        source, fleet, services.catalogue, clock, metrics, max_destroy=settings.max_destroy
    )
    steering = Steering(synchroniser, services)
    repository = source.facts if isinstance(source, RepositorySource) else None
    notifier = await open_notifier(settings, store, image, metrics.notified)
    daemon = Daemon(
        settings,
        store,
        clock,
        fleet,
        synchroniser,
        metrics,
        started=clock.now(),
        issuers=server.bearers.facts,
        repository=repository,
        notifier=notifier,
    )
    watch = MisgrantWatch(fleet, services, judge)
    metrics.observe(fleet, store, watch)
    server.tell_status(daemon.status, metrics)
    server.host.judge = judge
    server.host.sync = synchroniser.sync
    server.host.to_wall = clock.to_wall
    try:
        async with asyncio.TaskGroup() as group:
            stop = group.create_task(until_told_to_stop(), name="signals")
            await fleet.open(image)
            await freeze_file.look()  # before anything is made or applied
            group.create_task(freeze_file.watch(), name="freeze file")
            if notifier is not None:
                group.create_task(notifier.run(), name="notify")
            _look_on(group, server, synchroniser, services, watch)
            pin = next((one for one in image.switches if one.kind is SwitchKind.PIN), None)
            group.create_task(
                synchroniser.follow(image.revision, image.older, pin), name="configuration"
            )
            steering.remember(pin)
            server.host.steering = steering
            applied = group.create_task(synchroniser.applied.wait(), name="first revision")
            await asyncio.wait({stop, applied}, return_when=asyncio.FIRST_COMPLETED)
            await fleet.start()
            server.serve(Core(fleet, store, clock, image.last_event))
            # What lives now lives long: sparing it each collection is what keeps pauses short.
            gc.collect()
            gc.freeze()
            gc.set_threshold(*COLLECT_AFTER)
            log.info("ready: %d pools, %d resources", len(fleet.pools()), len(services.inventory))
    except* Stop:
        log.info("stopping")
    finally:
        stop_in_peace()
        server.refuse_new()
        grace = settings.stop_grace
        await within(grace + LAST_RESORT, fleet.close(grace), "the pools do")
        await within(CLOSE_WITHIN, readiness.close(), "the readiness checks do")
        await within(CLOSE_WITHIN, _drop_anchor(store, clock), "the ledger does")


def _look_on(
    group: asyncio.TaskGroup,
    server: SocketServer,
    synchroniser: Synchroniser,
    services: Services,
    watch: MisgrantWatch,
) -> None:
    """Starts what nothing waits for."""
    group.create_task(server.host.denials.run(services), name="denials")
    group.create_task(server.pushes.run(synchroniser.sync), name="looks after pushes")
    group.create_task(watch.run(), name="misgrants")


async def _drop_anchor(store: SqliteStore, clock: SteadyClock) -> None:
    transaction = store.transaction()
    transaction.put_anchor(anchor(clock))
    try:
        await store.commit(transaction)
    except StoreError as error:
        log.warning("the clock's anchor could not be written: %s", error)


def _clock(anchor: ClockAnchor) -> SteadyClock:
    return resume_clock(
        boot_id=read_boot_id(),
        known_boot_id=anchor.boot_id,
        known_offset=anchor.offset,
        last_seen=anchor.last_seen,
    )


def _loop_factory() -> "type[asyncio.AbstractEventLoop] | None":
    try:
        import uvloop  # noqa: PLC0415 - optional: not on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop  # type: ignore[return-value]
