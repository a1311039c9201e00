"""One call of a driver, as the rest of this room wants it: bounded in time, and with no other error
than a `DriverError`.

Drivers promise the second (see `driver`), but a defect in one must not leave a resource half made
for ever. Whatever else comes out of a call is reported as the defect it is, and treated as "cannot
be told", after which everybody knows what to do.
"""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from .driver import Driver, DriverError, Unavailable
from .tasks import Tasks

T = TypeVar("T")


async def ask(driver: Driver, call: Awaitable[T], within: float | None, *, tasks: Tasks) -> T:
    """The call's answer. Raises `DriverError` alone, `Unavailable` after `within` seconds.

    None for `within`: the call never waits (a pure driver's), so it needs no bound.
    """
    try:
        if within is None:
            return await call
        async with asyncio.timeout(within):
            answer = await call
        if _is_cancelled():
            raise asyncio.CancelledError  # the driver has swallowed it, and it was meant for us
        return answer
    except DriverError:
        raise
    except TimeoutError as error:
        raise Unavailable(
            f"the driver {driver.name} did not answer within {within or 0.0:g}s"
        ) from error
    except asyncio.CancelledError as error:
        if _is_cancelled():
            raise
        raise defect(driver, error, tasks) from error  # the driver's own: nobody cancelled us
    except Exception as error:
        raise defect(driver, error, tasks) from error


def defect(driver: Driver, error: BaseException, tasks: Tasks) -> Unavailable:
    """Reports what a driver must not raise; returns what to raise instead."""
    tasks.report(error, f"the driver {driver.name}")
    return Unavailable(f"the driver {driver.name} failed in an unforeseen way: {_named(error)}")


def _is_cancelled() -> bool:
    """Whether somebody wants this task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
