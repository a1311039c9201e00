"""The kernel's randomness, taken in blocks: a system call for each few bytes is what a claim
would otherwise spend most of its time on.

Every byte is given out once. The daemon never forks without executing another program, so no two
processes share a block.
"""

import os

BLOCK = 4096


class Entropy:
    """`token_bytes(n)`, as `secrets.token_bytes`, from `os.urandom`. For one thread."""

    __slots__ = ("_at", "_block")

    def __init__(self) -> None:
        self._block = b""
        self._at = 0

    def __call__(self, count: int, /) -> bytes:
        end = self._at + count
        if end > len(self._block):
            self._block = os.urandom(max(BLOCK, count))
            self._at, end = 0, count
        taken = self._block[self._at : end]
        self._at = end
        return taken
