"""What was acknowledged is there after `kill -9` and after the power went."""

import asyncio
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stoker.pools.stores.sqlite import SqliteStore
from tests.stores.disks import Folder, put
from tests.stores.samples import a_claim, a_resource, an_event

WRITE_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from tests.stores.disks import Folder, put
from tests.stores.samples import a_claim, a_resource, an_event

async def write(store, worker):
    number = 0
    while True:
        name = f"{worker}-{number}"
        claim = a_claim(f"c-{name}", key=name.encode())
        await put(store, a_resource(f"web-{name}", parts=1), claim, an_event(claim=claim.id),
                  urgent=worker % 2 == 0)
        print(name, flush=True)
        number += 1

async def main():
    store = Folder(Path(sys.argv[1]), "thread").open()
    await asyncio.gather(*[write(store, worker) for worker in range(8)])

asyncio.run(main())
"""


def acknowledged_until_killed(folder: Path, seconds: float) -> set[str]:
    """Runs the writer, kills it, and returns what it had said was durable."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE_FOR_EVER, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    said = [process.stdout.readline()]
    time.sleep(seconds)
    process.kill()
    said += process.stdout.readlines()
    process.stdout.close()
    process.wait()
    return {line.strip() for line in said if line.endswith("\n")}


async def assert_whole(store: SqliteStore, acknowledged: set[str]) -> None:
    """All that was acknowledged is there, and every transaction is there whole or not at all."""
    image = store.load()
    resources = {resource.id.removeprefix("web-"): resource for resource in image.resources}
    claims = {claim.id.removeprefix("c-") for claim in image.claims}
    assert set() == acknowledged - resources.keys()
    assert resources.keys() == claims
    assert all(len(resource.parts) == 1 for resource in resources.values())
    assert len(claims) == await store.verify_chain()
    assert [] == await store.integrity()


@pytest.mark.parametrize("seconds", [0.05, 0.3, 0.7])
async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, seconds: float) -> None:
    acknowledged = acknowledged_until_killed(tmp_path, seconds)
    assert acknowledged
    store = Folder(tmp_path, "thread").open()
    await assert_whole(store, acknowledged)
    await store.close()


async def test_what_was_acknowledged_survives_in_a_copy_taken_at_any_moment(
    tmp_path: Path,
) -> None:
    """The WAL is copied after the database, so the copy is a disk that lost its last writes.

    Checkpoints are out of the way here: one between the two copies would be no power loss.
    """
    disk = Folder(tmp_path / "state", "inline")
    store = disk.open()
    for number in range(30):
        name = f"0-{number}"
        claim = a_claim(f"c-{name}", key=name.encode())
        await put(store, a_resource(f"web-{name}", parts=1), claim, an_event())
        copy = tmp_path / f"copy-{number}"
        copy.mkdir()
        shutil.copy(disk.path / "ledger.db", copy)
        wal = (disk.path / "ledger.db-wal").read_bytes()
        torn = number * 977 % 5000  # and some of the next commit, cut anywhere
        (copy / "ledger.db-wal").write_bytes(wal + wal[-5000 : len(wal) - torn])
        after = Folder(copy, "inline").open()
        await assert_whole(after, {f"0-{each}" for each in range(number + 1)})
        after.kill()
    store.kill()


async def test_a_torn_last_commit_is_lost_whole(tmp_path: Path) -> None:
    disk = Folder(tmp_path / "state", "inline")
    store = disk.open()
    claim = a_claim("c-0", key=b"0")
    await put(store, a_resource("web-0", parts=1), claim, an_event())
    whole = (disk.path / "ledger.db-wal").stat().st_size
    await put(store, a_resource("web-1", parts=1), a_claim("c-1", key=b"1"), an_event())
    wal = (disk.path / "ledger.db-wal").read_bytes()
    for number, length in enumerate(range(whole, len(wal), 1500)):
        copy = tmp_path / f"copy-{number}"
        copy.mkdir()
        shutil.copy(disk.path / "ledger.db", copy)
        (copy / "ledger.db-wal").write_bytes(wal[:length])
        after = Folder(copy, "inline").open()
        assert ["web-0"] == [resource.id for resource in after.load().resources]
        await assert_whole(after, {"0"})
        after.kill()
    store.kill()


async def test_a_process_that_is_killed_while_it_opens_leaves_a_ledger(tmp_path: Path) -> None:
    for number, delay in enumerate((0.0, 0.001, 0.003, 0.01, 0.03)):
        folder = tmp_path / str(number)
        process = subprocess.Popen(
            [sys.executable, "-c", WRITE_FOR_EVER, str(folder)],
            stdout=subprocess.DEVNULL,
            cwd=Path(__file__).parents[2],
        )
        while not (folder / "lock").exists():
            await asyncio.sleep(0.001)
        await asyncio.sleep(delay)
        process.kill()
        process.wait()
        store = Folder(folder, "thread").open()
        await assert_whole(store, set())
        await store.close()
