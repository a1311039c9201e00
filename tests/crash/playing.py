"""Plays a plot in a simulated world, cut off at up to two points, and checks what comes of it."""

import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace

import looptime

from stoker.config.policies.rules import PolicySpec
from stoker.config.revision import PoolSpec
from tests.crash.simulated import History
from tests.fakes.world import Faults
from tests.rig import Host, virtual_throttle

WORLDS = {
    "calm": Faults(),
    "slow": Faults(latency=(0.01, 0.4)),
    "lagging": Faults(latency=(0.01, 0.1), stale=1.0),
}
"""How the outside behaves. In a lagging one a removed thing is shown for a while."""

Step = Callable[[History], Coroutine[object, object, None]]


async def nothing(history: History) -> None:
    """Nothing is done."""


@dataclass(frozen=True)
class Plot:
    """One thing that goes on while the daemon is cut off."""

    name: str
    pools: tuple[PoolSpec, ...]
    act: Step = nothing
    before: Step = nothing
    after: Step = nothing
    """What the callers do when a daemon is up again."""
    from_the_start: bool = False
    policies: tuple[PolicySpec, ...] = ()
    """Asked for each claim, if there are any."""
    pairs: int = 0
    """After every so many cuts the daemon is cut again, at every point of going on; 0: never."""


@dataclass(frozen=True)
class Course:
    """How a plot is played."""

    world: str = "calm"
    cut: str | None = None
    twice: bool = False
    """A second life, of which points are counted from its start, comes before the last one."""
    again: str | None = None
    """Where the second life is cut."""
    sweeps: bool = True


@dataclass
class Passed:
    """The points that were passed, in order, in the first and in the second life."""

    first: list[str]
    second: list[str]


def play(plot: Plot, course: Course) -> Passed:
    """One history in a loop of its own. What goes wrong says where it was cut."""
    logging.disable(logging.CRITICAL)
    loop = looptime.new_event_loop(start=0.0, noop_cycles=0)
    try:
        with virtual_throttle():
            return loop.run_until_complete(_play(plot, course))
    except BaseException as error:
        error.add_note(f"{plot.name}, played as {course}")
        raise
    finally:
        loop.close()
        logging.disable(logging.NOTSET)


def cut_everywhere(plot: Plot, course: Course) -> None:
    """Plays the plot once to learn its points, and then once for each, cut off there."""
    points = play(plot, course).first
    assert points
    for cut in points:
        play(plot, replace(course, cut=cut))


async def _play(plot: Plot, course: Course) -> Passed:
    host = Host(seed=1, faults=replace(WORLDS[course.world]), policies=plot.policies)
    history = History(host, host.revision(*plot.pools), sweeps=course.sweeps)
    try:
        return await _lives(plot, course, history)
    finally:
        await history.run.end()


async def _lives(plot: Plot, course: Course, history: History) -> Passed:
    await _end_at(course.cut, history, lived=await _first_life(plot, history, course.cut))
    passed = Passed(history.run.points, [])
    if course.twice:
        lived = await history.start(course.again, armed=True)
        lived = lived and await history.run.live_through(_go_on(plot, history))
        await _end_at(course.again, history, lived=lived)
        passed.second = history.run.points
    assert await history.start()
    await _go_on(plot, history)
    await history.check()
    return passed


async def _first_life(plot: Plot, history: History, cut: str | None) -> bool:
    """True when the daemon lived through it."""
    if plot.from_the_start:
        began = await history.start(cut, armed=True)
        return began and await history.run.live_through(history.settle())
    assert await history.start(cut)
    await history.settle()
    await plot.before(history)
    if not history.waiting:
        await history.settle()
    history.run.armed = True

    async def act() -> None:
        await plot.act(history)
        await history.settle()

    return await history.run.live_through(act())


async def _end_at(cut: str | None, history: History, *, lived: bool) -> None:
    assert lived == (cut is None), f"the point was never reached: {cut}"
    if lived:
        await history.run.end()


async def _go_on(plot: Plot, history: History) -> None:
    history.host.world.faults.fail = history.host.world.faults.lose = 0.0
    await plot.after(history)
    await history.settle()
