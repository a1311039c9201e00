"""Timers ring at their moment of steady time, also after a suspended host, and leave nothing behind."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from stoker.pools.timers import FEW, LONGEST_NAP, Timers

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]


class HostClock:
    """Steady time that a suspension moves on while the loop's time stands still."""

    def __init__(self) -> None:
        self.suspended = 0.0

    def now(self) -> float:
        return 1000.0 + asyncio.get_running_loop().time() + self.suspended

    def to_wall(self, steady: float) -> float:
        return steady


def nothing() -> None:
    return


@pytest.fixture
def clock() -> HostClock:
    return HostClock()


@pytest.fixture
async def timers(clock: HostClock) -> AsyncIterator[Timers]:
    timers = Timers(clock)
    yield timers
    timers.close()


async def test_timers_ring_at_their_moments_in_order(clock: HostClock, timers: Timers) -> None:
    began = clock.now()
    rung: list[tuple[float, float]] = []

    def ring(after: float) -> None:
        rung.append((after, clock.now() - began))

    for after in (5.0, 1.0, 100.0, 3.0):
        timers.at(began + after, partial(ring, after))
    await asyncio.sleep(101)

    assert [after for after, _ in rung] == [1.0, 3.0, 5.0, 100.0]
    assert all(at == pytest.approx(after, abs=0.01) for after, at in rung)


async def test_timers_of_the_same_moment_ring_in_the_order_they_were_set(
    clock: HostClock, timers: Timers
) -> None:
    rung: list[int] = []
    moment = clock.now() + 1.0
    for number in range(10):
        timers.at(moment, partial(rung.append, number))
    await asyncio.sleep(2)

    assert rung == list(range(10))


async def test_a_moment_that_is_past_rings_at_once_but_never_inside_the_call(
    clock: HostClock, timers: Timers
) -> None:
    rung: list[str] = []
    timers.at(clock.now() - 50.0, lambda: rung.append("late"))
    assert rung == []
    await asyncio.sleep(0.001)

    assert rung == ["late"]


async def test_a_cancelled_timer_does_not_ring(clock: HostClock, timers: Timers) -> None:
    rung: list[str] = []
    first = timers.at(clock.now() + 1.0, lambda: rung.append("first"))
    timers.at(clock.now() + 2.0, lambda: rung.append("second"))
    first.cancel()
    first.cancel()
    await asyncio.sleep(3)

    assert rung == ["second"]


async def test_a_timer_may_cancel_another_of_the_same_moment(
    clock: HostClock, timers: Timers
) -> None:
    rung: list[str] = []
    moment = clock.now() + 1.0

    def cancel() -> None:
        second.cancel()

    timers.at(moment, cancel)
    second = timers.at(moment, lambda: rung.append("second"))
    await asyncio.sleep(2)

    assert rung == []


async def test_a_timer_may_set_another(clock: HostClock, timers: Timers) -> None:
    rung: list[float] = []
    began = clock.now()

    def again() -> None:
        rung.append(clock.now() - began)
        if len(rung) < 3:
            timers.at(clock.now() + 10.0, again)

    timers.at(began + 10.0, again)
    await asyncio.sleep(60)

    assert rung == pytest.approx([10.0, 20.0, 30.0], abs=0.01)


async def test_one_call_that_fails_does_not_silence_the_others(
    clock: HostClock, timers: Timers
) -> None:
    rung: list[str] = []

    def fail() -> None:
        raise ValueError("a defect")

    timers.at(clock.now() + 1.0, fail)
    timers.at(clock.now() + 1.0, lambda: rung.append("same moment"))
    timers.at(clock.now() + 5.0, lambda: rung.append("later"))
    await asyncio.sleep(10)

    assert rung == ["same moment", "later"]


async def test_after_a_long_suspension_everything_due_rings_soon_and_nothing_else(
    clock: HostClock, timers: Timers
) -> None:
    rung: list[float] = []
    began = clock.now()
    for after in (60.0, 3600.0, 7200.0):
        timers.at(began + after, partial(rung.append, after))
    await asyncio.sleep(1)
    clock.suspended = 3600.0
    await asyncio.sleep(LONGEST_NAP + 0.1)

    assert rung == [60.0, 3600.0]
    clock.suspended = 7200.0
    await asyncio.sleep(LONGEST_NAP + 0.1)
    assert rung == [60.0, 3600.0, 7200.0]


async def test_an_earlier_timer_is_not_held_up_by_a_later_one(
    clock: HostClock, timers: Timers
) -> None:
    rung: list[str] = []
    timers.at(clock.now() + 10.0, lambda: rung.append("late"))
    timers.at(clock.now() + 0.1, lambda: rung.append("early"))
    await asyncio.sleep(1)

    assert rung == ["early"]


async def test_timers_that_are_set_anew_again_and_again_do_not_pile_up(
    clock: HostClock, timers: Timers
) -> None:
    known = timers.at(clock.now() + 14_400.0, nothing)
    for _ in range(10_000):
        known.cancel()
        known = timers.at(clock.now() + 14_400.0, nothing)

    assert len(timers) <= 2 * FEW + 2


async def test_what_stays_after_a_clean_up_still_rings(clock: HostClock, timers: Timers) -> None:
    rung: list[int] = []
    every = [timers.at(clock.now() + n, partial(rung.append, n)) for n in range(1, 500)]
    for number, timer in enumerate(every, start=1):
        if number % 10:
            timer.cancel()
    await asyncio.sleep(600)

    assert rung == list(range(10, 500, 10))
    assert len(timers) == 0


async def test_nothing_rings_after_the_end(clock: HostClock, timers: Timers) -> None:
    rung: list[str] = []
    timers.at(clock.now() + 1.0, lambda: rung.append("before"))
    timers.close()
    timers.at(clock.now() + 1.0, lambda: rung.append("after"))
    await asyncio.sleep(5)

    assert rung == []
