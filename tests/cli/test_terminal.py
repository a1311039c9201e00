"""What people see: widths, colours, times, and nothing that could play with their terminal."""

import io
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.daemon.cli.terminal import about, ago, clean, coloured, facts, style, table, until

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_columns_stand_below_each_other() -> None:
    shown = table(("A", "LONG"), [("x", "y"), ("longer", "z")])
    assert ["A       LONG", "x       y", "longer  z"] == shown.splitlines()


def test_without_a_terminal_nothing_is_cut() -> None:
    assert "y" * 300 in table(("A", "B"), [("x", "y" * 300)])


@given(
    st.lists(st.lists(st.text(max_size=60), min_size=4, max_size=4), min_size=1, max_size=5),
    st.integers(50, 120),
)
def test_a_row_fits_the_terminal(rows: list[list[str]], width: int) -> None:
    shown = table(("ONE", "TWO", "THREE", "FOUR"), rows, width=width)
    assert max(len(line) for line in shown.splitlines()) <= width
    assert len(rows) + 1 == len(shown.split("\n"))


def test_sentences_are_cut_before_ids() -> None:
    row = ("c-j2000tncq5j979nk", "folders", "a reason " * 20)
    line = table(("CLAIM", "POOL", "REASON"), [row], width=80).splitlines()[1]
    assert line.startswith("c-j2000tncq5j979nk  folders  a reason")
    assert line.endswith("…")


def test_the_ids_of_a_row_can_be_copied_from_a_terminal_of_eighty_columns() -> None:
    headers = ("CLAIM", "POOL", "STATE", "CALLER", "RESOURCE", "AGE", "EXPIRES", "REASON")
    claim, resource = "c-77mz8wk2jy64ynf93g", "again-77mz8fbaq2aj"
    row = (
        claim,
        "again",
        "ended (claimant-gone)",
        "root",
        resource,
        "1m20s",
        "in 3h59m",
        "why " * 9,
    )
    line = table(headers, [row], width=80).splitlines()[1]
    assert line.startswith(f"{claim}  again")
    assert len(line) <= 80


def test_colours_are_for_terminals_alone(
    on_a_terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not coloured(io.StringIO())
    assert "\x1b[31mx\x1b[0m" == style("x", "red", Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "x" == style("x", "red", Terminal())


def test_a_dumb_terminal_has_no_colours(
    on_a_terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert not coloured(Terminal())


def test_a_coloured_cell_takes_no_more_room(
    on_a_terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    plain = table(("A", "B"), [("x", "y")], width=80)
    colour = table(("A", "B"), [(("x", "red"), "y")], width=80)
    assert plain.replace("x", "\x1b[31mx\x1b[0m") == colour


def test_control_characters_of_others_never_reach_the_terminal() -> None:
    assert "�[31mred� x y" == clean("\x1b[31mred\x07\tx\ny")
    assert "\x1b" not in table(("A",), [("\x1b]0;owned\x07",)])


def test_facts_leave_out_what_is_not_known() -> None:
    assert "pool:    web\nlonger:  0" == facts(
        [("pool", "web"), ("reason", ""), ("claim", None), ("longer", 0)]
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0s"),
        (0.3, "<1s"),
        (9.7, "9s"),
        (60, "1m"),
        (61, "1m1s"),
        (3661, "1h1m"),
        (90_061, "1d1h"),
    ],
)
def test_a_duration_has_at_most_two_units(seconds: float, text: str) -> None:
    assert text == about(seconds)


def test_times_are_told_from_now() -> None:
    later = (NOW + timedelta(minutes=5)).isoformat()
    assert "in 5m" == until(later, NOW)
    assert "over" == until(NOW.isoformat(), NOW + timedelta(seconds=1))
    assert "5m" == ago(NOW, NOW + timedelta(minutes=5))
    assert "" == until(None, NOW) == ago("no time", NOW)
