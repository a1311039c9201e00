"""The daemon's process: how it ends when it cannot start, and when something in it hangs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import asyncio, sys, threading
from pathlib import Path
from stoker.config.settings import Settings
from stoker.daemon import service
from stoker.pools.drivers import build_drivers

async def fail(*_):
    raise OSError(28, "No space left on device", "/var/lib/marks")

async def stubborn(*_):
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue

def surprise(*_):
    raise ValueError("a defect")

def drivers(state, clock):
    made = build_drivers(state, clock)
    kind, method = sys.argv[2].split(".")
    setattr(made["directory"], method, {"fail": fail, "stubborn": stubborn, "bad": surprise}[kind])
    return made

service.LAST_RESORT = service.CLOSE_WITHIN = 1.0
home = Path(sys.argv[1])
settings = Settings(
    config=home / "config", state=home / "state", socket=home / "s.sock", stop_grace=1.0
)
sys.exit(service.run(settings, service.Surroundings(build_drivers=drivers)))
"""

CONFIG = """
apiVersion: stoker/v1
kind: Blueprint
metadata: {name: folder}
spec: {prepare: [{name: folder, driver: directory}]}
---
apiVersion: stoker/v1
kind: Pool
metadata: {name: folders}
spec: {blueprint: folder, size: {min: 1, max: 2}}
"""


@pytest.fixture
def home(short_tmp: Path) -> Path:
    (short_tmp / "config").mkdir()
    (short_tmp / "config" / "all.yaml").write_text(CONFIG)
    return short_tmp


def start(home: Path, trouble: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(home), trouble],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_driver_that_cannot_open_ends_the_start_with_its_reason(home: Path) -> None:
    with start(home, "fail.open") as process:
        _, told = process.communicate(timeout=30)

    assert process.returncode == 1
    assert "No space left on device" in told
    assert "Traceback" not in told


def test_a_defect_at_the_start_is_told_with_its_traceback(home: Path) -> None:
    with start(home, "bad.open") as process:
        _, told = process.communicate(timeout=30)

    assert process.returncode == 1
    assert "a defect" in told
    assert "Traceback" in told


@pytest.mark.parametrize("trouble", ["stubborn.close", "stubborn.list_owned"])
def test_what_hangs_does_not_keep_the_process(home: Path, trouble: str) -> None:
    with start(home, trouble) as process:
        deadline = time.monotonic() + 30
        while not (home / "s.sock").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1.5)
        os.kill(process.pid, signal.SIGTERM)
        try:
            _, told = process.communicate(timeout=25)
        except subprocess.TimeoutExpired:
            process.kill()
            raise

    assert process.returncode == 0
    assert "left behind" in told
