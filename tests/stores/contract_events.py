"""Promises of the ledger about the audit: numbering, chaining, listening."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from stoker.pools.store import Event, NewEvent, StoreCorrupt
from tests.stores.disks import Disk, all_events, put
from tests.stores.samples import KEY, a_claim, an_event

PATIENCE = 10.0


class EventPromises:
    """Mixed into `LedgerContract`."""

    async def test_events_are_numbered_dated_and_chained(self, disk: Disk) -> None:
        store = disk.open()
        for number in range(3):
            disk.time += 1
            await put(store, an_event(reason=f"number {number}", claim="c-1"), an_event("x.done"))
        events = await all_events(store)
        assert [1, 2, 3, 4, 5, 6] == [event.seq for event in events]
        assert [1.0, 1.0, 2.0, 2.0, 3.0, 3.0] == [event.at - 1_700_000_000 for event in events]
        assert 6 == len({event.hash for event in events})
        assert {"warm": True} == events[0].data
        assert 6 == await store.verify_chain()
        await store.close()

    async def test_every_event_says_under_which_revision_it_happened(self, disk: Disk) -> None:
        store = disk.open()
        store.serves("1d85d6b39de4")
        bare, told = NewEvent("x.done"), NewEvent("x.done", data={"revision": "r2", "n": 1})
        await put(store, bare, told)
        assert [{"revision": "1d85d6b39de4"}, {"revision": "r2", "n": 1}] == [
            event.data for event in await all_events(store)
        ]
        store.kill()
        again = disk.open()
        assert 2 == await again.verify_chain()
        await again.close()

    async def test_the_chain_goes_on_after_a_restart(self, disk: Disk) -> None:
        for life in range(3):
            store = disk.open()
            assert life == store.load().last_event
            await put(store, an_event(reason=f"life {life}"))
            store.kill()
        again = disk.open()
        assert 3 == await again.verify_chain()
        await again.close()

    @pytest.mark.parametrize(
        "forgery",
        [
            "UPDATE events SET reason = 'nothing to see' WHERE seq = 2",
            "UPDATE events SET at = at + 1 WHERE seq = 2",
            "UPDATE events SET data = '{\"warm\":false}' WHERE seq = 2",
            "DELETE FROM events WHERE seq = 2",
            "DELETE FROM events WHERE seq = 1",
            "INSERT INTO events SELECT 5, at, '', '', '', '', '', '', data, hash FROM events LIMIT 1",
        ],
    )
    async def test_a_forged_past_is_found(self, disk: Disk, forgery: str) -> None:
        store = disk.open()
        await put(store, *[an_event(reason=f"number {number}") for number in range(4)])
        await store.close()
        disk.tamper(forgery)
        again = disk.open()
        with pytest.raises(StoreCorrupt, match="audit"):
            await again.verify_chain()
        await again.close()

    async def test_events_are_read_on_from_a_number_and_filtered(self, disk: Disk) -> None:
        store = disk.open()
        await put(
            store,
            an_event("claim.bound", pool="web", claim="c-1"),
            an_event("claim.ended", pool="web", claim="c-1"),
            an_event("claim.bound", pool="db", claim="c-2"),
            an_event("resource.ready", pool="web", resource="web-1", request="r-1"),
        )

        async def seen(after: int = 0, limit: int = 10, **filters: str) -> list[int]:
            found = await store.events(after=after, limit=limit, **filters)
            return [event.seq for event in found]

        assert [3, 4] == await seen(after=2)
        assert [1, 2] == await seen(limit=2)
        assert [1, 2, 3] == await seen(kind="claim.")
        assert [1, 3] == await seen(kind="claim.bound")
        assert [1, 2] == await seen(claim="c-1")
        assert [4] == await seen(pool="web", resource="web-1")
        assert [4] == await seen(request="r-1")
        assert [2] == await seen(after=1, pool="web", kind="claim")
        with pytest.raises(ValueError, match="no filter 'colour'"):
            await seen(colour="red")
        await store.close()

    async def test_listeners_hear_of_durable_events_in_order(self, disk: Disk) -> None:
        store = disk.open()
        heard: list[Event] = []
        all_heard = asyncio.Event()

        def deaf(_events: Sequence[Event]) -> None:
            raise RuntimeError("this one fails, the others must still hear")

        def listener(events: Sequence[Event]) -> None:
            heard.extend(events)
            if len(heard) == 40:
                all_heard.set()

        store.on_events(deaf)
        store.on_events(listener)
        await asyncio.gather(*[put(store, an_event(reason=str(n))) for n in range(40)])
        async with asyncio.timeout(PATIENCE):
            await all_heard.wait()
        assert list(range(1, 41)) == [event.seq for event in heard]
        assert list(await all_events(store)) == heard
        await store.close()

    async def test_odd_strings_are_kept_or_made_visible(self, disk: Disk) -> None:
        store = disk.open()
        odd = "caf\u00e9 \udcff \x00 \U0001f600"
        claim = replace(a_claim(), reason=odd, outputs={"path": odd}, detail=odd)
        await put(store, claim, NewEvent("x.done", reason=odd, data={"path": odd}))
        kept = store.find_key(KEY)
        assert kept is not None
        visible = "caf\u00e9 \\udcff \x00 \U0001f600"
        assert (visible, visible, {"path": odd}) == (kept.reason, kept.detail, kept.outputs)
        assert [visible] == [event.reason for event in await all_events(store)]
        assert 1 == await store.verify_chain()
        await store.close()
