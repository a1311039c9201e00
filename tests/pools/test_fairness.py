"""Who is next: priority, then turns between callers, then age; and nobody starves."""

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.pools.fairness import LOOKAHEAD, OVERTAKINGS, FairOrder

Order = FairOrder[str]


def an_order(*names: str) -> Order:
    """One waiter for each name; its first letter is its caller, and `!` gives it priority."""
    order = Order()
    for name in names:
        order.join(name, name[0], priority=name.count("!"))
    return order


def serve(order: Order, times: int = 1) -> list[str]:
    served: list[str] = []
    for _ in range(times):
        found = order.next(1)
        if found is None:
            break
        order.served(found)
        served.append(found)
    return served


def test_callers_take_turns_and_each_is_served_in_order_of_age() -> None:
    order = an_order("a1", "a2", "a3", "b1", "b2", "c1")

    assert ["a1", "b1", "c1", "a2", "b2", "a3"] == list(order)
    assert list(order) == serve(an_order("a1", "a2", "a3", "b1", "b2", "c1"), 9)


def test_priority_goes_before_any_turn() -> None:
    assert ["a3!!", "b1!", "a1", "a2"] == list(an_order("a1", "a2", "b1!", "a3!!"))


def test_whoever_was_served_in_this_round_has_its_next_turn_after_the_others() -> None:
    order = an_order("a1", "b1", "b2")
    assert ["a1"] == serve(order)

    order.join("a2", "a")
    order.join("c1", "c")

    assert ["b1", "c1", "b2", "a2"] == list(order)


def test_a_caller_whose_oldest_is_passed_over_has_no_more_turns_than_others() -> None:
    """Its oldest selects what is not there: it keeps its place, and the others wait for their rounds."""
    order = an_order("a1", "a2", "a3", "a4", "b1", "b2")

    order.served("a2")
    order.served("a3")
    order.join("a5", "a")
    order.join("c1", "c")

    assert ["a1", "b1", "b2", "c1", "a4", "a5"] == list(order)
    assert [1, 2, 3, 4, 5, 6] == [order.position(one) for one in order]


def test_a_waiter_that_leaves_costs_its_caller_no_turn() -> None:
    order = an_order("a1", "a2", "a3", "b1", "b2", "b3")

    order.leave("a1")
    order.leave("b2")

    assert ["a2", "b1", "a3", "b3"] == list(order)


def test_who_comes_back_goes_first_among_equals_and_gives_its_place_to_nobody() -> None:
    order = an_order("a1", "a2", "b1", "c1!")
    order.join("a0", "a", first=True)
    order.join("b0", "b", first=True)

    assert ["c1!", "a0", "b0", "a1", "b1", "a2"] == list(order)
    order.leave("a0")
    assert ["c1!", "b0", "a1", "b1", "a2"] == list(order)


def test_nobody_waits_twice() -> None:
    order = an_order("a1")

    with pytest.raises(ValueError, match="waits already"):
        order.join("a1", "a")


def test_a_stranger_has_no_position_and_may_leave() -> None:
    order = an_order("a1")
    order.leave("b1")

    assert order.position("b1") is None
    assert 1 == order.position("a1")


# Against a plain model


@dataclass
class Waiting:
    name: str
    caller: str
    priority: int
    returned: bool


