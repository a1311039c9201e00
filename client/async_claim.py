"""A claim in the hands of an asyncio caller: renewed while it is open, released at the end."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .documents import ClaimInfo, Line, claim_info, lost_before, refusal_of
from .durations import Span
from .errors import NotFound, StokerError
from .renewal import Renewal, boottime, claim_lost, unforeseen
from .requests import renew_request

if TYPE_CHECKING:
    from .async_client import AsyncStoker

POLL = 10.0
"""Seconds of one long poll."""
RELEASE_WITHIN = 5.0
"""Seconds that a release gets when the caller is cancelled meanwhile."""


class AsyncClaim:
    """One claim. As an async context manager it waits until bound, renews, and releases on exit.

    Without `async with`, nothing happens by itself: call `renew` and `release`.
    """

    def __init__(
        self,
        stoker: "AsyncStoker",
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
        self._renewing = asyncio.Lock()
        """Held during a renewal, so that the one that was asked for last is the one that counts."""
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

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

    async def wait(self, timeout: float | None = None) -> Self:  # noqa: ASYNC109 - as `Claim.wait`
        """Returns once bound. Raises why it never will be, or TimeoutError (it goes on waiting)."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.info.waiting:
            left = POLL if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"the claim {self.id} is still {self.state}")
            self.info = await self._stoker.show(self.id, wait=min(left, POLL))
        if self.info.over:
            raise refusal_of(self.info)
        return self

    def check(self) -> None:
        """Raises `ClaimLost` when the claim was found to be over; costs nothing, asks nobody."""
        if self.lost is not None:
            raise claim_lost(self.id, self.lost) from self.lost

    async def renew(self, ttl: Span | None = None) -> ClaimInfo:
        """The claim now ends `ttl` from now (what it was claimed with when none is given).

        While it is open it goes on being renewed to that width.
        """
        async with self._renewing:
            width = self._ttl if ttl is None else ttl
            self.info = await self._stoker.renew(self.id, width)
            self._ttl = width
            self._take_over()
        self._wake.set()
        return self.info

    async def release(self) -> None:
        """Ends the claim and the renewing. Harmless when the claim is over already."""
        await self.stop_renewing()
        try:
            self.info = await self._stoker.release(self.id) or self.info
        except NotFound as error:
            self.lost = self.lost or error
        else:
            self.lost = self.lost or lost_before(self.info)
        finally:
            if self.line is not None:
                self.line.close()

    def start_renewing(self) -> None:
        """Begins to renew in a task of its own; entering the claim does this."""
        if self._task is None:
            self._take_over()
            self._task = asyncio.create_task(self._keep(), name=f"stoker renews {self.id}")

    async def stop_renewing(self) -> None:
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.wait({task})

    def _take_over(self) -> None:
        """Plans the next renewal by what the daemon said last."""
        now, wall = boottime(), datetime.now(UTC)
        if self._renewal is None:
            self._renewal = Renewal.starting(self.info, now=now, wall=wall)
        else:
            self._renewal.renewed(self.info, now=now, wall=wall)

    async def _keep(self) -> None:
        try:
            reason = await self._renew_until_lost()
        except Exception as error:  # noqa: BLE001 - nobody would learn that renewing has ended
            reason = unforeseen(error)
        self.lost = reason
        if self.on_lost is not None:
            self.on_lost(reason)

    async def _renew_until_lost(self) -> StokerError:
        """Why the claim is lost."""
        renewal = self._renewal
        assert renewal is not None
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(renewal.nap(boottime())):
                    await self._wake.wait()
            self._wake.clear()
            async with self._renewing:
                reason = await self._renew_when_due(renewal)
            if reason is not None:
                return reason

    async def _renew_when_due(self, renewal: Renewal) -> StokerError | None:
        if boottime() < renewal.due:
            return None
        left = max(renewal.expires - boottime(), 0.5)
        request = renew_request(self.id, self._ttl, within=left)
        try:
            reply = await self._stoker.request(request, patience=left)
        except StokerError as error:
            return renewal.failed(error, boottime())
        self.info = claim_info({**self.info.document, **reply})
        self._take_over()
        return None

    async def __aenter__(self) -> Self:
        try:
            await self.wait()
        except BaseException:
            await self._release_after(failing=True)
            raise
        self.start_renewing()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process != os.getpid():
            return  # a fork: the claim is our parent's, who is still at work
        known = self.lost
        await self._release_after(failing=error is not None)
        if self.on_lost is None:
            if error is None:
                self.check()
        elif self.lost is not None and known is None:
            self.on_lost(self.lost)

    async def _release_after(self, *, failing: bool) -> None:
        """An error of the release never hides the error that led to it: the claim then expires.

        A cancellation does not stop the release, which gets a few seconds to be done.
        """
        release = asyncio.create_task(self.release(), name=f"stoker releases {self.id}")
        try:
            await asyncio.shield(release)
        except asyncio.CancelledError:
            await asyncio.wait({release}, timeout=RELEASE_WITHIN)
            raise
        except StokerError:
            if not failing and self.lost is None:
                raise

    def __del__(self) -> None:
        # Nobody holds it any more, so nobody is left who could end it: the connection's end does.
        if self.line is not None:
            with suppress(RuntimeError):  # the loop is closed, and the connection with it
                self.line.close()

    def __repr__(self) -> str:
        return f"<AsyncClaim {self.id} of {self.pool}: {self.state}>"
