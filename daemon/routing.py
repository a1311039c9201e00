"""Finds the route of a request. One dictionary look-up for the addresses without a name in them."""

from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from .calls import Route
from .problems_http import HttpCode, Problem

Found = tuple[Route, tuple[str, ...], str]
"""The route, the names in its path, and the query as it was sent."""


class Router:
    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._exact: dict[str, dict[str, Route]] = {}
        self._patterns: list[tuple[tuple[str, ...], dict[str, Route]]] = []
        patterns: dict[str, dict[str, Route]] = {}
        for route in self.routes:
            table = patterns if "{" in route.path else self._exact
            methods = table.setdefault(route.path, {})
            methods[route.method] = route
            if route.method == "GET":
                methods["HEAD"] = route
        self._patterns = [(tuple(path.split("/")), found) for path, found in patterns.items()]

    def find(self, method: str, target: str) -> Found:
        """`target` is the request's target as it was sent. Raises `Problem` (404 or 405)."""
        methods = self._exact.get(target)
        if methods is not None:
            return _pick(methods, method), (), ""
        path, query = _split(target)
        methods = self._exact.get(path)
        if methods is not None:
            return _pick(methods, method), (), query
        segments = path.split("/")
        for pattern, methods in self._patterns:
            if len(pattern) == len(segments):
                names = _match(pattern, segments)
                if names is not None:
                    return _pick(methods, method), names, query
        raise _not_found()


def _split(target: str) -> tuple[str, str]:
    """Path and query; the path is never made simpler, so `..` leads nowhere."""
    if not target.startswith("/"):
        try:
            parts = urlsplit(target)
        except ValueError:
            raise _not_found() from None
        return parts.path, parts.query
    target, _, _ = target.partition("#")
    path, _, query = target.partition("?")
    return path, query


def _match(pattern: tuple[str, ...], segments: list[str]) -> tuple[str, ...] | None:
    names: list[str] = []
    for expected, given in zip(pattern, segments, strict=True):
        if expected.startswith("{"):
            if not given:
                return None
            try:
                names.append(unquote(given, errors="strict"))
            except UnicodeDecodeError:
                return None
        elif expected != given:
            return None
    return tuple(names)


def _pick(methods: dict[str, Route], method: str) -> Route:
    route = methods.get(method)
    if route is None:
        allowed = ", ".join(sorted(methods))
        raise Problem(
            HttpCode.METHOD_NOT_ALLOWED,
            f"This address takes {allowed}; 'GET /openapi.json' describes every address.",
            headers={"Allow": allowed},
        )
    return route


def _not_found() -> Problem:
    return Problem(
        HttpCode.NOT_FOUND,
        "There is no such address; 'GET /openapi.json' lists those that this version has.",
    )
