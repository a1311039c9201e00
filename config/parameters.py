"""The parameters of a blueprint: what a claim may pass, as one JSON Schema for each.

A parameter without `default` is required. One that may be left out says what it is then, for
example `{type: [string, "null"], default: null}`. `writeOnly: true` marks a secret. A parameter of
type `integer` reaches expressions as an int and one of type `number` as a double, whichever way
the caller wrote it.
"""

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self, cast

import jsonschema_rs

from .cel.values import MAX_RESULT, Fault, to_json
from .json_types import Json, JsonObject
from .parameter_schemas import (
    MASK,
    ParameterSchemaError,
    compiled_schema,
    schema_types,
    shape_of,
)
from .shapes import Shape
from .spelling import suggestion

__all__ = ["ParameterProblem", "ParameterProblems", "ParameterSchemaError", "Parameters"]

MAX_PARAMETERS = 64
MAX_NAME = 64
MAX_VALUES = MAX_RESULT
"""Characters of all values of one claim together, with 8 for each number and element."""
MAX_DEPTH = 32
"""Of what a claim passes, the object of all parameters included."""

_NAME = re.compile(r"[a-z][a-zA-Z0-9_]*")
_INT64 = 2**63
_MAX_PROBLEMS = 20

Code = Literal["unknown-parameter", "bad-parameter"]


@dataclass(frozen=True, slots=True)
class ParameterProblem:
    """One reason why what a caller passed is refused. The message never quotes the value."""

    name: str
    code: Code
    message: str
    remedy: str


class ParameterProblems(Exception):
    """What a caller passed is refused; `problems` are all the reasons."""

    def __init__(self, problems: tuple[ParameterProblem, ...]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class _Parameter:
    schema: dict[str, Json]
    validator: jsonschema_rs.Draft202012Validator
    types: frozenset[str]

    @property
    def required(self) -> bool:
        return "default" not in self.schema


@dataclass(frozen=True, slots=True)
class Parameters:
    """Accepts what a claim passes, or says what is wrong with it. Immutable; made by `compile`."""

    _parameters: Mapping[str, _Parameter]
    _defaults: Mapping[str, Json]
    """Of scalars: shared. Lists and maps stand in `_fresh` and are copied for each claim."""
    _fresh: Mapping[str, Json]
    _required: frozenset[str]
    secret_names: frozenset[str]
    """Those with `writeOnly: true`: sealed at rest, never shown."""

    @classmethod
    def compile(cls, raw: JsonObject) -> Self:
        """From `{name: JSON Schema}`. Raises ParameterSchemaError at the first mistake."""
        if len(raw) > MAX_PARAMETERS:
            name = list(raw)[MAX_PARAMETERS]
            raise ParameterSchemaError(
                name, f"a blueprint has at most {MAX_PARAMETERS} parameters", "remove some"
            )
        parameters = {name: _compiled(name, schema) for name, schema in raw.items()}
        defaults = {
            name: _default(name, one) for name, one in parameters.items() if not one.required
        }
        fresh = {name: value for name, value in defaults.items() if isinstance(value, list | dict)}
        return cls(
            parameters,
            {name: value for name, value in defaults.items() if name not in fresh},
            fresh,
            frozenset(name for name, one in parameters.items() if one.required),
            frozenset(
                name for name, one in parameters.items() if one.schema.get("writeOnly") is True
            ),
        )

    @property
    def schemas(self) -> dict[str, Json]:
        """`{name: JSON Schema}`, as written: for digests and for showing to people."""
        return {name: one.schema for name, one in self._parameters.items()}

    @property
    def defaults(self) -> JsonObject:
        """What those have that a claim does not pass; shared, not to be changed."""
        return {**self._defaults, **self._fresh} if self._fresh else self._defaults

    def shapes(self) -> Mapping[str, Shape]:
        """What expressions may expect of `params`, by name."""
        return {name: shape_of(one.schema) for name, one in self._parameters.items()}

    def accept(self, given: JsonObject) -> dict[str, Json]:
        """All parameters with their values, defaults filled in; a new dict, not shared.

        Raises ParameterProblems.
        """
        values = dict(self._defaults)
        if self._fresh:
            values.update(copy.deepcopy(dict(self._fresh)))
        if not given and not self._required:
            return values
        problems: list[ParameterProblem] = []
        values |= self._values(given, problems)
        problems += [_missing(name) for name in sorted(self._required - given.keys())]
        if problems:
            raise ParameterProblems(tuple(problems[:_MAX_PROBLEMS]))
        return values

    def typed(self, given: JsonObject) -> dict[str, Json]:
        """What was passed alone, checked and in the types of the parameters.

        Raises ParameterProblems, though not for what is missing: somebody else may add that.
        """
        problems: list[ParameterProblem] = []
        values = self._values(given, problems)
        if problems:
            raise ParameterProblems(tuple(problems[:_MAX_PROBLEMS]))
        return values

    def _values(self, given: JsonObject, problems: list[ParameterProblem]) -> dict[str, Json]:
        values: dict[str, Json] = {}
        for name, value in _copied(given).items():
            parameter = self._parameters.get(name)
            if parameter is None:
                problems.append(self._unknown(name))
            else:
                values[name] = _checked(name, parameter, value, problems)
        return values

    def _unknown(self, name: str) -> ParameterProblem:
        shown = name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}…"
        remedy = "it takes none"
        if self._parameters:
            remedy = suggestion(name, self._parameters)
        return ParameterProblem(
            shown, "unknown-parameter", f"there is no parameter '{shown}'", remedy
        )


