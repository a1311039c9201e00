"""A provider is changed in place: what was made before is looked after and removed where it is."""

import sys
from pathlib import Path

import pytest

from tests.fixtures.daemons import RealDaemon, until

PROGRAM = """
import json, os, sys
request = json.load(sys.stdin)
account = request["with"]["account"]
if request["action"] == "list":
    print(json.dumps({"parts": sorted(os.listdir(account))}))
    sys.exit()
path = os.path.join(account, request["part"]["id"])
state = "present"
if request["action"] == "create":
    open(path, "w").close()
elif request["action"] == "destroy" and os.path.exists(path):
    os.unlink(path)
print(json.dumps({"state": "present" if os.path.exists(path) else "absent"}))
"""

CONFIG = """
apiVersion: stoker/v1
kind: Provider
metadata: {name: NAME}
spec: {driver: command, with: {program: [PYTHON, PROGRAM], with: {account: ACCOUNT}}}
---
apiVersion: stoker/v1
kind: Blueprint
metadata: {name: ticket}
spec:
  prepare: [{name: ahead, driver: command, provider: NAME}]
  finish: [{name: own, driver: command, provider: NAME}]
---
apiVersion: stoker/v1
kind: Pool
metadata: {name: work}
spec:
  blueprint: ticket
  size: {min: 2, max: 8}
  backfill: {rate: 50/s, concurrency: 4}
  rollout: {settle: 100ms}
"""


@pytest.fixture
def program(daemon: RealDaemon) -> Path:
    path = daemon.folder / "program.py"
    path.write_text(PROGRAM)
    return path


def config(program: Path, account: Path, name: str = "desk") -> str:
    return (
        CONFIG.replace("NAME", name)
        .replace("PYTHON", sys.executable)
        .replace("PROGRAM", str(program))
        .replace("ACCOUNT", str(account))
    )


@pytest.mark.parametrize("name", ["desk", "other-desk"])
@pytest.mark.parametrize("killed", [False, True])
def test_what_was_made_in_another_account_is_removed_there(
    daemon: RealDaemon, program: Path, name: str, *, killed: bool
) -> None:
    old, new = daemon.folder / "old", daemon.folder / "new"
    old.mkdir()
    new.mkdir()
    daemon.write("work.yaml", config(program, old))
    daemon.start()
    daemon.until_ready("work", 2)
    claim = daemon.client.claim("work", ttl="10m")
    daemon.until_ready("work", 2)

    if killed:
        daemon.kill()
    daemon.write("work.yaml", config(program, new, name))
    if killed:
        daemon.start()
    kept = {f"{claim.resource}.{part}" for part in ("ahead", "own")}
    until(lambda: {one.name for one in old.iterdir()} == kept, "the ready ones of before are gone")
    daemon.until_ready("work", 2)
    assert 2 == len(list(new.iterdir()))

    daemon.client.release(claim.id)
    until(lambda: not any(old.iterdir()), "what had the claim is gone, too")
    assert 2 == len(list(new.iterdir()))


def test_a_new_account_that_does_not_work_leaves_the_old_one_serving(
    daemon: RealDaemon, program: Path
) -> None:
    old, new = daemon.folder / "old", daemon.folder / "new"
    old.mkdir()
    daemon.write("work.yaml", config(program, old))
    daemon.start()
    daemon.until_ready("work", 2)
    daemon.write("work.yaml", config(program, new))
    for _ in range(3):
        claim = daemon.client.claim("work", wait="10s")
        assert "bound" == claim.state
        assert (old / f"{claim.resource}.own").exists()
