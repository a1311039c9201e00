"""Claims that were served without an approval that they needed, until somebody has looked at that.

Whoever broke the glass says why, and that is told loudly: an event before the claim is served, a warning
in the log, a metric. The follow-up is kept with its claim, also when that is over. When it is overdue, that is
an error in the log, and a metric until somebody who may approve has approved or rejected.
"""

import logging
from collections.abc import Iterable
from dataclasses import replace

from ..config.json_types import Json
from .approvals import Approval, Outcome
from .ballots import Ballot, event, unwritten
from .claim import OVER, Claim, durable
from .ids import ClaimId
from .moments import rfc3339
from .refusals import unwritable
from .services import Services
from .store import NewEvent, StoreError
from .timers import Timer

log = logging.getLogger(__name__)


class FollowUps:
    def __init__(self, services: Services) -> None:
        self._services = services
        self.claims: dict[ClaimId, Claim] = {}
        self._alarms: dict[ClaimId, Timer] = {}

    def remember(self, claims: Iterable[Claim]) -> None:
        """Those that the ledger knows of, at the start."""
        for claim in claims:
            if claim.needs_follow_up:
                self._keep(claim)

    async def announce(self, claim: Claim) -> None:
        """A claim does without an approval: that is durable before it is served. Raises `Refusal`."""
        approval = claim.approval
        assert approval is not None
        who = f"{claim.claimant} broke the glass for a claim on {claim.pool}: {claim.reason}"
        due = rfc3339(self._services.clock.to_wall(approval.deadline))
        data: dict[str, Json] = {
            "followUpBy": due,
            "policies": [need.policy for need in approval.needs],
        }
        data |= claim.claimant.told()
        transaction = self._services.store.transaction()
        transaction.add_event(event("claim.break-glass", claim, claim.reason, data))
        try:
            await self._services.commit(transaction, urgent=True)
        except StoreError as error:
            raise unwritable(error) from error
        log.warning("%s; %s has to be reviewed by %s", who, claim.id, due)
        self._services.telemetry.approval_decided(claim.pool, "break-glass")
        self._keep(claim)

    def over(self, claim: Claim) -> None:
        """The claim is over. If it was never bound, there is nothing to look at."""
        if claim.id in self.claims and not claim.needs_follow_up:
            self._forget(claim.id)

    def _keep(self, claim: Claim) -> None:
        assert claim.approval is not None
        self.claims[claim.id] = claim
        due = claim.approval.deadline
        self._alarms[claim.id] = self._services.timers.at(due, lambda: self._overdue(claim))

    def _overdue(self, claim: Claim) -> None:
        assert claim.approval is not None
        log.error(
            "the follow-up of %s is overdue: %s broke the glass (%s), and nobody who may approve has "
            "looked at it; stoker approve %s, or stoker reject %s",
            *(claim.id, claim.claimant, claim.reason, claim.id, claim.id),
        )

    def _forget(self, claim: ClaimId) -> None:
        self.claims.pop(claim, None)
        alarm = self._alarms.pop(claim, None)
        if alarm is not None:
            alarm.cancel()

    async def review(self, claim: Claim, before: Approval, after: Approval, ballot: Ballot) -> None:
        """Writes a vote about a claim that goes its own way: what is written of it next has it too.

        Where the claim has moved on while the vote was written, its row is written once more: this one may have
        come later.
        """
        if after.outcome is not Outcome.WAITING:
            after = replace(after, facts={})
        claim.approval = after
        said = {**ballot.told(), "outcome": after.outcome.value}
        kind = "claim.break-glass-reviewed"
        told: list[NewEvent] = [event(kind, claim, ballot.reason, said, ballot.request_id)]
        try:
            while await self._write(claim, told):
                told.clear()
        except StoreError as error:
            claim.approval = before
            raise unwritten(error) from error
        if after.outcome is not Outcome.WAITING:
            self._forget(claim.id)
            if claim.state not in OVER and after.outcome is Outcome.REJECTED:
                log.warning("%s was rejected after the fact and lives on: release it", claim.id)

    async def _write(self, claim: Claim, told: Iterable[NewEvent]) -> bool:
        """Whether the claim has moved on meanwhile. Raises `StoreError`."""
        state = claim.state
        claim.version += 1
        transaction = self._services.store.transaction()
        transaction.put_claim(durable(claim))
        for each in told:
            transaction.add_event(each)
        await self._services.commit(transaction, urgent=True)
        return claim.state is not state
