"""Where things lie on a host when nothing else is said: the socket, the ledger, the config.

Used by the settings of the daemon and by the client, so that both mean the same socket. It imports
nothing heavy, because every start of the command line reads it.
"""

import os
from collections.abc import Mapping
from pathlib import Path

SETTINGS_FILE = Path("/etc/stoker/stoker.yaml")


def default_socket(environ: Mapping[str, str], uid: int | None = None) -> Path:
    """`/run/stoker/stoker.sock` for root, otherwise below the user's own runtime folder."""
    uid = os.getuid() if uid is None else uid
    if uid == 0:
        return Path("/run/stoker/stoker.sock")
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}"
    return Path(runtime) / "stoker" / "stoker.sock"


def default_state(environ: Mapping[str, str], uid: int | None = None) -> Path:
    """`/var/lib/stoker` for root, otherwise `$XDG_STATE_HOME/stoker` or `~/.local/state/stoker`."""
    uid = os.getuid() if uid is None else uid
    if uid == 0:
        return Path("/var/lib/stoker")
    return _xdg(environ, "XDG_STATE_HOME", ".local/state") / "stoker"


def default_config(environ: Mapping[str, str], uid: int | None = None) -> Path:
    """`/etc/stoker/config` for root, otherwise `$XDG_CONFIG_HOME/stoker` or `~/.config/stoker`."""
    uid = os.getuid() if uid is None else uid
    if uid == 0:
        return Path("/etc/stoker/config")
    return _xdg(environ, "XDG_CONFIG_HOME", ".config") / "stoker"


def _xdg(environ: Mapping[str, str], name: str, below_home: str) -> Path:
    value = environ.get(name, "")
    if value.startswith("/"):
        return Path(value)
    return Path(environ.get("HOME") or "/") / below_home
