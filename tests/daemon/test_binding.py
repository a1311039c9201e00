"""Claims that hang on a real process or a real connection, at a real socket."""

import asyncio
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from stoker.daemon import connections
from stoker.daemon.binding import find_peer
from stoker.daemon.peers import SO_PEERPIDFD, credentials_of
from stoker.pools.claim import Claim, ClaimState, EndedBecause
from stoker.pools.ids import ClaimId
from stoker.pools.processes import HostProcesses, start_of, still_runs
from stoker.pools.requests import Code, Refusal
from tests.conftest import ROOT
from tests.daemon.harness import SOON, Served, a_server
from tests.rig import a_box_pool

UNKNOWN_OPTION = 9999
"""A socket option that no kernel knows: what SO_PEERPIDFD is to one before 6.5."""
HERE = "this boot"
CLAIMANT = r"""
import socket, sys, time
line = socket.socket(socket.AF_UNIX)
line.connect(sys.argv[1])
body = sys.argv[2].encode()
head = b"POST /v1/claims HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
line.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
print(line.recv(65536).decode().splitlines()[-1], flush=True)
time.sleep(600)
"""


class Line:
    """A connection that stays, for one request after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, method: str, path: str, body: Any = None, head: str = "") -> Any:
        """The answer's body, with its status in `_status`."""
        sent = b"" if body is None else json.dumps(body).encode()
        self.writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(sent)}\r\n{head}\r\n".encode()
            + sent
        )
        status = int((await self.reader.readline()).split()[1])
        length = 0
        while (line := await self.reader.readline()).strip():
            name, _, value = line.decode().partition(":")
            length = int(value) if name.lower() == "content-length" else length
        return {**json.loads(await self.reader.readexactly(length)), "_status": status}

    async def claim(self, **body: Any) -> Any:
        return await self.ask("POST", "/v1/claims", {"pool": "web", **body})

    def close(self) -> None:
        self.writer.close()


@asynccontextmanager
async def a_line(served: Served) -> AsyncGenerator[Line]:
    line = Line(*await asyncio.open_unix_connection(str(served.settings.socket)))
    try:
        yield line
    finally:
        line.close()


