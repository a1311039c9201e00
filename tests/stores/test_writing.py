"""How commits share the disk: urgent ones first, in batches, the WAL kept short beside them."""

import asyncio
import gc
import sqlite3
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from stoker.pools.claim import Claim, ClaimState
from stoker.pools.resource import Resource
from stoker.pools.store import Event, StoreError
from stoker.pools.stores.checkpoints import UNSAVED_ROWS
from stoker.pools.stores.lanes import (
    BACKGROUND_BATCH,
    BACKGROUND_BESIDE_URGENT,
    URGENT_BATCH,
    Job,
    Lanes,
)
from stoker.pools.stores.pen import Pen
from stoker.pools.stores.sqlite import SqliteStore
from tests.stores.disks import Folder, Memory, OpenStore, all_events, put
from tests.stores.samples import a_claim, a_part, a_resource, an_event


@pytest.fixture
def disk(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "state", "thread")


@pytest.fixture
async def store(disk: Folder) -> AsyncIterator[OpenStore]:
    store = disk.open()
    yield store
    await store.close()


def a_job() -> Job:
    return Job((), (), lambda _: None)


async def test_urgent_jobs_go_first_with_a_few_others_beside_them() -> None:
    lanes = Lanes()
    others, urgent = [a_job() for _ in range(100)], [a_job() for _ in range(3)]
    for job in others:
        lanes.add(job, urgent=False)
    for job in urgent:
        lanes.add(job, urgent=True)
    assert 103 == len(lanes)
    assert [*urgent, *others[:BACKGROUND_BESIDE_URGENT]] == lanes.take()
    assert others[BACKGROUND_BESIDE_URGENT:][:BACKGROUND_BATCH] == lanes.take()


async def test_no_batch_is_without_bounds() -> None:
    lanes = Lanes()
    for _ in range(URGENT_BATCH + 1):
        lanes.add(a_job(), urgent=True)
    assert URGENT_BATCH == len(lanes.take())
    assert 1 == len(lanes.take())
    assert [] == lanes.take()


class Gate:
    """Holds the writer back before its next batch, so that jobs pile up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.arrived, self.open = threading.Event(), threading.Event()
        self.batches: list[int] = []
        real: Callable[..., list[Event]] = Pen.write

        def write(writing: Pen, batch: list[Job]) -> list[Event]:
            self.arrived.set()
            self.open.wait()
            self.batches.append(len(batch))
            return real(writing, batch)

        monkeypatch.setattr(Pen, "write", write)


async def test_what_arrives_during_a_commit_shares_the_next(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    first = asyncio.create_task(put(store, a_resource("web-first")))
    await asyncio.to_thread(gate.arrived.wait)
    others = [
        asyncio.create_task(put(store, a_resource(f"web-{number}"), urgent=True))
        for number in range(60)
    ]
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(first, *others)
    assert [1, 60] == gate.batches
    assert 2 == store.statistics()["commits"]
    assert 61 == store.statistics()["transactions"]


async def test_an_urgent_commit_overtakes_a_large_backlog(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    done: list[str] = []

    async def commit(name: str, *, urgent: bool) -> None:
        await put(store, a_resource(f"web-{name}"), urgent=urgent)
        done.append(name)

    backlog = [asyncio.create_task(commit(str(n), urgent=False)) for n in range(500)]
    await asyncio.to_thread(gate.arrived.wait)
    urgent = asyncio.create_task(commit("urgent", urgent=True))
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(urgent, *backlog)
    assert done.index("urgent") <= BACKGROUND_BATCH + BACKGROUND_BESIDE_URGENT
    assert max(gate.batches) <= BACKGROUND_BATCH
    assert 501 == len(store.load().resources)


async def test_a_cancelled_caller_does_not_stop_the_write(store: SqliteStore) -> None:
    cancelled = asyncio.create_task(put(store, a_resource("web-cancelled")))
    await asyncio.sleep(0)
    cancelled.cancel()
    await put(store, a_resource("web-other"))
    assert {"web-cancelled", "web-other"} == {each.id for each in store.load().resources}


async def test_a_defect_in_one_transaction_is_told_to_its_caller_alone(store: SqliteStore) -> None:
    broken = replace(a_resource("web-broken"), version=2**70)
    outcomes = await asyncio.gather(
        put(store, a_resource("web-1")),
        put(store, broken),
        put(store, a_resource("web-2")),
        return_exceptions=True,
    )
    assert [type(None), StoreError, type(None)] == [type(each) for each in outcomes]
    assert {"web-1", "web-2"} == {each.id for each in store.load().resources}


async def test_each_waiter_gets_an_error_of_its_own(store: OpenStore) -> None:
    store.lose_connection()
    outcomes = await asyncio.gather(
        put(store, a_resource("web-1")), put(store, a_resource("web-2")), return_exceptions=True
    )
    assert outcomes[0] is not outcomes[1]
    assert {StoreError} == {type(each) for each in outcomes}
    await put(store, a_resource("web-3"))


class LosingPen(Pen):
    """The disk says "error" although the commit is in the WAL."""

    losing = True

    def _transact(
        self, batch: Sequence[Job], apply: Callable[[Sequence[Job]], None]
    ) -> list[Event]:
        before = self._end
        events = super()._transact(batch, apply)
        if not self.losing:
            return events
        self._end = before  # as if the process had never learned of it
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = 10
        raise error


async def test_events_of_a_commit_whose_answer_was_lost_are_told_late(
    disk: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can know whether it was written, so the end is read."""
    monkeypatch.setattr("stoker.pools.stores.sqlite.Pen", LosingPen)
    store = disk.open()
    heard: list[Event] = []
    store.on_events(heard.extend)
    with pytest.raises(StoreError, match=r"reports errors.*dmesg"):
        await put(store, a_resource("web-1"), an_event(reason="lost"))
    monkeypatch.setattr(LosingPen, "losing", False)
    assert [] == heard
    await put(store, a_resource("web-1", version=2), an_event(reason="next"))
    await asyncio.sleep(0)
    assert [(1, "lost"), (2, "next")] == [(event.seq, event.reason) for event in heard]
    assert 2 == await store.verify_chain()
    await store.close()


