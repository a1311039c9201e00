"""The keys that the `token` driver signs with, read from files and kept for a while."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ..driver import Rejected
from .failures import explained

SigningKey = bytes | EllipticCurvePrivateKey | Ed25519PrivateKey | RSAPrivateKey
MAX_KEY_FILE = 65536  # bytes
MIN_SECRET = 32  # bytes, RFC 7518 section 3.2
MIN_RSA_BITS = 2048  # RFC 7518 section 3.3

_MAKING: Mapping[str, str] = {
    "HS256": "openssl rand -out FILE 32",
    "ES256": "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out FILE",
    "EdDSA": "openssl genpkey -algorithm ed25519 -out FILE",
    "RS256": "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out FILE",
}


@dataclass(frozen=True, slots=True)
class KeptKey:
    """A key with the moment (steady seconds) at which it was read."""

    key: SigningKey
    read_at: float


def read_key(path: str, algorithm: str) -> SigningKey:
    """Reads a key that only its owner may read. Blocks. Raises `Rejected` with the remedy."""
    with explained(f"reading the key {path}"):
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Rejected(f"the key {path} is no plain file")
            if status.st_mode & 0o077:
                raise Rejected(f"the key {path} can be used by others; run: chmod 600 {path}")
            content = file.read(MAX_KEY_FILE + 1)
    if len(content) > MAX_KEY_FILE:
        raise Rejected(f"the key {path} is larger than {MAX_KEY_FILE} bytes")
    key = _fitting(content if algorithm == "HS256" else _private_key(content, path), algorithm)
    if key is None:
        raise Rejected(
            f"the key {path} is not usable for {algorithm}; make one with: {_MAKING[algorithm]}"
        )
    return key


def _private_key(content: bytes, path: str) -> object:
    try:
        return load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # From None: the library's message might quote the key.
        raise Rejected(f"the key {path} is no unencrypted private key in PEM form") from None


def _fitting(key: object, algorithm: str) -> SigningKey | None:
    """The key if it is of the algorithm's kind and strong enough for it."""
    match algorithm, key:
        case "HS256", bytes() if len(key) >= MIN_SECRET:
            return key
        case "ES256", EllipticCurvePrivateKey() if isinstance(key.curve, SECP256R1):
            return key
        case "EdDSA", Ed25519PrivateKey():
            return key
        case "RS256", RSAPrivateKey() if key.key_size >= MIN_RSA_BITS:
            return key
        case _:
            return None