@contextmanager
def a_claimant(served: Served, **body: Any) -> Generator["subprocess.Popen[str]"]:
    """Another process that claims, keeps its connection, and sleeps."""
    command = [sys.executable, "-c", CLAIMANT, str(served.settings.socket)]
    process = subprocess.Popen(
        [*command, json.dumps({"pool": "web", **body})], stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def answer_of(process: "subprocess.Popen[str]") -> Any:
    assert process.stdout is not None
    return json.loads(await asyncio.to_thread(process.stdout.readline))


async def ended(served: Served, claim: str) -> Claim:
    """The claim, as soon as it is bound no more."""
    found = await served.run.fleet.find_claim(ClaimId(claim))
    async with asyncio.timeout(SOON):
        while found.state is ClaimState.BOUND:
            await asyncio.sleep(0.001)
    return found


async def reasons_of_the_end(served: Served, claim: Claim) -> list[str]:
    events = await served.run.store.events(
        after=0, limit=100, claim=claim.id, kind="claim.claimant-gone"
    )
    return [event.reason for event in events]


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def pidfds() -> int:
    """How many of this process's descriptors are pidfds."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found += "pidfd" in str(entry.readlink())
    return found


def is_bound(served: Served, claim: str) -> bool:
    return any(
        one.id == claim and one.state is ClaimState.BOUND for one in served.run.fleet.live_claims()
    )


# Who is at the other end


@contextmanager
def a_pair(folder: Path) -> Generator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection; this process is at both."""
    with closing(socket.socket(socket.AF_UNIX)) as listening, socket.socket(socket.AF_UNIX) as peer:
        listening.bind(str(folder / "pair"))
        listening.listen()
        peer.connect(str(folder / "pair"))
        accepted, _ = listening.accept()
        with accepted:
            yield accepted, peer


def accepted_now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@pytest.mark.parametrize("option", [SO_PEERPIDFD, UNKNOWN_OPTION])
def test_the_process_that_connected_is_found_by_either_way(short_tmp: Path, option: int) -> None:
    with a_pair(short_tmp) as (accepted, _):
        pid = credentials_of(accepted).pid
        process, pidfd = find_peer(accepted, pid, accepted_now(), HERE, option=option)
        assert (os.getpid(), start_of(os.getpid()), HERE) == (
            process.pid,
            process.start,
            process.boot,
        )
        assert still_runs(pidfd)
        os.close(pidfd)


@pytest.mark.parametrize("option", [SO_PEERPIDFD, UNKNOWN_OPTION])
def test_a_process_that_has_ended_is_refused_by_either_way(short_tmp: Path, option: int) -> None:
    """Its connection lives on in this process, which had it from the one that connected."""
    program = (
        "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "t=socket.socket(socket.AF_UNIX, fileno=int(sys.argv[2]));"
        "socket.send_fds(t, [b'x'], [s.fileno()])"
    )
    one, other = socket.socketpair()
    with closing(socket.socket(socket.AF_UNIX)) as listening, one, other:
        listening.bind(str(short_tmp / "s"))
        listening.listen()
        command = [sys.executable, "-c", program, str(short_tmp / "s"), str(other.fileno())]
        subprocess.run(command, pass_fds=[other.fileno()], check=True)
        accepted, _ = listening.accept()
        _, kept, _, _ = socket.recv_fds(one, 1, 1)
        pid = credentials_of(accepted).pid
        with accepted, pytest.raises(Refusal) as refused:
            find_peer(accepted, pid, accepted_now(), HERE, option=option)
        os.close(kept[0])
    assert Code.CANNOT_FOLLOW is refused.value.code
    assert "has ended already" in refused.value.message


def test_without_the_kernels_help_a_younger_process_of_that_number_is_refused(
    short_tmp: Path,
) -> None:
    start = start_of(os.getpid())
    assert start is not None
    before = start / os.sysconf("SC_CLK_TCK") - 0.02
    with a_pair(short_tmp) as (accepted, _), pytest.raises(Refusal, match="has ended already"):
        find_peer(accepted, os.getpid(), before, HERE, option=UNKNOWN_OPTION)


def test_without_the_kernels_help_a_peer_that_hung_up_is_refused(short_tmp: Path) -> None:
    with a_pair(short_tmp) as (accepted, peer):
        peer.close()
        with pytest.raises(Refusal, match="has ended already"):
            find_peer(accepted, os.getpid(), accepted_now(), HERE, option=UNKNOWN_OPTION)


def test_a_peer_of_another_pid_namespace_is_refused(short_tmp: Path) -> None:
    """The daemon's side runs in a pid namespace of its own, from which this process is not seen."""
    program = (
        "import socket,sys; from stoker.daemon.binding import find_peer;"
        "from stoker.daemon.peers import credentials_of;"
        "from stoker.pools.requests import Refusal;"
        "l=socket.socket(socket.AF_UNIX); l.bind(sys.argv[1]); l.listen(); print('up', flush=True);"
        "a,_=l.accept(); pid=credentials_of(a).pid; print(pid)\n"
        "try: find_peer(a, pid, 1e9, 'boot')\n"
        "except Refusal as refusal: print(refusal.code, refusal.message)"
    )
    inside = [sys.executable, "-c", program, str(short_tmp / "s")]
    command = ["unshare", "--user", "--map-root-user", "--pid", "--fork", *inside]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as daemon:
        assert daemon.stdout is not None
        assert "up\n" == daemon.stdout.readline()
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(short_tmp / "s"))
            said = daemon.stdout.read()
    assert said.startswith("0\ncannot-follow ")
    assert "another pid namespace" in said


def test_nothing_is_left_open_by_a_refusal(short_tmp: Path) -> None:
    with a_pair(short_tmp) as (accepted, _):
        before = descriptors()
        for option in (SO_PEERPIDFD, UNKNOWN_OPTION):
            with pytest.raises(Refusal):
                find_peer(accepted, 2**22 + 7, 0.0, HERE, option=option)
        assert before == descriptors()


# Processes


async def test_a_claim_ends_within_a_tenth_of_a_second_of_its_process(short_tmp: Path) -> None:
    took: list[float] = []
    async with a_server(short_tmp, a_box_pool(min=1, max=20)) as served:
        for _ in range(5):
            with a_claimant(served, bind="process", wait="5s") as claimant:
                told = await answer_of(claimant)
                assert ("bound", "process") == (told["state"], told["bind"])
                claimant.kill()
                killed = time.perf_counter()
                claim = await ended(served, told["id"])
                took.append(time.perf_counter() - killed)
                assert EndedBecause.CLAIMANT_GONE is claim.ended_because
    # The median, because one of five may meet whatever else the machine is doing.
    assert statistics.median(took) < 0.1, took


