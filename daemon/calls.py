"""One call of the API: what a handler gets, what it may ask of it, and how it answers."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ..config.spelling import suggestion
from ..config.units import UnitError, format_duration, parse_duration
from ..policies.access import ROOT, Verdict
from ..pools.claim import Claimant
from ..pools.requests import Code, Refusal
from .answering import JSON, Answer, encode
from .carried_votes import CarriedVotes
from .connections import BODY_WITHIN, MAX_BODY, too_slow
from .denials import Denials
from .event_stream import EventFeed
from .gate import Gate
from .judging import PolicyJudge
from .models import Body
from .problems_http import AnyCode, HttpCode, Problem
from .status import StatusFacts
from .steering import Steering

NOBODY = Claimant(uid=0xFFFFFFFF, gid=0xFFFFFFFF, pid=0)
"""The caller of an address that is open to everyone."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MAX_QUERY = 50
_SLICE = 200
"""Items of a long list that are built before other work gets its turn."""

T = TypeVar("T")


class Exposition(Protocol):
    """The metrics, as `/metrics` needs them."""

    async def render(self, accept: str) -> tuple[bytes, str]:
        """The text and its content type."""
        ...

    def problem(self, code: str) -> None: ...

    def pushed(self, outcome: str) -> None: ...

    def carried(self, outcome: str) -> None: ...


class Background(Protocol):
    """Starts what goes on after its request has ended."""

    def __call__(self, work: Coroutine[Any, Any, object], name: str, /) -> None: ...


@dataclass(slots=True)
class Host:
    """What the handlers share."""

    daemon_uid: int
    gate: Gate
    new_id: Callable[[], str]
    background: Background
    exposition: Exposition | None = None
    status: Callable[[], StatusFacts] | None = None
    sync: Callable[[float], Awaitable[bool]] | None = None
    """Looks for a new configuration now, for at most so many seconds; whether it came to an end."""
    steering: Steering | None = None
    """What operators decide about revisions; there once the ledger was read."""
    to_wall: Callable[[float], float] = float
    feed: EventFeed | None = None
    judge: PolicyJudge | None = None
    """Who knows the policies."""
    openapi: Callable[[], bytes] = bytes
    denials: Denials = field(default_factory=Denials)
    """Told of who is turned away."""
    carried: CarriedVotes = field(default_factory=lambda: CarriedVotes(None))
    """Which webhooks may carry votes."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter. `schema` is JSON Schema; `many` says that it may be repeated."""

    name: str
    description: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    many: bool = False


class Query:
    """The query parameters of one call, checked by name."""

    def __init__(self, given: list[tuple[str, str]]) -> None:
        self._given = given

    def has(self, name: str) -> bool:
        return any(key == name for key, _ in self._given)

    def text(self, name: str) -> str:
        return next((value for key, value in self._given if key == name), "")

    def all(self, name: str) -> list[str]:
        return [value for key, value in self._given if key == name]

    def one_of(self, name: str, words: Iterable[str]) -> str:
        value = self.text(name)
        known = list(words)
        if self.has(name) and value not in known:
            raise _bad(name, f"there is no {name} '{value[:64]}'; {suggestion(value, known)}")
        return value

    def flag(self, name: str) -> bool:
        value = self.text(name)
        if self.has(name) and value not in {"0", "1", "true", "false"}:
            raise _bad(name, f"write {name}=1 or {name}=0")
        return value in {"1", "true"}

    def whole(self, name: str, default: int, most: int) -> int:
        if not self.has(name):
            return default
        value = self.text(name)
        if not (value.isascii() and value.isdigit()) or len(value) > 18 or int(value) > most:
            raise _bad(name, f"write {name} as a whole number from 0 to {most}")
        return int(value)

    def duration(self, name: str, most: float) -> float | None:
        if not self.has(name):
            return None
        value = self.text(name)
        try:
            seconds = parse_duration(value)
        except UnitError as error:
            raise _bad(name, str(error)) from None
        if seconds > most:
            raise _bad(name, f"write at most {name}={format_duration(most)}")
        return seconds

    def labels(self) -> list[tuple[str, str | None]]:
        """`label=k=v` (equal) and `label=k` (there is one), all of which must hold."""
        found: list[tuple[str, str | None]] = []
        for text in self.all("label"):
            key, equals, value = text.partition("=")
            if not key:
                raise _bad("label", "write label=NAME=VALUE or label=NAME")
            found.append((key, value if equals else None))
        return found


