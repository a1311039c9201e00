"""Settings of the host: where the daemon reads, writes and listens. No part of the config directory.

A flag beats a `STOKER_*` variable, which beats the settings file (`/etc/stoker/stoker.yaml`, another
one with `--settings` or `STOKER_SETTINGS`), which beats the default. Everything that is wrong is said at
once. `SETTINGS` is the one list of them: the command line, the file and docs/settings.md follow it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .issuers import Issuer, read_issuers
from .places import SETTINGS_FILE, default_config, default_socket, default_state
from .repositories.urls import Location, without_secrets
from .setting_values import (
    Address,
    Parser,
    one_of,
    parse_address,
    parse_config,
    parse_count,
    parse_event_kinds,
    parse_events,
    parse_local_address,
    parse_mode,
    parse_path,
    parse_percent,
    parse_receiver,
    parse_socket,
    parse_yes_or_no,
    span,
)
from .settings_file import FileValue, SettingsFile, read_settings_file
from .spelling import suggestion

__all__ = ["SETTINGS", "Address", "Setting", "Settings", "SettingsError", "load_settings"]


NOTIFIED = ("config.applied", "config.refused", "config.held")


@dataclass(frozen=True, slots=True)
class Settings:
    """Paths are absolute; widths are seconds."""

    config: Path | Location
    """The config directory, or the repository that holds it."""
    state: Path
    """The folder of the ledger, and of what drivers keep on this host."""
    socket: Path
    socket_mode: int = 0o660
    metrics: Address | None = None
    """Where Prometheus may read without the socket; None: only at the socket."""
    log_level: str = "info"
    """debug | info | warning | error"""
    log_format: str = "text"
    """text | json"""
    stop_grace: float = 30.0
    """How long a stop waits for claims that are being served."""
    max_connections: int = 1024
    resync_interval: float = 300.0
    """How often every resource is observed even though nothing was reported."""
    freeze_file: Path | None = None
    """Where the file may be that freezes the host; None: `freeze` in the state folder."""
    config_poll: float = 30.0
    config_token: Path | None = None
    config_key: Path | None = None
    config_known_hosts: Path | None = None
    config_ca: Path | None = None
    verify_gpg: Path | None = None
    verify_ssh: Path | None = None
    allow_rewind: bool = False
    audit_retention: float = 90 * 86400.0
    audit_events: int = 2_000_000
    audit_files: int = 365
    issuers: tuple[Issuer, ...] = ()
    """Whose bearer tokens are accepted; empty: nobody's."""
    max_destroy: float = 0.3
    """The share of a pool's resources that a revision may destroy unless it is accepted."""
    webhook_address: Address | None = None
    """Where Git hosts say that something was pushed; None: nowhere."""
    webhook_secret_file: Path | None = None
    notify_url: str | None = None
    """Who is told of events of the configuration. May hold credentials: never shown as it is."""
    notify_secret_file: Path | None = None
    notify_events: tuple[str, ...] = NOTIFIED

    @property
    def freeze_path(self) -> Path:
        return self.freeze_file or self.state / "freeze"


