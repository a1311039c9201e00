"""The socket file, the gate and the limits: starting, stopping, and too many of everything."""

import asyncio
import json
import os
import resource
import socket
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from stoker.config.settings import Address
from stoker.daemon import gate as gate_module
from stoker.daemon.listener import SocketError, SocketFile, adopt
from stoker.daemon.server import SocketServer
from stoker.pools.ids import Ids
from tests.conftest import ROOT
from tests.daemon.harness import SOON, a_caller, a_server, some_settings
from tests.fakes.world import Faults
from tests.rig import a_box_pool

IDLE = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"


# The socket file


def test_the_folder_and_the_socket_have_explicit_modes(short_tmp: Path) -> None:
    before = os.umask(0o077)
    try:
        file = SocketFile(short_tmp / "run" / "s.sock", mode=0o666)
        listening = file.open()
    finally:
        os.umask(before)
    assert 0o755 == stat.S_IMODE((short_tmp / "run").stat().st_mode)
    assert 0o666 == stat.S_IMODE(file.path.stat().st_mode)
    listening.close()
    file.remove()
    assert [] == list((short_tmp / "run").iterdir())


def test_a_stale_socket_file_is_replaced(short_tmp: Path) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(short_tmp / "s.sock"))
    dead.close()
    file = SocketFile(short_tmp / "s.sock")
    with file.open(), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(short_tmp / "s.sock"))
    file.remove()


def test_a_socket_that_answers_is_left_alone(short_tmp: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(short_tmp / "s.sock"))
        other.listen()
        with pytest.raises(SocketError, match="Another daemon answers"):
            SocketFile(short_tmp / "s.sock").open()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(short_tmp / "s.sock"))


def test_of_two_daemons_on_one_path_the_second_is_told(short_tmp: Path) -> None:
    first = SocketFile(short_tmp / "s.sock")
    with first.open(), pytest.raises(SocketError, match="Another daemon holds"):
        SocketFile(short_tmp / "s.sock").open()
    first.remove()


def test_a_file_that_is_no_socket_is_left_alone(short_tmp: Path) -> None:
    (short_tmp / "s.sock").write_text("precious")
    with pytest.raises(SocketError, match="is no socket"):
        SocketFile(short_tmp / "s.sock").open()
    assert "precious" == (short_tmp / "s.sock").read_text()


def test_a_folder_that_everyone_may_write_is_refused(short_tmp: Path) -> None:
    short_tmp.chmod(0o777)
    with pytest.raises(SocketError, match="chmod o-w"):
        SocketFile(short_tmp / "s.sock").open()


def test_a_path_that_is_too_long_is_refused(short_tmp: Path) -> None:
    with pytest.raises(SocketError, match="107 bytes"):
        SocketFile(short_tmp / ("s" * 120)).open()


def test_the_socket_of_a_successor_is_not_removed(short_tmp: Path) -> None:
    file = SocketFile(short_tmp / "s.sock")
    with file.open():
        file.path.unlink()
        file.path.write_text("a successor's")
    file.remove()
    assert file.path.exists()


def test_only_a_listening_unix_socket_can_be_handed_over(short_tmp: Path) -> None:
    with socket.socket(socket.AF_UNIX) as plain:
        with pytest.raises(SocketError, match="no listening"):
            adopt(plain.fileno())
        with pytest.raises(SocketError, match="no socket"), (short_tmp / "f").open("w") as file:
            adopt(file.fileno())


async def test_a_socket_that_was_handed_over_is_served_and_left_in_place(short_tmp: Path) -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(short_tmp / "handed.sock"))
    listening.listen()
    server = SocketServer(some_settings(short_tmp), Ids(time.time))
    await server.start(fd=listening.detach())
    async with a_caller(short_tmp / "handed.sock") as caller:
        assert 200 == (await caller.get("/healthz")).status
    await server.close()
    assert (short_tmp / "handed.sock").exists()


async def test_the_socket_is_gone_after_a_stop(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=0)) as served:
        assert served.settings.socket.exists()
    assert not served.settings.socket.exists()