@dataclass(slots=True)
class Call:
    """One request on its way through its handler."""

    request: web.BaseRequest
    id: str
    caller: Claimant
    host: Host
    names: tuple[str, ...] = ()
    """What stands for the `{…}` of the route's path, decoded."""
    raw_query: str = ""

    def name(self, unknown: Code) -> str:
        """The first name in the path. Raises the given refusal for what can be no name."""
        name = self.names[0]
        if not _NAME.fullmatch(name):
            what = unknown.value.removeprefix("no-such-")
            raise Refusal(unknown, f"There is no {what} of that name: it has forbidden characters.")
        return name

    @property
    def operates(self) -> bool:
        """It is root or the daemon's own user who calls."""
        return self.caller.uid in (ROOT, self.host.daemon_uid)

    def query(self, allowed: tuple[Parameter, ...]) -> Query:
        """Raises `Problem` for a parameter that is unknown or repeated, naming it."""
        try:
            given = parse_qsl(
                self.raw_query, keep_blank_values=True, errors="strict", max_num_fields=_MAX_QUERY
            )
        except ValueError:
            raise Problem(
                HttpCode.MALFORMED,
                f"The query is not UTF-8 text of at most {_MAX_QUERY} parameters.",
            ) from None
        known = {parameter.name: parameter for parameter in allowed}
        seen: set[str] = set()
        for name, _ in given:
            if name not in known:
                raise _bad(name[:64], f"no such parameter; {suggestion(name[:64], known)}")
            if name in seen and not known[name].many:
                raise _bad(name, "write it once")
            seen.add(name)
        return Query(given)

    async def body(self) -> bytes:
        """The whole body, within its limits of size and time. Raises `Problem`."""
        request = self.request
        headers = request.headers
        if "Content-Encoding" in headers:
            raise Problem(
                HttpCode.UNSUPPORTED_MEDIA_TYPE, "Send the body without Content-Encoding."
            )
        length = request.content_length
        if length is not None and length > MAX_BODY:
            raise _too_large()
        content_type = headers.get("Content-Type")
        if content_type is not None and content_type != "application/json" and request.body_exists:
            _check_content_type(content_type)
        if request.content.is_eof():
            return self._read_now()
        await self._promise(headers.get("Expect"))
        try:
            async with asyncio.timeout(BODY_WITHIN):
                return await self._read()
        except TimeoutError:
            raise too_slow("body", BODY_WITHIN) from None

    def _read_now(self) -> bytes:
        """The body of a request that came in one piece, as nearly all do."""
        data = self.request.content.read_nowait()
        if len(data) > MAX_BODY:
            raise _too_large()
        return data

    async def _read(self) -> bytes:
        try:
            return await self.request.read()
        except web.HTTPRequestEntityTooLarge:
            raise _too_large() from None
        except (HttpProcessingError, web.RequestPayloadError) as error:
            raise Problem(
                HttpCode.MALFORMED, "The body is not sent as its headers say.", close=True
            ) from error

    async def _promise(self, expect: str | None) -> None:
        if expect is None or self.request.version < (1, 1):
            return
        if expect.lower() != "100-continue":
            raise Problem(
                HttpCode.EXPECTATION_FAILED, "Only 'Expect: 100-continue' is known.", close=True
            )
        await self.request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def answer(self, value: object, status: int = 200, *, location: str | None = None) -> Answer:
        return self.answer_bytes(encode(value), status, location=location)

    def answer_bytes(
        self,
        body: bytes,
        status: int = 200,
        *,
        location: str | None = None,
        content_type: str = JSON,
    ) -> Answer:
        extra = "" if location is None else f"Location: {location}\r\n"
        return Answer(body, status, request_id=self.id, content_type=content_type, extra=extra)

    async def answer_list(self, shown: Iterator[object], limit: int) -> Answer:
        """A list of at most `limit` items, built in slices so that claims are served between."""
        slices: list[bytes] = []
        count = 0
        more = False
        batch: list[bytes] = []
        for one in shown:
            if one is not None:
                if count == limit:
                    more = True
                    break
                count += 1
                batch.append(encode(one))
            if len(batch) >= _SLICE or one is None:
                if batch:
                    slices.append(b",".join(batch))
                    batch = []
                await asyncio.sleep(0)
        if batch:
            slices.append(b",".join(batch))
        tail = b'],"more":true}' if more else b'],"more":false}'
        return self.answer_bytes(b'{"items":[' + b",".join(slices) + tail)


