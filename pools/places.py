"""Who may join a line, which place a claim has in those that it stands in, and when it is served."""

import math
from collections.abc import Callable, Mapping

from .claim import Claim
from .ids import ClaimId
from .pool import Pool
from .requests import Code, Refusal
from .services import Services
from .wishes import Wish


class Places:
    def __init__(
        self,
        services: Services,
        pools: Mapping[str, Pool],
        claims: Callable[[], Mapping[ClaimId, Claim]],
    ) -> None:
        self._services = services
        self._pools = pools
        self._claims = claims
        """All that are not over."""

    def place_in_line(self, claim: Claim) -> tuple[int, float | None]:
        """The position (1 is next; 0: not in line) and an estimate in seconds, if there is one."""
        wish = claim.wish
        if wish is None or not wish.pools:
            return self._place_in(claim.pool, claim)
        return self._best_line(claim, wish)[:2]

    def nearest_pool(self, claim: Claim) -> Pool | None:
        """The one that will probably serve a waiting claim first."""
        wish = claim.wish
        if wish is None or not wish.pools:
            return self._pools.get(claim.pool)
        return self._pools.get(self._best_line(claim, wish)[2])

    def may_queue(self, pool: Pool) -> None:
        """Raises `Refusal` when nobody may join its line just now."""
        name = pool.spec.name
        if pool.hopeless:
            breaker = pool.breaker
            raise Refusal(
                Code.BLUEPRINT_FAILING,
                f"the pool {name} has nothing ready, and creating failed {breaker.failures} times "
                f"in a row: {breaker.last_error}",
                retry_after=max(1.0, breaker.until - self._services.clock.now()),
            )
        if pool.line.taken >= pool.spec.queue.max:
            raise Refusal(
                Code.QUEUE_FULL,
                f"{pool.line.taken} claims wait for the pool {name} already, and its queue.max is "
                f"{pool.spec.queue.max}; try again later, or raise queue.max",
                retry_after=max(1.0, self._expected_wait(pool, 1) or 1.0),
            )

    def _best_line(self, claim: Claim, wish: Wish) -> tuple[int, float | None, str]:
        """It keeps its place in each of them until one has served it."""
        lines = [(*self._place_in(name, claim), name) for name in wish.pools]
        standing = [line for line in lines if line[0]]
        return min(standing, key=_soonest, default=(0, None, claim.pool))

    def _place_in(self, name: str, claim: Claim) -> tuple[int, float | None]:
        pool = self._pools.get(name)
        position = pool.line.position(claim.id) if pool is not None else None
        if pool is None or position is None:
            return 0, None
        if claim.wish is not None and claim.wish.select:
            return position, None  # whether what comes will match, nobody knows
        return position, self._expected_wait(pool, pool.line.wanted_up_to(claim.id))

    def _expected_wait(self, pool: Pool, wanted: int) -> float | None:
        """Seconds until the `wanted`-th resource from now on, if that can be told."""
        return pool.prospects.wait(wanted, pool, self._claims(), self._services.clock.now())


def _soonest(line: tuple[int, float | None, str]) -> tuple[float, int]:
    position, eta, _ = line
    return math.inf if eta is None else eta, position
