"""The audit as lines of JSON: how an event leaves the ledger, and how it is read back. Pure.

A line is the event's canonical JSON with two members more: `prev`, the hash of the event before, and
`hash`, its own. So each line proves itself, wherever it is kept:

    hash = SHA-256( prev + the line without `prev` and `hash`, keys sorted, no spaces )
"""

import json
import re
from collections.abc import Mapping
from typing import NamedTuple, cast

from ...config.json_types import JsonObject
from ..store import Event
from . import chain

LONGEST_LINE = 4 * 2**20
"""Bytes. No event comes near it."""
_HASH = re.compile(r"[0-9a-f]{64}")
_TEXTS = ("kind", "pool", "resource", "claim", "request", "reason")
_MEMBERS = frozenset({*_TEXTS, "at", "seq", "data", "hash", "prev"})


class Entry(NamedTuple):
    """An event where it was found."""

    event: Event
    previous: str
    """The hash that it says to follow; empty in the ledger, where the row before says it."""
    place: str
    """`the ledger`, or the name of a file and the number of its line."""


class Flaw(NamedTuple):
    """What is no event, though it stands where one should."""

    place: str
    what: str


def write_line(event: Event, previous: str) -> bytes:
    """One line, with its end."""
    links = f',"hash":"{event.hash}","prev":"{previous}"}}\n'.encode()
    return chain.canonical(event)[:-1] + links


def read_line(line: bytes, place: str) -> Entry | Flaw:
    """Takes any spelling of the JSON: what counts is what it says."""
    if len(line) > LONGEST_LINE:
        return Flaw(place, "is longer than any event")
    try:
        found: object = json.loads(line)
    except (ValueError, RecursionError):
        return Flaw(place, "is no JSON: it was cut off or changed")
    if not isinstance(found, dict):
        return Flaw(place, "is no event")
    members = cast("Mapping[str, object]", found)
    odd = sorted(_MEMBERS ^ members.keys())
    if odd:
        return Flaw(place, f"has not the members of an event ({', '.join(odd)[:80]})")
    previous = members["prev"]
    if not isinstance(previous, str) or not previous:
        return Flaw(place, "does not say which hash it follows")
    return entry_of(members, previous, place)


def entry_of(members: Mapping[str, object], previous: str, place: str) -> Entry | Flaw:
    """`members` has all of an event, of whatever kinds: files and rows may have been forged."""
    seq, at, data = members["seq"], members["at"], members["data"]
    texts = [members[name] for name in _TEXTS]
    digest = members["hash"]
    if (
        not isinstance(seq, int)
        or isinstance(seq, bool)
        or not isinstance(at, int | float)
        or isinstance(at, bool)
        or not isinstance(data, dict)
        or not all(isinstance(one, str) for one in texts)
        or not isinstance(digest, str)
        or not _HASH.fullmatch(digest)
        or (previous and not _HASH.fullmatch(previous))
    ):
        return Flaw(place, "has a member of another kind than an event has")
    kind, pool, resource, claim, request, reason = cast("list[str]", texts)
    event = Event(
        seq=seq,
        at=float(at),
        kind=kind,
        pool=pool,
        resource=resource,
        claim=claim,
        request=request,
        reason=reason,
        data=cast("JsonObject", data),
        hash=digest,
    )
    return Entry(event, previous, place)
