"""One seed's crowd: more who want one, several or certain resources than there are, for a long time.

The stories of `story` are rarely crowded for long enough to tell whether somebody starves. Here the
queue is never empty: each caller claims again as soon as it has released, nothing breaks, and every
claim is served in the end.
"""

import asyncio
from dataclasses import replace
from random import Random

from stoker.config.revision import Backfill, Lifetime, Queue
from stoker.pools.claim import Claimant
from stoker.pools.requests import ClaimRequest
from stoker.pools.wishes import Wish
from tests.fakes.world import Faults
from tests.rig import Host, Run, a_box_pool
from tests.simulation.together import Together
from tests.simulation.turns import Turns

LENGTH = 600.0
LOOK = 0.05
LONGEST = 3600.0


class Crowd:
    def __init__(self, seed: int) -> None:
        draw = self.random = Random(seed)
        self.host = Host(seed, Faults(latency=(0.05, draw.uniform(0.1, 0.5))))
        self.size = draw.randint(4, 8)
        self.problems: list[str] = []
        self.served = 0
        self._turns, self._together = Turns(), Together()

    async def play(self) -> None:
        pools = [
            a_box_pool(
                name=name,
                min=0,
                max=self.size,
                lifetime=Lifetime(ttl=LONGEST),
                backfill=Backfill(rate=20.0, burst=5, concurrency=4),
                queue=Queue(max=1000, wait=LONGEST),
            )
            for name in ("web", "work")
        ]
        run = await self.host.start(*(replace(pool, labels={"zone": "a"}) for pool in pools))
        watching = asyncio.create_task(self._watch(run), name="watch")
        try:
            async with asyncio.timeout(LONGEST * 2), asyncio.TaskGroup() as group:
                for number in range(self.size + 4):
                    uid = self.random.choice([1000, 1000, 1000, 1001, 1002])
                    group.create_task(self._come(run, uid, None), name=f"single {number}")
                for number in range(3):
                    wish = Wish(
                        self.random.randint(2, self.size),
                        self.random.choice(["", "resource.labels.zone == 'a'"]),
                        self.random.choice([(), ("web", "work")]),
                    )
                    group.create_task(self._come(run, 2000 + number, wish), name=f"gang {number}")
        finally:
            watching.cancel()
        self.problems += run.breaches()
        await run.stop()

    async def _come(self, run: Run, uid: int, wish: Wish | None) -> None:
        until = self.host.clock.now() + LENGTH
        pool = "" if wish is not None and wish.pools else "web"
        while self.host.clock.now() < until and not self.problems:
            asked = ClaimRequest(pool, Claimant(uid, uid, 1), wait=LONGEST, wish=wish)
            claim = await run.fleet.claim(asked)
            self.served += 1
            await asyncio.sleep(self.random.expovariate(1 / 2.0))
            await run.fleet.release(claim.id, request_id="")

    async def _watch(self, run: Run) -> None:
        while True:
            await asyncio.sleep(LOOK)
            now = self.host.clock.now()
            self.problems += self._turns.look(run, now)
            self.problems += self._together.look(run, now)


async def crowd(seed: int) -> tuple[int, str]:
    """How many were served, and what was wrong."""
    played = Crowd(seed)
    await played.play()
    return played.served, "; ".join(played.problems[:3])
