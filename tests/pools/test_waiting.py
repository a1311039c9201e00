"""The line of those who wait: in order, and nobody is handed anything after they have left."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from stoker.config.expressions import compile_expression
from stoker.config.priorities import ENVIRONMENT
from stoker.config.revision import Priority
from stoker.pools.claim import Claim
from stoker.pools.ids import ClaimId
from stoker.pools.waiting import Line, Place, Waiter
from tests.builders import a_resource
from tests.pools.faults import run_apart
from tests.rig import ME


def a_claim(number: int) -> Claim:
    return Claim(ClaimId(f"c-{number:03}"), "web", ME, 0.0, 60.0, 60.0, 60.0)


def in_a_loop(play: Callable[[], None]) -> None:
    async def run() -> None:
        play()

    run_apart(run())


class Model:
    """The line beside a plain list of who waits."""

    def __init__(self) -> None:
        self.line = Line()
        self.waiters: list[Waiter] = []
        self.back = 0
        """How many of them have come back: they stand first, in the order of coming back."""
        self.number = 0
        self.resources = 0

    def join(self, *, first: bool) -> None:
        self.number += 1
        waiter = self.line.join(a_claim(self.number), first=first)
        self.waiters.insert(self.back if first else len(self.waiters), waiter)
        self.back += first

    def pop(self, index: int) -> Waiter:
        index %= len(self.waiters)
        self.back -= index < self.back
        return self.waiters.pop(index)

    def withdraw(self, index: int) -> None:
        """The waiter's own coroutine leaves: its place goes a moment later than its wish."""
        if self.waiters:
            waiter = self.pop(index)
            assert waiter.withdraw() == ()
            self.line.leave(waiter.claim.id)

    def lapse(self, index: int) -> None:
        """As `withdraw`, but the line has not been told yet."""
        if self.waiters:
            self.pop(index).withdraw()

    def dismiss(self, index: int) -> None:
        if self.waiters:
            waiter = self.pop(index)
            self.line.dismiss(waiter.claim.id, RuntimeError("sent away"))
            assert isinstance(waiter.turn.exception(), RuntimeError)

    def serve(self) -> None:
        """One resource to the first who accepts it, as a pool does."""
        self.resources += 1
        resource = a_resource(f"web-{self.resources}")
        while (waiter := self.line.next(1)) is not None:
            if waiter.offer(resource):
                self.line.served(waiter.claim.id)
                assert waiter is self.pop(0), "somebody was passed over"
                assert waiter.withdraw() == (resource,)
                return
            self.line.leave(waiter.claim.id)
        assert not self.waiters

    def check(self) -> None:
        waiting = [waiter for waiter in self.line if not waiter.turn.done()]
        assert waiting == self.waiters
        assert len(self.line) >= len(self.waiters)
        for waiter in self.waiters:
            assert self.line.get(waiter.claim.id) is waiter


Step = tuple[str, int]
steps: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.booleans()),
        st.tuples(st.just("join"), st.just(value=False)),
        st.tuples(st.sampled_from(["withdraw", "lapse", "dismiss"]), st.integers(0, 9)),
        st.tuples(st.just("serve"), st.just(0)),
    ),
    max_size=60,
)


@given(steps)
def test_everybody_is_served_in_order_and_nobody_who_has_left(steps: list[Step]) -> None:
    def play() -> None:
        model = Model()
        for name, value in steps:
            match name:
                case "join":
                    model.join(first=bool(value))
                case "serve":
                    model.serve()
                case "withdraw":
                    model.withdraw(value)
                case "lapse":
                    model.lapse(value)
                case _:
                    model.dismiss(value)
            model.check()
        while model.waiters:
            model.serve()
        model.serve()
        assert len(model.line) == 0

    in_a_loop(play)


async def test_a_waiter_that_was_served_just_before_it_left_has_the_resource_to_give_back() -> None:
    waiter = Waiter(a_claim(1))
    resource = a_resource("web-1")
    assert waiter.offer(resource)

    assert waiter.withdraw() == (resource,)


async def test_a_waiter_that_has_left_accepts_nothing() -> None:
    waiter = Waiter(a_claim(1))
    assert waiter.withdraw() == ()

    assert not waiter.offer(a_resource("web-1"))


async def test_somebody_who_was_served_cannot_be_sent_away() -> None:
    line = Line()
    waiter = line.join(a_claim(1))
    waiter.offer(a_resource("web-1"))
    line.dismiss(waiter.claim.id, RuntimeError("too late"))

    assert [one.id for one in waiter.turn.result()] == ["web-1"]


async def test_positions_count_from_the_front() -> None:
    line = Line()
    for number in (1, 2, 3):
        line.join(a_claim(number))
    line.join(a_claim(4), first=True)
    line.leave(ClaimId("c-001"))

    assert [line.position(ClaimId(f"c-00{n}")) for n in (4, 2, 3, 1)] == [1, 2, 3, None]


async def test_one_that_holds_some_already_goes_before_all_who_have_priority() -> None:
    """Otherwise these would keep what it waits for, and wait in vain for what it holds."""
    line = Line()
    first = line.join(a_claim(1), place=Place(wants=2, holds=True))
    line.priorities = (Priority("all", compile_expression("true", ENVIRONMENT), 1000),)
    assert line.join(a_claim(2), place=Place(wants=4)).standing.priority == 1000
    late = line.join(a_claim(3), first=True)

    assert [first, late] == [line.next(2), line.next(1)]
    assert line.held_up
    line.leave(first.claim.id)
    assert not line.held_up