class SettingsError(Exception):
    """What is wrong with the settings: one sentence each, naming where it was said."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Setting:
    name: str
    """The key in the settings file."""
    field: str
    flag: str
    env: str
    metavar: str
    default: str
    """As people read it."""
    help: str
    parse: Parser
    is_path: bool = False
    is_secret: bool = False
    """What is written is never quoted."""


GROUPS = ("verify", "audit", "webhook", "notify")
"""Settings that stand together below one word of the file: `verify: {gpg: FILE}`."""
IDENTITY = "identity"
"""What stands below this word is a tree of its own, and in the file alone: see `issuers`."""


def _setting(
    field: str, metavar: str, default: str, text: str, parse: Parser, **more: bool
) -> Setting:
    first, *rest = field.split("_")
    if first in GROUPS:
        name = f"{first}.{rest[0]}" + "".join(word.capitalize() for word in rest[1:])
    else:
        name = first + "".join(word.capitalize() for word in rest)
    return Setting(
        name=name,
        field=field,
        flag="--" + field.replace("_", "-"),
        env="STOKER_" + field.upper(),
        metavar=metavar,
        default=default,
        help=text,
        parse=parse,
        **more,
    )


SETTINGS: tuple[Setting, ...] = (
    _setting(
        "config",
        "DIR|GIT-URL",
        "`/etc/stoker/config` for root, otherwise `~/.config/stoker`",
        "The config directory, which is watched, or a Git repository to follow: "
        "URL[?ref=NAME&path=FOLDER].",
        parse_config,
        is_path=True,
    ),
    _setting(
        "state",
        "DIR",
        "`/var/lib/stoker` for root, otherwise `~/.local/state/stoker`",
        "The folder of the ledger and of what drivers keep. One daemon at a time.",
        parse_path,
        is_path=True,
    ),
    _setting(
        "socket",
        "PATH",
        "`/run/stoker/stoker.sock` for root, otherwise `$XDG_RUNTIME_DIR/stoker/stoker.sock`",
        "The Unix socket to serve.",
        parse_socket,
        is_path=True,
    ),
    _setting("socket_mode", "MODE", "`0660`", "Who may open the socket, in octal.", parse_mode),
    _setting(
        "metrics",
        "HOST:PORT",
        "none",
        "Serve metrics and health over TCP too. They are always at the socket.",
        parse_address,
    ),
    _setting(
        "log_level",
        "LEVEL",
        "`info`",
        "How much is logged: debug, info, warning or error.",
        one_of("debug", "info", "warning", "error"),
    ),
    _setting(
        "log_format",
        "FORMAT",
        "`text`",
        "How it is logged: text for people, json for programs.",
        one_of("text", "json"),
    ),
    _setting(
        "stop_grace",
        "DURATION",
        "`30s`",
        "How long a stop waits for claims that are being served.",
        span(0, "30s"),
    ),
    _setting(
        "max_connections",
        "COUNT",
        "`1024`",
        "How many connections the socket serves at a time.",
        parse_count,
    ),
    _setting(
        "resync_interval",
        "DURATION",
        "`5m`",
        "How often every resource is observed even though nothing was reported.",
        span(1, "5m"),
    ),
    _setting(
        "freeze_file",
        "FILE",
        "`freeze` in the state folder",
        "While this file exists the host is frozen: nothing changes by itself. Its text is the reason.",
        parse_path,
        is_path=True,
    ),
    _setting(
        "config_poll",
        "DURATION",
        "`30s`",
        "How often the repository is asked for something new, give or take a tenth.",
        span(1, "30s"),
    ),
    _setting(
        "config_token",
        "FILE",
        "the credential `stoker-config-token`, else none",
        "A file with TOKEN or USER:TOKEN, for a repository over https.",
        parse_path,
        is_path=True,
    ),
    _setting(
        "config_key",
        "FILE",
        "the credential `stoker-config-key`, else none",
        "A private key without a passphrase, for a repository over ssh.",
        parse_path,
        is_path=True,
    ),
    _setting(
        "config_known_hosts",
        "FILE",
        "the credential `stoker-config-known-hosts`, else `/etc/ssh/ssh_known_hosts`",
        "The host keys that are accepted over ssh. No other is, ever.",
        parse_path,
        is_path=True,
    ),
    _setting(
        "config_ca",
        "FILE",
        "the credential `stoker-config-ca`, else those of the system",
        "Certificates (PEM) of the authorities that are trusted over https.",
        parse_path,
        is_path=True,
    ),
    _setting(
        "verify_gpg",
        "FILE",
        "none",
        "A keyring of OpenPGP keys: only commits signed by one of them are taken.",
        parse_path,
        is_path=True,
    ),
    _setting(
        "verify_ssh",
        "FILE",
        "none",
        "An allowed-signers file of ssh-keygen: only commits signed by one of them are taken.",
        parse_path,
        is_path=True,
    ),
    _setting(
        "allow_rewind",
        "true|false",
        "`false`",
        "Whether commits are taken that do not descend from the applied one (after a force push).",
        parse_yes_or_no,
    ),
    _setting(
        "max_destroy",
        "PERCENT",
        "`30%`",
        "How much of a pool a new revision may destroy; what would destroy more is held until "
        "it is accepted.",
        parse_percent,
    ),
    _setting(
        "audit_retention",
        "DURATION",
        "`90d`",
        "How long the ledger keeps events; older ones are moved to files in the state folder.",
        span(3600, "90d"),
    ),
    _setting(
        "audit_events",
        "COUNT",
        "`2000000`",
        "How many events the ledger keeps at most, however young.",
        parse_events,
    ),
    _setting(
        "audit_files",
        "COUNT",
        "`365`",
        "How many of the files with old events are kept; the oldest are removed.",
        parse_count,
    ),
    _setting(
        "webhook_address",
        "[HOST:]PORT",
        "none",
        "Where Git hosts may say that something was pushed; of a port alone, this host only.",
        parse_local_address,
    ),
    _setting(
        "webhook_secret_file",
        "FILE",
        "the credential `stoker-webhook-secret`",
        "A file with the secret that the Git host has too.",
        parse_path,
        is_path=True,
    ),
    _setting(
        "notify_url",
        "URL",
        "none",
        "Who is told, by POST, of what became of each configuration.",
        parse_receiver,
        is_secret=True,
    ),
    _setting(
        "notify_secret_file",
        "FILE",
        "the credential `stoker-notify-secret`",
        "A file with the secret that signs what is told.",
        parse_path,
        is_path=True,
    ),
    _setting(
        "notify_events",
        "KIND,…",
        "`config.applied,config.refused,config.held`",
        "Of which events it is told.",
        parse_event_kinds,
    ),
)


def load_settings(
    flags: Mapping[str, str | None] | None = None,
    environ: Mapping[str, str] | None = None,
    settings_file: str | None = None,
) -> Settings:
    """`flags` has the text of each given flag by field name. Raises `SettingsError`."""
    environ = os.environ if environ is None else environ
    problems: list[str] = []
    found = _from_file(settings_file or environ.get("STOKER_SETTINGS"), problems)
    values = found.values
    for setting in SETTINGS:
        text = environ.get(setting.env, "")
        if text:
            values[setting.field] = FileValue(setting.env, text, Path.cwd())
        given = (flags or {}).get(setting.field)
        if given is not None:
            values[setting.field] = FileValue(setting.flag, given, Path.cwd())
    parsed = _parse(values, problems)
    _contradictions(parsed, values, problems)
    tree = found.trees.get(IDENTITY)
    parsed["issuers"] = () if tree is None else read_issuers(tree, problems)
    if problems:
        raise SettingsError(tuple(problems))
    return Settings(
        **{
            "config": default_config(environ),
            "state": default_state(environ),
            "socket": default_socket(environ),
            **parsed,
        }  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - parsers fit their fields
    )


def _from_file(path: str | None, problems: list[str]) -> SettingsFile:
    """The values by field."""
    file = Path(path or SETTINGS_FILE)
    found = read_settings_file(file, must_exist=bool(path), groups=GROUPS, trees=(IDENTITY,))
    problems += found.problems
    fields = {setting.name: setting.field for setting in SETTINGS}
    values: dict[str, FileValue] = {}
    for name, value in found.values.items():
        if name in fields:
            values[fields[name]] = value
        else:
            hint = suggestion(name, [*fields, IDENTITY])
            problems.append(f"{value.place}: there is no setting {name!r}; {hint}")
    found.values = values
    return found


def _parse(values: Mapping[str, FileValue], problems: list[str]) -> dict[str, object]:
    parsed: dict[str, object] = {}
    for setting in SETTINGS:
        value = values.get(setting.field)
        if value is None:
            continue
        try:
            result = setting.parse(value.text)
        except (ValueError, RuntimeError) as error:
            said = "this" if setting.is_secret else repr(without_secrets(value.text))
            problems.append(f"{value.place}: {said} does not do; expected {error}")
            continue
        if setting.is_path and isinstance(result, Path):
            result = Path(os.path.abspath(value.folder / result))  # noqa: PTH100 - no look at links
        parsed[setting.field] = result
    return parsed


def _contradictions(
    parsed: Mapping[str, object], values: Mapping[str, FileValue], problems: list[str]
) -> None:
    """What is right by itself and wrong together."""
    if "verify_gpg" in parsed and "verify_ssh" in parsed:
        place = values["verify_ssh"].place
        problems.append(f"{place}: verify takes gpg or ssh, not both; leave one of them")
    config = parsed.get("config")
    if isinstance(config, Location):
        if config.scheme == "http" and "config_token" in parsed and not config.loopback:
            place = values["config_token"].place
            problems.append(
                f"{place}: a token over http:// could be read by everybody on the way; use https://"
            )
        return
    problems += [
        f"{values[field].place}: only the commits of a repository are signed, and config is a "
        "directory; name a repository, or leave this out"
        for field in ("verify_gpg", "verify_ssh")
        if field in parsed
    ]
