"""Making and watching processes, on real ones."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import uvloop

from stoker.pools.driver import PartRef, Presence, Rejected, Unavailable
from stoker.pools.drivers import process_launch
from stoker.pools.drivers.process import FACTS
from stoker.pools.ids import PartId
from tests.drivers.processes import (
    PART,
    PROVIDER,
    HandClock,
    ProcessHost,
    a_host,
    a_ref,
    a_request,
    eventually,
    is_running,
    kill_all,
    mark_of,
    pid_of,
    python,
    read_facts,
    read_marks,
    shell,
    wait_for_text,
)  # fmt: skip


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    kill_all(tmp_path)


@pytest.fixture
async def host(state: Path) -> AsyncIterator[ProcessHost]:
    async with a_host(state) as host:
        yield host


def log_of(state: Path, name: str = "stdout.log") -> Path:
    return state / "parts" / "process" / PART / name


async def test_a_process_leads_a_session_of_its_own_and_carries_the_mark(host: ProcessHost) -> None:
    made = await host.make()
    pid = pid_of(made)
    facts = read_facts(pid)
    assert facts is not None
    assert (pid, pid, os.getpid()) == (facts.group, facts.session, facts.parent)
    marks = read_marks(pid)
    assert (PART, host.mark) == (marks["STOKER_PART"], marks["STOKER_STATE"])


async def test_the_outputs_are_those_that_the_facts_promise(host: ProcessHost) -> None:
    made = await host.driver.create(a_request(listening={"http": 20_001}))
    assert set(FACTS.outputs) == set(made.outputs)
    assert {"http": 20_001} == made.outputs["ports"]
    assert str(log_of(host.state)) == made.outputs["log"]
    assert {} == made.secrets


def descriptors(pid: int) -> dict[str, str]:
    """What the process has open, as far as it stays open while it is looked at."""
    found: dict[str, str] = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found[entry.name] = str(entry.readlink())
    return found


async def test_a_process_inherits_no_descriptor_but_its_three(host: ProcessHost) -> None:
    inherited, other = os.pipe()
    os.set_inheritable(inherited, True)
    try:
        pid = pid_of(await host.make())
    finally:
        os.close(inherited)
        os.close(other)
    expected = {
        "0": "/dev/null",
        "1": str(log_of(host.state)),
        "2": str(log_of(host.state, "stderr.log")),
    }
    # A program that is just starting has its libraries open for a moment.
    for _ in range(200):
        if descriptors(pid) == expected:
            break
        await asyncio.sleep(0.02)
    assert expected == descriptors(pid)


async def test_a_process_sees_only_the_variables_it_is_meant_to(
    host: ProcessHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET_OF_THE_DAEMON", "hidden")
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("NAMED", "passed on")
    await host.make(
        command=shell("env; echo end"),
        env={"COLOUR": "blue"},
        inheritEnv=["PATH", "LANG", "NAMED", "NOT_SET"],
    )
    lines = (await wait_for_text(log_of(host.state), "end")).splitlines()
    seen = {line.partition("=")[0] for line in lines if "=" in line} - {
        "PWD",
        "OLDPWD",
        "_",
        "SHLVL",
    }
    assert {
        "PATH", "LANG", "NAMED", "COLOUR", "STOKER_PART", "STOKER_STATE", "STOKER_SPEC",
    } == seen  # fmt: skip
    assert "COLOUR=blue" in lines


async def test_numbers_become_words_as_expressions_give_ports_as_numbers(host: ProcessHost) -> None:
    await host.make(
        command=["/bin/sh", "-c", "echo $0 $PORT $DEBUG end", 20_001],
        env={"PORT": 20_002, "DEBUG": True},
    )
    assert "20001 20002 true end\n" == await wait_for_text(log_of(host.state), "end")


async def test_logs_and_folders_are_not_for_everybody_whatever_the_umask(host: ProcessHost) -> None:
    before = os.umask(0o077)
    try:
        await host.make(umask="0027", command=shell("umask; echo done"))
    finally:
        os.umask(before)
    assert "0027\ndone\n" == await wait_for_text(log_of(host.state), "done")
    assert 0o640 == log_of(host.state).stat().st_mode & 0o777
    assert 0o750 == log_of(host.state).parent.stat().st_mode & 0o777


async def test_making_it_again_returns_the_same_process(host: ProcessHost) -> None:
    first = await host.make()
    assert first == await host.make()


async def test_a_creation_that_was_cancelled_is_found_and_not_doubled(host: ProcessHost) -> None:
    creation = asyncio.create_task(host.make(), name="creation")
    while not log_of(host.state).parent.exists():
        await asyncio.sleep(0)
    creation.cancel()
    await asyncio.gather(creation, return_exceptions=True)
    await eventually(lambda: log_of(host.state, "process.json").exists())
    assert PART in await host.driver.list_owned()
    made = await host.make()
    assert [PART] == list(await host.driver.list_owned())
    assert json.loads(log_of(host.state, "process.json").read_text())["pid"] == pid_of(made)
    assert await host.end(a_ref(made)) >= 1


async def test_a_process_whose_start_was_not_written_down_is_known_by_its_mark(
    host: ProcessHost,
) -> None:
    made = await host.make()
    log_of(host.state, "process.json").unlink()
    intended = PartRef(PART, PROVIDER, {"ports": {}})
    assert Presence.PRESENT is (await host.driver.observe(intended)).presence
    assert made == await host.make()


async def test_a_process_with_other_settings_is_ended_before_the_new_one_starts(
    host: ProcessHost,
) -> None:
    old = await host.make()
    with pytest.raises(Unavailable, match="earlier attempt"):
        await host.make(env={"COLOUR": "blue"})
    await eventually(lambda: not is_running(pid_of(old)))
    new = await host.make(env={"COLOUR": "blue"})
    assert is_running(pid_of(new))


async def test_a_process_that_runs_is_present(host: ProcessHost) -> None:
    made = await host.make_watched()
    assert Presence.PRESENT is (await host.driver.observe(a_ref(made))).presence


async def test_a_kill_from_outside_is_told_at_once(host: ProcessHost) -> None:
    made = await host.make_watched()
    os.kill(pid_of(made), signal.SIGKILL)
    assert await eventually(lambda: host.changes == [PART]) < 1
    seen = await host.driver.observe(a_ref(made))
    assert (Presence.ABSENT, f"process {pid_of(made)} was killed by SIGKILL") == (
        seen.presence,
        seen.detail,
    )


def test_a_kill_from_outside_is_told_at_once_under_uvloop(state: Path) -> None:
    async def watch_and_kill() -> float:
        async with a_host(state) as host:
            made = await host.make_watched()
            os.kill(pid_of(made), signal.SIGKILL)
            took = await eventually(lambda: host.changes == [PART])
            await host.end(a_ref(made))
            return took

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(watch_and_kill()) < 1


async def test_an_end_before_the_watch_is_told_too(host: ProcessHost) -> None:
    made = await host.make(command=["true"])
    await eventually(lambda: not is_running(pid_of(made)))
    host.driver.watch(a_ref(made))
    await eventually(lambda: host.changes == [PART])


async def test_an_exit_is_explained_by_its_code_and_last_words(host: ProcessHost) -> None:
    made = await host.make_watched(command=shell("echo one >&2; echo 'no licence' >&2; exit 3"))
    await eventually(lambda: host.changes == [PART])
    seen = await host.driver.observe(a_ref(made))
    assert Presence.ABSENT is seen.presence
    assert (
        f"process {pid_of(made)} exited with code 3; last line of stderr: no licence" == seen.detail
    )


async def test_last_words_are_kept_short(host: ProcessHost) -> None:
    made = await host.make_watched(command=python("import sys; sys.exit('x' * 9000)"))
    await eventually(lambda: host.changes == [PART])
    assert len((await host.driver.observe(a_ref(made))).detail) < 300


async def test_what_is_forgotten_is_told_no_more(host: ProcessHost) -> None:
    made = await host.make_watched()
    host.driver.forget(PART)
    host.driver.forget(PART)
    os.kill(pid_of(made), signal.SIGKILL)
    await eventually(lambda: not is_running(pid_of(made)))
    await asyncio.sleep(0.05)
    assert [] == host.changes


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"command": ["no-such-program-here"]}, "'no-such-program-here' in PATH"),
        ({"command": ["/no/such/program"]}, "/no/such/program"),
        ({"command": ["/etc/passwd"]}, "/etc/passwd is no executable file"),
        ({"command": ["/etc"]}, "/etc is no executable file"),
        ({"cwd": "/no/such/folder"}, "the folder /no/such/folder"),
        ({"cwd": "relative"}, "cwd: .*absolute"),
        ({"command": []}, "command: "),
        ({"colour": "blue"}, "colour: "),
        ({"env": {"STOKER_PART": "x"}}, "STOKER_PART is the driver's own"),
        ({"env": {"A=B": "x"}}, "name of a variable"),
        ({"command": ["sleep", "\0"]}, "NUL"),
        ({"umask": "9"}, "octal"),
        ({"ports": ["http", "http"]}, "a port twice"),
        ({"stop": {"signal": "STOP"}}, "stop.signal"),
        ({"user": "no-such-user-here"}, "user"),
        ({"command": ["true", "x" * 3_000_000]}, "too long"),
    ],
)
async def test_what_can_never_start_is_rejected_with_its_name(
    host: ProcessHost, settings: dict[str, object], words: str
) -> None:
    request = a_request(**settings)  # type: ignore[arg-type]
    with pytest.raises(Rejected, match=words):
        await host.driver.create(request)
    await host.end(PartRef(PART, PROVIDER, host.driver.intend(request)))
    assert frozenset() == await host.driver.list_owned()


async def test_a_file_that_is_no_program_is_rejected(host: ProcessHost, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("echo no first line\n")
    script.chmod(0o755)
    with pytest.raises(Rejected, match="no program for this machine"):
        await host.make(command=[str(script)])
    script.write_text("#!/no/such/interpreter\n")
    with pytest.raises(Rejected, match="interpreter"):
        await host.make(command=[str(script)])


async def test_a_program_may_be_named_relative_to_its_folder(
    host: ProcessHost, tmp_path: Path
) -> None:
    script = tmp_path / "hello"
    script.write_text("#!/bin/sh\necho hello from $PWD\n")
    script.chmod(0o755)
    await host.make(command=["./hello"], cwd=str(tmp_path))
    assert f"hello from {tmp_path}\n" == await wait_for_text(log_of(host.state), "hello")


async def test_no_value_of_a_wrong_setting_is_repeated(host: ProcessHost) -> None:
    with pytest.raises(Rejected) as refused:
        await host.make(env={"TOKEN": ["s3cret"]})
    assert "s3cret" not in str(refused.value)


async def test_limits_hold_from_the_first_moment(host: ProcessHost) -> None:
    wanted = {
        "openFiles": 77,
        "fileSize": "1MiB",
        "cpuSeconds": 50,
        "memory": "4GiB",
        "coreSize": 0,
    }
    made = await host.make(
        command=python(
            "import resource as r\n"
            "for kind in r.RLIMIT_NOFILE, r.RLIMIT_FSIZE, r.RLIMIT_CPU, r.RLIMIT_AS, r.RLIMIT_CORE:\n"
            "    print(*r.getrlimit(kind))"
        ),
        limits=wanted,  # type: ignore[arg-type]
    )
    text = await wait_for_text(log_of(host.state), "0 0")
    assert "77 77\n1048576 1048576\n50 50\n4294967296 4294967296\n0 0\n" == text
    assert pid_of(made) > 0


async def test_a_limit_above_the_hosts_is_rejected(
    host: ProcessHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_launch, "_may_raise", lambda: False)
    with pytest.raises(Rejected, match="nofile of 2000000000 is above"):
        await host.make(limits={"openFiles": 2_000_000_000})


async def test_a_process_becomes_another_user_only_when_root_asks(host: ProcessHost) -> None:
    if os.geteuid() != 0:
        with pytest.raises(Rejected, match="only root"):
            await host.make(user="nobody")
        return
    await host.make(command=shell("id -u; id -G; echo $HOME end"), user="nobody")
    uid, groups, home = (await wait_for_text(log_of(host.state), "end")).splitlines()
    assert ("65534", "65534") == (uid, groups)
    assert home.endswith(" end")
    assert "root" not in home


ORDINARY = (1 << 31) - 1
"""Signals 1 to 31. Those beyond are real-time ones, of which the C library keeps some to itself."""


def signals_of(pid: int) -> dict[str, int]:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {
        line.partition(":")[0]: int(line.split()[1], 16) & ORDINARY
        for line in status
        if line.startswith("Sig") and "Q" not in line
    }


async def test_signals_are_as_a_fresh_program_expects(host: ProcessHost) -> None:
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    # A shell starts what it puts into the background with these ignored; that would be inherited.
    ignored = {
        number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGQUIT)
    }
    try:
        made = await host.make()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, before in ignored.items():
            signal.signal(number, before)
    # The shell that the program takes the place of has handlers of its own for a moment.
    expected = {"SigPnd": 0, "SigBlk": 0, "SigIgn": 0, "SigCgt": 0}
    await eventually(lambda: signals_of(pid_of(made)) == expected)
    assert expected == signals_of(pid_of(made))


async def test_parts_of_another_daemon_on_the_host_are_not_its_own(
    host: ProcessHost, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other_state = tmp_path_factory.mktemp("other")
    async with a_host(other_state, HandClock()) as other:
        theirs = await other.make()
        assert frozenset() == await host.driver.list_owned()
        assert 1 == await host.end(PartRef(PART, PROVIDER, {"ports": {}}))
        assert is_running(pid_of(theirs))
        await other.end(a_ref(theirs))
    assert mark_of(other_state) != host.mark


async def test_a_name_that_leads_out_of_the_folder_is_rejected(host: ProcessHost) -> None:
    with pytest.raises(Rejected, match="no part's id"):
        await host.make(PartId("../../etc.server"))


async def test_fifty_at_once_are_all_made_and_all_ended(host: ProcessHost) -> None:
    names = [PartId(f"web-{number:08d}.server") for number in range(50)]
    made = await asyncio.gather(*[host.make_watched(name) for name in names])
    assert set(names) == await host.driver.list_owned()
    await asyncio.gather(
        *[host.end(a_ref(one, name)) for one, name in zip(made, names, strict=True)]
    )
    assert frozenset() == await host.driver.list_owned()
    assert not [one for one in made if read_facts(pid_of(one)) is not None]
