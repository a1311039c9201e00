"""Who is next among those who wait: priority, then turns between callers, then age. Pure.

Theory of operation
-------------------

Within one priority the callers take turns, in rounds: nobody has a second turn before everybody
who waits has had a first. This is start-time fair queuing (Goyal, Vin and Cheng, 1996) with turns
of equal length: the first waiter of a caller joins the present round, or the next one if the
caller was served in this one already, and each further waiter of the same caller is one round
later.

A caller's waiters fill its rounds in order of age. So a *slot* (priority, round, the caller's place
in the turn) belongs to the caller and not to the waiter:

- Serving a waiter takes its own slot away: a turn of that round was had. A younger one that overtakes
  its caller's oldest therefore leaves a gap, and all others keep their rounds.
- A waiter that leaves, from wherever, takes the caller's *last* slot away. All younger ones of that
  caller move up by one, nobody moves back, and no turn was used up.

All slots stand in one sorted list, so joining, leaving, serving and a position take O(log n).

Who comes back because its resource could not be finished stands before the first round of its
priority, in a slot of its own: it had its turn, and keeps it.

Who wants several
-----------------

One that wants several resources at once and is first in line *reserves*: what becomes ready is kept
for it. Those behind who want no more than what is ready may overtake it `OVERTAKINGS` times in all;
after that nobody does. So it is not starved by those who want less; nor are they by it, because it
holds them up only until it is served, leaves or reaches its deadline. It counts as one turn.
"""

from collections.abc import Hashable, Iterator
from itertools import islice
from typing import Generic, TypeVar

from sortedcontainers import SortedList

OVERTAKINGS = 10
"""How often one that is first and wants more than is ready may be overtaken."""
LOOKAHEAD = 100
"""So many places behind it are looked at for one that wants less."""
_FRONT = -1
"""The round before all others, for those who come back."""

Item = TypeVar("Item", bound=Hashable)
_Slot = tuple[int, int, int]
"""Minus the priority, the round, the flow's place in the turn."""


class _Level:
    """One priority."""

    __slots__ = ("flows", "round", "served", "size")

    def __init__(self) -> None:
        self.round = 0
        """Of whoever was served last."""
        self.served: set[Hashable] = set()
        """The callers that had their turn in this round."""
        self.flows: dict[Hashable, _Flow] = {}
        self.size = 0


class _Flow:
    """One caller's waiters of one priority."""

    __slots__ = ("key", "level", "numbers", "priority", "rounds", "turn")

    def __init__(self, level: _Level, priority: int, key: Hashable, turn: int) -> None:
        self.level = level
        self.priority = priority
        self.key = key
        self.turn = turn
        """The place within each round."""
        self.numbers: SortedList[int] = SortedList()
        """Of its waiters, oldest first."""
        self.rounds: SortedList[int] = SortedList()
        """Of the same waiters, one each."""

    def slot(self, index: int) -> _Slot:
        return -self.priority, self.rounds[index], self.turn

    def next_round(self) -> int:
        """That of a waiter that joins now."""
        if self.key is None:
            return _FRONT
        level = self.level
        start = level.round + 1 if self.key in level.served else level.round
        return max(start, self.rounds[-1] + 1) if self.rounds else start


class _Entry(Generic[Item]):
    __slots__ = ("flow", "item", "number", "overtaken", "wants")

    def __init__(self, item: Item, number: int, wants: int, flow: _Flow) -> None:
        self.item = item
        self.number = number
        """In the order of joining."""
        self.wants = wants
        self.flow = flow
        self.overtaken = 0


