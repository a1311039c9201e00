"""Starting and ending the servers that are measured, each a process of its own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from .wire import Wire


class NotStarted(Exception):
    """A server ended, or did not answer in time; the message has what it wrote last."""


@asynccontextmanager
async def serving(
    command: Sequence[str | Path], socket: Path, *, within: float = 20.0
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Runs the command until it takes connections on `socket`; ends it on leaving.

    `within`: seconds until the socket must take connections.
    """
    log = socket.with_suffix(".log")
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)
    try:
        await _connectable(process, socket, log, within)
        yield process
    finally:
        await end(process)


async def _connectable(
    process: asyncio.subprocess.Process, socket: Path, log: Path, within: float
) -> None:
    try:
        async with asyncio.timeout(within):
            while process.returncode is None:
                try:
                    (await Wire.connect(str(socket))).close()
                except OSError:
                    await asyncio.sleep(0.002)
                else:
                    return
    except TimeoutError:
        pass
    last = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise NotStarted(f"nothing answers on {socket} after {within:.0f} s; its last words:\n{last}")


async def end(process: asyncio.subprocess.Process, *, within: float = 20.0) -> None:
    """TERM, and KILL when that is not heard."""
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(within):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def module(name: str, *arguments: str | Path | int) -> list[str]:
    """The command line that runs a module of this package."""
    return [sys.executable, "-m", name, *map(str, arguments)]


def resident_bytes(pid: int) -> int:
    """What the kernel says a process holds in memory now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE")
