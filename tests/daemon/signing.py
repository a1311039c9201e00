"""An issuer of tokens: keys, the set of their public halves, and what it signs with them."""

import base64
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from stoker.config.issuers import Issuer

ISSUER, AUDIENCE, NOW = "https://login.example.org/", "stoker", 1_800_000_000.0
KINDS: dict[str, Any] = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "PS256": lambda: rsa.generate_private_key(65537, 2048),
    "weak": lambda: rsa.generate_private_key(65537, 1024),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


@cache
def private_key(kind: str, number: int = 0) -> Any:
    """Made once for all tests: a key of a kind, and others of the same."""
    return KINDS[kind]()


def public_jwk(kind: str, kid: str = "", number: int = 0, **more: Any) -> dict[str, Any]:
    public = private_key(kind, number).public_key()
    name = "RS256" if kind == "weak" else kind
    algorithm = jwt.get_algorithm_by_name(name)
    jwk = json.loads(algorithm.to_jwk(public))
    jwk.pop("key_ops", None)
    return {**jwk, **({"kid": kid} if kid else {}), **more}


def jwks(*keys: Mapping[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def an_issuer(**more: Any) -> Issuer:
    given: dict[str, Any] = {
        "issuer": ISSUER,
        "audience": (AUDIENCE,),
        "jwks": "https://login.example.org/keys",
        "algorithms": ("RS256", "PS256", "ES256", "ES384", "EdDSA"),
    }
    return Issuer(**{**given, **more})


def a_token(
    kind: str = "ES256",
    *,
    kid: str = "",
    number: int = 0,
    now: float = NOW,
    without: tuple[str, ...] = (),
    headers: Mapping[str, Any] | None = None,
    **claims: Any,
) -> str:
    """Good for five minutes from `now`, unless its claims say otherwise."""
    said: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ada",
        "iat": now,
        "exp": now + 300,
        **claims,
    }
    for name in without:
        del said[name]
    head = {**({"kid": kid} if kid else {}), **(headers or {})}
    algorithm = "RS256" if kind == "weak" else kind
    key = private_key(kind, number)
    return jwt.PyJWS().encode(json.dumps(said).encode(), key, algorithm, headers=head)


def raw_token(header: object, payload: object, signature: bytes = b"x") -> str:
    parts = [json.dumps(header).encode(), json.dumps(payload).encode(), signature]
    return ".".join([base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts])
