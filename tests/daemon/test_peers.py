"""Who is at the other end: this process, one that has died, and one of a user without a name."""

import asyncio
import grp
import os
import pwd
import socket
import subprocess
import sys
import threading
from pathlib import Path
from time import CLOCK_BOOTTIME, clock_gettime

import pytest

from stoker.daemon import peers
from stoker.daemon.peers import SO_PEERPIDFD, Credentials, PeerNames, credentials_of
from stoker.policies.access import decide, may_see_secrets
from tests.daemon.harness import SOON


class OpenNames(PeerNames):
    def knows(self, uid: int) -> bool:
        return self._users.known(uid) is not None


def now() -> float:
    return clock_gettime(CLOCK_BOOTTIME)


def connect_and_end(path: Path) -> tuple[socket.socket, int]:
    """A connection that was accepted from a process that has ended since, and its pid."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        program = "import socket,sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
        process = subprocess.Popen([sys.executable, "-c", program, str(path)])
        process.wait()
        accepted, _ = listening.accept()
    return accepted, process.pid


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
        claimant = await names.identify(one, credentials_of(one), now())
    names.close()
    assert os.getpid() == claimant.pid
    assert () == claimant.unknown
    assert {os.getegid(), *os.getgroups()} == set(claimant.gids)
    assert os.getegid() == claimant.gids[0]
    assert grp.getgrgid(os.getegid()).gr_name == claimant.groups[0]
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
            claimant = await names.identify(accepted, who, now())
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
            claimant = await names.identify(accepted, credentials_of(accepted), now())
        process.wait()
    names.close()
    assert 0 == claimant.pid


async def test_a_user_without_a_name_is_known_by_number() -> None:
    one, other = socket.socketpair()
    names = PeerNames()
    with one, other:
        claimant = await names.identify(one, Credentials(os.getpid(), 4_000_000_000, 1), now())
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
            assert "" == (await names.identify(one, Credentials(0, who.uid, who.gid), now())).user
            assert "" == (await names.identify(one, Credentials(0, who.uid, who.gid), now())).user
            answer.set()
            while not names.knows(who.uid):
                await asyncio.sleep(0.01)
            assert (
                "late" == (await names.identify(one, Credentials(0, who.uid, who.gid), now())).user
            )
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


ADA, BOB, PLAIN = (1, "https://id/", "ada"), (1, "https://id/", "bob"), (1, "", "")


@pytest.mark.parametrize(
    ("caller", "claimant", "allowed"),
    [
        (PLAIN, PLAIN, True),
        ((0, "", ""), PLAIN, True),
        (PLAIN, (0, "", ""), False),
        ((2, "", ""), PLAIN, False),
        (ADA, ADA, True),
        (ADA, BOB, False),
        (PLAIN, ADA, False),
        (ADA, PLAIN, True),
        ((1, "https://other/", "ada"), ADA, False),
        ((2, "https://id/", "ada"), ADA, False),
        ((0, "https://id/", "bob"), ADA, True),
    ],
)
def test_secrets_are_for_the_claimant_and_root(
    caller: tuple[int, str, str], claimant: tuple[int, str, str], *, allowed: bool
) -> None:
    assert allowed == may_see_secrets(caller, claimant)


async def test_a_group_without_a_name_is_known_by_number_and_matches_no_name() -> None:
    one, other = socket.socketpair()
    names = PeerNames(group_name=lambda gid: "staff" if gid == 50 else "")
    with one, other:
        claimant = await names.identify(one, Credentials(os.getpid(), os.geteuid(), 50), now())
        strange = await names.identify(
            one, Credentials(os.getpid(), os.geteuid(), 4_000_000_001), now()
        )
    names.close()
    assert ("staff",) == claimant.groups
    assert () == strange.groups
    assert 4_000_000_001 == strange.gids[0]
    assert () == strange.unknown


async def test_a_slow_directory_of_groups_leaves_them_unknown_and_not_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peers, "_NAME_WITHIN", 0.05)
    answer = threading.Event()

    def slow(_: int) -> str:
        answer.wait(SOON)
        return "staff"

    one, other = socket.socketpair()
    names = PeerNames(group_name=slow)
    who = Credentials(0, os.geteuid(), 50)
    with one, other:
        claimant = await names.identify(one, who, now())
        assert ((), ("exe", "unit", "groups")) == (claimant.groups, claimant.unknown)
        answer.set()
        async with asyncio.timeout(SOON):
            while "groups" in (claimant := await names.identify(one, who, now())).unknown:
                await asyncio.sleep(0.01)
        assert "staff" in claimant.groups
    names.close()


async def test_a_name_is_asked_for_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_NAME_FOR", -1.0)
    given = iter(["old", "new"])
    names = PeerNames(user_name=lambda _: next(given))
    one, other = socket.socketpair()
    with one, other:
        who = Credentials(0, 1, os.getegid())
        found = [(await names.identify(one, who, now())).user for _ in range(2)]
    names.close()
    assert ["old", "new"] == found


async def test_a_directory_that_fails_leaves_the_name_unknown() -> None:
    def broken(_: int) -> str:
        raise OSError("the directory is away")

    one, other = socket.socketpair()
    names = PeerNames(user_name=broken, group_name=broken)
    with one, other:
        claimant = await names.identify(one, credentials_of(one), now())
    names.close()
    assert ("user", "groups") == claimant.unknown
    assert ("", ()) == (claimant.user, claimant.groups)


UNKNOWN_OPTION = 9999
"""A socket option that no kernel knows: what SO_PEERPIDFD is to one before 6.5."""


@pytest.mark.parametrize("option", [SO_PEERPIDFD, UNKNOWN_OPTION])
def test_a_number_that_was_given_to_another_process_does_not_lend_its_program(
    short_tmp: Path, option: int
) -> None:
    """This process stands for the one that got the number: it runs, and is not who connected."""
    accepted, _ = connect_and_end(short_tmp / "s")
    with accepted:
        found = peers.look_at(accepted, os.getpid(), now(), option)
    assert ("", "", False) == (found.exe, found.unit, found.alive)
    assert {"exe", "unit"} == set(found.unknown)


def test_before_linux_6_5_a_younger_process_of_the_number_is_not_the_peer() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert peers.look_at(one, os.getpid(), now(), UNKNOWN_OPTION).alive
        assert not peers.look_at(one, os.getpid(), 0.0, UNKNOWN_OPTION).alive


def test_a_program_that_may_not_be_seen_is_unknown_and_not_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forbidden(_: Path) -> Path:
        raise PermissionError

    monkeypatch.setattr(Path, "readlink", forbidden)
    one, other = socket.socketpair()
    with one, other:
        found = peers.look_at(one, os.getpid(), now())
    assert (True, ("exe",)) == (found.alive, found.unknown)


@pytest.mark.parametrize(("count", "told"), [(255, True), (256, True), (300, False)])
def test_the_groups_of_a_member_of_many_are_told_as_far_as_they_can_be(
    count: int, *, told: bool
) -> None:
    """In a child, because it takes the groups; root alone may, others have few."""
    program = f"""
import asyncio, os, socket, time
from stoker.daemon.peers import PeerNames, credentials_of
count, told = {count}, {told}
if os.geteuid() == 0:
    os.setgroups(range(2000, 2000 + count))
else:
    told = True
one, other = socket.socketpair()
names = PeerNames(group_name=str)
who = asyncio.run(names.identify(one, credentials_of(one), time.clock_gettime(time.CLOCK_BOOTTIME)))
everything = set([os.getegid(), *os.getgroups()])
assert told == ("groups" not in who.unknown), who
assert set(who.gids) == (everything if told else set([os.getegid()])), who
"""
    subprocess.run([sys.executable, "-c", program], check=True)
