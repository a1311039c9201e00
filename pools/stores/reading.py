"""What is read from the ledger. Each function takes the connection of the thread it runs in."""

import gc
import json
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence

from ..claim import Claim
from ..ids import ClaimId, ResourceId
from ..resource import Part
from ..sealing import Sealer
from ..store import ClockAnchor, Event, Image, KeptRevision, StoreCorrupt
from ..usage import Past, Spent
from . import chain
from .chain import EVENT_COLUMNS, Link
from .encoding import (
    CLAIM_COLUMNS,
    PART_COLUMNS,
    RESOURCE_COLUMNS,
    Decoder,
    Row,
    counted_as,
)
from .operating_rows import ROLLOUT_COLUMNS, SWITCH_COLUMNS, decode_rollout, decode_switch
from .transaction import CURSOR

_CHUNK = 2000
_EVENTS = f"SELECT {', '.join(EVENT_COLUMNS)} FROM events"  # noqa: S608
_CLAIMS = f"SELECT {', '.join(CLAIM_COLUMNS)} FROM claims"  # noqa: S608
# What is over is kept for a day after its end: so these are all that began in the last day.
_PAST = (
    "SELECT uid, caller, pool, CAST(created_at AS INTEGER) AS second, COUNT(*) FROM claims"
    " WHERE over_at IS NOT NULL AND bound_at IS NOT NULL GROUP BY uid, caller, pool, second"
)
_SPENT = (
    "SELECT uid, caller, pool, spent_day, SUM(spent) FROM claims"
    " WHERE over_at IS NOT NULL AND bound_at IS NOT NULL AND spent > 0"
    " GROUP BY uid, caller, pool, spent_day"
)
_FOLLOW_UPS = (
    f"{_CLAIMS} WHERE follow_up IS NOT NULL AND over_at IS NOT NULL ORDER BY follow_up, id"
)
_CLAIM_OF_KEY = f"{_CLAIMS} WHERE key = ?"
_RESOURCES = f"SELECT {', '.join(RESOURCE_COLUMNS)} FROM resources ORDER BY created_at, id"  # noqa: S608
_PARTS = f"SELECT {', '.join(PART_COLUMNS)} FROM parts ORDER BY resource, ordinal"  # noqa: S608
_SWITCHES = f"SELECT {', '.join(SWITCH_COLUMNS)} FROM switches ORDER BY since, kind, subject"  # noqa: S608
_REVISIONS = "SELECT id, source, applied_at, files, commit_id FROM revisions"
_LIVE_REVISIONS = (
    f"{_REVISIONS} WHERE number = (SELECT max(number) FROM revisions) "  # noqa: S608
    "OR id IN (SELECT revision FROM resources) OR id IN (SELECT revision FROM rollouts) "
    "ORDER BY number DESC"
)
_ROLLOUTS = f"SELECT {', '.join(ROLLOUT_COLUMNS)} FROM rollouts ORDER BY pool"  # noqa: S608
EVENT_FILTERS = frozenset({"kind", "kinds", "pool", "resource", "claim", "request"})


def load(connection: sqlite3.Connection, sealer: Sealer) -> Image:
    """Everything live, in one snapshot: the oldest resources and claims first."""
    decoder = Decoder(sealer)
    # Nothing made here is garbage: looking for some, again and again, takes a third of the time.
    collecting = gc.isenabled()
    gc.disable()
    connection.execute("BEGIN")
    try:
        parts = _load_parts(connection, decoder)
        resources = decoder.resources(connection.execute(_RESOURCES))
        for resource in resources:
            # A part without a resource cannot be: both go in one transaction, see `drop_resource`.
            resource.parts = parts.pop(resource.id, resource.parts)
        revisions = _load_revisions(connection)
        live = f"{_CLAIMS} WHERE over_at IS NULL ORDER BY created_at, id"
        return Image(
            resources=resources,
            claims=decoder.claims(connection.execute(live)),
            revision=revisions[0] if revisions else None,
            older=revisions[1:],
            anchor=_load_anchor(connection),
            last_event=chain_end(connection).seq,
            switches=[decode_switch(row) for row in connection.execute(_SWITCHES)],
            rollouts=[decode_rollout(row) for row in connection.execute(_ROLLOUTS)],
            cursors=_load_cursors(connection),
            follow_ups=decoder.claims(connection.execute(_FOLLOW_UPS)),
            past=[
                Past(counted_as(uid, caller), *rest)
                for uid, caller, *rest in connection.execute(_PAST)
            ],
            spent=[
                Spent(counted_as(uid, caller), *rest)
                for uid, caller, *rest in connection.execute(_SPENT)
            ],
        )
    finally:
        connection.execute("COMMIT")
        if collecting:
            gc.enable()


