"""The ledger's schema, as the steps that lead to it: one per release that changed it.

A step is never edited once released; a new one is added below. All missing steps run in one
transaction, after a copy of the file was put aside.
"""

import os
import secrets
import sqlite3
from pathlib import Path

from ..store import StoreCorrupt

APPLICATION_ID = 0x53544F4B  # "STOK": tells a ledger from any other SQLite file

_STEP_1 = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    """CREATE TABLE resources (
        id TEXT PRIMARY KEY, version INTEGER NOT NULL, pool TEXT NOT NULL,
        blueprint TEXT NOT NULL, digest TEXT NOT NULL, revision TEXT NOT NULL,
        state TEXT NOT NULL, created_at REAL NOT NULL, changed_at REAL NOT NULL, ready_at REAL,
        claim TEXT, health TEXT NOT NULL, reason TEXT NOT NULL, labels TEXT) WITHOUT ROWID""",
    """CREATE TABLE parts (
        resource TEXT NOT NULL, name TEXT NOT NULL, driver TEXT NOT NULL, provider TEXT NOT NULL,
        half TEXT NOT NULL, ordinal INTEGER NOT NULL, state TEXT NOT NULL,
        handle TEXT, outputs TEXT, secrets BLOB,
        PRIMARY KEY (resource, name)) WITHOUT ROWID""",
    # Claims come and stay for a day: appended by row number, only small indexes are random.
    """CREATE TABLE claims (
        id TEXT PRIMARY KEY, version INTEGER NOT NULL, pool TEXT NOT NULL, state TEXT NOT NULL,
        key BLOB, body BLOB NOT NULL, over_at REAL,
        uid INTEGER NOT NULL, gid INTEGER NOT NULL, pid INTEGER NOT NULL,
        user TEXT NOT NULL, exe TEXT NOT NULL, unit TEXT NOT NULL,
        created_at REAL NOT NULL, ttl REAL NOT NULL, max_ttl REAL NOT NULL,
        deadline REAL NOT NULL, bound_at REAL, expires_at REAL, ended_at REAL, ended_because TEXT,
        answered INTEGER NOT NULL, warm INTEGER NOT NULL, revision TEXT NOT NULL,
        reason TEXT NOT NULL, request_id TEXT NOT NULL, code TEXT NOT NULL, detail TEXT NOT NULL,
        queued REAL NOT NULL, policy REAL NOT NULL, bind REAL NOT NULL, finish REAL NOT NULL,
        total REAL NOT NULL, labels TEXT, resources TEXT, outputs TEXT, params BLOB, secrets BLOB)""",
    # The idempotency keys: an index cannot disagree with its claims, as a second table could.
    "CREATE UNIQUE INDEX keys ON claims (key) WHERE key IS NOT NULL",
    """CREATE TABLE events (
        seq INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, pool TEXT NOT NULL,
        resource TEXT NOT NULL, claim TEXT NOT NULL, request TEXT NOT NULL, reason TEXT NOT NULL,
        data TEXT, hash TEXT NOT NULL)""",
    """CREATE TABLE revisions (
        id TEXT PRIMARY KEY, source TEXT NOT NULL, applied_at REAL NOT NULL, files TEXT NOT NULL
        ) WITHOUT ROWID""",
)
_STEP_2 = (
    # A restart probes with the check that a part was made with, whatever the blueprint says now.
    "ALTER TABLE parts ADD COLUMN ready TEXT",
    # One index for start-up (over_at IS NULL), for purge and for the list of what is over.
    "CREATE INDEX claims_over ON claims (over_at)",
)
_STEP_3 = (
    # What a claim's end hangs on beside time, and what is granted around its expiry. Mostly NULL.
    "ALTER TABLE claims ADD COLUMN binding TEXT",
    "ALTER TABLE claims ADD COLUMN terms TEXT",
    # What operators have set: pauses, drains, refreshes and holds, until they are taken back.
    """CREATE TABLE switches (
        kind TEXT NOT NULL, subject TEXT NOT NULL, uid INTEGER NOT NULL, user TEXT NOT NULL,
        reason TEXT NOT NULL, since REAL NOT NULL, until REAL,
        PRIMARY KEY (kind, subject)) WITHOUT ROWID""",
    # Every resource of an earlier schema serves one claim at most: the one that it has.
    "ALTER TABLE resources ADD COLUMN uses INTEGER NOT NULL DEFAULT 0",
    "UPDATE resources SET uses = 1 WHERE claim IS NOT NULL",
    # The history: the newest has the highest number. A commit that is read from two folders is two
    # revisions. `commit_id` is what the next commit must descend from, also after a restart.
    """CREATE TABLE history (
        number INTEGER PRIMARY KEY, id TEXT NOT NULL, source TEXT NOT NULL,
        applied_at REAL NOT NULL, files TEXT NOT NULL, commit_id TEXT NOT NULL DEFAULT '',
        UNIQUE (id, source))""",
    """INSERT INTO history (id, source, applied_at, files)
        SELECT id, source, applied_at, files FROM revisions ORDER BY applied_at""",
    "DROP TABLE revisions",
    "ALTER TABLE history RENAME TO revisions",
    # What a claim asks for beside any one resource of one pool. Mostly NULL.
    "ALTER TABLE claims ADD COLUMN wish TEXT",
    # The groups of the claimant, and whose token it had. NULL for neither.
    "ALTER TABLE claims ADD COLUMN caller TEXT",
    # How far the rollouts of changed blueprints have come, and from which revision each one goes.
    """CREATE TABLE rollouts (
        pool TEXT PRIMARY KEY, digest TEXT NOT NULL, previous TEXT NOT NULL, revision TEXT NOT NULL,
        stage TEXT NOT NULL, started_at REAL NOT NULL, since REAL NOT NULL, reason TEXT NOT NULL
        ) WITHOUT ROWID""",
    # What policies decided and count by: a claim's verdict, and what it cost last.
    "ALTER TABLE claims ADD COLUMN decision TEXT",
    # Its approval; and when its follow-up is due, while it has one: such a claim is not purged.
    "ALTER TABLE claims ADD COLUMN approval TEXT",
    "ALTER TABLE claims ADD COLUMN follow_up REAL",
    "CREATE INDEX claims_follow_up ON claims (follow_up) WHERE follow_up IS NOT NULL",
    "ALTER TABLE claims ADD COLUMN spent REAL NOT NULL DEFAULT 0",
    "ALTER TABLE claims ADD COLUMN spent_day INTEGER NOT NULL DEFAULT 0",
)

