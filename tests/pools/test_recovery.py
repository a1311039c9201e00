"""A restart goes on from whatever the ledger says, also from what should not be there."""

from collections.abc import Iterable

import pytest

from stoker.pools.claim import Claim, ClaimState, EndedBecause, advance
from stoker.pools.driver import PartRequest, ProviderRef
from stoker.pools.ids import ClaimId, ResourceId, part_id
from stoker.pools.lifecycle import PartState, ResourceState
from stoker.pools.resource import Half, Health, Part, Resource
from tests.builders import a_resource, a_revision
from tests.fakes.world import Faults
from tests.rig import EPOCH, ME, Host, Run, a_box_pool, a_part, boxes

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("on_the_rig")]


FIRST = ClaimId("c-1")


def a_claim(
    state: ClaimState, *resources: str, key: bytes | None = None, body: bytes = b""
) -> Claim:
    claim = Claim(FIRST, "web", ME, EPOCH, 60.0, 600.0, EPOCH + 60.0, key=key, body=body)
    claim.resources = [ResourceId(resource) for resource in resources]
    for step in (ClaimState.FINISHING, ClaimState.BOUND, ClaimState.ENDING):
        if claim.state is not state:
            advance(claim, step)
    if claim.state is not ClaimState.FINISHING:
        claim.bound_at, claim.expires_at = EPOCH, EPOCH + 60.0
        claim.secrets = {"token": "t"}
    return claim


async def standing(
    host: Host, name: str, state: ResourceState, claim: Claim | None = None
) -> Resource:
    """A resource in the world and as the ledger has it."""
    resource = a_resource(name, state=state, health=Health.UNKNOWN, ready_at=EPOCH)
    resource.version = 7
    resource.claim = claim.id if claim is not None else None
    part = part_id(resource.id, "box")
    resource.parts = [Part(part, "box", "simulated", "simulated", Half.PREPARE, 0)]
    resource.parts[0].state = PartState.VERIFIED
    await host.world.connect().create(PartRequest(part, "web", {}, {}, ProviderRef("simulated")))
    return resource


async def written(
    host: Host, resources: Iterable[Resource] = (), claims: Iterable[Claim] = ()
) -> None:
    run = Run(host)
    transaction = run.store.transaction()
    for resource in resources:
        transaction.put_resource(resource)
        for part in resource.parts:
            transaction.put_part(resource, part)
    for claim in claims:
        transaction.put_claim(claim)
    await run.store.commit(transaction)
    await run.crash()


async def test_a_bound_resource_whose_claim_is_gone_is_removed() -> None:
    host = Host()
    await written(host, [await standing(host, "web-1", ResourceState.BOUND)])
    run = await host.start(a_box_pool(min=0))
    await run.settle(30)

    assert list(run.fleet.resources()) == []
    assert host.world.things == {}
    await run.stop()


@pytest.mark.parametrize("state", [ClaimState.BOUND, ClaimState.ENDING])
async def test_a_claim_whose_resource_is_gone_is_ended_for_good(state: ClaimState) -> None:
    host = Host()
    await written(host, claims=[a_claim(state, "web-1", key=b"k", body=b"b")])
    run = await host.start(a_box_pool(min=0))
    await run.settle(5)

    claim = await run.fleet.find_claim(FIRST)
    again = await run.claim(key=b"k", body=b"b")
    assert (claim.state, again.state) == (ClaimState.ENDED, ClaimState.ENDED)
    assert not again.secrets
    await run.stop()
    run = Run(host)
    assert run.store.load().claims == []
    await run.crash()


async def test_a_claim_whose_resource_is_being_removed_ends_with_it() -> None:
    host = Host()
    claim = a_claim(ClaimState.BOUND, "web-1")
    await written(host, [await standing(host, "web-1", ResourceState.ENDING, claim)], [claim])
    run = await host.start(a_box_pool(min=0))
    await run.settle(30)

    ended = await run.fleet.find_claim(FIRST)
    assert (ended.state, ended.ended_because) == (ClaimState.ENDED, EndedBecause.FAILED)
    assert list(run.fleet.live_claims()) == []
    assert host.world.things == {}
    await run.stop()


