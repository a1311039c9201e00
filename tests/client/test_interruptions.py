"""Clients that are interrupted, forked, out of patience or out of time, and what is left of their claims."""

import asyncio
import gc
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import pytest

from stoker.client import AsyncStoker, ClaimLost, NoDaemon, NotFound, Stoker, StokerError
from stoker.client.places import find_socket
from stoker.client.retrying import Attempts, Lost
from stoker.config.places import default_socket

from .documents import a_claim, a_problem
from .scripted_server import Answer, ScriptedServer, reply, silence
from .test_claims_that_are_held import by_request, eventually


def cut_after(seconds: float) -> Answer:
    """The daemon ends that long after it took the request."""

    def answer(_: socket.socket) -> bool:
        time.sleep(seconds)
        return False

    return answer


# Patience


def test_patience_counts_from_the_loss_and_not_from_the_request() -> None:
    attempts = Attempts(10.0, 0.0, seen_before=True)
    lost = Lost("cut", connected=True)
    assert attempts.pause_after(lost, 60.0) is not None
    assert attempts.pause_after(lost, 69.0) is not None
    assert attempts.pause_after(lost, 70.1) is None


def test_an_outage_after_a_long_attempt_has_all_the_patience_again() -> None:
    attempts = Attempts(10.0, 0.0, seen_before=True)
    lost = Lost("cut", connected=True)
    pause = attempts.pause_after(lost, 5.0)
    assert pause is not None
    assert attempts.pause_after(lost, 5.0 + pause + 30.0) is not None


def test_a_claim_that_waited_for_long_is_sent_again_with_what_is_left_of_its_wait(
    server: ScriptedServer, short_tmp: Path
) -> None:
    server.answers = [cut_after(0.6), reply(201, a_claim())]
    with Stoker(short_tmp / "s", patience=0.4) as stoker:
        stoker.claim("web", wait="10s")
    first, second = server.seen
    assert "10s" == first.json["wait"]
    left = float(second.json["wait"].removesuffix("ms")) / 1000
    assert 5 < left < 9.5
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


async def test_an_async_claim_that_waited_for_long_is_sent_again_with_what_is_left(
    server: ScriptedServer, short_tmp: Path
) -> None:
    server.answers = [cut_after(0.6), reply(201, a_claim())]
    async with AsyncStoker(short_tmp / "s", patience=0.4) as stoker:
        await stoker.claim("web", wait="10s")
    assert float(server.seen[1].json["wait"].removesuffix("ms")) < 9500


# Interrupted while claiming


