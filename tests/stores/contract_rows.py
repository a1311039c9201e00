"""Promises of the ledger about resources, parts, crashes and versions."""

import asyncio
from dataclasses import replace

import pytest

from stoker.pools.ids import PartId, ResourceId
from stoker.pools.rollout import Rollout, Stage
from stoker.pools.store import ClockAnchor, KeptRevision, StoreError
from stoker.pools.stores.transaction import KEPT_REVISIONS
from stoker.pools.switches import Operator, Switch, SwitchKind
from tests.stores.disks import Disk, all_events, put
from tests.stores.samples import a_claim, a_part, a_resource, an_event


class RowPromises:
    """Mixed into `LedgerContract`."""

    async def test_a_new_ledger_is_empty(self, disk: Disk) -> None:
        store = disk.open()
        image = store.load()
        assert ([], [], None, ClockAnchor(), 0, [], []) == (
            image.resources,
            image.claims,
            image.revision,
            image.anchor,
            image.last_event,
            image.switches,
            image.rollouts,
        )
        assert [] == await all_events(store)
        await store.close()

    async def test_readers_of_the_events_find_how_far_they_came(self, disk: Disk) -> None:
        store = disk.open()
        assert {} == store.load().cursors
        for name, event in (("notify", 3), ("other", 9), ("notify", 7)):
            transaction = store.transaction()
            transaction.put_cursor(name, event)
            await store.commit(transaction)
        store.kill()
        again = disk.open()
        assert {"notify": 7, "other": 9} == again.load().cursors
        await again.close()

    async def test_what_was_committed_is_there_after_a_restart(self, disk: Disk) -> None:
        store = disk.open()
        resource, claim = a_resource(parts=3), a_claim()
        await put(store, resource, claim, an_event())
        await store.close()
        again = disk.open()
        image = again.load()
        assert ([resource], [claim], 1) == (image.resources, image.claims, image.last_event)
        await again.close()

    async def test_what_was_committed_is_there_after_a_crash(self, disk: Disk) -> None:
        store = disk.open()
        resource, claim = a_resource(parts=2), a_claim()
        await put(store, resource, claim, urgent=True)
        store.kill()
        again = disk.open()
        assert ([resource], [claim]) == (again.load().resources, again.load().claims)
        await again.close()

    async def test_after_a_crash_a_commit_neither_returns_nor_happens(self, disk: Disk) -> None:
        store = disk.open()
        store.kill()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(put(store, a_resource()), 0.05)
        again = disk.open()
        assert [] == again.load().resources
        await again.close()

    async def test_a_closed_ledger_refuses_with_a_sentence(self, disk: Disk) -> None:
        store = disk.open()
        await store.close()
        with pytest.raises(StoreError, match="closed"):
            await put(store, a_resource())
        await store.close()

    async def test_closing_writes_what_still_waits(self, disk: Disk) -> None:
        store = disk.open()
        waiting = [
            asyncio.create_task(put(store, a_resource(f"web-{number:08}"))) for number in range(50)
        ]
        await asyncio.sleep(0)
        await store.close()
        await asyncio.gather(*waiting)
        again = disk.open()
        assert 50 == len(again.load().resources)
        await again.close()

    async def test_a_transaction_is_encoded_when_it_is_put(self, disk: Disk) -> None:
        store = disk.open()
        resource = a_resource(reason="as it was")
        transaction = store.transaction()
        transaction.put_resource(resource)
        resource.reason = "as it became"
        await store.commit(transaction)
        assert ["as it was"] == [kept.reason for kept in store.load().resources]
        await store.close()

    async def test_an_empty_transaction_is_no_commit(self, disk: Disk) -> None:
        store = disk.open()
        await store.commit(store.transaction())
        assert 0 == store.statistics()["commits"]
        await store.close()

    async def test_an_older_version_never_undoes_a_newer_one(self, disk: Disk) -> None:
        store = disk.open()
        await put(store, a_resource(version=7, reason="new"), a_claim(version=7))
        await put(store, a_resource(version=6, reason="old"), replace(a_claim(), version=6, ttl=1))
        await put(store, a_resource(version=7, reason="same"))
        image = store.load()
        assert ["new"] == [resource.reason for resource in image.resources]
        assert [1800.0] == [claim.ttl for claim in image.claims]
        await put(store, a_resource(version=8, reason="newer"))
        assert ["newer"] == [resource.reason for resource in store.load().resources]
        await store.close()

    async def test_parts_come_back_in_creation_order(self, disk: Disk) -> None:
        store = disk.open()
        resource = a_resource()
        names = ["zebra", "apple", "mango"]
        resource.parts = [a_part(resource, name, ordinal=at) for at, name in enumerate(names)]
        await put(store, resource)
        assert names == [part.name for part in store.load().resources[0].parts]
        await store.close()

    async def test_a_dropped_part_is_gone_and_the_others_stay(self, disk: Disk) -> None:
        store = disk.open()
        await put(store, a_resource(parts=3), a_resource("web-other", parts=3))
        transaction = store.transaction()
        transaction.drop_part(PartId("web-k3v9q2xa.part1"))
        await store.commit(transaction)
        kept = {
            resource.id: [part.name for part in resource.parts]
            for resource in store.load().resources
        }
        assert {
            "web-k3v9q2xa": ["part0", "part2"],
            "web-other": ["part0", "part1", "part2"],
        } == kept
        await store.close()

    async def test_a_dropped_resource_takes_its_parts_along(self, disk: Disk) -> None:
        store = disk.open()
        await put(store, a_resource(parts=3), a_resource("web-other", parts=1))
        transaction = store.transaction()
        transaction.drop_resource(ResourceId("web-k3v9q2xa"))
        await store.commit(transaction)
        await put(store, a_resource())
        kept = {resource.id: len(resource.parts) for resource in store.load().resources}
        assert {"web-k3v9q2xa": 0, "web-other": 1} == kept
        await store.close()

    async def test_the_oldest_come_first(self, disk: Disk) -> None:
        store = disk.open()
        for name, created_at in (("web-c", 3.0), ("web-a", 1.0), ("web-b", 2.0)):
            await put(store, a_resource(name, created_at=created_at))
            await put(store, a_claim(f"c-{name}", key=None, created_at=created_at))
        image = store.load()
        assert ["web-a", "web-b", "web-c"] == [resource.id for resource in image.resources]
        assert ["c-web-a", "c-web-b", "c-web-c"] == [claim.id for claim in image.claims]
        await store.close()

    async def test_what_operators_set_is_kept_until_it_is_dropped(self, disk: Disk) -> None:
        store = disk.open()
        by = Operator(1000, "ada")
        pause = Switch(SwitchKind.PAUSE, "web", by, "new disk", 10.5, 99.25)
        refresh = Switch(SwitchKind.REFRESH, "web", Operator(0), "caf\u00e9", 11.0)
        hold = Switch(SwitchKind.HOLD, "web-k3v9q2xa", by, "", 12.0, 13.0)
        transaction = store.transaction()
        for switch in (hold, refresh, pause):
            transaction.put_switch(switch)
        await store.commit(transaction)
        await store.close()
        again = disk.open()
        assert [pause, refresh, hold] == again.load().switches
        changed = replace(pause, reason="newer disk", until=None)
        transaction = again.transaction()
        transaction.put_switch(changed)
        transaction.drop_switch(refresh)
        transaction.drop_switch(replace(hold, reason="whatever it says", since=0.0))
        await again.commit(transaction)
        assert [changed] == again.load().switches
        await again.close()

    async def test_a_rollout_is_kept_until_it_is_over_and_one_begun_later_is_not_undone(
        self, disk: Disk
    ) -> None:
        store = disk.open()
        other = Rollout("a", "d2", "d1", "rev1", Stage.PAUSED, 1.0, 2.0, "caf\u00e9")
        first = Rollout("web", "d2", "d1", "rev1", Stage.CANARY, 10.5, 10.5, "it changed")
        second = Rollout("web", "d3", "d1", "rev1", Stage.CANARY, 20.5, 20.5)

        async def write(*puts: Rollout, drops: tuple[Rollout, ...] = ()) -> list[Rollout]:
            transaction = store.transaction()
            for one in puts:
                transaction.put_rollout(one)
            for one in drops:
                transaction.drop_rollout(one)
            await store.commit(transaction)
            return store.load().rollouts

        assert [other, first] == await write(first, other)
        further = replace(first, stage=Stage.ROLLING, since=11.0, reason="")
        assert [other, further] == await write(further)
        assert [other, second] == await write(second)
        assert [other, second] == await write(further, drops=(first,))
        await store.close()
        store = disk.open()
        assert [second] == await write(drops=(other,))
        assert [] == await write(drops=(replace(second, stage=Stage.PAUSED),))
        await store.close()

    async def test_the_revision_from_which_a_rollout_goes_is_kept_as_long(self, disk: Disk) -> None:
        store = disk.open()
        rollout = Rollout("web", "d2", "d1", "rev1", Stage.CANARY, 1.0, 1.0)

        async def apply(number: int, begins: Rollout | None = None) -> list[str]:
            transaction = store.transaction()
            if begins is not None:
                transaction.put_rollout(begins)
            transaction.put_revision(
                KeptRevision(f"rev{number}", "/etc", float(number), {"a": "b"})
            )
            await store.commit(transaction)
            return [older.id for older in store.load().older]

        assert [] == await apply(1)
        assert ["rev1"] == await apply(2, rollout)
        assert ["rev1"] == await apply(3)
        transaction = store.transaction()
        transaction.drop_rollout(rollout)
        await store.commit(transaction)
        assert [] == await apply(4)
        await store.close()

    async def test_the_last_revision_and_the_clock_are_kept(self, disk: Disk) -> None:
        store = disk.open()
        for number in (1, 2):
            transaction = store.transaction()
            files = {"a.yaml": f"kind: Pool\n# caf\u00e9 {number}\n", "b/c.yaml": ""}
            transaction.put_revision(
                KeptRevision(f"rev{number}", "/etc/stoker", 5.5, files, f"{number}" * 40)
            )
            transaction.put_anchor(ClockAnchor("boot", 1.25, 100.0 + number))
            await store.commit(transaction)
        await store.close()
        again = disk.open()
        image = again.load()
        assert KeptRevision("rev2", "/etc/stoker", 5.5, files, "2" * 40) == image.revision
        assert ClockAnchor("boot", 1.25, 102.0) == image.anchor
        await again.close()

    async def test_revisions_are_kept_while_resources_stand_that_were_made_from_them(
        self, disk: Disk
    ) -> None:
        store = disk.open()
        await put(
            store,
            a_resource("web-1", revision="rev1"),
            a_resource("web-3", revision="rev3"),
            a_resource("web-1b", revision="rev1"),
        )

        async def apply(number: int, at: float) -> list[str]:
            transaction = store.transaction()
            transaction.put_revision(KeptRevision(f"rev{number}", "/etc", at, {"a": str(number)}))
            await store.commit(transaction)
            image = store.load()
            assert image.revision is not None
            return [image.revision.id, *(older.id for older in image.older)]

        assert ["rev1"] == await apply(1, 1.0)
        assert ["rev2", "rev1"] == await apply(2, 2.0)
        assert ["rev3", "rev1"] == await apply(3, 3.0)
        assert ["rev4", "rev3", "rev1"] == await apply(4, 4.0)
        assert ["rev1", "rev3"] == await apply(1, 5.0)
        transaction = store.transaction()
        transaction.drop_resource(ResourceId("web-3"))
        await store.commit(transaction)
        assert ["rev5", "rev1"] == await apply(5, 6.0)
        await store.close()

    async def test_the_history_has_the_last_ones_without_files_and_each_with_them(
        self, disk: Disk
    ) -> None:
        store = disk.open()
        assert [] == list(await store.revisions())
        await put(store, a_resource("web-1", revision="rev1"))
        for number in [*range(1, KEPT_REVISIONS + 11), 25, 25]:
            transaction = store.transaction()
            files = {"a.yaml": f"# {number}"}
            transaction.put_revision(KeptRevision(f"rev{number}", "/etc", 1.5, files, "c" * 40))
            await store.commit(transaction)

        ids = [one.id for one in await store.revisions()]
        assert "rev25" == ids[0]
        assert [f"rev{KEPT_REVISIONS + 10}", f"rev{KEPT_REVISIONS + 9}"] == ids[1:3]
        assert "rev1" == ids[-1], "a resource stands that was made from it"
        assert KEPT_REVISIONS == len(ids) == len(set(ids))
        assert all(not one.files for one in await store.revisions())
        found = await store.revision("rev25", "/etc")
        assert KeptRevision("rev25", "/etc", 1.5, {"a.yaml": "# 25"}, "c" * 40) == found
        assert None is await store.revision("rev2", "/etc")
        assert None is await store.revision("rev25", "/elsewhere")
        image = store.load()
        assert ["rev1"] == [one.id for one in image.older]
        await store.close()

    async def test_one_commit_of_two_sources_is_two_revisions(self, disk: Disk) -> None:
        store = disk.open()
        await put(store, a_resource("web-1", revision="rev1"))
        for source in ("a", "b", "a"):
            transaction = store.transaction()
            transaction.put_revision(KeptRevision("rev1", source, 1.0, {"from": source}))
            await store.commit(transaction)
        image = store.load()
        assert image.revision is not None
        assert ("a", ["b"]) == (image.revision.source, [one.source for one in image.older])
        await store.close()
