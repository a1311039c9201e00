"""When to send again after a lost connection. Pure; shared by both clients.

Every request may be sent twice: reading changes nothing, releasing and renewing are idempotent,
and a claim carries its Idempotency-Key. So a connection that breaks is simply used anew.

A daemon that was there a moment ago is being restarted and is waited for (`patience` seconds); one
that never answered is not, because a person who forgot to start it wants to know at once.
"""

from dataclasses import dataclass, field

from .documents import Reply
from .errors import NoDaemon, StokerError, error_of
from .requests import Request

PATIENCE = 10.0
"""Seconds in which a broken connection is made anew: a restart of the daemon takes less."""
TAKE_BACK_WITHIN = 2.0
"""Seconds for ending a claim whose answer nobody waits for any more."""
NO_ANSWER = "no-answer"
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
    """The attempts at one request. Moments are seconds of any clock.

    Patience counts from the loss, not from the request: one that waits for long may lose its
    connection late. An attempt that stood for longer than the patience ends one outage, so that
    the next has all of it again.
    """

    patience: float
    resumed: float
    """When the present attempt began."""
    seen_before: bool
    """True when this client has had an answer before."""
    _lost_since: float | None = None
    _pause: float = field(default=FIRST_PAUSE)

    def pause_after(self, lost: Lost, now: float) -> float | None:
        """Seconds to wait before the next attempt; None when it is time to give up."""
        if lost.stale:
            return 0.0
        self.seen_before = self.seen_before or lost.connected
        if self._lost_since is None or now - self.resumed > self.patience:
            self._lost_since, self._pause = now, FIRST_PAUSE
        if not self.seen_before or now + self._pause > self._lost_since + self.patience:
            return None
        pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE)
        self.resumed = now + pause
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
        self.resumed, self.seen_before, self._lost_since = now, True, None


def not_told(error: BaseException) -> bool:
    """Whether a claim may exist of which its caller will never know.

    It was interrupted, or waited in vain for the answer. What the daemon refused does not exist.
    """
    return not isinstance(error, StokerError) or error.code == NO_ANSWER


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
        f"The daemon at {socket} has not answered within {request.timeout or 0.0:g} s. "
        "Look at its log: it may be stuck or overloaded.",
        code=NO_ANSWER,
    )