Handle = Callable[[Call], Awaitable[web.StreamResponse]]
Door = Callable[[Host], bool]
"""Whether others than root and the daemon's user may come in now."""


def for_operators(_: Host) -> bool:
    return False


def for_callers(host: Host) -> bool:
    """What anybody may ask for that policies may let claim; the handler looks whose claim it is."""
    return host.judge is not None and host.judge.enforces


def for_claimants(host: Host) -> bool:
    """To claim: policies that look on have their say too, though they do not let anybody in."""
    return host.judge is not None and host.judge.looks_on


@dataclass(frozen=True, slots=True)
class Route:
    """One address and method: how it is served, and how openapi.json describes it."""

    method: str
    path: str
    handle: Handle
    summary: str
    answers: Mapping[int, Any]
    """Status to the TypedDict of its body; None for text."""
    codes: tuple[AnyCode, ...] = ()
    """The error codes of this route, beside those of all."""
    query: tuple[Parameter, ...] = ()
    body: type[Body] | None = None
    body_required: bool = True
    gated: bool = True
    """False: it is served while the daemon starts and stops, as far as it can be."""
    open: bool = False
    """True: anyone who can reach the socket may call it, and it never waits for the start."""
    door: Door = for_operators
    """Whom it is for, beside root and the daemon's own user."""
    media: str = "application/json"
    headers: tuple[Parameter, ...] = ()
    """Request headers that it reads."""


def check_door(route: Route, host: Host, verdict: Verdict) -> None:
    """For who is neither root nor the daemon's user, as `verdict` says. Raises `Problem`."""
    if route.door(host):
        return
    if for_callers(host):
        reason = "This is for root and the user that runs the daemon alone."
        raise Problem(Code.DENIED, reason, details={"rule": "operators"})
    raise Problem(Code.DENIED, verdict.reason, details={"rule": verdict.rule})


def paced(items: Iterable[T]) -> Iterator[T | None]:
    """A snapshot of the items, with a None now and then where other work may get its turn."""
    for number, item in enumerate(list(items), start=1):
        yield item
        if number % 1000 == 0:
            yield None


def _bad(name: str, message: str) -> Problem:
    return Problem(
        HttpCode.INVALID,
        f"'{name}': {message}" + ("" if message.endswith("?") else "."),
        details={"errors": [{"field": name, "message": message}]},
    )


def _too_large() -> Problem:
    return Problem(
        HttpCode.TOO_LARGE,
        f"The body is larger than {MAX_BODY // 1024} KiB; send less.",
        close=True,
    )


def _check_content_type(given: str) -> None:
    kind, _, rest = given.partition(";")
    charset = rest.strip().lower().removeprefix("charset=").strip('"')
    if kind.strip().lower() != "application/json" or charset not in {"", "utf-8", "utf8"}:
        raise Problem(
            HttpCode.UNSUPPORTED_MEDIA_TYPE,
            "The body must be JSON; send 'Content-Type: application/json' (with curl: --json).",
        )
