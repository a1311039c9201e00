"""`make demo`: the real daemon on the starter configuration, from an empty host and back to one.

    python -m stoker.daemon.demo

Says what it does and shows what came of it. The commands are what a person would type; claims are
made through `stoker.client`, so that the time shown is the call's and not that of starting a
command. Every promise is checked; the exit code is 1 when one was not kept, and then what the daemon logged is printed.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..client import Claim, NoDaemon, NotFound, Stoker, StokerError

PATIENCE = 15.0
"""Seconds that any one step may take."""
GREETING = "Hello, I was waiting for you"
STOKER = Path(sys.executable).with_name("stoker")


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
        self._say(f"\n{self._paint('1', f'{self._chapter}. {title}')}")

    def command(self, line: str) -> None:
        self._say(f"   {self._paint('2', '$')} {self._paint('36', line)}")

    def lines(self, text: str) -> None:
        for line in text.rstrip().splitlines():
            self._say(f"   {line}".rstrip())

    def at(self, text: str) -> None:
        """A line with the seconds since the chapter began."""
        since = f"{time.monotonic() - self._began:5.2f} s"
        self._say(f"   {self._paint('2', since)}  {text}")

    def result(self, text: str) -> None:
        self._say(f"\n{self._paint('32', text)}")

    def _say(self, line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text


class Stage:
    """The folder that everything of the demo lies in, and the daemon that runs on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config"
        self.socket = folder / "stoker.sock"
        self.log = folder / "daemon.log"
        self._daemon: subprocess.Popen[bytes] | None = None

    def stoker(self, *arguments: str | Path) -> str:
        """Runs the command line and returns what it printed."""
        environment = {**os.environ, "STOKER_SOCKET": str(self.socket), "COLUMNS": "76"}
        command = [STOKER, *arguments]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        if done.returncode != 0:
            raise Broken(f"stoker {arguments[0]} failed: {done.stderr.strip()}")
        return done.stdout

    def short(self, text: str) -> str:
        """The text with paths as they are seen from the demo's folder."""
        return text.replace(f"{self.folder}/", "")

    def start(self) -> None:
        where: list[str | Path] = [
            "--config",
            self.config,
            "--state",
            self.folder / "state",
            "--socket",
            self.socket,
        ]
        with self.log.open("ab") as log:
            self._daemon = subprocess.Popen([STOKER, "run", *where], stdout=log, stderr=log)

    def stop(self) -> int:
        """Asks the daemon to end and returns its exit code."""
        if self._daemon is None:
            return 0
        self._daemon.terminate()
        try:
            return self._daemon.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            self._daemon.wait()
            raise Broken(f"the daemon did not end within {PATIENCE:.0f} s of TERM") from None

    def processes(self) -> list[int]:
        """Every process that works in a folder of the demo."""
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [pid for pid in pids if self._works_here(pid)]

    def _works_here(self, pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/cwd").readlink().is_relative_to(self.folder)
        except OSError:
            return False

    def clear(self) -> None:
        """After a broken promise: ends what is left of the demo, and of the demo only."""
        with suppress(Broken):
            self.stop()
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


def until(what: str, is_so: Callable[[], bool]) -> None:
    """Asks until the answer is yes. Raises `Broken` when it does not come in time."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > deadline:
            raise Broken(f"{what}: not within {PATIENCE:.0f} s")
        time.sleep(0.005)


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:  # noqa: S310 - our own server
        text: str = answer.read().decode()
    return text.strip()


class Demo:
    """The story, a chapter for each method."""

    def __init__(self, stage: Stage, teller: Teller) -> None:
        self._stage = stage
        self._tell = teller
        self._stoker = Stoker(stage.socket)

    def play(self) -> None:
        self._start()
        self._fill()
        folder = self._claim_folder()
        server = self._claim_server()
        self._use(server)
        self._backfill()
        self._release(server, folder)
        self._show()
        self._stop()

    def _start(self) -> None:
        self._tell.chapter("Start the daemon on the starter configuration")
        self._tell.command("stoker init config")
        self._stage.stoker("init", self._stage.config)
        self._tell.command("stoker validate config")
        self._tell.lines(self._stage.short(self._stage.stoker("validate", self._stage.config)))
        self._tell.command("stoker run --config config --state state --socket stoker.sock &")
        self._stage.start()
        until("the daemon answers", self._answers)
        self._tell.at("the daemon answers")

    def _answers(self) -> bool:
        try:
            return bool(self._stoker.status()["ready"])
        except NoDaemon:
            return False

    def _fill(self) -> None:
        self._tell.chapter("Its pools fill, before anybody asks for anything")
        self._until_full()

    def _until_full(self) -> None:
        shown = ""
        full = False

        def look() -> bool:
            nonlocal shown, full
            pools = self._stoker.pools()
            line = "     ".join(
                f"{pool['name']} {'●' * pool['ready']}{'○' * (pool['min'] - pool['ready'])}"
                f" {pool['ready']} of {pool['min']}"
                for pool in pools
            )
            if line != shown:
                self._tell.at(line)
                shown = line
            return bool(pools) and all(pool["ready"] >= pool["min"] for pool in pools)

        until("every pool is full", look)

    def _claim_folder(self) -> Claim:
        self._tell.chapter("Claim a work folder: all was done before you asked")
        self._tell.command("stoker claim work")
        claim, took = self._ask("work")
        self._tell.lines(f"{claim.resource} is yours, after {took:.1f} ms")
        self._tell_outputs(claim)
        if not Path(str(claim.outputs["path"])).is_dir():
            raise Broken("the folder does not exist")
        return claim

    def _claim_server(self) -> Claim:
        self._tell.chapter("Claim a web server: it is finished with your words")
        self._tell.command(f'stoker claim web --param greeting="{GREETING}"')
        claim, took = self._ask("web", greeting=GREETING)
        finish = float(claim.info.document["timing"]["finish"].removesuffix("ms"))
        self._tell.lines(
            f"{claim.resource} is yours, after {took:.1f} ms, {finish:.1f} of them to write your page"
        )
        self._tell_outputs(claim)
        again, _ = self._ask("web", greeting=GREETING)
        if (again.id, again.outputs) != (claim.id, claim.outputs):
            raise Broken("the same Idempotency-Key was answered with another claim")
        self._tell.lines(
            "asked again with the same Idempotency-Key: the same claim, the same token"
        )
        return claim

    def _ask(self, pool: str, **params: str) -> tuple[Claim, float]:
        """A warm claim, and after how many milliseconds its answer was here."""
        asked = time.perf_counter()
        claim = self._stoker.claim(pool, params=params, ttl="10m", key=f"demo-{pool}")
        took = (time.perf_counter() - asked) * 1000
        if not claim.info.document["warm"]:
            raise Broken("the claim was not served from the pool")
        return claim, took

    def _tell_outputs(self, claim: Claim) -> None:
        for name, value in claim.outputs.items():
            self._tell.lines(f"  {name:<8} {_mask(name, self._stage.short(str(value)))}")

    def _use(self, claim: Claim) -> None:
        self._tell.chapter("Use it")
        url = str(claim.outputs["url"])
        self._tell.command(f"curl {url}")
        answer = fetch(url)
        self._tell.lines(answer)
        if GREETING not in answer:
            raise Broken("the server does not say the greeting")

    def _backfill(self) -> None:
        self._tell.chapter("The pools make up for what you took")
        self._until_full()

    def _release(self, server: Claim, folder: Claim) -> None:
        self._tell.chapter("Release: a slot is free once what was in it is proved gone")
        self._tell.command(f"stoker release {server.id} {folder.id}")
        server.release()
        folder.release()
        self._tell.at("both claims are over")
        for claim in (server, folder):
            until(f"{claim.resource} is gone", lambda: self._is_gone(claim.resource))  # noqa: B023
        try:
            fetch(str(server.outputs["url"]))
        except OSError:
            self._tell.at(f"{server.resource} is gone: nothing listens on its port any more")
        else:
            raise Broken(f"{server.resource} is gone for the daemon, but still answers")
        if Path(str(folder.outputs["path"])).exists():
            raise Broken(f"{folder.resource} is gone for the daemon, but still there")
        self._tell.at(f"{folder.resource} is gone: so is its folder")

    def _is_gone(self, resource: str) -> bool:
        try:
            self._stoker.resource(resource)
        except NotFound:
            return True
        return False

    def _show(self) -> None:
        self._tell.chapter("What there is now")
        self._tell.command("stoker pools")
        self._tell.lines(self._stage.stoker("pools"))

    def _stop(self) -> None:
        self._tell.chapter("Ask for nothing more, and stop")
        self._tell.command("sed -i 's/min: [0-9]*/min: 0/' config/*.yaml")
        for path in self._stage.config.rglob("*.yaml"):
            text = path.read_text(encoding="utf-8")
            path.write_text(re.sub(r"\bmin: \d+", "min: 0", text), encoding="utf-8")
        held = self._stoker.sync()["config"]["held"]
        self._tell.at("the change is held, because it would destroy what is ready")
        self._tell.command("stoker apply --accept $held")
        self._stoker.steer("accept", revision=held["revision"], reason="the demo is over")
        until("every resource is gone", lambda: not self._stoker.resources())
        self._tell.at("the change was accepted, and every resource is gone")
        self._tell.command("kill -TERM $daemon")
        code = self._stage.stop()
        left = self._stage.processes()
        if code or left:
            raise Broken(f"the daemon ended with {code} and left processes behind: {left}")
        self._tell.at("the daemon has ended with 0; no process is left")
        shutil.rmtree(self._stage.folder)


def _mask(name: str, value: str) -> str:
    """Secrets are handed over, and not shown."""
    secret = name in {"token", "password", "key"}
    return f"{'•' * 8}  ({len(value)} characters, shown to nobody else)" if secret else value


def main() -> int:
    stage = Stage(Path(tempfile.mkdtemp(prefix="stoker-demo-")).resolve())
    teller = Teller()
    began = time.monotonic()
    try:
        Demo(stage, teller).play()
    except (Broken, StokerError, OSError, subprocess.TimeoutExpired) as problem:
        if stage.log.exists():
            teller.lines(stage.log.read_text(encoding="utf-8", errors="replace")[-4000:])
        sys.stderr.write(f"demo: {problem}\n")
        return 1
    finally:
        stage.clear()
    teller.result(f"Done in {time.monotonic() - began:.1f} s; nothing is left behind.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
