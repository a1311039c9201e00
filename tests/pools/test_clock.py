"""Steady time: it never jumps, and it goes on over restarts and reboots."""

import time

from hypothesis import given
from hypothesis import strategies as st

from stoker.pools.clock import SteadyClock, read_boot_id, resume_clock

seconds = st.integers(min_value=0, max_value=10**9).map(float)


class Host:
    """A host whose clocks are set by hand."""

    def __init__(self, *, up: float = 100.0, wall: float = 1_700_000_000.0) -> None:
        self.boot_id = "first"
        self.up = up
        self.wall = wall

    def passes(self, span: float) -> None:
        self.up += span
        self.wall += span

    def reboots(self, *, down: float) -> None:
        self.boot_id += "+"
        self.up = 5.0
        self.wall += down

    def starts(self, known: SteadyClock | None = None, boot_id: str | None = None) -> SteadyClock:
        """A run of the daemon; `known` is the clock of the last one, as its ledger remembers it."""
        return resume_clock(
            boot_id=self.boot_id,
            known_boot_id=boot_id,
            known_offset=0.0 if known is None else known.offset,
            last_seen=0.0 if known is None else self.last_seen,
            boottime=lambda: self.up,
            wall=lambda: self.wall,
        )

    def stops(self, clock: SteadyClock) -> None:
        self.last_seen = clock.now()


def test_the_first_run_takes_the_time_from_the_wall() -> None:
    host = Host()
    clock = host.starts()
    assert 1_700_000_000.0 == clock.now()
    assert 0.0 == clock.step()


def test_time_passes_while_the_host_is_suspended() -> None:
    host = Host()
    clock = host.starts()
    host.passes(3600)
    assert 1_700_003_600.0 == clock.now()


def test_a_stepped_wall_clock_moves_what_people_see_and_nothing_else() -> None:
    host = Host()
    clock = host.starts()
    expires_at = clock.now() + 60
    host.wall -= 7200
    assert 1_700_000_000.0 == clock.now()
    assert -7200.0 == clock.step()
    assert host.wall + 60 == clock.to_wall(expires_at)


def test_a_clock_stepped_while_the_daemon_was_down_changes_nothing() -> None:
    host = Host()
    clock = host.starts()
    host.stops(clock)
    host.passes(10)
    host.wall += 86400
    again = host.starts(clock, boot_id="first")
    assert 1_700_000_010.0 == again.now()


def test_after_a_reboot_the_wall_says_how_long_the_host_was_down() -> None:
    host = Host()
    clock = host.starts()
    host.stops(clock)
    host.reboots(down=300)
    again = host.starts(clock, boot_id="first")
    assert 1_700_000_300.0 == again.now()


def test_after_a_reboot_with_a_clock_set_back_time_does_not_go_back() -> None:
    host = Host()
    clock = host.starts()
    host.passes(50)
    host.stops(clock)
    host.reboots(down=-99999)
    again = host.starts(clock, boot_id="first")
    assert 1_700_000_050.0 == again.now()
    host.passes(1)
    assert 1_700_000_051.0 == again.now()


@given(passed=seconds, stepped=st.integers(-(10**9), 10**9).map(float), boot=st.booleans())
def test_no_restart_ever_takes_time_back(*, passed: float, stepped: float, boot: bool) -> None:
    host = Host(wall=2.0e9)
    clock = host.starts()
    host.passes(passed)
    host.stops(clock)
    before = clock.now()
    if boot:
        host.reboots(down=stepped)
    else:
        host.wall += stepped
    assert before <= host.starts(clock, boot_id="first").now()


@given(moment=seconds, step=st.integers(-(10**6), 10**6).map(float))
def test_people_see_spans_as_they_are(moment: float, step: float) -> None:
    host = Host()
    clock = host.starts()
    host.wall += step
    assert 60.0 == clock.to_wall(moment + 60) - clock.to_wall(moment)


def test_the_hosts_own_clock_follows_the_time() -> None:
    clock = resume_clock(boot_id=read_boot_id(), known_boot_id=None, known_offset=0, last_seen=0)
    assert abs(clock.now() - time.time()) < 1.0
    assert read_boot_id() == read_boot_id() != ""