@dataclass
class Line:
    """The same, told simply: all is computed anew from lists, whenever anybody asks."""

    waiting: list[Waiting] = field(default_factory=list[Waiting])
    """In the order of joining."""
    turns: dict[tuple[int, str], tuple[int, int]] = field(
        default_factory=dict[tuple[int, str], tuple[int, int]]
    )
    """Of each caller that waits: its first round, and its place in the turn."""
    rounds: dict[int, tuple[int, set[str]]] = field(default_factory=dict[int, tuple[int, set[str]]])
    number: int = 0

    def join(self, one: Waiting) -> None:
        self.number += 1
        if not one.returned and not self._of(one):
            now, served = self.rounds.setdefault(one.priority, (0, set()))
            start = now + 1 if one.caller in served else now
            self.turns[one.priority, one.caller] = (start, self.number)
        self.rounds.setdefault(one.priority, (0, set()))
        self.waiting.append(one)

    def _of(self, one: Waiting) -> list[Waiting]:
        mine = (one.priority, one.caller)
        return [w for w in self.waiting if not w.returned and (w.priority, w.caller) == mine]

    def _key(self, one: Waiting) -> tuple[int, int, int]:
        if one.returned:
            return -one.priority, -1, self.waiting.index(one)
        start, place = self.turns[one.priority, one.caller]
        return -one.priority, start + self._of(one).index(one), place

    def order(self) -> list[str]:
        return [one.name for one in sorted(self.waiting, key=self._key)]

    def remove(self, name: str, *, served: bool) -> None:
        one = next(w for w in self.waiting if w.name == name)
        _, turn, _ = self._key(one)
        self.waiting.remove(one)
        if served and not one.returned:
            now, had = self.rounds[one.priority]
            self.rounds[one.priority] = (turn, {one.caller} | (had if turn == now else set()))
            start, place = self.turns[one.priority, one.caller]
            self.turns[one.priority, one.caller] = (start + 1, place)
        if not any(w.priority == one.priority for w in self.waiting):
            del self.rounds[one.priority]


Step = tuple[str, str, int]
joins = st.tuples(st.just("join"), st.sampled_from("aaabcd"), st.sampled_from([0, 0, 0, 1, -1]))
steps: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        joins,
        joins,
        st.tuples(st.just("return"), st.sampled_from("ab"), st.sampled_from([0, 1])),
        st.tuples(st.just("leave"), st.just(""), st.integers(0, 30)),
        st.tuples(st.just("serve"), st.just(""), st.just(0)),
    ),
    max_size=80,
)


def play(order: Order, model: Line, step: Step, number: int) -> None:
    name, caller, value = step
    match name:
        case "join" | "return":
            one = Waiting(f"{caller}{number}", caller, value, name == "return")
            model.join(one)
            order.join(one.name, caller, priority=value, first=one.returned)
        case "leave" if len(order):
            gone = list(order)[value % len(order)]
            order.leave(gone)
            model.remove(gone, served=False)
        case _:
            for served in serve(order):
                model.remove(served, served=True)


@given(steps)
def test_the_order_is_that_of_the_plain_model_after_every_step(steps: list[Step]) -> None:
    order, model = Order(), Line()
    for number, step in enumerate(steps):
        play(order, model, step, number)

        expected = model.order()
        assert expected == list(order)
        assert [order.position(name) for name in expected] == list(range(1, len(expected) + 1))
        assert len(order) == order.wanted == len(expected)
        assert order.first() == (expected[0] if expected else None)
    serve(order, len(order))
    assert (0, 0) == (len(order), order.callers)


@given(steps)
def test_nobody_moves_back_because_somebody_left(steps: list[Step]) -> None:
    order, model = Order(), Line()
    for number, step in enumerate(steps):
        before = list(order)
        play(order, model, step, number)
        if step[0] != "leave":
            continue
        for name in order:
            place = order.position(name)
            assert place is not None
            assert place <= before.index(name) + 1
        for caller in "abcd":
            mine = [name for name in before if name[0] == caller and name in order]
            assert mine == [name for name in order if name[0] == caller]


@given(steps)
def test_no_caller_waits_for_more_than_the_shares_ahead_of_it(steps: list[Step]) -> None:
    """While the n-th of a caller waits, each other caller of its priority has n + 1 turns at most."""
    order, model = Order(), Line()
    shares: dict[str, int] = {}
    had: dict[str, Counter[str]] = {}
    for number, step in enumerate(steps):
        name, caller, value = step
        served = order.first() if name == "serve" else None
        if name == "join":
            mine = [w for w in model.waiting if not w.returned and w.caller == caller]
            shares[f"{caller}{number}"] = 1 + sum(w.priority == value for w in mine)
            had[f"{caller}{number}"] = Counter()
        standing = {w.name: w for w in model.waiting}
        play(order, model, step, number)
        if served is None:
            continue
        winner = standing.pop(served)
        for one in standing.values():
            assert one.priority <= winner.priority, "a lower priority was served first"
            if one.returned:
                assert winner.returned or winner.priority > one.priority
            elif one.priority == winner.priority and not winner.returned:
                had[one.name][winner.caller] += winner.caller != one.caller
                assert had[one.name][winner.caller] <= shares[one.name] + 1


