"""The process driver: local programs as parts of resources.

Each runs in a session of its own with its output going straight to files, so that it outlives the
daemon; a later daemon knows it again by pid and start time. Its end is told by a pidfd. Every
process that descends from it carries the part's mark in its environment, and is found by it.

Blocking work (starting, scanning /proc, files) runs in a few threads; jobs about one part run one
after the other, so a `destroy` never overtakes the start of a `create` that was cancelled.
"""

import asyncio
import logging
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...config.catalogue import DriverFacts, OutputFacts, ValueType
from ...config.json_types import Json, JsonObject
from ..clock import read_boot_id
from ..driver import (
    Changed,
    Made,
    NotFound,
    Observation,
    PartRef,
    PartRequest,
    Presence,
    Rejected,
    Unavailable,
)
from ..ids import PartId
from .context import DriverContext
from .failures import explained
from .log_rotation import LOGS, STDOUT, LogLimits, rotate
from .ports import FIRST, LAST, PortReservations, candidate_ports, is_free
from .process_ending import find_first, signal_members
from .process_leader import Leader
from .process_parts import Order, ProcessParts
from .process_settings import ProcessSettings, ending_of, logs_of
from .process_watch import ProcessWatch
from .procfs import Identity, ProcessFacts, Snapshot, read_alive, take_snapshot
from .settings import check_part_id, read_settings
from .snapshots import Snapshots
from .workers import Workers

log = logging.getLogger(__name__)

ROTATE_EVERY = 10.0
"""Seconds between two looks at the sizes of all logs."""
FIRST_ROTATION = 1.0
START_WITHIN = 30.0
"""Seconds. Starting a process takes milliseconds, unless a disk it needs has stopped answering."""
STARTS_AT_ONCE = 2
"""Each keeps the interpreter to itself for about a millisecond, in which no claim is answered."""
TRIES_AT_ONCE = 32
"""Ports tried before the event loop gets its turn."""

FACTS = DriverFacts(
    name="process",
    settings=ProcessSettings,
    outputs={
        "pid": OutputFacts(ValueType.INT),
        "ports": OutputFacts(ValueType.MAP, keys_from="ports"),
        "log": OutputFacts(ValueType.STRING),
    },
    allotted={"ports": OutputFacts(ValueType.MAP, keys_from="ports")},
)


def create_driver(context: DriverContext) -> "ProcessDriver":
    return ProcessDriver(context)


@dataclass(slots=True)
class _Ending:
    """A part that was asked to end: when, and which of its processes were told."""

    asked_at: float
    told: set[Identity] = field(default_factory=set[Identity])


