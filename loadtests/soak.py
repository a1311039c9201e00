"""`make soak`: kills the real daemon with -9 again and again under claim load, and counts lies.

    python -m loadtests.soak [--minutes 10] [--seed N]

Callers claim, ask again, hold, renew, let go and let expire, each with an Idempotency-Key,
and repeat whatever was not answered. Meanwhile the daemon is killed at random moments and started
again on the same state. What must hold is in `loadtests.promises`; at the end everything is
given back, the pools are emptied, and nothing may be left on the host. The exit code is 1 when a
promise was broken.
"""

import argparse
import asyncio
import os
import random
import signal
import time
from contextlib import suppress

import uvloop

from .callers import Caller
from .promises import Broken, Promises
from .scale import folder
from .soak_subject import SoakSubject

CALLERS = 12
CALM = (0.2, 3.0)
"""Seconds between a start and the next kill: from and to."""


async def soak(minutes: float, seed: int) -> Promises:
    """Returns what was counted; raises `Broken` for a promise that was not kept."""
    chance = random.Random(seed)
    promises = Promises()
    with folder() as where:
        subject = SoakSubject(where)
        try:
            await subject.prepare()
            await _under_load(subject, promises, chance, minutes * 60)
            await _clear(subject, promises)
        except BaseException:
            subject.show_log()
            raise
        finally:
            await subject.clean_up()
    return promises


async def _under_load(
    subject: SoakSubject, promises: Promises, chance: random.Random, seconds: float
) -> None:
    stop = asyncio.Event()
    callers = [
        Caller(number, subject, promises, random.Random(chance.random()))
        for number in range(CALLERS)
    ]
    async with asyncio.TaskGroup() as group:
        for caller in callers:
            group.create_task(caller.work(stop), name=f"caller {caller.number}")
        group.create_task(_kill_again_and_again(subject, promises, chance, seconds), name="killer")
        group.create_task(_ring(stop, seconds), name="bell")


async def _ring(stop: asyncio.Event, seconds: float) -> None:
    await asyncio.sleep(seconds)
    stop.set()


async def _kill_again_and_again(
    subject: SoakSubject, promises: Promises, chance: random.Random, seconds: float
) -> None:
    """Kills at moments that have nothing to do with the load; the last start stays."""
    until = time.monotonic() + seconds
    told = time.monotonic()
    while time.monotonic() < until:
        await asyncio.sleep(chance.uniform(*CALM))
        os.kill(subject.pid, signal.SIGKILL)
        await subject.gone()
        promises.kills += 1
        await asyncio.sleep(chance.choice([0.0, 0.0, 0.3]))
        promises.started(await subject.start())
        await promises.compare(subject)
        if time.monotonic() - told > 10:
            told = time.monotonic()
            print(promises.line(), flush=True)


async def _clear(subject: SoakSubject, promises: Promises) -> None:
    """Gives everything back, then empties the pools: the host must be as it was."""
    for claim in list(promises.held):
        await subject.release(claim)
        promises.let_go(claim)
    await subject.until_converged()
    await subject.empty()
    left = subject.what_exists()
    if left:
        raise Broken(f"left on the host after everything was given back: {left}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="loadtests.soak", description="kill -9 under claim load")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"soak: {options.minutes:g} minutes, seed {options.seed}", flush=True)
    try:
        promises = uvloop.run(soak(options.minutes, options.seed))
    except (Broken, ExceptionGroup) as broken:
        print(f"soak: BROKEN: {broken}")
        if isinstance(broken, ExceptionGroup):
            for each in broken.exceptions:
                print(f"  {type(each).__name__}: {each}")
        return 1
    print(promises.line())
    print("soak: every promise was kept")
    return 0


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        raise SystemExit(main())
