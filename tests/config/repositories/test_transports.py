"""Real servers: what is fetched over http and ssh, with which credentials, and who gets to see those."""

import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoker.config.repositories import clone
from stoker.config.repositories.access import Access
from stoker.config.repositories.failures import Unavailable
from stoker.config.repositories.programs import Bounds, Programs, Stopped, TooLarge, TooSlow
from tests.config.repositories.conftest import GOOD, Follow, Following, resized
from tests.fixtures.repositories import (
    HttpServer,
    Repository,
    SshServer,
    http_server,
    self_signed,
    ssh_key,
    ssh_server,
)

TOKEN = "s3cret-t0ken-of-the-daemon"


@pytest.fixture
def server(repository: Repository) -> Iterator[HttpServer]:
    with http_server(repository.bare.parent, password=TOKEN) as running:
        yield running


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[SshServer]:
    with ssh_server(tmp_path / "sshd") as running:
        yield running


def a_file(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def unavailable(following: Following) -> str:
    with pytest.raises(Unavailable) as raised:
        following.look()
    return str(raised.value)


@pytest.mark.parametrize("content", [TOKEN, f"ada:{TOKEN}\n"])
def test_a_token_opens_a_repository_over_http_and_is_read_anew_each_time(
    repository: Repository, server: HttpServer, follow: Follow, tmp_path: Path, content: str
) -> None:
    first = repository.commit({"a.yaml": GOOD})
    token = a_file(tmp_path / "token", content)
    following = follow(f"{server.url}?ref=main", access=Access(token=token))
    assert first == following.applied()
    assert following.look().result is None

    server.password = "another"
    second = repository.commit({"a.yaml": resized(5)})
    said = unavailable(following)
    assert "does not accept the token" in said
    assert TOKEN not in said
    token.write_text("another")
    assert second == following.applied()


def test_a_missing_empty_or_odd_token_is_told_by_its_file_and_never_quoted(
    server: HttpServer, follow: Follow, tmp_path: Path, repository: Repository
) -> None:
    token = tmp_path / "token"
    following = follow(server.url, access=Access(token=token))
    assert "cannot be read (no such file or directory)" in unavailable(following)
    for content in (
        "",
        " \n",
        "two words-s3cret",
        "s3cret\nX-Other: y",
        "s3cr\u00e9t",
        "s3cret" * 9999,
    ):
        token.write_text(content)
        said = unavailable(following)
        assert str(token) in said
        assert "s3c" not in said


def test_the_token_is_seen_in_no_argument_no_environment_and_no_file(
    repository: Repository, server: HttpServer, follow: Follow, tmp_path: Path
) -> None:
    repository.commit({"a.yaml": GOOD})
    token = a_file(tmp_path / "token", TOKEN)
    looked: list[bytes] = []

    def look(_: str) -> None:
        """Called while git waits for an answer: everything that it and its children show."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    shown = (
                        (entry / "cmdline").read_bytes() + b"\n" + (entry / "environ").read_bytes()
                    )
                except OSError:
                    continue
                if b"git" in shown and b"objects.git" in shown:
                    looked.append(shown)

    server.before = look
    following = follow(f"{server.url}?ref=main", access=Access(token=token))
    following.applied()
    assert any(b"remote-http" in shown for shown in looked)
    header = next(given for given in server.seen if given).removeprefix("Basic ").encode()
    for shown in looked:
        assert TOKEN.encode() not in shown
        assert header not in shown
    for path in (tmp_path / "copy").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert TOKEN.encode() not in content
            assert header not in content


def test_the_token_goes_to_no_other_host(
    repository: Repository, server: HttpServer, follow: Follow, tmp_path: Path
) -> None:
    repository.commit({"a.yaml": GOOD})
    with http_server(repository.bare.parent) as elsewhere:
        server.redirect = f"http://127.0.0.1:{elsewhere.port}"
        token = a_file(tmp_path / "token", TOKEN)
        said = unavailable(follow(server.url, access=Access(token=token)))
        assert "redirects elsewhere" in said
        assert elsewhere.seen == []


def test_https_is_trusted_by_the_authority_that_is_named_and_by_no_other(
    repository: Repository, follow: Follow, tmp_path: Path
) -> None:
    commit = repository.commit({"a.yaml": GOOD})
    both, certificate = self_signed(tmp_path)
    with http_server(repository.bare.parent, certificate=both) as server:
        assert server.url.startswith("https://")
        assert "certificate is not trusted" in unavailable(follow(server.url))
        access = Access(ca=certificate)
        assert commit == follow(f"{server.url}?ref=main", access=access).applied()


def test_a_server_that_is_down_is_told_and_found_again(
    repository: Repository, server: HttpServer, follow: Follow, tmp_path: Path
) -> None:
    commit = repository.commit({"a.yaml": GOOD})
    server.stop()
    token = a_file(tmp_path / "token", TOKEN)
    following = follow(f"{server.url}?ref=main", access=Access(token=token))
    assert "the host cannot be reached" in unavailable(following)
    server.start()
    assert commit == following.applied()


def test_a_server_that_never_answers_is_given_up(
    repository: Repository, server: HttpServer, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    server.before = lambda _: over.wait(20)
    monkeypatch.setattr(clone, "ASK_WITHIN", 1.0)
    started = time.monotonic()
    try:
        assert "longer than 1 s" in unavailable(follow(server.url))
    finally:
        over.set()
    assert time.monotonic() - started < 5


def test_a_repository_that_is_not_there_is_told(
    server: HttpServer, follow: Follow, repository: Repository
) -> None:
    server.password = ""
    said = unavailable(follow(server.url.replace("pools", "nothing")))
    assert "no repository at this address" in said
    assert "no repository at this address" in unavailable(follow(f"{repository.url}.not"))


def test_a_deploy_key_opens_a_repository_over_ssh(
    repository: Repository, sshd: SshServer, follow: Follow
) -> None:
    commit = repository.commit({"a.yaml": GOOD})
    access = Access(key=sshd.user_key, known_hosts=sshd.known_hosts)
    following = follow(f"{sshd.url(repository.bare)}?ref=main", access=access)
    assert commit == following.applied()
    assert following.look().result is None
    assert repository.commit({"a.yaml": resized(5)}) == following.applied()


def test_an_unknown_or_changed_host_key_is_never_accepted(
    repository: Repository, sshd: SshServer, follow: Follow, tmp_path: Path
) -> None:
    repository.commit({"a.yaml": GOOD})
    url = sshd.url(repository.bare)
    other = ssh_key(tmp_path / "other").with_suffix(".pub").read_text().split()
    wrong = a_file(tmp_path / "wrong", f"[127.0.0.1]:{sshd.port} {other[0]} {other[1]}\n")
    nobody = a_file(tmp_path / "nobody", "")
    for known in (wrong, nobody, None):
        access = Access(key=sshd.user_key, known_hosts=known)
        said = unavailable(follow(url, access=access))
        assert "the host's key is not the one that is known" in said, said
        if known is not None:
            assert known.read_text() in {"", wrong.read_text()}


def test_a_wrong_open_or_missing_deploy_key_is_told(
    repository: Repository, sshd: SshServer, follow: Follow, tmp_path: Path
) -> None:
    url = sshd.url(repository.bare)

    def said(key: Path | None) -> str:
        return unavailable(follow(url, access=Access(key=key, known_hosts=sshd.known_hosts)))

    assert "does not accept the deploy key" in said(ssh_key(tmp_path / "stranger"))
    assert "does not accept the deploy key" in said(None)
    sshd.user_key.chmod(0o644)
    assert "can be read by others" in said(sshd.user_key)
    assert "there is no file" in said(tmp_path / "nothing")
    odd = tmp_path / "a key; touch x"
    odd.write_bytes(sshd.user_key.read_bytes())
    assert "characters that ssh would read in another way" in said(odd)


def test_credentials_of_the_systemd_unit_are_found(tmp_path: Path) -> None:
    for name in ("stoker-config-token", "stoker-config-known-hosts"):
        (tmp_path / name).write_text("x")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    found = Access(known_hosts=Path("/given")).with_credentials(environ)
    assert Access(token=tmp_path / "stoker-config-token", known_hosts=Path("/given")) == found
    assert Access() == Access().with_credentials({})


def test_the_copy_is_for_the_daemon_alone(
    repository: Repository, follow: Follow, tmp_path: Path
) -> None:
    repository.commit({"a.yaml": GOOD})
    follow().applied()
    assert 0o700 == stat.S_IMODE((tmp_path / "copy").stat().st_mode)


def group_is_gone(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_slow_program_ends_with_all_that_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with pytest.raises(TooSlow):
        Programs().run(
            ["sh", "-c", f"echo $$ > {note}; sleep 60 & sleep 60"],
            {"PATH": os.environ["PATH"]},
            bounds=Bounds(seconds=0.5),
        )
    deadline = time.monotonic() + 5
    while not group_is_gone(int(note.read_text())) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert group_is_gone(int(note.read_text()))


def test_a_program_that_says_too_much_is_ended() -> None:
    with pytest.raises(TooLarge):
        Programs().run(["yes"], {"PATH": os.environ["PATH"]}, bounds=Bounds(out=100_000))
    done = Programs().run(
        ["sh", "-c", "yes >&2 & sleep 0.3; kill $!"], {"PATH": os.environ["PATH"]}
    )
    assert len(done.err) <= 64 * 1024


def test_what_is_fed_and_what_comes_back_may_be_large() -> None:
    fed = os.urandom(3_000_000)
    done = Programs().run(
        ["cat"], {"PATH": os.environ["PATH"]}, feed=fed, bounds=Bounds(out=4_000_000)
    )
    assert fed == done.out


def test_a_program_that_takes_too_much_memory_fails() -> None:
    code = "import time; time.sleep(0.3); x = bytearray(2 << 30)"
    done = Programs().run([sys.executable, "-c", code], {"PATH": os.environ["PATH"]})
    assert 1 == done.code
    assert b"MemoryError" in done.err


def test_a_token_is_sent_over_plain_http_to_this_host_alone(
    repository: Repository, follow: Follow, tmp_path: Path
) -> None:
    token = a_file(tmp_path / "token", TOKEN)
    said = unavailable(follow("http://git.example.org/pools.git", access=Access(token=token)))
    assert "could be read by everybody" in said


def test_stopping_ends_the_program_that_runs_and_starts_no_other() -> None:
    programs = Programs()
    threading.Timer(0.3, programs.stop).start()
    started = time.monotonic()
    with pytest.raises(Stopped):
        programs.run(["sleep", "60"], {"PATH": os.environ["PATH"]})
    assert time.monotonic() - started < 5
    with pytest.raises(Stopped):
        programs.run(["true"], {"PATH": os.environ["PATH"]})


def test_a_program_that_is_not_installed_is_named() -> None:
    with pytest.raises(Unavailable, match="install no-such-git"):
        Programs().run(["no-such-git"], {"PATH": os.environ["PATH"]})


def test_git_obeys_no_configuration_but_ours(
    repository: Repository, follow: Follow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit({"a.yaml": GOOD})
    mark = tmp_path / "mark"
    evil = tmp_path / "home"
    evil.mkdir()
    (evil / ".gitconfig").write_text(
        f'[core]\n\tsshCommand = "touch {mark}"\n\tfsmonitor = "touch {mark}"\n'
        f'[url "ext::touch {mark} "]\n\tinsteadOf = file://\n[alias]\n\tfetch = "!touch {mark}"\n'
    )
    monkeypatch.setenv("HOME", str(evil))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(evil))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(evil / ".gitconfig"))
    monkeypatch.setenv("GIT_SSH_COMMAND", f"touch {mark}")
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "ext")
    monkeypatch.setenv("GIT_TRACE", str(tmp_path / "trace"))
    follow().applied()
    assert not mark.exists()
    assert not (tmp_path / "trace").exists()


def test_only_the_transport_of_the_address_is_allowed(
    repository: Repository, follow: Follow
) -> None:
    following = follow()
    environ = following.clone.local_environment()
    following.clone.tidy()
    following.look()
    for url in (
        "ext::touch x",
        "http://127.0.0.1:9/x",
        "ssh://127.0.0.1:9/x",
        "git://127.0.0.1:9/x",
    ):
        done = subprocess.run(
            ["git", "ls-remote", "--", url],
            env=environ,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert "not allowed" in done.stderr
