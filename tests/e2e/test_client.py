"""The Python client with the real daemon: restarts, absences and threads."""

import threading
import time
from pathlib import Path

import pytest

from stoker.client import ClaimLost, NoDaemon, Stoker
from tests.fixtures.daemons import RealDaemon, until, work_pool


@pytest.fixture
def pool(daemon: RealDaemon) -> RealDaemon:
    daemon.write("work.yaml", work_pool(ttl="3s"))
    daemon.start()
    daemon.until_ready("work", 2)
    return daemon


def test_a_claim_is_held_over_a_killed_daemon(pool: RealDaemon) -> None:
    with Stoker(pool.socket) as stoker, stoker.claim("work", ttl="8s") as claim:
        claimed = time.monotonic()
        token = claim.outputs["token"]
        pool.kill()
        time.sleep(0.5)
        pool.start()
        time.sleep(max(0, claimed + 9 - time.monotonic()))  # it lives because it was renewed
        claim.check()
        shown = stoker.show(claim.id)
        assert ("bound", token) == (shown.state, shown.outputs["token"])
    assert "released" == stoker.show(claim.id).ended_because


def test_an_absence_beyond_the_expiry_is_told_at_the_end(pool: RealDaemon) -> None:
    stoker = Stoker(pool.socket, patience=0.5)
    claim = stoker.claim("work").__enter__()
    pool.kill()
    until(lambda: claim.lost is not None, "the loss is noticed", within=10)
    assert isinstance(claim.lost, NoDaemon)
    with pytest.raises(ClaimLost, match="over before its holder had finished"):
        claim.__exit__(None, None, None)


def test_a_claim_that_somebody_else_ended_is_told(pool: RealDaemon) -> None:
    with Stoker(pool.socket) as stoker:
        claim = stoker.claim("work").__enter__()
        pool.client.release(claim.id)
        until(lambda: claim.lost is not None, "the loss is noticed", within=5)
        with pytest.raises(ClaimLost):
            claim.__exit__(None, None, None)


def test_threads_that_share_a_client_hold_claims_of_their_own(pool: RealDaemon) -> None:
    found: list[tuple[str, str]] = []

    def work(stoker: Stoker) -> None:
        for _ in range(5):
            with stoker.claim("work", wait="20s") as claim:
                found.append((claim.id, claim.outputs["path"]))
                assert Path(claim.outputs["path"]).is_dir()

    with Stoker(pool.socket) as stoker:
        threads = [threading.Thread(target=work, args=(stoker,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [] == [claim for claim in stoker.claims() if not claim.over]
    assert 30 == len({claim for claim, _ in found}) == len({path for _, path in found})
