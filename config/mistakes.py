"""What pydantic finds wrong, in words and places that the writer of a YAML file understands.

Used for the manifests themselves and for the `with` of drivers and providers. A problem stands at
the key or the value that must change.
"""

import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Union, cast, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, PlainValidator, ValidationError, WrapValidator
from pydantic_core import ErrorDetails

from .catalogue import ValueType
from .documents import Document, Path
from .json_types import Json
from .problems import Problem
from .spelling import nearest, suggestion
from .templates import expression_paths

MAX_PROBLEMS = 50
"""Of one model: more would only hide the first."""

_LOOKED_AT = 1_000

_EXPECTED = {
    "string": "a text", "int": "a whole number", "float": "a number", "bool": "true or false",
    "dict": "a mapping", "model": "a mapping", "mapping": "a mapping", "list": "a list",
    "tuple": "a list", "set": "a list", "frozen": "a list", "none": "nothing",
}  # fmt: skip
_STRUCTURAL = frozenset({"missing", "extra_forbidden"})
_BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}

LATER: Mapping[Path, str] = {
    ("spec", "size", "schedule"): "sizes by schedule are not supported by this version",
    ("spec", "size", "auto"): "sizes that follow demand are not supported by this version",
}
"""Keys of the contract that come later: the sentence in place of "there is no key"."""

MISPLACED: Mapping[Path, tuple[str, str]] = {
    ("spec", "maxUses"): (
        "maxUses means nothing without a reset, which alone lets a resource serve again",
        "write it in the reset of a Blueprint: reset: {parts: […], verify: …, maxUses: 10}",
    ),
    ("spec", "reset", "verify", "log"): (
        "a line that was written before the claim ended would prove nothing",
        "use http, tcp or exec",
    ),
}
"""Keys that one may look for here, with why they are not, and what to do."""


def find_mistakes(
    document: Document,
    model: type[BaseModel],
    value: Json,
    *,
    at: Path = (),
    rendered_later: frozenset[Path] = frozenset(),
) -> list[Problem]:
    """Validates the value that stands `at` a path of the document.

    `rendered_later` are the paths below it that hold expressions: what is wrong with such a text
    says nothing about what it will render to.
    """
    try:
        model.model_validate(value)
    except ValidationError as error:
        return mistakes_of(error, document, model, value, at=at, rendered_later=rendered_later)
    return []


def mistakes_of(
    error: ValidationError,
    document: Document,
    model: type[BaseModel],
    value: Json,
    *,
    at: Path = (),
    rendered_later: frozenset[Path] = frozenset(),
) -> list[Problem]:
    """The problems of a validation that failed."""
    found: dict[tuple[Path, str], Problem] = {}
    for details in error.errors(include_url=False)[:_LOOKED_AT]:
        path = real_path(details["loc"], value)
        if _says_nothing(details["type"], path, rendered_later):
            continue
        if len(found) == MAX_PROBLEMS:
            break
        problem = _problem(details, document, model, at, path)
        found.setdefault(((*at, *path), problem.message), problem)
    return _without_union_echoes(list(found.values()))


def real_path(loc: tuple[str | int, ...], value: Json) -> Path:
    """The location without the names of union members and of key checks that pydantic adds."""
    path: list[str | int] = []
    for index, step in enumerate(loc):
        if _has(value, step):
            value = cast("dict[str | int, Json]", value)[step]
            path.append(step)
        elif index == len(loc) - 1 and isinstance(value, dict) and step != "[key]":
            path.append(step)
    return tuple(path)


