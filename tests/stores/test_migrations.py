"""Every earlier schema becomes the newest one, with what was in it, or stays as it was."""

import sqlite3
import stat
from pathlib import Path

import pytest

from stoker.pools.resource import Part
from stoker.pools.store import KeptRevision, StoreError
from stoker.pools.stores import migrations
from stoker.pools.stores.connections import connect
from stoker.pools.stores.encoding import (
    CLAIM_COLUMNS,
    PART_COLUMNS,
    RESOURCE_COLUMNS,
    encode_claim,
    encode_part,
    encode_resource,
)  # fmt: skip
from stoker.pools.stores.migrations import NEWEST, STEPS, apply_steps
from tests.stores.disks import Folder, put
from tests.stores.samples import KEY, a_claim, a_part, a_resource, an_event

ADDED_BY_STEP = {
    2: {("parts", "ready")},
    3: {
        ("claims", "binding"),
        ("claims", "terms"),
        ("claims", "wish"),
        ("claims", "caller"),
        ("claims", "decision"),
        ("claims", "spent"),
        ("claims", "spent_day"),
        ("claims", "approval"),
        ("claims", "follow_up"),
        ("resources", "uses"),
    },
}
"""Columns that a ledger of an earlier schema cannot have had."""


@pytest.fixture
def disk(tmp_path: Path) -> Folder:
    (tmp_path / "state").mkdir()
    return Folder(tmp_path / "state", "thread")


def an_old_ledger(disk: Folder, schema: int) -> None:
    """A ledger as the release with that schema left it, with one row of each kind."""
    missing = {column for step, added in ADDED_BY_STEP.items() if step > schema for column in added}
    connection = connect(disk.path / "ledger.db")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN")
    apply_steps(connection, 0, schema)
    resource, claim = a_resource(), a_claim()
    rows = {
        "resources": (RESOURCE_COLUMNS, encode_resource(resource)),
        "parts": (PART_COLUMNS, encode_part(resource.id, a_part(resource), disk.sealer)),
        "claims": (CLAIM_COLUMNS, encode_claim(claim, disk.sealer)),
    }
    for table, (columns, values) in rows.items():
        kept = [
            (column, value)
            for column, value in zip(columns, values, strict=True)
            if (table, column) not in missing
        ]
        marks = ", ".join("?" * len(kept))
        names = ", ".join(column for column, _ in kept)
        connection.execute(
            f"INSERT INTO {table} ({names}) VALUES ({marks})", [value for _, value in kept]
        )
    for name, at in (("second", 2.0), ("first", 1.0)):
        connection.execute(
            "INSERT INTO revisions (id, source, applied_at, files) VALUES (?, 'here', ?, ?)",
            (name, at, '{"a.yaml": "# nothing"}'),
        )
    connection.execute("COMMIT")
    connection.close()


def shape(path: Path) -> list[tuple[str, ...]]:
    """Every table with its columns, and every index."""
    connection = connect(path)
    names = connection.execute("SELECT name FROM sqlite_master ORDER BY name").fetchall()
    found = [
        (name, *[row[1] for row in connection.execute(f"PRAGMA table_info({name})")])
        for (name,) in names
    ]
    connection.close()
    return found


@pytest.mark.parametrize("schema", range(1, NEWEST))
async def test_every_earlier_schema_is_migrated_with_its_rows(disk: Folder, schema: int) -> None:
    an_old_ledger(disk, schema)
    store = disk.open()
    image = store.load()
    expected = a_resource()
    part: Part = a_part(expected)
    if schema < 2:
        part.ready = {}
    expected.parts = [part]
    if schema < 3:
        expected.uses = 0
    assert ([expected], [a_claim()]) == (image.resources, image.claims)
    assert KeptRevision("second", "here", 2.0, {"a.yaml": "# nothing"}) == image.revision
    assert ["second", "first"] == [one.id for one in await store.revisions()]
    assert a_claim() == store.find_key(KEY)
    await put(store, a_resource("web-new", parts=2), a_claim("c-2", key=b"2" * 32), an_event())
    assert 1 == await store.verify_chain()
    assert [] == await store.integrity()
    await store.close()


async def test_the_claim_of_a_migrated_resource_counts_as_its_use(disk: Folder) -> None:
    an_old_ledger(disk, 2)
    connection = connect(disk.path / "ledger.db")
    connection.execute("UPDATE resources SET claim = 'c-1'")
    connection.close()
    store = disk.open()
    assert [1] == [resource.uses for resource in store.load().resources]
    await store.close()


@pytest.mark.parametrize("schema", range(1, NEWEST))
async def test_a_migrated_ledger_has_the_shape_of_a_new_one(disk: Folder, schema: int) -> None:
    an_old_ledger(disk, schema)
    store = disk.open()
    await store.close()
    fresh = Folder(disk.path.parent / "fresh", "thread")
    store = fresh.open()
    await store.close()
    assert shape(fresh.path / "ledger.db") == shape(disk.path / "ledger.db")


async def test_a_copy_from_before_the_migration_is_kept(disk: Folder) -> None:
    an_old_ledger(disk, 1)
    store = disk.open()
    await store.close()
    copy = disk.path / f"ledger.db.before-schema-{NEWEST}"
    assert 0o600 == stat.S_IMODE(copy.stat().st_mode)
    assert [] == [path for path in disk.path.iterdir() if "partial" in path.name]
    kept = sqlite3.connect(copy)
    assert [(1,)] == kept.execute("SELECT value FROM meta WHERE name = 'schema'").fetchall()
    assert [(1,)] == kept.execute("SELECT count(*) FROM claims").fetchall()
    kept.close()


async def test_a_migration_that_fails_changes_nothing(
    disk: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_old_ledger(disk, 1)
    before = shape(disk.path / "ledger.db")
    broken = (*STEPS, ("CREATE TABLE fine (x)", "CREATE TABLE broken oh dear"))
    monkeypatch.setattr(migrations, "STEPS", broken)
    monkeypatch.setattr(migrations, "NEWEST", len(broken))
    with pytest.raises(StoreError, match=r"broken|syntax"):
        disk.open()
    assert before == shape(disk.path / "ledger.db")
    monkeypatch.undo()
    store = disk.open()
    assert 1 == len(store.load().resources)
    await store.close()


async def test_the_newest_schema_is_opened_without_a_copy(disk: Folder) -> None:
    for _ in range(2):
        store = disk.open()
        await store.close()
    assert [] == list(disk.path.glob("ledger.db.*"))
