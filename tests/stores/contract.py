"""What every ledger keeps, run over each kind of it.

For a kind, write a class `TestX(LedgerContract)` with a fixture `disk` that yields a `Disk`: what
outlives a store, so that the tests can crash it and open it again.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stoker.pools.claim import Claim, ClaimState
from stoker.pools.ids import ClaimId, PartId, ResourceId
from stoker.pools.resource import Part, Resource
from stoker.pools.sealing import Sealer
from stoker.pools.store import ClockAnchor, Event, KeptRevision, NewEvent, StoreCorrupt, StoreError
from stoker.pools.stores.sqlite import SqliteStore
from tests.stores import samples
from tests.stores.samples import KEY, SECRET, a_claim, a_part, a_resource, an_event

OTHER_KEY = b"k" * 32
PATIENCE = 10.0


class Disk(ABC):
    """Where a ledger lives, and what opens it."""

    def __init__(self) -> None:
        self.sealer = Sealer(b"s" * 32)
        self.time = 1_700_000_000.0

    def wall(self) -> float:
        return self.time

    @abstractmethod
    def open(self, sealer: Sealer | None = None) -> SqliteStore: ...

    @abstractmethod
    def tamper(self, sql: str, *values: object) -> None:
        """Changes the ledger behind the store's back, while none is open."""

    @abstractmethod
    def everything(self) -> bytes:
        """All bytes that the ledger has on its disk."""


async def put(
    store: SqliteStore, *things: Resource | Claim | NewEvent, urgent: bool = False
) -> None:
    transaction = store.transaction()
    for thing in things:
        if isinstance(thing, Resource):
            transaction.put_resource(thing)
            for part in thing.parts:
                transaction.put_part(thing, part)
        elif isinstance(thing, Claim):
            transaction.put_claim(thing)
        else:
            transaction.add_event(thing)
    await store.commit(transaction, urgent=urgent)


async def all_events(store: SqliteStore) -> Sequence[Event]:
    return await store.events(after=0, limit=1000)


class LedgerContract:
    """The promises of `stoker.pools.store.Store`."""

    @pytest.fixture
    def disk(self) -> Disk:
        raise NotImplementedError

    async def test_a_new_ledger_is_empty(self, disk: Disk) -> None:
        store = disk.open()
        image = store.load()
        assert ([], [], None, ClockAnchor(), 0) == (
            image.resources,
            image.claims,
            image.revision,
            image.anchor,
            image.last_event,
        )
        assert [] == await all_events(store)
        await store.close()

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

    # Claims and their keys

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

    # Events

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
            an_event("resource.ready", pool="web", resource="web-1"),
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

    # Purging

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
        assert 240 == await store.purge(keys_before=240.0, events_before=0.0)
        assert None is store.find_key((239).to_bytes(32, "big"))
        assert None is not store.find_key((240).to_bytes(32, "big"))
        assert None is not store.find_key(KEY)
        assert 0 == await store.purge(keys_before=240.0, events_before=0.0)
        await store.close()

    async def test_a_claim_refused_while_waiting_is_kept_past_its_deadline(
        self, disk: Disk
    ) -> None:
        store = disk.open()
        refused = replace(a_claim(state=ClaimState.REFUSED, created_at=1000.0), ended_at=None)
        await put(store, refused)
        assert 0 == await store.purge(keys_before=refused.deadline, events_before=0.0)
        assert 1 == await store.purge(keys_before=refused.deadline + 1, events_before=0.0)
        await store.close()

    async def test_purged_events_leave_a_chain_that_can_be_verified(self, disk: Disk) -> None:
        store = disk.open()
        for number in range(250):
            disk.time = 1000.0 + number
            await put(store, an_event(reason=str(number)))
        assert 240 == await store.purge(keys_before=0.0, events_before=1240.0)
        assert 10 == await store.verify_chain()
        assert 241 == (await all_events(store))[0].seq
        assert 10 == await store.purge(keys_before=0.0, events_before=9999.0)
        await put(store, an_event())
        assert 1 == await store.verify_chain()
        await store.close()
        again = disk.open()
        assert 251 == again.load().last_event
        await again.close()

    async def test_an_old_date_between_new_ones_is_not_purged(self, disk: Disk) -> None:
        store = disk.open()
        for time in (1000.0, 2000.0, 1001.0):
            disk.time = time
            await put(store, an_event())
        assert 1 == await store.purge(keys_before=0.0, events_before=1500.0)
        assert [2, 3] == [event.seq for event in await all_events(store)]
        await store.close()

    # The rest of what a restart needs

    async def test_the_last_revision_and_the_clock_are_kept(self, disk: Disk) -> None:
        store = disk.open()
        for number in (1, 2):
            transaction = store.transaction()
            files = {"a.yaml": f"kind: Pool\n# caf\u00e9 {number}\n", "b/c.yaml": ""}
            transaction.put_revision(KeptRevision(f"rev{number}", "/etc/stoker", 5.5, files))
            transaction.put_anchor(ClockAnchor("boot", 1.25, 100.0 + number))
            await store.commit(transaction)
        await store.close()
        again = disk.open()
        image = again.load()
        assert KeptRevision("rev2", "/etc/stoker", 5.5, files) == image.revision
        assert ClockAnchor("boot", 1.25, 102.0) == image.anchor
        await again.close()

    # Secrets

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

    # Anything at all

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
