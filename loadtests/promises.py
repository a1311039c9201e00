"""What callers were told, and whether it still holds: the memory of a soak.

- A resource serves one claim, ever.
- The same key gives the same claim and the same outputs, secrets included, also after a kill.
- A claim that was answered and is neither let go nor expired is still bound, with its resource.
- What the daemon says exists and what exists on the host agree, once it has settled.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


class Broken(Exception):
    """A promise that was not kept."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a caller was told of its claim."""

    claim: str
    resource: str
    outputs: Mapping[str, Any]
    expires_at: float
    """Wall-clock seconds."""


class Asked(Protocol):
    """Who can say what a claim is now; None when there is no such claim."""

    async def show(self, claim: str) -> dict[str, Any] | None: ...


@dataclass(slots=True)
class Promises:
    """Everything told so far, and how often what happened."""

    held: dict[str, Told] = field(default_factory=dict[str, Told])
    """Claims that must be bound: told, not let go, not expired."""
    served: dict[str, str] = field(default_factory=dict[str, str])
    """Resource to the one claim that it may ever serve."""
    claims: int = 0
    replays: int = 0
    renewals: int = 0
    releases: int = 0
    repeats: int = 0
    """Requests sent again because no answer came."""
    kills: int = 0
    slowest_start: float = 0.0

    def told(self, told: Told) -> None:
        """A claim was answered 201 for the first time."""
        other = self.served.setdefault(told.resource, told.claim)
        if other != told.claim:
            raise Broken(f"{told.resource} was given to {other} and to {told.claim}")
        self.held[told.claim] = told
        self.claims += 1

    def told_again(self, first: Told, again: Told) -> None:
        """The same key was answered once more."""
        if (first.claim, first.resource) != (again.claim, again.resource):
            raise Broken(f"the key of {first.claim} was answered with {again.claim}")
        if first.outputs != again.outputs:
            changed = {
                name for name in first.outputs if first.outputs[name] != again.outputs.get(name)
            }
            raise Broken(f"{first.claim} was answered with other outputs: {changed}")
        self.replays += 1

    def let_go(self, claim: str) -> None:
        """From now on nothing is promised of it."""
        if self.held.pop(claim, None) is not None:
            self.releases += 1

    def started(self, seconds: float) -> None:
        self.slowest_start = max(self.slowest_start, seconds)

    async def compare(self, asked: Asked) -> None:
        """After a start: every claim that is held is still bound to its resource."""
        for told in list(self.held.values()):
            now = await asked.show(told.claim)
            if told.claim not in self.held:
                continue  # let go while we asked
            if now is None:
                raise Broken(f"{told.claim} was answered and is forgotten")
            resources = [one["id"] for one in now["resources"]]
            if now["state"] != "bound" or resources != [told.resource]:
                raise Broken(
                    f"{told.claim} was bound to {told.resource}, and is {now['state']}"
                    f" ({now.get('endedBecause', '')}) with {resources}"
                )

    def line(self) -> str:
        return (
            f"soak: {self.kills} kills, {self.claims} claims, {self.replays} replays, "
            f"{self.renewals} renewals, {self.releases} released, {self.repeats} repeated, "
            f"slowest start {self.slowest_start:.2f} s"
        )
