"""Starts real daemons in milliseconds: imports everything once, then forks.

    python -m tests.crash.fork_server

Reads one JSON object a line: `{"start": {…}}` forks a daemon and answers `{"pid": 1}`;
`{"wait": pid, "within": seconds}` answers `{"status": -9}` once it has ended (as Python's
`returncode`), or null when that takes longer. At the end of its input it kills what is left.
It never starts a thread, so forking is safe. Used by `subject`.
"""

import gc
import json
import os
import select
import signal
import sys
import threading
import time
from contextlib import suppress
from importlib import import_module, resources
from pathlib import Path
from typing import TypedDict, cast

from stoker.config.loading import load
from stoker.config.settings import Settings
from stoker.daemon import service
from stoker.pools.clock import Clock
from stoker.pools.driver import Drivers
from stoker.pools.drivers import build_drivers, catalogue
from stoker.pools.sealing import open_sealer
from tests.crash.cuts import Cuts, CutStore, with_cuts


class Order(TypedDict):
    """One daemon to be started."""

    folder: str
    """Holds etc/config/, state/, the socket `s`, `log`, and while cuts are armed a file `armed`."""
    points: str
    """The file that gets a line for each point passed; empty: a daemon as it is in production."""
    cut: str | None
    """The point to die at."""


def cut_surroundings(order: Order) -> service.Surroundings:
    """The host's disk and drivers, with points around every write and call."""
    armed = Path(order["folder"], "armed")
    points = os.open(order["points"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    async def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)  # nothing more may happen here

    def passed(point: str) -> None:
        os.write(points, f"{point}\n".encode())

    cuts = Cuts(
        order["cut"],
        die=die,
        passed=passed,
        armed=armed.exists,
    )

    def open_ledger(state: Path) -> CutStore:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        store = CutStore.open(state, sealer=open_sealer(state), wall=time.time)
        store.cuts = cuts
        return store

    def drivers(state: Path, clock: Clock) -> Drivers:
        return with_cuts(build_drivers(state, clock), cuts)

    return service.Surroundings(open_ledger, drivers)


def be_daemon(order: Order) -> int:
    folder = Path(order["folder"])
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    settings = Settings(
        config=folder / "etc" / "config", state=folder / "state", socket=folder / "s"
    )
    return service.run(settings, cut_surroundings(order) if order["points"] else service.HOST)


def start(order: Order) -> int:
    """Returns the pid; in the child never, but by way of the interpreter's usual end."""
    pid = os.fork()
    if not pid:
        sys.exit(be_daemon(order))
    return pid


def wait(pid: int, within: float) -> int | None:
    descriptor = os.pidfd_open(pid)
    try:
        if not select.select([descriptor], [], [], within)[0]:
            return None
    finally:
        os.close(descriptor)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


ON_DEMAND = ("uvloop", "anyio._backends._asyncio", "anyio.streams.memory", "anyio.to_thread")
"""What a daemon imports after its start, through uvloop and watchfiles."""


def warm_up() -> None:
    """Imports what is imported on demand, and builds the tables of CEL's grammar."""
    for name in ON_DEMAND:
        import_module(name)
    starter = resources.files("stoker.config.starter").iterdir()
    files = {file.name: file.read_text("utf-8") for file in starter if file.name.endswith(".yaml")}
    assert load(files, catalogue(), "the starter config").revision is not None
    assert threading.active_count() == 1, "forking is safe without threads only"


def main() -> None:
    warm_up()
    gc.collect()
    gc.freeze()
    living: set[int] = set()
    for line in sys.stdin:
        asked = json.loads(line)
        if "start" in asked:
            pid = start(cast("Order", asked["start"]))
            living.add(pid)
            answer: object = {"pid": pid}
        else:
            status = wait(asked["wait"], asked["within"])
            if status is not None:
                living.discard(asked["wait"])
            answer = {"status": status}
        print(json.dumps(answer), flush=True)
    for pid in living:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
