"""`make demo` keeps what it tells, from an empty host back to an empty host."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.serial
def test_the_demo_tells_its_story_and_leaves_nothing_behind(tmp_path: Path) -> None:
    before = set(Path(tempfile.gettempdir()).glob("stoker-demo-*"))
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "stoker.daemon.demo"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing is left behind" in done.stdout
    assert "Hello, I was waiting for you" in done.stdout
    assert "\x1b" not in done.stdout, "there is no terminal, so there is no colour"
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    assert before == set(Path(tempfile.gettempdir()).glob("stoker-demo-*"))
    assert time.monotonic() - began < 20


def test_the_readme_shows_the_demo() -> None:
    shown = (ROOT / "README.md").read_text(encoding="utf-8")
    story = (ROOT / "daemon" / "demo.py").read_text(encoding="utf-8")
    told = [
        line.split('"')[1] for line in story.splitlines() if ".chapter(" in line and '"' in line
    ]
    assert told
    for chapter in told:
        assert chapter in shown, f"README.md does not show the demo's chapter '{chapter}'"
