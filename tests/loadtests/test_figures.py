"""How the benchmark sums up and judges."""

from pathlib import Path

import pytest

from loadtests.report import (
    WIDTH,
    Section,
    at_least,
    at_most,
    fact,
    format_section,
    keep,
    p50,
    p99,
)
from loadtests.scenarios.pacing import most_in_a_second


def test_percentiles_are_values_that_were_seen() -> None:
    values = [float(number) for number in range(1, 101)]
    assert (51.0, 100.0) == (p50(values), p99(values))
    assert 7.0 == p99([7.0])


def test_the_median_of_the_repetitions_is_judged() -> None:
    assert at_most("latency", [1.0, 1.5, 9.0], "x", 2.0, "<= 2").met
    assert not at_least("share", [0.1, 0.3, 0.9], "x", 0.4, ">= 0.4").met


@pytest.mark.parametrize(
    ("moments", "most"),
    [
        ([], 0),
        ([0.0], 1),
        ([0.0, 0.5, 0.999], 3),
        ([0.0, 0.5, 1.0], 2),
        ([0.0, 0.9, 0.95, 1.0, 1.5, 1.89], 5),
    ],
)
def test_the_fullest_second_is_found_wherever_it_begins(moments: list[float], most: int) -> None:
    assert most == most_in_a_second(moments)


def test_a_table_fits_eighty_columns_and_says_what_was_missed() -> None:
    rows = [
        fact("a name that is much longer than there is room for it", [123456.7] * 3, "/s"),
        at_most("memory", [5000.0, 4000.0, 9e6], "B", 4096, "<= 4 KiB"),
        at_most("time", [0.0002, 2.0], "s", 0.1, "<= 250 ms"),
    ]
    table = format_section(Section("Title", rows, ["a note"]))
    assert max(len(line) for line in table.splitlines()) <= WIDTH
    assert 2 == table.count("MISS")


def test_every_figure_is_kept(tmp_path: Path) -> None:
    path = keep([Section("Title", [fact("x", [1.0, 2.0], "s")])], tmp_path, quick=True)
    assert '"values": [' in path.read_text(encoding="utf-8")