def _load_parts(connection: sqlite3.Connection, decoder: Decoder) -> dict[ResourceId, list[Part]]:
    found: defaultdict[ResourceId, list[Part]] = defaultdict(list)
    cursor = connection.execute(_PARTS)
    while rows := cursor.fetchmany(_CHUNK):
        for resource, part in decoder.parts(rows):
            found[resource].append(part)
    return found


def _load_revisions(connection: sqlite3.Connection) -> list[KeptRevision]:
    """The last one first, and then those from which resources stand."""
    return [_revision(row) for row in connection.execute(_LIVE_REVISIONS)]


def _revision(row: tuple[str, str, float, str, str]) -> KeptRevision:
    id_, source, at, files, commit = row
    return KeptRevision(id_, source, at, json.loads(files), commit)


def revisions(connection: sqlite3.Connection) -> Sequence[KeptRevision]:
    """All that are kept, the last one first, without their files."""
    query = "SELECT id, source, applied_at, '{}', commit_id FROM revisions ORDER BY number DESC"
    return [_revision(row) for row in connection.execute(query)]


def find_revision(connection: sqlite3.Connection, id_: str, source: str) -> KeptRevision | None:
    row = connection.execute(f"{_REVISIONS} WHERE id = ? AND source = ?", (id_, source)).fetchone()
    return None if row is None else _revision(row)


def _load_anchor(connection: sqlite3.Connection) -> ClockAnchor:
    row = connection.execute("SELECT value FROM meta WHERE name = 'clock'").fetchone()
    return ClockAnchor() if row is None else ClockAnchor(**json.loads(row[0]))


def _load_cursors(connection: sqlite3.Connection) -> dict[str, int]:
    rows = connection.execute("SELECT name, value FROM meta WHERE name GLOB ?", (f"{CURSOR}*",))
    return {name.removeprefix(CURSOR): event for name, event in rows}


def find_key(connection: sqlite3.Connection, key: bytes, sealer: Sealer) -> Claim | None:
    row = connection.execute(_CLAIM_OF_KEY, (key,)).fetchone()
    return None if row is None else Decoder(sealer).claim(row)


def find_claim(connection: sqlite3.Connection, claim: ClaimId, sealer: Sealer) -> Claim | None:
    row = connection.execute(f"{_CLAIMS} WHERE id = ?", (claim,)).fetchone()
    return None if row is None else Decoder(sealer).claim(row)


def ended_claims(
    connection: sqlite3.Connection, pool: str | None, limit: int, sealer: Sealer
) -> Sequence[Claim]:
    only = "" if pool is None else " AND pool = ?"
    values = () if pool is None else (pool,)
    query = f"{_CLAIMS} WHERE over_at IS NOT NULL{only} ORDER BY over_at DESC, id LIMIT ?"
    return Decoder(sealer).claims(connection.execute(query, (*values, limit)))