async def test_a_zombie_has_ended(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        with a_claimant(served, bind="process") as claimant:
            told = await answer_of(claimant)
            os.kill(claimant.pid, 9)  # and nobody waits for it
            claim = await ended(served, told["id"])
            assert EndedBecause.CLAIMANT_GONE is claim.ended_because


async def test_the_claims_of_one_process_take_one_descriptor(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=20, max=20)) as served, a_line(served) as line:
        before = pidfds()
        first = await line.claim(bind="process")
        more = [await line.claim(bind="process") for _ in range(9)]
        async with a_line(served) as another:
            more += [await another.claim(bind="process") for _ in range(10)]
        assert [201] * 20 == [one["_status"] for one in [first, *more]]
        assert before + 1 == pidfds()
        assert 1 == served.run.fleet.ties.processes
        for claim in [first, *more]:
            await line.ask("DELETE", f"/v1/claims/{claim['id']}")
        async with asyncio.timeout(SOON):
            while served.run.fleet.ties.processes:
                await asyncio.sleep(0.01)
        assert before == pidfds()
        again = await line.claim(bind="process", wait="5s")
        assert 201 == again["_status"]


async def test_a_claim_of_a_process_outlives_its_connection(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        async with a_line(served) as line:
            told = await line.claim(bind="process")
        await asyncio.sleep(0.2)
        assert is_bound(served, told["id"])


async def test_too_many_followed_processes_are_refused_before_a_resource_is_used(
    short_tmp: Path,
) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        served.run.services.processes.most = 0
        async with a_line(served) as line:
            told = await line.claim(bind="process")
        assert (503, "too-many-followed") == (told["_status"], told["code"])
        assert 1 == served.run.ready()


async def test_a_daemon_without_descriptors_refuses_to_follow_and_goes_on(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served, a_line(served) as line:
        await line.ask("GET", "/v1/pools/web")  # so that the caller is known
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.open("/dev/null", os.O_RDONLY)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            told = await line.claim(bind="process")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (503, "too-many-followed") == (told["_status"], told["code"])
        assert 1 == served.run.ready()
        assert 201 == (await line.claim(bind="process"))["_status"]


async def test_callers_that_leave_while_they_are_looked_at_leave_no_descriptor(
    short_tmp: Path,
) -> None:
    async with a_server(short_tmp, a_box_pool(min=1, max=1)) as served:
        before = pidfds()
        for number in range(40):
            line = Line(*await asyncio.open_unix_connection(str(served.settings.socket)))
            asking = asyncio.create_task(line.claim(bind="process", wait="5s"))
            await asyncio.sleep(number * 0.0002)
            line.close()
            await asyncio.gather(asking, return_exceptions=True)
            for claim in list(served.run.fleet.live_claims()):
                await served.run.fleet.release(claim.id, request_id="r")
        async with asyncio.timeout(SOON):
            while pidfds() > before:
                await asyncio.sleep(0.01)
        assert 0 == served.run.fleet.ties.processes


async def test_time_is_the_default_and_may_be_said(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=2)) as served:
        async with a_line(served) as line:
            told = [await line.claim(), await line.claim(bind="time")]
        await asyncio.sleep(0.1)
        assert ["time", "time"] == [one["bind"] for one in told]
        assert all(is_bound(served, one["id"]) for one in told)


# Connections


async def test_a_claim_ends_with_its_connection(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=2)) as served:
        async with a_line(served) as line, a_line(served) as other:
            told, kept = await line.claim(bind="connection"), await other.claim(bind="connection")
            assert (201, "connection") == (told["_status"], told["bind"])
            await asyncio.sleep(0.2)
            assert is_bound(served, told["id"])
            line.close()
            claim = await ended(served, told["id"])
            assert EndedBecause.CLAIMANT_GONE is claim.ended_because
            assert is_bound(served, kept["id"])
        async with asyncio.timeout(SOON):
            while not (reasons := await reasons_of_the_end(served, claim)):
                await asyncio.sleep(0.01)
        assert ["the connection on which it was claimed was closed"] == reasons


