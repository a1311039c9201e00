"""The core under virtual time, cut off at every point, and again at every point of going on."""

import pytest

from tests.crash.playing import WORLDS, Course, Plot, cut_everywhere, play
from tests.crash.plots import PLOTS
from tests.crash.thinning import stride


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.name)
def test_a_cut_at_any_point_is_gone_on_from(plot: Plot, world: str) -> None:
    cut_everywhere(plot, Course(world))


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.name)
def test_the_ledger_alone_is_enough_without_the_sweep_of_orphans(plot: Plot) -> None:
    cut_everywhere(plot, Course(sweeps=False))


@pytest.mark.parametrize("plot", [plot for plot in PLOTS if plot.pairs], ids=lambda plot: plot.name)
def test_a_cut_while_going_on_from_a_cut_is_gone_on_from(plot: Plot) -> None:
    step = plot.pairs * stride(4)
    begin = len(plot.name) % step  # not the first point of every plot
    first = play(plot, Course()).first
    for cut in first[begin::step] or first[:1]:
        for again in play(plot, Course(cut=cut, twice=True)).second:
            play(plot, Course(cut=cut, twice=True, again=again))
