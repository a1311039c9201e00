"""The audit's hash chain: each event's hash covers the one before, so that a changed past shows.

    hash(n) = SHA-256( hash(n-1) as 64 hex digits + canonical JSON of event n )

Canonical JSON has every field but the hash, keys sorted, no spaces, UTF-8. Event 1 follows the
genesis hash, SHA-256 of the ledger's id. After a rotation the chain of the ledger starts at a kept
anchor: the number and hash of the last event that was moved to a file (see `segments`).
"""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import orjson

from ..store import Event, NewEvent, StoreCorrupt
from .encoding import Row, decode_object, encode_json, encode_object, text

EVENT_COLUMNS = (
    *("seq", "at", "kind", "pool", "resource", "claim", "request", "reason", "data", "hash"),
)


class Link(NamedTuple):
    """A place in the chain: the number and hash of an event, or of the genesis (number 0)."""

    seq: int
    hash: str


class Draft(NamedTuple):
    """An event, encoded when it was added, before it has a time, a number and a hash."""

    event: NewEvent
    body: bytes
    """The canonical JSON from `claim` to `resource`: `at` sorts before it, `seq` after."""
    data: str | None
    source: NewEvent
    """What was added. Added once more, after a commit in doubt, it is the same event."""


def genesis(ledger: str) -> Link:
    return Link(0, hashlib.sha256(ledger.encode()).hexdigest())


def draft(event: NewEvent, revision: str = "") -> Draft:
    """Strings are made fit for the file first, so that the hash covers what is read back.

    `revision`: what serves; its data say so, unless they say one themselves.
    """
    added = event
    if revision and "revision" not in event.data:
        kind, pool, resource, claim, request, reason, data = event
        data = {**data, "revision": revision}  # `_replace` would take twice as long
        event = NewEvent(kind, pool, resource, claim, request, reason, data)
    free = f"{event.pool}{event.resource}{event.claim}{event.request}{event.reason}"
    kept = event if free.isascii() else _fit(event)
    fields = {
        "claim": kept.claim,
        "data": kept.data,
        "kind": kept.kind,
        "pool": kept.pool,
        "reason": kept.reason,
        "request": kept.request,
        "resource": kept.resource,
    }
    return Draft(kept, encode_json(fields, orjson.OPT_SORT_KEYS), encode_object(event.data), added)


def _fit(event: NewEvent) -> NewEvent:
    return NewEvent(
        kind=event.kind,
        pool=text(event.pool),
        resource=text(event.resource),
        claim=text(event.claim),
        request=text(event.request),
        reason=text(event.reason),
        data=event.data,
    )


def follow(previous: Link, at: float, drafted: Draft) -> Event:
    """The event that comes after `previous`, numbered and hashed."""
    event, seq = drafted.event, previous.seq + 1
    digest = hash_of(previous.hash, _canonical(at, drafted, seq))
    return Event(
        seq=seq,
        at=at,
        kind=event.kind,
        pool=event.pool,
        resource=event.resource,
        claim=event.claim,
        request=event.request,
        reason=event.reason,
        data=event.data,
        hash=digest,
    )


def _canonical(at: float, drafted: Draft, seq: int) -> bytes:
    return b'{"at":%b,%b,"seq":%d}' % (encode_json(at), drafted.body[1:-1], seq)


def canonical(event: Event) -> bytes:
    """The JSON that the hash of an event covers, after the hash of the one before."""
    again = NewEvent(
        kind=event.kind,
        pool=event.pool,
        resource=event.resource,
        claim=event.claim,
        request=event.request,
        reason=event.reason,
        data=event.data,
    )
    return _canonical(event.at, draft(again), event.seq)


def hash_of(previous: str, canonical: bytes) -> str:
    return hashlib.sha256(previous.encode() + canonical).hexdigest()


def encode_event(event: Event, drafted: Draft) -> Row:
    """In the order of `EVENT_COLUMNS`."""
    return (
        event.seq,
        event.at,
        event.kind,
        event.pool,
        event.resource,
        event.claim,
        event.request,
        event.reason,
        drafted.data,
        event.hash,
    )


def decode_event(row: Row) -> Event:
    seq, at, kind, pool, resource, claim, request, reason, data, digest = row
    return Event(
        seq=seq,
        at=at,
        kind=kind,
        pool=pool,
        resource=resource,
        claim=claim,
        request=request,
        reason=reason,
        data=decode_object(data),
        hash=digest,
    )


def verify(start: Link, events: Iterable[Event]) -> Link:
    """Follows the chain from `start`; returns its end. `StoreCorrupt` names the first bad event."""
    link = start
    for event in events:
        if event.seq != link.seq + 1:
            raise StoreCorrupt(
                f"the audit lacks events between {link.seq} and {event.seq}; restore the ledger "
                "from a backup, and find out who deleted them"
            )
        if hash_of(link.hash, canonical(event)) != event.hash:
            raise StoreCorrupt(
                f"event {event.seq} of the audit was changed after it was written; restore the "
                "ledger from a backup, and find out who changed it"
            )
        link = Link(event.seq, event.hash)
    return link