async def test_an_event_that_is_added_again_after_a_commit_in_doubt_stands_in_the_audit_once(
    disk: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.pools.stores.sqlite.Pen", LosingPen)
    store = disk.open()
    first, other = an_event(reason="caf\u00e9"), an_event(reason="other")
    with pytest.raises(StoreError):
        await put(store, a_resource("web-1"), first, other)
    monkeypatch.setattr(LosingPen, "losing", False)
    await put(store, a_resource("web-1", version=2), first)
    await put(store, an_event(reason="caf\u00e9"), first)  # these are two more
    written = [event.reason for event in await all_events(store)]
    assert ["caf\u00e9", "other", "caf\u00e9", "caf\u00e9"] == written
    assert 4 == await store.verify_chain()
    await store.close()


async def test_an_event_that_is_added_again_after_a_commit_that_failed_is_written(
    store: OpenStore,
) -> None:
    event = an_event()
    store.lose_connection()
    with pytest.raises(StoreError):
        await put(store, event)
    await put(store, event)
    assert 1 == len(await all_events(store))


async def test_the_wal_stays_bounded_under_constant_writing(disk: Folder) -> None:
    store = disk.open()
    wal = disk.path / "ledger.db-wal"
    largest = 0

    async def write(worker: int) -> None:
        nonlocal largest
        for number in range(400):
            await put(store, a_resource(f"web-{worker}-{number % 20}", version=number + 1, parts=2))
            largest = max(largest, wal.stat().st_size)

    await asyncio.gather(*[write(worker) for worker in range(16)])
    rows = 16 * 400 * 3
    assert rows > 5 * UNSAVED_ROWS
    assert largest < 48 * 2**20
    await store.close()
    assert not wal.exists()


async def test_a_quiet_moment_is_used_to_copy_the_wal(disk: Folder) -> None:
    store = disk.open()
    ledger = disk.path / "ledger.db"
    before = ledger.stat().st_size
    await put(store, *[a_resource(f"web-{number}", parts=5) for number in range(50)])
    async with asyncio.timeout(5):
        while ledger.stat().st_size == before:
            await asyncio.sleep(0.02)
    await store.close()


# The writer of the simulator


@pytest.mark.looptime
async def test_a_delayed_commit_takes_virtual_time_and_gathers_what_comes() -> None:
    memory = Memory(delay=lambda: asyncio.sleep(5))
    store = memory.open()
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*[put(store, a_resource(f"web-{n}")) for n in range(10)])
    assert 10.0 == asyncio.get_running_loop().time() - began
    assert 1 == store.statistics()["commits"]
    await store.close()
    memory.disk.close()


