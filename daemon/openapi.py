"""OpenAPI 3.1, generated from the route table and the shapes, so that it cannot lag behind."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema
from pydantic_core import to_json

from ..pools.requests import Code
from .answers import ProblemJson
from .calls import Route
from .models import Body
from .problems_http import CONTENT_TYPE, MEANINGS, AnyCode, HttpCode

_REFERENCES = "#/components/schemas/{model}"
_EVERYWHERE: tuple[AnyCode, ...] = (
    HttpCode.BUSY,
    HttpCode.HEADERS_TOO_LARGE,
    HttpCode.INTERNAL,
    HttpCode.MALFORMED,
    HttpCode.TOO_SLOW,
    HttpCode.URI_TOO_LONG,
)
_OF_TOKENS: tuple[AnyCode, ...] = (
    HttpCode.TOKENS_NOT_ACCEPTED,
    HttpCode.INVALID_TOKEN,
    HttpCode.EXPIRED_TOKEN,
    HttpCode.KEYS_UNAVAILABLE,
)
_BEHIND_THE_GATE: tuple[AnyCode, ...] = (Code.STARTING, Code.STOPPING)


_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "Adds to what the kernel says of the caller. Of an issuer in `identity.issuers`.",
}


def describe(routes: Iterable[Route], version: str) -> bytes:
    """The whole document as JSON."""
    return to_json(document(tuple(routes), version))


def document(routes: tuple[Route, ...], version: str) -> dict[str, Any]:
    schemas, names = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, names)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "stoker",
            "version": version,
            "description": "Claims resources from warm pools. Spoken over a Unix socket; who calls"
            " is told by the kernel. Errors are RFC 9457 problem documents with a stable code.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://localhost", "description": "The daemon's Unix socket."}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"token": _BEARER}},
    }


def codes_of(route: Route) -> set[AnyCode]:
    """Every error code that the route can answer with."""
    codes: set[AnyCode] = {*route.codes, *_EVERYWHERE}
    if not route.open:
        codes |= {Code.DENIED, *_OF_TOKENS, *(_BEHIND_THE_GATE if route.gated else ())}
    return codes


def _schemas(routes: tuple[Route, ...]) -> tuple[dict[str, Any], dict[object, dict[str, Any]]]:
    """The components, and for each shape the reference to it."""
    bodies: list[type[Body]] = sorted(
        {route.body for route in routes if route.body is not None}, key=lambda one: one.__name__
    )
    shapes: list[Any] = [ProblemJson]
    for route in routes:
        shapes += [one for one in route.answers.values() if one not in {None, dict}]
    shapes = list(dict.fromkeys(shapes))
    adapters: list[tuple[Any, Any, TypeAdapter[Any]]] = [
        (shape, "serialization", TypeAdapter(shape)) for shape in shapes
    ]
    named, from_shapes = TypeAdapter.json_schemas(adapters, ref_template=_REFERENCES)
    _, from_bodies = models_json_schema(
        [(body, "validation") for body in bodies], ref_template=_REFERENCES
    )
    schemas: dict[str, Any] = {**from_shapes.get("$defs", {}), **from_bodies.get("$defs", {})}
    names: dict[object, dict[str, Any]] = {shape: named[shape, "serialization"] for shape in shapes}
    names.update({body: {"$ref": _REFERENCES.format(model=body.__name__)} for body in bodies})
    return dict(sorted(schemas.items())), names


def _operation(route: Route, names: Mapping[object, dict[str, Any]]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "responses": _responses(route, names),
    }
    if not route.open:
        operation["security"] = [{}, {"token": []}]  # either
    parameters = _parameters(route)
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {
            "required": route.body_required,
            "content": {"application/json": {"schema": names[route.body]}},
        }
    return operation


def _operation_id(route: Route) -> str:
    words = [word.strip("{}").replace(".", "_") for word in route.path.split("/") if word != "v1"]
    return "_".join([route.method.lower(), *filter(None, words)])


def _parameters(route: Route) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {
            "name": word.strip("{}"),
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"},
        }
        for word in route.path.split("/")
        if word.startswith("{")
    ]
    for parameter in route.query:
        schema: Mapping[str, Any] = parameter.schema
        if parameter.many:
            schema = {"type": "array", "items": schema}
        found.append(
            {
                "name": parameter.name,
                "in": "query",
                "description": parameter.description,
                "schema": schema,
            }
        )
    found.extend(
        {
            "name": header.name,
            "in": "header",
            "description": header.description,
            "schema": header.schema,
        }
        for header in route.headers
    )
    return found


def _responses(route: Route, names: Mapping[object, dict[str, Any]]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, shape in sorted(route.answers.items()):
        content: dict[str, Any] = {}
        if shape is dict:
            content = {"schema": {"type": "object"}}
        elif shape is not None:
            content = {"schema": names[shape]}
        responses[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {route.media: content},
        }
    by_status: dict[int, list[AnyCode]] = {}
    for code in codes_of(route):
        by_status.setdefault(MEANINGS[code].status, []).append(code)
    for status, codes in sorted(by_status.items()):
        _add_problem(responses, status, sorted(codes), names[ProblemJson])
    return responses


def _add_problem(
    responses: dict[str, Any], status: int, codes: list[AnyCode], schema: dict[str, Any]
) -> None:
    told = {"codes": [str(code) for code in codes]}
    response = responses.setdefault(str(status), {"content": {}})
    response["description"] = f"Codes: {', '.join(told['codes'])}."
    response["x-codes"] = told["codes"]
    response["content"][CONTENT_TYPE] = {"schema": schema}
    if any(MEANINGS[code].retry for code in codes):
        response["headers"] = {
            "Retry-After": {
                "description": "Whole seconds after which it makes sense to try again.",
                "schema": {"type": "integer", "minimum": 1},
            }
        }
