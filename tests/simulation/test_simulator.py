"""The simulator bites: each planted defect is found, and a seed replays exactly."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import replace

import pytest

from stoker.config.revision import PoolSpec
from stoker.pools.claim import Claim, EndedBecause
from stoker.pools.dismantling import Dismantler
from stoker.pools.driver import NotFound, PartRef, Unavailable
from stoker.pools.expiry import Step, Terms
from stoker.pools.fairness import FairOrder
from stoker.pools.gangs import Gangs
from stoker.pools.gates import Gate
from stoker.pools.holding import Holding
from stoker.pools.ids import ClaimId
from stoker.pools.inventory import Members
from stoker.pools.leases import Leases
from stoker.pools.lifecycle import ResourceState
from stoker.pools.orphans import OrphanSweep
from stoker.pools.pool import Pool
from stoker.pools.resetting import Resetter
from stoker.pools.resource import Health, Part, Resource
from stoker.pools.rollout import Budget, budget
from stoker.pools.selecting import Selector
from stoker.pools.services import Services
from stoker.pools.standing import Standing
from stoker.pools.store import Done, NewEvent, Transaction
from stoker.pools.stores.transaction import SqliteTransaction
from stoker.pools.switches import Switch
from stoker.pools.ties import Ties
from stoker.pools.waiting import Line, Waiter
from tests.fakes.world import SimulatedDriver
from tests.simulation.estimates import Errors
from tests.simulation.running import play, play_crowd, play_rush

HOURS = 0.3
SEEDS = range(24)


def found(*words: str) -> bool:
    """Whether the simulator says one of these of a seed. What it meets first is a matter of chance."""
    problems = (play(seed, HOURS).problem for seed in SEEDS)
    return any(word in problem for problem in problems for word in words)


def found_in_a_crowd(*words: str) -> bool:
    problems = (play_crowd(seed) for seed in SEEDS)
    return any(word in problem for problem in problems for word in words)


def test_the_core_as_it_is_passes() -> None:
    assert [play(seed, HOURS).problem for seed in range(2)] == ["", ""]
    assert [play_crowd(seed) for seed in range(2)] == ["", ""]


class HandsOutAgain(Leases):
    def watch(self, claim: Claim) -> None:
        super().watch(claim)
        resource = self._services.inventory.get(claim.resources[0])
        if resource is None or resource.pool == "lasting":
            return
        if resource.state is ResourceState.BOUND:
            resource.uses = 0  # or it would be found out as one that was not verified
            members = self._services.inventory.members(resource.pool)
            members.counts[resource.state] -= 1
            resource.state = ResourceState.READY
            members.counts[resource.state] += 1
            members.file(resource)


def test_a_double_lease_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stoker.pools.desk.Leases", HandsOutAgain)

    assert found("leased", "of 1 bound")


def test_a_leak_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    destroy = SimulatedDriver.destroy

    async def take_cannot_tell_for_gone(self: SimulatedDriver, part: PartRef) -> None:
        try:
            await destroy(self, part)
        except Unavailable:
            raise NotFound from None

    async def find_nothing(_: OrphanSweep) -> None:
        """So that the leak is not mended behind the test's back."""

    monkeypatch.setattr(SimulatedDriver, "destroy", take_cannot_tell_for_gone)
    monkeypatch.setattr(OrphanSweep, "sweep", find_nothing)

    assert found("forgotten")


def test_a_lost_answer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    put_claim = SqliteTransaction.put_claim

    def put_claim_without_its_key(self: SqliteTransaction, claim: Claim) -> None:
        put_claim(self, replace(claim, key=None))

    monkeypatch.setattr(SqliteTransaction, "put_claim", put_claim_without_its_key)

    assert found("retry")


def test_an_answer_before_the_commit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    commit = Services.commit

    async def commit_some(
        self: Services, transaction: Transaction, *, urgent: bool = False
    ) -> None:
        if not urgent or self.chance() < 0.5:
            await commit(self, transaction, urgent=urgent)

    submit = Services.submit

    def submit_some(
        self: Services, transaction: Transaction, done: Done, *, urgent: bool = False
    ) -> None:
        if self.chance() < 0.5:
            submit(self, transaction, done, urgent=urgent)
        else:
            done(None)

    monkeypatch.setattr(Services, "commit", commit_some)
    monkeypatch.setattr(Services, "submit", submit_some)

    assert found(
        *("gone before its time", "is leased to", "a retry of", "was removed under"),
        *("held until", "was shut", "the hold of", "was not verified"),
    )


