"""Writes down how claims came to nothing, however long the ledger refuses.

The ledger may hold such a claim: as pending, as being finished, or even as bound, when a commit
failed after its effect. Left there, it would answer every retry with its key, and come back to life
at the next start. So its end is tried again until it is taken, and until then the desk asks here.
"""

import asyncio
import logging

from . import backoff
from .claim import Claim
from .ids import ClaimId
from .services import Services
from .store import NewEvent, StoreError, Transaction

log = logging.getLogger(__name__)

LONGEST_PAUSE = 5.0


class Endings:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._unwritten: dict[ClaimId, Claim] = {}

    def unwritten(self, claim: ClaimId) -> Claim | None:
        """The claim, when it is over and the ledger does not say so yet."""
        return self._unwritten.get(claim)

    async def write(self, claim: Claim, *, keep: bool, because: str = "") -> None:
        """Returns when the end is durable, or when the ledger refused and it is tried later.

        `keep`: somebody knows of the claim, so its end is kept for a day, with an event. Otherwise
        it is dropped with its key, and whoever comes back with the key starts anew.
        """
        self._unwritten[claim.id] = claim
        event = _event(claim, because) if keep else None
        if not await self._try(claim, event):
            log.warning("the end of the claim %s cannot be written yet", claim.id)
            again = self._try_again(claim, event)
            self._services.tasks.start(again, f"end of {claim.id}")

    async def _try_again(self, claim: Claim, event: NewEvent | None) -> None:
        attempt, written = 0, False
        while not written:
            attempt += 1
            pause = backoff.delay(attempt, self._services.chance(), cap=LONGEST_PAUSE)
            await asyncio.sleep(pause)
            written = await self._try(claim, event)

    async def _try(self, claim: Claim, event: NewEvent | None) -> bool:
        try:
            await self._services.commit(self._transaction(claim, event), urgent=True)
        except StoreError:
            return False
        self._unwritten.pop(claim.id, None)
        return True

    def _transaction(self, claim: Claim, event: NewEvent | None) -> Transaction:
        transaction = self._services.store.transaction()
        if event is None:
            transaction.drop_claim(claim.id)
        else:
            transaction.put_claim(claim)
            transaction.add_event(event)
        return transaction


def _event(claim: Claim, because: str) -> NewEvent:
    """Made once: added again after a commit in doubt, it stays one event of the audit."""
    return NewEvent(
        f"claim.{claim.ended_because or claim.state}",
        pool=claim.pool,
        claim=claim.id,
        request=claim.request_id,
        reason=because,
        data={**claim.claimant.told(), "code": claim.code},
    )
