"""The synchronous client: one method for each call of the socket API."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
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
    reached,
)
from .durations import Span, seconds
from .errors import StokerError
from .places import find_socket
from .requests import (
    ANSWER_WITHIN,
    MOST,
    Bind,
    Pools,
    Request,
    claim_request,
    decide_request,
    explain_request,
    list_request,
    new_key,
    operate_host_request,
    operate_request,
    release_request,
    renew_request,
    show_request,
    steer_request,
    sync_request,
)
from .retrying import (
    PATIENCE,
    TAKE_BACK_WITHIN,
    Attempts,
    Lost,
    give_up,
    late,
    not_told,
)
from .tokens import GivenToken, TokenSource
from .unix_http import Transport


class Stoker:
    """A daemon at the other end of a Unix socket. Safe for several threads.

    `socket`: its path; else `$STOKER_SOCKET`, else the usual place. `token`: a bearer token, or what
    returns one for each request; else what `$STOKER_TOKEN_FILE` holds then, if it is set. `patience`: how long, in
    seconds, to keep trying when an established connection breaks. `timeout`: how long, in seconds,
    an answer may take beyond what the daemon was asked to wait. Every method raises a
    `StokerError`.
    """

    def __init__(
        self,
        socket: str | Path | None = None,
        *,
        token: GivenToken = None,
        patience: float = PATIENCE,
        timeout: float = ANSWER_WITHIN,
    ) -> None:
        self.socket = find_socket(socket)
        self._tokens = TokenSource(token)
        self.patience = patience
        self.timeout = timeout
        self._transport = Transport(self.socket)
        self._seen = False

    def claim(  # noqa: PLR0913 - what a claim may say, as the API has it
        self,
        pool: Pools,
        *,
        count: int = 1,
        select: str | None = None,
        params: Mapping[str, Any] | None = None,
        ttl: Span | None = None,
        wait: Span | None = None,
        key: str | None = None,
        reason: str | None = None,
        labels: Mapping[str, str] | None = None,
        bind: Bind | None = None,
        break_glass: bool = False,
        on_lost: Callable[[StokerError], None] | None = None,
    ) -> Claim:
        """Claims a resource of the pool, or `count` of them: all or none.

        `pool` may be a list of pools, best first, or a mapping of labels that pools have: the first
        that can serves. `select` is a CEL expression over `resource` and `outputs` that each has to
        fulfil.

        With `wait`, returns a bound claim or raises `Unavailable` after that long. Without it,
        the claim may still be pending, as it may be in any case when somebody has to approve it: entering it (`with`) waits until it is bound.

        `key` is the Idempotency-Key: the same key and arguments give the same claim, also from
        another process. `bind` says what ends the claim beside time: with `"process"` the end of this
        process, however it ends; with `"connection"` the end of a connection that the claim holds
        (closed by `release`, and with this process). `on_lost` is called once, from another thread, when an entered claim is
        found to be over or could not be renewed in time.
        """
        unknown = key is None and bind != "connection"  # that one ends with its connection
        given = partial(
            claim_request,
            pool,
            count=count,
            select=select,
            key=new_key() if unknown else key,
            params=params,
            ttl=ttl,
            reason=reason,
            labels=labels,
            bind=bind,
            break_glass=break_glass,
        )
        try:
            reply = self._claimed(given, wait)
        except BaseException as error:
            if unknown and not_told(error):
                self._take_back(given())
            raise
        info = claim_info(document_of(reply))
        return Claim(self, info, ttl=ttl, on_lost=on_lost, line=reply.line)

    def renew(self, claim: str, ttl: Span | None = None) -> ClaimInfo:
        """The claim now ends `ttl` from now (its own ttl when none is given)."""
        return claim_info(self.request(renew_request(claim, ttl)))

    def release(self, claim: str) -> ClaimInfo | None:
        """Ends the claim. Releasing one that is over is harmless."""
        reply = self.request(release_request(claim))
        return claim_info(reply) if reply.get("id") else None

    def decide(self, claim: str, word: str, *, reason: str | None = None) -> ClaimInfo:
        """`word`: "approve" or "reject", of a claim of somebody else that asks for it."""
        return claim_info(self.request(decide_request(claim, word, reason=reason)))

    def show(self, claim: str, *, wait: Span | None = None) -> ClaimInfo:
        """One claim; with `wait`, once it has left `pending`, at the latest after that long."""
        return claim_info(self.request(show_request("claims", claim, wait=wait)))

    def claims(
        self,
        *,
        pool: str | None = None,
        state: str | None = None,
        label: str | None = None,
        approval: str | None = None,
        all: bool = False,  # noqa: A002 - the word of the command line
    ) -> Listing[ClaimInfo]:
        """The claims that are not over; with `all`, then the newest that are. Without secrets."""
        found = Listing[ClaimInfo]()
        for one in (None, *OVER) if all and state is None else (state,):
            filters = {
                "pool": pool,
                "state": one,
                "label": label,
                "approval": approval,
                "limit": MOST,
            }
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

    def explain(self, kind: str, name: str) -> Document:
        """Why a `pool`, `claim`, `resource` or `blueprint` is as it is, in sentences."""
        return self.request(explain_request(kind, name))

    def operate(
        self,
        kind: str,
        name: str,
        action: str,
        *,
        reason: str | None = None,
        until: str | None = None,
    ) -> Document:
        """What an operator does to one of the `pools` (pause, resume, drain, refresh) or `resources`
        (hold, unhold, retire); returns it as it is then. `until`: `90m`, or an RFC 3339 moment.
        """
        request = operate_request(kind, name, action, reason=reason, until=until)
        return self.request(request)

    def operate_host(
        self, action: str, *, reason: str | None = None, until: str | None = None
    ) -> Document:
        """What an operator does to the whole host (freeze, thaw, drain, resume); returns what is set
        on it then. `until`: `90m`, or an RFC 3339 moment.
        """
        return self.request(operate_host_request(action, reason=reason, until=until))

    def status(self) -> Document:
        return self.request(list_request("status"))

    def revisions(self) -> Listing[Document]:
        """The revisions that were applied and can be gone back to, the last one first."""
        return items(self.request(list_request("config/revisions")))

    def revision(self, name: str) -> Document:
        """One of them, with its files. `name`: its id, or the beginning of its commit."""
        return self.request(show_request("config/revisions", name))

    def standing(self) -> Document:
        """What a new revision is compared with (`StandingJson`)."""
        return self.request(list_request("config/standing"))

    def steer(
        self,
        action: str,
        *,
        revision: str | None = None,
        reason: str | None = None,
        until: str | None = None,
        accept: bool = False,
    ) -> Document:
        """What an operator decides about revisions; returns what came of it (`SyncJson`).

        `accept`: applies the held `revision`; `pin`: stays at one (the one that serves when none is
        given); `rollback`: applies an earlier one again (the one before) and pins it, with
        `accept` also if that destroys too much; `unpin`.
        """
        request = steer_request(
            action, revision=revision, reason=reason, until=until, accept=accept
        )
        return self.request(request)

    def sync(self) -> Document:
        """Makes the daemon look for a new configuration now; says what came of it (`SyncJson`)."""
        return self.request(sync_request())

    def events(
        self,
        *,
        follow: bool = False,
        since: int | None = None,
        **filters: str | int | None,
    ) -> Iterator[Document]:
        """Events with a sequence number above `since`, oldest first.

        With `follow`, goes on for ever as they happen, also over a restart of the daemon: it
        resumes after the last one it has seen. Filters: kind, pool, resource, claim, request.
        """
        query: dict[str, Any] = {"follow": follow, "since": since, **filters}
        if not follow:
            yield from events_of(self._answer(list_request("events", query)))
            return
        if since is None:  # or what happens between two connections could be missed
            newest = events_of(self._answer(list_request("events", {"limit": 1})))
            query["since"] = next((reached(event) for event in newest), 0)
        attempts = self._attempts()
        while True:
            for line in self._follow(list_request("events", query), attempts):
                attempts.begin_anew(time.monotonic())
                if line.strip():
                    event: Document = json.loads(line)
                    query["since"] = reached(event, query["since"])
                    yield event

    def _claimed(self, given: Callable[..., Request], wait: Span | None) -> Reply:
        """The answer to a claim. Sent again, it waits for what is left of its wait."""
        if wait is None:
            return self._answer(given())
        deadline = time.monotonic() + seconds(wait)
        return self._answer(
            given(wait=wait), anew=lambda: given(wait=max(0.0, deadline - time.monotonic()))
        )

    def _take_back(self, request: Request) -> None:
        """Nobody knows the claim's id, nor will: asked with the same key it is told, and ended."""
        with suppress(StokerError):
            again = replace(request, timeout=TAKE_BACK_WITHIN)
            reply = self.request(again, patience=0)
            self.request(replace(release_request(str(reply["id"])), timeout=TAKE_BACK_WITHIN))

    def request(self, request: Request, *, patience: float | None = None) -> Document:
        """Sends it until there is an answer; the JSON object of the answer."""
        return document_of(self._answer(request, patience))

    def _answer(
        self,
        request: Request,
        patience: float | None = None,
        *,
        anew: Callable[[], Request] | None = None,
    ) -> Reply:
        """`anew` makes the request that is sent after a loss; the same one when it is None."""
        request = request.bounded(self.timeout)
        attempts = self._attempts(patience)
        while True:
            try:
                reply = self._transport.send(self._tokens.sign(request))
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
            if anew is not None:
                request = anew().bounded(self.timeout)

    def _follow(self, request: Request, attempts: Attempts) -> Iterator[bytes]:
        """The lines of one stream until it breaks. The first one is empty: it has begun."""
        request = request.bounded(self.timeout)
        try:
            for line in self._transport.stream(self._tokens.sign(request)):
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