class EndsTooEarly(Leases):
    def watch(self, claim: Claim) -> None:
        super().watch(claim)
        assert claim.expires_at is not None
        self._services.timers.at(claim.expires_at - 10.0, lambda: self._end_early(claim))

    def _end_early(self, claim: Claim) -> None:
        self._services.tasks.start(self.end(claim, EndedBecause.EXPIRED), f"expire {claim.id}")


def test_a_claim_that_ends_too_early_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stoker.pools.desk.Leases", EndsTooEarly)

    assert found("before its time", "was removed under", "was destroyed under", "was reset under")


def test_an_unverified_reset_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def believe(*_: object) -> None:
        """What the driver says."""

    monkeypatch.setattr(Resetter, "_verify", believe)

    assert found("is ready and")


def test_a_resource_that_a_claim_still_holds_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def leave_it_there(_: Resetter, resource: Resource, __: object) -> list[Part]:
        return []

    monkeypatch.setattr(Resetter, "_take_apart", leave_it_there)

    assert found("made for a claim")


def test_resources_are_used_again_in_a_story() -> None:
    assert sum(play(seed, HOURS).reused for seed in (2, 3)) > 3


class DeafTies(Ties):
    """Is told of no end, but finds at a start what ended meanwhile."""

    def _ended(self, anchor: Hashable) -> None:
        self._drop(anchor)


def test_a_claim_that_outlives_its_process_or_connection_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stoker.pools.desk.Ties", DeafTies)

    assert found("ended")


class ForgetfulTies(Ties):
    """Hears of every end, but follows nothing again after a start."""

    async def resume(self, claims: Iterable[Claim]) -> dict[ClaimId, str]:
        del claims
        return {}


def test_a_process_that_is_not_followed_again_after_a_start_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stoker.pools.desk.Ties", ForgetfulTies)

    assert found("after its process ended")


def test_a_grace_that_is_not_kept_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def end_at_expiry(expires_at: float, _ttl: float, _terms: Terms | None, now: float) -> Step:
        return Step.END if now >= expires_at else Step.WAIT

    monkeypatch.setattr("stoker.pools.leases.due", end_at_expiry)

    def at_expiry(expires_at: float, _ttl: float, _terms: Terms | None) -> tuple[float, Step]:
        return expires_at, Step.END

    monkeypatch.setattr("stoker.pools.leases.next_step", at_expiry)

    assert found("before its time", "was removed under", "was destroyed under", "was reset under")


def test_a_deadline_that_is_announced_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    put_claim = SqliteTransaction.put_claim

    def put_claim_unannounced(self: SqliteTransaction, claim: Claim) -> None:
        terms = claim.terms
        put_claim(
            self,
            claim if terms is None else replace(claim, terms=replace(terms, announced=None)),
        )

    monkeypatch.setattr(SqliteTransaction, "put_claim", put_claim_unannounced)

    assert found("announced twice")


def test_callers_that_do_not_take_turns_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_for_all(*_: object) -> Standing:
        return Standing("everybody")

    monkeypatch.setattr("stoker.pools.waiting.standing_of", one_for_all)

    assert found_in_a_crowd("waited for")


def test_a_priority_that_does_not_count_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    join = FairOrder[ClaimId].join

    def join_the_others(
        self: FairOrder[ClaimId], item: ClaimId, key: int, *, priority: int, first: bool, wants: int
    ) -> None:
        join(self, item, key, priority=-priority, first=first, wants=wants)

    monkeypatch.setattr(FairOrder, "join", join_the_others)

    assert found("which has priority")


def test_a_lost_wake_up_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    find, pick = Line.next, Line.pick

    def find_one_of_few(self: Line, ready: int) -> Waiter | None:
        return find(self, ready) if len(self) < 3 else None

    def pick_one_of_few(self: Line, members: Members) -> tuple[Waiter, tuple[Resource, ...]] | None:
        return pick(self, members) if len(self) < 3 else None

    monkeypatch.setattr(Line, "next", find_one_of_few)
    monkeypatch.setattr(Line, "pick", pick_one_of_few)

    assert found("ready since")


class BindsTheLastOneLater(Gangs):
    def _write_bound(self, claim: Claim, resources: list[Resource], now: float) -> Transaction:
        transaction = super()._write_bound(claim, resources, now)
        assert isinstance(transaction, SqliteTransaction)
        if len(resources) > 1:
            last = resources[-1].id
            transaction.statements = [one for one in transaction.statements if one[1][0] != last]
        return transaction


