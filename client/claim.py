"""A claim in the hands of a synchronous caller: renewed while it is open, released at the end."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .documents import ClaimInfo, Line, claim_info, lost_before, refusal_of
from .durations import Span
from .errors import NotFound, StokerError
from .renewal import Renewal, boottime, claim_lost, unforeseen
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
        self.on_lost = on_lost
        self._stoker = stoker
        self._ttl = ttl
        self._process = os.getpid()
        self._renewal: Renewal | None = None
        self._renewing = threading.Lock()
        """Held during a renewal, so that the one that was asked for last is the one that counts."""
        self._wake = threading.Event()
        self._stopped = False
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
        """Of the first resource."""
        return self.info.outputs

    @property
    def each(self) -> tuple[Mapping[str, Any], ...]:
        """The outputs of every resource, in the order of `info.resources`."""
        return self.info.each

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

    def check(self) -> None:
        """Raises `ClaimLost` when the claim was found to be over; costs nothing, asks nobody."""
        if self.lost is not None:
            raise claim_lost(self.id, self.lost) from self.lost

    def renew(self, ttl: Span | None = None) -> ClaimInfo:
        """The claim now ends `ttl` from now (what it was claimed with when none is given).

        While it is open it goes on being renewed to that width.
        """
        with self._renewing:
            width = self._ttl if ttl is None else ttl
            self.info = self._stoker.renew(self.id, width)
            self._ttl = width
            self._take_over()
        self._wake.set()
        return self.info

    def release(self) -> None:
        """Ends the claim and the renewing. Harmless when the claim is over already."""
        self.stop_renewing()
        try:
            self.info = self._stoker.release(self.id) or self.info
        except NotFound as error:
            self.lost = self.lost or error
        else:
            self.lost = self.lost or lost_before(self.info)
        finally:
            if self.line is not None:
                self.line.close()

    def start_renewing(self) -> None:
        """Begins to renew in a thread of its own; entering the claim does this."""
        if self._thread is None:
            self._take_over()
            name = f"stoker renews {self.id}"
            self._thread = threading.Thread(target=self._keep, name=name, daemon=True)
            self._thread.start()

    def stop_renewing(self) -> None:
        self._stopped = True
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=1.0)

    def _take_over(self) -> None:
        """Plans the next renewal by what the daemon said last."""
        now, wall = boottime(), datetime.now(UTC)
        if self._renewal is None:
            self._renewal = Renewal.starting(self.info, now=now, wall=wall)
        else:
            self._renewal.renewed(self.info, now=now, wall=wall)

    def _keep(self) -> None:
        try:
            reason = self._renew_until_lost()
        except Exception as error:  # noqa: BLE001 - nobody would learn that renewing has ended
            reason = unforeseen(error)
        if reason is None or self._stopped:
            return
        self.lost = reason
        if self.on_lost is not None:
            self.on_lost(reason)

    def _renew_until_lost(self) -> StokerError | None:
        """Why the claim is lost; None when there is to be no more renewing."""
        renewal = self._renewal
        assert renewal is not None
        while True:
            self._wake.wait(renewal.nap(boottime()))
            self._wake.clear()
            if self._stopped:
                return None
            with self._renewing:
                reason = self._renew_when_due(renewal)
            if reason is not None:
                return reason

    def _renew_when_due(self, renewal: Renewal) -> StokerError | None:
        if boottime() < renewal.due:
            return None
        left = max(renewal.expires - boottime(), 0.5)
        request = renew_request(self.id, self._ttl, within=left)
        try:
            reply = self._stoker.request(request, patience=left)
        except StokerError as error:
            return renewal.failed(error, boottime())
        self.info = claim_info({**self.info.document, **reply})
        self._take_over()
        return None

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
        if self._process != os.getpid():
            return  # a fork: the claim is our parent's, who is still at work
        known = self.lost
        self._release_after(failing=error is not None)
        if self.on_lost is None:
            if error is None:
                self.check()
        elif self.lost is not None and known is None:
            self.on_lost(self.lost)

    def _release_after(self, *, failing: bool) -> None:
        """An error of the release never hides the error that led to it: the claim then expires."""
        try:
            self.release()
        except StokerError:
            if not failing and self.lost is None:
                raise

    def __del__(self) -> None:
        # Nobody holds it any more, so nobody is left who could end it: the connection's end does.
        if self.line is not None:
            self.line.close()

    def __repr__(self) -> str:
        return f"<Claim {self.id} of {self.pool}: {self.state}>"
