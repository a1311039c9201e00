"""What is written down in one transaction with a revision that is taken over. Pure."""

from dataclasses import dataclass

from ..config.json_types import Json
from ..config.revision import Revision
from .store import NewEvent, Transaction
from .switches import Switch


@dataclass(frozen=True, slots=True)
class Taking:
    """Made once for all tries: an event that is added again after a commit in doubt is told once."""

    events: tuple[NewEvent, ...]
    put: Switch | None = None
    """The pin that is in force from now on."""
    drop: tuple[Switch, ...] = ()
    since: float | None = None
    """When it was applied (steady seconds), if that was in an earlier run; else it is now."""

    def write(self, transaction: Transaction) -> None:
        for switch in self.drop:
            transaction.drop_switch(switch)
        if self.put is not None:
            transaction.put_switch(self.put)
        for event in self.events:
            transaction.add_event(event)


def applied(revision: Revision, accepted: tuple[str, ...] = ()) -> NewEvent:
    """`accepted`: what would have been held, had its own files not accepted it."""
    told = told_of(revision, pools=len(revision.pools))
    if accepted:
        told["accepted"] = list(accepted)
    return NewEvent("config.applied", data=told)


def told_of(revision: Revision, **more: Json) -> dict[str, Json]:
    """What the audit says of a revision; the source of a commit, without which it says little."""
    told: dict[str, Json] = {"revision": revision.id, **more}
    if revision.commit:
        told |= {"commit": revision.commit, "source": revision.source}
    return told
