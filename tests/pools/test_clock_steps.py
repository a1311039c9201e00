"""The clock is stepped, the host sleeps or is started anew: nothing expires early or lives for ever."""

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.config.revision import Lifetime
from stoker.pools.claim import ClaimState, EndedBecause
from stoker.pools.clock import SteadyClock, resume_clock
from stoker.pools.housekeeping import Housekeeping
from stoker.pools.requests import Code, Refusal
from stoker.pools.retention import Retention
from stoker.pools.timers import LONGEST_NAP
from tests.rig import Host, VirtualClock, a_box_pool

rig = pytest.mark.usefixtures("on_the_rig")
virtual = pytest.mark.looptime


@dataclass
class Machine:
    """A host's two clocks. `up` is CLOCK_BOOTTIME, which a suspension moves on and a step does not."""

    up: float = 100.0
    wall: float = 1_700_000_000.0
    boot: str = "b1"

    def passes(self, seconds: float) -> None:
        self.up += seconds
        self.wall += seconds

    def step(self, seconds: float) -> None:
        self.wall += seconds

    def reboot(self, *, down: float = 60.0) -> None:
        self.boot += "+"
        self.up = 1.0
        self.wall += down

    def clock(self, last: SteadyClock | None = None, boot: str | None = None) -> SteadyClock:
        return resume_clock(
            boot_id=self.boot,
            known_boot_id=boot,
            known_offset=0.0 if last is None else last.offset,
            last_seen=0.0 if last is None else self.seen,
            boottime=lambda: self.up,
            wall=lambda: self.wall,
        )

    seen: float = 0.0


def test_a_first_run_begins_with_the_wall_clock() -> None:
    machine = Machine()

    assert machine.clock().now() == machine.wall


def test_a_step_does_not_move_steady_time_and_is_shown_to_people() -> None:
    machine = Machine()
    clock = machine.clock()
    before = clock.now()
    machine.step(3600.0)

    assert clock.now() == before
    assert clock.to_wall(before + 60.0) == machine.wall + 60.0
    assert clock.step() == 3600.0


def test_a_step_while_the_daemon_is_down_changes_nothing_either() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.seen = clock.now()
    machine.passes(10.0)
    machine.step(-86400.0)

    resumed = machine.clock(clock, machine.boot)

    assert resumed.now() == machine.seen + 10.0


def test_after_a_reboot_the_wall_clock_is_taken_anew() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.seen, boot = clock.now(), machine.boot
    machine.reboot(down=300.0)

    assert machine.clock(clock, boot).now() == machine.seen + 300.0


def test_after_a_reboot_with_a_dead_battery_time_does_not_go_back() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.seen, boot = clock.now(), machine.boot
    machine.reboot()
    machine.wall = 0.0

    assert machine.clock(clock, boot).now() == machine.seen


steps = st.lists(
    st.one_of(
        st.tuples(st.just("passes"), st.floats(0.0, 1e6)),
        st.tuples(st.just("step"), st.floats(-1e8, 1e8)),
        st.tuples(st.just("restart"), st.just(0.0)),
        st.tuples(st.just("reboot"), st.floats(0.0, 1e6)),
    ),
    max_size=30,
)


@given(steps)
def test_steady_time_never_goes_back_and_within_a_boot_it_passes_as_time_does(
    steps: list[tuple[str, float]],
) -> None:
    machine = Machine()
    clock, boot = machine.clock(), machine.boot
    for name, value in steps:
        before = machine.seen = clock.now()
        match name:
            case "passes":
                machine.passes(value)
                assert clock.now() == pytest.approx(before + value, abs=1e-3)
            case "step":
                machine.step(value)
                assert clock.now() == before
            case "restart":
                clock = machine.clock(clock, boot)
                assert clock.now() == pytest.approx(before, abs=1e-3)
            case _:
                machine.reboot(down=value)
                clock, boot = machine.clock(clock, boot), machine.boot
                assert clock.now() >= before - 1e-3


