"""Serves claims that ask for several resources, for certain ones, or of one of several pools.

Theory of operation
-------------------

Such a claim joins the line of each pool that may serve it, best first, with one turn for all. Where
it comes first and enough is ready, it is handed everything at once; it then leaves the other
lines. Otherwise it goes on standing in all of them, and holds nothing while it does. Whichever pool can
serve it first does. So nobody who waits in a line holds what another one waits for.

What it was handed is finished side by side (`gangs`). If that fails for some, those are used up and
the claim comes back to that pool's line, before everybody, for as many as are missing, and keeps the
others: at most `ATTEMPTS` times, and until its deadline. In one line only one may wait with something
in hand. Whoever comes back second gives up what it has, and waits for all of them anew. So of those who
hold something there is always one that waits for nobody who waits: two can never block each other.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from ..config.expressions import ExpressionError
from ..config.selects import compile_select
from ..config.units import format_duration
from .admission import cost_of
from .choosing import bad_select, settle_on, why_pool
from .claim import Claim
from .driver import DriverError, Rejected
from .errands import Errand, GivenUp, Left
from .gangs import Gangs, Hand
from .pool import Pool
from .refusals import timed_out, together, unwritable
from .requests import Code, Refusal
from .resource import Resource
from .services import Services
from .store import StoreError
from .waiting import Place, Turn

ATTEMPTS = 3
"""How often resources are tried before the claim fails."""
LOOK_WITHIN = 5.0
"""Seconds for which a claim that selects is not yet told that it has to wait, at most."""
GAVE_UP_WAITING = frozenset(
    {Code.WAIT_TIMEOUT, Code.NO_CAPACITY, Code.NO_MATCH, Code.BLUEPRINT_FAILING}
)

_Any = asyncio.Future[object]


@dataclass(slots=True)
class _Standing:
    """Where one claim stands in line."""

    turn: Turn
    ruled_out: Mapping[str, Refusal]
    places: dict[str, Pool] = field(default_factory=dict[str, Pool])
    refusals: dict[str, Refusal] = field(default_factory=dict[str, Refusal])
    """Why others of these do not serve it."""

    def handed_over(self) -> tuple[Resource, ...]:
        """What it was given, if it was; afterwards it accepts nothing any more."""
        turn = self.turn
        if not turn.done():
            turn.cancel()
        if turn.cancelled() or turn.exception() is not None:
            return ()
        return turn.result()

    def none_serves(self) -> Refusal:
        return together({**self.ruled_out, **self.refusals})

    def refuse(self, pool: Pool, why: Refusal) -> None:
        self.refusals[pool.spec.name] = why
        self.places.pop(pool.spec.name, None)


class Wishing:
    def __init__(
        self,
        services: Services,
        *,
        write_pending: Callable[[Errand], Awaitable[None]],
        may_wait: Callable[[Errand, float], None],
        may_queue: Callable[[Pool], None],
    ) -> None:
        self._services = services
        self._write_pending = write_pending
        self._may_wait = may_wait
        """Raises when the claim is not to wait any more: given up, deserted, the daemon stops."""
        self._may_queue = may_queue
        """Raises `Refusal` when nobody may join the pool's line just now."""
        self._gangs = Gangs(services)

    async def serve(self, errand: Errand, *, pend: bool) -> None:
        """Binds the claim. Raises `Refusal`; then everything it took went back or is used up.

        `pend`: if it has to wait, that is written down first.
        """
        hand = Hand(errand)
        try:
            await self._serve(hand, pend)
        except StoreError as error:
            self._gangs.let_go(hand, "the ledger refused the claim")
            raise unwritable(error) from error
        except Refusal as refusal:
            self._gangs.let_go(hand, f"the claim came to nothing: {refusal.code}")
            raise
        except Exception:
            self._gangs.let_go(hand, "a defect of the daemon")
            raise

    async def _serve(self, hand: Hand, pend: bool) -> None:  # noqa: FBT001
        errand, clock = hand.errand, self._services.clock
        claim = errand.claim
        errors: list[DriverError] = []
        for attempt in range(ATTEMPTS):
            try:
                taken = await self._obtain(hand, pend=pend and not attempt, again=attempt > 0)
            except Refusal as refusal:
                if not errors or refusal.code not in GAVE_UP_WAITING:
                    raise
                break  # why it had to wait again says more than that it waited in vain
            if errand.deserted or errand.given_up is not None:
                for resource in taken:
                    errand.pool.give_back(resource)
                raise Left if errand.given_up is None else GivenUp(errand.because)
            up_to_date = {one.digest for one in taken} == {errand.pool.spec.blueprint.digest}
            began = clock.now()
            errors = await self._gangs.finish(hand, taken)
            claim.timing.finish += clock.now() - began
            if not errors:
                await self._bind(hand)
                return
            hopeless = up_to_date and any(isinstance(one, Rejected) for one in errors)
            if hopeless or errand.deserted:
                break
        raise Refusal(
            Code.FINISH_FAILED,
            f"a resource of the pool {claim.pool} could not be finished for this claim: "
            f"{errand.failure}",
            retry_after=5.0,
        )

    async def _bind(self, hand: Hand) -> None:
        claim, clock = hand.errand.claim, self._services.clock
        finished = clock.now()
        claim.timing.total = claim.timing.policy + finished - claim.created_at
        await self._gangs.bind(hand)
        now = clock.now()
        claim.timing.bind = now - finished
        claim.timing.total = claim.timing.policy + now - claim.created_at

    # Standing in line

    async def _obtain(self, hand: Hand, *, pend: bool, again: bool) -> tuple[Resource, ...]:
        """As many as are missing, all of one pool, which is the errand's from then on."""
        errand, clock = hand.errand, self._services.clock
        claim = errand.claim
        began = clock.now()
        self._may_wait(errand, began)
        standing = _Standing(asyncio.get_running_loop().create_future(), errand.ruled_out)
        if hand.resources and errand.pool.line.held_up:
            self._gangs.let_go(hand, "another claim waits with some in hand, and goes first")
        pools = (errand.pool,) if hand.resources else errand.pools
        by_name = {pool.spec.name: pool for pool in pools}
        taken: tuple[Resource, ...] = ()
        try:
            if (again or claim.answered) and claim.deadline <= began:
                raise TimeoutError
            self._join(hand, pools, standing, again=again)
            taken = await self._await_turn(errand, standing, pend=pend)
        except TimeoutError:
            raise _in_vain(claim, pools, standing, clock.now() - began) from None
        finally:
            claim.timing.queued += clock.now() - began
            for pool in pools:
                pool.line.leave(claim.id)
            if not taken:
                for resource in standing.handed_over():
                    by_name[resource.pool].give_back(resource)
            for pool in standing.places.values():
                pool.touch()
        if not hand.resources:
            errand.pool = by_name[next(one.pool for one in taken)]
            spec = errand.pool.serving
            settle_on(claim, spec)
            self._services.usage.settle(claim, cost_of(claim, spec, claim.ttl))
            _tell_why(errand, standing, taken, waited=clock.now() - began)
        return taken

    def _join(self, hand: Hand, pools: Iterable[Pool], standing: _Standing, *, again: bool) -> None:
        """Takes a place in each line; stops at the first pool that serves it at once."""
        for pool in pools:
            full: Refusal | None = None
            try:
                if pool.gate.draining:
                    raise pool.shut_because()
                place = self._place(hand, pool, standing)
                if not again and not hand.errand.claim.answered:
                    full = self._no_room(pool)
            except Refusal as refusal:
                standing.refuse(pool, refusal)
                continue
            standing.places[pool.spec.name] = pool
            pool.line.join(hand.errand.claim, first=again, place=place)
            pool.serve_waiters()
            if standing.turn.done():
                return
            if full is not None:
                standing.refusals[pool.spec.name] = full

    def _place(self, hand: Hand, pool: Pool, standing: _Standing) -> Place:
        def turned_away(why: Exception) -> None:
            standing.refuse(pool, why if isinstance(why, Refusal) else pool.shut_because())
            if not standing.places and not standing.turn.done():
                standing.turn.set_exception(standing.none_serves())

        wish = hand.errand.claim.wish
        assert wish is not None
        selector = None
        if wish.select:
            try:
                compile_select(wish.select, pool.serving.blueprint)
            except ExpressionError as error:
                raise bad_select(error, pool.spec.name) from error
            selector = pool.selector(wish.select)
        holds = bool(hand.resources)
        return Place(hand.missing, standing.turn, selector, turned_away, holds)

    def _no_room(self, pool: Pool) -> Refusal | None:
        """Why it may not wait there, if it cannot be served at once."""
        try:
            self._may_queue(pool)
        except Refusal as refusal:
            return refusal
        return None

    async def _await_turn(
        self, errand: Errand, standing: _Standing, *, pend: bool
    ) -> tuple[Resource, ...]:
        """Raises TimeoutError at the deadline, and `Refusal` when no pool is left to wait for."""
        claim, turn = errand.claim, standing.turn
        if not turn.done():
            await self._look_first(claim, standing)
        if not turn.done():
            for name in list(standing.places):
                if name in standing.refusals:  # there is no room to wait
                    standing.places.pop(name).line.leave(claim.id)
            if not standing.places:
                raise standing.none_serves()
            claim.warm = False
            for pool in standing.places.values():
                pool.touch(at_once=True)
            if pend:
                await self._write_pending(errand)
        if turn.done():
            return turn.result()
        left = claim.deadline - self._services.clock.now()
        async with asyncio.timeout(max(0.0, left)):
            return await turn

    async def _look_first(self, claim: Claim, standing: _Standing) -> None:
        """Lets everything that is ready be looked at, if it selects, before it counts as waiting."""
        wish = claim.wish
        if wish is None or not wish.select:
            return
        for pool in list(standing.places.values()):
            looked = asyncio.ensure_future(pool.selector(wish.select).looked.wait())
            both = {cast("_Any", looked), cast("_Any", standing.turn)}
            try:
                first = asyncio.FIRST_COMPLETED
                await asyncio.wait(both, timeout=LOOK_WITHIN, return_when=first)
            finally:
                looked.cancel()
            if standing.turn.done():
                return


