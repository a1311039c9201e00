"""Finds the resources of a pool that claims select, a few at a time.

While claims with the same `select` wait in a pool's line, one `Selector` knows which of the ready
resources will do. Everything ready is judged once, in slices between which the loop serves others,
and whatever becomes ready later is judged when it comes. A resource of which an expression fails
does not match, and the others are not touched by that. Without such claims nothing here runs.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import cast

from ..config.expressions import ExpressionError
from ..config.revision import Blueprint
from ..config.selects import Select, compile_select
from .assembly import scope_of
from .ids import ResourceId
from .inventory import Members
from .resource import Resource
from .services import Services

SLICE = 25
"""So many resources are judged at once, or as many as `SLICE_TAKES` allows."""
SLICE_TAKES = 0.001
A_LITTLE = 8
"""So many are judged at once when something was handed out or came in between."""
KEPT = 16
"""Selectors of one pool that are kept for the next who asks the same."""
ROOM = 1000
"""Verdicts beyond twice the pool's resources before those of resources that are gone are dropped."""


_Age = tuple[float | None, int]


def _age(resource: Resource) -> _Age:
    return resource.ready_at, resource.uses


@dataclass(frozen=True, slots=True)
class Tally:
    """What a selector made of the resources that were ready."""

    looked_at: int
    matching: int
    failed: int
    failure: str
    """One of those that could not be judged, and why."""

    @property
    def sentence(self) -> str:
        if not self.looked_at:
            return "nothing is ready"
        text = f"{self.matching} of {self.looked_at} ready resources match"
        if self.failed:
            text += f"; {self.failed} could not be judged, and so do not: {self.failure}"
        return text


@dataclass(slots=True, eq=False)
class Selector:
    """One expression over one pool's resources."""

    source: str
    members: Members
    blueprint_of: Callable[[Resource], Blueprint]
    wake: Callable[[], None]
    """Asks for `look`, because there is something to judge."""
    looked: asyncio.Event = field(default_factory=asyncio.Event)
    """Everything that is ready was judged."""
    _users: int = 0
    _pending: deque[Resource] = field(default_factory=deque[Resource])
    _matching: dict[ResourceId, Resource] = field(default_factory=dict[ResourceId, Resource])
    """Those in use only: what was taken meanwhile is dropped when it is met."""
    _verdicts: dict[ResourceId, tuple[_Age, bool | str]] = field(
        default_factory=dict[ResourceId, tuple[_Age, bool | str]]
    )
    """With its age, because one that is used again may have other outputs. A text is a failure."""
    _compiled: dict[str, Select | str] = field(default_factory=dict[str, Select | str])
    """By the blueprint's digest; a text says why it does not compile."""

    @property
    def in_use(self) -> bool:
        return self._users > 0

    @property
    def busy(self) -> bool:
        return bool(self._pending)

    @property
    def some(self) -> bool:
        """False when it is certain that nothing ready matches, as far as was looked."""
        return bool(self._matching)

    def begin(self) -> None:
        """Somebody waits. The first one has everything judged that is ready."""
        self._users += 1
        if self._users == 1:
            self.looked.clear()
            self._matching.clear()
            self._pending = deque(self.members.claimable())
            self._settle()

    def end(self) -> None:
        self._users -= 1
        if not self._users:
            self._pending.clear()
            self._matching.clear()
            self.looked.set()

    def arrived(self, resource: Resource) -> None:
        """Before those that were there: somebody may be about to be given it."""
        self._pending.appendleft(resource)
        self._settle()

    def look(self) -> bool:
        """Judges one. True when it matches."""
        resource = self._pending.popleft()
        matches = resource.claimable and self._verdict(resource) is True
        if matches:
            self._matching[resource.id] = resource
        self._settle()
        return matches

    def matching(self) -> Iterator[Resource]:
        """Those known to match that are ready now."""
        for resource in list(self._matching.values()):
            if resource.claimable:
                yield resource
            else:
                self._matching.pop(resource.id, None)

    def has_matched(self, resource: Resource) -> bool:
        return resource.id in self._matching

    def has_refused(self, resource: Resource) -> bool:
        """It was judged and does not match."""
        known = self._verdicts.get(resource.id)
        return known is not None and known[0] == _age(resource) and known[1] is not True

    def tally(self, taken: Iterable[Resource] = ()) -> Tally:
        """Of what is ready, and of `taken`, which was so a moment ago."""
        looked_at = matching = failed = 0
        failure = ""
        for resource in chain(taken, self.members.claimable()):
            known = self._verdicts.get(resource.id)
            if known is None or known[0] != _age(resource):
                continue
            looked_at += 1
            matching += known[1] is True
            if isinstance(known[1], str):
                failed += 1
                failure = failure or f"{resource.id}: {known[1]}"
        return Tally(looked_at, matching, failed, failure)

    def forget_the_gone(self) -> None:
        if len(self._verdicts) > 2 * len(self.members.resources) + ROOM:
            here = self.members.resources
            self._verdicts = {one: known for one, known in self._verdicts.items() if one in here}

    def _settle(self) -> None:
        if self._pending:
            self.looked.clear()
            self.wake()
        else:
            self.looked.set()

    def _verdict(self, resource: Resource) -> bool | str:
        known = self._verdicts.get(resource.id)
        if known is not None and known[0] == _age(resource):
            return known[1]
        verdict = self._judge(resource)
        self._verdicts[resource.id] = (_age(resource), verdict)
        return verdict

    def _judge(self, resource: Resource) -> bool | str:
        select = self._select(self.blueprint_of(resource))
        if isinstance(select, str):
            return select
        scope = scope_of(resource)
        facts = scope["resource"]
        try:
            return select.matches(cast("Mapping[str, object]", facts), scope)
        except ExpressionError as error:
            return str(error)

    def _select(self, blueprint: Blueprint) -> Select | str:
        known = self._compiled.get(blueprint.digest)
        if known is None:
            try:
                known = compile_select(self.source, blueprint)
            except ExpressionError as error:
                known = f"it was made from an earlier blueprint, for which {error}"
            if len(self._compiled) >= KEPT:
                self._compiled.clear()
            self._compiled[blueprint.digest] = known
        return known


