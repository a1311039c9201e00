"""The file that freezes the host: whatever is there freezes, and only its absence does not."""

import os
import socket
import threading
from pathlib import Path

import pytest

from stoker.daemon import freeze_file
from stoker.daemon.freeze_file import FreezeFile, read_freeze
from stoker.daemon.models import MAX_REASON
from stoker.pools.switches import Operator, Switch, SwitchKind


def test_its_text_is_the_reason_and_its_owner_the_operator(tmp_path: Path) -> None:
    file = tmp_path / "freeze"
    file.write_text("the incident\n of\ttonight\x1b[31m\n")

    assert read_freeze(file, 5.0) == Switch(
        SwitchKind.FREEZE, str(file), Operator(os.getuid()), "the incident of tonight[31m", 5.0
    )


def test_no_file_is_no_freeze(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    (tmp_path / "dangling").symlink_to("nowhere")

    for name in ("freeze", "dangling", "plain/freeze", "no/folder/freeze"):
        assert read_freeze(tmp_path / name, 0.0) is None


def test_whatever_else_is_there_freezes_without_a_wait(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "socket"))
    (tmp_path / "binary").write_bytes(b"\xff\0\xfe" * 10_000)
    (tmp_path / "long").write_text("x" * 10_000)

    kinds = {"folder", "pipe", "socket", "binary", "long"}
    found = {name: read_freeze(tmp_path / name, 0.0) for name in sorted(kinds)}
    listening.close()
    for name, freeze in found.items():
        assert freeze is not None, name
        assert len(freeze.reason) <= MAX_REASON
    assert found["long"] is not None
    assert found["long"].reason == "x" * MAX_REASON


async def test_what_nobody_can_tell_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Switch | None] = []
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    file = FreezeFile(loop, lambda _, found: seen.append(found), lambda: 0.0)
    await file.look()
    await file.look()
    assert seen == []
    assert caplog.text.count("nobody can tell") == 1

    loop.unlink()
    await file.look()
    loop.write_text("so")
    await file.look()
    assert [one and one.reason for one in seen] == [None, "so"]


async def test_a_disk_that_hangs_is_waited_for_by_one_thread_and_keeps_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, reads = threading.Event(), list[Path]()

    def hang(path: Path, now: float) -> Switch | None:
        reads.append(path)
        answers.wait(60)
        return read_freeze(path, now)

    monkeypatch.setattr(freeze_file, "read_freeze", hang)
    monkeypatch.setattr(freeze_file, "READ_WITHIN", 0.01)
    seen: list[Switch | None] = []
    file = FreezeFile(tmp_path / "freeze", lambda _, found: seen.append(found), lambda: 0.0)
    for _ in range(3):
        await file.look()
    assert (len(reads), seen) == (1, [])
    answers.set()
    monkeypatch.setattr(freeze_file, "READ_WITHIN", 10.0)
    await file.look()

    assert (len(reads), seen) == (1, [None])
