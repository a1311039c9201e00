"""Background tasks end together, and a failing one is never silent."""

import asyncio

import pytest

from stoker.pools.tasks import CANCEL_WITHIN, Tasks

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]


async def fail() -> None:
    raise ValueError("a defect")


async def sleep(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def test_an_exception_at_a_tasks_end_is_logged_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    defects: list[BaseException] = []
    tasks = Tasks(defects.append)
    tasks.start(fail(), "the failing one")
    await asyncio.sleep(1)

    assert [str(defect) for defect in defects] == ["a defect"]
    (record,) = caplog.records
    assert "the failing one" in record.getMessage()
    assert record.exc_info
    assert len(tasks) == 0


async def test_a_defect_without_anybody_to_tell_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    Tasks().start(fail(), "the failing one")
    await asyncio.sleep(1)

    assert "the failing one" in caplog.text


async def test_a_task_that_ends_well_is_forgotten_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks = Tasks()
    task = tasks.start(sleep(1), "quiet")
    assert task.get_name() == "quiet"
    assert len(tasks) == 1
    await asyncio.sleep(2)

    assert len(tasks) == 0
    assert caplog.text == ""


async def test_a_task_that_somebody_cuts_is_a_defect() -> None:
    defects: list[BaseException] = []
    tasks = Tasks(defects.append)
    tasks.start(sleep(100), "cut").cancel()
    await asyncio.sleep(1)

    assert len(defects) == 1


async def test_closing_waits_for_the_grace_and_cancels_what_is_left() -> None:
    tasks = Tasks()
    ended: list[str] = []

    async def work(name: str, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
            ended.append(name)
        except asyncio.CancelledError:
            ended.append(f"{name} was cancelled")
            raise

    tasks.start(work("short", 1.0), "short")
    tasks.start(work("long", 100.0), "long")
    await tasks.close(grace=5.0)

    assert ended == ["short", "long was cancelled"]


async def test_closing_is_no_defect() -> None:
    defects: list[BaseException] = []
    tasks = Tasks(defects.append)
    tasks.start(sleep(100), "cancelled")
    await asyncio.sleep(1)
    await tasks.close()

    assert defects == []


async def test_what_a_cancelled_task_starts_does_not_begin() -> None:
    tasks = Tasks()
    begun: list[str] = []

    async def begin() -> None:
        begun.append("begun")

    async def work() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            tasks.start(begin(), "late")

    tasks.start(work(), "early")
    await asyncio.sleep(1)
    await tasks.close()

    assert begun == []
    assert len(tasks) == 0


async def test_a_task_that_does_not_end_does_not_keep_the_others_from_ending(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks = Tasks()
    loop = asyncio.get_running_loop()
    ends = loop.time() + 60

    async def stubborn() -> None:
        while loop.time() < ends:
            try:
                await asyncio.sleep(ends - loop.time())
            except asyncio.CancelledError:
                continue

    tasks.start(stubborn(), "the stubborn one")
    tasks.start(sleep(100), "easy")
    await asyncio.sleep(1)
    began = loop.time()
    await tasks.close()

    assert loop.time() - began == pytest.approx(CANCEL_WITHIN)
    assert "the stubborn one" in caplog.text
    await asyncio.sleep(100)
