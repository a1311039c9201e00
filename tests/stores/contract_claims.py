"""Promises of the ledger about claims and their keys."""

import asyncio
from dataclasses import replace

import pytest

from stoker.pools.approvals import Approval, Need, Outcome, Vote, Voter
from stoker.pools.claim import ClaimState
from stoker.pools.ids import ClaimId
from stoker.pools.store import StoreError
from tests.stores import samples
from tests.stores.disks import Disk, all_events, put
from tests.stores.samples import KEY, SECRET, a_claim, a_resource, an_event

OTHER_KEY = b"k" * 32


class ClaimPromises:
    """Mixed into `LedgerContract`."""

    async def test_a_key_finds_its_claim_with_its_secrets_also_after_a_restart(
        self, disk: Disk
    ) -> None:
        store = disk.open()
        claim = a_claim()
        await put(store, claim)
        assert claim == store.find_key(KEY)
        assert None is store.find_key(OTHER_KEY)
        await store.close()
        again = disk.open()
        assert claim == again.find_key(KEY)
        assert {"token": SECRET} == claim.secrets
        await again.close()

    async def test_a_key_belongs_to_one_claim(self, disk: Disk) -> None:
        store = disk.open()
        await put(store, a_claim())
        with pytest.raises(StoreError, match="key already belongs to another claim"):
            await put(store, a_claim("c-another"))
        assert "c-0123456789abcdef" == getattr(store.find_key(KEY), "id", None)
        assert None is await store.claim(ClaimId("c-another"))
        await store.close()

    async def test_a_failed_commit_fails_alone(self, disk: Disk) -> None:
        store = disk.open()
        await put(store, a_claim(), an_event())
        batch = [
            put(store, a_claim("c-2", key=OTHER_KEY), an_event("claim.two")),
            put(store, a_resource("web-3"), a_claim("c-3"), an_event("claim.three")),
            put(store, a_claim("c-4", key=b"4" * 32), an_event("claim.four")),
        ]
        outcomes = await asyncio.gather(*batch, return_exceptions=True)
        assert [None, StoreError, None] == [outcome and type(outcome) for outcome in outcomes]
        image = store.load()
        assert {"c-0123456789abcdef", "c-2", "c-4"} == {claim.id for claim in image.claims}
        assert [] == image.resources
        assert ["claim.bound", "claim.two", "claim.four"] == [
            event.kind for event in await all_events(store)
        ]
        assert 3 == await store.verify_chain()
        await store.close()

    async def test_a_dropped_claim_frees_its_key(self, disk: Disk) -> None:
        store = disk.open()
        await put(store, a_claim())
        transaction = store.transaction()
        transaction.drop_claim(ClaimId("c-0123456789abcdef"))
        await store.commit(transaction)
        assert None is store.find_key(KEY)
        await put(store, a_claim("c-another"))
        assert "c-another" == getattr(store.find_key(KEY), "id", None)
        await store.close()

    async def test_an_ended_claim_is_found_but_not_loaded(self, disk: Disk) -> None:
        store = disk.open()
        ended = a_claim(state=ClaimState.ENDED)
        await put(store, ended)
        assert [] == store.load().claims
        found = await store.claim(ended.id)
        assert found is not None
        assert samples.as_kept(ended) == found == store.find_key(KEY)
        await store.close()

    @pytest.mark.parametrize("state", [ClaimState.ENDED, ClaimState.REFUSED, ClaimState.FAILED])
    async def test_the_secrets_of_a_claim_that_is_over_are_erased(
        self, disk: Disk, state: ClaimState
    ) -> None:
        store = disk.open()
        await put(store, a_claim(version=1))
        assert {"token": SECRET} == getattr(store.find_key(KEY), "secrets", None)
        await put(store, a_claim(version=2, state=state))
        assert {} == getattr(store.find_key(KEY), "secrets", None)
        await store.close()

    async def test_parameters_are_kept_until_the_claim_is_bound(self, disk: Disk) -> None:
        store = disk.open()
        kept: list[object] = []
        states = (ClaimState.PENDING, ClaimState.FINISHING, ClaimState.BOUND, ClaimState.ENDING)
        for version, state in enumerate(states):
            claim = replace(a_claim(version=version, state=state), params={"greeting": "hi"})
            await put(store, claim)
            kept.append(getattr(store.find_key(KEY), "params", None))
        assert [{"greeting": "hi"}, {"greeting": "hi"}, {}, {}] == kept
        await store.close()

    async def test_ended_claims_are_listed_newest_first_and_by_pool(self, disk: Disk) -> None:
        store = disk.open()
        for number in range(5):
            name = f"c-{number}"
            claim = a_claim(name, key=None, state=ClaimState.ENDED, ended_at=100.0 + number)
            await put(store, replace(claim, pool="even" if number % 2 == 0 else "odd"))
        await put(store, a_claim("c-live"))
        newest = await store.ended_claims(pool=None, limit=3)
        even = await store.ended_claims(pool="even", limit=10)
        assert ["c-4", "c-3", "c-2"] == [claim.id for claim in newest]
        assert ["c-4", "c-2", "c-0"] == [claim.id for claim in even]
        await store.close()

    async def test_purging_forgets_old_claims_and_their_keys(self, disk: Disk) -> None:
        store = disk.open()
        for number in range(250):
            ended = a_claim(
                f"c-{number}",
                key=number.to_bytes(32, "big"),
                state=ClaimState.ENDED,
                ended_at=float(number),
            )
            await put(store, ended)
        await put(store, a_claim("c-live", created_at=0.0))
        assert 240 == await store.purge(keys_before=240.0)
        assert None is store.find_key((239).to_bytes(32, "big"))
        assert None is not store.find_key((240).to_bytes(32, "big"))
        assert None is not store.find_key(KEY)
        assert 0 == await store.purge(keys_before=240.0)
        await store.close()

    async def test_a_claim_refused_while_waiting_is_kept_past_its_deadline(
        self, disk: Disk
    ) -> None:
        store = disk.open()
        refused = replace(a_claim(state=ClaimState.REFUSED, created_at=1000.0), ended_at=None)
        await put(store, refused)
        assert 0 == await store.purge(keys_before=refused.deadline)
        assert 1 == await store.purge(keys_before=refused.deadline + 1)
        await store.close()

    async def test_a_claim_to_follow_up_is_loaded_and_not_purged_until_that_is_done(
        self, disk: Disk
    ) -> None:
        store = disk.open()
        needs = (Need("team", "asks", "approver.uid == 2", 2),)
        votes = (Vote(Voter(2, "https://login", "bob", "bob"), True, 3.0, "fine", ("team",)),)
        approval = Approval("d", needs, 1.0, 2.0, votes, broke_glass=True, facts={"now": "then"})
        live = replace(a_claim(), approval=approval)
        await put(store, live)
        assert [live] == store.load().claims
        assert [] == store.load().follow_ups
        ended = replace(a_claim(version=2, state=ClaimState.ENDED), approval=approval)
        await put(store, ended)
        assert 0 == await store.purge(keys_before=9e9)
        assert [samples.as_kept(ended)] == store.load().follow_ups
        done = replace(approval, outcome=Outcome.GRANTED, decided_at=4.0, facts={})
        await put(store, replace(ended, version=3, approval=done))
        assert [] == store.load().follow_ups
        assert 1 == await store.purge(keys_before=9e9)
        await store.close()
