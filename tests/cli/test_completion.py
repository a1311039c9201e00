"""Completion in real shells: names come from the live daemon, and nothing at all without one."""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.cli.real_daemon import RealDaemon

BIN = Path(sys.executable).parent
PATIENCE = 20.0
SHELLS = ("bash", "zsh", "fish")


def needs(shell: str) -> str:
    """The shell's path. CI installs all three."""
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"there is no {shell} on this host; install it to test its completion")
    return found


def surroundings(folder: Path, socket: Path) -> dict[str, str]:
    """A home of its own, so that nobody's settings are read and none are written."""
    return {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder / "config-home"),
        "XDG_DATA_HOME": str(folder / "data-home"),
        "STOKER_SOCKET": str(socket),
        "TERM": "dumb",
        "LANG": "C.UTF-8",
    }


LOAD = {
    "bash": 'eval "$(stoker completion bash)"',
    "zsh": 'autoload -Uz compinit && compinit -u && eval "$(stoker completion zsh)"',
}
START = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}


class Terminal:
    """An interactive shell, and what it has shown."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.shown = ""

    def type(self, keys: str) -> None:
        os.write(self._descriptor, keys.encode())

    def until(self, pattern: str) -> str:
        """Reads until this is shown, and forgets it and all before it."""
        deadline = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self.shown)) is None:
            left = deadline - time.monotonic()
            assert left > 0, f"{pattern!r} was never shown:\n{self.shown}"
            if select.select([self._descriptor], [], [], left)[0]:
                self.shown += os.read(self._descriptor, 4096).decode(errors="replace")
        before, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        return before

    def rest(self, seconds: float) -> str:
        """What is shown within that time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self._descriptor], [], [], left)[0]:
                self.shown += os.read(self._descriptor, 4096).decode(errors="replace")
        return self.shown


@contextmanager
def interactive(shell: str, environment: Mapping[str, str]) -> Generator[Terminal]:
    """The shell with the completion loaded, at its prompt."""
    program = needs(shell)
    child, descriptor = pty.fork()
    if child == 0:
        os.chdir(environment["HOME"])
        os.execve(program, [program, *START[shell]], dict(environment))
    try:
        terminal = Terminal(descriptor)
        terminal.type(f"{LOAD[shell]}; PS1='rea''dy> '\n")
        terminal.until("ready> ")  # what is typed before is echoed by the terminal, and once more
        yield terminal
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(descriptor)


def fish(line: str, environment: Mapping[str, str]) -> list[str]:
    """What fish offers for the line."""
    done = subprocess.run(
        [
            needs("fish"),
            "--no-config",
            "-c",
            "stoker completion fish | source; complete -C $argv",
            line,
        ],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    assert "" == done.stderr
    return done.stdout.splitlines()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_tab_completes_the_name_of_a_pool_and_the_id_of_a_claim(
    shell: str, daemon: RealDaemon, tmp_path: Path
) -> None:
    with daemon.client() as client:
        claim = client.claim("folders", reason=f"completion in {shell}", wait="20s")
        other = client.claim("folders", wait="20s")
    with interactive(shell, surroundings(tmp_path, daemon.folder / "s")) as terminal:
        terminal.type("stoker claim fol\t")
        terminal.until("claim folders")
        terminal.type("\x15stoker pools s\t")
        terminal.until("pools single")
        terminal.type(f"\x15stoker claims {claim.id[:-2]}\t")
        terminal.until(re.escape(claim.id))
        terminal.type(f"\x15stoker resources --pool folders {claim.resource[:-2]}\t")
        terminal.until(re.escape(claim.resource))
        terminal.type("\x15stoker comp\t")
        terminal.until("stoker completion")
    claim.release()
    other.release()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_tab_without_a_daemon_offers_nothing_and_says_nothing(shell: str, tmp_path: Path) -> None:
    with interactive(shell, surroundings(tmp_path, tmp_path / "nobody")) as terminal:
        terminal.type("stoker claim fol\t")
        terminal.until("claim fol")
        assert "" == re.sub(r"\x07|\x1b\[[0-9;?]*[a-zA-Z]|[\r\n]", "", terminal.rest(1.5)).strip()
        terminal.type("\x15echo go'es' on\n")
        terminal.until("goes on")


def test_fish_offers_pools_claims_resources_and_options(daemon: RealDaemon, tmp_path: Path) -> None:
    environment = surroundings(tmp_path, daemon.folder / "s")
    with daemon.client() as client, client.claim("folders", wait="20s") as claim:
        assert ["folders", "single"] == sorted(fish("stoker claim ", environment))
        assert ["folders"] == fish("stoker events --pool f", environment)
        assert claim.id in fish("stoker release c-", environment)
        assert claim.id in fish("stoker events --claim ", environment)
        assert claim.resource in fish("stoker resources folders-", environment)
        assert ["--follow\tGo on with what happens"] == fish("stoker events --f", environment)


def test_fish_without_a_daemon_offers_nothing_and_says_nothing(tmp_path: Path) -> None:
    assert [] == fish("stoker claim ", surroundings(tmp_path, tmp_path / "nobody"))


@pytest.mark.parametrize("shell", SHELLS)
def test_a_daemon_that_hangs_holds_a_prompt_up_for_a_moment_only(
    shell: str, daemon: RealDaemon
) -> None:
    """Stopped in the middle of its work: it accepts connections and answers nobody."""
    words = {"COMP_WORDS": "stoker claim ", "COMP_CWORD": "" if shell == "fish" else "2"}
    asking = {**daemon.environment, **words, "_STOKER_COMPLETE": f"{shell}_complete"}
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        done = subprocess.run(
            [str(BIN / "stoker")],
            env=asking,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        took = time.monotonic() - began
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    assert ("", "") == (done.stdout.strip(), done.stderr)
    assert took < 4
