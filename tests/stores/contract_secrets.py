"""Promises of the ledger about secrets, damage, and whatever else may be written."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stoker.pools.claim import ClaimState
from stoker.pools.resource import Part
from stoker.pools.sealing import Sealer
from stoker.pools.store import StoreCorrupt, StoreError
from tests.stores import samples
from tests.stores.disks import Disk, put
from tests.stores.samples import KEY, SECRET, a_claim, a_resource, an_event

OTHER_KEY = b"k" * 32


class ContentPromises:
    """Mixed into `LedgerContract`."""

    async def test_no_secret_is_in_the_clear_on_the_disk(self, disk: Disk) -> None:
        store = disk.open()
        claim = replace(a_claim(state=ClaimState.PENDING), params={"token": SECRET})
        await put(store, a_resource(parts=2, reason="a reason in the clear"), claim, an_event())
        assert SECRET.encode() not in disk.everything()
        assert b"a reason in the clear" in disk.everything()
        await store.close()
        assert SECRET.encode() not in disk.everything()

    async def test_another_key_is_refused_with_a_remedy(self, disk: Disk) -> None:
        store = disk.open()
        await put(store, a_claim())
        await store.close()
        with pytest.raises(StoreError, match=r"sealed with another key.*ledger\.key"):
            disk.open(Sealer(b"x" * 32))
        again = disk.open()
        assert {"token": SECRET} == getattr(again.find_key(KEY), "secrets", None)
        await again.close()

    async def test_a_rotated_key_still_opens_what_the_old_one_sealed(self, disk: Disk) -> None:
        store = disk.open()
        await put(store, a_claim())
        await store.close()
        rotated = disk.open(Sealer(b"n" * 32, b"s" * 32))
        assert {"token": SECRET} == getattr(rotated.find_key(KEY), "secrets", None)
        await put(rotated, a_claim(version=2))
        assert {"token": SECRET} == getattr(rotated.find_key(KEY), "secrets", None)
        await rotated.close()

    async def test_sealed_values_cannot_be_swapped(self, disk: Disk) -> None:
        store = disk.open()
        await put(store, a_claim("c-mine", secret="mine"), a_claim("c-hers", key=OTHER_KEY))
        await store.close()
        disk.tamper(
            "UPDATE claims SET secrets = (SELECT secrets FROM claims WHERE id = 'c-hers') "
            "WHERE id = 'c-mine'"
        )
        again = disk.open()
        with pytest.raises(StoreCorrupt, match=r"claims/c-mine/secrets was changed or moved"):
            again.find_key(KEY)
        await again.close()

    async def test_a_senseless_row_is_told_and_not_guessed_at(self, disk: Disk) -> None:
        store = disk.open()
        await put(store, a_resource())
        await store.close()
        disk.tamper("UPDATE resources SET state = 'confused'")
        again = disk.open()
        with pytest.raises(StoreCorrupt, match=r"makes no sense.*restore a backup"):
            again.load()
        await again.close()

    async def test_a_sound_file_is_found_sound(self, disk: Disk) -> None:
        store = disk.open()
        await put(store, a_resource(parts=3), a_claim(), an_event())
        assert [] == await store.integrity()
        await store.close()

    @settings(
        max_examples=30,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,  # each example drops what the last one wrote
            HealthCheck.differing_executors,  # one contract, run by a class per kind
            HealthCheck.too_slow,
        ],
    )
    @given(data=st.data())
    async def test_everything_comes_back_as_it_was_written(
        self, disk: Disk, data: st.DataObject
    ) -> None:
        resource, claim = data.draw(samples.resources()), data.draw(samples.claims())
        drawn = data.draw(st.lists(samples.parts(resource), max_size=4))
        resource.parts = list({part.name: part for part in drawn}.values())
        store = disk.open()
        transaction = store.transaction()
        for old in store.load().resources:
            transaction.drop_resource(old.id)
        transaction.drop_claim(claim.id)
        known = None if claim.key is None else store.find_key(claim.key)
        if known is not None:
            transaction.drop_claim(known.id)
        await store.commit(transaction)
        await put(store, resource, claim)

        def by_order(part: Part) -> tuple[int, str]:
            return part.ordinal, part.name

        resource.parts.sort(key=by_order)
        (kept,) = store.load().resources
        kept.parts.sort(key=by_order)
        assert resource == kept
        assert samples.as_kept(claim) == await store.claim(claim.id)
        store.kill()
