"""Looks for claims that the present policies would deny: a metric, and an event for each one that is found.

Such a claim was granted under other policies, or by a mistake; it keeps what it has until it is renewed or released. Each
claim is judged once for each revision and each renewal, in small slices between which claims are served.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from time import perf_counter

from ..config.json_types import Json
from ..pools.claim import Claim, ClaimState
from ..pools.ids import ClaimId
from ..pools.requests import Refusal
from ..pools.services import Services
from ..pools.store import NewEvent, StoreError
from .facade import FleetView
from .judging import PolicyJudge
from .misgrants import Misgrant, Place, misgrant_of

log = logging.getLogger(__name__)

EVERY = 15.0
SLICE = 0.001
"""Seconds for which claims are judged before other work has its turn."""
MOST_AT_ONCE = 5000
"""Claims that are judged in one look."""
MOST_TOLD = 50
"""Events of one look; the others are told in the next ones."""
KIND = "claim.misgrant-found"
_Judged = tuple[str, int]
"""By which revision, and the claim's version then."""


class MisgrantWatch:
    def __init__(self, fleet: FleetView, services: Services, judge: PolicyJudge) -> None:
        self._fleet = fleet
        self._services = services
        self._judge = judge
        self._judged: dict[ClaimId, _Judged] = {}
        self._found: dict[ClaimId, tuple[Claim, Misgrant]] = {}
        self._told: dict[ClaimId, Misgrant] = {}
        """Of which there is an event; not told again as long as it stays the same."""

    def figures(self) -> Mapping[tuple[str, str, bool], int]:
        """How many there are, by pool, policy, and whether that is certain."""
        return Counter(
            (claim.pool, misgrant.policy, misgrant.certain)
            for claim, misgrant in self._found.values()
            if claim.state is ClaimState.BOUND
        )

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY)

    async def look(self) -> None:
        """Judges what is new, and forgets what is over."""
        kept: dict[ClaimId, _Judged] = {}
        began, left = perf_counter(), MOST_AT_ONCE
        for number, claim in enumerate(list(self._fleet.live_claims())):
            if number % 50 == 0 and perf_counter() - began > SLICE:
                await asyncio.sleep(0)
                began = perf_counter()
            if claim.state is not ClaimState.BOUND:
                continue
            now, known = (self._judge.revision, claim.version), self._judged.get(claim.id)
            if known != now and left:
                self._judge_one(claim)
                known, left = now, left - 1
                if perf_counter() - began > SLICE:
                    await asyncio.sleep(0)
                    began = perf_counter()
            if known is not None:
                kept[claim.id] = known
        self._judged = kept
        for gone in self._found.keys() - kept.keys():
            del self._found[gone]
        for gone in self._told.keys() - self._found.keys():
            del self._told[gone]
        await self._tell()

    def _judge_one(self, claim: Claim) -> None:
        misgrant = self._of(claim)
        if misgrant is None:
            self._found.pop(claim.id, None)
        else:
            self._found[claim.id] = claim, misgrant

    def _of(self, claim: Claim) -> Misgrant | None:
        try:
            spec = self._fleet.place_of(claim.pool).spec
        except Refusal:
            return None  # the pool is gone, and so is what is said of it
        judge, clock = self._judge, self._services.clock
        place = Place(spec, judge.index.of(claim.pool), judge.daemon_uid, judge.host)
        made = datetime.fromtimestamp(clock.to_wall(claim.created_at), UTC)
        return misgrant_of(claim, place, made)

    async def _tell(self) -> None:
        found = [
            (claim, misgrant)
            for claim, misgrant in self._found.values()
            if misgrant.certain and self._told.get(claim.id) != misgrant
        ][:MOST_TOLD]
        if not found:
            return
        transaction = self._services.store.transaction()
        for claim, misgrant in found:
            transaction.add_event(_event(claim, misgrant))
        try:
            await self._services.commit(transaction)
        except StoreError as error:
            log.warning("misgrants could not be written down, and are told later: %s", error)
            return
        self._told.update({claim.id: misgrant for claim, misgrant in found})
        claim, misgrant = found[0]
        log.warning(
            "%d bound claims would be denied by the present policies, such as %s of %s: %s",
            *(len(found), claim.id, claim.claimant, misgrant.message),
        )


def _event(claim: Claim, misgrant: Misgrant) -> NewEvent:
    data: dict[str, Json] = {
        **claim.claimant.told(),
        "policy": misgrant.policy,
        "rule": misgrant.rule,
    }
    return NewEvent(
        KIND,
        pool=claim.pool,
        resource=claim.only_resource,
        claim=claim.id,
        request=claim.request_id,
        reason=misgrant.message,
        data=data,
    )
