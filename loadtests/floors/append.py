"""The disk's floor: one row, durable, through a writer thread that groups what has piled up.

`python -m loadtests.floors.append FOLDER LENGTH COUNT WRITERS` prints `{"latencies", "elapsed"}`.
WAL with full synchronisation, as the ledger has it: a commit returns after fdatasync.
"""

import asyncio
import json
import queue
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

Waiting = tuple[str, str, asyncio.Future[None]]


class Appender:
    """Appends rows from the event loop; the thread commits everything that waits at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write, name="appender")
        self._thread.start()

    def append(self, key: str, row: str) -> asyncio.Future[None]:
        done = self._loop.create_future()
        self._rows.put((key, row, done))
        return done

    def close(self) -> None:
        self._rows.put(None)
        self._thread.join()

    def _write(self) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE rows (id TEXT PRIMARY KEY, row TEXT NOT NULL)")
        while (first := self._rows.get()) is not None:
            batch = [first]
            while not self._rows.empty() and (more := self._rows.get()) is not None:
                batch.append(more)
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT INTO rows VALUES (?, ?)", [(key, row) for key, row, _ in batch]
            )
            connection.execute("COMMIT")
            self._loop.call_soon_threadsafe(_settle, [done for *_, done in batch])
        connection.close()


def _settle(done: Sequence[asyncio.Future[None]]) -> None:
    for future in done:
        future.set_result(None)


async def measure(folder: Path, length: int, count: int, writers: int) -> dict[str, object]:
    appender = Appender(folder / "floor.db")
    row = "x" * length
    latencies: list[float] = []

    async def writer(number: int) -> None:
        for index in range(count // writers):
            began = time.perf_counter()
            await appender.append(f"c-{number:04}-{index:08}", row)
            latencies.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*[writer(number) for number in range(writers)])
    elapsed = time.perf_counter() - began
    appender.close()
    return {"latencies": latencies, "elapsed": elapsed}


if __name__ == "__main__":
    where, size, times, at_once = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    print(json.dumps(uvloop.run(measure(where, size, times, at_once))))
