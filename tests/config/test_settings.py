"""Settings of the host: who beats whom, and everything that is wrong at once."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from stoker.client.places import find_socket
from stoker.config.places import default_config, default_socket, default_state
from stoker.config.repositories.urls import Location
from stoker.config.settings import (
    SETTINGS,
    Address,
    Settings,
    SettingsError,
    load_settings,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "stoker.yaml"


def load(
    file: Path | None = None,
    text: str | None = None,
    environ: Mapping[str, str] | None = None,
    **flags: str,
) -> Settings:
    if file is not None and text is not None:
        file.write_text(text, encoding="utf-8")
    return load_settings(flags, environ or {}, str(file) if file else None)


def problems(*args: object, **kwargs: object) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as raised:
        load(*args, **kwargs)  # type: ignore[arg-type]
    return raised.value.problems


def test_a_flag_beats_a_variable_which_beats_the_file_which_beats_the_default(file: Path) -> None:
    environ = {"STOKER_STOP_GRACE": "20s", "STOKER_LOG_LEVEL": "debug"}
    settings = load(
        file,
        "stopGrace: 10s\nlogLevel: error\nmaxConnections: 7\n",
        environ,
        stop_grace="40s",
    )
    assert (40.0, "debug", 7, "text") == (
        settings.stop_grace,
        settings.log_level,
        settings.max_connections,
        settings.log_format,
    )


def test_every_setting_can_be_said_in_every_way(file: Path) -> None:
    said = {
        "config": "https://git.example.org/pools.git?ref=main",
        "state": "/s",
        "socket": "/k",
        "socket_mode": "0600",
        "metrics": "127.0.0.1:9464",
        "log_level": "warning",
        "log_format": "json",
        "stop_grace": "1m",
        "max_connections": "5",
        "resync_interval": "1h",
        "freeze_file": "/freeze",
        "config_poll": "5s",
        "config_token": "/token",
        "config_key": "/key",
        "config_known_hosts": "/known",
        "config_ca": "/ca",
        "verify_gpg": "/gpg",
        "allow_rewind": "true",
        "audit_retention": "30d",
        "audit_events": "5000",
        "audit_files": "7",
        "max_destroy": "12.5%",
        "webhook_address": "9465",
        "webhook_secret_file": "/in",
        "votes_address": "9466",
        "votes_secrets": "/bots",
        "notify_url": "https://hooks.example.org/stoker",
        "notify_secret_file": "/out",
        "notify_events": "config.applied, config.held",
    }
    used = [setting for setting in SETTINGS if setting.field != "verify_ssh"]  # or verify_gpg
    assert set(said) == {setting.field for setting in used}
    by_flag = load_settings(said, {})
    by_variable = load(environ={setting.env: said[setting.field] for setting in used})
    by_file = load(file, "".join(f"{one.name}: {said[one.field]}\n" for one in used))
    assert by_flag == by_variable == by_file
    assert by_flag == Settings(
        config=Location(
            "https://git.example.org/pools.git", "https", "git.example.org", ref="main"
        ),
        state=Path("/s"),
        socket=Path("/k"),
        socket_mode=0o600,
        metrics=Address("127.0.0.1", 9464),
        log_level="warning",
        log_format="json",
        stop_grace=60.0,
        max_connections=5,
        resync_interval=3600.0,
        freeze_file=Path("/freeze"),
        config_poll=5.0,
        config_token=Path("/token"),
        config_key=Path("/key"),
        config_known_hosts=Path("/known"),
        config_ca=Path("/ca"),
        verify_gpg=Path("/gpg"),
        allow_rewind=True,
        audit_retention=30 * 86400.0,
        audit_events=5000,
        audit_files=7,
        max_destroy=0.125,
        webhook_address=Address("127.0.0.1", 9465),
        webhook_secret_file=Path("/in"),
        votes_address=Address("127.0.0.1", 9466),
        votes_secrets=Path("/bots"),
        notify_url="https://hooks.example.org/stoker",
        notify_secret_file=Path("/out"),
        notify_events=("config.applied", "config.held"),
    )


REPOSITORY = "ssh://git@host/pools.git"


def test_whose_signatures_are_trusted_is_said_below_one_word(file: Path) -> None:
    settings = load(file, f"config: {REPOSITORY}\nverify: {{ssh: signers}}\n")
    assert file.parent / "signers" == settings.verify_ssh
    assert (f"{file}:2:10: there is no setting 'verify.pgp'; did you mean 'verify.gpg'?",) == (
        problems(file, f"config: {REPOSITORY}\nverify: {{pgp: x}}\n")
    )
    assert (f"{file}:1:1: 'verify' takes one value, not a list or a mapping",) == (
        problems(file, "verify: [x]\n")
    )


def test_both_kinds_of_trusted_keys_at_once_are_refused(file: Path) -> None:
    (said,) = problems(file, f"config: {REPOSITORY}\nverify: {{gpg: a, ssh: b}}\n")
    assert f"{file}:2:18: verify takes gpg or ssh, not both" in said


@pytest.mark.parametrize("config", [{"config": "/etc/stoker"}, {}])
def test_signatures_of_a_plain_directory_are_refused(config: dict[str, str]) -> None:
    (said,) = problems(verify_ssh="/signers", **config)
    assert "--verify-ssh: only the commits of a repository are signed" in said


def test_a_token_is_not_sent_where_everybody_could_read_it() -> None:
    (said,) = problems(config="http://git.example.org/p", config_token="/token")
    assert "could be read by everybody" in said
    assert load(config="http://127.0.0.1/p", config_token="/token").config_token


def test_an_address_with_a_password_is_refused_without_quoting_it() -> None:
    (said,) = problems(config="https://ada:s3cret@host/p")
    assert "'https://…@host/p' does not do; expected an address without a user" in said


def test_a_path_that_looks_like_half_an_address_is_refused() -> None:
    (said,) = problems(config="/srv/pools.git?ref=main")
    assert "file://PATH?ref=NAME" in said


def test_everything_that_is_wrong_is_said_at_once(file: Path) -> None:
    found = problems(
        file,
        "stat: /x\nlogLevel: loud\nmetrics: [1]\nstopGrace: 5s\nstopGrace: 6s\n",
        {"STOKER_MAX_CONNECTIONS": "many"},
        socket_mode="rw",
    )
    assert sorted(found) == sorted(
        (
            f"{file}:1:1: there is no setting 'stat'; did you mean 'state'?",
            f"{file}:2:1: 'loud' does not do; expected one of debug, info, warning, error",
            f"{file}:3:1: 'metrics' takes one value, not a list or a mapping",
            f"{file}:5:1: 'stopGrace' is set twice; leave one of them",
            "STOKER_MAX_CONNECTIONS: 'many' does not do; expected a whole number from 1 on",
            "--socket-mode: 'rw' does not do; expected an octal mode such as 0660",
        )
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "this is no YAML"),
        ("- state", "expected settings such as"),
        ("\xff", "this is no YAML"),
        ("x: " + "y" * 70_000, "larger than 64 KiB"),
    ],
)
def test_a_file_that_is_none_is_told_with_its_place(file: Path, text: str, told: str) -> None:
    file.write_bytes(text.encode("latin-1"))
    (problem,) = problems(file)
    assert problem.startswith(str(file))
    assert told in problem


def test_the_usual_file_may_be_missing_and_a_named_one_may_not(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.config.settings.SETTINGS_FILE", file)
    assert 30.0 == load().stop_grace
    assert "cannot be read" in problems(file)[0]
    assert "cannot be read" in problems(environ={"STOKER_SETTINGS": str(file)})[0]


def test_an_empty_file_and_empty_variables_say_nothing(file: Path) -> None:
    assert load() == load(file, "# nothing\n", {"STOKER_METRICS": ""})


def test_other_variables_of_the_family_are_left_alone() -> None:
    assert load() == load(environ={"STOKER_CLAIM": "c-1", "STOKER_URL": "http://x"})


def test_a_relative_path_is_relative_to_where_it_was_said(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    settings = load(file, "state: state\n", config="../config")
    assert tmp_path / "state" == settings.state
    assert tmp_path / "config" == settings.config


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost:1", Address("localhost", 1)),
        (":9464", Address("0.0.0.0", 9464)),
        ("[::1]:80", Address("::1", 80)),
    ],
)
def test_an_address_is_host_and_port(text: str, address: Address) -> None:
    assert address == load(metrics=text).metrics


@pytest.mark.parametrize("text", ["9464", "host:", "host:0", "host:70000", "host:x"])
def test_an_address_without_a_port_is_refused(text: str) -> None:
    assert "HOST:PORT" in problems(metrics=text)[0]


def test_a_socket_path_that_the_kernel_would_refuse_is_refused() -> None:
    assert "107 bytes" in problems(socket="/" + "x" * 107)[0]


def test_root_has_the_usual_places_and_others_their_own() -> None:
    environ = {"HOME": "/home/ann", "XDG_RUNTIME_DIR": "/run/user/7"}
    assert Path("/run/stoker/stoker.sock") == default_socket(environ, 0)
    assert Path("/var/lib/stoker") == default_state(environ, 0)
    assert Path("/etc/stoker/config") == default_config(environ, 0)
    assert Path("/run/user/7/stoker/stoker.sock") == default_socket(environ, 7)
    assert Path("/home/ann/.local/state/stoker") == default_state(environ, 7)
    assert Path("/home/ann/.config/stoker") == default_config(environ, 7)
    assert Path("/run/user/7/stoker/stoker.sock") == default_socket({}, 7)
    assert Path("/s/stoker") == default_state({"XDG_STATE_HOME": "/s"}, 7)


def test_the_client_and_the_daemon_mean_the_same_socket() -> None:
    environ = {"XDG_RUNTIME_DIR": "/run/user/7"}
    assert str(default_socket(environ)) == find_socket(None, environ)


@pytest.mark.parametrize("text", ["0%", "30%", "33.3%", "100%"])
def test_a_share_is_written_in_percent(text: str) -> None:
    assert float(text[:-1]) / 100 == load_settings({"max_destroy": text}, {}).max_destroy


@pytest.mark.parametrize(
    "text", ["30", "0.3", "101%", "-1%", "%", "1e1%", "\u0663%", "all", "nan%"]
)
def test_what_is_no_share_is_refused(text: str) -> None:
    (problem,) = problems(flags=None, environ={"STOKER_MAX_DESTROY": text})
    assert "a share from 0% to 100%, such as 30%" in problem


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9465", Address("127.0.0.1", 9465)),
        (":9465", Address("127.0.0.1", 9465)),
        ("0.0.0.0:9465", Address("0.0.0.0", 9465)),
    ],
)
def test_the_webhook_listens_on_this_host_alone_unless_told_otherwise(
    text: str, address: Address
) -> None:
    assert load(webhook_address=text).webhook_address == address


def test_votes_need_secrets_that_sign_them() -> None:
    assert "name that folder" in problems(votes_address="9466")[0]
    assert load(votes_address="9466", votes_secrets="/bots").votes_secrets == Path("/bots")


@pytest.mark.parametrize(
    "text", ["ftp://host/", "host/path", "https://", "https://h/ x", "https://h/#x"]
)
def test_a_receiver_is_an_address_over_http(text: str) -> None:
    assert "an address such as https://hooks.example.org/stoker" in problems(notify_url=text)[0]


def test_a_receiver_that_does_not_do_is_refused_without_quoting_it() -> None:
    (said,) = problems(notify_url="htps://ada:s3cret@hooks.example.org/T0KEN")
    assert "s3cret" not in said
    assert "T0KEN" not in said


@pytest.mark.parametrize("text", ["claim.bound", "config.", "config.applied,,", "*"])
def test_events_that_come_too_often_are_not_told(text: str) -> None:
    assert "kinds of events such as" in problems(notify_events=text)[0]


def test_events_of_approvals_are_told() -> None:
    kinds = "claim.approval-requested,claim.approved,claim.rejected,claim.approval-lapsed"
    more = "claim.voted,claim.break-glass,claim.break-glass-reviewed,config.held"
    assert 8 == len(load(notify_events=f"{kinds},{more}").notify_events)
    assert problems(notify_events="claim.approval-requested.x")
