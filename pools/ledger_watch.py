"""Notices a ledger that neither takes a write nor refuses it, and sends those away who wait for it.

A disk that hangs answers nothing: no error, no time-out. So the writer's progress is looked at
once a second. When nothing that was handed to it came back for `STALLED_AFTER`, new claims are
refused, and whoever waits for a write is told `ledger-unavailable` instead of nothing. The writes
themselves cannot be called back: each is in doubt until the disk goes on, and then what follows it
follows. A claim with a key whose write succeeded after all belongs to whoever comes back with the
key; one without is ended, as if its caller had hung up.
"""

import asyncio
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager

from .requests import Code, Refusal
from .services import Services

log = logging.getLogger(__name__)

EVERY = 1.0
STALLED_AFTER = 5.0
"""Seconds. A healthy disk writes in milliseconds, and a busy one in less than a second."""


class SentAway(Refusal):
    """The ledger does not answer. What was asked for may yet happen."""

    def __init__(self, what: str) -> None:
        super().__init__(
            Code.LEDGER_UNAVAILABLE,
            f"the ledger has not answered for {STALLED_AFTER:g}s, so it is not known whether {what} "
            "was written down; repeat the request, a claim with the same Idempotency-Key",
            retry_after=STALLED_AFTER,
        )


class LedgerWatch:
    def __init__(self, services: Services, send_away: Callable[[], None]) -> None:
        self._services = services
        self._send_away = send_away
        """Sends away the claimants who wait for a write; called every second of a stall."""
        self._bounded: set[asyncio.Task[object]] = set()
        self._cut: set[asyncio.Task[object]] = set()

    async def run(self) -> None:
        last, silent = 0, 0.0
        while True:
            await asyncio.sleep(EVERY)
            progress = self._services.store.progress()
            silent = silent + EVERY if progress.waiting and progress.answered == last else 0.0
            last = progress.answered
            if silent >= STALLED_AFTER:
                self._stalled()

    @contextmanager
    def bounded(self, what: str) -> Generator[None]:
        """Raises `SentAway` when the ledger stalls while the body waits; what it does may go on."""
        task = asyncio.current_task()
        assert task is not None, "requests are served in tasks"
        self._bounded.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._cut or task.uncancel() > 0:
                raise
            raise SentAway(what) from None
        finally:
            self._bounded.discard(task)
            self._cut.discard(task)

    def _stalled(self) -> None:
        self._services.ledger_stalled(
            f"it has not finished a write for {STALLED_AFTER:g}s; look at the disk of the state folder"
        )
        self._send_away()
        for task in self._bounded - self._cut:
            self._cut.add(task)
            task.cancel()
