"""What every `Processes` promises. Run on the host's own processes and on the simulated ones."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from stoker.pools.binding import Process
from stoker.pools.processes import Processes, Tied

SOON = 10.0


@dataclass
class Subject:
    processes: Processes
    start: Callable[[], Process]
    end: Callable[[Process], None]


async def found(subject: Subject, process: Process) -> Tied:
    thing = (await subject.processes.find([process]))[process]
    assert thing is not None
    return thing


class ProcessesContract:
    """Subclasses give the fixture `subject`."""

    async def test_the_end_of_a_process_is_told_once(self, subject: Subject) -> None:
        process = subject.start()
        thing = await found(subject, process)
        told: list[str] = []
        ended = asyncio.Event()

        def tell() -> None:
            told.append("ended")
            ended.set()

        thing.watch(tell)
        assert [] == told
        subject.end(process)
        async with asyncio.timeout(SOON):
            await ended.wait()
        await asyncio.sleep(0.01)
        assert ["ended"] == told
        thing.close()

    async def test_an_end_before_the_watch_is_told_after_it(self, subject: Subject) -> None:
        process = subject.start()
        thing = await found(subject, process)
        subject.end(process)
        ended = asyncio.Event()
        thing.watch(ended.set)
        assert not ended.is_set()
        async with asyncio.timeout(SOON):
            await ended.wait()

    async def test_nothing_is_told_after_it_was_closed(self, subject: Subject) -> None:
        process = subject.start()
        thing = await found(subject, process)
        told: list[str] = []
        thing.watch(lambda: told.append("ended"))
        thing.close()
        thing.close()
        subject.end(process)
        await asyncio.sleep(0.05)
        assert [] == told

    async def test_a_process_that_has_ended_is_not_found(self, subject: Subject) -> None:
        process = subject.start()
        subject.end(process)
        assert {process: None} == dict(await subject.processes.find([process]))

    @pytest.mark.parametrize("change", ["start", "boot"])
    async def test_another_process_of_the_same_number_is_not_taken_for_it(
        self, subject: Subject, change: str
    ) -> None:
        process = subject.start()
        other = (
            replace(process, start=process.start - 1)
            if change == "start"
            else replace(process, boot="another")
        )
        assert {other: None} == dict(await subject.processes.find([other]))
        subject.end(process)

    async def test_a_process_may_be_held_twice(self, subject: Subject) -> None:
        process = subject.start()
        one, other = await found(subject, process), await found(subject, process)
        ended = asyncio.Event()
        other.watch(ended.set)
        one.close()
        subject.end(process)
        async with asyncio.timeout(SOON):
            await ended.wait()

    async def test_a_process_of_this_boot_says_so(self, subject: Subject) -> None:
        process = subject.start()
        assert subject.processes.boot == process.boot
        subject.end(process)
