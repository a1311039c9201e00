"""The client for asyncio: one method for each call of the socket API."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .async_claim import AsyncClaim
from .async_http import AsyncTransport
from .documents import (
    OVER,
    ClaimInfo,
    Document,
    Listing,
    Reply,
    claim_info,
    document_of,
    events_of,
    items,
)
from .durations import Span
from .errors import StokerError
from .places import find_socket
from .requests import (
    MOST,
    Bind,
    Request,
    claim_request,
    list_request,
    release_request,
    renew_request,
    show_request,
)
from .retrying import PATIENCE, Attempts, Lost, give_up, late


class AsyncStoker:
    """A daemon at the other end of a Unix socket. For one event loop.

    `socket`: its path; else `$STOKER_SOCKET`, else the usual place. `patience`: how long, in
    seconds, to keep trying when an established connection breaks. Every method raises a
    `StokerError`.
    """

    def __init__(self, socket: str | Path | None = None, *, patience: float = PATIENCE) -> None:
        self.socket = find_socket(socket)
        self.patience = patience
        self._transport = AsyncTransport(self.socket)
        self._seen = False

    async def claim(  # noqa: PLR0913 - what a claim may say, as the API has it
        self,
        pool: str,
        *,
        params: Mapping[str, Any] | None = None,
        ttl: Span | None = None,
        wait: Span | None = None,
        key: str | None = None,
        reason: str | None = None,
        labels: Mapping[str, str] | None = None,
        bind: Bind | None = None,
        on_lost: Callable[[StokerError], None] | None = None,
    ) -> AsyncClaim:
        """Claims a resource of the pool.

        With `wait`, returns a bound claim or raises `Unavailable` after that long. Without it,
        the claim may still be pending: entering it (`with`) waits until it is bound.

        `key` is the Idempotency-Key: the same key and arguments give the same claim, also from
        another process. `bind` says what ends the claim beside time: with `"process"` the end of this
        process, however it ends; with `"connection"` the end of a connection that the claim holds
        (closed by `release`, and with this process). `on_lost` is called once, in the event loop, when an entered claim is found
        to be over or could not be renewed in time.
        """
        request = claim_request(
            pool,
            key=key,
            params=params,
            ttl=ttl,
            wait=wait,
            reason=reason,
            labels=labels,
            bind=bind,
        )
        reply = await self._answer(request)
        info = claim_info(document_of(reply))
        return AsyncClaim(self, info, ttl=ttl, on_lost=on_lost, line=reply.line)

    async def renew(self, claim: str, ttl: Span | None = None) -> ClaimInfo:
        """The claim now ends `ttl` from now (its own ttl when none is given)."""
        return claim_info(await self.request(renew_request(claim, ttl)))

    async def release(self, claim: str) -> ClaimInfo | None:
        """Ends the claim. Releasing one that is over is harmless."""
        reply = await self.request(release_request(claim))
        return claim_info(reply) if reply.get("id") else None

    async def show(self, claim: str, *, wait: Span | None = None) -> ClaimInfo:
        """One claim; with `wait`, once it has left `pending`, at the latest after that long."""
        return claim_info(await self.request(show_request("claims", claim, wait=wait)))

    async def claims(
        self,
        *,
        pool: str | None = None,
        state: str | None = None,
        label: str | None = None,
        all: bool = False,  # noqa: A002 - the word of the command line
    ) -> Listing[ClaimInfo]:
        """The claims that are not over; with `all`, then the newest that are. Without secrets."""
        found = Listing[ClaimInfo]()
        for one in (None, *OVER) if all and state is None else (state,):
            filters = {"pool": pool, "state": one, "label": label, "limit": MOST}
            reply = await self.request(list_request("claims", filters))
            found.extend(claim_info(document) for document in items(reply))
            found.more = found.more or bool(reply.get("more"))
        return found

    async def pools(self) -> Listing[Document]:
        return items(await self.request(list_request("pools", {"limit": MOST})))

    async def pool(self, name: str) -> Document:
        return await self.request(show_request("pools", name))

    async def resources(
        self, *, pool: str | None = None, state: str | None = None, label: str | None = None
    ) -> Listing[Document]:
        filters = {"pool": pool, "state": state, "label": label, "limit": MOST}
        return items(await self.request(list_request("resources", filters)))

    async def resource(self, name: str) -> Document:
        return await self.request(show_request("resources", name))

    async def status(self) -> Document:
        return await self.request(list_request("status"))

    async def events(
        self,
        *,
        follow: bool = False,
        since: int | None = None,
        **filters: str | int | None,
    ) -> AsyncIterator[Document]:
        """Events with a sequence number above `since`, oldest first.

        With `follow`, goes on for ever as they happen, also over a restart of the daemon: it
        resumes after the last one it has seen. Filters: kind, pool, resource, claim.
        """
        query: dict[str, Any] = {"follow": follow, "since": since, **filters}
        if not follow:
            for event in events_of(await self._answer(list_request("events", query))):
                yield event
            return
        attempts = self._attempts()
        while True:
            async for line in self._follow(list_request("events", query), attempts):
                attempts.begin_anew(time.monotonic())
                if line.strip():
                    event = json.loads(line)
                    query["since"] = int(event.get("seq") or query["since"] or 0)
                    yield event

    async def request(self, request: Request, *, patience: float | None = None) -> Document:
        """Sends it until there is an answer; the JSON object of the answer."""
        return document_of(await self._answer(request, patience))

    async def _answer(self, request: Request, patience: float | None = None) -> Reply:
        attempts = self._attempts(patience)
        while True:
            try:
                reply = await self._transport.send(request)
            except Lost as lost:
                await self._pause(attempts, lost)
            except TimeoutError:
                raise late(self.socket, request) from None
            else:
                self._seen = True
                pause = attempts.pause_of_restart(reply, time.monotonic())
                if pause is None:
                    return reply
                await asyncio.sleep(pause)

    async def _follow(self, request: Request, attempts: Attempts) -> AsyncIterator[bytes]:
        """The lines of one stream until it breaks. The first one is empty: it has begun."""
        try:
            async for line in self._transport.stream(request):
                if isinstance(line, Reply):
                    document_of(line)
                    return
                self._seen = True
                yield line
        except Lost as lost:
            await self._pause(attempts, lost)
        except TimeoutError:
            raise late(self.socket, request) from None

    def _attempts(self, patience: float | None = None) -> Attempts:
        patience = self.patience if patience is None else patience
        return Attempts(patience, time.monotonic(), self._seen)

    async def _pause(self, attempts: Attempts, lost: Lost) -> None:
        pause = attempts.pause_after(lost, time.monotonic())
        if pause is None:
            raise give_up(self.socket, lost) from lost
        await asyncio.sleep(pause)

    async def close(self) -> None:
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
