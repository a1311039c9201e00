"""Who is turned away stands in the audit, and cannot fill it."""

import asyncio
from collections.abc import Iterator

import pytest

from stoker.daemon.denials import EVERY, MOST_KINDS, Denials, Denied
from stoker.pools.claim import Claimant
from stoker.pools.store import Event, StoreError
from tests.rig import Host, Run, a_box_pool, virtual_throttle


@pytest.fixture(autouse=True)
def throttled() -> Iterator[None]:
    with virtual_throttle():
        yield


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def denied(uid: int = 7, code: str = "denied", detail: str = "no") -> Denied:
    return Denied(code, detail, Claimant(uid, uid, 1))


def test_the_first_is_told_at_once_and_the_others_are_counted() -> None:
    clock = Clock()
    denials = Denials(clock)
    denials.note(denied())
    (first,) = denials.due()
    assert ("access.denied", {"code": "denied", "count": 1, "uid": 7, "pid": 1}) == (
        first.kind,
        first.data,
    )
    for _ in range(100_000):
        denials.note(denied(detail="no, again"))
    assert [] == denials.due()
    clock.now += EVERY
    (second,) = denials.due()
    assert (100_000, "no, again") == (second.data["count"], second.reason)
    clock.now += EVERY
    assert [] == denials.due()
    denials.note(denied())
    assert 1 == len(denials.due())


def test_of_however_many_callers_a_bounded_number_of_events_is_told() -> None:
    clock = Clock()
    denials = Denials(clock)
    for minute in range(3):
        for uid in range(5000):
            denials.note(denied(uid + 5000 * minute))
        told = denials.due()
        assert len(told) <= MOST_KINDS + 1
        assert 5000 == sum(int(str(event.data["count"])) for event in told)
        clock.now += EVERY


def test_each_caller_and_each_code_is_a_kind_of_its_own_and_over_tcp_each_address() -> None:
    denials = Denials(Clock())
    denials.note(denied(1))
    denials.note(denied(2))
    denials.note(denied(2, "invalid-token"))
    denials.note(Denied("signature-invalid", "no", address="192.0.2.1"))
    denials.note(Denied("signature-invalid", "no", address="192.0.2.2"))
    told = [event.data for event in denials.due()]
    assert 5 == len(told)
    assert ["192.0.2.1", "192.0.2.2"] == [one["address"] for one in told if "address" in one]


@pytest.mark.looptime
async def test_they_are_written_in_the_background_and_what_is_left_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = await Host().start(a_box_pool(min=0))
    denials = Denials(asyncio.get_running_loop().time)
    task = asyncio.create_task(denials.run(run.services))
    for _ in range(3):
        denials.note(denied())
    await asyncio.sleep(2)
    assert [3] == [one.data["count"] for one in await told(run)]
    assert "denied a user (uid 7) (3 times): no" in caplog.messages
    denials.note(denied())
    await asyncio.sleep(5)
    assert 1 == len(await told(run))
    await asyncio.sleep(EVERY)
    denials.note(denied())
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [3, 1, 1] == [one.data["count"] for one in await told(run)]
    await run.stop()


async def told(run: Run) -> list[Event]:
    return list(await run.store.events(after=0, limit=100, kind="access."))


@pytest.mark.looptime
async def test_a_ledger_that_refuses_loses_the_event_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = await Host().start(a_box_pool(min=0))
    denials = Denials(asyncio.get_running_loop().time)
    task = asyncio.create_task(denials.run(run.services))

    async def full(*_: object, **__: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(run.store, "commit", full)
        denials.note(denied())
        await asyncio.sleep(2)
    denials.note(denied(8))
    await asyncio.sleep(2)
    assert [8] == [one.data["uid"] for one in await told(run)]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await run.stop()
