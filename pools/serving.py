"""Hands what is ready in a pool to those who wait for it. The pool says when."""

from collections.abc import Callable
from itertools import islice

from ..config.revision import Blueprint
from .inventory import Members
from .resource import Resource
from .selecting import Selecting, Selector
from .services import Services
from .waiting import Line, Waiter


class Serving:
    """Of one pool."""

    def __init__(self, services: Services, pool: str, line: Line, members: Members) -> None:
        self._services = services
        self._pool = pool
        self._line = line
        self._members = members
        self._selecting: Selecting | None = None

    def connect(
        self,
        take: Callable[[Resource, float], None],
        again: Callable[[], None],
        blueprint_of: Callable[[Resource], Blueprint],
    ) -> None:
        """`take` takes a resource for a claim, `again` serves if the pool is open."""
        self._take = take
        self._again = again
        self._blueprint_of = blueprint_of

    def serve(self) -> None:
        """Hands claimable resources to those who wait, in their order."""
        line, members = self._line, self._members
        while (resource := members.first_claimable()) is not None:
            if line.choosy and self._selecting is not None:
                self._selecting.look_a_little()
                picked = line.pick(members)
                if picked is None:
                    return
                self._hand_over(*picked)
                continue
            waiter = line.next(members.ready)
            if waiter is None:
                return
            several = waiter.wants > 1
            found = tuple(islice(members.claimable(), waiter.wants)) if several else (resource,)
            self._hand_over(waiter, found)

    def selector(self, source: str) -> Selector:
        """Finds resources for claims that select; `source` compiles for the present blueprint."""
        if self._selecting is None:
            self._selecting = Selecting(
                self._services,
                self._pool,
                self._members,
                blueprint_of=self._blueprint_of,
                serve=self._again,
            )
        return self._selecting.selector(source)

    def _hand_over(self, waiter: Waiter, resources: tuple[Resource, ...]) -> None:
        if waiter.offer(*resources):
            self._line.served(waiter.claim.id)
            now = self._services.clock.now()
            for resource in resources:
                self._take(resource, now)
        else:
            self._line.leave(waiter.claim.id)
