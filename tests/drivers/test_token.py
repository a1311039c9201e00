"""The token driver. It is pure, so of the contract only the parts about `create` mean anything."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)  # fmt: skip

from stoker.config.json_types import Json, JsonObject
from stoker.pools.driver import (
    Driver,
    NotFound,
    PartRef,
    PartRequest,
    Presence,
    ProviderRef,
    Rejected,
    Unavailable,
)  # fmt: skip
from stoker.pools.drivers.context import DriverContext
from stoker.pools.drivers.token import create_driver
from stoker.pools.ids import PartId

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
PART = PartId("web-k3v9q2xa.token")


def in_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class StoppedClock:
    """A clock of which the wall clock has been moved an hour ahead."""

    def __init__(self) -> None:
        self.time = 1_000_000.0

    def now(self) -> float:
        return self.time

    def to_wall(self, steady: float) -> float:
        return steady + 3600


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
async def driver(tmp_path: Path, clock: StoppedClock) -> AsyncIterator[Driver]:
    driver = create_driver(DriverContext(tmp_path, clock))
    await driver.open(lambda part: None)
    yield driver
    await driver.close()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_bytes(b"k" * 32)
    path.chmod(0o600)
    return path


def a_request(provider: JsonObject | None = None, **settings: Json) -> PartRequest:
    return PartRequest(PART, "web", settings, {}, ProviderRef("token", provider or {}))


def hs256(path: Path) -> JsonObject:
    return {"keyFile": str(path), "algorithm": "HS256"}


async def test_a_random_token_is_secret_and_new_each_time(driver: Driver) -> None:
    first, second = [await driver.create(a_request()) for _ in range(2)]
    assert first.secrets["value"] != second.secrets["value"]
    assert ({}, {}) == (first.handle, first.outputs)


@pytest.mark.parametrize(("encoding", "length"), [("base64url", 22), ("base64", 24), ("hex", 32)])
async def test_encodings(driver: Driver, encoding: str, length: int) -> None:
    made = await driver.create(a_request(bytes=16, encoding=encoding))
    assert length == len(str(made.secrets["value"]))


async def test_a_random_token_is_made_without_waiting(driver: Driver) -> None:
    creation = driver.create(a_request())
    with pytest.raises(StopIteration):
        creation.send(None)


async def test_a_jwt_is_made_without_waiting_once_allot_has_read_the_key(
    driver: Driver, key_file: Path
) -> None:
    request = a_request(hs256(key_file), kind="jwt", ttl="1m")
    await driver.allot(request)
    creation = driver.create(request)
    with pytest.raises(StopIteration):
        creation.send(None)


async def test_what_is_pure_is_never_absent_nor_found_outside(driver: Driver) -> None:
    part = PartRef(PART, ProviderRef("token"), driver.intend(a_request()))
    assert driver.pure
    assert Presence.PRESENT == (await driver.observe(part)).presence
    assert frozenset() == await driver.list_owned()
    with pytest.raises(NotFound):
        await driver.destroy(part)


async def test_a_jwt_says_what_was_asked_in_the_time_of_the_wall_clock(
    driver: Driver, key_file: Path
) -> None:
    provider = {**hs256(key_file), "keyId": "2026"}
    made = await driver.create(
        a_request(
            provider,
            kind="jwt",
            ttl="30m",
            audience=["a", "b"],
            issuer="stoker",
            subject="web-1",
            claims={"role": "reader"},
        )
    )
    value = str(made.secrets["value"])
    claims = jwt.decode(
        value, b"k" * 32, algorithms=["HS256"], audience="a", options={"verify_exp": False}
    )
    issued = 1_000_000 + 3600
    assert claims.pop("jti").startswith(f"{PART}.")
    expected = {
        "role": "reader", "iat": issued, "exp": issued + 1800, "aud": ["a", "b"],
        "iss": "stoker", "sub": "web-1",
    }  # fmt: skip
    assert expected == claims
    assert "2026" == jwt.get_unverified_header(value)["kid"]
    assert {"expiresAt": "1970-01-12T15:16:40Z"} == made.outputs


PRIVATE_KEYS: dict[str, Callable[[], PrivateKey]] = {
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("algorithm", PRIVATE_KEYS)
async def test_a_jwt_is_verified_with_the_public_key(
    driver: Driver, tmp_path: Path, algorithm: str
) -> None:
    key = PRIVATE_KEYS[algorithm]()
    path = tmp_path / "key.pem"
    path.write_bytes(in_pem(key))
    path.chmod(0o400)
    provider: JsonObject = {"keyFile": str(path), "algorithm": algorithm}
    made = await driver.create(a_request(provider, kind="jwt", ttl=60))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    claims = jwt.decode(
        str(made.secrets["value"]), public, algorithms=[algorithm], options={"verify_exp": False}
    )
    assert claims["jti"].startswith(f"{PART}.")


async def test_the_tokens_of_two_claims_of_one_resource_have_different_ids(
    driver: Driver, key_file: Path
) -> None:
    provider: JsonObject = {"keyFile": str(key_file), "algorithm": "HS256"}
    tokens = [await driver.create(a_request(provider, kind="jwt", ttl=60)) for _ in range(2)]
    read = [
        jwt.decode(str(made.secrets["value"]), options={"verify_signature": False})
        for made in tokens
    ]
    assert read[0]["jti"] != read[1]["jti"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
async def test_a_key_that_others_can_use_is_refused(
    driver: Driver, key_file: Path, mode: int
) -> None:
    key_file.chmod(mode)
    with pytest.raises(Rejected, match="chmod 600"):
        await driver.allot(a_request(hs256(key_file), kind="jwt", ttl="1m"))


@pytest.mark.parametrize(
    ("content", "algorithm", "word"),
    [
        (b"short", "HS256", "openssl rand"),
        (b"k" * 70000, "HS256", "larger"),
        (b"no pem", "ES256", "PEM"),
        (in_pem(ed25519.Ed25519PrivateKey.generate()), "RS256", "openssl genpkey"),
    ],
)
async def test_a_key_that_does_not_fit_is_refused_with_the_way_to_make_one(
    driver: Driver, key_file: Path, content: bytes, algorithm: str, word: str
) -> None:
    key_file.write_bytes(content)
    provider: JsonObject = {"keyFile": str(key_file), "algorithm": algorithm}
    with pytest.raises(Rejected, match=word) as refusal:
        await driver.create(a_request(provider, kind="jwt", ttl="1m"))
    assert "no pem" not in str(refusal.value)


async def test_a_missing_key_may_come_yet(driver: Driver, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="does not exist"):
        await driver.create(a_request(hs256(tmp_path / "none"), kind="jwt", ttl="1m"))


async def test_a_jwt_without_a_provider_is_refused(driver: Driver) -> None:
    with pytest.raises(Rejected, match="keyFile"):
        await driver.create(a_request(kind="jwt", ttl="1m"))


async def test_a_replaced_key_is_used_after_a_while(
    driver: Driver, clock: StoppedClock, key_file: Path
) -> None:
    request = a_request(hs256(key_file), kind="jwt", ttl="1m")
    await driver.allot(request)
    key_file.write_bytes(b"n" * 32)
    await driver.allot(request)
    assert b"k" * 32 == await used_key(driver, request)
    clock.time += 11
    await driver.allot(request)
    assert b"n" * 32 == await used_key(driver, request)


async def used_key(driver: Driver, request: PartRequest) -> bytes:
    value = str((await driver.create(request)).secrets["value"])
    for key in (b"k" * 32, b"n" * 32):
        try:
            jwt.decode(value, key, algorithms=["HS256"], options={"verify_exp": False})
        except jwt.InvalidSignatureError:
            continue
        return key
    raise AssertionError("signed with neither key")


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"kind": "jwt"}, "ttl"),
        ({"kind": "jwt", "ttl": "1m", "bytes": 32}, "bytes"),
        ({"ttl": "1m"}, "ttl"),
        ({"bytes": 4}, "bytes"),
        ({"kind": "jwt", "ttl": "1m", "claims": {"exp": 1}}, "exp"),
        ({"kind": "jwt", "ttl": "soon"}, "duration"),
        ({"encoding": "rot13"}, "encoding"),
    ],
)
async def test_settings_that_cannot_work_are_named(
    driver: Driver, settings: dict[str, Json], word: str
) -> None:
    with pytest.raises(Rejected, match=word):
        await driver.create(a_request(None, **settings))


async def test_the_values_of_wrong_settings_stay_out_of_the_error(driver: Driver) -> None:
    with pytest.raises(Rejected) as refusal:
        await driver.create(a_request(encoding="hunter2", bytes="hunter3"))
    assert "hunter" not in str(refusal.value)


async def test_the_token_has_no_padding_to_escape_in_urls(driver: Driver) -> None:
    value = str((await driver.create(a_request(bytes=16))).secrets["value"])
    assert 16 == len(base64.urlsafe_b64decode(value + "=="))
    assert json.dumps(value) == f'"{value}"'
