"""What is sent: one `Request` for each call of the socket API. Pure; shared by both clients."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import quote, urlencode

from .durations import Span, seconds, text

ANSWER_WITHIN = 30.0
"""Seconds a request may take beyond what it asked the daemon to wait, unless told otherwise."""
FINISH_WITHIN = 60.0
"""Seconds more for a claim: its finish parts are made while the caller is on the line."""

SYNC_WITHIN = 60.0
"""Seconds that the daemon may take to find and apply a new configuration."""

MOST = 10_000
"""Items of a list: as many as the daemon gives at once."""
SILENCE = 60.0
"""Seconds without a byte after which a stream counts as dead; the daemon sends an empty line
every 15."""

Bind = Literal["time", "process", "connection"]
"""What ends a claim beside its time and its release."""
Pools = str | Sequence[str] | Mapping[str, str]
"""The pool to claim from; or several, best first; or labels that pools have."""


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    timeout: float | None = None
    """Seconds until the whole answer must be there; None: the client's own, and `waits`."""
    waits: float = 0.0
    """Seconds that the daemon may take because it was asked to."""
    stays: bool = False
    """It goes out on a connection of its own, which stays open with its `Reply`."""

    def bounded(self, timeout: float) -> "Request":
        """With a time-out for sure: its own, or the client's `timeout` and what it waits."""
        if self.timeout is not None:
            return self
        return replace(self, timeout=timeout + self.waits)


def new_key() -> str:
    """An Idempotency-Key that nobody else has: 128 random bits."""
    return os.urandom(16).hex()


def claim_request(  # noqa: C901, PLR0913 - what a claim may say, as the API has it
    pool: Pools,
    *,
    count: int = 1,
    select: str | None = None,
    key: str | None = None,
    params: Mapping[str, Any] | None = None,
    ttl: Span | None = None,
    wait: Span | None = None,
    reason: str | None = None,
    labels: Mapping[str, str] | None = None,
    bind: Bind | None = None,
    break_glass: bool = False,
) -> Request:
    """The claim, with its Idempotency-Key: sent again after a lost answer, byte for byte.

    When no key is given one is made up, unless the claim is bound to its connection: if that
    breaks, the claim ends with it, and what is wanted then is a new one.
    """
    if key is None and bind != "connection":
        key = new_key()
    body: dict[str, Any] = {"pool": _pools(pool)}
    if count != 1:
        body["count"] = count
    if select is not None:
        body["select"] = select
    if params:
        body["params"] = dict(params)
    if ttl is not None:
        body["ttl"] = text(ttl)
    if wait is not None:
        body["wait"] = text(wait)
    if bind is not None:
        body["bind"] = bind
    if break_glass:
        body["breakGlass"] = True
    if reason:
        body["reason"] = reason
    if labels:
        body["labels"] = dict(labels)
    waits = FINISH_WITHIN + (seconds(wait) if wait is not None else 0.0)
    request = _with_body("POST", "/v1/claims", body, waits=waits, key=key)
    return replace(request, stays=True) if bind == "connection" else request


def _pools(pool: Pools) -> Any:
    if isinstance(pool, str):
        return pool
    return {"matchLabels": dict(pool)} if isinstance(pool, Mapping) else list(pool)


def renew_request(claim: str, ttl: Span | None = None, *, within: float | None = None) -> Request:
    """`within`: seconds after which the answer is of no use, because the claim is over."""
    body = {} if ttl is None else {"ttl": text(ttl)}
    timeout = None if within is None else min(within, ANSWER_WITHIN)
    return _with_body("POST", f"{_one('claims', claim)}/renew", body, timeout=timeout)


def release_request(claim: str) -> Request:
    return Request("DELETE", _one("claims", claim))


def decide_request(claim: str, word: str, *, reason: str | None = None) -> Request:
    """`word`: approve or reject. Repeating it is harmless."""
    body = {"reason": reason} if reason else {}
    return _with_body("POST", f"{_one('claims', claim)}/{quote(word, safe='')}", body)


def operate_request(
    kind: str, name: str, action: str, *, reason: str | None = None, until: str | None = None
) -> Request:
    """An operator's action on one of the pools or resources. Repeating one is harmless."""
    given = {"reason": reason, "until": until}
    body = {key: value for key, value in given.items() if value}
    return _with_body("POST", f"{_one(kind, name)}/{quote(action, safe='')}", body)


def operate_host_request(
    action: str, *, reason: str | None = None, until: str | None = None
) -> Request:
    """An operator's action on the whole host. Repeating one is harmless."""
    given = {"reason": reason, "until": until}
    body = {key: value for key, value in given.items() if value}
    return _with_body("POST", f"/v1/{quote(action, safe='')}", body)


def show_request(kind: str, name: str, *, wait: Span | None = None) -> Request:
    """One claim, pool or resource; with `wait`, a claim once it has left `pending`."""
    if wait is None:
        return Request("GET", _one(kind, name))
    path = f"{_one(kind, name)}?{urlencode({'wait': text(wait)})}"
    return Request("GET", path, waits=seconds(wait))


def explain_request(kind: str, name: str) -> Request:
    """`kind` is pool, claim, resource or blueprint."""
    return Request("GET", _one(f"explain/{kind}s", name))


def list_request(kind: str, filters: Mapping[str, Any] | None = None) -> Request:
    """`kind` is claims, pools, resources, status or events; filters that are None are left out."""
    given = {
        name: "1" if value is True else str(value)
        for name, value in (filters or {}).items()
        if value is not None and value is not False and value != ""
    }
    return Request("GET", f"/v1/{kind}" + (f"?{urlencode(given)}" if given else ""))


def sync_request() -> Request:
    return Request("POST", "/v1/config/sync", waits=SYNC_WITHIN)


def steer_request(
    action: str,
    *,
    revision: str | None = None,
    reason: str | None = None,
    until: str | None = None,
    accept: bool = False,
) -> Request:
    """What an operator decides about revisions: `accept`, `pin`, `rollback` or `unpin`."""
    given = {"revision": revision, "reason": reason, "until": until, "accept": accept}
    body = {key: value for key, value in given.items() if value}
    return _with_body("POST", f"/v1/config/{quote(action, safe='')}", body, waits=SYNC_WITHIN)


def _one(kind: str, name: str) -> str:
    return f"/v1/{kind}/{quote(name, safe='')}"


def _with_body(
    method: str,
    path: str,
    body: Mapping[str, Any],
    *,
    timeout: float | None = None,
    waits: float = 0.0,
    key: str | None = None,
) -> Request:
    headers = {"Content-Type": "application/json"}
    if key is not None:
        headers["Idempotency-Key"] = key
    encoded = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    return Request(method, path, encoded, headers, timeout, waits)
