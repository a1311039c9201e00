"""Follows the configuration: each settled state becomes a revision that is applied, held, or is refused.

A broken state changes nothing: the last good revision goes on, and the log, the status and a
metric say what is wrong. One that would destroy too much is held until it is accepted. `deciding`
decides, this carries it out. At a start without a usable directory the ledger's last good one serves;
with a repository it serves until the repository has answered, which may take long. While it is pinned,
it serves whatever there is.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol

from ..config.catalogue import Catalogue
from ..config.digests import files_digest
from ..config.json_types import Json
from ..config.loading import LoadResult, load
from ..config.revision import Revision
from ..policies.testing import checked
from ..pools.clock import Clock
from ..pools.fleet import Fleet, Frozen
from ..pools.impact import MAX_DESTROY, Standing
from ..pools.store import KeptRevision, NewEvent, StoreError
from ..pools.switches import Switch
from ..pools.taking import Taking, applied, told_of
from .deciding import Circumstances, Verdict, decide
from .metrics import Metrics

log = logging.getLogger(__name__)

RETRY_AFTER = 1.0
FROZEN = "the host is frozen; it is decided about when the host is thawed"
SHOWN = 20
"""How many problems are kept for the status and the log."""


class Source(Protocol):
    """Where revisions come from: a directory, or a Git repository."""

    @property
    def remote(self) -> bool:
        """True when the first look may take long: the last good revision serves meanwhile."""
        ...

    def changes(self) -> AsyncGenerator[LoadResult, None]:
        """Goes on when what it gave has been applied or refused."""
        ...

    async def sync(self) -> None:
        """Looks now. Returns when what is found has been applied or refused."""
        ...


@dataclass(frozen=True, slots=True)
class Held:
    """A revision that waits to be accepted."""

    revision: Revision
    because: tuple[str, ...]
    """What of it has to be accepted."""
    since: float
    """Steady seconds."""


@dataclass(slots=True)
class ConfigState:
    """What the status says of the configuration."""

    revision: Revision | None = None
    applied_at: float = 0.0
    problems: tuple[str, ...] = ()
    broken_since: float | None = None
    held: Held | None = None
    pin: Switch | None = None
    """While it is set, nothing that the source holds is applied."""
    seen: Revision | None = None
    """While a revision is pinned: the newest one that the source held."""
    waiting: Revision | None = None
    """What was found in a freeze, and is decided about again when that is over."""
    waiting_since: float | None = None


class Synchroniser:
    def __init__(
        self,
        source: Source,
        fleet: Fleet,
        catalogue: Catalogue,
        clock: Clock,
        metrics: Metrics,
        *,
        max_destroy: float = MAX_DESTROY,
    ) -> None:
        self.state = ConfigState()
        self.applied = asyncio.Event()
        """Set once a revision serves."""
        self.lock = asyncio.Lock()
        """Held by whoever decides about a revision, until that is done."""
        self.max_destroy = max_destroy
        self._source = source
        self._fleet = fleet
        self._catalogue = catalogue
        self._clock = clock
        self._metrics = metrics
        self._kept: KeptRevision | None = None
        self._older: Sequence[KeptRevision] = ()
        self._last_good: Revision | None = None
        """`_kept`, once it was read."""
        self._newest: LoadResult | None = None
        """What the source held when it was looked at last."""
        self._waits = asyncio.Event()
        """Set while a revision waits for the end of a freeze."""

    async def follow(
        self,
        kept: KeptRevision | None,
        older: Sequence[KeptRevision] = (),
        pin: Switch | None = None,
    ) -> None:
        """Runs until cancelled. `kept` served last, and from `older` ones resources stand."""
        self._kept, self._older, self.state.pin = kept, older, pin
        if self._source.remote or not self._fleet.thawed.is_set():
            await self._fall_back()
        async with asyncio.TaskGroup() as group, aclosing(self._source.changes()) as results:
            thaw = group.create_task(self._catch_up(), name="configuration after a freeze")
            async for loaded in results:
                result = await _tested(loaded)
                async with self.lock:
                    await self._judge(result)
            thaw.cancel()

    async def _catch_up(self) -> None:
        """Decides again about what waits for the end of a freeze."""
        while True:
            await self._waits.wait()
            await self._fleet.thawed.wait()
            async with self.lock:
                self._waits.clear()
                if self.state.waiting is not None and self._newest is not None:
                    await self._judge(self._newest)

    async def sync(self, within: float) -> bool:
        """Looks for something new now; whether that came to its end in time."""
        try:
            async with asyncio.timeout(within):
                await self._source.sync()
        except TimeoutError:
            return False
        return True

    # Deciding; the lock is held

    def pinned(self, pin: Switch) -> None:
        """The revision that serves now stays, whatever the source says."""
        newest, serving = self._newest, self.state.revision
        self.state.pin = pin
        if self.state.broken_since is None:
            self.state.held = self.state.waiting = self.state.waiting_since = None
            seen = None if newest is None else newest.revision
            same = seen is not None and serving is not None and seen.id == serving.id
            self.state.seen = None if same else seen

    async def unpinned(self) -> None:
        """What the source holds is decided about once more."""
        self.state.pin = self.state.seen = None
        newest, serving = self._newest, self.state.revision
        if newest is None or newest.revision is None:
            return
        if serving is None or (newest.revision.id, newest.source) != (serving.id, serving.source):
            await self._judge(newest)

    def standing(self) -> Mapping[str, Standing]:
        return self._fleet.standing()

    async def circumstances(self, *, digest: str = "") -> Circumstances:
        """`digest`: of the files that are decided about. Those of what served last need not be read."""
        before = self.state.revision
        if before is None and self._kept is not None and files_digest(self._kept.files) != digest:
            before = await self._read_last_good()
        return Circumstances(
            before,
            self._fleet.standing(),
            self.state.pin is not None,
            self.max_destroy,
            frozen=not self._fleet.thawed.is_set(),
        )

    async def _judge(self, result: LoadResult) -> None:
        self._newest = result
        at = await self.circumstances(digest=result.digest)
        if at.before is None and self._is_last_good(result):
            at = replace(at, before=result.revision)
        decision = decide(result, at)
        revision = result.revision
        if revision is None:
            await self._refuse(result)
        else:
            for warning in result.problems[:SHOWN]:
                log.warning("%s", warning)
            match decision.verdict:
                case Verdict.HOLD:
                    await self._hold(revision, decision.because)
                case Verdict.LEAVE:
                    self._leave(revision)
                case Verdict.WAIT:
                    await self._wait(revision)
                case _:
                    await self._first(revision)
                    await self._apply(revision, decision.because)
        if self.state.revision is None:
            await self._fall_back()

    def _is_last_good(self, result: LoadResult) -> bool:
        return self._kept is not None and files_digest(self._kept.files) == result.digest

    async def _refuse(self, result: LoadResult) -> None:
        warnings = (problem for problem in result.problems if problem not in result.errors)
        problems = tuple(str(problem) for problem in (*result.errors, *warnings))
        self._show_broken(problems)
        log.error(
            "the configuration is broken and was not applied (%d problems); revision %s serves on",
            len(problems),
            self._serving(),
        )
        for problem in problems[:SHOWN]:
            log.error("%s", problem)
        told: dict[str, Json] = {"source": result.source, "problems": list(problems[:SHOWN])}
        if result.commit:
            told["commit"] = result.commit
        await self._tell(NewEvent("config.refused", reason=problems[0], data=told))

    async def _hold(self, revision: Revision, because: tuple[str, ...]) -> None:
        before = self.state.held
        again = before is not None and before.revision.id == revision.id
        self._set_aside()
        since = before.since if before is not None and again else self._clock.now()
        self.state.held = Held(revision, because, since)
        log.warning(
            "revision %s is held, because it would destroy too much; revision %s serves on. "
            "If that is wanted: stoker apply --accept %s",
            revision.id,
            self._serving(),
            revision.id,
        )
        for one in because[:SHOWN]:
            log.warning("%s", one)
        if not again:
            told = told_of(revision, because=list(because[:SHOWN]))
            await self._tell(NewEvent("config.held", reason=because[0], data=told))

    async def _wait(self, revision: Revision) -> None:
        """The host is frozen: what is valid and new waits, and what serves already is no news."""
        before, since = self.state.waiting, self.state.waiting_since
        self._set_aside()
        serving = self.state.revision
        if serving is not None and (serving.id, serving.source) == (revision.id, revision.source):
            return
        again = before is not None and before.id == revision.id
        self.state.waiting = revision
        self.state.waiting_since = since if again else self._clock.now()
        self._waits.set()
        if not again:
            log.warning("revision %s waits until the host is thawed", revision.id)
            await self._tell(NewEvent("config.held", reason=FROZEN, data=told_of(revision)))

    def _leave(self, revision: Revision) -> None:
        self._set_aside()
        self.state.seen = revision
        serving = self._serving()
        log.info("revision %s is not applied, because revision %s is pinned", revision.id, serving)

    def _show_broken(self, problems: tuple[str, ...]) -> None:
        since = self.state.broken_since
        self._set_aside()
        self.state.broken_since = self._clock.now() if since is None else since
        self.state.problems = problems[:SHOWN]
        self._metrics.config_loaded(ok=False, problems=len(problems))

    def _set_aside(self) -> None:
        """What the source held before is not what it holds now."""
        state = self.state
        self.state = ConfigState(state.revision, state.applied_at, pin=state.pin)
        self._metrics.config_loaded(ok=True, problems=0)

    def _serving(self) -> str:
        return self._fleet.revision.id if self._fleet.revision is not None else "none"

    async def _tell(self, event: NewEvent) -> None:
        try:
            await self._fleet.tell(event)
        except StoreError as error:
            log.error("the ledger does not take the event %s: %s", event.kind, error)  # noqa: TRY400 - expected, no traceback

    async def take(self, revision: Revision, taking: Taking) -> None:
        """Makes it the one that serves, as an operator orders: also in a freeze.

        Raises `StoreError` and changes nothing if the ledger refuses.
        """
        await self._first(revision)
        await self._fleet.apply(revision, taking, ordered=True)
        self._took(revision)

    async def _apply(self, revision: Revision, accepted: tuple[str, ...] = ()) -> None:
        """The same, for as long as the ledger refuses. `accepted`: what its own files accepted."""
        taking = Taking((applied(revision, accepted[:SHOWN]),))
        if (kept := self._goes_on(revision)) is not None:
            taking = Taking((), since=kept.applied_at)
        while True:
            try:
                await self._fleet.apply(revision, taking)
                break
            except Frozen:
                await self._wait(revision)
                return
            except StoreError as error:
                log.error("revision %s waits, the ledger refuses: %s", revision.id, error)  # noqa: TRY400 - expected, no traceback
                await asyncio.sleep(RETRY_AFTER)
            except Exception as error:
                log.exception("revision %s could not be applied, which is a defect", revision.id)
                self._metrics.defect()
                self._give_up(revision, error)
                return
        self._took(revision, taking.since)

    def _goes_on(self, revision: Revision) -> KeptRevision | None:
        """It served when the last run ended: a restart applies nothing anew."""
        if self.state.revision is not None or self._kept is None:
            return None
        same = (self._kept.id, self._kept.source) == (revision.id, revision.source)
        return self._kept if same else None

    def _took(self, revision: Revision, since: float | None = None) -> None:
        applied_at = self._clock.now() if since is None else since
        self.state = ConfigState(revision, applied_at, pin=self.state.pin)
        self._metrics.config_loaded(ok=True, problems=0)
        self._metrics.config_applied(self._clock.to_wall(applied_at))
        log.info("revision %s is applied: %d pools", revision.id, len(revision.pools))
        self.applied.set()

    def _give_up(self, revision: Revision, error: Exception) -> None:
        """The daemon goes on with what it has; the next change of the directory is tried again."""
        why = f"revision {revision.id} could not be applied because of a defect: {error!r}"
        self._show_broken((why,))

    # What served before

    async def _first(self, revision: Revision) -> None:
        """At a start: what stands may have been made from revisions before the one that serves now.

        Without them it would all be replaced at once, instead of serving until it is rolled. The one
        that served last, and those from which a rollout goes, say what is made while it goes on.
        """
        if self.state.revision is not None:
            return
        known = {pool.blueprint.digest for pool in revision.pools.values()}
        needed = {each.revision for each in self._fleet.resources() if each.digest not in known}
        needed |= self._fleet.rolled_from()
        for kept in (*([] if self._kept is None else [self._kept]), *self._older):
            last = kept is self._kept
            if (last or kept.id in needed) and files_digest(kept.files) != revision.digest:
                result = await self.read(kept)
                if result.revision is not None:
                    self._fleet.recall(result.revision, last=last)

    async def _fall_back(self) -> None:
        """What is known of the newest state of the source stays known."""
        revision = await self._read_last_good()
        if revision is None:
            return
        state = self.state
        await self._first(revision)
        await self._apply(revision)
        if state.broken_since is not None:
            self._metrics.config_loaded(ok=False, problems=len(state.problems))
        if self.state.revision is revision:
            self.state = replace(state, revision=revision, applied_at=self.state.applied_at)
        log.warning("the last good revision %s serves, from the ledger", revision.id)

    async def _read_last_good(self) -> Revision | None:
        if self._kept is None or self._last_good is not None:
            return self._last_good
        self._last_good = (await self.read(self._kept)).revision
        if self._last_good is None:
            log.error("the last good revision %s cannot be used by this version", self._kept.id)
        return self._last_good

    async def read(self, kept: KeptRevision) -> LoadResult:
        return await asyncio.to_thread(
            load, kept.files, self._catalogue, kept.source, commit=kept.commit
        )


async def _tested(loaded: LoadResult) -> LoadResult:
    """The same, or a refusal where the revision's own policy tests fail."""
    if loaded.revision is None or not loaded.revision.policy_tests:
        return loaded
    return await asyncio.to_thread(checked, loaded)
