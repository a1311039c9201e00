"""The contract, over the daemon's writer and over the simulator's, on a disk and in memory."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stores.contract import LedgerContract
from tests.stores.disks import Disk, Folder, Memory


class TestThread(LedgerContract):
    """As the daemon has it."""

    @pytest.fixture
    def disk(self, tmp_path: Path) -> Disk:
        return Folder(tmp_path / "state", "thread")


class TestInline(LedgerContract):
    """Written in the loop, on a disk."""

    @pytest.fixture
    def disk(self, tmp_path: Path) -> Disk:
        return Folder(tmp_path / "state", "inline")


class TestMemory(LedgerContract):
    """As the simulator has it when commits take no time."""

    @pytest.fixture
    def disk(self) -> Iterator[Disk]:
        memory = Memory()
        yield memory
        memory.disk.close()


class TestDelayedMemory(LedgerContract):
    """As the simulator has it when they do: jobs gather, and are answered later."""

    @pytest.fixture
    def disk(self) -> Iterator[Disk]:
        memory = Memory(delay=lambda: asyncio.sleep(0.001))
        yield memory
        memory.disk.close()
