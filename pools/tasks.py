"""The background tasks of the pools: named, owned, ended together, and never silent in failure."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)

CANCEL_WITHIN = 5.0
"""Seconds that cancelled tasks may take to end; a task that hangs must not hang the stop."""


class Tasks:
    """Starts tasks and keeps them until they end.

    An exception that reaches a task's end is a defect: it is logged with its traceback and told
    to `on_defect` (the simulator fails there; the daemon counts it).
    """

    def __init__(self, on_defect: Callable[[BaseException], None] | None = None) -> None:
        self._running: dict[asyncio.Task[object], None] = {}  # ordered, so that ends are too
        self._on_defect = on_defect
        self._closing = False

    def __len__(self) -> int:
        return len(self._running)

    def start(self, work: Coroutine[object, object, object], name: str) -> asyncio.Task[object]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running[task] = None
        task.add_done_callback(self._ended)
        if self._closing:
            task.cancel()  # before its first step: what a cancelled task leaves to others stays undone
        return task

    async def see_through(
        self, work: Coroutine[object, object, T], name: str, *, told: type[Exception]
    ) -> T:
        """Does the work to its end, also when whoever waits for it is cancelled.

        An exception of the kind `told` is raised to who waits, and is no defect.
        """
        outcome: list[T] = []
        refused: list[Exception] = []

        async def run() -> None:
            try:
                outcome.append(await work)
            except told as error:
                refused.append(error)

        await asyncio.shield(self.start(run(), name))
        if refused:
            raise refused[0]
        return outcome[0]

    def report(self, error: BaseException, where: str) -> None:
        """Tells of a defect that somebody caught in order to go on; `where` is a few words."""
        log.error("%s failed, which is a defect", where, exc_info=error)
        if self._on_defect is not None:
            self._on_defect(error)

    async def close(self, grace: float = 0.0) -> None:
        """Waits up to `grace` seconds for the tasks to end, then cancels what is left."""
        if self._running and grace > 0:
            await asyncio.wait(list(self._running), timeout=grace)
        self._closing = True
        for task in self._running:
            task.cancel()
        while self._running:
            _, hanging = await asyncio.wait(list(self._running), timeout=CANCEL_WITHIN)
            for task in hanging:
                log.error("the task %s does not end and is left behind", task.get_name())
            if hanging:
                return

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._running.pop(task, None)
        if task.cancelled():
            if not self._closing:
                self.report(RuntimeError("nobody cancels one"), f"the cut task {task.get_name()}")
            return
        error = task.exception()
        if error is not None:
            self.report(error, f"the task {task.get_name()}")