# Who wants several


def a_gang_first(*singles: str, wants: int = 5) -> Order:
    order = Order()
    order.join("gang", "g", wants=wants)
    for name in singles:
        order.join(name, name[0])
    return order


def test_the_first_gets_all_that_it_wants_at_once() -> None:
    order = a_gang_first("a1")

    assert "gang" == order.next(5)
    order.served("gang")
    assert "a1" == order.next(1)


def test_those_behind_may_overtake_one_that_wants_more_than_is_ready_but_not_for_ever() -> None:
    order = a_gang_first(*(f"a{number}" for number in range(OVERTAKINGS + 5)))

    served = serve(order, OVERTAKINGS + 5)

    assert [f"a{number}" for number in range(OVERTAKINGS)] == served
    assert order.next(4) is None
    assert "gang" == order.next(5)


def test_what_is_kept_for_one_that_leaves_goes_to_the_next() -> None:
    order = a_gang_first(*(f"a{number}" for number in range(OVERTAKINGS + 1)))
    serve(order, OVERTAKINGS)
    assert order.next(4) is None

    order.leave("gang")

    assert f"a{OVERTAKINGS}" == order.next(4)


def test_one_that_overtook_had_its_turn() -> None:
    order = a_gang_first("a1", "b1", "a2")
    assert ["a1"] == serve(order)
    order.join("a3", "a")

    assert ["gang", "b1", "a2", "a3"] == list(order)


def test_only_so_far_is_looked_for_one_that_wants_less() -> None:
    order = Order()
    for number in range(LOOKAHEAD):
        order.join(f"g{number}", f"g{number}", wants=5)
    order.join("a1", "a")

    assert order.next(1) is None
    order.leave("g50")
    assert "a1" == order.next(1)


def test_how_many_resources_it_takes_counts_what_those_ahead_want() -> None:
    order = a_gang_first("a1", "b1")

    assert [5, 6, 7] == [order.wanted_up_to(name) for name in ("gang", "a1", "b1")]
    order.leave("gang")
    assert [1, 2] == [order.wanted_up_to(name) for name in ("a1", "b1")]


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([1, 1, 1, 2, 5]), st.integers(0, 1)),
        min_size=1,
        max_size=60,
    ),
    st.integers(5, 8),
)
def test_everybody_is_served_and_nobody_is_overtaken_too_often(
    asked: list[tuple[str, int, int]], size: int
) -> None:
    """A pool of `size`: somebody joins at every step, one held resource comes back at every step."""
    order = Order()
    wants: dict[str, int] = {}
    ready, served = size, list[str]()
    overtaken: Counter[str] = Counter()
    names = [f"{caller}{number}" for number, (caller, _, _) in enumerate(asked)]
    waiting = dict(zip(names, asked, strict=True))
    for step in range(len(asked) * 8):
        if step < len(names):
            caller, count, priority = waiting[names[step]]
            wants[names[step]] = count
            order.join(names[step], caller, priority=priority, wants=count)
        while (found := order.next(ready)) is not None:
            head = order.first()
            assert head is not None
            overtaken[head] += found != head
            order.served(found)
            served.append(found)
            ready -= wants[found]
        assert ready >= 0
        ready = min(size, ready + 1)
    assert sorted(names) == sorted(served)
    assert max(overtaken.values(), default=0) <= OVERTAKINGS


def test_who_comes_back_while_somebody_is_overtaken_has_no_second_turn_before_one_who_waits() -> (
    None
):
    order: FairOrder[str] = FairOrder()
    order.join("several", "g", wants=5)
    order.join("a1", "a")
    order.join("a2", "a")
    order.join("b1", "b")
    served: list[str] = []
    for number in range(2, 5):
        item = order.next(1)
        assert item is not None
        served.append(item)
        order.served(item)
        if item.startswith("b"):
            order.join(f"b{number}", "b")
    assert ["a1", "b1", "a2"] == served
