"""JSON Schemas (draft 2020-12) of the kinds, for editors and for `stoker schema`.

They come from the models that the loader itself uses. Where a driver's setting may be an
expression, its schema takes a string with `${` beside what the driver takes.
"""

from collections.abc import Mapping
from typing import cast

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from .catalogue import Catalogue, DriverFacts
from .json_types import Json
from .kinds import KINDS
from .spelling import suggestion

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_EXPRESSION = "Expression"
_REF = "#/$defs/{model}"
_NAMED = frozenset({"properties", "patternProperties", "$defs"})

Schema = dict[str, Json]


class UnknownKind(Exception):
    """There is no such kind; the message says which there are."""


class _Generator(GenerateJsonSchema):
    """Numbers that a validator may read from a text (`30s`, `512MiB`) are shown as either."""

    def function_before_schema(
        self, schema: core_schema.BeforeValidatorFunctionSchema
    ) -> JsonSchemaValue:
        inner = super().function_before_schema(schema)
        if inner.get("type") in ("number", "integer"):
            return {"anyOf": [inner, {"type": "string"}]}
        return inner


def json_schema(kind: str | None, catalogue: Catalogue) -> Schema:
    """The schema of one kind, or of a document of any kind. Raises UnknownKind."""
    if kind is not None and kind not in KINDS:
        raise UnknownKind(f"there is no kind '{kind[:80]}': {suggestion(kind, KINDS)}")
    names = [kind] if kind is not None else list(KINDS)
    definitions: Schema = {_EXPRESSION: {"type": "string", "pattern": r"\$\{"}}
    for name in names:
        definitions |= _definitions(KINDS[name])
    for facts in sorted(catalogue.values(), key=lambda it: it.name):
        if "Part" in definitions:
            definitions |= _driver_definitions(facts.settings, facts.name, expressions=True)
        if "ProviderSpec" in definitions and facts.provider_settings is not None:
            definitions |= _driver_definitions(
                facts.provider_settings, f"{facts.name}.provider", expressions=False
            )
    if "Part" in definitions:
        _choose_by_driver(definitions, "Part", [(it, it.name) for it in catalogue.values()])
    if "ProviderSpec" in definitions:
        _choose_by_driver(
            definitions, "ProviderSpec", [(it, f"{it.name}.provider") for it in catalogue.values()]
        )
    references: list[Json] = [{"$ref": _REF.format(model=name)} for name in names]
    top: Schema = {"oneOf": references} if kind is None else {"$ref": _REF.format(model=kind)}
    return {
        "$schema": DIALECT,
        "title": f"stoker {kind or 'document'}",
        **top,
        "$defs": definitions,
    }


def _definitions(model: type[BaseModel]) -> Schema:
    _, schema = models_json_schema([(model, "validation")], ref_template=_REF)
    return {
        name: _without_noise(cast("Json", one))
        for name, one in cast("Mapping[str, object]", schema["$defs"]).items()
    }


def _driver_definitions(model: type[BaseModel], name: str, *, expressions: bool) -> Schema:
    """A driver's definitions under names of their own: two drivers may both have a `Limits`."""
    template = f"#/$defs/{name}.{{model}}"
    schema = cast(
        "Schema", model.model_json_schema(ref_template=template, schema_generator=_Generator)
    )
    inner = cast("Schema", schema.pop("$defs", {}))
    found: Schema = {f"{name}.{inside}": one for inside, one in inner.items()}
    found[name] = schema
    found = {key: _without_noise(one) for key, one in found.items()}
    if expressions:
        return {key: _or_expression(one, top=True) for key, one in found.items()}
    return found


def _choose_by_driver(
    definitions: Schema, holder: str, drivers: list[tuple[DriverFacts, str]]
) -> None:
    """`with` has the schema of the driver that is named beside it."""
    schema = cast("Schema", definitions[holder])
    properties = cast("Schema", schema["properties"])
    names: list[Json] = [*sorted(facts.name for facts, _ in drivers)]
    properties["driver"] = {"enum": names}
    choices: list[Json] = []
    for facts, name in sorted(drivers, key=lambda it: it[1]):
        settings: Json = (
            {"$ref": _REF.format(model=name)} if name in definitions else {"maxProperties": 0}
        )
        then: Schema = {"properties": {"with": settings}}
        if _needs_some(definitions.get(name)):
            then["required"] = ["with"]
        named: Json = {"properties": {"driver": {"const": facts.name}}, "required": ["driver"]}
        choices.append({"if": named, "then": then})
    schema["allOf"] = choices


def _needs_some(schema: Json) -> bool:
    return isinstance(schema, dict) and bool(schema.get("required"))


def _or_expression(schema: Json, *, top: bool = False) -> Json:
    """The same schema with an expression allowed in place of every value inside."""
    if not isinstance(schema, dict):
        return schema
    inside = {key: _within(key, value) for key, value in schema.items()}
    if top or not inside:
        return inside
    kept: Schema = {key: inside.pop(key) for key in ("description", "default") if key in inside}
    return {"anyOf": [inside, {"$ref": _REF.format(model=_EXPRESSION)}], **kept}


def _within(key: str, value: Json) -> Json:
    if key in ("properties", "patternProperties") and isinstance(value, dict):
        return {name: _or_expression(one) for name, one in value.items()}
    if key in ("items", "additionalProperties"):
        return _or_expression(value)
    if key in ("anyOf", "oneOf", "allOf", "prefixItems") and isinstance(value, list):
        return [_or_expression(one, top=key != "prefixItems") for one in value]
    return value


def _without_noise(schema: Json, *, names: bool = False) -> Json:
    """Without pydantic's titles, and without defaults in another form than people write.

    `names` is True for a mapping from property names to schemas, where `title` is a name.
    """
    if isinstance(schema, list):
        return [_without_noise(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found: Schema = {}
    for key, value in schema.items():
        if key == "title" and not names:
            continue
        if key == "default" and not names and _in_base_units(schema):
            continue
        found[key] = _without_noise(value, names=not names and key in _NAMED)
    return found


def _in_base_units(schema: Schema) -> bool:
    """True for a duration or a rate, which is written as text and kept as a number."""
    return schema.get("type") == "string" and isinstance(schema.get("default"), int | float)
