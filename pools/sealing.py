"""Secrets at rest: sealed with AES-256-GCM under a key that lives outside the ledger.

The key comes from systemd (a credential named `stoker-ledger-key`) or from `<state>/ledger.key`,
which the first start creates. A sealed blob is bound to the row and the column it stands in, so
that blobs cannot be swapped inside the file, and it names its key, so that keys can be rotated:
a `Sealer` seals with its first key and opens with any it was given.

    1 byte format | 4 bytes key id | 12 bytes nonce | ciphertext and 16 bytes tag
"""

import hashlib
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .entropy import Entropy
from .store import StoreCorrupt, StoreError

CREDENTIAL = "stoker-ledger-key"
KEY_FILE = "ledger.key"
KEY_BYTES = 32

_FORMAT = 1
_ID_BYTES = 4
_NONCE_BYTES = 12
_HEADER_BYTES = 1 + _ID_BYTES
_SHORTEST = _HEADER_BYTES + _NONCE_BYTES + 16


def key_id(key: bytes) -> bytes:
    """What a blob says of its key; reveals nothing about it."""
    return hashlib.sha256(b"stoker ledger key id\0" + key).digest()[:_ID_BYTES]


class Sealer:
    """Seals and opens blobs. Nonces are random: 96 bits, good for 2^32 blobs per key."""

    def __init__(self, key: bytes, *older: bytes) -> None:
        """`key` seals; `older` ones only open what was sealed before a rotation."""
        for each in (key, *older):
            if len(each) != KEY_BYTES:
                raise StoreError(
                    f"a ledger key has {KEY_BYTES} bytes, this one has {len(each)}; "
                    f"make one with: head -c {KEY_BYTES} /dev/urandom"
                )
        self._header = bytes([_FORMAT]) + key_id(key)
        self._seal = AESGCM(key).encrypt
        self._random_bytes = Entropy()
        self._keys = {key_id(each): AESGCM(each) for each in (key, *older)}

    def seal(self, plain: bytes, place: bytes) -> bytes:
        """`place` names the row and column; the same one is needed to open."""
        nonce = self._random_bytes(_NONCE_BYTES)
        return self._header + nonce + self._seal(nonce, plain, place)

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """Raises `StoreError` for an unknown key, `StoreCorrupt` for a blob that was changed."""
        if len(sealed) < _SHORTEST or sealed[0] != _FORMAT:
            raise StoreCorrupt(
                f"the sealed value at {_words(place)} has an unknown format; restore the ledger "
                "from a backup, or use the version of stoker that wrote it"
            )
        cipher = self._keys.get(sealed[1:_HEADER_BYTES])
        if cipher is None:
            raise StoreError(
                f"the ledger's secrets were sealed with another key (id {sealed[1:5].hex()}); "
                f"put the right {KEY_FILE} (or the credential {CREDENTIAL}) back in place"
            )
        start = _HEADER_BYTES + _NONCE_BYTES
        try:
            return cipher.decrypt(sealed[_HEADER_BYTES:start], sealed[start:], place)
        except InvalidTag as error:
            raise StoreCorrupt(
                f"the sealed value at {_words(place)} was changed or moved; restore the ledger "
                "from a backup"
            ) from error


def open_sealer(state: Path, environ: Mapping[str, str] = os.environ) -> Sealer:
    """The sealer of a state folder: from systemd's credential if there is one, else the key file.

    Creates the key file at the first start. Raises `StoreError` when the key cannot be had or
    could be read by others.
    """
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    if credentials:
        path = Path(credentials) / CREDENTIAL
        if path.exists():
            return Sealer(_read(path))
    path = state / KEY_FILE
    if not path.exists():
        if (state / "ledger.db").exists():
            raise StoreError(
                f"{path} is missing, and the ledger beside it has secrets sealed with a key; put "
                f"the key back (the file, or the systemd credential {CREDENTIAL}), or move the "
                "whole state folder away to start anew"
            )
        _create(path)
    _refuse_readable_by_others(path)
    return Sealer(_read(path))


def _read(path: Path) -> bytes:
    try:
        key = path.read_bytes()
    except OSError as error:
        raise StoreError(
            f"cannot read the ledger key {path} ({error.strerror}); "
            "let the daemon's user read it, and nobody else"
        ) from error
    if len(key) != KEY_BYTES:
        raise StoreError(
            f"the ledger key {path} has {len(key)} bytes instead of {KEY_BYTES}; put the right "
            f"file back, or for a new ledger make one with: head -c {KEY_BYTES} /dev/urandom"
        )
    return key


def _create(path: Path) -> None:
    """Written beside, made durable, then linked: a half-written key never gets the real name."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, secrets.token_bytes(KEY_BYTES))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _link(temporary, path)
    except OSError as error:
        raise StoreError(
            f"cannot create the ledger key {path} ({error.strerror}); make the state folder "
            "writable for the daemon's user, or choose another with --state"
        ) from error
    finally:
        _remove(temporary)


def _link(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        return  # another start was first: its key is the one to use
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _remove(temporary: Path) -> None:
    try:
        temporary.unlink(missing_ok=True)
    except OSError:
        return  # on a read-only file system it was never made


def _refuse_readable_by_others(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise StoreError(
            f"others can read the ledger key {path} (mode {mode:04o}); "
            f"run: chmod 600 {path}, and renew the secrets it sealed if anyone did"
        )


def _words(place: bytes) -> str:
    return place.decode("utf-8", "replace").replace("\0", "/")
