"""The transition table and the inventory that obeys it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stoker.pools.inventory import Inventory
from stoker.pools.lifecycle import (
    LEAVING,
    MOVES,
    OCCUPYING,
    SERVING,
    IllegalMove,
    ResourceState,
    allowed,
)
from stoker.pools.resource import Health
from tests.builders import a_resource

S = ResourceState


def test_every_state_has_its_moves() -> None:
    assert set(MOVES) == set(ResourceState)


def test_every_state_can_reach_the_end() -> None:
    reaching = {S.GONE}
    while True:
        more = {state for state in S if MOVES[state] & reaching} | reaching
        if more == reaching:
            break
        reaching = more

    assert reaching == set(ResourceState)


def test_nothing_that_was_bound_becomes_ready_again_but_through_a_reset() -> None:
    reached, frontier = {S.BOUND}, {S.BOUND}
    while frontier:
        frontier = {to for state in frontier for to in MOVES[state]} - reached - {S.RESETTING}
        reached |= frontier

    assert S.READY not in reached
    assert S.CLAIMED not in reached


def test_nothing_that_was_held_ever_becomes_ready_again() -> None:
    assert MOVES[S.HELD] == {S.ENDING}
    assert {state for state in S if S.HELD in MOVES[state]} == {S.READY, S.ENDING}
    assert MOVES[S.ENDING] == {S.GONE, S.QUARANTINED, S.HELD}


def test_a_reset_begins_at_the_end_of_a_claim_and_ends_in_ready_or_in_removal() -> None:
    assert [S.BOUND] == [state for state in S if S.RESETTING in MOVES[state]]
    assert {S.READY, S.ENDING} == MOVES[S.RESETTING]
    assert S.RESETTING in OCCUPYING
    assert S.RESETTING not in LEAVING


def test_each_bind_counts_as_a_use() -> None:
    inventory = Inventory()
    resource = a_resource(state=S.READY)
    inventory.add(resource)
    for to in (
        S.CLAIMED,
        S.READY,
        S.CLAIMED,
        S.BOUND,
        S.RESETTING,
        S.READY,
        S.CLAIMED,
        S.FINISHING,
    ):
        inventory.move(resource, to, "because", 0.0)
    assert resource.uses == 1
    inventory.move(resource, S.BOUND, "because", 0.0)
    assert resource.uses == 2


def test_what_was_begun_for_a_claim_is_never_handed_to_another() -> None:
    assert not allowed(S.FINISHING, S.READY)
    assert not allowed(S.FINISHING, S.CLAIMED)


def test_only_a_ready_one_can_be_claimed() -> None:
    assert [state for state in S if S.CLAIMED in MOVES[state]] == [S.READY]


def test_a_slot_is_free_only_when_it_is_gone() -> None:
    assert set(ResourceState) - OCCUPYING == {S.GONE}
    assert not SERVING & LEAVING


def test_whoever_comes_second_is_refused() -> None:
    inventory = Inventory()
    resource = a_resource(state=S.READY)
    inventory.add(resource)
    inventory.move(resource, S.CLAIMED, "taken", 0.0)

    with pytest.raises(IllegalMove, match="is claimed and cannot become held"):
        inventory.move(resource, S.HELD, "look at it", 0.0)
    assert resource.state is S.CLAIMED


def test_every_move_makes_a_newer_version() -> None:
    inventory = Inventory()
    resource = a_resource()
    inventory.add(resource)
    inventory.move(resource, S.PREPARING, "", 1.0)
    inventory.move(resource, S.READY, "", 2.0)

    assert resource.version == 2
    assert resource.changed_at == 2.0


def test_the_oldest_up_to_date_one_is_handed_out_first() -> None:
    inventory = Inventory()
    inventory.members("web").digest = "new"
    for name, digest in [("web-1", "old"), ("web-2", "new"), ("web-3", "new")]:
        inventory.add(a_resource(name, state=S.READY, digest=digest))

    first = inventory.members("web").first_claimable()
    assert first is not None
    assert first.id == "web-2"


def test_what_is_not_yet_observed_is_not_handed_out() -> None:
    inventory = Inventory()
    resource = a_resource(state=S.READY, health=Health.UNKNOWN)
    inventory.add(resource)

    assert inventory.members("web").first_claimable() is None
    inventory.judge(resource, Health.HEALTHY)
    assert inventory.members("web").first_claimable() is resource


class InventoryMachine(RuleBasedStateMachine):
    """Any sequence of attempted moves leaves counts and files right."""

    def __init__(self) -> None:
        super().__init__()
        self.inventory = Inventory()
        self.number = 0

    @rule(digest=st.sampled_from(["d1", "d2"]))
    def add(self, digest: str) -> None:
        self.number += 1
        self.inventory.add(a_resource(f"web-{self.number}", digest=digest))

    @rule(pick=st.integers(0, 50), to=st.sampled_from(list(S)))
    def move(self, pick: int, to: ResourceState) -> None:
        resources = list(self.inventory)
        if not resources:
            return
        resource = resources[pick % len(resources)]
        before = resource.state
        try:
            self.inventory.move(resource, to, "because", 0.0)
        except IllegalMove:
            assert resource.state is before
            assert to not in MOVES[before]

    @rule(pick=st.integers(0, 50), health=st.sampled_from(list(Health)))
    def judge(self, pick: int, health: Health) -> None:
        resources = list(self.inventory)
        if resources:
            self.inventory.judge(resources[pick % len(resources)], health)

    @rule(digest=st.sampled_from(["d1", "d2"]), refreshed_at=st.none() | st.floats(-1.0, 1.0))
    def change_blueprint_or_refresh(self, digest: str, refreshed_at: float | None) -> None:
        self.inventory.members("web").refile_all(digest, refreshed_at)

    @invariant()
    def files_and_counts_are_right(self) -> None:
        assert self.inventory.breaches() == []


TestInventory = InventoryMachine.TestCase


@given(st.sampled_from(list(S)), st.sampled_from(list(S)))
def test_the_table_alone_decides(state: ResourceState, to: ResourceState) -> None:
    inventory = Inventory()
    resource = a_resource(state=state)
    inventory.add(resource)
    if to in MOVES[state]:
        inventory.move(resource, to, "because", 0.0)
        assert resource.state is to
    else:
        with pytest.raises(IllegalMove):
            inventory.move(resource, to, "because", 0.0)
