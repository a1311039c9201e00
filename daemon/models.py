"""What callers may send: request bodies and query parameters, with every limit.

Bodies are parsed and checked in one go by pydantic. `read` turns its errors into one problem
that names every wrong field, what was expected, and the nearest right word.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails, PydanticCustomError, to_json

from ..config.json_types import Json
from ..config.selects import MAX_SELECT
from ..config.spelling import suggestion
from ..config.units import UnitError, parse_duration
from ..pools.resource import nothing
from ..pools.wishes import MOST_POOLS, MOST_RESOURCES, Wish
from .problems_http import HttpCode, Problem

MAX_NAME = 128
MAX_REASON = 1000
MAX_LABELS = 64
MAX_LABEL = 63
MAX_PARAMS = 64 * 1024
"""Bytes of the parameters as JSON."""
MAX_DEPTH = 32
MAX_INTEGER = 2**63
MAX_KEY = 255
MAX_CLAIM_WAIT = 3600.0
MAX_POLL = 300.0
_SHOWN_ERRORS = 20
_SHORT = 16

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LABEL_NAME = r"^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$"
_PLAIN = r"^[^\x00-\x1f\x7f-\x9f]*$"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
KEY_SCHEMA = {"type": "string", "pattern": "^[!-~]{1,255}$"}


def _wrong(sentence: str) -> PydanticCustomError:
    """A sentence of our own among pydantic's errors."""
    return PydanticCustomError("stoker", "{sentence}", {"sentence": sentence})


_kept = lru_cache(maxsize=1024)(parse_duration)
"""Callers ask for few different durations."""


def _duration(value: object) -> object:
    if not isinstance(value, str):
        raise _wrong('write a duration as text, such as "90s" or "1h30m"')
    try:
        seconds = _kept(value) if len(value) <= _SHORT else parse_duration(value)
    except UnitError as error:
        raise _wrong(str(error)) from error
    return seconds


def _positive(value: object) -> object:
    seconds = _duration(value)
    if seconds == 0:
        raise _wrong("write a duration above zero")
    return seconds


def _claim_wait(value: object) -> object:
    seconds = cast("float", _duration(value))
    if seconds > MAX_CLAIM_WAIT:
        raise _wrong("write at most 1h; a claim that waits longer is asked for with GET")
    return seconds


def _params(value: object) -> object:
    if not isinstance(value, dict):
        raise _wrong("write an object of parameter names and values")
    params = cast("dict[str, object]", value)
    for one in params.values():
        _check_value(one, MAX_DEPTH - 1)
    return params


def _check_value(value: object, depth: int) -> None:
    """JSON as everyone reads it alike: finite numbers, integers of 64 bits, not too deep."""
    if isinstance(value, str | bool) or value is None:
        return
    if isinstance(value, int):
        if not -MAX_INTEGER <= value < MAX_INTEGER:
            raise _wrong("write integers that fit 64 bits")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _wrong("write finite numbers; JSON has no NaN or Infinity")
    elif depth == 0:
        raise _wrong(f"nest at most {MAX_DEPTH} levels deep")
    else:
        inner = cast(
            "Iterable[object]",
            cast("dict[str, object]", value).values() if isinstance(value, dict) else value,
        )
        for one in inner:
            _check_value(one, depth - 1)


def duration_schema(bound: str, *, zero: bool = True) -> dict[str, Any]:
    """JSON Schema cannot bound a duration; the format names the bound for those who look."""
    terms = "([0-9]+(\\.[0-9]+)?(ms|s|m|h|d))+"
    return {
        "type": "string",
        "pattern": f"^(0|{terms})$" if zero else f"^{terms}$",
        "format": f"duration-{bound}",
        "examples": ["90s", "1m30s"],
    }


POLL_SCHEMA = duration_schema("up-to-5m")
_OBJECT_SCHEMA: dict[str, Any] = {"type": "object", "additionalProperties": True}
_LABELS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "maxProperties": MAX_LABELS,
    "propertyNames": {"maxLength": MAX_LABEL, "pattern": _LABEL_NAME},
    "additionalProperties": {"type": "string", "maxLength": MAX_LABEL, "pattern": _PLAIN},
}