@pytest.mark.looptime
@pytest.mark.parametrize(("crash_after", "survives"), [(4.0, False), (6.0, True)])
async def test_a_crash_strikes_before_or_after_the_write_and_never_answers(
    *, crash_after: float, survives: bool
) -> None:
    memory = Memory(delay=lambda: asyncio.sleep(5))
    store = memory.open()
    heard: list[Event] = []
    store.on_events(heard.extend)
    waiting = asyncio.create_task(put(store, a_resource(), an_event()))
    await asyncio.sleep(crash_after)
    store.kill()
    await asyncio.sleep(1000)
    assert (False, []) == (waiting.done(), heard)
    waiting.cancel()
    again = memory.open()
    assert survives == bool(again.load().resources)
    await again.close()
    memory.disk.close()


@pytest.mark.parametrize("gap", [1, 2])
async def test_an_injected_failure_is_told_whether_or_not_it_was_written(gap: int) -> None:
    calls = 0

    async def delay() -> None:
        nonlocal calls
        calls += 1
        if calls == gap:
            raise StoreError("the disk is on fire")

    memory = Memory(delay=delay)
    store = memory.open()
    with pytest.raises(StoreError, match="on fire"):
        await put(store, a_resource())
    assert (gap == 2) == bool(store.load().resources)
    await put(store, a_resource(version=2))
    assert [2] == [resource.version for resource in store.load().resources]
    await store.close()
    memory.disk.close()


async def test_without_delay_a_commit_is_done_before_anything_else_runs() -> None:
    memory = Memory()
    store = memory.open()
    others: list[str] = []
    asyncio.get_running_loop().call_soon(others.append, "ran")
    await put(store, a_resource())
    assert [] == others
    await store.close()
    memory.disk.close()


# Sizes


def many(count: int) -> list[Resource]:
    resources: list[Resource] = []
    for number in range(count):
        resource = a_resource(f"web-{number:08}")
        resource.parts = [a_part(resource, "site"), a_part(resource, "server", ordinal=1)]
        resources.append(resource)
    return resources


async def put_many(store: SqliteStore, things: Sequence[Resource | Claim]) -> None:
    for start in range(0, len(things), 1000):
        await put(store, *things[start : start + 1000])


@pytest.mark.serial
async def test_ten_thousand_resources_and_five_thousand_claims_load_within_a_second(
    disk: Folder,
) -> None:
    store = disk.open()
    await put_many(store, many(10_000))
    await put_many(store, [a_claim(f"c-{number}", key=None) for number in range(5000)])
    over = ClaimState.ENDED
    await put_many(store, [a_claim(f"e-{number}", key=None, state=over) for number in range(5000)])
    await store.close()
    store = disk.open()
    seconds: list[float] = []
    for _ in range(3):
        gc.collect()
        began = time.process_time()  # loading computes and hardly waits; others may use the cores
        image = store.load()
        seconds.append(time.process_time() - began)
        assert (10_000, 5000) == (len(image.resources), len(image.claims))
        del image
    assert min(seconds) < 1.0
    await store.close()


async def test_loaded_resources_share_what_is_equal_and_stay_small(disk: Folder) -> None:
    store = disk.open()
    await put_many(store, many(1000))
    await store.close()
    store = disk.open()
    store.load()  # what is made once is not counted
    gc.collect()
    tracemalloc.start()
    image = store.load()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    one, other = image.resources[:2]
    for name in ("pool", "blueprint", "digest", "revision", "labels", "reason"):
        assert getattr(one, name) is getattr(other, name), name
    for name in ("name", "driver", "provider"):
        assert getattr(one.parts[0], name) is getattr(other.parts[0], name), name
    bytes_each = size / len(image.resources)
    assert bytes_each < 3.5 * 1024
    await store.close()
