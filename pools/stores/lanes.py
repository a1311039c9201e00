"""What waits to be written: urgent jobs, and behind them the rest in small helpings."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..store import StoreError
from .chain import Draft
from .transaction import Statement

URGENT_BATCH = 512
"""So many urgent transactions at most share one commit: none waits longer than their writing."""
BACKGROUND_BATCH = 32
"""At most so many others: an urgent one that comes meanwhile waits a millisecond or two at worst."""
BACKGROUND_BESIDE_URGENT = 4
"""Others that ride with urgent ones, so that constant claims never starve them."""


@dataclass(slots=True, eq=False)
class Job:
    """One transaction on its way to the disk, and who waits for it."""

    statements: Sequence[Statement]
    events: Sequence[Draft]
    done: "Callable[[Job], None]"
    """Called once in the event loop, when the job has its `changed` or its `error`."""
    changed: int = field(default=0, init=False)
    """How many rows were."""
    error: StoreError | None = field(default=None, init=False)


class Lanes:
    """Two queues. Filled in the event loop, emptied by the writer: deques need no lock for that."""

    def __init__(self) -> None:
        self._urgent: deque[Job] = deque()
        self._background: deque[Job] = deque()

    def __len__(self) -> int:
        return len(self._urgent) + len(self._background)

    def add(self, job: Job, *, urgent: bool) -> None:
        (self._urgent if urgent else self._background).append(job)

    def take(self) -> list[Job]:
        """The next commit's jobs, oldest first within each lane; empty when nothing waits."""
        batch = _pop(self._urgent, URGENT_BATCH)
        beside = BACKGROUND_BESIDE_URGENT if batch else BACKGROUND_BATCH
        batch.extend(_pop(self._background, beside))
        return batch


def _pop(lane: deque[Job], most: int) -> list[Job]:
    return [lane.popleft() for _ in range(min(len(lane), most))]