async def test_a_claim_does_not_end_with_a_resource_that_could_not_be_finished_for_it() -> None:
    host = Host(faults=Faults(latency=(5.0, 5.0)))
    claim = a_claim(ClaimState.ENDING, "web-2")
    claim.ended_because = EndedBecause.RELEASED
    await written(
        host,
        [
            await standing(host, "web-1", ResourceState.ENDING, claim),
            await standing(host, "web-2", ResourceState.ENDING, claim),
        ],
        [claim],
    )
    destroyed: list[str] = []
    run = await host.start(a_box_pool(min=0))
    run.fleet.at_end = lambda _: destroyed.extend(host.world.things)
    await run.settle(60)

    assert all(not part.startswith("web-2") for part in destroyed)
    assert (await run.fleet.find_claim(FIRST)).state is ClaimState.ENDED
    await run.stop()


async def test_nothing_is_removed_before_the_providers_are_known() -> None:
    """With other settings the same driver looks into another account, where all seems absent."""
    host = Host()
    claim = a_claim(ClaimState.BOUND, "web-1")
    late = a_claim(ClaimState.BOUND, "web-3")
    late.id, late.expires_at = ClaimId("c-2"), EPOCH
    await written(
        host,
        [
            await standing(host, "web-1", ResourceState.BOUND, claim),
            await standing(host, "web-2", ResourceState.ENDING),
            await standing(host, "web-3", ResourceState.BOUND, late),
        ],
        [claim, late],
    )
    run = Run(host)
    await run.open()
    await run.settle(100)
    assert host.world.calls.get("destroy", 0) == 0

    await run.fleet.apply(a_revision(a_box_pool(min=0)))
    await run.fleet.start()
    await run.settle(30)
    assert host.world.things == {}
    await run.stop()


async def test_a_part_of_a_provider_that_is_no_longer_declared_is_kept_and_shown() -> None:
    host = Host()
    resource = await standing(host, "web-1", ResourceState.ENDING)
    resource.parts[0].provider = "other-account"
    await written(host, [resource])
    run = await host.start(a_box_pool(min=0))
    await run.settle(200)

    left = run.resource(resource.id)
    assert left.state is ResourceState.QUARANTINED
    assert "other-account" in left.reason
    assert host.world.calls.get("destroy", 0) == 0
    await run.stop()


async def test_after_a_restart_the_revision_before_says_how_to_finish_what_was_made_from_it() -> (
    None
):
    host = Host(faults=Faults(latency=(5.0, 5.0)))
    old = a_box_pool(min=2, blueprint=boxes(digest="d1"))
    run = await host.start(old)
    await run.until_ready(2)
    before = {resource.id for resource in run.fleet.resources()}
    await run.crash()

    page = a_part("page", settings={"label": "${parts.shelf.name}"})
    run = Run(host)
    await run.open()
    run.fleet.recall(a_revision(old))
    await run.fleet.apply(
        a_revision(a_box_pool(min=2, blueprint=boxes(digest="d2", finish=(page,))))
    )
    await run.fleet.start()
    claim = await run.claim()

    assert set(claim.resources) <= before
    assert set(claim.secrets) == {"token"}
    await run.stop()


async def test_a_claim_that_nobody_was_told_of_is_forgotten_with_its_key() -> None:
    host = Host()
    await written(host, claims=[a_claim(ClaimState.FINISHING, "web-9", key=b"k", body=b"b")])
    run = await host.start(a_box_pool(min=1))

    claim = await run.claim(key=b"k", body=b"other")

    assert claim.id != "c-1"
    assert claim.state is ClaimState.BOUND
    await run.stop()
