"""A real daemon on a folder of its own, to be killed and started again, and how to ask it things."""

import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stoker.pools.drivers.procfs import Snapshot, take_snapshot
from tests.fixtures.callers import Someone, being
from tests.fixtures.cgroups import clear_cgroups

ROOT = Path(__file__).resolve().parents[2]
SOON = 30.0
"""Seconds in which anything here happens, on a slow machine too."""


class Died(Exception):
    """The daemon died instead of answering."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    json: Any


class ForkServer:
    """See the module `fork_server`; one process for many tests."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.fork_server"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, **order: object) -> int:
        pid: int = self._ask({"start": order})["pid"]
        return pid

    def wait(self, pid: int, within: float) -> int | None:
        """How it ended, as `returncode`; None when it still lives after `within` seconds."""
        status: int | None = self._ask({"wait": pid, "within": within})["status"]
        return status

    def close(self) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(SOON)

    def _ask(self, question: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


class _Line(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("stoker", timeout=SOON)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)

    def listener(self) -> int:
        """Who listens: a daemon just killed may live on in a child that has not begun its program."""
        credentials = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid: int = struct.unpack("3i", credentials)[0]
        return pid


class Subject:
    """One state folder and the daemon on it, if one runs."""

    def __init__(self, forks: ForkServer, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self._forks = forks
        self._points = folder / "points"
        self._pid: int | None = None
        (folder / "etc" / "config").mkdir(parents=True)
        folder.chmod(0o750)  # other users of our group reach the socket

    # The daemon

    def declare(self, text: str) -> None:
        """Replaces the configuration in one step, as an operator's tool does."""
        fresh = self.folder / "fresh.yaml"
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self.folder / "etc" / "config" / "all.yaml")

    def start(self, *, cuts: bool = False, cut: str | None = None) -> None:
        """Starts a daemon: with points to be passed, or as it is in production."""
        self._pid = self._forks.start(
            folder=str(self.folder), points=str(self._points) if cuts else "", cut=cut
        )

    def arm(self) -> None:
        """From now on points count."""
        (self.folder / "armed").touch()

    def points(self) -> list[str]:
        """Those that were passed, in order."""
        return self._points.read_text(encoding="utf-8").splitlines()

    def forget_points(self) -> None:
        self._points.unlink()

    def has_died(self, within: float = 0.0) -> bool:
        if self._pid is not None:
            status = self._forks.wait(self._pid, within)
            if status is None:
                return False
            self._pid = None
            assert status == -signal.SIGKILL, f"the daemon ended with {status}:\n{self.log()}"
        return True

    def kill(self) -> None:
        if self._pid is not None:
            os.kill(self._pid, signal.SIGKILL)
            assert self.has_died(SOON)

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def clean_up(self) -> None:
        """Ends the daemon and every process that it started."""
        self.kill()
        clear_cgroups(self.state)
        for marked in self.processes().marked.values():
            for one in marked:
                with suppress(ProcessLookupError):
                    os.kill(one.facts.pid, signal.SIGKILL)

    def processes(self) -> Snapshot:
        """The processes of the host, those with this state folder's mark among them."""
        try:
            status = (self.state / "parts" / "process").stat()
        except FileNotFoundError:
            return Snapshot({}, {})
        return take_snapshot(f"{status.st_dev:x}-{status.st_ino:x}")

    # Questions

    def ask(
        self, method: str, path: str, body: object = None, *, key: str = "", uid: int | None = None
    ) -> Answer:
        """One request, of that user. Raises `Died` when the daemon ends before it has answered."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if key:
            headers["Idempotency-Key"] = key
        line = self._connected(uid)
        try:
            line.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = line.getresponse()
            return Answer(response.status, json.loads(response.read()))
        except (ConnectionError, http.client.HTTPException):
            if self.has_died(SOON):
                raise Died from None
            raise
        finally:
            line.close()

    def get(self, path: str) -> Any:
        answer = self.ask("GET", path)
        assert answer.status == 200, answer
        return answer.json

    def until(self, what: str, is_so: Callable[[], bool], within: float = SOON) -> None:
        deadline = time.monotonic() + within
        while not is_so():
            assert time.monotonic() < deadline, f"not {what} after {within:g} s"
            time.sleep(0.005)

    def _connected(self, uid: int | None = None) -> _Line:
        """Connects as soon as somebody listens."""
        deadline = time.monotonic() + SOON
        while True:
            line = _Line(self.folder / "s")
            with suppress(FileNotFoundError, ConnectionRefusedError):
                with nullcontext() if uid is None else being(Someone(uid, os.getegid())):
                    line.connect()
                if line.listener() == self._pid:
                    return line
            line.close()
            if self.has_died():
                raise Died
            assert time.monotonic() < deadline, f"nobody listens:\n{self.log()}"
            time.sleep(0.003)