Positive = Annotated[
    float, PlainValidator(_positive), WithJsonSchema(duration_schema("above-zero", zero=False))
]
ClaimWait = Annotated[
    float, PlainValidator(_claim_wait), WithJsonSchema(duration_schema("up-to-1h"))
]
Params = Annotated[dict[str, Any], PlainValidator(_params), WithJsonSchema(_OBJECT_SCHEMA)]
# These are checked by pydantic's own code, which is several times faster than a function here.
Plain = Annotated[str, StringConstraints(pattern=_PLAIN)]
LabelName = Annotated[str, StringConstraints(max_length=MAX_LABEL, pattern=_LABEL_NAME)]
LabelValue = Annotated[Plain, StringConstraints(max_length=MAX_LABEL)]
Labels = Annotated[
    dict[LabelName, LabelValue], Field(max_length=MAX_LABELS), WithJsonSchema(_LABELS_SCHEMA)
]


class Body(BaseModel):
    """What every request body keeps to."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def whole(value: object) -> object:
    """`3.0` is an integer in JSON Schema too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class PoolSelector(Body):
    """Names pools by their labels: all of these have to be there."""

    match_labels: Annotated[
        Labels, Field(alias="matchLabels", min_length=1, json_schema_extra={"minProperties": 1})
    ]


PoolName = Annotated[Plain, Field(min_length=1, max_length=MAX_NAME)]
PoolNames = Annotated[
    list[PoolName],
    Field(min_length=1, max_length=MOST_POOLS, json_schema_extra={"uniqueItems": True}),
]


class ClaimBody(Body):
    """The body of `POST /v1/claims`."""

    pool: Annotated[
        PoolName | PoolNames | PoolSelector,
        Field(
            union_mode="left_to_right",
            description="The pool to claim from; or several, best first; or the labels of pools.",
            examples=["web", ["web", "spare"], {"matchLabels": {"team": "web"}}],
        ),
    ]
    params: Annotated[Params | None, Field(description="Parameters of the pool's blueprint.")] = (
        None
    )
    ttl: Annotated[
        Positive | None, Field(description="How long the claim lasts; the pool has a default.")
    ] = None
    count: Annotated[
        int,
        Field(ge=1, le=MOST_RESOURCES),
        BeforeValidator(whole),
        Field(
            description="How many resources, all of one pool: all of them or none.",
        ),
    ] = 1
    select: Annotated[
        Plain | None,
        Field(
            min_length=1,
            max_length=MAX_SELECT,
            description="A CEL expression over `resource` and `outputs` that each has to fulfil.",
        ),
    ] = None
    bind: Annotated[
        Literal["time", "process", "connection"] | None,
        Field(
            description="What ends the claim before its time: nothing (`time`, the default), the end"
            " of the process that claims, or of the connection on which it does."
        ),
    ] = None
    break_glass: Annotated[
        bool,
        Field(
            alias="breakGlass",
            description="An emergency: do without the approval that it needs, if a policy lets you. It"
            " takes a `reason`, is reported, and somebody has to look at it afterwards.",
        ),
    ] = False
    wait: Annotated[
        ClaimWait | None,
        Field(
            description="How long to stay on the line; without it a claim that must wait is answered 202."
        ),
    ] = None
    reason: Annotated[Plain, Field(max_length=MAX_REASON, description="For the audit.")] = ""
    labels: Annotated[Labels | None, Field(description="Labels of the claim, to find it by.")] = (
        None
    )

    def check(self, size: int) -> None:
        """What the fields cannot check alone; `size` is the body's. Raises `Problem`."""
        if size > MAX_PARAMS and len(to_json(self.params)) > MAX_PARAMS:
            message = f"write at most {MAX_PARAMS // 1024} KiB"
            raise _invalid([{"field": "params", "message": message}])
        if isinstance(self.pool, list) and len(set(self.pool)) < len(self.pool):
            raise _invalid([{"field": "pool", "message": "write each pool once"}])

    def wish(self) -> Wish | None:
        """What is asked for beside any one resource of the one pool."""
        pool = self.pool
        if self.count == 1 and self.select is None and isinstance(pool, str):
            return None
        return Wish(
            self.count,
            self.select or "",
            tuple(pool) if isinstance(pool, list) else (),
            dict(pool.match_labels) if isinstance(pool, PoolSelector) else nothing(),
        )

    def digest(self) -> bytes:
        """SHA-256 of the request, the same for every way of writing it.

        How long its caller stays on the line is no part of it: who comes back may wait less.
        """
        told = self.model_dump(exclude={"wait"} if self.break_glass else {"wait", "break_glass"})
        return hashlib.sha256(canonical(cast("Json", told))).digest()


class RenewBody(Body):
    """The body of `POST /v1/claims/{id}/renew`; may be left out."""

    ttl: Annotated[
        Positive | None,
        Field(
            description="The claim now ends this long from now; without it, by its own width: the"
            " ttl that it was given last."
        ),
    ] = None