@contextmanager
def interrupted_after(seconds: float) -> Generator[None]:
    """As Ctrl-C."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def taken_back(server: ScriptedServer) -> bool:
    """The same claim was asked for again, without waiting, and released."""
    first, second, *rest = server.seen
    return (
        first.headers["idempotency-key"] == second.headers["idempotency-key"]
        and "wait" not in second.json
        and ["DELETE"] == [seen.method for seen in rest]
    )


def test_an_interrupted_claim_is_taken_back(server: ScriptedServer, short_tmp: Path) -> None:
    server.answers = [silence(server.over), reply(201, a_claim()), reply(200, a_claim())]
    with (
        Stoker(short_tmp / "s") as stoker,
        interrupted_after(0.2),
        pytest.raises(KeyboardInterrupt),
    ):
        stoker.claim("web", wait="20s")
    assert taken_back(server)


async def test_a_cancelled_claim_is_taken_back(server: ScriptedServer, short_tmp: Path) -> None:
    server.answers = [silence(server.over), reply(201, a_claim()), reply(200, a_claim())]
    async with AsyncStoker(short_tmp / "s") as stoker:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await stoker.claim("web", wait="20s")
    assert taken_back(server)


def test_a_claim_whose_answer_never_comes_is_taken_back(
    server: ScriptedServer, short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.client.requests.FINISH_WITHIN", 0.0)
    server.answers = [silence(server.over), reply(201, a_claim()), reply(200, a_claim())]
    with Stoker(short_tmp / "s", timeout=0.2) as stoker, pytest.raises(NoDaemon, match=r"0\.2 s"):
        stoker.claim("web")
    assert taken_back(server)


def test_a_claim_with_a_key_of_its_own_is_left_to_whoever_knows_the_key(
    server: ScriptedServer, short_tmp: Path
) -> None:
    server.answers = [silence(server.over)]
    with (
        Stoker(short_tmp / "s") as stoker,
        interrupted_after(0.2),
        pytest.raises(KeyboardInterrupt),
    ):
        stoker.claim("web", wait="20s", key="mine")
    assert 1 == len(server.seen)


def test_a_refused_claim_leaves_nothing_to_take_back(
    server: ScriptedServer, short_tmp: Path
) -> None:
    server.answers = [reply(429, a_problem(429, "queue-full"))]
    with Stoker(short_tmp / "s") as stoker, pytest.raises(StokerError):
        stoker.claim("web")
    assert 1 == len(server.seen)


# Lost while it was open


def expired(server: ScriptedServer) -> None:
    by_request(
        server,
        claim=reply(201, a_claim(ttl=0.3)),
        renew=reply(409, a_problem(409, "claim-over")),
        release=reply(200, a_claim(state="ended", endedBecause="expired")),
    )


def work_until_lost(stoker: Stoker, error: Exception | None = None) -> None:
    with stoker.claim("web") as claim:
        eventually(lambda: claim.lost is not None)
        with pytest.raises(ClaimLost):
            claim.check()
        if error is not None:
            raise error


async def work_async_until_lost(stoker: AsyncStoker) -> None:
    async with await stoker.claim("web") as claim:
        while claim.lost is None:
            await asyncio.sleep(0.01)


def test_a_holder_whose_claim_was_lost_is_told_at_the_end(
    server: ScriptedServer, short_tmp: Path
) -> None:
    expired(server)
    with (
        Stoker(short_tmp / "s") as stoker,
        pytest.raises(ClaimLost, match="over before its holder had finished") as raised,
    ):
        work_until_lost(stoker)
    assert "claim-lost" == raised.value.code
    assert isinstance(raised.value.__cause__, StokerError)


async def test_an_async_holder_whose_claim_was_lost_is_told_at_the_end(
    server: ScriptedServer, short_tmp: Path
) -> None:
    expired(server)
    async with AsyncStoker(short_tmp / "s") as stoker:
        with pytest.raises(ClaimLost):
            await work_async_until_lost(stoker)


def test_a_claim_that_ended_unseen_is_told_by_the_answer_to_its_release(
    server: ScriptedServer, short_tmp: Path
) -> None:
    told: list[StokerError] = []
    by_request(
        server,
        claim=reply(201, a_claim()),
        release=reply(200, a_claim(state="ended", endedBecause="revoked")),
    )
    with Stoker(short_tmp / "s") as stoker:
        with pytest.raises(ClaimLost, match="revoked"), stoker.claim("web"):
            pass
        with stoker.claim("web", on_lost=told.append):
            pass
    assert 1 == len(told)


def test_what_went_wrong_inside_is_not_hidden_by_the_loss(
    server: ScriptedServer, short_tmp: Path
) -> None:
    expired(server)
    with Stoker(short_tmp / "s") as stoker, pytest.raises(LookupError):
        work_until_lost(stoker, LookupError())


def test_a_claim_that_nobody_remembers_was_lost(server: ScriptedServer, short_tmp: Path) -> None:
    by_request(
        server,
        claim=reply(201, a_claim()),
        release=reply(404, a_problem(404, "no-such-claim")),
    )
    with Stoker(short_tmp / "s") as stoker:
        with pytest.raises(ClaimLost) as raised, stoker.claim("web"):
            pass
        assert isinstance(raised.value.__cause__, NotFound)


def test_a_defect_that_ends_the_renewing_is_told(
    server: ScriptedServer, short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("no more threads")

    told: list[StokerError] = []
    server.answers = [reply(201, a_claim(ttl=0.3))]
    with Stoker(short_tmp / "s") as stoker:
        claim = stoker.claim("web", on_lost=told.append)
        monkeypatch.setattr(stoker, "request", broken)
        claim.start_renewing()
        eventually(lambda: bool(told))
    assert "RuntimeError: no more threads" in str(claim.lost)


# Renewed by hand while it is open


def widths(server: ScriptedServer) -> list[Any]:
    return [seen.json.get("ttl") for seen in server.seen if seen.path.endswith("/renew")]


def test_a_renewal_by_hand_sets_the_width_of_those_that_follow_and_their_time(
    server: ScriptedServer, short_tmp: Path
) -> None:
    by_request(
        server,
        claim=reply(201, a_claim(ttl=3600)),
        renew=reply(200, a_claim(ttl=0.5)),
        release=reply(200, a_claim(state="ended")),
    )
    with Stoker(short_tmp / "s") as stoker, stoker.claim("web", ttl="1h") as claim:
        claim.renew(0.5)
        eventually(lambda: len(widths(server)) >= 3)
    assert {"500ms"} == set(widths(server))


async def test_an_async_renewal_by_hand_sets_the_width_of_those_that_follow(
    server: ScriptedServer, short_tmp: Path
) -> None:
    by_request(
        server,
        claim=reply(201, a_claim(ttl=3600)),
        renew=reply(200, a_claim(ttl=0.5)),
        release=reply(200, a_claim(state="ended")),
    )
    async with AsyncStoker(short_tmp / "s") as stoker, await stoker.claim("web", ttl="1h") as claim:
        await claim.renew(0.5)
        async with asyncio.timeout(5):
            while len(widths(server)) < 3:
                await asyncio.sleep(0.01)
    assert {"500ms"} == set(widths(server))


# Forks, loops and threads


def in_a_child(work: Callable[[], object]) -> int:
    """The exit code of a forked child that does the work: 0 when it did."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(server: ScriptedServer, short_tmp: Path) -> None:
    server.answers = [reply(200, {})]
    with Stoker(short_tmp / "s") as stoker:
        stoker.status()
        assert 0 == in_a_child(stoker.status)
        stoker.status()
    assert (3, 2) == (len(server.seen), server.connections)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_that_leaves_the_block_does_not_release_its_parents_claim(
    server: ScriptedServer, short_tmp: Path
) -> None:
    server.answers = [reply(201, a_claim()), reply(200, a_claim(state="ended"))]
    with Stoker(short_tmp / "s") as stoker:
        claim = stoker.claim("web").__enter__()
        assert 0 == in_a_child(lambda: claim.__exit__(None, None, None))
        assert 1 == len(server.seen)
        claim.__exit__(None, None, None)
    assert "DELETE" == server.seen[-1].method


