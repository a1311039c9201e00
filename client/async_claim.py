"""A claim in the hands of an asyncio caller: renewed while it is open, released at the end."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .documents import ClaimInfo, Line, claim_info, refusal_of
from .durations import Span
from .errors import Conflict, NotFound, StokerError
from .renewal import Renewal, boottime
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
        self._stoker = stoker
        self._ttl = ttl
        self.on_lost = on_lost
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
        return self.info.outputs

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

    async def renew(self, ttl: Span | None = None) -> ClaimInfo:
        """The claim now ends `ttl` from now (what it was claimed with when none is given)."""
        self.info = await self._stoker.renew(self.id, self._ttl if ttl is None else ttl)
        return self.info

    async def release(self) -> None:
        """Ends the claim and the renewing. Harmless when the claim is over already."""
        await self.stop_renewing()
        try:
            self.info = await self._stoker.release(self.id) or self.info
        except (NotFound, Conflict):
            return
        finally:
            if self.line is not None:
                self.line.close()

    def start_renewing(self) -> None:
        """Begins to renew in a task of its own; entering the claim does this."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name=f"stoker renews {self.id}")

    async def stop_renewing(self) -> None:
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.wait({task})

    async def _keep(self) -> None:
        renewal = Renewal.starting(self.info, now=boottime(), wall=datetime.now(UTC))
        while True:
            await asyncio.sleep(renewal.nap(boottime()))
            if boottime() < renewal.due:
                continue
            left = max(renewal.expires - boottime(), 0.5)
            request = renew_request(self.id, self._ttl, within=left)
            try:
                reply = await self._stoker.request(request, patience=left)
            except StokerError as error:
                self.lost = renewal.failed(error, boottime())
                if self.lost is not None:
                    break
            else:
                self.info = claim_info({**self.info.document, **reply})
                renewal.renewed(self.info, now=boottime(), wall=datetime.now(UTC))
        if self.on_lost is not None:
            self.on_lost(self.lost)

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
        await self._release_after(failing=error is not None)

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
            if not failing:
                raise

    def __del__(self) -> None:
        # Nobody holds it any more, so nobody is left who could end it: the connection's end does.
        if self.line is not None:
            with suppress(RuntimeError):  # the loop is closed, and the connection with it
                self.line.close()

    def __repr__(self) -> str:
        return f"<AsyncClaim {self.id} of {self.pool}: {self.state}>"
