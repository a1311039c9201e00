"""The `token` driver: a random secret, or a signed JWT. What it makes exists in the ledger alone.

It is pure: there is nothing outside to find, to observe or to remove, and a repeated `create`
returns another value. That it counts as idempotent all the same is the ledger's doing: a value
that was not written there was never handed out.

`create` never waits once the provider's key is in memory; `allot` reads it, off the loop, before
the first creation and again when it has not been looked at for a while, so a key that was
replaced is used within seconds.
"""

import binascii
from datetime import UTC, datetime
from typing import Literal, Self

import jwt
from pydantic import Field, JsonValue, model_validator

from ...config.catalogue import DriverFacts, OutputFacts, ValueType
from ...config.json_types import Json, JsonObject
from ..driver import (
    Changed,
    Driver,
    Made,
    NotFound,
    Observation,
    PartRef,
    PartRequest,
    Presence,
    Rejected,
    Unavailable,
)  # fmt: skip
from ..entropy import Entropy
from ..ids import PartId
from ..resource import nothing
from .context import DriverContext
from .settings import Duration, Settings, read_settings
from .signing_keys import KeptKey, SigningKey, read_key
from .workers import Workers

KEEP_KEY = 10.0
"""Seconds after which a key file is read again."""
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_RESERVED = frozenset({"iat", "nbf", "exp", "aud", "iss", "sub", "jti"})


class TokenSettings(Settings):
    """`with` of a part."""

    kind: Literal["random", "jwt"] = "random"
    bytes: int = Field(default=32, ge=16, le=1024)
    """Of randomness, for `random`."""
    encoding: Literal["base64url", "hex", "base64"] = "base64url"
    """For `random`."""
    ttl: Duration | None = None
    """How long a `jwt` is valid."""
    audience: str | list[str] | None = None
    issuer: str | None = None
    subject: str | None = None
    claims: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """Further claims of a `jwt`."""

    @model_validator(mode="after")
    def settings_of_its_kind(self) -> Self:
        given = self.model_fields_set - {"kind"}
        other = {"bytes", "encoding"}
        strange = given & other if self.kind == "jwt" else given - other
        if strange:
            raise ValueError(f"{', '.join(sorted(strange))} cannot be used with kind {self.kind}")
        if self.kind == "jwt" and self.ttl is None:
            raise ValueError("a jwt needs a ttl")
        if reserved := sorted(_RESERVED & self.claims.keys()):
            raise ValueError(f"claims must not set {', '.join(reserved)}: use the settings")
        return self


class TokenProviderSettings(Settings):
    """`with` of a Provider: the key that tokens are signed with."""

    key_file: str = Field(alias="keyFile")
    """Absolute; only its owner may read it."""
    algorithm: Literal["HS256", "ES256", "EdDSA", "RS256"]
    key_id: str | None = Field(default=None, alias="keyId")
    """Written into the tokens as `kid`."""


FACTS = DriverFacts(
    name="token",
    settings=TokenSettings,
    outputs={
        "value": OutputFacts(ValueType.STRING, secret=True),
        "expiresAt": OutputFacts(ValueType.STRING),
    },
    provider_settings=TokenProviderSettings,
)