async def test_closing_one_direction_is_closing(short_tmp: Path) -> None:
    """Who cannot ask for anything any more can neither renew nor release on that connection."""
    async with a_server(short_tmp, a_box_pool(min=1)) as served, a_line(served) as line:
        told = await line.claim(bind="connection")
        line.writer.write_eof()
        claim = await ended(served, told["id"])
        assert EndedBecause.CLAIMANT_GONE is claim.ended_because


async def test_a_waiting_claim_is_given_up_with_its_connection(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=0, max=1)) as served:
        async with a_line(served) as line:
            holder = await line.claim(wait="10s")
            async with a_line(served) as other:
                told = await other.claim(bind="connection")
                assert 202 == told["_status"]
            async with asyncio.timeout(SOON):
                while (await line.ask("GET", f"/v1/claims/{told['id']}"))["state"] != "ended":
                    await asyncio.sleep(0.01)
            await line.ask("DELETE", f"/v1/claims/{holder['id']}")
            gone = await line.ask("GET", f"/v1/claims/{told['id']}")
        assert "claimant-gone" == gone["endedBecause"]


async def test_a_keyed_claim_under_way_ends_with_its_connection_too(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=0, max=1)) as served, a_line(served) as line:
        await line.claim(wait="10s")
        other = Line(*await asyncio.open_unix_connection(str(served.settings.socket)))
        body = {"pool": "web", "bind": "connection", "wait": "20s"}
        asking = asyncio.create_task(
            other.ask("POST", "/v1/claims", body, "Idempotency-Key: k\r\n")
        )
        await asyncio.sleep(0.2)
        assert 2 == len([*served.run.fleet.live_claims()])
        other.close()
        async with asyncio.timeout(SOON):
            while len([*served.run.fleet.live_claims()]) > 1:
                await asyncio.sleep(0.01)
        with pytest.raises((OSError, EOFError, IndexError)):
            await asking


async def test_a_connection_with_claims_is_not_closed_for_being_idle(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "KEEPALIVE", 0.2)
    async with (
        a_server(short_tmp, a_box_pool(min=2)) as served,
        a_line(served) as line,
        a_line(served) as plain,
    ):
        told = await line.claim(bind="connection")
        await plain.claim()
        async with asyncio.timeout(SOON):
            assert b"" == await plain.reader.read()
        await asyncio.sleep(0.5)
        assert is_bound(served, told["id"])
        released = await line.ask("DELETE", f"/v1/claims/{told['id']}")
        assert 200 == released["_status"]
        async with asyncio.timeout(SOON):
            assert b"" == await line.reader.read(), "it is idle like any other again"


async def test_a_connection_with_claims_makes_no_room_for_others(short_tmp: Path) -> None:
    async with (
        a_server(short_tmp, a_box_pool(min=1), max_connections=2) as served,
        a_line(served) as line,
        a_line(served) as plain,
    ):
        told = await line.claim(bind="connection")
        await plain.ask("GET", "/v1/pools/web")
        async with a_line(served) as third:
            assert 200 == (await third.ask("GET", "/v1/pools/web"))["_status"]
            assert b"" == await plain.reader.read()
        assert is_bound(served, told["id"])


async def test_a_request_that_closes_its_connection_cannot_bind_to_it(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served, a_line(served) as line:
        body = {"pool": "web", "bind": "connection"}
        told = await line.ask("POST", "/v1/claims", body, "Connection: close\r\n")
        assert (422, "invalid") == (told["_status"], told["code"])
        assert "Connection: close" in told["detail"]
        assert 1 == served.run.ready()


async def test_the_stop_of_the_daemon_ends_no_claim_of_a_connection(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        async with a_line(served) as line:
            told = await line.claim(bind="connection")
            claim = await served.run.fleet.find_claim(ClaimId(told["id"]))
            served.server.refuse_new()
            await served.run.fleet.close()
            await served.server.close(0.5)
        await asyncio.sleep(0.1)
        assert ClaimState.BOUND is claim.state
        assert claim.binding is not None
        assert claim.binding.process is not None
        assert (os.getpid(), HostProcesses().boot) == (
            claim.binding.process.pid,
            claim.binding.process.boot,
        )