async def test_a_metrics_address_that_is_taken_leaves_no_socket_behind(short_tmp: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = Address("127.0.0.1", taken.getsockname()[1])
        server = SocketServer(some_settings(short_tmp, metrics=address), Ids(time.time))
        with pytest.raises(SocketError, match="--metrics"):
            await server.start()
    assert not (short_tmp / "s.sock").exists()


# The gate


async def test_requests_before_the_start_are_parked_until_the_core_is_open(
    short_tmp: Path,
) -> None:
    async with a_server(short_tmp, a_box_pool(min=1), open_core=False) as served:
        early = asyncio.create_task(served.caller.claim(wait="10s"), name="early")
        assert 200 == (await served.caller.get("/healthz")).status
        ready = await served.caller.get("/readyz")
        assert (503, ["the daemon is starting"]) == (ready.status, ready.json["reasons"])
        async with asyncio.timeout(SOON):
            while served.server.host.gate.parked == 0:
                await asyncio.sleep(0.01)
        assert not early.done()
        served.serve()
        assert 201 == (await early).status


async def test_requests_are_parked_for_a_bounded_time_and_number(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_server(short_tmp, a_box_pool(min=0), open_core=False) as served:
        monkeypatch.setattr(served.server.host.gate, "_park_for", 0.3)
        monkeypatch.setattr(served.server.host.gate, "_max_parked", 1)
        early = asyncio.create_task(served.caller.get("/v1/pools"), name="early")
        async with asyncio.timeout(SOON):
            while served.server.host.gate.parked == 0:
                await asyncio.sleep(0.01)
        more = await served.caller.get("/v1/pools")
        assert (503, "busy") == (more.status, more.json["code"])
        reply = await early
        assert (503, "starting") == (reply.status, reply.json["code"])
        assert "2" == reply.headers["Retry-After"]


def test_the_gate_has_bounds() -> None:
    assert (256, 30.0) == (gate_module.MAX_PARKED, gate_module.PARK_FOR)


async def test_a_stopping_daemon_says_so_and_cuts_what_waits(short_tmp: Path) -> None:
    slow = Faults(latency=(5.0, 5.0))
    async with a_server(short_tmp, a_box_pool(min=0, max=1), faults=slow) as served:
        claim = (await served.caller.claim()).json["id"]
        poll = asyncio.create_task(served.caller.get(f"/v1/claims/{claim}?wait=5m"), name="poll")
        async with asyncio.timeout(SOON):
            while not served.server.host.gate.to_cut:
                await asyncio.sleep(0.01)
        served.server.refuse_new()
        cut = await poll
        assert (503, "stopping") == (cut.status, cut.json["code"])
        refused = await served.caller.claim()
        assert (503, "stopping") == (refused.status, refused.json["code"])
        assert 200 == (await served.caller.get("/healthz")).status
        assert 503 == (await served.caller.get("/readyz")).status


# Who may


def connect_as_somebody_else(path: Path) -> socket.socket:
    """The kernel keeps the user of the moment of connecting."""
    peer = socket.socket(socket.AF_UNIX)
    if os.geteuid() == 0:
        os.setegid(65534)
        os.seteuid(65534)
        try:
            peer.connect(str(path))
        finally:
            os.seteuid(0)
            os.setegid(0)
    else:
        peer.connect(str(path))
    return peer


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("POST /v1/claims", 403),
        ("GET /v1/claims", 403),
        ("GET /v1/events?follow=1", 403),
        ("GET /v1/status", 403),
        ("GET /metrics", 403),
        ("GET /healthz", 200),
        ("GET /openapi.json", 200),
    ],
)
async def test_everyone_else_is_denied_and_told_who_may(
    short_tmp: Path, target: str, status: int
) -> None:
    """The peer is another user where the tests may become one; else the daemon's uid is another."""
    uid = 0 if os.geteuid() == 0 else os.geteuid() + 1
    short_tmp.chmod(0o711)
    pool = a_box_pool(min=1)
    async with a_server(short_tmp, pool, daemon_uid=uid, socket_mode=0o666) as served:
        peer = connect_as_somebody_else(served.settings.socket)
        reader, writer = await asyncio.open_unix_connection(sock=peer)
        writer.write(f"{target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        async with asyncio.timeout(SOON):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        assert status == int(head.split()[1])
        if status == 403:
            assert ("denied", "everyone-else") == tuple(
                json.loads(body)[name] for name in ("code", "rule")
            )
            assert [] == list(served.run.fleet.live_claims())


async def test_a_defect_is_answered_500_logged_once_and_survived(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:

        def broken() -> list[Any]:
            raise ZeroDivisionError("a defect")

        with monkeypatch.context() as patch:
            patch.setattr(served.run.fleet, "pools", broken)
            reply = await served.caller.get("/v1/pools")
        assert (500, "internal") == (reply.status, reply.json["code"])
        assert "ZeroDivisionError" not in reply.body.decode()
        records = [record for record in caplog.records if record.exc_info]
        assert [reply.json["requestId"]] == [vars(record)["requestId"] for record in records]
        assert 200 == (await served.caller.get("/v1/pools")).status


# Too many


async def test_the_longest_idle_connections_make_room_for_new_ones(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1), max_connections=100) as served:
        idle = [await asyncio.open_unix_connection(str(served.settings.socket)) for _ in range(300)]
        async with asyncio.timeout(SOON):
            assert 201 == (await served.caller.claim()).status
        assert 100 >= served.server.door.open_connections
        reader, _ = idle[0]
        assert b"" == await asyncio.wait_for(reader.read(), SOON)
        for _, writer in idle:
            writer.close()


async def test_connections_beyond_those_at_work_are_told_that_there_is_no_room(
    short_tmp: Path,
) -> None:
    pool = a_box_pool(min=0, max=1)
    async with a_server(
        short_tmp, pool, max_connections=5, faults=Faults(latency=(5.0, 5.0))
    ) as served:
        body = b'{"pool":"web","wait":"1m"}'
        ask = b"POST /v1/claims HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
        busy: list[asyncio.StreamWriter] = []
        for _ in range(5):
            _, writer = await asyncio.open_unix_connection(str(served.settings.socket))
            writer.write(ask % (len(body), body))
            busy.append(writer)
        async with asyncio.timeout(SOON):
            while len(list(served.run.fleet.live_claims())) < 5:
                await asyncio.sleep(0.01)
        reply = await served.caller.raw(b"")
        assert reply.startswith(b"HTTP/1.1 503 ")
        assert "busy" == json.loads(reply.partition(b"\r\n\r\n")[2])["code"]
        busy[0].close()
        async with asyncio.timeout(SOON):
            while served.server.door.open_connections == 5:
                await asyncio.sleep(0.01)
        assert 200 == (await served.caller.get("/healthz")).status
        for writer in busy:
            writer.close()


STARVED = """
import asyncio, logging, os, resource, sys, time
from pathlib import Path
from stoker.config.settings import Settings
from stoker.daemon.server import SocketServer
from stoker.pools.ids import Ids
logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s")

async def main():
    folder = Path(sys.argv[1])
    server = SocketServer(Settings(folder, folder, folder / "s.sock"), Ids(time.time))
    await server.start()
    print("up", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.close()

resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
if sys.argv[2] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_without_file_descriptors_callers_are_told_and_one_line_is_logged(
    short_tmp: Path, loop: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STARVED, str(short_tmp), loop, cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert b"up\n" == await asyncio.wait_for(process.stdout.readline(), 30)
    path = str(short_tmp / "s.sock")
    held = [await asyncio.open_unix_connection(path) for _ in range(60)]
    async with asyncio.timeout(SOON):
        told = await held[-1][0].read()
    assert told.startswith(b"HTTP/1.1 503 ")
    assert b"no file descriptor" in told
    for _, writer in held:
        writer.close()
    async with a_caller(short_tmp / "s.sock") as caller:
        reply = None
        async with asyncio.timeout(SOON):
            while reply is None or reply.status != 200:
                try:
                    reply = await caller.get("/healthz")
                except OSError:
                    await asyncio.sleep(0.05)
    _, errors = await asyncio.wait_for(process.communicate(b""), 30)
    assert 0 == process.returncode
    lines = [line for line in errors.decode().splitlines() if "accepted" in line]
    assert 1 == len(lines), errors.decode()
    assert "LimitNOFILE" in lines[0]


async def test_thousands_of_idle_connections_do_not_keep_claims_from_being_served(
    short_tmp: Path,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(3000, (min(hard, 8192) - 200) // 3)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    try:
        async with a_server(short_tmp, a_box_pool(min=1), max_connections=1024) as served:
            path = str(served.settings.socket)
            idle: list[socket.socket] = []
            for number in range(count):
                peer = socket.socket(socket.AF_UNIX)
                peer.setblocking(False)
                await asyncio.get_running_loop().sock_connect(peer, path)
                if number % 2:
                    with suppress(OSError):  # it had to make room already
                        peer.send(IDLE)
                idle.append(peer)
            async with asyncio.timeout(SOON):
                assert 201 == (await served.caller.claim()).status
            for peer in idle:
                peer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
