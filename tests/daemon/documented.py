"""Every answer that a test gets is one that openapi.json describes."""

import json
from collections.abc import Iterable

from stoker.daemon.calls import Route
from stoker.daemon.openapi import codes_of
from stoker.daemon.problems_http import MEANINGS, Problem
from stoker.daemon.routing import Router
from stoker.daemon.server import ROUTES

Answered = tuple[str, str, int, str]
"""Method and path of the route, status, and the code of a problem or nothing."""
_ROUTER = Router(ROUTES)


def documented(routes: Iterable[Route] = ROUTES) -> set[Answered]:
    found: set[Answered] = set()
    for route in routes:
        found |= {(route.method, route.path, status, "") for status in route.answers}
        found |= {
            (route.method, route.path, MEANINGS[code].status, code.value)
            for code in codes_of(route)
        }
    return found


def answered(route: Route, status: int, content_type: str, body: bytes) -> Answered:
    code = json.loads(body)["code"] if content_type.startswith("application/problem") else ""
    return (route.method, route.path, status, code)


def check_documented(method: str, target: str, status: int, content_type: str, body: bytes) -> None:
    """Fails for an answer that the route's description does not have."""
    try:
        route, _, _ = _ROUTER.find(method, target)
    except Problem:
        return  # no route has this address and method: openapi.json says nothing of it
    if method == "HEAD" or (status == 200 and content_type == "application/x-ndjson"):
        return
    found = answered(route, status, content_type, body)
    assert found in documented((route,)), f"openapi.json does not describe {found}"
