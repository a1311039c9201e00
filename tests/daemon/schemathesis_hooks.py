"""What schemathesis cannot know of this API; loaded by it (see `test_schemathesis`), not by pytest.

JSON Schema has no bounds for durations, so their formats get strategies here. And a claim may fit
its schema and still be refused by the pool, whose blueprint alone knows the parameters: the check
below lets those refusals pass, by their codes, and no others.
"""

import json
from typing import Any, cast
from urllib.request import Request, urlopen

import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode

BOUNDS = {"above-zero": (1, 3_600_000), "up-to-1h": (0, 3_600_000), "up-to-5m": (0, 300_000)}
BY_THE_POOL = {
    *("unknown-parameter", "bad-parameter", "ttl-too-long", "cannot-follow"),
    *("count-too-large", "bad-select"),
}
SHUTTING = {
    "/v1/pools/{name}/pause": "resume",
    "/v1/pools/{name}/drain": "resume",
    "/v1/drain": "resume",
    "/v1/freeze": "thaw",
}
"""What keeps a pool from serving, and what ends it."""

for name, (least, most) in BOUNDS.items():
    schemathesis.openapi.format(
        f"duration-{name}", st.integers(least, most).map(lambda number: f"{number}ms")
    )

schemathesis.openapi.format(
    "duration-or-moment-within-366d", st.integers(1, 3_600_000).map(lambda number: f"{number}ms")
)


@schemathesis.hook  # pyright: ignore[reportUnknownMemberType] - untyped there
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """A stream that is followed has no end to wait for; `test_events` follows them.

    And a drain that lasts empties the pool, from which others claim: 503 is an error there.
    """
    query = cast("dict[str, object]", case.query or {})
    if case.path == "/v1/events" and query.get("follow") in ("1", "true"):
        query["follow"] = "0"
    if case.path in SHUTTING and _is_positive(case):
        sent: object = case.body
        body = cast("dict[str, object]", sent) if isinstance(sent, dict) else dict[str, object]()
        case.body, case.media_type = {**body, "until": "1ms"}, "application/json"


def _is_positive(case: Any) -> bool:
    return case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE


@schemathesis.hook  # pyright: ignore[reportUnknownMemberType] - untyped there
def after_call(_context: Any, case: Any, response: Any) -> None:
    """A pool that was paused or drained for longer all the same is opened again."""
    if case.path in SHUTTING and response.status_code == 200:
        base = str(response.request.url).rpartition("/")[0]
        urlopen(Request(f"{base}/{SHUTTING[case.path]}", method="POST"), timeout=10).close()


@schemathesis.check
def valid_requests_are_refused_by_the_pools_alone(_context: Any, response: Any, case: Any) -> None:
    if response.status_code != 422 or not _is_positive(case):
        return
    problem = cast("dict[str, Any]", json.loads(response.content))
    fields = {error["field"].partition(".")[0] for error in problem.get("errors", ())}
    assert problem["code"] in BY_THE_POOL or fields == {"params"}, problem["detail"]