def _in_vain(claim: Claim, pools: Iterable[Pool], standing: _Standing, waited: float) -> Refusal:
    """Why none of them served it before its deadline."""
    found: dict[str, Refusal] = {}
    wish = claim.wish
    assert wish is not None
    for pool in pools:
        name = pool.spec.name
        if name in standing.refusals and name not in standing.places:
            found[name] = standing.refusals[name]
            continue
        found[name] = timed_out(pool, waited, claim.count)
        if wish.select and not pool.gate.shut:
            tally = pool.selector(wish.select).tally()
            if tally.looked_at:
                found[name] = _no_match(pool, tally.sentence, waited)
    return together({**standing.ruled_out, **found})


def _tell_why(
    errand: Errand, standing: _Standing, taken: tuple[Resource, ...], *, waited: float
) -> None:
    claim, served = errand.claim, errand.pool
    wish = claim.wish
    assert wish is not None
    whys = [wish.because] if wish.because else []
    if wish.pools:
        after = None if claim.warm else waited
        whys.append(why_pool(served, errand.pools, standing.refusals, after))
    if wish.select:
        whys.append(served.selector(wish.select).tally(taken).sentence)
    wish.because = "; ".join(whys)


def _no_match(pool: Pool, sentence: str, waited: float) -> Refusal:
    return Refusal(
        Code.NO_MATCH,
        f"too few resources of the pool {pool.spec.name} that match the select became ready within "
        f"{format_duration(round(waited, 3))}: {sentence}; select less narrowly, or wait longer",
        retry_after=5.0,
    )