class ProcessDriver:
    """One per daemon and state folder."""

    name = "process"
    pure = False

    def __init__(self, context: DriverContext) -> None:
        self._root = context.parts / "process"
        self._clock = context.clock
        self._workers = Workers("stoker-process")
        self._starts = asyncio.Semaphore(STARTS_AT_ONCE)
        self._snapshots = Snapshots(self._take_snapshot)
        self._parts: ProcessParts | None = None
        self._ports = PortReservations(range(FIRST, LAST + 1))
        self._watch: ProcessWatch | None = None
        self._endings: dict[PartId, _Ending] = {}
        self._logs: dict[PartId, LogLimits] = {}
        self._house: asyncio.Task[None] | None = None

    async def open(self, changed: Changed) -> None:
        self._workers.open()
        self._watch = ProcessWatch(self._workers, changed)
        self._ports = PortReservations(await self._workers.run(candidate_ports))
        self._parts = await self._workers.run(self._open_parts)
        self._house = asyncio.create_task(self._keep_house(), name="process driver: logs")

    async def close(self) -> None:
        """Processes run on; the next daemon finds them again."""
        if self._house is not None:
            self._house.cancel()
            await asyncio.gather(self._house, return_exceptions=True)
            self._house = None
        await self._snapshots.close()
        if self._parts is not None:
            await self._workers.run(self._parts.cgroups.close)
        await self._workers.close()
        await asyncio.sleep(0)  # what a thread has just handed to the loop arrives
        if self._watch is not None:
            await self._watch.close()
            self._watch = None
        if self._parts is not None:
            self._parts.close()
            self._parts = None

    async def allot(self, request: PartRequest) -> JsonObject:
        names = request.settings.get("ports") or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise Rejected(f"`ports` of {request.id} must be a list of names")
        wanted = {str(name) for name in names}
        if set(self._ports.of(request.id)) != wanted:
            self._ports.free(request.id)
            try:
                for name in sorted(wanted):
                    self._ports.reserve(request.id, {name: await self._free_port()})
            except BaseException:
                self._ports.free(request.id)
                raise
        return {"ports": dict[str, Json](self._ports.of(request.id))}

    def intend(self, request: PartRequest) -> JsonObject:
        """The ports, so that a restart keeps them, and how the process is ended."""
        settings = request.settings
        kept = {name: settings[name] for name in ("stop", "logs") if name in settings}
        return {"ports": request.allotted.get("ports") or {}, **kept}

    async def create(self, request: PartRequest) -> Made:
        part = PartId(check_part_id(request.id))
        settings = read_settings(ProcessSettings, request.settings, part)
        order = Order(part, settings, _ports_in(request.allotted))
        parts = self._opened()
        try:
            async with self._starts, asyncio.timeout(START_WITHIN):
                leader = await self._workers.run_for(part, self._make, parts, order)
        except TimeoutError as error:
            raise Unavailable(
                f"starting {settings.command[0]} takes more than {START_WITHIN:.0f} s; "
                "a disk or a network file system may have stopped answering"
            ) from error
        self._logs[part] = LogLimits(settings.logs.max_size, settings.logs.keep)
        pid, ports = leader.identity.pid, dict[str, Json](order.ports)
        handle: dict[str, Json] = {
            **self.intend(request),
            "pid": pid,
            "startTime": leader.identity.start_time,
            "bootId": parts.boot_id,
        }
        log_path = str(parts.folder(part) / STDOUT)
        return Made(handle, {"pid": pid, "ports": ports, "log": log_path})

    async def observe(self, part: PartRef) -> Observation:
        return await self._workers.run_for(
            part.id, self._observe, part, self._watching().held(part.id)
        )

    async def destroy(self, part: PartRef) -> None:
        """Asks by the part's stop signal, kills after its grace, and then removes its logs."""
        # A job of its own first: a start under way ends before the host is looked at.
        first = await self._workers.run_for(part.id, self._identify, part)
        snapshot = await self._snapshots.fresh()
        if await self._workers.run_for(part.id, self._end, part, first, snapshot):
            self._endings.pop(part.id, None)
            self._watching().drop(part.id)
            raise NotFound(f"no process of {part.id} is left")

    async def list_owned(self) -> frozenset[PartId]:
        snapshot = await self._snapshots.fresh()
        with explained(f"listing {self._root}"):
            folders = await self._workers.run(self._opened().listed)
        return folders | frozenset(snapshot.marked)

    def watch(self, part: PartRef) -> None:
        self._ports.reserve(part.id, _ports_in(part.handle))
        logs = logs_of(part.handle)
        self._logs[part.id] = LogLimits(logs.max_size, logs.keep)
        self._watching().watch(part.id, self._identity_in(part.handle))

    def forget(self, part: PartId) -> None:
        self._ports.free(part)
        self._endings.pop(part, None)
        self._logs.pop(part, None)
        if self._watch is not None:
            self._watch.drop(part)

    async def _free_port(self) -> int:
        for tried, port in enumerate(self._ports.untaken(), start=1):
            if is_free(port):
                return port
            if tried % TRIES_AT_ONCE == 0:
                await asyncio.sleep(0)
        raise self._ports.exhausted()

    async def _take_snapshot(self) -> Snapshot:
        with explained("looking for processes in /proc"):
            return await self._workers.run(take_snapshot, self._opened().mark)

    async def _keep_house(self) -> None:
        """Rotates logs and buries children, now and then."""
        pause = FIRST_ROTATION
        while True:
            await asyncio.sleep(pause)
            pause = ROTATE_EVERY
            self._watching().reap_left()
            await self._workers.run(_rotate_all, self._root, dict(self._logs))

    def _opened(self) -> ProcessParts:
        if self._parts is None:
            raise Unavailable("the process driver is closed")
        return self._parts

    def _watching(self) -> ProcessWatch:
        if self._watch is None:
            raise Unavailable("the process driver is closed")
        return self._watch

    def _identity_in(self, handle: JsonObject) -> Identity | None:
        """The process that a handle names, unless the host was started anew since."""
        pid, start_time = handle.get("pid"), handle.get("startTime")
        if not isinstance(pid, int) or not isinstance(start_time, int):
            return None
        return Identity(pid, start_time) if handle.get("bootId") == self._opened().boot_id else None

    # What follows runs in threads, one job per part at a time.

    def _open_parts(self) -> ProcessParts:
        with explained(f"making the folder {self._root}"):
            return ProcessParts(self._root, read_boot_id())

    def _make(self, parts: ProcessParts, order: Order) -> Leader:
        leader = parts.make(order)
        self._watching().hold_from_thread(order.part, leader)
        return leader

    def _identify(self, part: PartRef) -> Identity | None:
        """The part's first process as far as is known without looking at all others."""
        with explained(f"reading what is known of {part.id}"):
            recorded = self._opened().recorded(part.id)
        if recorded is not None and recorded.boot_id == self._opened().boot_id:
            return recorded.identity
        return self._identity_in(part.handle)

    def _observe(self, part: PartRef, leader: Leader | None) -> Observation:
        held = leader.identity if leader is not None else self._identity_in(part.handle)
        with explained(f"observing the process of {part.id}"):
            facts = read_alive(held) if held is not None else None
            if facts is None:
                # Not the one that is known: another one may have been started since.
                held = self._identify(part) or self._find_marked(part.id)
                facts = read_alive(held) if held is not None else None
            if facts is not None and facts.stopped:
                how = f"process {facts.pid} is stopped; SIGCONT lets it go on"
                return Observation(Presence.DRIFTED, how)
            if facts is not None:
                return Observation(Presence.PRESENT)
            known = leader if leader is not None and leader.identity == held else None
            return Observation(Presence.ABSENT, self._obituary(part, held, known))

    def _find_marked(self, part: PartId) -> Identity | None:
        return find_first(take_snapshot(self._opened().mark), part)

    def _obituary(self, part: PartRef, first: Identity | None, leader: Leader | None) -> str:
        if first is None:
            restarted = "pid" in part.handle and self._identity_in(part.handle) is None
            return (
                f"the host was started anew since {part.id} was made"
                if restarted
                else f"no process of {part.id} is running"
            )
        how = leader.ended_how() if leader is not None else "has ended"
        words = self._opened().last_words(part.id)
        tail = f"; last line of stderr: {words}" if words else ""
        return f"process {first.pid} {how}{tail}"

    def _end(self, part: PartRef, first: Identity | None, snapshot: Snapshot) -> bool:
        """One step towards its end. True when nothing of it is left."""
        first = first or find_first(snapshot, part.id)
        left = self._opened().members(snapshot, part.id, first)
        if not left:
            self._opened().remove(part.id)
            return True
        leader = self._watching().held(part.id)
        if leader is not None and leader.identity != first:
            leader = None
        with explained(f"signalling the processes of {part.id}"):
            self._signal(part, left, first, leader)
        return False

    def _signal(
        self,
        part: PartRef,
        left: list[ProcessFacts],
        first: Identity | None,
        leader: Leader | None,
    ) -> None:
        stop, now = ending_of(part.handle), self._clock.now()
        ending = self._endings.get(part.id)
        if ending is None:
            ending = self._endings[part.id] = _Ending(now)
            signal_members(left, first, leader, stop.number)
            signal_members(left, first, leader, signal.SIGCONT)  # a stopped one hears nothing
        elif now - ending.asked_at >= stop.grace:
            signal_members(left, first, leader, signal.SIGKILL)
            self._opened().cgroups.kill(part.id)
        else:
            late = [facts for facts in left if facts.identity not in ending.told]
            signal_members(late, None, None, stop.number)
        ending.told.update(facts.identity for facts in left)


def _ports_in(values: JsonObject) -> dict[str, int]:
    """`ports` of a handle or of what was allotted."""
    ports = values.get("ports")
    if not isinstance(ports, dict):
        return {}
    return {name: port for name, port in ports.items() if isinstance(port, int)}


def _rotate_all(root: Path, logs: Mapping[PartId, LogLimits]) -> None:
    for part, limits in logs.items():
        for name in LOGS:
            try:
                rotate(root / part / name, limits)
            except OSError as error:
                log.warning("the log %s cannot be rotated: %s", root / part / name, error)
