"""The real daemon on the real host, killed after each ledger write and each driver call.

A scenario is run once to count the points at which it can be cut off. Then it is run again for
each of them: at that point the daemon kills itself with SIGKILL, a daemon as it is in production is
started on what is left, and everything that was promised is looked for.
"""

import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.crash.callers import Caller
from tests.crash.evidence import check_promises, check_remains, until_settled
from tests.crash.scenarios import SCENARIOS, Declared, Scenario, declare
from tests.crash.subject import Died, ForkServer, Subject
from tests.crash.thinning import stride
from tests.fixtures.callers import needs_root

SHARDS = 2
"""Each scenario's points are dealt out to so many tests, for several cores."""
EVERY_POINT = {"claim", "cold claim", "release", "expiry", "backfill", "config change"}
"""Of the other scenarios every second pair of points is played here; the simulated core meets them all."""
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def forks() -> Iterator[ForkServer]:
    server = ForkServer()
    yield server
    server.close()


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(each, id=each.name, marks=[needs_root] if each.votes else [])
        for each in SCENARIOS
    ],
)
def test_whatever_point_the_daemon_is_cut_off_at_it_goes_on(
    scenario: Scenario, shard: int, forks: ForkServer
) -> None:
    points = play(scenario, forks, cut=None)
    assert points
    assert len(points) == len(set(points))
    step = 1 if scenario.name in EVERY_POINT else stride(2)
    for point in points[shard :: SHARDS * step]:
        try:
            play(scenario, forks, cut=point)
        except BaseException as error:
            error.add_note(f"{scenario.name}, cut off at: {point}")
            raise


def play(scenario: Scenario, forks: ForkServer, *, cut: str | None) -> list[str]:
    """Plays the scenario, cut off at a point or killed at its end; returns the points passed."""
    with a_subject(forks) as subject:
        caller = Caller(subject)
        lead_up_to(scenario, caller, cut)
        try:
            if scenario.cut_before is None:
                scenario.act(caller)
            until_settled(subject, sizes(scenario.later or scenario.pools))
        except Died:
            assert cut is not None
        else:
            assert cut is None, "the point was never reached"
            subject.kill()
        points = subject.points()
        go_on(scenario, caller)
        return points


def lead_up_to(scenario: Scenario, caller: Caller, cut: str | None) -> None:
    """Everything before what is to be cut; ends with the points armed."""
    subject = caller.subject
    declare(caller, scenario.pools)
    if scenario.from_the_start:
        subject.arm()
        subject.start(cuts=True, cut=cut)
        return
    first_cut = scenario.cut_before
    subject.start(cuts=True, cut=cut if first_cut is None else first_cut)
    until_settled(subject, sizes(scenario.pools))
    scenario.before(caller)
    if not caller.waiting:
        until_settled(subject, sizes(scenario.pools))
    subject.arm()
    if first_cut is not None:
        with pytest.raises(Died):
            scenario.act(caller)
        subject.forget_points()
        subject.start(cuts=True, cut=cut)


def go_on(scenario: Scenario, caller: Caller) -> None:
    """A daemon as in production takes over; everything that was promised is looked for."""
    subject = caller.subject
    subject.start()
    scenario.after(caller)
    until_settled(subject, sizes(scenario.later or scenario.pools))
    check_promises(caller)
    subject.kill()
    check_remains(caller, sizes(scenario.later or scenario.pools))


def sizes(pools: Declared) -> dict[str, int]:
    return {name: size.min for name, size in pools.items()}


@contextmanager
def a_subject(forks: ForkServer) -> Generator[Subject]:
    folder = Path(tempfile.mkdtemp(prefix="stk-"))
    subject = Subject(forks, folder)
    try:
        yield subject
    except BaseException as error:
        error.add_note(f"the daemon's log:\n{subject.log()[-8000:]}")
        raise
    finally:
        subject.clean_up()
        shutil.rmtree(folder)
