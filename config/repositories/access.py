"""Credentials and trust: the files that the settings name, or that systemd hands over.

They are read anew for each poll, so a rotated token or key is taken without a restart. What is read
here is handed to git by `environment` and never stands in an argument, a log or an error.
"""

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .failures import Unavailable

USER = "x-access-token"
"""The name that a token goes by when its file gives none; hosts look at the token alone."""
_LARGEST = 16 * 1024
_PLAIN = re.compile(r"/[A-Za-z0-9/._@+,:=-]*")
_CREDENTIALS = {
    "token": "stoker-config-token",
    "key": "stoker-config-key",
    "known_hosts": "stoker-config-known-hosts",
    "ca": "stoker-config-ca",
}


@dataclass(frozen=True, slots=True)
class Access:
    """Absolute paths of files; None: there is none."""

    token: Path | None = None
    """`TOKEN` or `USER:TOKEN`, for http."""
    key: Path | None = None
    """A private key without a passphrase, for ssh."""
    known_hosts: Path | None = None
    """The keys of hosts; None: those of /etc/ssh/ssh_known_hosts."""
    ca: Path | None = None
    """Certificates of authorities that are trusted, in place of the bundle of the system."""

    def with_credentials(self, environ: Mapping[str, str]) -> "Access":
        """What is not named is looked for among the credentials of the systemd unit."""
        folder = environ.get("CREDENTIALS_DIRECTORY", "")
        found: dict[str, Path | None] = {}
        for field, name in _CREDENTIALS.items():
            given: Path | None = getattr(self, field)
            credential = Path(folder) / name
            found[field] = given or (credential if folder and credential.is_file() else None)
        return Access(**found)


@dataclass(frozen=True, slots=True)
class Verify:
    """Whose signatures are trusted; at most one of them."""

    gpg: Path | None = None
    """A keyring: public OpenPGP keys, armoured or not."""
    ssh: Path | None = None
    """An allowed-signers file of ssh-keygen."""

    def __bool__(self) -> bool:
        return bool(self.gpg or self.ssh)

    def stamp(self) -> object:
        """Another one when the trusted keys were changed; None when there are none."""
        path = self.gpg or self.ssh
        try:
            found = path.stat() if path is not None else None
        except OSError:
            return "unreadable"
        return found and (found.st_mtime_ns, found.st_size, found.st_ino)


def read_small(path: Path, what: str, setting: str, *, largest: int = _LARGEST) -> bytes:
    """Raises `Unavailable` that names the file and the setting, and never quotes the content."""
    try:
        with path.open("rb") as file:
            content = file.read(largest + 1)
    except OSError as error:
        raise Unavailable(
            f"{what} {path} cannot be read ({(error.strerror or 'error').lower()})",
            f"make it readable for the daemon's user, or name another file with {setting}",
        ) from None
    if len(content) > largest:
        raise Unavailable(f"{what} {path} is larger than {largest} bytes", f"check {setting}")
    return content


def token_header(path: Path) -> bytes:
    """The value of the header that authenticates. Raises `Unavailable`."""
    text = read_small(path, "the token file", "configToken").strip()
    if not text or re.search(rb"[^\x21-\x7e]", text):
        raise Unavailable(
            f"the token file {path} holds no token",
            "write TOKEN or USER:TOKEN to it, on one line without spaces",
        )
    pair = text if b":" in text else USER.encode() + b":" + text
    return b"Authorization: Basic " + base64.b64encode(pair)


def plain_path(path: Path, setting: str) -> str:
    """A path as it may stand in ssh's options, where many characters mean something else.

    Raises `Unavailable`.
    """
    text = os.fspath(path)
    if not _PLAIN.fullmatch(text):
        raise Unavailable(
            f"the path that {setting} names has characters that ssh would read in another way",
            "use letters, digits and /._@+,:=- only",
        )
    if not path.is_file():
        raise Unavailable(f"there is no file {text}", f"check {setting}")
    return text
