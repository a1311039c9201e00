"""The ids of things, and where new ones come from.

A resource's id is its name everywhere: in the ledger, in a provider, in a folder's name. It is
chosen before anything is made, so that after a crash the ledger can tell what may exist.
"""

from collections.abc import Callable
from typing import NewType, Protocol

from .entropy import Entropy

ResourceId = NewType("ResourceId", str)
"""`<pool>-<12 characters>`, for example `web-4kz81rdk3v9q`."""
PartId = NewType("PartId", str)
"""`<resource id>.<part name>`, for example `web-4kz81rdk3v9q.server`. Also the ownership mark."""
ClaimId = NewType("ClaimId", str)
"""`c-<18 characters>`."""

_ALPHABET = b"0123456789abcdefghjkmnpqrstvwxyz"  # 32 signs without i, l, o, u, in ASCII order
_LETTERS = bytes(_ALPHABET[byte & 31] for byte in range(256))
_TICK = 0.01
_TICK_BITS = 35
"""35 bits of hundredths of a second: the order wraps after eleven years, which harms nothing."""


class RandomBytes(Protocol):
    """`Entropy` in production, a seeded source in the simulator."""

    def __call__(self, count: int, /) -> bytes: ...


class Ids:
    """Makes new ids. They begin with the time, so that what is made together lies together.

    Neighbouring rows share pages of the ledger, and the resources that wait longest, which are
    claimed next, are neighbours: a commit writes a fraction of the pages that random ids cost.
    """

    def __init__(
        self,
        now: Callable[[], float],
        random_bytes: RandomBytes | None = None,
    ) -> None:
        self._random_bytes = random_bytes or Entropy()
        self._now = now
        self._ticks = -1
        self._signs = ""

    def resource(self, pool: str) -> ResourceId:
        """7 signs of time and 5 random ones (25 bits for each hundredth of a second)."""
        return ResourceId(f"{pool}-{self._moment()}{self._letters(5)}")

    def claim(self) -> ClaimId:
        """7 signs of time and 11 random ones (55 bits)."""
        return ClaimId(f"c-{self._moment()}{self._letters(11)}")

    def request(self) -> str:
        return f"r-{self._letters(12)}"

    def _moment(self) -> str:
        ticks = int(self._now() / _TICK) & ((1 << _TICK_BITS) - 1)
        if ticks != self._ticks:
            signs = [_ALPHABET[(ticks >> shift) & 31] for shift in range(30, -1, -5)]
            self._ticks, self._signs = ticks, bytes(signs).decode("ascii")
        return self._signs

    def _letters(self, count: int) -> str:
        return self._random_bytes(count).translate(_LETTERS).decode("ascii")


def part_id(resource: ResourceId, part: str) -> PartId:
    return PartId(f"{resource}.{part}")


def resource_of(part: PartId) -> ResourceId:
    """The resource that a part belongs to (part names hold no dot)."""
    return ResourceId(part.rpartition(".")[0])
