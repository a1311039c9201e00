"""Bearer tokens: what makes one good. Pure: the keys and the time come in as arguments.

A token is looked at twice. `peek` reads who it says it is from, which is believed only as far as to
choose whose keys to try; `verify` believes what was signed. No sentence here quotes a token.
"""

import binascii
import math
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from ..config.issuers import ALGORITHMS, Issuer
from ..pools.claim import Token

MAX_TOKEN = 6144
"""Bytes. Those of the large directories, with some hundred groups in them, take four thousand."""
MAX_KEYS = 100
MIN_RSA_BITS = 2048  # RFC 7518 section 3.3
_RSA = frozenset(name for name in ALGORITHMS if name[:2] in {"RS", "PS"})
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_JWS = jwt.PyJWS(algorithms=list(ALGORITHMS))

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey


class BadToken(Exception):
    """It is refused. The message is a sentence that goes on after "The token"."""

    def __init__(self, sentence: str, *, expired: bool = False, unknown_key: bool = False) -> None:
        super().__init__(sentence)
        self.expired = expired
        self.unknown_key = unknown_key
        """Its key may be a new one: it is worth to fetch the keys again."""


class BadKeys(Exception):
    """What was read is no set of keys. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class Key:
    kid: str
    """Empty when it has none."""
    key: PublicKey
    algorithms: frozenset[str]
    """What it may have signed with."""


@dataclass(frozen=True, slots=True, eq=False)
class KeySet:
    """The keys of one issuer, as they were at one time."""

    keys: tuple[Key, ...]
    left_out: int = 0
    """Keys that are of no use: too weak, shared, private, or for something else."""

    def find(self, kid: str, algorithm: str) -> Key:
        """Raises `BadToken`."""
        fitting = [key for key in self.keys if algorithm in key.algorithms]
        named = [key for key in fitting if key.kid == kid] if kid else fitting
        if len(named) == 1:
            return named[0]
        if kid:
            raise BadToken("is signed with a key that its issuer does not list", unknown_key=True)
        raise BadToken("does not say which of its issuer's keys it is signed with (kid)")


@dataclass(frozen=True, slots=True)
class Peek:
    """What a token says of itself, and nobody has proved."""

    algorithm: str
    kid: str
    issuer: str


def peek(token: str) -> Peek:
    """Raises `BadToken` for what is no signed token at all."""
    if len(token) > MAX_TOKEN:
        raise BadToken(f"is longer than {MAX_TOKEN} bytes")
    parts = token.split(".")
    if len(parts) != 3:
        raise BadToken("is no signed JWT: it has not three parts")
    header, payload = _part(parts[0]), _part(parts[1])
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm.lower() == "none":
        raise BadToken("is not signed (alg none)")
    if algorithm.startswith("HS"):
        raise BadToken("is signed with a shared secret, which proves nothing here")
    if algorithm not in ALGORITHMS:
        raise BadToken("is signed with an algorithm that is not known here")
    if "crit" in header or "b64" in header:
        raise BadToken("demands extensions (crit) that are not known here")
    kid, issuer = header.get("kid", ""), payload.get("iss")
    if not isinstance(kid, str):
        raise BadToken("names its key in a way that is none (kid)")
    if not isinstance(issuer, str) or not issuer:
        raise BadToken("does not say who issued it (iss)")
    return Peek(algorithm, kid, issuer)


def verify(token: str, seen: Peek, issuer: Issuer, keys: KeySet, now: float) -> Token:
    """`now` is wall-clock seconds. Raises `BadToken`."""
    if seen.algorithm not in issuer.algorithms:
        raise BadToken(
            f"is signed with another algorithm than its issuer may use"
            f" ({', '.join(issuer.algorithms)})"
        )
    key = keys.find(seen.kid, seen.algorithm)
    try:
        signed = _JWS.decode_complete(
            token,
            key.key,
            algorithms=[seen.algorithm],
            options={"enforce_minimum_key_length": True},
        )
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        # From None: what the library says may quote the token.
        raise BadToken("has a signature that is not its issuer's") from None
    claims = _object(signed["payload"])
    if claims.get("iss") != issuer.issuer:
        raise BadToken("says two things of who issued it")
    _check_times(claims, issuer.leeway, now)
    _check_audience(claims.get("aud"), issuer)
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise BadToken("does not say whom it is about (sub)")
    return Token(
        issuer.issuer, subject, MappingProxyType(claims), float(claims["exp"]) + issuer.leeway
    )


def read_keys(document: bytes) -> KeySet:
    """A JSON Web Key Set (RFC 7517). Raises `BadKeys` when there is no usable key in it."""
    try:
        found: object = orjson.loads(document)
    except orjson.JSONDecodeError:
        raise BadKeys("it is no JSON") from None
    listed = cast("Mapping[str, object]", found).get("keys") if isinstance(found, dict) else None
    if not isinstance(listed, list):
        raise BadKeys("it has no list of keys")
    entries = cast("list[object]", listed)
    if len(entries) > MAX_KEYS:
        raise BadKeys(f"it lists more than {MAX_KEYS} keys")
    keys = [key for entry in entries if (key := _key(entry)) is not None]
    if not keys:
        raise BadKeys(
            "none of its keys is a public key that is strong enough and meant for signing"
        )
    kids = [key.kid for key in keys if key.kid]
    if len(kids) != len(set(kids)):
        raise BadKeys("two of its keys have the same name (kid)")
    return KeySet(tuple(keys), len(entries) - len(keys))


def _key(entry: object) -> Key | None:
    """None for what is of no use here."""
    if not isinstance(entry, dict):
        return None
    data = cast("dict[str, Any]", entry)
    kid, use, purposes = data.get("kid", ""), data.get("use", "sig"), data.get("key_ops")
    if not isinstance(kid, str) or use != "sig" or data.get("kty") not in {"RSA", "EC", "OKP"}:
        return None
    if (isinstance(purposes, list) and "verify" not in purposes) or "d" in data:
        return None  # for something else; or a private key, which whoever reads this file could use
    try:
        key = jwt.PyJWK({**data, "alg": data.get("alg") or _usual(data)}).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    algorithms = _algorithms(key)
    if "alg" in data:
        algorithms &= {data["alg"]}
    return Key(kid, key, algorithms) if algorithms else None


def _usual(data: Mapping[str, Any]) -> str:
    if data["kty"] == "EC":
        return {"P-384": "ES384", "P-521": "ES512"}.get(str(data.get("crv")), "ES256")
    return "RS256" if data["kty"] == "RSA" else "EdDSA"


def _algorithms(key: object) -> frozenset[str]:
    match key:
        case RSAPublicKey() if key.key_size >= MIN_RSA_BITS:
            return _RSA
        case EllipticCurvePublicKey() if key.curve.name in _CURVES:
            return frozenset({_CURVES[key.curve.name]})
        case Ed25519PublicKey():
            return frozenset({"EdDSA"})
        case _:
            return frozenset()


def _part(text: str) -> dict[str, Any]:
    try:
        return _object(urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)))
    except (binascii.Error, UnicodeEncodeError):
        raise BadToken("is no signed JWT: a part of it is not base64url") from None


def _object(content: bytes) -> dict[str, Any]:
    try:
        found: object = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise BadToken("is no signed JWT: a part of it is no JSON") from None
    if not isinstance(found, dict):
        raise BadToken("is no signed JWT: a part of it is no object")
    return cast("dict[str, Any]", found)


def counts_from(claims: Mapping[str, Any], leeway: float) -> float:
    """From when on it counts, in wall-clock seconds."""
    return max(_moment(claims, "nbf", -math.inf), _moment(claims, "iat", -math.inf)) - leeway


def _check_times(claims: Mapping[str, Any], leeway: float, now: float) -> None:
    expires = _moment(claims, "exp", math.nan)
    if math.isnan(expires):
        raise BadToken("does not say when it expires (exp)")
    if now >= expires + leeway:
        raise BadToken("has expired; get a new one from its issuer", expired=True)
    if now < _moment(claims, "nbf", -math.inf) - leeway:
        raise BadToken("is not valid yet (nbf); compare the clocks of this host and of its issuer")
    if now < _moment(claims, "iat", -math.inf) - leeway:
        raise BadToken(
            "was issued in the future (iat); compare the clocks of this host and its issuer"
        )


def _moment(claims: Mapping[str, Any], name: str, missing: float) -> float:
    value = claims.get(name)
    if value is None:
        return missing
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadToken(f"has a moment that is no number ({name})")
    return float(value)


def _check_audience(audience: object, issuer: Issuer) -> None:
    meant = cast("list[object]", audience) if isinstance(audience, list) else [audience]
    if not any(isinstance(one, str) and one in issuer.audience for one in meant):
        raise BadToken("is meant for somebody else (aud)")
