"""Secrets that are shared with another program, from files or from the credentials of systemd.

A file is read whenever its secret is needed, so that it can be replaced without a restart. Used by
`webhook`, `notifying` and `carried_votes`. What is read here stands in no log and no error.
"""

import os
from collections.abc import Mapping
from pathlib import Path

LEAST = 16
"""Bytes: a shorter one could be guessed."""
MOST = 4096


class NoSecret(Exception):
    """A sentence that names the file and the remedy."""


def find_secret(given: Path | None, credential: str, environ: Mapping[str, str]) -> Path | None:
    """The file that the settings name, else the credential of the systemd unit, if there is one."""
    folder = environ.get("CREDENTIALS_DIRECTORY", "")
    found = Path(folder) / credential
    return given or (found if folder and found.is_file() else None)


def read_secret(path: Path) -> bytes:
    """The first line of the file. Blocks on the disk; raises `NoSecret`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            content = os.read(descriptor, MOST + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise NoSecret(
            f"the secret file {path} cannot be read ({(error.strerror or 'error').lower()}); "
            "make it readable for the daemon's user, or name another one"
        ) from None
    secret = content.strip()
    if not LEAST <= len(secret) <= MOST or b"\n" in secret:
        raise NoSecret(
            f"the secret file {path} must hold one line of {LEAST} to {MOST} bytes; "
            f"make one with: openssl rand -hex 32 > {path}"
        )
    return secret
