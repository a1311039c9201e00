"""The one list of the host's settings: the command line, the settings file and docs/settings.md follow it."""

from dataclasses import dataclass

from .setting_values import (
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


GROUPS = ("verify", "audit", "webhook", "votes", "notify")
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
        "votes_address",
        "[HOST:]PORT",
        "none",
        "Where webhooks may deliver votes over TCP; of a port alone, this host only.",
        parse_local_address,
    ),
    _setting(
        "votes_secrets",
        "DIR",
        "none",
        "A folder with the secret of each webhook that may deliver votes, by its name.",
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
