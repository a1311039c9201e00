"""`stoker claim POOL -- COMMAND` with the real daemon: exit codes, signals, the release at the end."""

import json
import os
import pty
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from .real_daemon import RealDaemon, eventually


def under(
    daemon: RealDaemon, reason: str, *command: str, options: tuple[str, ...] = ()
) -> "subprocess.Popen[str]":
    return daemon.start("claim", "folders", "--reason", reason, *options, "--", *command)


def test_a_command_finds_the_outputs_and_the_claim_ends_with_it(daemon: RealDaemon) -> None:
    script = 'printf "%s|%s|%s|%s|%s" "$STOKER_CLAIM" "$STOKER_POOL" "$STOKER_GREETING" "$STOKER_API_KEY" "$STOKER_PATH"; test -d "$STOKER_PATH"'
    result = daemon.run("claim", "folders", "--param", "greeting=hi", "--", "sh", "-c", script)
    assert (0, "") == (result.returncode, result.stderr)
    claim, pool, greeting, key, path = result.stdout.split("|")
    assert ("folders", "hi") == (pool, greeting)
    assert len(key) > 20
    assert "released" == daemon.ended_because(claim)
    eventually(lambda: not Path(path).exists())


def test_a_command_finds_the_outputs_of_several_resources(daemon: RealDaemon) -> None:
    script = 'test -d "$STOKER_1_PATH" && test -d "$STOKER_2_PATH" && echo "$STOKER_RESOURCES"'
    result = daemon.run("claim", "single", "folders", "-n", "2", "--", "sh", "-c", script)
    assert (0, "") == (result.returncode, result.stderr)
    assert 2 == len(set(result.stdout.split()))
    assert result.stdout.startswith("folders-")
    with daemon.client() as client:
        eventually(lambda: bool(client.pool("folders")["ready"] >= 2))


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)],
)
def test_the_exit_code_is_the_commands(daemon: RealDaemon, script: str, code: int) -> None:
    assert code == daemon.run("claim", "folders", "--", "sh", "-c", script).returncode


@pytest.mark.parametrize(
    ("program", "code", "told"),
    [("/nonexistent/x", 127, "No such file"), ("/etc/passwd", 126, "Permission denied")],
)
def test_a_command_that_cannot_be_started_leaves_no_claim(
    daemon: RealDaemon, program: str, code: int, told: str
) -> None:
    result = daemon.run("claim", "folders", "--reason", program, "--", program)
    assert code == result.returncode
    assert f"{program} cannot be started: {told}" in result.stderr
    assert program not in [claim.document["reason"] for claim in daemon.claims()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_to_stoker_reaches_the_command_and_then_the_claim_is_released(
    daemon: RealDaemon, number: signal.Signals
) -> None:
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.05; done"
    process = under(daemon, name, "sh", "-c", script)
    assert process.stdout is not None
    assert "ready\n" == process.stdout.readline()
    claim = daemon.claim_of(name).id
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    assert (f"got {name}\n", 9) == (out, process.returncode)
    assert "released" == daemon.ended_because(claim)


def test_a_command_that_is_ended_by_the_signal_gives_its_code(daemon: RealDaemon) -> None:
    process = under(daemon, "sleeper", "sleep", "60")
    claim = daemon.claim_of("sleeper").id
    _child_of(process.pid)
    process.send_signal(signal.SIGTERM)
    assert 143 == process.wait(20)
    process.communicate()
    assert "released" == daemon.ended_because(claim)


def test_a_claim_is_renewed_while_the_command_runs(daemon: RealDaemon) -> None:
    process = under(daemon, "renewed", "sleep", "3", options=("--ttl", "1s"))
    claim = daemon.claim_of("renewed")
    assert 0 == process.wait(20)
    _, err = process.communicate()
    assert "" == err
    assert "released" == daemon.ended_because(claim.id)


def until_begun(process: subprocess.Popen[str]) -> None:
    """The command runs, so its claim was answered: what happens to that now happens under it."""
    assert process.stdout is not None
    assert "begun\n" == process.stdout.readline()


def test_a_lost_claim_is_told_and_the_command_goes_on(daemon: RealDaemon) -> None:
    script = "echo begun; sleep 2; exit 3"
    process = under(daemon, "lost", "sh", "-c", script, options=("--ttl", "2s"))
    until_begun(process)
    claim = daemon.claim_of("lost").id
    with daemon.client() as client:
        client.release(claim)
    _, err = process.communicate(timeout=20)
    assert 3 == process.returncode
    assert f"The claim {claim} is lost" in err
    assert "The command goes on" in err


def test_a_lost_claim_ends_the_command_when_that_was_asked_for(daemon: RealDaemon) -> None:
    started = time.monotonic()
    script = "echo begun; exec sleep 60"
    options = ("--ttl", "2s", "--on-lost", "kill")
    process = under(daemon, "killed", "sh", "-c", script, options=options)
    until_begun(process)
    with daemon.client() as client:
        client.release(daemon.claim_of("killed").id)
    _, err = process.communicate(timeout=20)
    assert 143 == process.returncode
    assert "The command is told to end" in err
    assert time.monotonic() - started < 15


def test_a_killed_stoker_leaves_the_claim_to_expire(daemon: RealDaemon) -> None:
    process = under(daemon, "dead", "sleep", "5", options=("--ttl", "2s"))
    claim = daemon.claim_of("dead").id
    process.kill()
    process.wait(10)
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()
    assert "expired" == daemon.ended_because(claim)


def test_a_restart_of_the_daemon_is_nothing_to_the_command(daemon: RealDaemon) -> None:
    process = under(daemon, "restart", "sleep", "7", options=("--ttl", "15s"))
    claim = daemon.claim_of("restart").id
    daemon.end(signal.SIGKILL)
    daemon.launch()
    _, err = process.communicate(timeout=30)
    assert (0, "") == (process.returncode, err)
    assert "released" == daemon.ended_because(claim)


def test_nothing_that_python_ignores_is_ignored_by_the_command(daemon: RealDaemon) -> None:
    script = ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]
    under_claim = daemon.run("claim", "folders", "--", *script)
    directly = subprocess.run(script, capture_output=True, text=True, check=True)
    assert _signals(directly.stdout) == _signals(under_claim.stdout)


