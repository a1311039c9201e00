"""The `command` driver: any program that reads a JSON request and writes a JSON answer.

The program is named by the Provider, or by the part; then it is kept in the part's handle, so
that the part can be removed when its blueprint is long gone. The part's own `with` is not kept
(it may hold secrets): what observing and removing need, the program returns as its handle.
"""

import asyncio
from dataclasses import dataclass

from pydantic import Field, JsonValue

from ...config.catalogue import DriverFacts
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
    ProviderRef,
    Rejected,
    Unavailable,
)  # fmt: skip
from ..ids import PartId
from .command_protocol import Action, Answer, blotted, read_answer, strings_in, write_request
from .command_running import Limits, run_program
from .context import DriverContext
from .settings import ByteCount, Duration, Settings, is_part_id, read_settings

TIMEOUT = 30.0
OUTPUT_LIMIT = 2**20
KNOWN_PROGRAMS = 64
"""How many programs `list_owned` asks: those used last."""
AT_ONCE = 16
"""Programs that run at the same time."""


class CommandSettings(Settings):
    """`with` of a part, and of a Provider: what a part does not say, its provider does."""

    program: list[str] | None = Field(default=None, min_length=1)
    """The program and its arguments. Never a secret: arguments can be read by others."""
    with_: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue], alias="with")
    """For the program; a part's entries go over its provider's."""
    timeout: Duration | None = None
    """Per call; 30 s."""
    output_limit: ByteCount | None = Field(default=None, alias="outputLimit")
    """1 MiB."""
    reset: bool | None = None
    """Whether the program knows the action `reset`."""


FACTS = DriverFacts(
    name="command",
    settings=CommandSettings,
    outputs={},
    provider_settings=CommandSettings,
    open_outputs=True,
    reset_setting="reset",
)


@dataclass(frozen=True, slots=True)
class _Program:
    """A program ready to be asked."""

    argv: tuple[str, ...]
    settings: JsonObject
    """`with`."""
    limits: Limits


class CommandDriver:
    """See the module."""

    name = "command"
    pure = False

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._known: dict[tuple[str, tuple[str, ...]], _Program] = {}
        self._listed: dict[PartId, _Program] = {}
        """Who listed what, last: an orphan comes back without a word about its program."""

    async def open(self, changed: Changed) -> None:
        """Nothing to start: programs run only while they are asked."""

    async def close(self) -> None:
        self._known.clear()
        self._listed.clear()

    async def allot(self, request: PartRequest) -> JsonObject:  # noqa: ARG002
        return {}

    def intend(self, request: PartRequest) -> JsonObject:
        kept = ("program", "timeout", "outputLimit")
        return {name: request.settings[name] for name in kept if name in request.settings}

    async def create(self, request: PartRequest) -> Made:
        return await self._make(Action.CREATE, request, {})

    async def reset(self, request: PartRequest, part: PartRef) -> Made:
        return await self._make(Action.RESET, request, _own_handle(part))

    async def _make(self, action: Action, request: PartRequest, handle: JsonObject) -> Made:
        program = self._program(request.id, request.provider, request.settings)
        answer = await self._ask(action, program, request, handle)
        if answer.state is not Presence.PRESENT:
            state = answer.state or "nothing"
            raise Unavailable(f"{program.argv[0]} answered {state} to {action}, not present")
        return Made(
            handle={**self.intend(request), "handle": _plain(answer.handle)},
            outputs=_plain(answer.outputs),
            secrets=_plain(answer.secrets),
        )

    async def observe(self, part: PartRef) -> Observation:
        program = self._program_of(part)
        try:
            answer = await self._ask(Action.OBSERVE, program, part, _own_handle(part))
        except NotFound as error:
            return Observation(Presence.ABSENT, str(error))
        if answer.state is None:
            raise Unavailable(f"{program.argv[0]} answered no state to observe")
        detail = blotted(answer.detail, strings_in(dict(program.settings)))
        return Observation(answer.state, detail[:1000])

    async def destroy(self, part: PartRef) -> None:
        program = self._program_of(part)
        answer = await self._ask(Action.DESTROY, program, part, _own_handle(part))
        if answer.state is None:
            raise Unavailable(f"{program.argv[0]} answered no state to destroy")
        if answer.state is Presence.ABSENT:
            raise NotFound(f"{program.argv[0]} says that {part.id} is absent")

    async def list_owned(self) -> frozenset[PartId]:
        """What the programs used since the start list. One that cannot be asked fails the call."""
        found: dict[PartId, _Program] = {}
        for key, program in list(self._known.items()):
            try:
                answer = await self._ask(Action.LIST, program, None, {})
            except Rejected as error:  # uninstalled, perhaps: known again when it is used again
                self._known.pop(key, None)
                raise Unavailable(
                    f"the parts of {program.argv[0]} cannot be listed: {error}"
                ) from error
            found.update((PartId(name), program) for name in answer.parts if is_part_id(name))
        self._listed = found
        return frozenset(found)

    def watch(self, part: PartRef) -> None:
        """Programs tell nothing by themselves; this is how those of an earlier run are known."""
        try:
            self._program_of(part)
        except Rejected:
            return

    def forget(self, part: PartId) -> None:
        """Nothing was kept for the part alone."""

    def _program_of(self, part: PartRef) -> _Program:
        own = {name: value for name, value in part.handle.items() if name != "handle"}
        lister = self._listed.get(part.id)
        if lister is not None and not {"program"} & (own.keys() | part.provider.settings.keys()):
            return lister
        return self._program(part.id, part.provider, own)

    def _program(self, part: PartId, provider: ProviderRef, settings: JsonObject) -> _Program:
        """The part's program with its provider's defaults, remembered for `list_owned`."""
        own = read_settings(CommandSettings, settings, f"part {part}")
        general = read_settings(CommandSettings, provider.settings, f"provider {provider.name}")
        argv = own.program or general.program
        if argv is None:
            raise Rejected(
                f"{part} has no program: give one in its with, or in that of {provider.name}"
            )
        limits = Limits(
            timeout=own.timeout or general.timeout or TIMEOUT,
            output=own.output_limit or general.output_limit or OUTPUT_LIMIT,
        )
        shared: JsonObject = _plain(general.with_)
        self._remember(provider.name, _Program(tuple(argv), shared, limits))
        return _Program(tuple(argv), {**shared, **_plain(own.with_)}, limits)

    def _remember(self, provider: str, program: _Program) -> None:
        key = (provider, program.argv)
        self._known.pop(key, None)
        self._known[key] = program
        while len(self._known) > KNOWN_PROGRAMS:
            del self._known[next(iter(self._known))]

    async def _ask(
        self,
        action: Action,
        program: _Program,
        part: PartRequest | PartRef | None,
        handle: JsonObject,
    ) -> Answer:
        request = write_request(action, part, program.settings, handle)
        secret = frozenset(strings_in(dict(program.settings)))
        async with self._turns:
            try:
                outcome = await run_program(program.argv, request, program.limits)
            except Unavailable as error:
                raise Unavailable(blotted(str(error), secret)) from None
        return read_answer(program.argv[0], outcome, secret)


def _own_handle(part: PartRef) -> JsonObject:
    handle = part.handle.get("handle")
    return handle if isinstance(handle, dict) else {}


def _plain(values: dict[str, JsonValue]) -> dict[str, Json]:
    return dict(values)


def create_driver(context: DriverContext) -> Driver:  # noqa: ARG001
    return CommandDriver()
