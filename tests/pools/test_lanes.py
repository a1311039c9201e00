"""The gate to a provider: never wider than it is, claims first, first come first served."""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.pools.lanes import Gate, Lane
from tests.pools.faults import run_apart


@dataclass
class Caller:
    number: int
    lane: Lane
    leave: asyncio.Event = field(default_factory=asyncio.Event)


class Model:
    """Calls through one gate, one step at a time, and what must be true after each."""

    def __init__(self, width: int, reserve: int) -> None:
        self.width, self.reserve = width, reserve
        self.gate = Gate(width, reserve)
        self.waiting: list[Caller] = []
        self.inside: list[Caller] = []
        self.number = 0
        self.broken: list[str] = []
        self.tasks: dict[int, asyncio.Task[None]] = {}

    async def come(self, lane: Lane) -> None:
        self.number += 1
        caller = Caller(self.number, lane)
        self.waiting.append(caller)
        self.tasks[caller.number] = asyncio.create_task(self._call(caller))
        await settle()

    async def _call(self, caller: Caller) -> None:
        async with self.gate.turn(caller.lane):
            self.waiting.remove(caller)
            self.inside.append(caller)
            self.check_order(caller)
            try:
                await caller.leave.wait()
            finally:
                self.inside.remove(caller)

    def check_order(self, caller: Caller) -> None:
        """Nobody of the same lane who came before still waits, nor a claim behind a background."""
        for other in self.waiting:
            if other.lane is caller.lane and other.number < caller.number:
                self.broken.append("somebody who came later was served first")
            elif other.lane is Lane.CLAIMS and caller.lane is Lane.BACKGROUND:
                self.broken.append("a claim waited while background went in")

    async def go(self, index: int) -> None:
        if self.inside:
            self.inside[index % len(self.inside)].leave.set()
            await settle()

    async def give_up(self, index: int, *, together: bool) -> None:
        """A waiting caller is cancelled, also in the very moment in which its turn comes."""
        if not self.waiting:
            return
        caller = self.waiting[index % len(self.waiting)]
        if together and self.inside:
            self.inside[0].leave.set()
            await asyncio.sleep(0)
        if caller in self.waiting:
            self.waiting.remove(caller)
            self.tasks[caller.number].cancel()
        await settle()

    async def resize(self, width: int, reserve: int) -> None:
        self.width, self.reserve = width, reserve
        self.gate.resize(width, reserve)
        await settle()

    def check(self, widest: int) -> None:
        assert self.broken == []
        assert self.gate.inside == len(self.inside)
        assert len(self.inside) <= widest
        free = self.width - len(self.inside)
        if any(caller.lane is Lane.CLAIMS for caller in self.waiting):
            assert free <= 0, "a claim waits although there is room"
        elif self.waiting:
            room = max(1, self.width - self.reserve)
            assert len(self.inside) >= room, "background waits although there is room"

    async def end(self) -> None:
        while self.waiting or self.inside:
            for caller in list(self.inside):
                caller.leave.set()
            await settle()
        assert self.gate.inside == 0


async def settle() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


Step = tuple[str, int, int]
"""What happens, to which of them, and how."""
steps: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.integers(0, 1), st.just(0)),
        st.tuples(st.just("come"), st.integers(0, 1), st.just(0)),
        st.tuples(st.just("go"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("give up"), st.integers(0, 9), st.integers(0, 1)),
        st.tuples(st.just("resize"), st.integers(1, 6), st.integers(0, 5)),
    ),
    max_size=40,
)


@given(st.integers(1, 6), st.integers(0, 5), steps)
def test_the_gate_keeps_its_width_and_order_whoever_comes_goes_or_gives_up(
    width: int, reserve: int, steps: list[Step]
) -> None:
    async def play() -> None:
        model = Model(width, reserve)
        for name, which, how in steps:
            before = max(model.width, len(model.inside))
            match name:
                case "come":
                    await model.come(list(Lane)[which])
                case "go":
                    await model.go(which)
                case "give up":
                    await model.give_up(which, together=bool(how))
                case _:
                    await model.resize(which, how)
            model.check(max(before, model.width))
        await model.end()

    run_apart(play())


async def test_background_leaves_the_reserve_to_claims() -> None:
    model = Model(4, 1)
    for _ in range(6):
        await model.come(Lane.BACKGROUND)
    assert model.gate.inside == 3

    await model.come(Lane.CLAIMS)

    assert [caller.lane for caller in model.inside][-1] is Lane.CLAIMS
    await model.end()


async def test_a_reserve_as_wide_as_the_gate_still_lets_background_through() -> None:
    model = Model(2, 4)
    await model.come(Lane.BACKGROUND)

    assert model.gate.inside == 1
    await model.end()


async def test_a_call_that_fails_gives_its_place_back() -> None:
    gate = Gate(1, 0)
    with pytest.raises(ValueError, match="no"):
        async with gate.turn(Lane.CLAIMS):
            raise ValueError("no")

    assert gate.inside == 0


async def test_a_narrower_gate_lets_those_inside_finish_and_nobody_else_in() -> None:
    model = Model(3, 0)
    for _ in range(5):
        await model.come(Lane.CLAIMS)
    await model.resize(1, 0)
    await model.go(0)
    await model.go(0)

    assert model.gate.inside == 1
    await model.end()
