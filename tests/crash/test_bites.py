"""The enumeration finds defects: each of these is planted into the core, and is found."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace

import pytest

from stoker.config.json_types import JsonObject
from stoker.pools import recovery
from stoker.pools.approvals import Approval
from stoker.pools.approving import Approving
from stoker.pools.assembly import Assembly
from stoker.pools.claim import Claim
from stoker.pools.dismantling import Dismantler
from stoker.pools.follow_ups import FollowUps
from stoker.pools.gangs import Gangs
from stoker.pools.lifecycle import ResourceState
from stoker.pools.requests import Refusal
from stoker.pools.resource import Resource
from stoker.pools.services import Services
from stoker.pools.store import Done, Image, Transaction
from stoker.pools.stores.approval_rows import approval_to_json
from stoker.pools.stores.sqlite import SqliteStore
from stoker.pools.stores.transaction import SqliteTransaction
from tests.crash.playing import Course, cut_everywhere
from tests.crash.plots import PLOTS

Plant = Callable[[pytest.MonkeyPatch], None]


def answers_before_it_is_durable(patch: pytest.MonkeyPatch) -> None:
    writing: list[asyncio.Task[None]] = []

    async def write(services: Services, transaction: Transaction, *, urgent: bool) -> None:
        await asyncio.sleep(0.005)
        await services.store.commit(transaction, urgent=urgent)

    async def commit(self: Services, transaction: Transaction, *, urgent: bool = False) -> None:
        writing.append(asyncio.ensure_future(write(self, transaction, urgent=urgent)))

    def submit(
        self: Services, transaction: Transaction, done: Done, *, urgent: bool = False
    ) -> None:
        writing.append(asyncio.ensure_future(write(self, transaction, urgent=urgent)))
        done(None)

    patch.setattr(Services, "commit", commit)
    patch.setattr(Services, "submit", submit)


def creates_without_an_intent(patch: pytest.MonkeyPatch) -> None:
    async def write(self: Assembly, *, urgent: bool = False) -> None:
        self.unwritten.clear()

    patch.setattr(Assembly, "write", write)


def forgets_who_holds_what(patch: pytest.MonkeyPatch) -> None:
    real = recovery.recover

    def recover(services: Services, image: Image) -> recovery.Recovered:
        for resource in image.resources:
            if resource.state is ResourceState.BOUND:
                resource.state, resource.claim = ResourceState.READY, None
        return real(services, image)

    patch.setattr(recovery, "recover", recover)


def forgets_when_claims_end(patch: pytest.MonkeyPatch) -> None:
    real = recovery.recover

    def recover(services: Services, image: Image) -> recovery.Recovered:
        for claim in image.claims:
            if claim.expires_at is not None:
                claim.expires_at += 100_000.0
        return real(services, image)

    patch.setattr(recovery, "recover", recover)


def forgets_what_it_was_removing(patch: pytest.MonkeyPatch) -> None:
    def nothing(recovered: recovery.Recovered, dismantler: Dismantler) -> None:
        """In place of going on."""

    patch.setattr(recovery, "restart_leftovers", nothing)


def forgets_keys(patch: pytest.MonkeyPatch) -> None:
    def find_key(self: SqliteStore, key: bytes) -> Claim | None:
        return None

    patch.setattr(SqliteStore, "find_key", find_key)


def forgets_who_waits(patch: pytest.MonkeyPatch) -> None:
    real = recovery.recover

    def recover(services: Services, image: Image) -> recovery.Recovered:
        found = real(services, image)
        found.waiting.clear()
        return found

    patch.setattr(recovery, "recover", recover)


class BindsTheLastOneLater(Gangs):
    def _write_bound(self, claim: Claim, resources: list[Resource], now: float) -> Transaction:
        transaction = super()._write_bound(claim, resources, now)
        assert isinstance(transaction, SqliteTransaction)
        last = resources[-1].id
        transaction.statements = [one for one in transaction.statements if one[1][0] != last]
        return transaction


def binds_the_last_of_several_later(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("stoker.pools.wishing.Gangs", BindsTheLastOneLater)


def forgets_who_was_voted_on(patch: pytest.MonkeyPatch) -> None:
    def answered(claim: Claim) -> bool:
        return claim.answered

    patch.setattr(Claim, "known", property(answered))


def forgets_votes(patch: pytest.MonkeyPatch) -> None:
    def without(approval: Approval) -> JsonObject:
        return approval_to_json(replace(approval, votes=()))

    patch.setattr("stoker.pools.stores.encoding.approval_to_json", without)


def forgets_follow_ups(patch: pytest.MonkeyPatch) -> None:
    def forget(_: FollowUps, __: Iterable[Claim]) -> None:
        """Of earlier runs."""

    patch.setattr(FollowUps, "remember", forget)


def renews_while_somebody_looks_at_it(patch: pytest.MonkeyPatch) -> None:
    def turn(_: Approving, __: Claim) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    patch.setattr(Approving, "turn", turn)


@pytest.mark.parametrize(
    ("plant", "plot", "sweeps", "found"),
    [
        (answers_before_it_is_durable, "claim without a key", True, "answered and forgotten"),
        (creates_without_an_intent, "backfill", False, "forgotten: web-"),
        (forgets_who_holds_what, "renewal", True, "answered and forgotten"),
        (forgets_when_claims_end, "expiry", True, "is bound though it was let go"),
        (forgets_what_it_was_removing, "release", True, "is ending"),
        (forgets_keys, "claim", True, "already belongs to another claim"),
        (
            binds_the_last_of_several_later,
            "warm gang",
            True,
            "answered and forgotten|Right contains",
        ),
        (forgets_who_waits, "queued claim", True, "ClaimState.PENDING"),
        (forgets_who_was_voted_on, "approved claim on the line", True, "there is no claim"),
        (forgets_votes, "approved claim", True, "a vote was lost"),
        (forgets_follow_ups, "break-glass claim", True, "no follow-up"),
        (renews_while_somebody_looks_at_it, "break-glass claim", True, "a renewal was lost"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_a_planted_defect_is_found(
    plant: Plant, plot: str, sweeps: bool, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = next(each for each in PLOTS if each.name == plot)
    plant(monkeypatch)
    with pytest.raises((AssertionError, Refusal), match=found):
        cut_everywhere(chosen, Course(sweeps=sweeps))
