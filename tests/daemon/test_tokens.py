"""Tokens: which are good, and that every other is refused by name and never quoted."""

import base64
import hmac
import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.config.issuers import Issuer
from stoker.daemon.tokens import (
    MAX_KEYS,
    MAX_TOKEN,
    BadKeys,
    BadToken,
    KeySet,
    peek,
    read_keys,
    verify,
)
from stoker.pools.claim import Token
from tests.daemon.signing import (
    ISSUER,
    NOW,
    a_token,
    an_issuer,
    jwks,
    private_key,
    public_jwk,
    raw_token,
)

ONE = read_keys(jwks(public_jwk("ES256")))
PAYLOAD = {"iss": ISSUER, "aud": "stoker", "sub": "ada", "exp": NOW + 300}


def check(token: str, keys: KeySet = ONE, issuer: Issuer | None = None, now: float = NOW) -> Token:
    return verify(token, peek(token), issuer or an_issuer(), keys, now)


@pytest.mark.parametrize("kind", ["RS256", "PS256", "ES256", "ES384", "EdDSA"])
def test_a_token_of_each_kind_of_key_is_good(kind: str) -> None:
    keys = read_keys(jwks(public_jwk(kind, "one")))
    token = check(a_token(kind, kid="one", groups=["web"], sub="ada"), keys)
    assert (ISSUER, "ada") == (token.issuer, token.subject)
    assert ["web"] == token.claims["groups"]
    assert NOW + 360 == token.expires_at


def test_what_a_token_says_cannot_be_changed_and_is_not_shown() -> None:
    token = check(a_token(secret="hush"))
    with pytest.raises(TypeError):
        token.claims["sub"] = "root"  # type: ignore[index]
    assert "hush" not in repr(token)


@pytest.mark.parametrize("audience", ["stoker", ["other", "stoker"], ["second"]])
def test_one_of_the_audiences_is_enough(audience: object) -> None:
    check(a_token(aud=audience), issuer=an_issuer(audience=("stoker", "second")))


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("", "three parts"),
        ("a.b", "three parts"),
        ("a.b.c.d", "three parts"),
        ("a.b.c", "base64url"),
        ("aaaa.bbbb.cccc", "no JSON"),
        ("ä.b.c", "base64url"),
        ("x" * (MAX_TOKEN + 1), "longer than"),
        (raw_token([], PAYLOAD), "no object"),
        (raw_token({"alg": "none"}, PAYLOAD, b""), "alg none"),
        (raw_token({"alg": "None"}, PAYLOAD, b""), "alg none"),
        (raw_token({}, PAYLOAD), "alg none"),
        (raw_token({"alg": 1}, PAYLOAD), "alg none"),
        (raw_token({"alg": "HS256"}, PAYLOAD), "shared secret"),
        (raw_token({"alg": "ES256K"}, PAYLOAD), "not known here"),
        (raw_token({"alg": "ES256", "crit": ["exp"], "exp": 1}, PAYLOAD), "crit"),
        (raw_token({"alg": "ES256", "b64": False}, PAYLOAD), "crit"),
        (raw_token({"alg": "ES256", "kid": {"a": 1}}, PAYLOAD), "kid"),
        (raw_token({"alg": "ES256"}, {}), "who issued it"),
        (raw_token({"alg": "ES256"}, {"iss": [ISSUER]}), "who issued it"),
        (raw_token({"alg": "ES256"}, PAYLOAD), "signature"),
        (raw_token({"alg": "ES512"}, PAYLOAD), "another algorithm"),
        (raw_token({"alg": "ES256", "kid": "strange"}, PAYLOAD), "does not list"),
        (a_token(number=1), "signature"),
        (a_token() + "x", "signature"),
        (a_token(aud="somebody"), "somebody else"),
        (a_token(aud=["a", 1, None]), "somebody else"),
        (a_token(without=("aud",)), "somebody else"),
        (a_token(without=("sub",)), "whom it is about"),
        (a_token(sub=""), "whom it is about"),
        (a_token(sub=0), "whom it is about"),
        (a_token(without=("exp",)), "when it expires"),
        (a_token(exp="tomorrow"), "no number"),
        (a_token(exp=True), "no number"),
        (a_token(exp=NOW - 61), "expired"),
        (a_token(nbf=NOW + 61), "not valid yet"),
        (a_token(nbf="now"), "no number"),
        (a_token(iat=NOW + 61), "in the future"),
        (a_token(iss="https://evil.example.org/"), "two things"),
    ],
)
def test_a_bad_token_is_refused_and_named(token: str, why: str) -> None:
    with pytest.raises(BadToken, match=why) as refused:
        check(token)
    assert ("expired" in why) == refused.value.expired
    assert "evil" not in str(refused.value)


@pytest.mark.parametrize(
    "claims", [{"exp": NOW - 59}, {"nbf": NOW + 59}, {"iat": NOW + 59}, {"nbf": NOW}]
)
def test_clocks_may_differ_by_the_leeway(claims: dict[str, Any]) -> None:
    check(a_token(**claims))


