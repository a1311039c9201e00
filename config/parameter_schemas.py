"""Whether the JSON Schema of a parameter may be used, and what is known of its values.

Draft 2020-12. Beyond what the standard refuses, a keyword that does not exist is a mistake (it
would be ignored in silence), and so is a `$ref` that leaves the document.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import jsonschema_rs

from .catalogue import ValueType
from .json_types import Json, JsonObject
from .shapes import ANY, Shape
from .spelling import suggestion

MAX_SCHEMA_DEPTH = 32
DRAFT = "https://json-schema.org/draft/2020-12/schema"
_PATTERN_LIMIT = 1024 * 1024
"""Bytes of one compiled pattern."""
MASK = "the value"

_SCHEMA = {
    "additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then",
    "unevaluatedItems", "unevaluatedProperties", "contentSchema",
}  # fmt: skip
_SCHEMAS = {"allOf", "anyOf", "oneOf", "prefixItems"}
_NAMED_SCHEMAS = {"$defs", "dependentSchemas", "patternProperties", "properties"}
_PLAIN = {
    "$anchor", "$comment", "$ref", "$schema", "const", "contentEncoding", "contentMediaType",
    "default", "dependentRequired", "deprecated", "description", "enum", "examples",
    "exclusiveMaximum", "exclusiveMinimum", "format", "maxContains", "maxItems", "maxLength",
    "maxProperties", "maximum", "minContains", "minItems", "minLength", "minProperties", "minimum",
    "multipleOf", "pattern", "readOnly", "required", "title", "type", "uniqueItems", "writeOnly",
}  # fmt: skip
_KEYWORDS = _SCHEMA | _SCHEMAS | _NAMED_SCHEMAS | _PLAIN

_TYPES = {
    "string": ValueType.STRING, "integer": ValueType.INT, "number": ValueType.DOUBLE,
    "boolean": ValueType.BOOL, "array": ValueType.LIST, "object": ValueType.MAP,
}  # fmt: skip


class ParameterSchemaError(Exception):
    """The schema of parameter `name` cannot be used."""

    def __init__(self, name: str, message: str, remedy: str) -> None:
        super().__init__(f"parameter '{name}': {message}; {remedy}")
        self.name = name
        self.message = message
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class _Place:
    """A schema within a schema, and how one gets there."""

    schema: Json
    path: str
    depth: int


def compiled_schema(name: str, schema: Json) -> jsonschema_rs.Draft202012Validator:
    """A validator whose patterns need linear time and whose messages never quote the value."""
    if not isinstance(schema, dict):
        raise ParameterSchemaError(
            name, "the schema must be a map", "write one, such as {type: string}"
        )
    for place in _places(name, schema):
        if isinstance(place.schema, dict):
            _check_keywords(name, place.schema, place.path)
    try:
        return jsonschema_rs.Draft202012Validator(
            schema,
            pattern_options=jsonschema_rs.RegexOptions(
                size_limit=_PATTERN_LIMIT, dfa_size_limit=_PATTERN_LIMIT
            ),
            mask=MASK,
            offline=True,
            validate_formats=True,
            ignore_unknown_formats=False,
        )
    except jsonschema_rs.ValidationError as error:
        raise ParameterSchemaError(name, *_told(schema, error)) from None


def _places(name: str, schema: Json) -> Iterator[_Place]:
    """The schema and every schema within it."""
    pending = [_Place(schema, "", 0)]
    while pending:
        place = pending.pop()
        yield place
        if place.depth > MAX_SCHEMA_DEPTH:
            raise ParameterSchemaError(
                name, f"the schema is nested more than {MAX_SCHEMA_DEPTH} deep", "make it flatter"
            )
        if isinstance(place.schema, dict):
            pending += [
                _Place(child, f"{place.path}.{where}", place.depth + 1)
                for where, child in _children(place.schema)
            ]


def _children(schema: dict[str, Json]) -> Iterator[tuple[str, Json]]:
    for keyword, value in schema.items():
        if keyword in _SCHEMA:
            yield keyword, value
        elif keyword in _SCHEMAS and isinstance(value, list):
            yield from ((f"{keyword}[{at}]", child) for at, child in enumerate(value))
        elif keyword in _NAMED_SCHEMAS and isinstance(value, dict):
            yield from ((f"{keyword}.{key}", child) for key, child in value.items())


def _check_keywords(name: str, schema: dict[str, Json], path: str) -> None:
    at = f" in {path.removeprefix('.')}" if path else ""
    for keyword, value in schema.items():
        if keyword not in _KEYWORDS and not keyword.startswith("x-"):
            raise ParameterSchemaError(
                name, f"there is no keyword '{keyword}'{at}", suggestion(keyword, _KEYWORDS)
            )
        if keyword == "$ref" and not (isinstance(value, str) and value.startswith("#")):
            raise ParameterSchemaError(
                name, f"a $ref leaves the schema{at}", "write it out below $defs and refer to that"
            )
        if keyword == "$schema" and value != DRAFT:
            raise ParameterSchemaError(
                name, "only draft 2020-12 of JSON Schema is understood", f"write {DRAFT}"
            )


def _told(schema: dict[str, Json], error: jsonschema_rs.ValidationError) -> tuple[str, str]:
    """The message and the remedy of a schema that is no schema."""
    place = ".".join(str(step) for step in error.instance_path)
    found = _found(schema, error.instance_path)
    if place.endswith("type") and isinstance(found, str):
        return f"there is no type '{found}'", suggestion(found, [*_TYPES, "null"])
    if '"regex"' in error.message:
        return (
            f"{place} is no pattern that can be matched in linear time",
            "write it without look-around and back-references",
        )
    if error.message.startswith("Unknown format"):
        return f"there is no format '{found}'", "remove it, or use a pattern"
    message = error.message.replace(MASK, place or "the schema", 1)
    return f"the schema is invalid: {message}", "see json-schema.org/draft/2020-12"


def _found(schema: Json, path: list[str | int]) -> Json:
    found = schema
    for step in path:
        if isinstance(found, dict) and isinstance(step, str):
            found = found.get(step)
        elif isinstance(found, list) and isinstance(step, int):
            found = found[step]
    return found


def schema_types(schema: JsonObject) -> frozenset[str]:
    """The JSON Schema types it allows by name; empty when it names none."""
    named = schema.get("type")
    if isinstance(named, str):
        return frozenset({named})
    return frozenset(str(one) for one in named) if isinstance(named, list) else frozenset()


def shape_of(schema: Json) -> Shape:
    """What an expression may expect of a value that the schema accepts."""
    return _shape(schema, top=True)


def _shape(schema: Json, *, top: bool) -> Shape:
    types = schema_types(schema) if isinstance(schema, dict) else frozenset[str]()
    if len(types) != 1 or not isinstance(schema, dict):
        return ANY
    (name,) = types
    if name == "object":
        return _object_shape(schema)
    if not top and name in ("number", "integer"):
        return ANY  # only a parameter itself is brought into its type: 2.0 may be an "integer"
    return Shape(_TYPES.get(name, ValueType.DYN))


def _object_shape(schema: Mapping[str, Json]) -> Shape:
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return Shape(ValueType.MAP)
    members = {key: _shape(child, top=False) for key, child in properties.items()}
    closed = schema.get("additionalProperties") is False and "patternProperties" not in schema
    return Shape(ValueType.MAP, members, open=not closed)
