"""A disk without room: those who wait are told, nothing is half-written, and it goes on by itself."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoker.pools.store import Event, StoreError
from tests.fixtures.mounts import fill, mounted
from tests.stores.disks import Folder, put
from tests.stores.samples import a_resource, an_event

pytestmark = pytest.mark.mounts


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    with mounted(tmp_path / "small", "size=2m") as path:
        yield path


async def test_a_full_disk_is_told_and_writing_goes_on_when_there_is_room(small: Path) -> None:
    store = Folder(small / "state", "thread").open()
    heard: list[Event] = []
    store.on_events(heard.extend)
    await put(store, a_resource("web-before"), an_event())
    ballast = small / "ballast"
    fill(ballast)
    refused = 0
    for number in range(200):
        try:
            await put(store, a_resource(f"web-{number}", reason="x" * 5000), an_event())
        except StoreError as error:
            assert "is full" in str(error)  # noqa: PT017 - most of the calls raise nothing
            assert "make room" in str(error)  # noqa: PT017
            refused += 1
            fill(ballast)
    assert refused > 0
    # Reading goes on, and the ledger shows no half of what was refused.
    written = {resource.id for resource in store.load().resources}
    assert 201 - refused == len(written)
    ballast.unlink()
    await put(store, a_resource("web-after"), an_event())
    assert {"web-before", "web-after"} <= {resource.id for resource in store.load().resources}
    await asyncio.sleep(0)
    assert list(range(1, len(heard) + 1)) == [event.seq for event in heard]
    assert len(heard) == await store.verify_chain()
    assert [] == await store.integrity()
    await store.close()


async def test_a_store_on_a_full_disk_can_be_closed_and_opened_again(small: Path) -> None:
    disk = Folder(small / "state", "thread")
    store = disk.open()
    await put(store, a_resource("web-before"))
    fill(small / "ballast")
    await store.close()
    (small / "ballast").unlink()
    again = disk.open()
    assert ["web-before"] == [resource.id for resource in again.load().resources]
    await again.close()


async def test_a_first_start_on_a_full_disk_says_so(small: Path) -> None:
    fill(small / "ballast")
    with pytest.raises(StoreError, match=r"full|cannot be|No space"):
        Folder(small / "state", "thread").open()