class FairOrder(Generic[Item]):
    """The waiting, each once, in the order in which they are served."""

    def __init__(self) -> None:
        self._entries: dict[Item, _Entry[Item]] = {}
        self._numbered: dict[int, _Entry[Item]] = {}
        self._slots: SortedList[_Slot] = SortedList()
        self._flows: dict[int, _Flow] = {}
        """By their place in the turn."""
        self._levels: dict[int, _Level] = {}
        self._number = 0
        self.wanted = 0
        """Resources that all of them want together."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def callers(self) -> int:
        """How many callers wait, each counted once for every priority, and each who came back."""
        return len(self._flows)

    def __contains__(self, item: object) -> bool:
        return item in self._entries

    def __iter__(self) -> Iterator[Item]:
        """In the order in which they would be served if nobody joined."""
        return (self._at(slot).item for slot in self._slots)

    def join(
        self,
        item: Item,
        key: Hashable,
        *,
        priority: int = 0,
        wants: int = 1,
        first: bool = False,
    ) -> None:
        """Takes a place. `key` says who shares a turn; `first` is for one who was served before."""
        if item in self._entries:
            raise ValueError(f"{item!r} waits already")
        self._number += 1
        flow = self._flow(None if first else key, priority)
        entry = _Entry(item, self._number, wants, flow)
        flow.rounds.add(flow.next_round())
        flow.numbers.add(entry.number)
        self._slots.add(flow.slot(-1))
        flow.level.size += 1
        self._entries[item] = self._numbered[entry.number] = entry
        self.wanted += wants

    def leave(self, item: Item) -> None:
        """Gives the place up without having been served; harmless for one who does not wait."""
        entry = self._entries.get(item)
        if entry is not None:
            self._remove(entry, -1)

    def served(self, item: Item) -> None:
        """It got what it wants: its caller has had a turn."""
        entry = self._entries[item]
        flow = entry.flow
        index = flow.numbers.index(entry.number)
        slot = flow.slot(index)
        head = self._at(self._slots[0])
        if head is not entry:
            head.overtaken += 1
        self._count_turn(flow, slot)
        self._remove(entry, index)

    def first(self) -> Item | None:
        return self._at(self._slots[0]).item if self._slots else None

    def next(self, ready: int) -> Item | None:
        """Who is to be served now that `ready` resources are there; None when they are kept."""
        if not self._slots or ready <= 0:
            return None
        head = self._at(self._slots[0])
        if head.wants <= ready:
            return head.item
        if head.overtaken >= OVERTAKINGS:
            return None
        for slot in islice(self._slots, 1, LOOKAHEAD):
            entry = self._at(slot)
            if entry.wants <= ready:
                return entry.item
        return None

    def overtaken(self, item: Item) -> int:
        """How often somebody behind was served while it was first."""
        return self._entries[item].overtaken

    def position(self, item: Item) -> int | None:
        """1 for the next to be served; None for one who does not wait."""
        entry = self._entries.get(item)
        if entry is None:
            return None
        slot = entry.flow.slot(entry.flow.numbers.index(entry.number))
        return self._slots.bisect_left(slot) + 1

    def wanted_up_to(self, item: Item) -> int:
        """How many resources it takes until this one is served. O(log n) while all want one each."""
        position = self.position(item) or 0
        if self.wanted == len(self._entries):
            return position
        return sum(self._at(slot).wants for slot in islice(self._slots, position))

    def _at(self, slot: _Slot) -> _Entry[Item]:
        flow = self._flows[slot[2]]
        return self._numbered[flow.numbers[flow.rounds.index(slot[1])]]

    def _flow(self, key: Hashable | None, priority: int) -> _Flow:
        """The caller's flow, or a new one at its place in the turn."""
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = _Level()
        if key is None:
            flow = _Flow(level, priority, None, self._number)
        elif key in level.flows:
            return level.flows[key]
        else:
            flow = level.flows[key] = _Flow(level, priority, key, self._number)
        self._flows[flow.turn] = flow
        return flow

    def _count_turn(self, flow: _Flow, slot: _Slot) -> None:
        """Moves the round on, to that of whoever is served: also of one that overtakes.

        Otherwise those who come while somebody is overtaken would have turns of rounds that are over.
        """
        if slot[1] == _FRONT:
            return
        level = flow.level
        if slot[1] > level.round:
            level.round = slot[1]
            level.served.clear()
        if slot[1] == level.round:
            level.served.add(flow.key)

    def _remove(self, entry: _Entry[Item], index: int) -> None:
        """Takes the entry out, and its caller's slot at `index`."""
        flow, level = entry.flow, entry.flow.level
        self._slots.remove(flow.slot(index))
        del flow.rounds[index]
        flow.numbers.remove(entry.number)
        if not flow.numbers:
            del self._flows[flow.turn]
            if flow.key is not None:
                del level.flows[flow.key]
        level.size -= 1
        if not level.size:
            del self._levels[flow.priority]
        del self._entries[entry.item], self._numbered[entry.number]
        self.wanted -= entry.wants