def test_great_depth_and_odd_numbers_are_refused() -> None:
    head = base64.urlsafe_b64encode(b'{"alg":"ES256"}').rstrip(b"=").decode()
    for payload in (
        b"[" * 3000,
        b'{"iss":' + b'{"a":' * 600 + b"1",
        b'{"exp":NaN}',
        b'{"exp":1e999}',
    ):
        middle = base64.urlsafe_b64encode(payload).rstrip(b"=").decode()
        with pytest.raises(BadToken):
            check(f"{head}.{middle}.x")
    deep = base64.urlsafe_b64encode(b'{"alg":"ES256","a":' + b"[" * 990 + b"]" * 990 + b"}")
    body = a_token().split(".", 1)[1]
    with pytest.raises(BadToken):
        check(f"{deep.rstrip(b'=').decode()}.{body}")


def test_a_public_key_is_no_shared_secret() -> None:
    """The old trick: sign with HMAC, and the public key for a secret."""
    public = json.dumps(public_jwk("RS256")).encode()
    signed = raw_token({"alg": "HS256"}, PAYLOAD).rpartition(".")[0]
    mac = hmac.digest(public, signed.encode(), "sha256")
    forged = f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    with pytest.raises(BadToken, match="shared secret"):
        check(forged, read_keys(jwks(public_jwk("RS256"))))


def test_keys_that_a_token_brings_along_count_for_nothing() -> None:
    evil = public_jwk("ES256", number=1)
    for header in ({"jwk": evil}, {"jku": "https://evil.example.org/"}, {"x5u": "https://evil/"}):
        with pytest.raises(BadToken, match="signature"):
            check(a_token(number=1, headers=header))


def test_without_a_name_the_key_must_be_the_only_one_that_fits() -> None:
    mixed = read_keys(jwks(public_jwk("ES256", "a"), public_jwk("EdDSA", "b")))
    check(a_token(), mixed)
    two = read_keys(jwks(public_jwk("ES256", "a"), public_jwk("ES256", "b", 1)))
    with pytest.raises(BadToken, match="kid"):
        check(a_token(), two)
    check(a_token(kid="b", number=1), two)
    with pytest.raises(BadToken, match="signature"):
        check(a_token(kid="a", number=1), two)


def test_a_key_serves_the_algorithm_that_it_is_for() -> None:
    keys = read_keys(jwks(public_jwk("RS256", alg="PS256")))
    with pytest.raises(BadToken, match="kid"):
        check(a_token("RS256"), keys)
    check(jwt.PyJWS().encode(json.dumps(PAYLOAD).encode(), private_key("RS256", 0), "PS256"), keys)


@pytest.mark.parametrize(
    "entry",
    [
        1,
        {},
        {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"},
        public_jwk("weak"),
        public_jwk("ES256", use="enc"),
        public_jwk("ES256", key_ops=["encrypt"]),
        {**public_jwk("ES256"), "d": "AAAA"},
        {**public_jwk("ES256"), "crv": "P-999"},
        {**public_jwk("ES256"), "x": "!"},
        {**public_jwk("ES256"), "alg": "HS256"},
        {**public_jwk("ES256"), "alg": ["ES256"]},
        {**public_jwk("ES256"), "kid": 7},
    ],
)
def test_a_key_that_is_of_no_use_is_left_out(entry: object) -> None:
    keys = read_keys(json.dumps({"keys": [entry, public_jwk("EdDSA")]}).encode())
    assert (1, 1) == (len(keys.keys), keys.left_out)
    with pytest.raises(BadKeys, match="none of its keys"):
        read_keys(json.dumps({"keys": [entry]}).encode())


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (b"", "no JSON"),
        (b"[]", "no list"),
        (b'{"keys": {}}', "no list"),
        (b'{"keys": []}', "none of its keys"),
        (b'{"keys": [%s1]}' % (b"1," * MAX_KEYS), "more than"),
        (jwks(public_jwk("ES256", "a"), public_jwk("EdDSA", "a")), "same name"),
    ],
)
def test_what_is_no_set_of_keys_is_refused(document: bytes, why: str) -> None:
    with pytest.raises(BadKeys, match=why):
        read_keys(document)


@given(st.text(max_size=200) | st.tuples(*[st.text("abcAZ09_-=.", max_size=80)] * 3).map(".".join))
def test_no_text_does_anything_but_be_refused(text: str) -> None:
    with pytest.raises(BadToken):
        check(text)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_no_byte_of_a_token_can_be_changed(place: int, byte: int) -> None:
    token = a_token().encode()
    place %= len(token)
    changed = token[:place] + bytes([byte]) + token[place + 1 :]
    parts, others = token.split(b"."), changed.split(b".")
    if len(others) == 3 and all(_same(one, two) for one, two in zip(parts, others, strict=True)):
        return  # the last character of base64 has bits that say nothing
    with pytest.raises(BadToken):
        check(changed.decode("latin-1"))


def _same(one: bytes, two: bytes) -> bool:
    try:
        return base64.urlsafe_b64decode(one + b"==") == base64.urlsafe_b64decode(two + b"==")
    except ValueError:
        return False