STEPS: tuple[tuple[str, ...], ...] = (_STEP_1, _STEP_2, _STEP_3)
NEWEST = len(STEPS)


def schema_version(connection: sqlite3.Connection) -> int:
    """0 for an empty file. Raises `StoreCorrupt` for a file that is no ledger."""
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    if not tables:
        return 0
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID or "meta" not in tables:
        raise StoreCorrupt("it is a database of another program; choose another folder (--state)")
    row = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
    version = row[0] if row else None
    if not isinstance(version, int):
        raise StoreCorrupt("it does not say its schema's version; restore it from a backup")
    if version > NEWEST:
        raise StoreCorrupt(
            f"it has schema {version} and this stoker knows schemas up to {NEWEST}; install the "
            "newer stoker again, or restore the copy made before the upgrade"
        )
    return version


def migrate(connection: sqlite3.Connection, path: Path | None) -> int:
    """Brings the schema to `NEWEST`; returns the version it had. A copy is kept beside `path`."""
    version = schema_version(connection)
    if version == NEWEST:
        return version
    if version and path is not None:
        _copy_aside(connection, path.with_name(f"{path.name}.before-schema-{NEWEST}"))
    connection.execute("BEGIN EXCLUSIVE")
    try:
        apply_steps(connection, version, NEWEST)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return version


def apply_steps(connection: sqlite3.Connection, version: int, target: int) -> None:
    """Runs the steps after `version` up to `target` inside the caller's transaction."""
    for step in STEPS[version:target]:
        for statement in step:
            connection.execute(statement)
    if version == 0:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        ledger = secrets.token_hex(16)
        connection.execute("INSERT INTO meta VALUES ('ledger', ?)", (ledger,))
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('schema', ?)", (target,))


def _copy_aside(connection: sqlite3.Connection, copy: Path) -> None:
    """A whole copy under a temporary name, then renamed: a crash leaves no half one behind."""
    temporary = copy.with_name(f".{copy.name}.partial")
    temporary.unlink(missing_ok=True)
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    target = sqlite3.connect(temporary)
    try:
        connection.backup(target)
    finally:
        target.close()
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(copy)
