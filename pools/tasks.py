"""The background tasks of the pools: named, owned, ended together, and never silent in failure."""

import asyncio
import logging
from collections.abc import Callable, Coroutine

log = logging.getLogger(__name__)


class Tasks:
    """Starts tasks and keeps them until they end.

    An exception that reaches a task's end is a defect: it is logged with its traceback and told
    to `on_defect` (the simulator fails there; the daemon counts it).
    """

    def __init__(self, on_defect: Callable[[BaseException], None] | None = None) -> None:
        self._running: dict[asyncio.Task[object], None] = {}  # ordered, so that ends are too
        self._on_defect = on_defect

    def __len__(self) -> int:
        return len(self._running)

    def start(self, work: Coroutine[object, object, object], name: str) -> asyncio.Task[object]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running[task] = None
        task.add_done_callback(self._ended)
        return task

    async def close(self, grace: float = 0.0) -> None:
        """Waits up to `grace` seconds for the tasks to end, then cancels what is left."""
        if self._running and grace > 0:
            await asyncio.wait(list(self._running), timeout=grace)
        left = list(self._running)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._running.pop(task, None)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.error("the task %s failed", task.get_name(), exc_info=error)
            if self._on_defect is not None:
                self._on_defect(error)
