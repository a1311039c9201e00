"""A transaction, encoded while it is collected, and the statements it is made of."""

from functools import cache
from typing import TypeAlias

from ...config.json_types import JsonObject
from ..claim import Claim
from ..ids import ClaimId, PartId, ResourceId
from ..resource import Part, Resource
from ..rollout import Rollout
from ..sealing import Sealer
from ..store import ClockAnchor, KeptRevision, NewEvent
from ..switches import Switch
from . import encoding
from .chain import EVENT_COLUMNS, Draft, draft
from .encoding import (
    CLAIM_COLUMNS,
    PART_COLUMNS,
    RESOURCE_COLUMNS,
    Row,
)
from .operating_rows import ROLLOUT_COLUMNS, SWITCH_COLUMNS, encode_rollout, encode_switch

Statement: TypeAlias = tuple[str, Row]
"""SQL and the values for its question marks."""


def _insert(table: str, columns: tuple[str, ...]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608


def _upsert(table: str, columns: tuple[str, ...], keys: tuple[str, ...], guard: str = "") -> str:
    rest = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in keys)
    conflict = f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {rest}"
    return _insert(table, columns) + conflict + guard


_PUT_RESOURCE = _upsert(
    "resources", RESOURCE_COLUMNS, ("id",), " WHERE excluded.version > resources.version"
)
_PUT_CLAIM = _upsert("claims", CLAIM_COLUMNS, ("id",), " WHERE excluded.version > claims.version")
_PUT_PART = _upsert("parts", PART_COLUMNS, ("resource", "name"))
_PUT_SWITCH = _upsert("switches", SWITCH_COLUMNS, ("kind", "subject"))
_DROP_SWITCH = "DELETE FROM switches WHERE kind = ? AND subject = ?"
_PUT_ROLLOUT = _upsert(
    "rollouts", ROLLOUT_COLUMNS, ("pool",), " WHERE excluded.started_at >= rollouts.started_at"
)
_DROP_ROLLOUT = "DELETE FROM rollouts WHERE pool = ? AND started_at <= ?"
_PUT_REVISION = (
    "INSERT OR REPLACE INTO revisions (id, source, applied_at, files, commit_id)"
    " VALUES (?, ?, ?, ?, ?)"
)
_PUT_META = "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)"
_DROP_PART = "DELETE FROM parts WHERE resource = ? AND name = ?"
_DROP_PARTS = "DELETE FROM parts WHERE resource = ?"
_DROP_RESOURCE = "DELETE FROM resources WHERE id = ?"
_DROP_CLAIM = "DELETE FROM claims WHERE id = ?"
CURSOR = "cursor "
"""What the names of cursors begin with, in the table of single values."""
KEPT_REVISIONS = 20
"""Those that were applied last, to go back to; and besides, of those that resources were made from, as
many: what was made from older ones is replaced when the daemon starts anew."""
_DROP_REVISIONS = (
    "DELETE FROM revisions WHERE number NOT IN "
    "(SELECT number FROM revisions ORDER BY number DESC LIMIT ?1 - 1) AND number NOT IN "
    "(SELECT number FROM revisions WHERE id IN (SELECT revision FROM resources) "
    "ORDER BY number DESC LIMIT ?1) AND id NOT IN (SELECT revision FROM rollouts)"
)
ADD_EVENT = _insert("events", EVENT_COLUMNS)


LENGTHS = (16, 24, 32, 48, 64)
"""Rows of the longer statements that are made; shorter ones have any number of rows."""


@cache
def statement_for(insert: str, rows: int) -> str:
    """The same INSERT for several rows at once."""
    head, values, tail = insert.partition(" VALUES ")
    marks, closing, rest = tail.partition(")")
    return head + values + ", ".join([marks + closing] * rows) + rest


def is_insert(sql: str) -> bool:
    """Whether `statement_for` may be asked for it."""
    return sql in _INSERTS


_INSERTS = frozenset({_PUT_RESOURCE, _PUT_CLAIM, _PUT_PART, ADD_EVENT})


class SqliteTransaction:
    """See `stoker.pools.store.Transaction`. Every `put` encodes at once."""

    __slots__ = ("_revision", "_sealer", "events", "statements")

    def __init__(self, sealer: Sealer, revision: str = "") -> None:
        """`revision`: the one that serves, which every event says."""
        self._sealer = sealer
        self._revision = revision
        self.statements: list[Statement] = []
        self.events: list[Draft] = []

    def put_resource(self, resource: Resource) -> None:
        self.statements.append((_PUT_RESOURCE, encoding.encode_resource(resource)))

    def put_part(self, resource: Resource, part: Part) -> None:
        row = encoding.encode_part(resource.id, part, self._sealer)
        self.statements.append((_PUT_PART, row))

    def drop_part(self, part: PartId) -> None:
        self.statements.append((_DROP_PART, encoding.part_key(part)))

    def drop_resource(self, resource: ResourceId) -> None:
        self.statements.append((_DROP_PARTS, (resource,)))
        self.statements.append((_DROP_RESOURCE, (resource,)))

    def put_claim(self, claim: Claim) -> None:
        self.statements.append((_PUT_CLAIM, encoding.encode_claim(claim, self._sealer)))

    def drop_claim(self, claim: ClaimId) -> None:
        self.statements.append((_DROP_CLAIM, (claim,)))

    def put_revision(self, revision: KeptRevision) -> None:
        """It is the newest one from now on, also when it was applied before.

        Beside the newest ones those are kept from which resources stand, or a rollout goes that was put
        before, in this transaction or earlier.
        """
        files: JsonObject = dict(revision.files)
        encoded = encoding.encode_json(files).decode()
        row = (
            revision.id,
            encoding.text(revision.source),
            revision.applied_at,
            encoded,
            revision.commit,
        )
        self.statements.append((_DROP_REVISIONS, (KEPT_REVISIONS,)))
        self.statements.append((_PUT_REVISION, row))

    def put_anchor(self, anchor: ClockAnchor) -> None:
        value: JsonObject = {
            "boot_id": anchor.boot_id,
            "offset": anchor.offset,
            "last_seen": anchor.last_seen,
        }
        self.statements.append((_PUT_META, ("clock", encoding.encode_json(value).decode())))

    def put_cursor(self, reader: str, event: int) -> None:
        self.statements.append((_PUT_META, (CURSOR + reader, event)))

    def put_switch(self, switch: Switch) -> None:
        self.statements.append((_PUT_SWITCH, encode_switch(switch)))

    def drop_switch(self, switch: Switch) -> None:
        self.statements.append((_DROP_SWITCH, (switch.kind.value, switch.subject)))

    def put_rollout(self, rollout: Rollout) -> None:
        self.statements.append((_PUT_ROLLOUT, encode_rollout(rollout)))

    def drop_rollout(self, rollout: Rollout) -> None:
        self.statements.append((_DROP_ROLLOUT, (rollout.pool, rollout.started_at)))

    def add_event(self, event: NewEvent) -> None:
        self.events.append(draft(event, self._revision))
