"""An open claim: waited for, renewed, lost, released."""

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stoker.client import AsyncStoker, Conflict, NoDaemon, Stoker, StokerError, Unavailable

from .documents import a_claim, a_problem
from .scripted_server import Answer, ScriptedServer, reply


def by_request(server: ScriptedServer, **answers: Answer) -> None:
    """Answers by what is asked: claim, show, renew, release."""

    def answer(connection: object) -> bool:
        last = server.seen[-1]
        kind = {"GET": "show", "DELETE": "release"}.get(last.method) or (
            "renew" if last.path.endswith("/renew") else "claim"
        )
        return answers[kind](connection)  # type: ignore[arg-type]

    server.answers = [answer]


def asked(server: ScriptedServer) -> list[str]:
    return [
        "renew" if seen.path.endswith("/renew") else f"{seen.method} {seen.path.partition('?')[0]}"
        for seen in server.seen
    ]


def eventually(condition: Callable[[], bool], within: float = 5.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_open_claim_is_renewed_and_released_at_the_end(
    server: ScriptedServer, short_tmp: Path
) -> None:
    by_request(
        server,
        claim=reply(201, a_claim(ttl=0.6)),
        renew=reply(200, a_claim(ttl=0.6)),
        release=reply(200, a_claim(state="ended")),
    )
    with Stoker(short_tmp / "s").claim("web", ttl=0.6) as claim:
        assert "http://x" == claim.outputs["url"]
        eventually(lambda: asked(server).count("renew") >= 3)
        assert claim.lost is None
    assert "DELETE /v1/claims/c-1" == asked(server)[-1]
    assert "ended" == claim.state
    ended = len(server.seen)
    time.sleep(0.4)
    assert ended == len(server.seen)


async def test_an_open_async_claim_is_renewed_and_released_at_the_end(
    server: ScriptedServer, short_tmp: Path
) -> None:
    by_request(
        server,
        claim=reply(201, a_claim(ttl=0.6)),
        renew=reply(200, a_claim(ttl=0.6)),
        release=reply(200, a_claim(state="ended")),
    )
    async with AsyncStoker(short_tmp / "s") as stoker, await stoker.claim("web", ttl=0.6) as claim:
        assert "http://x" == claim.outputs["url"]
        async with asyncio.timeout(5):
            while asked(server).count("renew") < 3:
                await asyncio.sleep(0.01)
        assert claim.lost is None
    assert "DELETE /v1/claims/c-1" == asked(server)[-1]
    assert "ended" == claim.state


def test_a_pending_claim_is_waited_for(server: ScriptedServer, short_tmp: Path) -> None:
    server.answers = [
        reply(202, a_claim(state="pending", position=2, eta="4s")),
        reply(200, a_claim(state="pending", position=1)),
        reply(200, a_claim(state="finishing")),
        reply(200, a_claim()),
    ]
    stoker = Stoker(short_tmp / "s")
    claim = stoker.claim("web")
    assert (2, 4.0) == (claim.info.position, claim.info.eta)
    with claim:
        assert "bound" == claim.state
    stoker.close()


def test_waiting_no_longer_than_told_leaves_the_claim_in_the_line(
    server: ScriptedServer, short_tmp: Path
) -> None:
    server.answers = [reply(202, a_claim(state="pending"))]
    with Stoker(short_tmp / "s") as stoker, pytest.raises(TimeoutError):
        stoker.claim("web").wait(timeout=0.05)


@pytest.mark.parametrize(
    ("code", "kind"), [("wait-timeout", Unavailable), ("blueprint-failing", Unavailable)]
)
def test_a_claim_that_will_never_be_bound_raises_why(
    server: ScriptedServer, short_tmp: Path, code: str, kind: type[StokerError]
) -> None:
    by_request(
        server,
        claim=reply(202, a_claim(state="pending")),
        show=reply(200, a_claim(state="failed", code=code, detail="the reason")),
        release=reply(200, a_claim(state="failed")),
    )
    with (
        Stoker(short_tmp / "s") as stoker,
        pytest.raises(kind, match="the reason") as raised,
        stoker.claim("web"),
    ):
        raise AssertionError
    assert code == raised.value.code


def test_a_claim_that_ended_elsewhere_is_lost_and_said_once(
    server: ScriptedServer, short_tmp: Path
) -> None:
    told: list[StokerError] = []
    by_request(
        server,
        claim=reply(201, a_claim(ttl=0.5)),
        renew=reply(409, a_problem(409, "claim-over")),
        release=reply(200, a_claim(state="ended")),
    )
    with (
        Stoker(short_tmp / "s") as stoker,
        stoker.claim("web", on_lost=told.append) as claim,
    ):
        eventually(lambda: bool(told))
        time.sleep(0.3)
    assert [Conflict] == [type(error) for error in told]
    assert claim.lost is told[0]


async def test_an_async_claim_that_ended_elsewhere_is_lost(
    server: ScriptedServer, short_tmp: Path
) -> None:
    lost = asyncio.Event()
    by_request(
        server,
        claim=reply(201, a_claim(ttl=0.5)),
        renew=reply(404, a_problem(404, "no-such-claim")),
        release=reply(404, a_problem(404, "no-such-claim")),
    )
    async with AsyncStoker(short_tmp / "s") as stoker:
        claim = await stoker.claim("web", on_lost=lambda _: lost.set())
        async with claim:
            await asyncio.wait_for(lost.wait(), 5)
        assert claim.lost is not None


def test_a_renewal_that_fails_is_tried_again_before_the_claim_is_lost(
    server: ScriptedServer, short_tmp: Path
) -> None:
    server.answers = [
        reply(201, a_claim(ttl=3)),
        reply(503, a_problem(503, "ledger-unavailable")),
        reply(200, a_claim(ttl=60)),
    ]
    with Stoker(short_tmp / "s") as stoker, stoker.claim("web") as claim:
        eventually(lambda: len(server.seen) >= 3)
        time.sleep(0.1)
        assert claim.lost is None
        assert claim.info.expires_at is not None


def test_a_claim_is_lost_when_the_daemon_stays_away_beyond_its_expiry(short_tmp: Path) -> None:
    told = threading.Event()
    with ScriptedServer(short_tmp / "s", [reply(201, a_claim(ttl=0.5))]):
        stoker = Stoker(short_tmp / "s", patience=1)
        claim = stoker.claim("web", on_lost=lambda _: told.set())
        claim.start_renewing()
    assert told.wait(5)
    assert isinstance(claim.lost, NoDaemon)
    claim.stop_renewing()


def test_what_went_wrong_inside_is_not_hidden_by_a_release_that_fails(
    server: ScriptedServer, short_tmp: Path
) -> None:
    by_request(
        server,
        claim=reply(201, a_claim()),
        release=reply(503, a_problem(503, "ledger-unavailable")),
    )
    with (
        Stoker(short_tmp / "s") as stoker,
        pytest.raises(LookupError),
        stoker.claim("web"),
    ):
        raise LookupError


def test_a_release_that_fails_is_told_when_nothing_else_went_wrong(
    server: ScriptedServer, short_tmp: Path
) -> None:
    by_request(
        server,
        claim=reply(201, a_claim()),
        release=reply(503, a_problem(503, "ledger-unavailable")),
    )
    with Stoker(short_tmp / "s") as stoker, pytest.raises(Unavailable), stoker.claim("web"):
        pass


async def test_a_cancelled_holder_releases(server: ScriptedServer, short_tmp: Path) -> None:
    by_request(
        server,
        claim=reply(201, a_claim()),
        release=reply(200, a_claim(state="ended")),
    )
    inside = asyncio.Event()

    async def hold() -> None:
        async with AsyncStoker(short_tmp / "s") as stoker, await stoker.claim("web"):
            inside.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(hold())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "DELETE /v1/claims/c-1" == asked(server)[-1]


def test_secrets_are_no_part_of_what_is_printed_of_a_claim(
    server: ScriptedServer, short_tmp: Path
) -> None:
    server.answers = [reply(201, a_claim(resources=[{"id": "r", "outputs": {"t": "hush"}}]))]
    with Stoker(short_tmp / "s") as stoker:
        claim = stoker.claim("web")
    assert "hush" not in repr(claim) + repr(claim.info)
