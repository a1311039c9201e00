"""What the `command` driver and its programs say to each other: one JSON object each way.

The protocol is public and described in docs/drivers/command.md.
"""

import json
from collections.abc import Iterable
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from ...config.json_types import Json, JsonObject
from ..driver import (
    DriverError,
    Exhausted,
    NotFound,
    PartRef,
    PartRequest,
    Presence,
    Rejected,
    Throttled,
    Unavailable,
)  # fmt: skip
from ..ids import resource_of
from .command_running import Outcome

VERSION = "stoker/v1"


class Action(StrEnum):
    CREATE = "create"
    OBSERVE = "observe"
    DESTROY = "destroy"
    RESET = "reset"
    LIST = "list"


class Problem(BaseModel):
    model_config = ConfigDict(extra="forbid")

    code: Literal["not-found", "throttled", "exhausted", "rejected", "unavailable"]
    message: str = ""
    after: float | None = Field(default=None, ge=0, le=86400)
    """Seconds, for throttled and exhausted."""


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    state: Presence | None = None
    detail: str = ""
    handle: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    outputs: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    secrets: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    parts: list[str] = Field(default_factory=list[str])
    """For list: the ids of what exists."""
    error: Problem | None = None


def write_request(
    action: Action, part: PartRequest | PartRef | None, settings: JsonObject, handle: JsonObject
) -> bytes:
    """One line of JSON. `part` is None for list."""
    request: dict[str, Json] = {
        "apiVersion": VERSION,
        "action": action.value,
        "with": dict(settings),
        "handle": dict(handle),
    }
    if part is not None:
        pool = resource_of(part.id).rpartition("-")[0]
        request["part"] = {"id": part.id, "pool": pool}
    return json.dumps(request).encode() + b"\n"


def read_answer(program: str, outcome: Outcome, secret: Iterable[str]) -> Answer:
    """The answer, when it says that the work was done; otherwise raises what went wrong.

    What the program says of itself goes into the message with everything in `secret` blotted out;
    its stdout never does.
    """
    said = blotted(outcome.errors, secret)
    ending = f"; its stderr ends with: {said}" if said else ""
    try:
        value = json.loads(outcome.output.decode())
        # What Python reads and others do not (NaN, half of a character) never gets to the ledger.
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        answer = Answer.model_validate(value)
    except (ValueError, RecursionError) as error:
        if outcome.status != 0:
            raise Unavailable(f"the program {program} {_ended(outcome.status)}{ending}") from None
        why = _wrong_form(error)
        raise Unavailable(f"the program {program} gave no usable answer: {why}{ending}") from None
    if answer.error is not None:
        message = blotted(answer.error.message, secret) or answer.error.code
        raise _error(answer.error, f"the program {program} says: {message}{ending}")
    if outcome.status != 0:
        raise Unavailable(f"the program {program} {_ended(outcome.status)}{ending}")
    return answer


def blotted(text: str, secret: Iterable[str]) -> str:
    """The text without any of the given values (those too short to be a secret are left)."""
    for value in sorted(secret, key=len, reverse=True):
        if len(value) >= 6:
            text = text.replace(value, "•••")
    return text


def strings_in(value: Json) -> Iterable[str]:
    """Every string in a JSON value: any of them may be a secret."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings_in(inner)


def _wrong_form(error: Exception) -> str:
    """What is wrong with the answer, without quoting it: it may hold secrets."""
    if isinstance(error, ValidationError):
        faults = error.errors(include_input=False, include_url=False, include_context=False)
        return "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'it'}: {fault['msg']}" for fault in faults[:5]
        )
    if isinstance(error, json.JSONDecodeError):
        return f"stdout is not one JSON object ({error.msg}, line {error.lineno})"
    return "stdout is not JSON in UTF-8, or it nests too deep"


def _ended(status: int) -> str:
    return f"was ended by signal {-status}" if status < 0 else f"ended with exit code {status}"


def _error(problem: Problem, message: str) -> DriverError:
    match problem.code:
        case "not-found":
            return NotFound(message)
        case "rejected":
            return Rejected(message)
        case "throttled":
            return Throttled(message, 1.0 if problem.after is None else problem.after)
        case "exhausted":
            return Exhausted(message, 30.0 if problem.after is None else problem.after)
        case "unavailable":
            return Unavailable(message)
