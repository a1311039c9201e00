"""A daemon that was killed while it started a process leaves a child that still has its files."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from stoker.pools.stores.folder import LOCK, FolderLock

DIE_WHILE_STARTING_A_PROCESS = """
import os, signal, sys, time
from pathlib import Path
from stoker.pools.stores.folder import FolderLock
lock = FolderLock(Path(sys.argv[1]))
if os.fork() == 0:
    time.sleep(0.5)  # it has not begun its program yet
    os._exit(0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_daemon_waits_for_a_child_that_has_not_begun_its_program(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", DIE_WHILE_STARTING_A_PROCESS, tmp_path], check=False)
    with (tmp_path / LOCK).open("r+b") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    FolderLock(tmp_path).release()
