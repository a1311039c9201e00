"""Who is at the other end: this process, one that has died, and one of a user without a name."""

import asyncio
import os
import pwd
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stoker.daemon import peers
from stoker.daemon.peers import Credentials, PeerNames, credentials_of
from stoker.policies.access import decide, may_see_secrets
from tests.daemon.harness import SOON


class OpenNames(PeerNames):
    def knows(self, uid: int) -> bool:
        return uid in self._known


def test_the_credentials_are_those_of_the_process_that_connected(short_tmp: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as client:
        listening.bind(str(short_tmp / "s"))
        listening.listen()
        client.connect(str(short_tmp / "s"))
        accepted, _ = listening.accept()
        with accepted:
            expected = Credentials(os.getpid(), os.geteuid(), os.getegid())
            assert expected == credentials_of(accepted)


def test_a_socket_that_is_no_unix_socket_has_no_credentials() -> None:
    one = socket.socket()
    with one:
        found = one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        assert 0 == int.from_bytes(found[:4], sys.byteorder)
        assert 0 == credentials_of(one).pid


async def test_a_living_peer_is_named() -> None:
    one, other = socket.socketpair()
    names = PeerNames()
    with one, other:
        claimant = await names.identify(one, credentials_of(one))
    names.close()
    assert os.getpid() == claimant.pid
    assert str(Path("/proc/self/exe").readlink()) == claimant.exe
    assert pwd.getpwuid(os.geteuid()).pw_name == claimant.user


async def test_a_peer_that_has_died_has_no_pid_and_no_program(short_tmp: Path) -> None:
    names = PeerNames()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(short_tmp / "s"))
        listening.listen()
        program = "import socket,sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, str(short_tmp / "s")
        )
        assert 0 == await asyncio.wait_for(process.wait(), SOON)
        accepted, _ = listening.accept()
        with accepted:
            who = credentials_of(accepted)
            claimant = await names.identify(accepted, who)
    names.close()
    assert process.pid == who.pid
    assert (0, "", "", os.geteuid()) == (claimant.pid, claimant.exe, claimant.unit, claimant.uid)


async def test_a_peer_that_has_ended_and_was_not_waited_for_is_dead(short_tmp: Path) -> None:
    names = PeerNames()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(short_tmp / "s"))
        listening.listen()
        program = "import socket,sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
        process = subprocess.Popen([sys.executable, "-c", program, str(short_tmp / "s")])
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        accepted, _ = listening.accept()
        with accepted:
            claimant = await names.identify(accepted, credentials_of(accepted))
        process.wait()
    names.close()
    assert 0 == claimant.pid


async def test_a_user_without_a_name_is_known_by_number() -> None:
    one, other = socket.socketpair()
    names = PeerNames()
    with one, other:
        claimant = await names.identify(one, Credentials(os.getpid(), 4_000_000_000, 1))
    names.close()
    assert ("", 4_000_000_000) == (claimant.user, claimant.uid)


async def test_a_slow_directory_of_users_delays_no_claim_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peers, "_NAME_WITHIN", 0.05)
    answer = threading.Event()

    def slow(_: int) -> str:
        answer.wait(SOON)
        return "late"

    one, other = socket.socketpair()
    names = OpenNames(slow)
    who = credentials_of(one)
    with one, other:
        async with asyncio.timeout(SOON):
            assert "" == (await names.identify(one, Credentials(0, who.uid, who.gid))).user
            assert "" == (await names.identify(one, Credentials(0, who.uid, who.gid))).user
            answer.set()
            while not names.knows(who.uid):
                await asyncio.sleep(0.01)
            assert "late" == (await names.identify(one, Credentials(0, who.uid, who.gid))).user
    names.close()


@pytest.mark.parametrize(
    ("groups", "unit"),
    [
        ("0::/system.slice/web.service\n", "web.service"),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", "session-3.scope"),
        ("0::/system.slice/web.service/worker\n", "web.service"),
        ("1:name=systemd:/x.service\n0::/\n", ""),
        ("", ""),
        ("garbage", ""),
    ],
)
def test_the_unit_is_the_innermost_one(groups: str, unit: str) -> None:
    assert unit == peers.unit_of(groups)


@pytest.mark.parametrize(
    ("caller", "daemon", "allowed"),
    [(1000, 1000, True), (0, 1000, True), (1001, 1000, False), (1000, 0, False), (0, 0, True)],
)
def test_only_root_and_the_daemons_own_user_may_claim(
    caller: int, daemon: int, *, allowed: bool
) -> None:
    verdict = decide(caller, daemon)
    assert allowed == verdict.allowed
    assert verdict.rule
    assert verdict.reason


@pytest.mark.parametrize(
    ("caller", "claimant", "allowed"), [(1, 1, True), (0, 1, True), (1, 0, False), (2, 1, False)]
)
def test_secrets_are_for_the_claimant_and_root(
    caller: int, claimant: int, *, allowed: bool
) -> None:
    assert allowed == may_see_secrets(caller, claimant)
