"""`stoker audit` on the state folder of a real daemon, while it runs and afterwards."""

import json
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from stoker.daemon.cli.group import cli
from tests.cli.real_daemon import RealDaemon


def audit(*args: object) -> Result:
    return CliRunner().invoke(cli, ["audit", *[str(arg) for arg in args]])


def as_json(result: Result) -> Any:
    return json.loads(result.stdout)


@pytest.fixture
def state(daemon: RealDaemon) -> Path:
    """With a few claims, a pause and a refusal in it; the daemon goes on."""
    with daemon.client() as stoker:
        with stoker.claim("folders", reason="one"):
            pass
        stoker.operate("pools", "single", "pause", reason="so")
        stoker.operate("pools", "single", "resume")
    return daemon.folder / "state"


@pytest.fixture
def copied(state: Path, tmp_path: Path) -> Path:
    """A copy that may be forged."""
    copy = tmp_path / "copy"
    shutil.copytree(state, copy)
    return copy


def forge(folder: Path, sql: str) -> None:
    connection = sqlite3.connect(folder / "ledger.db", isolation_level=None)
    connection.execute(sql)
    connection.close()


def test_a_running_daemons_audit_is_proved_without_disturbing_it(
    daemon: RealDaemon, state: Path
) -> None:
    before = sorted(path.name for path in state.iterdir())
    result = audit("verify", "--state", state)
    assert 0 == result.exit_code, result.output
    assert result.stdout.startswith("Sound: ")
    found = as_json(audit("verify", "--state", state, "-o", "json"))
    assert (True, [], 1) == (found["sound"], found["findings"], found["first"])
    assert sorted(path.name for path in state.iterdir()) == before
    with daemon.client() as stoker:
        stoker.claim("folders").release()


def test_the_head_is_told_by_the_daemon_and_by_the_files(daemon: RealDaemon, state: Path) -> None:
    head = audit("head", "--state", state).stdout.strip()
    with daemon.client() as stoker:
        assert head == stoker.status()["ledger"]["head"]
    assert head == "{seq}:{hash}".format(**as_json(audit("head", "--state", state, "-o", "json")))
    assert 0 == audit("verify", "--state", state, "--expect", head).exit_code


def test_an_altered_and_a_missing_event_are_named(copied: Path) -> None:
    forge(copied, "UPDATE events SET reason = 'nothing' WHERE seq = 3")
    forge(copied, "DELETE FROM events WHERE seq = 5")
    result = audit("verify", "--state", copied)
    assert 1 == result.exit_code
    assert "altered: event 3 (" in result.stdout
    assert "missing: event 5 is missing before event 6" in result.stdout
    assert "Broken: 2 findings" in result.stdout
    found = as_json(audit("verify", "--state", copied, "-o", "json"))
    assert [("altered", 3, 3), ("missing", 5, 5)] == [
        (one["what"], one["first"], one["last"]) for one in found["findings"]
    ]


def test_a_beginning_that_was_cut_off_is_not_said_to_be_pruned(copied: Path) -> None:
    forge(copied, "DELETE FROM events WHERE seq <= 2")
    result = audit("verify", "--state", copied)
    assert 1 == result.exit_code
    assert "missing: events 1 to 2 are missing at the beginning" in result.stdout
    assert "Broken: 1 finding in" in result.stdout
    assert "as the audit says itself" not in result.stdout


def test_an_end_that_was_cut_off_shows_against_a_head_kept_elsewhere(copied: Path) -> None:
    head = audit("head", "--state", copied).stdout.strip()
    number = int(head.partition(":")[0])
    forge(copied, f"DELETE FROM events WHERE seq > {number - 2}")
    assert 0 == audit("verify", "--state", copied).exit_code, "the chain alone cannot show it"
    result = audit("verify", "--state", copied, "--expect", head)
    assert 1 == result.exit_code
    assert f"event {number} was expected and it ends with event {number - 2}" in result.stdout
    other = f"{number - 3}:{'0' * 64}"
    result = audit("verify", "--state", copied, "--expect", other)
    assert 1 == result.exit_code
    assert "and not the expected" in result.stdout


def test_an_export_is_proved_elsewhere_and_gone_on_with(state: Path, tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl"
    assert 0 == audit("export", file, "--state", state).exit_code
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert 1 == audit("export", file, "--state", state).exit_code, "it is there already"
    count = len(file.read_bytes().splitlines())
    proved = as_json(audit("verify", file, "-o", "json"))
    assert (True, count) == (proved["sound"], proved["events"])

    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-3]) + lines[-3][:40])  # it was killed here
    again = audit("export", file, "--append", "--state", state)
    assert 0 == again.exit_code, again.output
    assert lines == file.read_bytes().splitlines(keepends=True)[: len(lines)]
    after = audit("export", "--after", 4, "--state", state).stdout.splitlines()
    assert 5 == json.loads(after[0])["seq"]
    (tmp_path / "rest.jsonl").write_text("\n".join(after))
    assert 0 == audit("verify", tmp_path / "rest.jsonl").exit_code
    nothing = audit("export", "--after", 10**9, "--state", state)
    assert 4 == nothing.exit_code