class Sleeper(VirtualClock):
    """The rig's clock on a host that sleeps: its loop's time stands still meanwhile."""

    slept = 0.0
    stepped = 0.0

    def now(self) -> float:
        return super().now() + self.slept

    def to_wall(self, steady: float) -> float:
        return steady + self.stepped


def a_host_that_sleeps() -> tuple[Host, Sleeper]:
    host = Host()
    host.clock = clock = Sleeper()
    return host, clock


@rig
@virtual
async def test_a_claim_ends_soon_after_a_sleep_that_was_longer_than_it() -> None:
    host, clock = a_host_that_sleeps()
    run = await host.start(a_box_pool(min=2, lifetime=Lifetime(ttl=600.0, max_ttl=6000.0)))
    await run.until_ready(2)
    short, long = await run.claim(ttl=600.0), await run.claim(ttl=6000.0)
    clock.slept = 3600.0
    await run.settle(LONGEST_NAP + 5)

    ended = await run.fleet.find_claim(short.id)
    assert (ended.state, ended.ended_because) == (ClaimState.ENDED, EndedBecause.EXPIRED)
    assert long.state is ClaimState.BOUND
    await run.stop()


@rig
@virtual
async def test_a_stepped_wall_clock_ends_no_claim() -> None:
    host, clock = a_host_that_sleeps()
    run = await host.start(a_box_pool(min=1, lifetime=Lifetime(ttl=600.0, max_ttl=6000.0)))
    await run.until_ready(1)
    claim = await run.claim()
    clock.stepped = 10 * 86400.0
    await run.settle(590)
    assert claim.state is ClaimState.BOUND
    clock.stepped = -10 * 86400.0
    await run.settle(30)

    assert (await run.fleet.find_claim(claim.id)).state is ClaimState.ENDED
    await run.stop()


@rig
@virtual
async def test_a_wall_clock_that_is_set_far_ahead_does_not_empty_the_audit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host, clock = a_host_that_sleeps()
    run = await host.start(a_box_pool(min=1))
    asked: list[float] = []

    async def rotate(_: Retention, *, today: float) -> int:
        asked.append(today - clock.now())
        return 0

    monkeypatch.setattr(run.store, "rotate", rotate)
    clock.stepped = 1000 * 86400.0
    await run.settle(2 * 3600)

    assert len(asked) == 2
    assert max(asked) <= 0.0
    await run.stop()


@rig
@virtual
async def test_a_moved_wall_clock_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    host, clock = a_host_that_sleeps()
    run = await host.start(a_box_pool(min=0))
    await run.settle(5)
    clock.stepped = 3600.0
    await run.settle(20)

    told = [
        record for record in caplog.records if "the wall clock was moved" in record.getMessage()
    ]
    assert len(told) == 1
    await run.stop()


@rig
@virtual
async def test_housekeeping_goes_on_after_a_defect() -> None:
    host = Host()
    run = await host.start(a_box_pool(min=0))
    rounds: list[int] = []

    def invariants() -> list[str]:
        rounds.append(1)
        raise ValueError("a defect")

    chores = Housekeeping(run.services, invariants)
    task = asyncio.create_task(chores.run())
    await run.settle(200)

    assert len(rounds) >= 3
    task.cancel()
    await run.stop()


@rig
@virtual
async def test_a_renewal_after_the_expiry_revives_nothing() -> None:
    host, clock = a_host_that_sleeps()
    run = await host.start(a_box_pool(min=1, lifetime=Lifetime(ttl=600.0, max_ttl=60000.0)))
    await run.until_ready(1)
    claim = await run.claim()
    clock.slept = 3600.0  # awake again, and no timer has rung yet

    with pytest.raises(Refusal) as caught:
        await run.fleet.renew(claim.id, None, request_id="r")
    assert caught.value.code is Code.CLAIM_OVER
    await run.stop()
