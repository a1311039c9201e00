"""A claim in the hands of a synchronous caller: renewed while it is open, released at the end."""

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .documents import ClaimInfo, Line, claim_info, refusal_of
from .durations import Span
from .errors import Conflict, NotFound, StokerError
from .renewal import Renewal, boottime
from .requests import renew_request

if TYPE_CHECKING:
    from .sync_client import Stoker

POLL = 10.0
"""Seconds of one long poll."""


class Claim:
    """One claim. As a context manager it waits until bound, renews, and releases on exit.

    Without `with`, nothing happens by itself: call `renew` and `release`.
    """

    def __init__(
        self,
        stoker: "Stoker",
        info: ClaimInfo,
        *,
        ttl: Span | None = None,
        on_lost: Callable[[StokerError], None] | None = None,
        line: Line | None = None,
    ) -> None:
        self.line = line
        """The connection that it is bound to, if it is: closing it ends the claim."""
        self.info = info
        """The claim as the daemon showed it last."""
        self.lost: StokerError | None = None
        """Why the claim is over although it is still open here; None as long as all is well."""
        self._stoker = stoker
        self._ttl = ttl
        self.on_lost = on_lost
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def pool(self) -> str:
        return self.info.pool

    @property
    def state(self) -> str:
        return self.info.state

    @property
    def resource(self) -> str:
        """The id of the first resource; empty while there is none."""
        return self.info.resources[0] if self.info.resources else ""

    @property
    def outputs(self) -> Mapping[str, Any]:
        return self.info.outputs

    @property
    def expires_at(self) -> datetime | None:
        return self.info.expires_at

    def wait(self, timeout: float | None = None) -> Self:
        """Returns once bound. Raises why it never will be, or TimeoutError (it goes on waiting)."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.info.waiting:
            left = POLL if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"the claim {self.id} is still {self.state}")
            self.info = self._stoker.show(self.id, wait=min(left, POLL))
        if self.info.over:
            raise refusal_of(self.info)
        return self

    def renew(self, ttl: Span | None = None) -> ClaimInfo:
        """The claim now ends `ttl` from now (what it was claimed with when none is given)."""
        self.info = self._stoker.renew(self.id, self._ttl if ttl is None else ttl)
        return self.info

    def release(self) -> None:
        """Ends the claim and the renewing. Harmless when the claim is over already."""
        self.stop_renewing()
        try:
            self.info = self._stoker.release(self.id) or self.info
        except (NotFound, Conflict):
            return
        finally:
            if self.line is not None:
                self.line.close()

    def start_renewing(self) -> None:
        """Begins to renew in a thread of its own; entering the claim does this."""
        if self._thread is None:
            name = f"stoker renews {self.id}"
            self._thread = threading.Thread(target=self._keep, name=name, daemon=True)
            self._thread.start()

    def stop_renewing(self) -> None:
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=1.0)

    def _keep(self) -> None:
        renewal = Renewal.starting(self.info, now=boottime(), wall=datetime.now(UTC))
        while not self._stop.wait(renewal.nap(boottime())):
            if boottime() < renewal.due:
                continue
            try:
                left = max(renewal.expires - boottime(), 0.5)
                reply = self._stoker.request(
                    renew_request(self.id, self._ttl, within=left), patience=left
                )
            except StokerError as error:
                if self._give_up(renewal.failed(error, boottime())):
                    return
            else:
                self.info = claim_info({**self.info.document, **reply})
                renewal.renewed(self.info, now=boottime(), wall=datetime.now(UTC))

    def _give_up(self, reason: StokerError | None) -> bool:
        if reason is None or self._stop.is_set():
            return reason is not None
        self.lost = reason
        if self.on_lost is not None:
            self.on_lost(reason)
        return True

    def __enter__(self) -> Self:
        try:
            self.wait()
        except BaseException:
            self._release_after(failing=True)
            raise
        self.start_renewing()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._release_after(failing=error is not None)

    def _release_after(self, *, failing: bool) -> None:
        """An error of the release never hides the error that led to it: the claim then expires."""
        try:
            self.release()
        except StokerError:
            if not failing:
                raise

    def __del__(self) -> None:
        # Nobody holds it any more, so nobody is left who could end it: the connection's end does.
        if self.line is not None:
            self.line.close()

    def __repr__(self) -> str:
        return f"<Claim {self.id} of {self.pool}: {self.state}>"
