"""What a pool needs of the rest of the fleet, and tells it."""

from collections.abc import Callable
from dataclasses import dataclass

from .dismantling import Dismantler
from .resource import Resource
from .switches import Switch


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What a pool needs of the rest of the fleet."""

    dismantler: Dismantler
    look: Callable[[Resource], None]
    """Told of a resource that has to be observed before it counts as healthy."""
    drained: Callable[[str], None]
    """Told the pool's name when nothing is left of a pool that is no longer declared."""
    keep: Callable[[Resource], None]
    """Told of a ready resource that an operator wanted held when it would be."""
    refreshed: Callable[[Switch], None]
    """Told that every ready resource is newer than that refresh."""
