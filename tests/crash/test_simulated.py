"""The core under virtual time, cut off at every point, and again at every point of going on."""

import logging
from collections.abc import Iterator
from dataclasses import replace

import looptime
import pytest

from tests.crash.plots import PLOTS
from tests.crash.simulated import Plot, play
from tests.fakes.world import Faults
from tests.rig import virtual_throttle

WORLDS = {
    "calm": Faults(),
    "slow": Faults(latency=(0.01, 0.4)),
    "lagging": Faults(latency=(0.01, 0.1), stale=1.0),
}
"""How the outside behaves. In a lagging one a removed thing is shown for a while."""


@pytest.fixture(autouse=True)
def virtual_time() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    with virtual_throttle():
        yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.name)
def test_a_cut_at_any_point_is_gone_on_from(plot: Plot, world: str) -> None:
    first, _ = history(plot, world, None)
    assert first
    for cut in first:
        history(plot, world, cut)


@pytest.mark.parametrize("plot", [plot for plot in PLOTS if plot.pairs], ids=lambda plot: plot.name)
def test_a_cut_while_going_on_from_a_cut_is_gone_on_from(plot: Plot) -> None:
    first, _ = history(plot, "calm", None)
    for cut in first[:: plot.pairs]:
        _, second = history(plot, "calm", cut, twice=True)
        for again in second:
            history(plot, "calm", cut, again, twice=True)


def history(
    plot: Plot, world: str, cut: str | None, again: str | None = None, *, twice: bool = False
) -> tuple[list[str], list[str]]:
    """One history in a loop of its own. What goes wrong says where it was cut."""
    loop = looptime.new_event_loop(start=0.0, noop_cycles=0)
    try:
        return loop.run_until_complete(play(plot, replace(WORLDS[world]), cut, again, twice=twice))
    except BaseException as error:
        error.add_note(f"{plot.name} in a {world} world, cut off at: {cut}; then at: {again}")
        raise
    finally:
        loop.close()