def events(
    connection: sqlite3.Connection, after: int, limit: int, filters: Mapping[str, str]
) -> Sequence[Event]:
    where: list[str] = ["seq > ?"]
    values: list[str | int] = [after]
    for name, value in filters.items():
        if name == "kind":
            where.append("substr(kind, 1, ?) = ?")
            values.append(len(value))
        elif name == "kinds":
            kinds = value.split(",")
            where.append(f"kind IN ({', '.join('?' * len(kinds))})")
            values += kinds
            continue
        else:
            where.append(f"{name} = ?")
        values.append(value)
    query = f"{_EVENTS} WHERE {' AND '.join(where)} ORDER BY seq LIMIT ?"
    return [chain.decode_event(row) for row in connection.execute(query, (*values, limit))]


def events_after(connection: sqlite3.Connection, after: int, limit: int) -> list[Event]:
    query = f"{_EVENTS} WHERE seq > ? ORDER BY seq LIMIT ?"
    return [chain.decode_event(row) for row in connection.execute(query, (after, limit))]


def event_rows_after(connection: sqlite3.Connection, after: int, limit: int) -> list[Row]:
    """As they are, in the order of `EVENT_COLUMNS`: for whoever believes nothing."""
    query = f"{_EVENTS} WHERE seq > ? ORDER BY seq LIMIT ?"
    return connection.execute(query, (after, limit)).fetchall()


def chain_start(connection: sqlite3.Connection) -> Link:
    """What the first event that is still there follows: the kept anchor, or the genesis."""
    row = connection.execute("SELECT value FROM meta WHERE name = 'chain'").fetchone()
    if row is not None:
        seq, _, digest = row[0].partition(" ")
        return Link(int(seq), digest)
    return chain.genesis(ledger_id(connection))


def ledger_id(connection: sqlite3.Connection) -> str:
    row = connection.execute("SELECT value FROM meta WHERE name = 'ledger'").fetchone()
    if row is None:
        raise StoreCorrupt("the ledger lost its identity; restore it from a backup")
    return str(row[0])


def chain_end(connection: sqlite3.Connection) -> Link:
    row = connection.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    return chain_start(connection) if row is None else Link(row[0], row[1])


def verify_chain(connection: sqlite3.Connection) -> int:
    """Checks every event; returns how many there are. Raises `StoreCorrupt` at the first bad one."""
    connection.execute("BEGIN")
    try:
        start = chain_start(connection)
        rows = connection.execute(f"{_EVENTS} ORDER BY seq")
        return chain.verify(start, (chain.decode_event(row) for row in rows)).seq - start.seq
    finally:
        connection.execute("COMMIT")


def integrity(connection: sqlite3.Connection) -> Sequence[str]:
    """What SQLite finds wrong with the file; empty when it is sound."""
    found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(20)")]
    return [] if found == ["ok"] else found


def first_event(connection: sqlite3.Connection) -> int | None:
    row = connection.execute("SELECT seq FROM events ORDER BY seq LIMIT 1").fetchone()
    return None if row is None else int(row[0])


def hash_at(connection: sqlite3.Connection, seq: int) -> str | None:
    row = connection.execute("SELECT hash FROM events WHERE seq = ?", (seq,)).fetchone()
    return None if row is None else str(row[0])


def due_events(
    connection: sqlite3.Connection, *, begin: float, before: float, most: int, limit: int
) -> int | None:
    """The number of the last event to move out of the ledger, or None when none is due.

    Due is what is older than `before` once the oldest one is older than `begin`, and what is too much
    when there are more than `most`. At most `limit` of them, all at the beginning of the chain.
    """
    query = "SELECT seq, at FROM events ORDER BY seq LIMIT ?"
    old: int | None = None
    first: int | None = None
    for seq, at in connection.execute(query, (limit,)):
        if first is None:
            first = seq
            if at >= begin:
                break
        if at >= before:
            break
        old = seq
    if first is None:
        return None
    surplus = chain_end(connection).seq - first + 1 - most
    if surplus <= 0:
        return old
    # A tenth more than too many, or the next event would begin another file.
    crowd = first - 1 + min(surplus + most // 10 + 1, limit)
    return crowd if old is None else max(old, crowd)
