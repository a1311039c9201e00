"""The synchronous client: one method for each call of the socket API."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .claim import Claim
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
from .unix_http import Transport


class Stoker:
    """A daemon at the other end of a Unix socket. Safe for several threads.

    `socket`: its path; else `$STOKER_SOCKET`, else the usual place. `patience`: how long, in
    seconds, to keep trying when an established connection breaks. Every method raises a
    `StokerError`.
    """

    def __init__(self, socket: str | Path | None = None, *, patience: float = PATIENCE) -> None:
        self.socket = find_socket(socket)
        self.patience = patience
        self._transport = Transport(self.socket)
        self._seen = False

    def claim(  # noqa: PLR0913 - what a claim may say, as the API has it
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
    ) -> Claim:
        """Claims a resource of the pool.

        With `wait`, returns a bound claim or raises `Unavailable` after that long. Without it,
        the claim may still be pending: entering it (`with`) waits until it is bound.

        `key` is the Idempotency-Key: the same key and arguments give the same claim, also from
        another process. `bind` says what ends the claim beside time: with `"process"` the end of this
        process, however it ends; with `"connection"` the end of a connection that the claim holds
        (closed by `release`, and with this process). `on_lost` is called once, from another thread, when an entered claim is
        found to be over or could not be renewed in time.
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
        reply = self._answer(request)
        info = claim_info(document_of(reply))
        return Claim(self, info, ttl=ttl, on_lost=on_lost, line=reply.line)

    def renew(self, claim: str, ttl: Span | None = None) -> ClaimInfo:
        """The claim now ends `ttl` from now (its own ttl when none is given)."""
        return claim_info(self.request(renew_request(claim, ttl)))

    def release(self, claim: str) -> ClaimInfo | None:
        """Ends the claim. Releasing one that is over is harmless."""
        reply = self.request(release_request(claim))
        return claim_info(reply) if reply.get("id") else None

    def show(self, claim: str, *, wait: Span | None = None) -> ClaimInfo:
        """One claim; with `wait`, once it has left `pending`, at the latest after that long."""
        return claim_info(self.request(show_request("claims", claim, wait=wait)))

    def claims(
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
            reply = self.request(list_request("claims", filters))
            found.extend(claim_info(document) for document in items(reply))
            found.more = found.more or bool(reply.get("more"))
        return found

    def pools(self) -> Listing[Document]:
        return items(self.request(list_request("pools", {"limit": MOST})))

    def pool(self, name: str) -> Document:
        return self.request(show_request("pools", name))

    def resources(
        self, *, pool: str | None = None, state: str | None = None, label: str | None = None
    ) -> Listing[Document]:
        filters = {"pool": pool, "state": state, "label": label, "limit": MOST}
        return items(self.request(list_request("resources", filters)))

    def resource(self, name: str) -> Document:
        return self.request(show_request("resources", name))

    def status(self) -> Document:
        return self.request(list_request("status"))

    def events(
        self,
        *,
        follow: bool = False,
        since: int | None = None,
        **filters: str | int | None,
    ) -> Iterator[Document]:
        """Events with a sequence number above `since`, oldest first.

        With `follow`, goes on for ever as they happen, also over a restart of the daemon: it
        resumes after the last one it has seen. Filters: kind, pool, resource, claim.
        """
        query: dict[str, Any] = {"follow": follow, "since": since, **filters}
        if not follow:
            yield from events_of(self._answer(list_request("events", query)))
            return
        attempts = self._attempts()
        while True:
            for line in self._follow(list_request("events", query), attempts):
                attempts.begin_anew(time.monotonic())
                if line.strip():
                    event: Document = json.loads(line)
                    query["since"] = int(event.get("seq") or query["since"] or 0)
                    yield event

    def request(self, request: Request, *, patience: float | None = None) -> Document:
        """Sends it until there is an answer; the JSON object of the answer."""
        return document_of(self._answer(request, patience))

    def _answer(self, request: Request, patience: float | None = None) -> Reply:
        attempts = self._attempts(patience)
        while True:
            try:
                reply = self._transport.send(request)
            except Lost as lost:
                self._pause(attempts, lost)
            except TimeoutError:
                raise late(self.socket, request) from None
            else:
                self._seen = True
                pause = attempts.pause_of_restart(reply, time.monotonic())
                if pause is None:
                    return reply
                time.sleep(pause)

    def _follow(self, request: Request, attempts: Attempts) -> Iterator[bytes]:
        """The lines of one stream until it breaks. The first one is empty: it has begun."""
        try:
            for line in self._transport.stream(request):
                if isinstance(line, Reply):
                    document_of(line)
                    return
                self._seen = True
                yield line
        except Lost as lost:
            self._pause(attempts, lost)
        except TimeoutError:
            raise late(self.socket, request) from None

    def _attempts(self, patience: float | None = None) -> Attempts:
        patience = self.patience if patience is None else patience
        return Attempts(patience, time.monotonic(), self._seen)

    def _pause(self, attempts: Attempts, lost: Lost) -> None:
        pause = attempts.pause_after(lost, time.monotonic())
        if pause is None:
            raise give_up(self.socket, lost) from lost
        time.sleep(pause)

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