BodyT = TypeVar("BodyT", bound=Body)


def read(model: type[BodyT], data: bytes) -> BodyT:
    """Parses and checks a body. Raises `Problem` naming all that is wrong with it."""
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise _problem(model, error) from None


def idempotency_key(caller: tuple[int, str, str], key: str) -> bytes:
    """The ledger's name for the key of a caller (`Claimant.identity`). Raises `Problem`."""
    if not _KEY.fullmatch(key):
        raise Problem(
            HttpCode.MALFORMED,
            f"The Idempotency-Key must have 1 to {MAX_KEY} visible ASCII characters without"
            " spaces; a UUID will do.",
        )
    uid, issuer, subject = caller
    named = b"%d\x00%s" % (uid, key.encode("ascii"))
    if issuer:  # told by their lengths: no two callers may be written alike
        named += b"".join([b"\x00%d\x00%s" % (len(one), one) for one in _bytes(issuer, subject)])
    return hashlib.sha256(named).digest()


def _bytes(*texts: str) -> list[bytes]:
    return [text.encode("utf-8", "surrogatepass") for text in texts]


def canonical(value: Json) -> bytes:
    """One way of writing a JSON value: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


def _problem(model: type[Body], error: ValidationError) -> Problem:
    errors = error.errors(include_url=False, include_input=False)
    if errors[0]["type"] == "json_invalid":
        context = errors[0].get("ctx", {})
        return Problem(
            HttpCode.MALFORMED,
            f"The body is not JSON: {context.get('error', 'it cannot be read')}.",
        )
    told = _about_pool(errors)
    return _invalid(
        [{"field": _place(one), "message": _message(model, one)} for one in told[:_SHOWN_ERRORS]]
    )


def _about_pool(errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """`pool` may be written in three ways: only what is wrong with the way it was written is told."""
    wrong = [one for one in errors if one["loc"][:1] == ("pool",) and len(one["loc"]) > 1]
    if not wrong:
        return errors
    deeper = [one for one in wrong if len(one["loc"]) > 2]
    meant = [one for one in wrong if one["type"] not in {"string_type", "list_type", "model_type"}]
    told = deeper or meant or [ErrorDetails(type="pool_type", loc=("pool", ""), msg="", input=None)]
    first = errors.index(wrong[0])
    others = [one for one in errors if one not in wrong]
    for one in told:
        one["loc"] = ("pool", *one["loc"][2:])
    return [*others[:first], *told, *others[first:]]


def _invalid(errors: list[dict[str, str]]) -> Problem:
    detail = "; ".join([_sentence(one) for one in errors])
    return Problem(
        HttpCode.INVALID,
        detail if detail.endswith("?") else f"{detail}.",
        details={"errors": cast("Json", errors)},
    )


def _place(error: ErrorDetails) -> str:
    return ".".join(_CONTROL.sub("�", str(part))[:MAX_NAME] for part in error["loc"])


def _fields(model: type[Body]) -> list[str]:
    """As they are written in JSON."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _message(model: type[Body], error: ErrorDetails) -> str:
    kind, place = error["type"], error["loc"]
    if kind == "extra_forbidden":
        known = ["matchLabels"] if place[0] == "pool" else _fields(model)
        return f"no such field; {suggestion(str(place[-1])[:MAX_NAME], known)}"
    if place and place[0] == "labels":
        return _about_labels(place)
    if place[:2] == ("pool", "matchLabels") and kind != "missing":
        return _about_labels(place[1:], least=1)
    if kind in _SENTENCES:
        return _SENTENCES[kind]
    message = error["msg"]
    return message[:1].lower() + message[1:]


_SENTENCES = {
    "pool_type": 'write a pool, a list of pools, or {"matchLabels": {"team": "web"}}',
    "missing": "this field is required",
    "model_type": 'the body must be a JSON object, such as {"pool": "web"}',
    "string_pattern_mismatch": "write text without control characters",
}


def _about_labels(place: tuple[int | str, ...], *, least: int = 0) -> str:
    if len(place) == 1:
        return f"write an object of {f'{least} to' if least else 'at most'} {MAX_LABELS} labels"
    if place[-1] == "[key]":
        return (
            f"write each label's name with at most {MAX_LABEL} letters, digits, '.', '_', '-' and"
            " '/'"
        )
    return f"write each label's value as text of at most {MAX_LABEL} plain characters"


def _sentence(error: dict[str, str]) -> str:
    return f"'{error['field']}': {error['message']}" if error["field"] else error["message"]
