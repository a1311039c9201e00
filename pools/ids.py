"""The ids of things, and where new ones come from.

A resource's id is its name everywhere: in the ledger, in a provider, in a folder's name. It is
chosen before anything is made, so that after a crash the ledger can tell what may exist.
"""

from typing import NewType, Protocol

from .entropy import Entropy

ResourceId = NewType("ResourceId", str)
"""`<pool>-<8 characters>`, for example `web-k3v9q2xa`."""
PartId = NewType("PartId", str)
"""`<resource id>.<part name>`, for example `web-k3v9q2xa.server`. Also the ownership mark."""
ClaimId = NewType("ClaimId", str)
"""`c-<16 characters>`."""

_ALPHABET = b"abcdefghjkmnpqrstvwxyz0123456789"  # 32 letters without i, l, o, u: safe to read aloud
_LETTERS = bytes(_ALPHABET[byte & 31] for byte in range(256))


class RandomBytes(Protocol):
    """`Entropy` in production, a seeded source in the simulator."""

    def __call__(self, count: int, /) -> bytes: ...


class Ids:
    """Makes new ids from random bytes (5 bits a character: 40 bits a resource, 80 a claim)."""

    def __init__(self, random_bytes: RandomBytes | None = None) -> None:
        self._random_bytes = random_bytes or Entropy()

    def resource(self, pool: str) -> ResourceId:
        return ResourceId(f"{pool}-{self._letters(8)}")

    def claim(self) -> ClaimId:
        return ClaimId(f"c-{self._letters(16)}")

    def request(self) -> str:
        return f"r-{self._letters(12)}"

    def _letters(self, count: int) -> str:
        return self._random_bytes(count).translate(_LETTERS).decode("ascii")


def part_id(resource: ResourceId, part: str) -> PartId:
    return PartId(f"{resource}.{part}")


def resource_of(part: PartId) -> ResourceId:
    """The resource that a part belongs to (part names hold no dot)."""
    return ResourceId(part.rpartition(".")[0])
