"""Gets a bound claim: at once, or after waiting with a line of progress that people can watch.

Without a terminal the daemon is asked to wait, and the open connection is what says that somebody
still wants the claim. On a terminal the claim is queued and its place in the line is shown.
Whatever ends the wait takes the claim back, so nothing is handed to somebody who has left.
"""

import signal
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any, NoReturn

from ...client import Claim, ClaimInfo, Stoker, StokerError, Unavailable
from ...client.requests import Bind, Pools, Request, claim_request, new_key
from .failing import Ended
from .terminal import about

POLL = 1.0
"""Seconds of a long poll, and so between two looks at the place in the line."""
LONGEST_LINE_WAIT = 3600.0
"""Seconds the daemon keeps a claim on the line."""
TAKE_BACK_WITHIN = 2.0
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for on the command line. `wait` is in seconds."""

    pool: Pools
    count: int = 1
    select: str | None = None
    params: dict[str, Any] = field(default_factory=dict[str, Any])
    ttl: str | None = None
    wait: float = 60.0
    key: str | None = None
    reason: str | None = None
    labels: dict[str, str] = field(default_factory=dict[str, str])
    bind: Bind = "time"
    break_glass: bool = False

    @property
    def pools(self) -> str:
        """For sentences."""
        if isinstance(self.pool, str):
            return f"the pool {self.pool}"
        if isinstance(self.pool, Mapping):
            return "the pools with " + ", ".join(f"{k}={v}" for k, v in self.pool.items())
        return f"the pools {', '.join(self.pool)}"


def obtain(stoker: Stoker, asked: Asked) -> Claim:
    """A bound claim. Raises a `StokerError`, or `Ended` when a signal came first.

    Call it inside `ending_signals`.
    """
    watched = sys.stderr.isatty() and asked.wait > 0
    if watched or asked.wait > LONGEST_LINE_WAIT:
        return _in_the_queue(stoker, asked, shown=watched)
    claim = _post(stoker, asked, wait=asked.wait)
    if _waits_for_approval(claim.info):
        raise _unapproved(claim.info)
    return claim.wait()


def _post(stoker: Stoker, asked: Asked, *, wait: float | None) -> Claim:
    given: dict[str, Any] = {
        # A claim that hangs on its connection needs none: with the connection it is taken back.
        "key": asked.key or (None if asked.bind == "connection" else new_key()),
        "count": asked.count,
        "select": asked.select,
        "params": asked.params,
        "ttl": asked.ttl,
        "wait": wait,
        "reason": asked.reason,
        "labels": asked.labels,
        "bind": None if asked.bind == "time" else asked.bind,
        "break_glass": asked.break_glass,
    }
    try:
        return stoker.claim(asked.pool, **given)
    except Ended:
        if given["key"] is not None:
            _take_back(stoker, replace(claim_request(asked.pool, **given), stays=False))
        raise


def _in_the_queue(stoker: Stoker, asked: Asked, *, shown: bool) -> Claim:
    """The pool bounds how long a claim may queue; when we may wait longer, we queue again."""
    started = time.monotonic()
    while True:
        claim = _post(stoker, asked, wait=None)
        try:
            with _progress(shown=shown) as show:
                while claim.info.waiting:
                    left = started + asked.wait - time.monotonic()
                    if left <= 0 and _waits_for_approval(claim.info):
                        raise _unapproved(claim.info)
                    if left <= 0:
                        vain = _timed_out(asked, claim.info)
                        _give_back(claim)
                        raise vain
                    show(_line(claim, asked, time.monotonic() - started))
                    claim.info = stoker.show(claim.id, wait=min(left, POLL))
            return claim.wait()
        except Unavailable as error:
            left = started + asked.wait - time.monotonic()
            if (
                error.code not in {"wait-timeout", "no-match"}
                or not claim.info.over
                or left <= 0
                or asked.key
            ):
                raise
        except Ended:
            _give_back(claim)
            raise


def _line(claim: Claim, asked: Asked, waited: float) -> str:
    what = claim.pool if isinstance(asked.pool, str) else asked.pools
    if asked.count > 1:
        what = f"{asked.count} of {what}"
    doing = "Finishing" if claim.state == "finishing" else f"Waiting for {what}"
    return f"{doing}{_place(claim.info)} ({waited:.0f} s; Ctrl-C gives up)"


def _place(info: ClaimInfo) -> str:
    if not info.position:
        return ""
    place = f", place {info.position} in the line"
    if info.eta is None:
        return f"{place}, no estimate yet"
    return (
        f"{place}, about {about(info.eta)} to go" if info.eta >= 1 else f"{place}, any moment now"
    )


@contextmanager
def _progress(*, shown: bool) -> Generator[Callable[[str], None]]:
    """Yields what shows a line of progress in place of the one before."""
    written = False

    def show(line: str) -> None:
        nonlocal written
        if shown:
            written = True
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()

    try:
        yield show
    finally:
        if written:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _timed_out(asked: Asked, info: ClaimInfo) -> Unavailable:
    what = "No resource" if asked.count == 1 else f"Fewer than {asked.count} resources"
    look = f"stoker pools {asked.pool}" if isinstance(asked.pool, str) else "stoker pools"
    why = info.waiting_for.get("detail")
    because = f": {why}" if why else ""
    return Unavailable(
        f"{what} of {asked.pools} became ready within {about(asked.wait)}{because}. "
        f"See what holds it up with: {look}",
        code="wait-timeout",
    )


def _waits_for_approval(info: ClaimInfo) -> bool:
    return info.waiting and info.waiting_for.get("code") == "approval"


def _unapproved(info: ClaimInfo) -> Unavailable:
    """It waits on, because somebody who may approve has been asked."""
    return Unavailable(
        f"The claim {info.id} is not approved yet, and waits on: {info.waiting_for.get('detail')}. "
        f"Look at it with: stoker claims {info.id}; give it up with: stoker release {info.id}",
        code="approval",
    )


def _give_back(claim: Claim) -> None:
    with suppress(StokerError):
        claim.release()


def _take_back(stoker: Stoker, request: Request) -> None:
    """The answer may have been on its way: asked with the same key, it comes again and is ended."""
    with suppress(StokerError):
        again = replace(request, timeout=TAKE_BACK_WITHIN)
        stoker.release(str(stoker.request(again, patience=0)["id"]))


@contextmanager
def ending_signals() -> Generator[None]:
    """Turns the signals that end a program into `Ended`, unless they were ignored (nohup)."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        raise Ended(number)

    before = {number: signal.getsignal(number) for number in _ENDING}
    caught = [number for number in _ENDING if before[number] is not signal.SIG_IGN]
    for number in caught:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, before[number])
