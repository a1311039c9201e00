"""`make demo`: the real daemon on the starter configuration, from an empty host and back to one.

    python -m stoker.daemon.demo

Says what it does and shows what came of it, with the times as a caller sees them. Every promise
is checked; the exit code is 1 when one was not kept, and then what the daemon logged is printed.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..client import Claim, Stoker

PATIENCE = 15.0
"""Seconds that any one step may take."""
GREETING = "Hello from a server that was waiting for you"


class Broken(Exception):
    """Something is not as told."""


class Teller:
    """Prints the story. Colour only on a terminal that wants it."""

    def __init__(self) -> None:
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._began = time.monotonic()
        self._chapter = 0

    def chapter(self, title: str) -> None:
        self._chapter += 1
        self._began = time.monotonic()
        print(f"\n{self._paint('1', f'{self._chapter}. {title}')}", flush=True)

    def command(self, line: str) -> None:
        print(f"   {self._paint('2', '$')} {self._paint('36', line)}", flush=True)

    def line(self, text: str) -> None:
        print(f"   {text}", flush=True)

    def at(self, text: str) -> None:
        """A line with the seconds since the chapter began."""
        since = f"{time.monotonic() - self._began:5.2f} s"
        print(f"   {self._paint('2', since)}  {text}", flush=True)

    def output(self, text: str) -> None:
        print("\n".join(f"   {line}" for line in text.rstrip().splitlines()), flush=True)

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text


class Stage:
    """The folder that everything of the demo lies in, and the daemon that runs on it."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config"
        self.state = folder / "state"
        self.socket = folder / "stoker.sock"
        self.log = folder / "daemon.log"
        self.folder = folder
        self.daemon: subprocess.Popen[bytes] | None = None

    def stoker(self, *arguments: str | Path) -> str:
        """Runs a command of the command line and returns what it printed."""
        command = [sys.executable, "-m", "stoker.daemon.main", *map(str, arguments)]
        environment = {**os.environ, "STOKER_SOCKET": str(self.socket), "COLUMNS": "76"}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        if done.returncode != 0:
            raise Broken(f"stoker {arguments[0]} failed: {done.stderr.strip()}")
        return done.stdout

    def start(self) -> None:
        command = [sys.executable, "-m", "stoker.daemon.main", "run"]
        where = ["--config", self.config, "--state", self.state, "--socket", self.socket]
        with self.log.open("ab") as log:
            self.daemon = subprocess.Popen([*command, *where], stdout=log, stderr=log)

    def stop(self) -> int:
        """Asks the daemon to end and returns its exit code."""
        if self.daemon is None:
            return 0
        self.daemon.terminate()
        try:
            return self.daemon.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()
            raise Broken(f"the daemon did not end within {PATIENCE:.0f} s of TERM") from None

    def processes(self) -> list[int]:
        """Every process that works in a folder of the demo, whoever started it."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._ours(pid)]

    def _ours(self, pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/cwd").readlink().is_relative_to(self.folder)
        except OSError:
            return False


def until(
    what: str, ask: Callable[[], Any], *, every: float = 0.01, on_change: Callable[[Any], None]
) -> None:
    """Asks until the answer is true; tells each new answer. Raises `Broken` after a while."""
    deadline = time.monotonic() + PATIENCE
    last: Any = None
    while time.monotonic() < deadline:
        answer = ask()
        if answer != last:
            on_change(answer)
            last = answer
        if answer:
            return
        time.sleep(every)
    raise Broken(f"{what} did not happen within {PATIENCE:.0f} s")
