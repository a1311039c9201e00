"""One seed's rush: a pool that is too small for those who come, and nothing breaks.

The stories of `story` are full of faults that no estimate can foresee. Here the waits come from the
queue alone: several callers, bursts, creations and uses whose lengths vary. It tells how well the
estimates are that waiting claims are given, and that everybody is served and nobody twice.
"""

import asyncio
from random import Random

from stoker.config.revision import Backfill, Lifetime, Queue
from stoker.pools.claim import Claim, Claimant, ClaimState
from stoker.pools.requests import ClaimRequest
from tests.fakes.world import Faults
from tests.rig import Host, Run, a_box_pool
from tests.simulation.estimates import Errors, Estimates

LOOK = 1.0
"""Virtual seconds between two looks: as often as `stoker claim` looks on a terminal."""
SPREAD = 0.4
"""Of the logarithm of how long a claim is used: two of three lie between 0.67 and 1.5 of the median."""
AT_ONCE = (1, 1, 1, 1, 2, 15)
"""How many come together."""
AT_ONCE_ON_AVERAGE = sum(AT_ONCE) / len(AT_ONCE)
LONGEST = 3600.0


class Rush:
    def __init__(self, seed: int, callers: int = 150) -> None:
        draw = self.random = Random(seed)
        quickest = draw.uniform(0.5, 10.0)
        self.host = Host(seed, Faults(latency=(quickest, quickest * draw.uniform(1.2, 2.5))))
        self.size = draw.randint(2, 20)
        self.use = draw.uniform(5.0, 60.0)
        """The median of how long a claim is used, in seconds."""
        self.callers = callers
        self.load = draw.uniform(0.7, 1.2)
        """Those who come, in parts of those who can be served."""
        self.estimates = Estimates()
        self.used: list[Claim] = []

    async def play(self) -> None:
        spec = a_box_pool(
            min=self.random.randint(0, 2),
            max=self.size,
            lifetime=Lifetime(ttl=1800.0),
            backfill=Backfill(rate=1.0, burst=1, concurrency=2),
            queue=Queue(max=1000, wait=LONGEST),
        )
        run = await self.host.start(spec)
        watching = asyncio.create_task(self._watch(run), name="watch")
        try:
            async with asyncio.timeout(LONGEST * 4), asyncio.TaskGroup() as group:
                await self._come(run, group)
        finally:
            watching.cancel()
        await run.stop()

    async def _come(self, run: Run, group: asyncio.TaskGroup) -> None:
        gap = (self.use + self.host.faults.latency[1]) / self.size / self.load
        came = 0
        while came < self.callers:
            for _ in range(min(self.random.choice(AT_ONCE), self.callers - came)):
                came += 1
                uid = self.random.choice([1000, 1000, 1000, 1001, 1002])
                group.create_task(self._use(run, uid), name=f"caller {came}")
            await asyncio.sleep(self.random.expovariate(1 / (AT_ONCE_ON_AVERAGE * gap)))

    async def _use(self, run: Run, uid: int) -> None:
        asked = ClaimRequest("web", Claimant(uid, uid, 1), wait=None)
        claim = await run.fleet.claim(asked)
        if claim.state is ClaimState.PENDING:
            self.estimates.look_at(run, claim, self.host.clock.now())
        while claim.state in {ClaimState.PENDING, ClaimState.FINISHING}:
            claim = await run.fleet.settled(claim.id, 60.0)
        assert claim.state is ClaimState.BOUND, f"{claim.id} was not served: {claim.detail}"
        self.used.append(claim)
        await asyncio.sleep(self.use * self.random.lognormvariate(0.0, SPREAD))
        await run.fleet.release(claim.id, request_id="")

    async def _watch(self, run: Run) -> None:
        while True:
            await asyncio.sleep(LOOK)
            self.estimates.look(run, self.host.clock.now())


async def rush(seed: int) -> Errors:
    """Of the estimates of one seed."""
    played = Rush(seed)
    await played.play()
    return played.estimates.errors
