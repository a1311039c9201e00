"""openapi.json describes exactly what is served, and what is served fits its schemas."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import jsonschema_rs
import pytest

from stoker.daemon.openapi import codes_of, document
from stoker.daemon.problems_http import MEANINGS
from stoker.daemon.server import ROUTES
from stoker.daemon.status import HeldFacts, RevisionFacts
from stoker.pools.requests import Code
from stoker.pools.switches import Operator, Switch, SwitchKind
from tests.daemon.harness import Served, a_server
from tests.rig import a_box_pool

DOCUMENT = json.loads(json.dumps(document(ROUTES, "1.2.3")))


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_every_route_is_described_and_nothing_else() -> None:
    described = {(method.upper(), path) for path, method, _ in operations()}
    assert {(route.method, route.path) for route in ROUTES} == described


def test_it_has_what_openapi_3_1_requires() -> None:
    assert "3.1.0" == DOCUMENT["openapi"]
    assert {"title", "version"} <= set(DOCUMENT["info"])
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)
    for path, _, operation in operations():
        assert operation["summary"]
        assert operation["responses"]
        given = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
        assert set(re.findall(r"\{(\w+)\}", path)) == given
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"[1-5]\d\d", status)
            assert response["description"]
        for parameter in operation.get("parameters", ()):
            assert {"name", "in", "schema"} <= set(parameter)


def test_every_reference_leads_to_a_valid_schema() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    found = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT)))
    assert found <= set(schemas)
    for name in schemas:
        jsonschema_rs.meta.validate(schemas[name])
        validator(name)


def test_every_code_of_a_route_stands_under_its_status() -> None:
    for route in ROUTES:
        responses = DOCUMENT["paths"][route.path][route.method.lower()]["responses"]
        for code in codes_of(route):
            assert str(code) in responses[str(MEANINGS[code].status)]["x-codes"]


def test_every_code_of_the_pools_belongs_to_a_route() -> None:
    used = {code for route in ROUTES for code in codes_of(route)}
    assert set(Code) <= used
    assert set(MEANINGS) - used == {"not-found", "method-not-allowed"}


def validator(name: str) -> Any:
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    return jsonschema_rs.validator_for(closed(schema))


def closed(schema: Any) -> Any:
    """The same schema, with members refused that it does not name."""
    if isinstance(schema, list):
        return [closed(one) for one in cast("list[object]", schema)]
    if not isinstance(schema, dict):
        return schema
    members = cast("dict[str, object]", schema)
    shut = {key: closed(value) for key, value in members.items()}
    if shut.get("type") == "object" and "properties" in shut:
        shut.setdefault("additionalProperties", False)
    return shut


def fits(path: str, method: str, status: int, value: Any) -> None:
    operation = DOCUMENT["paths"][path][method]
    content = operation["responses"][str(status)]["content"]
    schema = next(iter(content.values()))["schema"]
    whole = closed({**schema, "components": DOCUMENT["components"]})
    jsonschema_rs.validator_for(whole).validate(value)


async def test_what_is_answered_fits_its_schema(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        claim = (await served.caller.claim(labels={"a": "b"})).json
        fits("/v1/claims", "post", 201, claim)
        named = {
            "/v1/claims/{id}": claim["id"],
            "/v1/pools/{name}": "web",
            "/v1/resources/{id}": claim["resources"][0]["id"],
            "/v1/explain/blueprints/{name}": "box",
            "/v1/config/revisions/{id}": "r1",
        }
        for kind in ("claims/{id}", "pools/{name}", "resources/{id}"):
            named[f"/v1/explain/{kind}"] = named[f"/v1/{kind}"]
        for route in ROUTES:
            if route.method == "GET" and route.path not in {"/metrics", "/v1/events"}:
                path = re.sub(r"\{\w+\}", named.get(route.path, ""), route.path)
                reply = await served.caller.get(path)
                assert 200 == reply.status, path
                fits(route.path, "get", 200, reply.json)
        for event in (await served.caller.get("/v1/events")).lines:
            fits("/v1/events", "get", 200, event)
        renewed = await served.caller.ask("POST", f"/v1/claims/{claim['id']}/renew", {})
        fits("/v1/claims/{id}/renew", "post", 200, renewed.json)
        released = await served.caller.ask("DELETE", f"/v1/claims/{claim['id']}")
        fits("/v1/claims/{id}", "delete", 200, released.json)


async def test_the_served_document_is_this_one(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=0)) as served:
        reply = await served.caller.get("/openapi.json")
        assert DOCUMENT["paths"] == reply.json["paths"]


async def unready(served: Served) -> Any:
    return (await served.caller.get("/readyz")).json


async def test_the_status_shows_what_is_wrong(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=0)) as served:
        served.facts = {
            "ready": False,
            "reasons": ("no configuration was applied yet",),
            "config_ok": False,
            "config_problems": ("pools.yaml:3:5: …",),
            "config_broken_since": 1_700_000_000.0,
            "ledger_ok": False,
            "ledger_error": "the disk is full",
            "clock_step": -3.0,
        }
        status = (await served.caller.get("/v1/status")).json
        fits("/v1/status", "get", 200, status)
        assert {"ok": False, "head": "0:", "error": "the disk is full"} == status["ledger"]
        assert "2023-11-14T22:13:20.000Z" == status["config"]["brokenSince"]
        assert "-3s" == status["clockStep"]
        assert ["no configuration was applied yet"] == (await unready(served))["reasons"]


async def test_the_status_shows_what_is_held_and_pinned(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=0)) as served:
        pin = Switch(SwitchKind.PIN, "r1", Operator(7, "ada"), "so", 5.0, 1_700_000_000.0)
        served.facts = {
            "config_held": HeldFacts("abc", "c" * 40, ("too much",), 1_700_000_000.0),
            "config_pin": pin,
            "config_seen": RevisionFacts("def", "here", 0.0),
            "in_force": (pin,),
        }
        status = (await served.caller.get("/v1/status")).json
        fits("/v1/status", "get", 200, status)
        config = status["config"]
        since = "2023-11-14T22:13:20.000Z"
        assert {
            "revision": "abc",
            "commit": "c" * 40,
            "because": ["too much"],
            "since": since,
        } == config["held"]
        assert ("r1", "ada", since) == (
            config["pinned"]["revision"],
            config["pinned"]["by"]["user"],
            config["pinned"]["until"],
        )
        assert {"revision": "def"} == config["seen"]
        figures = (await served.caller.get("/metrics")).body
        assert b"stoker_config_held 1.0" in figures
        assert b"stoker_config_pinned 1.0" in figures


@pytest.mark.parametrize(
    "body", ["AcceptBody", "ClaimBody", "RenewBody", "SetBody", "StayBody", "TakeBackBody"]
)
def test_bodies_refuse_unknown_fields_by_schema_too(body: str) -> None:
    assert DOCUMENT["components"]["schemas"][body]["additionalProperties"] is False
