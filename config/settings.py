"""Settings of the host: where the daemon reads, writes and listens. No part of the config directory.

A flag beats a `STOKER_*` variable, which beats the settings file (`/etc/stoker/stoker.yaml`, another
one with `--settings` or `STOKER_SETTINGS`), which beats the default. Everything that is wrong is said at
once. `settings_table` lists them.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .issuers import Issuer, read_issuers
from .places import SETTINGS_FILE, default_config, default_socket, default_state
from .repositories.urls import Location, without_secrets
from .setting_values import Address
from .settings_file import FileValue, SettingsFile, read_settings_file
from .settings_table import GROUPS, IDENTITY, SETTINGS, Setting
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
    votes_address: Address | None = None
    """Where webhooks deliver votes over TCP; None: only at the socket."""
    votes_secrets: Path | None = None
    """The folder with the secrets of these webhooks; None: there are none."""
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
    if "votes_address" in parsed and "votes_secrets" not in parsed:
        place = values["votes_address"].place
        problems.append(f"{place}: nobody can sign a vote without votes.secrets; name that folder")
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
