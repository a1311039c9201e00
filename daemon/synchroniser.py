"""Follows the configuration: each settled state becomes a revision that is applied, or is refused.

A broken state changes nothing: the last good revision goes on, and the log, the status and a
metric say what is wrong. At a start without a usable directory the ledger's last good one serves;
with a repository it serves until the repository has answered, which may take long.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from ..config.catalogue import Catalogue
from ..config.json_types import Json
from ..config.loading import LoadResult, load
from ..config.revision import Revision
from ..policies.testing import checked
from ..pools.clock import Clock
from ..pools.fleet import Fleet
from ..pools.store import KeptRevision, NewEvent, StoreError
from .metrics import Metrics

log = logging.getLogger(__name__)

RETRY_AFTER = 1.0
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


@dataclass(slots=True)
class ConfigState:
    """What the status says of the configuration."""

    revision: Revision | None = None
    applied_at: float = 0.0
    problems: tuple[str, ...] = ()
    broken_since: float | None = None


class Synchroniser:
    def __init__(
        self, source: Source, fleet: Fleet, catalogue: Catalogue, clock: Clock, metrics: Metrics
    ) -> None:
        self.state = ConfigState()
        self.applied = asyncio.Event()
        """Set once a revision serves."""
        self._source = source
        self._fleet = fleet
        self._catalogue = catalogue
        self._clock = clock
        self._metrics = metrics

    async def follow(self, kept: KeptRevision | None, older: Sequence[KeptRevision] = ()) -> None:
        """Runs until cancelled. `kept` served last, and from `older` ones resources stand."""
        earlier = [*([] if kept is None else [kept]), *older]
        if self._source.remote and kept is not None:
            await self._fall_back(kept, older)
        async with aclosing(self._source.changes()) as results:
            async for loaded in results:
                result = await _tested(loaded)
                if result.revision is not None:
                    for warning in result.problems[:SHOWN]:
                        log.warning("%s", warning)
                    if self.state.revision is None:
                        await self._recall(earlier, result.revision)
                    await self._apply(result.revision)
                    continue
                await self._refuse(result)
                if self.state.revision is None and kept is not None:
                    await self._fall_back(kept, older)

    def _give_up(self, revision: Revision, error: Exception) -> None:
        """The daemon goes on with what it has; the next change of the directory is tried again."""
        why = f"revision {revision.id} could not be applied because of a defect: {error!r}"
        self.state.problems = (why,)
        if self.state.broken_since is None:
            self.state.broken_since = self._clock.now()
        self._metrics.config_loaded(ok=False, problems=1)

    async def sync(self, within: float) -> bool:
        """Looks for something new now; whether that came to its end in time."""
        try:
            async with asyncio.timeout(within):
                await self._source.sync()
        except TimeoutError:
            return False
        return True

    async def _refuse(self, result: LoadResult) -> None:
        warnings = (problem for problem in result.problems if problem not in result.errors)
        problems = tuple(str(problem) for problem in (*result.errors, *warnings))
        if self.state.broken_since is None:
            self.state.broken_since = self._clock.now()
        self.state.problems = problems[:SHOWN]
        self._metrics.config_loaded(ok=False, problems=len(problems))
        serving = self._fleet.revision.id if self._fleet.revision is not None else "none"
        log.error(
            "the configuration is broken and was not applied (%d problems); revision %s serves on",
            len(problems),
            serving,
        )
        for problem in problems[:SHOWN]:
            log.error("%s", problem)
        told: dict[str, Json] = {"source": result.source, "problems": list(problems[:SHOWN])}
        if result.commit:
            told["commit"] = result.commit
        try:
            await self._fleet.tell(NewEvent("config.refused", reason=problems[0], data=told))
        except StoreError as error:
            log.error("the ledger does not take the refusal: %s", error)  # noqa: TRY400 - expected, no traceback

    async def _recall(self, earlier: Sequence[KeptRevision], revision: Revision) -> None:
        """At a start: what stands may have been made from revisions before the one that serves now.

        Without them it would all be replaced at once, instead of serving until it is rolled.
        """
        known = {pool.blueprint.digest for pool in revision.pools.values()}
        made_from = {each.revision for each in self._fleet.resources() if each.digest not in known}
        for kept in earlier:
            if kept.id in made_from and kept.id != revision.id:
                result = await self._read(kept)
                if result.revision is not None:
                    self._fleet.recall(result.revision)

    async def _fall_back(self, kept: KeptRevision, older: Sequence[KeptRevision]) -> None:
        result = await self._read(kept)
        if result.revision is None:
            log.error("the last good revision %s cannot be used by this version", kept.id)
            return
        problems, since = self.state.problems, self.state.broken_since
        await self._recall(older, result.revision)
        await self._apply(result.revision)
        if since is not None:
            self.state.problems, self.state.broken_since = problems, since
            self._metrics.config_loaded(ok=False, problems=len(problems))
        log.warning("the last good revision %s serves, from the ledger", kept.id)

    async def _read(self, kept: KeptRevision) -> LoadResult:
        return await asyncio.to_thread(
            load, kept.files, self._catalogue, kept.source, commit=kept.commit
        )

    async def _apply(self, revision: Revision) -> None:
        while True:
            try:
                await self._fleet.apply(revision)
                break
            except StoreError as error:
                log.error("revision %s waits, the ledger refuses: %s", revision.id, error)  # noqa: TRY400 - expected, no traceback
                await asyncio.sleep(RETRY_AFTER)
            except Exception as error:
                log.exception("revision %s could not be applied, which is a defect", revision.id)
                self._metrics.defect()
                self._give_up(revision, error)
                return
        now = self._clock.now()
        self.state = ConfigState(revision, now)
        self._metrics.config_loaded(ok=True, problems=0)
        self._metrics.config_applied(self._clock.to_wall(now))
        log.info("revision %s is applied: %d pools", revision.id, len(revision.pools))
        self.applied.set()


async def _tested(loaded: LoadResult) -> LoadResult:
    """The same, or a refusal where the revision's own policy tests fail."""
    if loaded.revision is None or not loaded.revision.policy_tests:
        return loaded
    return await asyncio.to_thread(checked, loaded)