class Selecting:
    """Of one pool."""

    def __init__(
        self,
        services: Services,
        pool: str,
        members: Members,
        *,
        blueprint_of: Callable[[Resource], Blueprint],
        serve: Callable[[], None],
    ) -> None:
        self._services = services
        self._pool = pool
        self._members = members
        self._blueprint_of = blueprint_of
        self._serve = serve
        """Hands out what was found."""
        self._selectors: OrderedDict[str, Selector] = OrderedDict()
        self._looking = False
        members.watcher = self._arrived

    def selector(self, source: str) -> Selector:
        """The one for an expression, which compiles for the pool's present blueprint."""
        known = self._selectors.get(source)
        if known is None:
            known = Selector(source, self._members, self._blueprint_of, self._wake)
            self._selectors[source] = known
        self._selectors.move_to_end(source)
        known.forget_the_gone()
        idle = [
            each for each, one in self._selectors.items() if not one.in_use and one is not known
        ]
        for each in idle[: max(0, len(idle) - KEPT)]:
            del self._selectors[each]
        return known

    def _arrived(self, resource: Resource) -> None:
        for selector in self._selectors.values():
            if selector.in_use:
                selector.arrived(resource)

    def _wake(self) -> None:
        if not self._looking:
            self._looking = True
            self._services.tasks.start(self._look(), f"select in {self._pool}")

    def look_a_little(self) -> None:
        """Judges what has just come, so that those who select are not passed over meanwhile."""
        left = A_LITTLE
        for selector in self._selectors.values():
            while selector.busy and left:
                selector.look()
                left -= 1

    async def _look(self) -> None:
        """Judges what there is to judge, turn by turn for each expression."""
        try:
            while busy := [one for one in self._selectors.values() if one.busy]:
                for selector in busy:
                    self._look_a_while(selector)
                    await asyncio.sleep(0)
        finally:
            self._looking = False

    def _look_a_while(self, selector: Selector) -> None:
        clock = self._services.clock
        began, found = clock.now(), False
        for _ in range(SLICE):
            if not selector.busy:
                break
            found = selector.look() or found
            if clock.now() - began > SLICE_TAKES:
                break
        if found:
            self._serve()
