"""How the daemon is told to stop, and takes each step of that within its time. Called by `service`."""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Awaitable

log = logging.getLogger(__name__)


END_WITHIN = 1.0
"""Seconds that threads get at the end of the process."""


class Stop(Exception):
    """Somebody asked the daemon to stop."""


async def until_told_to_stop() -> None:
    """Raises `Stop` at TERM or INT; a second one ends the process at once."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()

    def tell() -> None:
        if told.is_set():
            os._exit(130)
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, tell)
    await told.wait()
    raise Stop


def stop_in_peace() -> None:
    """Forgets that the task group, when it broke, cancelled the task that it stood in.

    Python 3.11.2, which Debian 12 has, keeps that counted, after which no `asyncio.timeout` of this task
    ever ends in `TimeoutError`: the first step of the stop that hangs would end the stop.
    """
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()


async def within(seconds: float, step: Awaitable[None], what: str) -> bool:
    """One step of the stop; whether it went well. If it did not, the next ones follow all the same."""
    try:
        async with asyncio.timeout(seconds):
            await step
    except TimeoutError:
        log.error("%s not stop within %gs; what hangs is left behind", what, seconds)  # noqa: TRY400 - no traceback helps
    except Exception:
        log.exception("%s not stop well", what)
    else:
        return True
    return False


def end_soon(code: int) -> None:
    """Called when nothing is left to do but to end the process.

    The interpreter waits for its threads, and one that asks a directory of users which does not answer may
    hang for minutes.
    """
    last_resort = threading.Timer(END_WITHIN, os._exit, (code,))
    last_resort.daemon = True
    last_resort.start()