def _signals(status: str) -> dict[str, int]:
    """Without 32 and 33, which belong to the C library and which its posix_spawn ignores."""
    lines = [line.split(":") for line in status.splitlines()]
    return {name: int(mask, 16) & ~(0b11 << 31) for name, mask in lines}


def test_a_signal_that_was_ignored_stays_ignored(daemon: RealDaemon) -> None:
    script = "echo ready; sleep 1; echo done"
    process = daemon.start("claim", "folders", "--", "sh", "-c", script, program="nohup")
    assert process.stdout is not None
    assert "ready\n" == process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    out, _ = process.communicate(timeout=20)
    assert ("done\n", 0) == (out, process.returncode)


def _child_of(pid: int) -> int:
    """The command's pid, once it runs."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    eventually(lambda: bool(children.read_text().split()))
    return int(children.read_text().split()[0])


class AtTerminal:
    """A `stoker` in the foreground of a terminal of its own."""

    def __init__(self, daemon: RealDaemon, *args: str) -> None:
        self.shown = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(
                "/bin/sh", ["sh", "-c", 'exec "$@"', "sh", *_program(), *args], daemon.environment
            )

    def until(self, text: str, within: float = 20.0) -> None:
        deadline = time.monotonic() + within
        os.set_blocking(self.fd, False)
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            try:
                self.shown += os.read(self.fd, 4096).decode()
            except BlockingIOError:
                time.sleep(0.02)
            except OSError:
                break
        assert text in self.shown

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def exit_code(self) -> int:
        status = 0

        def ended() -> bool:
            nonlocal status
            with suppress(OSError):
                self.shown += os.read(self.fd, 4096).decode()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            return pid != 0

        eventually(ended)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def _program() -> list[str]:
    from .real_daemon import STOKER

    return STOKER


def test_ctrl_c_reaches_the_command_once(daemon: RealDaemon) -> None:
    script = (
        "trap 'echo INT' INT; echo ready; for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.1; done; exit 4"
    )
    terminal = AtTerminal(
        daemon, "claim", "folders", "--reason", "ctrl-c", "--", "sh", "-c", script
    )
    terminal.until("ready")
    claim = daemon.claim_of("ctrl-c").id
    terminal.type("\x03")
    assert 4 == terminal.exit_code()
    assert 1 == terminal.shown.count("INT")
    assert "released" == daemon.ended_because(claim)


def test_a_command_reads_from_the_terminal(daemon: RealDaemon) -> None:
    script = 'echo ready; read line; echo "read $line"; [ -t 0 ]'
    terminal = AtTerminal(daemon, "claim", "folders", "--", "sh", "-c", script)
    terminal.until("ready")
    terminal.type("hello\n")
    assert 0 == terminal.exit_code()
    assert "read hello" in terminal.shown


def test_a_wait_at_a_terminal_shows_the_place_and_ctrl_c_gives_it_up(daemon: RealDaemon) -> None:
    with daemon.client() as client:
        held = client.claim("single")
        terminal = AtTerminal(daemon, "claim", "single", "--reason", "waiter", "--wait", "60s")
        terminal.until("Waiting for single, place 1 in the line, about ")
        terminal.until(" to go (")
        waiter = daemon.claim_of("waiter", "single")
        assert "pending" == waiter.state
        terminal.type("\x03")
        assert 130 == terminal.exit_code()
        assert client.show(waiter.id).over
        held.release()


def test_a_wait_ends_when_a_resource_comes(daemon: RealDaemon) -> None:
    with daemon.client() as client:
        eventually(lambda: client.pool("single")["ready"] == 1)
        held = client.claim("single")
        terminal = AtTerminal(daemon, "claim", "single", "--wait", "60s", "--", "echo", "mine now")
        terminal.until("place 1 in the line")
        held.release()
        assert 0 == terminal.exit_code()
        assert "mine now" in terminal.shown


def test_a_wait_that_is_too_short_says_what_to_look_at(daemon: RealDaemon) -> None:
    with daemon.client() as client:
        eventually(lambda: client.pool("single")["ready"] == 1)
        held = client.claim("single")
        result = daemon.run("claim", "single", "--wait", "300ms")
        assert 5 == result.returncode
        assert "in use" in result.stderr
        terminal = AtTerminal(daemon, "claim", "single", "--wait", "1s")
        assert 5 == terminal.exit_code()
        assert "stoker pools single" in terminal.shown
        assert "in use" in terminal.shown.rpartition("became ready within")[2]
        assert [] == [claim for claim in client.claims(pool="single") if claim.id != held.id]
        held.release()


def test_a_waiter_without_a_terminal_that_is_told_to_end_leaves_nothing(daemon: RealDaemon) -> None:
    with daemon.client() as client:
        eventually(lambda: client.pool("single")["ready"] == 1)
        held = client.claim("single")
        process = daemon.start("claim", "single", "--wait", "60s")
        eventually(lambda: client.pool("single")["waiting"] == 1)
        process.terminate()
        assert 143 == process.wait(20)
        process.communicate()
        eventually(lambda: client.pool("single")["waiting"] == 0)
        held.release()
        eventually(lambda: client.pool("single")["ready"] == 1)


def test_the_same_key_gives_the_same_claim_from_another_process(daemon: RealDaemon) -> None:
    first = json.loads(daemon.run("claim", "folders", "--key", "once", "-o", "json").stdout)
    second = json.loads(daemon.run("claim", "folders", "--key", "once", "-o", "json").stdout)
    assert (first["id"], first["resources"]) == (second["id"], second["resources"])
    assert 1 == daemon.run("claim", "folders", "--key", "once", "--ttl", "1m").returncode
    assert 0 == daemon.run("release", first["id"]).returncode


def test_events_are_followed_as_they_happen(daemon: RealDaemon) -> None:
    process = daemon.start("events", "-f", "--kind", "claim.")
    time.sleep(0.5)
    claim = json.loads(daemon.run("claim", "folders", "-o", "json").stdout)["id"]
    assert process.stdout is not None
    assert claim in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert 130 == process.returncode
    daemon.run("release", claim)


def test_what_status_and_lists_print_fits_the_terminal(daemon: RealDaemon) -> None:
    for words in (["status"], ["pools"], ["resources"], ["claims", "--all"], ["events", "-n", "3"]):
        result = daemon.run(*words)
        assert (0, "") == (result.returncode, result.stderr.replace("There are no claims.\n", ""))
    terminal = AtTerminal(daemon, "resources")
    assert 0 == terminal.exit_code()
    plain = terminal.shown.replace("\x1b[2m", "").replace("\x1b[32m", "").replace("\x1b[0m", "")
    assert all(len(line) <= 80 for line in plain.splitlines())
