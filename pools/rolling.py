"""One pool's rollout under way: what is remembered of it between passes, and its steps written down.

`rollout` decides. A step is durable first and then in force, so a pool that is killed in the middle
goes on from the stage that the ledger has; the previous blueprint is read from the revision
that the ledger keeps for it.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from ..config.json_types import Json
from ..config.revision import Blueprint, PoolSpec
from .breaker import Breaker
from .inventory import Members
from .plan import Plan
from .resource import Resource
from .rollout import Memory, Rollout, Served, Stage, Step, Underway
from .services import Services
from .snapshots import take_underway
from .store import NewEvent, StoreError, Transaction

log = logging.getLogger(__name__)

RETRY_DELAY = 1.0


class Rolling:
    """Of one pool."""

    def __init__(self, services: Services, members: Members, touch: Callable[[], None]) -> None:
        self.rollout: Rollout | None = None
        self.previous: PoolSpec | None = None
        """The pool as it was, as far as it says how resources are made; None if that is not known."""
        self.breaker = Breaker()
        """Of the previous blueprint."""
        self._services = services
        self._members = members
        self._touch = touch
        self._worked: set[str] = set()
        """Digests of which this run has seen a resource ready."""
        self._progress_at = 0.0
        self._nearest: int | None = None
        """The least that was left to do in this stage."""
        self._waits_since: float | None = None
        """It waits for what is no fault of its own: that time does not count."""
        self._trouble = ""
        self._writing = False

    @property
    def revision(self) -> str:
        """Of the previous blueprint."""
        return "" if self.rollout is None else self.rollout.revision

    def served(self, digest: str, revision: str) -> Served:
        """What is said of the blueprint that a pool makes, when another one comes."""
        members = self._members.resources.values()
        worked = digest in self._worked or any(
            one.digest == digest and one.ready_at is not None for one in members
        )
        return Served(digest, revision, worked)

    def take_over(
        self, current: Rollout | None, spec: PoolSpec, known: dict[str, Blueprint], breaker: Breaker
    ) -> None:
        """The rollout that is in force from now on, which is durable.

        `known` are the blueprints by digest, `breaker` that of the blueprint which served until now.
        """
        before = self.rollout
        self.rollout = current
        if current is None:
            self.previous = None
            self._members.old_first = False
            return
        previous = known.get(current.previous)
        if current.previous == spec.blueprint.digest or previous is None:
            self.previous = None
        else:
            self.previous = replace(spec, blueprint=previous)
        if before is None:
            self.breaker = breaker
        self._worked &= {current.digest, current.previous}
        if current != before:
            self._trouble = ""
            self.begin_anew()
            self._members.old_first = (
                current.stage is not Stage.ROLLING and self.previous is not None
            )

    def begin_anew(self) -> None:
        """How far it has come is measured from now on."""
        self._progress_at = self._services.clock.now()
        self._waits_since = None
        self._nearest = None

    def facts(self, spec: PoolSpec, now: float) -> Underway | None:
        if self.rollout is None:
            return None
        memory = Memory(self._progress_at + self._waited(now), self._trouble)
        known = self.previous is not None
        under = Underway(self.rollout, known, self.breaker, memory=memory)
        return take_underway(spec, self._members, under, now)

    def _waited(self, now: float) -> float:
        return 0.0 if self._waits_since is None else now - self._waits_since

    # What a pool tells

    def made(self, resource: Resource) -> None:
        self._worked.add(resource.digest)

    def went_wrong(self, resource: Resource, sentence: str) -> None:
        if self.rollout is not None and resource.digest == self.rollout.digest:
            self._trouble = sentence

    def passed(self, plan: Plan, now: float, *, holding: bool) -> None:
        """A pass was made, with this plan."""
        current = self.rollout
        if current is None:
            self._members.old_first = False
            return
        self._members.old_first = holding
        self._progress_at += self._waited(now)
        self._waits_since = now if plan.waits else None
        if current.stage is Stage.ROLLING:
            nearer = self._nearest is None or plan.remaining < self._nearest
            if nearer:
                self._nearest, self._progress_at = plan.remaining, now
        if plan.step is not None and not self._writing:
            self._writing = True
            name = f"rollout of {current.pool}"
            self._services.tasks.start(self._take(current, plan.step), name)

    # Its steps

    async def _take(self, before: Rollout, step: Step) -> None:
        transaction = self._services.store.transaction()
        write(transaction, before, step.rollout)
        transaction.add_event(event(step.event, step.rollout or before, step.reason))
        try:
            await self._services.commit(transaction)
        except StoreError:
            await asyncio.sleep(RETRY_DELAY)  # the next pass decides it again
        else:
            told = log.warning if step.event == "paused" else log.info
            told("the rollout of the pool %s is %s: %s", before.pool, step.event, step.reason)
            if self.rollout is before:
                self.accept(step.rollout)
        finally:
            self._writing = False
            self._touch()

    def accept(self, after: Rollout | None) -> None:
        """The next stage of the same rollout is durable."""
        self.rollout = after
        if after is None:
            self.previous = None
            self._members.old_first = False
        self.begin_anew()


def write(transaction: Transaction, before: Rollout, after: Rollout | None) -> None:
    if after is None:
        transaction.drop_rollout(before)
    else:
        transaction.put_rollout(after)


def event(what: str, current: Rollout, reason: str, revision: str = "") -> NewEvent:
    """`revision`: under which it happens, if that is not yet the one that serves."""
    data: dict[str, Json] = {
        "stage": current.stage.value,
        "digest": current.digest,
        "previous": current.previous,
        "previousRevision": current.revision,
    }
    if revision:
        data["revision"] = revision
    return NewEvent(f"rollout.{what}", pool=current.pool, reason=reason, data=data)
