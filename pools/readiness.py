"""When is a part ready? Asks its readiness check until it passes, and again while it is in use.

A check is what a blueprint says under `ready`, rendered: one of

    {"http": "http://127.0.0.1:20001/"}      answers with a status from 200 to 399; over https with
                                             a certificate that is trusted, unless "verify" is false
    {"tcp": "127.0.0.1:20001"}  or  20001    accepts a connection
    {"exec": ["pg_isready", "-h", "…"]}      ends with exit code 0
    {"log": "listening on"}                  a line of the part's log matches (RE2 syntax)

with `within` (how long to go on asking) and `every` (the longest pause between two questions) in
seconds or as a duration such as `10s`. The pools call `wait_until_ready` after a part was made
and `probe` from time to time afterwards.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from ..config.json_types import Json, JsonObject
from ..config.units import UnitError, format_duration, parse_duration
from .clock import Clock
from .driver import Rejected, Unavailable
from .probes import LogSearch, Probes, check_address, check_url

DEFAULT_WITHIN = 30.0
DEFAULT_EVERY = 0.25
FIRST_PAUSE = 0.01
"""Seconds. Most programs are up within a few of these; the pause doubles up to `every`."""
LONGEST_BLINDNESS = 0.25
"""Seconds between two looks at whether the part is still there, whatever `every` says."""
PROBE_TIMEOUT = 5.0
"""Seconds for one question."""

StillThere = Callable[[], Awaitable[None]]
"""Raises a `DriverError` when the part is gone, which ends the waiting at once."""


class NotReady(Unavailable):
    """The check did not pass in time. The message holds what the last question met."""


class CheckKind(StrEnum):
    HTTP = "http"
    TCP = "tcp"
    EXEC = "exec"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Check:
    """A parsed check. `target` has one element, or the words of a command."""

    kind: CheckKind
    target: tuple[str, ...]
    within: float = DEFAULT_WITHIN
    every: float = DEFAULT_EVERY
    verify: bool = True


def parse_check(check: JsonObject) -> Check:
    """Raises `Rejected` when it can never pass as it is."""
    kinds = [kind for kind in CheckKind if kind in check]
    unknown = sorted(set(check) - set(CheckKind) - {"within", "every", "verify"})
    if unknown:
        raise Rejected(
            f"ready has no setting {unknown[0]!r}; it knows {', '.join(CheckKind)}, verify, within, every"
        )
    if len(kinds) != 1:
        raise Rejected(f"ready needs exactly one of {', '.join(CheckKind)}; it has {len(kinds)}")
    return Check(
        kinds[0],
        _target(kinds[0], check[kinds[0]]),
        within=_seconds(check, "within", DEFAULT_WITHIN),
        every=max(FIRST_PAUSE, _seconds(check, "every", DEFAULT_EVERY)),
        verify=check.get("verify") is not False,
    )


def _target(kind: CheckKind, value: Json) -> tuple[str, ...]:
    try:
        match kind:
            case CheckKind.HTTP:
                return (check_url(_text(value)),)
            case CheckKind.TCP:
                text = str(value) if isinstance(value, int) else _text(value)
                return (check_address(text),)
            case CheckKind.EXEC:
                if not isinstance(value, list) or not value:
                    raise ValueError("must be a list: a program and its arguments")
                return tuple([_text(word) for word in value])
            case CheckKind.LOG:
                LogSearch.compile(_text(value))
                return (_text(value),)
    except ValueError as error:
        raise Rejected(f"ready.{kind} {error}") from error


def _text(value: Json) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"must be text, but is {value!r}")
    return value


def _seconds(check: JsonObject, name: str, default: float) -> float:
    value = check.get(name)
    if value is None:
        return default
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except UnitError as error:
            raise Rejected(f"ready.{name}: {error}") from error
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise Rejected(f"ready.{name} must be a duration such as 10s, but is {value!r}")
    return float(value)


class Readiness:
    """Asks checks. One per daemon: it owns the HTTP session and the threads of the questions."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._probes = Probes()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends what is being asked and gives back the session and the threads."""
        await self._probes.close()

    async def wait_until_ready(
        self,
        check: JsonObject,
        *,
        still_there: StillThere | None = None,
        log_path: Path | None = None,
    ) -> None:
        """Returns once the check passes and the part is still there after that.

        Raises `NotReady` when `within` has passed, `Rejected` for a check that makes no sense,
        and whatever `still_there` raises. A passed deadline is followed by one more question, so
        that a host that was suspended meanwhile does not fail what is ready.
        """
        parsed = parse_check(check)
        search = _log_search(parsed, log_path)
        deadline = self._clock.now() + parsed.within
        pause = FIRST_PAUSE
        while True:
            left = deadline - self._clock.now()
            await _look(still_there)
            reason = await self._ask_patiently(parsed, search, left)
            if reason is None:
                # Something else may have answered in its place while it was dying.
                await _look(still_there)
                return
            if left <= 0:
                raise NotReady(f"not ready after {format_duration(parsed.within)}: {reason}")
            await _sleep(min(pause, max(0.0, deadline - self._clock.now())), still_there)
            pause = min(pause * 2, parsed.every)

    async def probe(self, check: JsonObject) -> str | None:
        """None when the check passes now, else what it met, as a sentence.

        Raises `Unavailable` when it cannot be told, because this host is short of something that
        asking needs (file descriptors, memory). A `log` check passes: a line once written counts
        for the rest of the part's life.
        """
        parsed = parse_check(check)
        if parsed.kind is CheckKind.LOG:
            return None
        return await self._ask(parsed, None, PROBE_TIMEOUT)

    async def _ask_patiently(
        self, check: Check, search: LogSearch | None, left: float
    ) -> str | None:
        try:
            return await self._ask(check, search, min(PROBE_TIMEOUT, max(left, 0.1)))
        except Unavailable as error:
            return str(error)

    async def _ask(self, check: Check, search: LogSearch | None, timeout: float) -> str | None:  # noqa: ASYNC109 - handed on to clients that take one
        match check.kind:
            case CheckKind.HTTP:
                return await self._probes.http(check.target[0], timeout, verify=check.verify)
            case CheckKind.TCP:
                return await self._probes.tcp(check.target[0], timeout)
            case CheckKind.EXEC:
                return await self._probes.exec(check.target, timeout)
            case CheckKind.LOG:
                return await self._probes.log(cast("LogSearch", search))


def _log_search(check: Check, log_path: Path | None) -> LogSearch | None:
    if check.kind is not CheckKind.LOG:
        return None
    if log_path is None:
        raise Rejected("ready.log needs a driver that writes a log; use http, tcp or exec here")
    return LogSearch(check.target[0], log_path)


async def _look(still_there: StillThere | None) -> None:
    if still_there is not None:
        await still_there()


async def _sleep(seconds: float, still_there: StillThere | None) -> None:
    """Sleeps, looking now and then whether there is still something to wait for."""
    while seconds > LONGEST_BLINDNESS:
        await asyncio.sleep(LONGEST_BLINDNESS)
        await _look(still_there)
        seconds -= LONGEST_BLINDNESS
    await asyncio.sleep(seconds)
