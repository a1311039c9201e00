"""When to send again after a lost connection. Pure; shared by both clients.

Every request may be sent twice: reading changes nothing, releasing and renewing are idempotent,
and a claim carries its Idempotency-Key. So a connection that breaks is simply used anew.

A daemon that was there a moment ago is being restarted and is waited for (`patience` seconds); one
that never answered is not, because a person who forgot to start it wants to know at once.
"""

from dataclasses import dataclass, field

from .documents import Reply
from .errors import NoDaemon, error_of
from .requests import Request

PATIENCE = 10.0
"""Seconds in which a broken connection is made anew: a restart of the daemon takes less."""
FIRST_PAUSE = 0.02
LONGEST_PAUSE = 0.5
_RESTARTING = (b"stopping", b"starting")


class Lost(Exception):
    """The connection could not be made or broke before the whole answer was there.

    `connected` is False when nobody listened. `stale` is True when an idle connection turned out
    to be closed: then nothing is wrong, and the request goes out again at once.
    """

    def __init__(self, why: str, *, connected: bool, stale: bool = False) -> None:
        super().__init__(why)
        self.connected = connected
        self.stale = stale


@dataclass(slots=True)
class Attempts:
    """The attempts at one request, from `started` (any clock in seconds) on."""

    patience: float
    started: float
    seen_before: bool
    """True when this client has had an answer before."""
    _pause: float = field(default=FIRST_PAUSE)

    def pause_after(self, lost: Lost, now: float) -> float | None:
        """Seconds to wait before the next attempt; None when it is time to give up."""
        if lost.stale:
            return 0.0
        self.seen_before = self.seen_before or lost.connected
        if not self.seen_before or now + self._pause > self.started + self.patience:
            return None
        pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE)
        return pause

    def pause_of_restart(self, reply: Reply, now: float) -> float | None:
        """Seconds to wait when the daemon says that it stops or starts; None for other answers."""
        if reply.status != 503 or not any(code in reply.body for code in _RESTARTING):
            return None
        if error_of(reply.status, reply.headers, reply.body).code not in {"stopping", "starting"}:
            return None
        return self.pause_after(Lost("it restarts", connected=True), now)

    def begin_anew(self, now: float) -> None:
        """The connection stands again."""
        self.started, self.seen_before, self._pause = now, True, FIRST_PAUSE


def give_up(socket: str, lost: Lost) -> NoDaemon:
    """What to tell a person, with what to do about it."""
    return NoDaemon(_sentence(socket, lost))


def _sentence(socket: str, lost: Lost) -> str:
    if lost.connected:
        return (
            f"The daemon at {socket} closed the connection before it answered ({lost}). "
            "Look at its log, then try again."
        )
    if "denied" in str(lost):
        return (
            f"This user may not open the socket {socket} ({lost}): "
            "ask whoever runs the daemon, or name another socket with --socket or STOKER_SOCKET."
        )
    return (
        f"The daemon does not answer at {socket} ({lost}): is it running? "
        "Start it with: stoker run --config DIR"
    )


def late(socket: str, request: Request) -> NoDaemon:
    return NoDaemon(
        f"The daemon at {socket} has not answered within {request.timeout:g} s. "
        "Look at its log: it may be stuck or overloaded.",
        code="no-answer",
    )
