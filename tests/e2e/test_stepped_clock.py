"""The host's wall clock is stepped under a running daemon: claims keep their lengths."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.fixtures.daemons import RealDaemon, until, work_pool


def faketime() -> str:
    """Debian's libfaketime, wherever this architecture has it."""
    [library] = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    return str(library)


class SteppedClock:
    """The wall clock of one daemon, as libfaketime shows it to it. Its steady clocks stay true."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "faketime"
        self.step("+0")

    def step(self, by: str) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(f"{by}\n")
        new.rename(self._file)

    @property
    def env(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": faketime(),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


@pytest.fixture
def clock(daemon: RealDaemon) -> Iterator[SteppedClock]:
    clock = SteppedClock(daemon.folder)
    daemon.write("work.yaml", work_pool(1, 10, ttl="4s"))
    daemon.start(env=clock.env)
    daemon.until_ready("work", 1)
    yield clock
    daemon.clear()


@pytest.mark.parametrize("step", ["+400d", "-2d"])
def test_a_step_ends_no_claim_early_and_keeps_none_for_longer(
    daemon: RealDaemon, clock: SteppedClock, step: str
) -> None:
    began = time.monotonic()
    short = daemon.client.claim("work", wait="5s").id
    long = daemon.client.claim("work", wait="5s", ttl="30m").id

    clock.step(step)

    until(lambda: "the wall clock was moved" in daemon.said(), "the step is told")
    assert daemon.client.show(long).state == "bound"
    if time.monotonic() - began < 3:
        assert daemon.client.show(short).state == "bound"
    until(lambda: daemon.client.show(short).state == "ended", "the short one ends", within=8)
    assert time.monotonic() - began > 3.9
    assert daemon.client.show(short).ended_because == "expired"

    # What people are shown follows the wall clock.
    shown = daemon.client.show(long).expires_at
    assert shown is not None
    days = (shown - datetime.now(UTC)).total_seconds() / 86400
    assert abs(days - float(step.rstrip("d"))) < 0.1
    told = datetime.fromisoformat(daemon.events("claim.expired")[-1]["at"])
    assert abs((told - datetime.now(UTC)).total_seconds() / 86400 - float(step.rstrip("d"))) < 0.1
    daemon.client.renew(long, "20m")
    daemon.until_ready("work", 1)

    # A restart in the new time goes on with the same claim and the same time left.
    daemon.kill()
    daemon.start(env=clock.env)
    assert daemon.client.show(long).state == "bound"
    again = daemon.client.show(long).expires_at
    assert again is not None
    left = (again - datetime.now(UTC)).total_seconds() - float(step.rstrip("d")) * 86400
    assert 19 * 60 < left <= 20 * 60
    daemon.client.claim("work", wait="5s")
