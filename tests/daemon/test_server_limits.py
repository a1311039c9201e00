"""What is beyond a limit is refused by the field's name, and told the limit."""

from pathlib import Path
from typing import Any

import pytest

from tests.daemon.harness import a_server
from tests.rig import a_box_pool


def nested(depth: int) -> Any:
    return {} if depth == 0 else {"x": nested(depth - 1)}


@pytest.mark.parametrize(
    ("body", "field", "limit"),
    [
        ({"wait": "61m"}, "wait", "1h"),
        ({"wait": 5}, "wait", '"90s"'),
        ({"ttl": "20d"}, "", "at most"),
        ({"ttl": "0s"}, "ttl", "above zero"),
        ({"ttl": "99999d"}, "ttl", "ten years"),
        ({"reason": "x" * 1001}, "reason", "1000 characters"),
        ({"pool": "x" * 129}, "pool", "128 characters"),
        ({"labels": {f"l{n}": "" for n in range(65)}}, "labels", "64 labels"),
        ({"labels": {"a": "x" * 64}}, "labels.a", "63 plain characters"),
        ({"labels": {"x" * 64: "a"}}, "labels", "63 letters"),
        ({"params": {"x": "x" * 65536}}, "params", "64 KiB"),
        ({"params": nested(40)}, "params", "32 levels"),
        ({"params": {"x": 2**64}}, "params", "64 bits"),
        ({"colour": "red"}, "colour", "no such field"),
        ({"labls": {}}, "labls", "labels"),
        ({"break_glass": True}, "break_glass", "did you mean 'breakGlass'?"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_claim_beyond_a_limit_is_refused_by_name_with_the_limit(
    short_tmp: Path, body: dict[str, Any], field: str, limit: str
) -> None:
    async with a_server(short_tmp, a_box_pool(min=0)) as served:
        reply = await served.caller.ask("POST", "/v1/claims", {"pool": "web", **body})
        assert 422 == reply.status
        assert limit in reply.json["detail"]
        if field:
            fields = [error["field"] for error in reply.json["errors"]]
            assert any(name.startswith(field) for name in fields), fields


@pytest.mark.parametrize(
    ("target", "limit"),
    [
        ("/v1/claims?limit=10001", "10000"),
        ("/v1/claims?limit=", "10000"),
        ("/v1/claims?state=", "pending"),
        ("/v1/claims/c-0?wait=6m", "5m"),
        ("/v1/claims/c-0?wait=", "such as"),
        ("/v1/events?since=-1", "whole number"),
        ("/v1/events?since=", "whole number"),
        ("/v1/events?follow=", "follow=1"),
        ("/v1/events?requets=r-1", "request"),
        ("/v1/pools?label=", "NAME=VALUE"),
    ],
)
async def test_a_query_beyond_a_limit_is_refused_with_the_limit(
    short_tmp: Path, target: str, limit: str
) -> None:
    async with a_server(short_tmp, a_box_pool(min=0)) as served:
        reply = await served.caller.get(target)
        assert (422, "invalid") == (reply.status, reply.json["code"])
        assert limit in reply.json["detail"]
