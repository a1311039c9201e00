"""What of a commit is signed, by which kind of signature, and what the checking programs say. Pure.

The commit is taken apart here rather than by git, so that what is verified is exactly what was read,
and no configuration or keyring of anybody takes part.
"""

import base64
import binascii
import re
from dataclasses import dataclass

from .failures import Refused

_ARMOUR = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(?:[^\r\n]+:[^\r\n]*\r?\n)*\r?\n"
    rb"(?P<data>[A-Za-z0-9+/=\r\n]+?)(?:\r?\n=[A-Za-z0-9+/]{4})?\r?\n-----END PGP PUBLIC KEY BLOCK-----"
)
_HEADERS = (b"gpgsig", b"gpgsig-sha256")
_STATUS = re.compile(rb"^\[GNUPG:\] (\w+)(?: (.*))?$", re.MULTILINE)
_BAD = {
    b"BADSIG": "its signature does not fit its content",
    b"EXPKEYSIG": "the key of its signature has expired",
    b"KEYEXPIRED": "the key of its signature has expired",
    b"EXPSIG": "its signature has expired",
    b"REVKEYSIG": "the key of its signature was revoked",
    b"KEYREVOKED": "the key of its signature was revoked",
    b"ERRSIG": "its signature is by a key that is not in the keyring",
    b"NO_PUBKEY": "its signature is by a key that is not in the keyring",
}


@dataclass(frozen=True, slots=True)
class Signed:
    """A commit, taken apart."""

    payload: bytes
    """What the signature is about: the commit without it."""
    signature: bytes
    is_ssh: bool


def take_apart(raw: bytes, commit: str) -> Signed:
    """`raw`: the commit object. Raises `Refused` when it has no signature, or more than one."""
    head, blank, message = raw.partition(b"\n\n")
    kept: list[bytes] = []
    signatures: list[list[bytes]] = []
    inside = False
    for line in head.split(b"\n"):
        if line.startswith(b" "):
            (signatures[-1] if inside else kept).append(line[1:] if inside else line)
            continue
        name, _, value = line.partition(b" ")
        inside = name in _HEADERS
        if inside:
            signatures.append([value])
        else:
            kept.append(line)
    remedy = "sign it (git commit -S) with a key that is trusted here, and push it again"
    if not signatures:
        raise Refused("it is not signed, and only signed commits are trusted", remedy, commit)
    if len(signatures) > 1:
        raise Refused("it has more than one signature", remedy, commit)
    signature = b"\n".join(signatures[0]) + b"\n"
    return Signed(
        b"\n".join(kept) + blank + message, signature, signature.startswith(b"-----BEGIN SSH")
    )


def gpg_verdict(status: bytes) -> str:
    """Why the signature does not count, from what gpgv says on its status fd; empty when it does."""
    said = [(found[1], found[2] or b"") for found in _STATUS.finditer(status)]
    words = [word for word, _ in said]
    for bad, sentence in _BAD.items():
        if bad in words:
            return sentence
    if words.count(b"GOODSIG") != 1 or words.count(b"VALIDSIG") != 1:
        return "its signature cannot be read"
    return ""


def binary_keyring(content: bytes) -> bytes:
    """OpenPGP keys as gpgv takes them: armour is removed. Empty when there is no key in it."""
    if b"-----BEGIN PGP" not in content:
        return content if content[:1] and content[0] & 0x80 else b""
    keys = b""
    for block in _ARMOUR.finditer(content):
        try:
            keys += base64.b64decode(re.sub(rb"\s", b"", block["data"]), validate=True)
        except binascii.Error:
            return b""
    return keys