def _has(value: Json, step: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(step, int) and 0 <= step < len(value)
    return isinstance(value, dict) and step in value


def _says_nothing(kind: str, path: Path, rendered_later: frozenset[Path]) -> bool:
    if kind in _STRUCTURAL:
        return False
    for later in rendered_later:
        if path[: len(later)] == later:
            return True
        above = later[: len(path)] == path
        if above and not kind.endswith("_type"):
            return True
    return False


def _without_union_echoes(problems: list[Problem]) -> list[Problem]:
    """One problem for each place: a union's members each complain of the same value."""
    merged: dict[tuple[int, int, str], Problem] = {}
    for problem in problems:
        key = (problem.line, problem.column, problem.path)
        before = merged.get(key)
        if before is None:
            merged[key] = problem
            continue
        first, _, got = before.message.partition(", got ")
        wanted = problem.message.partition(", got ")[0].removeprefix("expected ")
        if first.startswith("expected ") and problem.message.startswith("expected ") and got:
            merged[key] = Problem(
                problem.file, problem.line, problem.column, problem.path,
                f"{first} or {wanted}, got {got}", before.remedy,
            )  # fmt: skip
    return list(merged.values())


def _problem(
    details: ErrorDetails, document: Document, model: type[BaseModel], at: Path, path: Path
) -> Problem:
    kind = details["type"]
    if kind == "extra_forbidden":
        return _unknown_key(document, model, at, path)
    if kind == "missing":
        key = path[-1] if path else "?"
        message = f"the key '{key}' is missing"
        return document.problem((*at, *path[:-1]), message, f"write {key}: …", key=True)
    message, remedy = _words(details)
    return document.problem((*at, *path), message, remedy, key=details["loc"][-1:] == ("[key]",))


def _unknown_key(document: Document, model: type[BaseModel], at: Path, path: Path) -> Problem:
    full = (*at, *path)
    key = str(path[-1])
    if full in LATER:
        return document.problem(full, LATER[full], "write {min: …, max: …}", key=True)
    if full in MISPLACED:
        return document.problem(full, *MISPLACED[full], key=True)
    known = keys_at(model, path[:-1])
    return document.problem(
        full, f"there is no key '{key[:80]}' here", suggestion(key, known), key=True
    )


def _words(details: ErrorDetails) -> tuple[str, str]:
    """The message and the remedy for one error that is about a value."""
    kind, given = details["type"], cast("Json", details["input"])
    context = details.get("ctx", {})
    if kind == "stoker":
        return str(context["message"]), str(context["remedy"])
    if kind == "literal_error":
        return _choice(str(context["expected"]), given)
    bound = _BOUNDS.get(kind)
    if bound is not None:
        return bound(context, given), "write another value"
    stem = kind.split("_", maxsplit=1)[0]
    if stem in _EXPECTED and kind.endswith(("_type", "_parsing", "_from_float", "_size")):
        return f"expected {_EXPECTED[stem]}, got {shown(given)}", _remedy(stem, given)
    message = details["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return message.rstrip(".")[:300] or "the value is wrong", "write another value"


def _remedy(stem: str, given: Json) -> str:
    if stem in ("int", "float") and isinstance(given, str):
        return "write it without quotes" if _is_number(given) else "write a number"
    if stem == "string" and isinstance(given, bool | int | float):
        return "put it in quotes"
    if stem == "bool" and isinstance(given, str):
        return f"write {_BOOLEANS.get(given.lower(), 'true or false')}, without quotes"
    if given is None:
        return "write a value after the colon, or remove the key"
    if stem in ("list", "tuple", "set", "frozen"):
        return "write [ … ], or one item per line after '- '"
    if stem in ("dict", "model", "mapping"):
        return "write its keys below it, indented, or as { … }"
    return f"write {_EXPECTED.get(stem, 'another value')}"


def _choice(expected: str, given: Json) -> tuple[str, str]:
    words = expected.replace("'", "").replace(" or ", ", ")
    near = nearest(given, words.split(", ")) if isinstance(given, str) else None
    remedy = f"did you mean '{near}'?" if near else "write one of these"
    return f"expected {expected}, got {shown(given)}", remedy


_BOUNDS: dict[str, Callable[[dict[str, Any], Json], str]] = {
    "greater_than_equal": lambda it, got: f"must be at least {it['ge']}, not {shown(got)}",
    "greater_than": lambda it, got: f"must be more than {it['gt']}, not {shown(got)}",
    "less_than_equal": lambda it, got: f"must be at most {it['le']}, not {shown(got)}",
    "less_than": lambda it, got: f"must be less than {it['lt']}, not {shown(got)}",
    "string_too_long": lambda it, _: f"must have at most {it['max_length']} characters",
    "string_too_short": lambda it, _: f"must have at least {it['min_length']} characters",
    "too_long": lambda it, _: f"must have at most {it['max_length']} entries",
    "too_short": lambda it, _: f"must have at least {it['min_length']} entries",
    "string_pattern_mismatch": lambda it, got: f"{shown(got)} does not match {it['pattern']}",
}


def shown(value: Json) -> str:
    """A value in a message: short, and only its kind where it may be large."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return repr(value if not isinstance(value, str) or len(value) <= 40 else f"{value[:40]}…")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def keys_at(model: type[BaseModel], path: Path) -> list[str]:
    """The keys that a mapping at this path may have."""
    found: object = model
    for step in path:
        found = _inner(_bare(found), step)
    there = _as_model(_bare(found))
    if there is None:
        return []
    return [field.alias or name for name, field in there.model_fields.items()]


def wanted_types(model: type[BaseModel], value: Json) -> dict[Path, ValueType]:
    """The type that each expression in a `with` must give, where the model leaves no choice."""
    found = {path: _wanted_at(model, path) for path in expression_paths(value)}
    return {path: wanted for path, wanted in found.items() if wanted is not None}


def _wanted_at(settings: type[BaseModel], path: Path) -> ValueType | None:
    found: object = settings
    takes_numbers = False
    for step in path:
        bare = _bare(found)
        model = _as_model(bare)
        if model is not None:
            takes_numbers = model.model_config.get("coerce_numbers_to_str") is True
        if _reads_its_own_way(found):
            return None
        found = _inner(bare, step)
    if _reads_its_own_way(found):
        return None
    bare = _bare(found)
    if bare is str and takes_numbers:
        return None
    return _VALUE_TYPES.get(get_origin(bare) or bare)


_VALUE_TYPES: dict[object, ValueType] = {
    str: ValueType.STRING, int: ValueType.INT, float: ValueType.DOUBLE, bool: ValueType.BOOL,
    list: ValueType.LIST, tuple: ValueType.LIST, dict: ValueType.MAP,
}  # fmt: skip


def _reads_its_own_way(annotation: object) -> bool:
    """True when a validator sees the value before its type is checked, as with durations."""
    if get_origin(annotation) is not Annotated:
        return False
    before = (BeforeValidator, WrapValidator, PlainValidator)
    return any(isinstance(it, before) for it in get_args(annotation)[1:])


def _bare(annotation: object) -> object:
    """Without `Annotated` and `| None`; None for a union of several."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType):
            arms = [arm for arm in get_args(annotation) if arm is not type(None)]
            if len(arms) != 1:
                return None
            annotation = arms[0]
        else:
            return annotation


def _as_model(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None


def _inner(annotation: object, step: str | int) -> object:
    model = _as_model(annotation)
    if model is not None:
        for name, field in model.model_fields.items():
            if step in (name, field.alias):
                # pydantic keeps the outermost validators apart from the annotation
                return Annotated[field.annotation, None, *field.metadata]
        return None
    arguments = get_args(annotation)
    if isinstance(step, int):
        return arguments[0] if arguments else None
    return arguments[1] if len(arguments) == 2 else None