def test_any_spelling_of_the_json_is_proved(state: Path, tmp_path: Path) -> None:
    """As other tools write it: members in another order, with spaces, escaped."""
    file = tmp_path / "all.jsonl"
    audit("export", file, "--state", state)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    spelled = [json.dumps(dict(reversed(one.items())), indent=None) for one in lines]
    file.write_text("\n\n".join(spelled))
    assert 0 == audit("verify", file).exit_code


def test_an_excerpt_is_proved_as_one(state: Path, tmp_path: Path) -> None:
    file = tmp_path / "claims.jsonl"
    audit("export", file, "--kind", "claim.", "--kind", "pool.", "--state", state)
    kinds = {json.loads(line)["kind"].partition(".")[0] for line in file.read_text().splitlines()}
    assert {"claim", "pool"} == kinds
    assert 1 == audit("verify", file).exit_code
    proved = audit("verify", "--excerpt", file)
    assert 0 == proved.exit_code
    assert "It is an excerpt" in proved.stdout
    file.write_text(file.read_text().replace('"reason":"so"', '"reason":"no"'))
    assert 1 == audit("verify", "--excerpt", file).exit_code


def test_the_report_says_who_did_what(state: Path) -> None:
    found = as_json(audit("report", "--state", state, "--since", "1h", "-o", "json"))
    (period,) = found["periods"]
    (folders,) = [one for one in period["claims"] if one["pool"] == "folders"]
    assert folders["bound"] >= 1
    assert folders["ended"]["released"] >= 1
    assert folders["heldSeconds"] > 0
    actions = {(one["action"], one["subject"]) for one in period["actions"]}
    assert {("pool.paused", "single"), ("pool.resumed", "single")} <= actions
    assert ["config.applied"] == [one["kind"] for one in found["config"]]
    text = audit("report", "--state", state).stdout
    assert [] == [line for line in text.splitlines() if len(line) > 80]
    assert "pool.paused" in text
    assert "Nothing happened" in audit("report", "--state", state, "--until", "2020-01-01").stdout


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["verify", "--expect", "x"], 2, "SEQ:HASH"),
        (["verify", "--excerpt"], 2, "for files"),
        (["verify", "/nowhere/x"], 1, "cannot be read"),
        (["verify", "--state", "/nowhere"], 1, "there is no ledger"),
        (["head", "--state", "/nowhere"], 1, "there is no ledger"),
        (["export", "--append"], 2, "leave out --after"),
        (["export", "/nowhere/x"], 1, "cannot be written"),
        (["report", "--since", "yesterday"], 2, "is no moment"),
    ],
)
def test_a_wrong_use_is_told_with_a_remedy(
    state: Path, args: list[str], code: int, said: str
) -> None:
    given = args if "--state" in args else [*args, "--state", str(state)]
    result = audit(*given)
    assert code == result.exit_code
    assert said.lower() in (result.stderr + result.stdout).lower()


def test_a_ledger_of_somebody_else_is_told(state: Path, tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        try:
            if os.geteuid() == 0:
                os.setresuid(65534, 65534, 65534)
            else:
                state = tmp_path / "locked"
                state.mkdir(mode=0)
            result = audit("verify", "--state", state)
            os._exit(0 if result.exit_code == 1 and "Error: The" in result.stderr else 1)
        finally:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    assert 0 == os.waitstatus_to_exitcode(status)


def _is_no_ledger(folder: Path) -> None:
    (folder / "ledger.db").write_bytes(b"garbage" * 1000)


def _is_empty(folder: Path) -> None:
    (folder / "ledger.db").write_bytes(b"")


@pytest.mark.parametrize("breaks", [_is_no_ledger, _is_empty])
def test_what_is_no_ledger_is_told(tmp_path: Path, breaks: Callable[[Path], None]) -> None:
    breaks(tmp_path)
    result = audit("verify", "--state", tmp_path)
    assert 1 == result.exit_code
    assert "ledger" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["verify", "export", "report", "head"])
def test_each_has_help_with_an_example_in_eighty_columns(command: str) -> None:
    result = audit(command, "--help")
    assert f"  stoker audit {command}" in result.output.partition("Example")[2]
    assert [] == [line for line in result.output.splitlines() if len(line) > 80]


def test_a_ledger_on_a_medium_that_cannot_be_written_is_proved(
    state: Path, short_tmp: Path
) -> None:
    """As a backup is read: without a write-ahead log, and without a place for one."""
    copied = short_tmp / "copy"
    shutil.copytree(state, copied)
    connection = sqlite3.connect(copied / "ledger.db")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    assert not (copied / "ledger.db-wal").exists()
    (copied / "ledger.db").chmod(0o444)
    copied.chmod(0o555)
    short_tmp.chmod(0o755)
    child = os.fork()
    if not child:  # root could write there all the same
        try:
            if os.geteuid() == 0:
                os.setresuid(65534, 65534, 65534)
            os._exit(audit("verify", "--state", copied).exit_code)
        finally:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    copied.chmod(0o700)
    assert 0 == os.waitstatus_to_exitcode(status)
    assert {"ledger.db"} == {path.name for path in copied.glob("ledger.db*")}