def _compiled(name: str, schema: Json) -> _Parameter:
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise ParameterSchemaError(
            name[:MAX_NAME],
            f"a name has at most {MAX_NAME} letters, digits and underscores and starts with a small letter",
            "rename it",
        )
    validator = compiled_schema(name, schema)
    checked = cast("dict[str, Json]", schema)
    return _Parameter(checked, validator, schema_types(checked))


def _default(name: str, parameter: _Parameter) -> Json:
    try:
        value = to_json(parameter.schema["default"], what="the default", depth=MAX_DEPTH - 1)
    except Fault as fault:
        raise ParameterSchemaError(name, fault.message, fault.remedy) from None
    problems: list[ParameterProblem] = []
    value = _checked(name, parameter, value, problems)
    if problems:
        reason = problems[0].message.removeprefix(f"parameter '{name}': ")
        raise ParameterSchemaError(
            name, f"the default breaks its own schema: {reason}", "change the default or the schema"
        )
    return value


def _copied(given: JsonObject) -> dict[str, Json]:
    try:
        return cast("dict[str, Json]", to_json(given, what="what was passed", depth=MAX_DEPTH))
    except Fault as fault:
        problem = ParameterProblem("", "bad-parameter", fault.message, fault.remedy)
        raise ParameterProblems((problem,)) from None


def _checked(
    name: str, parameter: _Parameter, value: Json, problems: list[ParameterProblem]
) -> Json:
    """The value in its parameter's type; what is wrong with it is added to `problems`."""
    if not parameter.validator.is_valid(value):
        problems += [_refused(name, error) for error in parameter.validator.iter_errors(value)]
        return value
    try:
        converted = _in_type(value, parameter.types)
    except OverflowError:
        converted = None
    if converted is None and value is not None:
        message = f"parameter '{name}': the number needs more than 64 bits"
        problems.append(ParameterProblem(name, "bad-parameter", message, "give a smaller one"))
    return converted


def _in_type(value: Json, types: frozenset[str]) -> Json:
    """Ints for `integer`, doubles for `number`. Raises OverflowError beyond 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if "number" in types:
        return float(value)
    if isinstance(value, float) and "integer" in types:
        value = int(value)
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        raise OverflowError
    return value


def _refused(name: str, error: jsonschema_rs.ValidationError) -> ParameterProblem:
    place = "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path
    )
    message = (
        error.message.replace(MASK, f"{MASK} of {place.removeprefix('.')}", 1)
        if place
        else error.message
    )
    return ParameterProblem(
        name, "bad-parameter", f"parameter '{name}': {message}", "see the schema of the parameter"
    )


def _missing(name: str) -> ParameterProblem:
    return ParameterProblem(
        name, "bad-parameter", f"parameter '{name}' is required", f"pass a value for '{name}'"
    )
