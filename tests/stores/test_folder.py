"""The state folder and the files in it: who may have them, and what is said when they are bad."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from stoker.pools.sealing import Sealer
from stoker.pools.store import StoreCorrupt, StoreError, StoreLocked
from stoker.pools.stores.migrations import APPLICATION_ID, NEWEST
from stoker.pools.stores.sqlite import SqliteStore
from tests.fixtures.mounts import mounted, remount
from tests.stores.disks import Folder, put
from tests.stores.samples import a_claim, a_resource, an_event

HOLD_THE_LOCK = """
import sys
from pathlib import Path
from stoker.pools.sealing import Sealer
from stoker.pools.stores.sqlite import SqliteStore
store = SqliteStore.open(Path(sys.argv[1]), sealer=Sealer(b"s" * 32))
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def disk(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "state", "thread")


async def test_the_folder_and_its_files_are_the_daemons_alone(disk: Folder) -> None:
    disk.path.mkdir(mode=0o755)
    store = disk.open()
    await put(store, a_resource())
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in disk.path.iterdir()}
    assert {"ledger.db": 0o600, "ledger.db-wal": 0o600, "ledger.db-shm": 0o600} == {
        name: mode for name, mode in modes.items() if name.startswith("ledger.db")
    }
    assert 0o600 == modes["lock"]
    assert 0o700 == stat.S_IMODE(disk.path.stat().st_mode)
    await store.close()


async def test_a_second_store_in_the_same_process_is_refused(disk: Folder) -> None:
    store = disk.open()
    with pytest.raises(StoreLocked, match=f"another daemon \\(pid {os.getpid()}\\) has"):
        disk.open()
    await store.close()
    again = disk.open()
    await again.close()


async def test_a_second_daemon_is_refused_until_the_first_is_killed(disk: Folder) -> None:
    command = [sys.executable, "-c", HOLD_THE_LOCK, str(disk.path)]
    first = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert first.stdout is not None
    assert first.stdin is not None
    assert b"open\n" == first.stdout.readline()
    try:
        with pytest.raises(StoreLocked, match=f"pid {first.pid}.*--state"):
            disk.open()
    finally:
        first.kill()
        first.wait()
        first.stdin.close()
        first.stdout.close()
    store = disk.open()
    await store.close()


@pytest.mark.mounts
def test_a_read_only_folder_is_refused_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with (
        mounted(path, "ro"),
        pytest.raises(StoreError, match=r"cannot be written.*Read-only file system.*--state"),
    ):
        Folder(path, "thread").open()


@pytest.mark.mounts
async def test_a_ledger_in_a_read_only_folder_is_not_opened_until_it_is_writable(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state"
    with mounted(path, "size=8m"):
        store = Folder(path, "thread").open()
        await put(store, a_resource("web-1"))
        store.kill()
        remount(path, "bind,ro")
        with pytest.raises(StoreError, match="cannot be written"):
            Folder(path, "thread").open()
        remount(path, "bind,rw")
        again = Folder(path, "thread").open()
        assert ["web-1"] == [resource.id for resource in again.load().resources]
        await again.close()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"state folder .* cannot be written"):
        Folder(tmp_path / "file" / "state", "thread").open()


async def test_damage_is_told_and_the_file_is_left_as_it_is(disk: Folder) -> None:
    store = disk.open()
    await put(store, a_resource())
    await store.close()
    ledger = disk.path / "ledger.db"
    ledger.write_bytes(b"not a database at all, but long enough to be read as one" * 40)
    before = ledger.read_bytes()
    with pytest.raises(StoreCorrupt, match=r"damaged.*restore a backup"):
        disk.open()
    assert before == ledger.read_bytes()


async def test_damage_inside_is_told_by_load_and_by_the_check(disk: Folder) -> None:
    store = disk.open()
    await put(store, *[a_resource(f"web-{number:08}", parts=2) for number in range(500)])
    await store.close()
    ledger = disk.path / "ledger.db"
    page = 4096
    content = bytearray(ledger.read_bytes())
    for start in range(20 * page, len(content), 3 * page):
        content[start : start + page] = b"\xff" * page
    ledger.write_bytes(content)
    again = disk.open()
    with pytest.raises(StoreCorrupt, match=r"damaged|makes no sense"):
        again.load()
    assert [] != await again.integrity()
    await again.close()


def test_another_programs_database_is_refused(disk: Folder) -> None:
    disk.path.mkdir()
    disk.tamper("CREATE TABLE songs (title TEXT)")
    with pytest.raises(StoreCorrupt, match="database of another program"):
        disk.open()
    disk.tamper(f"PRAGMA application_id = {APPLICATION_ID}")
    with pytest.raises(StoreCorrupt, match="database of another program"):
        disk.open()


async def test_a_newer_schema_is_refused_with_a_remedy(disk: Folder) -> None:
    store = disk.open()
    await store.close()
    disk.tamper("UPDATE meta SET value = ? WHERE name = 'schema'", NEWEST + 1)
    with pytest.raises(StoreCorrupt, match=f"schema {NEWEST + 1}.*up to {NEWEST}.*newer stoker"):
        disk.open()


async def test_an_empty_file_is_a_start_that_was_cut_short(disk: Folder) -> None:
    disk.path.mkdir()
    (disk.path / "ledger.db").touch()
    store = disk.open()
    await put(store, a_resource())
    await store.close()


async def test_a_refused_start_gives_the_folder_free(disk: Folder) -> None:
    store = disk.open()
    await store.close()
    for _ in range(2):
        with pytest.raises(StoreError, match="another key"):
            disk.open(Sealer(b"wrong" + b"!" * 27))
    again = disk.open()
    await again.close()


async def test_a_ledger_that_vanishes_is_not_replaced_by_an_empty_one(disk: Folder) -> None:
    store = disk.open()
    await put(store, a_claim(), an_event())
    for path in disk.path.glob("ledger.db*"):
        path.unlink()
    store.lose_connection()  # as after an error of the disk: it must open anew
    for _ in range(3):
        with pytest.raises(StoreError):
            await put(store, a_resource())
    assert not (disk.path / "ledger.db").exists()
    store.kill()


async def test_an_older_ledger_put_in_place_is_noticed(disk: Folder, tmp_path: Path) -> None:
    store = disk.open()
    await put(store, an_event())
    await store.close()
    shutil.copy(disk.path / "ledger.db", tmp_path / "backup.db")
    store = disk.open()
    await put(store, an_event(), an_event())
    for path in disk.path.glob("ledger.db*"):
        path.unlink()
    shutil.copy(tmp_path / "backup.db", disk.path / "ledger.db")
    store.lose_connection()
    with pytest.raises(StoreError, match=r"damaged|refused"):
        await put(store, an_event())
    with pytest.raises(StoreCorrupt, match="replaced by an older one"):
        await put(store, an_event())
    store.kill()


async def test_another_program_that_looks_does_not_disturb(disk: Folder) -> None:
    store = disk.open()
    await put(store, a_resource())
    looking = sqlite3.connect(f"file:{disk.path / 'ledger.db'}?mode=ro", uri=True)
    looking.execute("BEGIN")
    assert [(1,)] == looking.execute("SELECT count(*) FROM resources").fetchall()
    await put(store, a_resource("web-2"))
    assert 2 == len(store.load().resources)
    looking.close()
    await store.close()


def test_opening_outside_of_a_loop_works(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path, sealer=Sealer(b"s" * 32))
    assert [] == store.load().resources
    store.kill()