def test_one_async_client_serves_one_loop_after_the_other(
    server: ScriptedServer, short_tmp: Path
) -> None:
    server.answers = [reply(200, {"n": 1})]
    stoker = AsyncStoker(short_tmp / "s")
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        for _ in range(2):  # nothing is closed in between: the loops take their connections along
            assert {"n": 1} == asyncio.run(stoker.status())
        del stoker
        gc.collect()


def test_threads_share_a_client_without_mixing_answers(
    server: ScriptedServer, short_tmp: Path
) -> None:
    names = [f"c-{number}" for number in range(8)]
    found: dict[str, set[str]] = {name: set() for name in names}

    def work(stoker: Stoker, name: str) -> None:
        for _ in range(20):
            found[name].add(stoker.show(name).id)

    server.decide = lambda seen: reply(200, a_claim(id=seen.path.rpartition("/")[2]))
    with Stoker(short_tmp / "s") as stoker:
        threads = [threading.Thread(target=work, args=(stoker, name)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {name: {name} for name in names} == found


# Following


def test_following_from_now_on_begins_at_the_newest_event_and_loses_none_to_a_cut(
    server: ScriptedServer, short_tmp: Path
) -> None:
    newest = reply(200, {"seq": 41})
    server.answers = [newest, cut_after(0.0), cut_after(0.0)]
    with Stoker(short_tmp / "s", patience=0.1) as stoker, pytest.raises(NoDaemon):
        next(stoker.events(follow=True, kind="claim."))
    first, second, third, *_ = [seen.path for seen in server.seen]
    assert "/v1/events?limit=1" == first
    assert "/v1/events?follow=1&since=41&kind=claim." == second == third


# Where the socket is


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("runtime", [{}, {"XDG_RUNTIME_DIR": "/run/user/7"}])
def test_the_client_looks_where_the_daemon_listens_unless_told(
    uid: int, runtime: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: uid)
    assert str(default_socket(runtime)) == find_socket(None, runtime)