class TokenDriver:
    """See the module."""

    name = "token"
    pure = True

    def __init__(self, context: DriverContext) -> None:
        self._clock = context.clock
        self._workers = Workers("token", threads=1)
        self._keys: dict[tuple[str, str], KeptKey] = {}
        self._random_bytes = Entropy()
        # Settings without an expression are one shared object: read once, not at each claim.
        self._last: tuple[JsonObject, TokenSettings] | None = None

    async def open(self, changed: Changed) -> None:  # noqa: ARG002
        self._workers.open()

    async def close(self) -> None:
        self._keys.clear()
        await self._workers.close()

    async def allot(self, request: PartRequest) -> JsonObject:
        """Sets nothing aside; reads the key if it is not in memory."""
        if request.provider.settings:
            await self._key(_provider_settings(request), fresh=True)
        return {}

    def intend(self, request: PartRequest) -> JsonObject:  # noqa: ARG002
        return {}

    async def create(self, request: PartRequest) -> Made:
        settings = self._settings(request)
        if settings.kind == "random":
            return self._random(settings)
        provider = _provider_settings(request)
        return self._sign(request.id, settings, provider, await self._key(provider, fresh=False))

    def make(self, request: PartRequest) -> Made:
        """A random token, or one signed with a key that was read a moment ago."""
        settings = self._settings(request)
        if settings.kind == "random":
            return self._random(settings)
        provider = _provider_settings(request)
        kept = self._keys.get((provider.key_file, provider.algorithm))
        if kept is None or self._clock.now() - kept.read_at > KEEP_KEY:
            raise Unavailable(f"the key of the provider {request.provider.name} has to be read")
        return self._sign(request.id, settings, provider, kept.key)

    async def observe(self, part: PartRef) -> Observation:  # noqa: ARG002
        return Observation(Presence.PRESENT)

    async def destroy(self, part: PartRef) -> None:
        raise NotFound(f"{part.id} exists in the ledger alone")

    async def list_owned(self) -> frozenset[PartId]:
        return frozenset()

    def watch(self, part: PartRef) -> None:
        """Nothing can change."""

    def forget(self, part: PartId) -> None:
        """Nothing was kept."""

    def _random(self, settings: TokenSettings) -> Made:
        value = _encode(self._random_bytes(settings.bytes), settings.encoding)
        return Made(handle=nothing(), outputs=nothing(), secrets={"value": value})

    def _settings(self, request: PartRequest) -> TokenSettings:
        if self._last is not None and self._last[0] is request.settings:
            return self._last[1]
        settings = read_settings(TokenSettings, request.settings, f"part {request.id}")
        self._last = (request.settings, settings)
        return settings

    async def _key(self, provider: TokenProviderSettings, *, fresh: bool) -> SigningKey:
        place = (provider.key_file, provider.algorithm)
        kept = self._keys.get(place)
        now = self._clock.now()
        if kept is None or (fresh and now - kept.read_at > KEEP_KEY):
            key = await self._workers.run(read_key, *place)
            kept = self._keys[place] = KeptKey(key, now)
        return kept.key

    def _sign(
        self,
        part: PartId,
        settings: TokenSettings,
        provider: TokenProviderSettings,
        key: SigningKey,
    ) -> Made:
        # People's clocks check it, so it is signed with theirs.
        issued = int(self._clock.to_wall(self._clock.now()))
        expires = issued + int(settings.ttl or 0)
        # A part's id is not enough: where resources are reset, the next claim's token has it too.
        identity = f"{part}.{self._random_bytes(16).hex()}"
        claims: dict[str, Json] = {
            **settings.claims,
            "iat": issued,
            "exp": expires,
            "jti": identity,
        }
        audience: Json = (
            settings.audience
            if isinstance(settings.audience, str)
            else [*settings.audience]
            if settings.audience
            else None
        )
        named: dict[str, Json] = {"aud": audience, "iss": settings.issuer, "sub": settings.subject}
        claims.update({name: value for name, value in named.items() if value is not None})
        headers = {"kid": provider.key_id} if provider.key_id else None
        try:
            value = jwt.encode(claims, key, algorithm=provider.algorithm, headers=headers)
        except (jwt.PyJWTError, TypeError, ValueError) as error:
            raise Rejected(f"the token of {part} cannot be signed: {error}") from error
        until = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Made(handle={}, outputs={"expiresAt": until}, secrets={"value": value})


def _provider_settings(request: PartRequest) -> TokenProviderSettings:
    if not request.provider.settings:
        raise Rejected(
            f"{request.id} is a jwt, but its provider {request.provider.name} has no key;"
            " declare a Provider with keyFile and algorithm and name it in the part"
        )
    return read_settings(
        TokenProviderSettings, request.provider.settings, f"provider {request.provider.name}"
    )


def _encode(random: bytes, encoding: str) -> str:
    if encoding == "hex":
        return random.hex()
    if encoding == "base64":
        return binascii.b2a_base64(random, newline=False).decode("ascii")
    text = binascii.b2a_base64(random, newline=False).translate(_URL_SAFE)
    return text.rstrip(b"=").decode("ascii")


def create_driver(context: DriverContext) -> Driver:
    return TokenDriver(context)
