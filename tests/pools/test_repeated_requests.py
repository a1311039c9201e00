"""However often requests are repeated with their keys, the claims are as if each had been sent once."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stoker.pools.claim import ClaimState
from stoker.pools.ids import ClaimId
from stoker.pools.requests import ClaimRequest, Refusal
from stoker.pools.wishes import Wish
from tests.rig import ME, Host, Run, a_box_pool, virtual_throttle
from tests.virtual_loop import VirtualLoop

KEYS = 4
TTLS = (600.0, 1200.0)
LIVE = frozenset({ClaimState.PENDING, ClaimState.FINISHING, ClaimState.BOUND})


@dataclass(frozen=True)
class Send:
    """A claim, sent with its key until there is an answer."""

    key: int
    ttl: float
    pool: str
    stays: bool
    """Whether the caller stays on the line."""
    count: int = 1
    """How many resources it is for."""
    at_once: int = 1
    """How many times it is sent at the same time."""
    again: int = 0
    """How many times it is sent once more after its answer."""
    leaves_after: float | None = None
    """Seconds after which one more caller with the same request hangs up."""
    crash_after: float | None = None
    """Seconds after which the daemon is killed, so that it is sent anew."""

    def once(self) -> "Send":
        return Send(self.key, self.ttl, self.pool, self.stays, self.count)

    @property
    def request(self) -> ClaimRequest:
        return ClaimRequest(
            self.pool,
            ME,
            ttl=self.ttl,
            wait=30.0 if self.stays else None,
            key=b"key %d" % self.key,
            body=f"{self.pool} {self.ttl} {self.count}".encode(),
            wish=Wish(self.count) if self.count > 1 else None,
        )


@dataclass(frozen=True)
class Release:
    """The claim of that key, if there is one, is released; as often as told."""

    key: int
    times: int = 1

    def once(self) -> "Release":
        return Release(self.key)


Step = Send | Release
moments = st.none() | st.sampled_from([0.0, 0.0002, 0.0004, 0.001, 0.002, 0.01])
sends = st.builds(
    Send,
    key=st.integers(1, KEYS),
    ttl=st.sampled_from(TTLS),
    pool=st.sampled_from(["web", "web", "web", "nowhere"]),
    stays=st.booleans(),
    count=st.sampled_from([1, 1, 2, 3]),
    at_once=st.integers(1, 3),
    again=st.integers(0, 2),
    leaves_after=moments,
    crash_after=moments,
)
releases = st.builds(Release, st.integers(1, KEYS), st.integers(1, 3))
histories = st.lists(sends | sends | releases, min_size=1, max_size=7)

Answer = tuple[str, ...]


class Play:
    """One history against the real core, with crashes."""

    def __init__(self) -> None:
        self.host = Host(seed=1)
        self.answers: list[set[Answer]] = []
        """For each step: what its callers were told, without what is made up anew each time."""
        self.ids: dict[int, set[ClaimId]] = {}
        """For each key: the claims that its callers were given."""

    async def tell(self, history: list[Step]) -> None:
        self.run = await self._start()
        for step in history:
            if isinstance(step, Send):
                await self._send(step)
            else:
                await self._release(step)
        await asyncio.sleep(5.0)

    async def _start(self) -> Run:
        run = await self.host.start(a_box_pool(min=2, max=KEYS * 3))
        await run.until_ready(2)
        return run

    async def _send(self, step: Send) -> None:
        told: set[Answer] = set()
        if step.crash_after is not None:
            callers = [self._ask(step, told) for _ in range(step.at_once)]
            tasks = [asyncio.create_task(caller) for caller in callers]
            await asyncio.sleep(step.crash_after)
            await self.run.crash()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            told.clear()  # what a daemon said that was being killed may not have arrived
            self.run = await self._start()
        impatient = asyncio.create_task(self._ask(step, told))
        if step.leaves_after is not None:
            await asyncio.sleep(step.leaves_after)
            impatient.cancel()
        await asyncio.gather(*[self._ask(step, told) for _ in range(step.at_once)])
        with suppress(asyncio.CancelledError):
            await impatient
        for _ in range(step.again):
            await self._ask(step, told)
        self.answers.append(told)

    async def _ask(self, step: Send, told: set[Answer]) -> None:
        try:
            claim = await self.run.fleet.claim(step.request)
        except Refusal as refusal:
            told.add((refusal.code.value,))
        else:
            self.ids.setdefault(step.key, set()).add(claim.id)
            over = "over" if claim.state not in LIVE else ""
            told.add((claim.pool, str(claim.ttl), str(claim.count), over))

    async def _release(self, step: Release) -> None:
        for claim in self.ids.get(step.key, ()):
            for _ in range(step.times):
                await self.run.fleet.release(claim, request_id="r")
        self.answers.append(set())

    def claims(self) -> list[tuple[bytes, str, float, int, ClaimState]]:
        """Those that live, as everyone who asks sees them."""
        found = [claim for claim in self.run.fleet.live_claims() if claim.state in LIVE]
        return sorted(
            (claim.key or b"", claim.pool, claim.ttl, claim.count, claim.state) for claim in found
        )

    def held(self) -> int:
        return sum(1 for resource in self.run.fleet.resources() if resource.claim is not None)


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def play(history: list[Step]) -> Play:
    loop = VirtualLoop()
    try:
        with virtual_throttle():
            played = Play()
            loop.run_until_complete(played.tell(history))
            try:
                assert [] == played.run.breaches()
                return played
            finally:
                loop.run_until_complete(played.run.crash())
    finally:
        loop.close()


@settings(max_examples=60)
@given(histories)
@example([Send(1, 600.0, "web", stays=True, at_once=3, crash_after=0.0004), Release(1, 2)])
@example([Send(1, 600.0, "web", stays=True, count=3, at_once=2, crash_after=0.002, again=1)])
@example([Send(1, 600.0, "web", stays=False, count=2, leaves_after=0.0)])
@example([Send(1, 600.0, "web", stays=False, leaves_after=0.0), Send(1, 1200.0, "web", stays=True)])
def test_the_claims_are_as_if_each_request_had_been_sent_once(history: list[Step]) -> None:
    repeated, once = play(history), play([step.once() for step in history])
    assert once.claims() == repeated.claims()
    assert once.held() == repeated.held()
    assert once.answers == repeated.answers
    assert all(1 == len(ids) for ids in repeated.ids.values())
