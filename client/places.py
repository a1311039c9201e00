"""Where the daemon's socket is when nothing else is said."""

import os
from collections.abc import Mapping
from pathlib import Path


def find_socket(given: str | Path | None, environ: Mapping[str, str] = os.environ) -> str:
    """The one given, else `$STOKER_SOCKET`, else root's or the user's usual place."""
    chosen = given or environ.get("STOKER_SOCKET")
    if chosen:
        return str(chosen)
    if os.getuid() == 0:
        return "/run/stoker/stoker.sock"
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return f"{runtime}/stoker/stoker.sock"
