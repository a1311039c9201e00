"""A repository as a stream of contents: polled, asked at once when somebody wants it, never in the way.

The daemon's synchroniser iterates it as it iterates a directory. What the network does is told by
`facts`; only what the repository says, good or bad, comes through the stream.
"""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from ..catalogue import Catalogue
from ..loading import LoadResult
from ..revision import Revision
from ..wishes import Wishes
from .access import Access
from .clone import Clone
from .facts import RepositoryFacts, Verdict, behind_since
from .failures import Unavailable
from .following import SHORT, Follower, Look, Rules
from .programs import Programs, Stopped
from .urls import Location

log = logging.getLogger(__name__)

POLL = 30.0
"""Seconds between two looks."""
SPREAD = 0.1
"""Of the pause, added or left out by chance: hosts that started together do not ask together."""
FIRST_RETRY = 1.0
"""Seconds; doubled until it is the usual pause."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to follow, how to get at it, and which commits may be taken."""

    location: Location
    access: Access
    rules: Rules
    folder: Path
    """Of the local copy; ours alone, and its content may be lost at any time."""


class RepositorySource:
    """Yields each new content of the ref. To be iterated once; close the iterator to end it."""

    remote = True

    def __init__(
        self,
        wanted: Wanted,
        catalogue: Catalogue,
        *,
        serving: Callable[[], Revision | None],
        now: Callable[[], float],
        poll: float = POLL,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`serving` tells what is applied; `now` is steady time; `chance` is from 0 to 1."""
        self._programs = Programs()
        location = wanted.location
        clone = Clone(wanted.folder, location, wanted.access, self._programs)
        self._follower = Follower(clone, self._programs, catalogue, wanted.rules)
        self._serving = serving
        self._now = now
        self._poll = poll
        self._chance = chance
        self._facts = RepositoryFacts(location.url, location.ref, location.path, now())
        self._retry = FIRST_RETRY
        self._woken = asyncio.Event()
        self._wishes = Wishes(self._woken)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="repository")

    def facts(self) -> RepositoryFacts:
        return self._facts

    async def sync(self) -> None:
        """Looks now. Returns when what is found has been applied or refused."""
        await self._wishes.wish()

    async def changes(self) -> AsyncGenerator[LoadResult, None]:
        try:
            while True:
                self._woken.clear()
                asked = self._wishes.asked
                look = await self._look(again=asked > self._wishes.answered)
                if look is not None and look.result is not None:
                    yield look.result  # comes back when it was applied or refused
                await self._wishes.fulfil(asked)
                await self._pause(failed=look is None)
        finally:
            self._programs.stop()
            self._executor.shutdown(wait=False, cancel_futures=True)

    async def _pause(self, *, failed: bool) -> None:
        pause = self._poll
        if failed:
            pause = min(self._retry, self._poll)
            self._retry = 2 * pause
        else:
            self._retry = FIRST_RETRY
        try:
            async with asyncio.timeout(pause * (1 + SPREAD * (2 * self._chance() - 1))):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _look(self, *, again: bool) -> Look | None:
        """None when the repository did not answer."""
        serving = self._serving()
        loop = asyncio.get_running_loop()
        try:
            look = await loop.run_in_executor(
                self._executor, lambda: self._follower.look(serving, again=again)
            )
        except Unavailable as error:
            self._failed(str(error))
            return None
        except Stopped:
            raise asyncio.CancelledError from None
        except OSError as error:
            self._failed(f"the copy of the repository cannot be used ({error.strerror or error})")
            return None
        self._found(look)
        return look

    def _failed(self, why: str) -> None:
        facts = self._facts
        if facts.error != why:
            log.warning("%s could not be asked: %s", self._follower.location, why)
        since = self._now() if facts.failing_since is None else facts.failing_since
        self._facts = replace(facts, error=why, failing_since=since, failed=facts.failed + 1)

    def _found(self, look: Look) -> None:
        facts, now = self._facts, self._now()
        if facts.error:
            log.info("%s answers again", self._follower.location)
        new = look.result is not None
        seen_at = facts.seen_at if look.commit == facts.seen else now
        self._facts = replace(
            facts,
            seen=look.commit,
            seen_at=seen_at if look.commit else None,
            behind_since=behind_since(facts, look.commit, self._applied(), now),
            asked_at=now,
            refused=self._verdict(look, now),
            error="",
            failing_since=None,
            unchanged=facts.unchanged + (not new),
            fetched=facts.fetched + new,
        )

    def _applied(self) -> str:
        serving = self._serving()
        return "" if serving is None else serving.commit

    def _verdict(self, look: Look, now: float) -> Verdict | None:
        if look.result is None:
            return self._facts.refused
        if look.result.revision is not None:
            return None
        problems = look.result.errors
        first = str(problems[0]) if problems else "it is refused"
        more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
        log.info("commit %s is refused: %s", look.commit[:SHORT] or "(none)", first)
        return Verdict(look.commit, first + more, now)
