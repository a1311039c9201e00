"""Settings of the host: where the daemon reads, writes and listens. No part of the config directory.

A flag beats a `STOKER_*` variable, which beats the settings file (`/etc/stoker/stoker.yaml`, another
one with `--settings` or `STOKER_SETTINGS`), which beats the default. Everything that is wrong is said at
once. `SETTINGS` is the one list of them: the command line, the file and docs/settings.md follow it.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .places import SETTINGS_FILE, default_config, default_socket, default_state
from .settings_file import FileValue, read_settings_file
from .spelling import nearest, suggestion
from .units import UnitError, parse_duration


class Address(NamedTuple):
    """Where to listen with TCP."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Settings:
    """Paths are absolute; widths are seconds."""

    config: Path
    """The config directory."""
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


class SettingsError(Exception):
    """What is wrong with the settings: one sentence each, naming where it was said."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


Parser = Callable[[str], object]
"""Text to value; raises ValueError with what was expected."""


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


def _path(text: str) -> Path:
    if "\0" in text:
        raise ValueError("a path without a NUL byte")
    return Path(text).expanduser()


def _socket(text: str) -> Path:
    path = _path(text)
    if len(os.fsencode(path)) > 107:
        raise ValueError("a shorter path: the kernel allows 107 bytes for a socket")
    return path


def _mode(text: str) -> int:
    try:
        mode = int(text.removeprefix("0o"), 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise ValueError("an octal mode such as 0660")
    return mode


def _address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("HOST:PORT such as 127.0.0.1:9464")
    return Address(host or "0.0.0.0", int(port))  # noqa: S104 - ":9464" means everywhere, as usual


def _one_of(*words: str) -> Parser:
    def parse(text: str) -> str:
        if text.lower() not in words:
            near = nearest(text.lower(), words)
            hint = f"; did you mean {near!r}?" if near else ""
            raise ValueError(f"one of {', '.join(words)}{hint}")
        return text.lower()

    return parse


def _span(lowest: float, example: str) -> Parser:
    def parse(text: str) -> float:
        try:
            seconds = parse_duration(text)
        except UnitError:
            seconds = -1.0
        if seconds < lowest:
            raise ValueError(f"a duration of {lowest:g}s or more, such as {example}")
        return seconds

    return parse


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1_000_000:
        raise ValueError("a whole number from 1 on")
    return int(text)


def _setting(
    field: str, metavar: str, default: str, text: str, parse: Parser, *, is_path: bool = False
) -> Setting:
    first, *rest = field.split("_")
    return Setting(
        name=first + "".join(word.capitalize() for word in rest),
        field=field,
        flag="--" + field.replace("_", "-"),
        env="STOKER_" + field.upper(),
        metavar=metavar,
        default=default,
        help=text,
        parse=parse,
        is_path=is_path,
    )


SETTINGS: tuple[Setting, ...] = (
    _setting(
        "config",
        "DIR",
        "`/etc/stoker/config` for root, otherwise `~/.config/stoker`",
        "The config directory: blueprints, pools and providers. It is watched.",
        _path,
        is_path=True,
    ),
    _setting(
        "state",
        "DIR",
        "`/var/lib/stoker` for root, otherwise `~/.local/state/stoker`",
        "The folder of the ledger and of what drivers keep. One daemon at a time.",
        _path,
        is_path=True,
    ),
    _setting(
        "socket",
        "PATH",
        "`/run/stoker/stoker.sock` for root, otherwise `$XDG_RUNTIME_DIR/stoker/stoker.sock`",
        "The Unix socket to serve.",
        _socket,
        is_path=True,
    ),
    _setting("socket_mode", "MODE", "`0660`", "Who may open the socket, in octal.", _mode),
    _setting(
        "metrics",
        "HOST:PORT",
        "none",
        "Serve metrics and health over TCP too. They are always at the socket.",
        _address,
    ),
    _setting(
        "log_level",
        "LEVEL",
        "`info`",
        "How much is logged: debug, info, warning or error.",
        _one_of("debug", "info", "warning", "error"),
    ),
    _setting(
        "log_format",
        "FORMAT",
        "`text`",
        "How it is logged: text for people, json for programs.",
        _one_of("text", "json"),
    ),
    _setting(
        "stop_grace",
        "DURATION",
        "`30s`",
        "How long a stop waits for claims that are being served.",
        _span(0, "30s"),
    ),
    _setting(
        "max_connections",
        "COUNT",
        "`1024`",
        "How many connections the socket serves at a time.",
        _count,
    ),
    _setting(
        "resync_interval",
        "DURATION",
        "`5m`",
        "How often every resource is observed even though nothing was reported.",
        _span(1, "5m"),
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
    values = _from_file(settings_file or environ.get("STOKER_SETTINGS"), problems)
    for setting in SETTINGS:
        text = environ.get(setting.env, "")
        if text:
            values[setting.field] = FileValue(setting.env, text, Path.cwd())
        given = (flags or {}).get(setting.field)
        if given is not None:
            values[setting.field] = FileValue(setting.flag, given, Path.cwd())
    parsed = _parse(values, problems)
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


def _from_file(path: str | None, problems: list[str]) -> dict[str, FileValue]:
    found = read_settings_file(Path(path or SETTINGS_FILE), must_exist=bool(path))
    problems += found.problems
    fields = {setting.name: setting.field for setting in SETTINGS}
    values: dict[str, FileValue] = {}
    for name, value in found.values.items():
        if name in fields:
            values[fields[name]] = value
        else:
            hint = suggestion(name, fields)
            problems.append(f"{value.place}: there is no setting {name!r}; {hint}")
    return values


def _parse(values: Mapping[str, FileValue], problems: list[str]) -> dict[str, object]:
    parsed: dict[str, object] = {}
    for setting in SETTINGS:
        value = values.get(setting.field)
        if value is None:
            continue
        try:
            result = setting.parse(value.text)
        except (ValueError, RuntimeError) as error:
            problems.append(f"{value.place}: {value.text!r} does not do; expected {error}")
            continue
        if setting.is_path and isinstance(result, Path):
            result = Path(os.path.abspath(value.folder / result))  # noqa: PTH100 - no look at links
        parsed[setting.field] = result
    return parsed