def test_a_gang_of_which_one_is_not_in_the_same_transaction_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stoker.pools.wishing.Gangs", BindsTheLastOneLater)

    assert found("by the ledger")


class EndsTheFirstOneOnly(Leases):
    async def _take_away(self, claim: Claim, resources: list[Resource], event: NewEvent) -> None:
        await super()._take_away(claim, resources[:1], event)


def test_a_gang_that_does_not_end_as_a_whole_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stoker.pools.desk.Leases", EndsTheFirstOneOnly)

    assert found("is bound to nobody")


class TakesWhatIsThere(Pool):
    def serve_waiters(self) -> None:
        waiter = self.line.first()
        if waiter is not None and waiter.wants > 1:
            for resource in list(self._members.claimable())[: waiter.wants - 1]:
                self._take(resource, self._services.clock.now())
        super().serve_waiters()


def test_a_gang_that_holds_some_while_it_waits_for_others_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stoker.pools.fleet.Pool", TakesWhatIsThere)

    assert found("by somebody who still waits")


def test_a_gang_that_is_overtaken_for_ever_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stoker.pools.fairness.OVERTAKINGS", 10**6)
    monkeypatch.setattr("stoker.pools.waiting.OVERTAKINGS", 10**6)

    assert found_in_a_crowd("was overtaken")


def test_a_resource_that_was_not_selected_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def anything_will_do(self: Selector, resource: Resource) -> bool:
        return True

    monkeypatch.setattr(Selector, "_judge", anything_will_do)

    assert found("is not what was selected")


def test_waits_are_estimated_to_a_quarter_when_nothing_breaks() -> None:
    errors = sum((play_rush(seed) for seed in range(8)), Errors())

    assert len(errors.first) > 1000
    assert errors.at_first <= 0.25
    assert errors.on_the_way <= 0.10


def test_a_claim_that_slips_into_a_paused_pool_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    settle = Gate.settle

    def settle_ajar(self: Gate) -> None:
        settle(self)
        self.shut = self.draining

    monkeypatch.setattr(Gate, "settle", settle_ajar)

    assert found("in a pool that was shut")


def test_a_held_one_that_is_removed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    condemn = Dismantler.condemn

    def condemn_all(self: Dismantler, resource: Resource, transaction: Transaction) -> None:
        condemn(self, replace(resource, hold=None), transaction)

    monkeypatch.setattr(Dismantler, "condemn", condemn_all)

    assert found("held until")


def test_a_hold_that_is_forgotten_by_a_restart_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def put_nothing(_: SqliteTransaction, switch: Switch) -> None:
        """The switch is lost."""

    monkeypatch.setattr(SqliteTransaction, "put_switch", put_nothing)

    assert found("the hold of", "held until", "was shut")


def test_a_hold_that_does_not_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: Holding, resource: Resource) -> None:
        """No timer."""

    monkeypatch.setattr(Holding, "_watch", never)

    assert found("too long")


class HandsOutTheHeld(Holding):
    def keep(self, resource: Resource) -> None:
        """Goes on as if it was not to be held."""
        self._services.inventory.judge(resource, Health.HEALTHY)


def test_one_that_is_leased_although_it_is_to_be_held_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stoker.pools.fleet.Holding", HandsOutTheHeld)

    assert found("was to be held and is")


@pytest.mark.parametrize("seed", [3, 4])
def test_a_seed_replays_exactly(seed: int) -> None:
    told = {_fingerprint(seed) for _ in range(2)}

    assert len(told) == 1


def _fingerprint(seed: int) -> str:
    code = f"from tests.simulation.running import play; print(play({seed}, 0.2).fingerprint)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    return done.stdout.strip()


def test_a_rollout_that_leaves_too_few_ready_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def reckless(spec: PoolSpec) -> Budget:
        return replace(budget(spec), least=0)

    monkeypatch.setattr("stoker.pools.rollout.budget", reckless)

    assert found("fewer than the")


def test_rollouts_go_on_and_are_paused_in_a_story() -> None:
    told = sum((play(seed, HOURS).rollouts for seed in (0, 1)), Counter[str]())

    steps = ("started", "advanced", "paused", "resumed", "finished")
    assert {f"rollout.{step}" for step in steps} <= set(told)
