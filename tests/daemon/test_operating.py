"""What operators do over the socket, as they and those who claim meet it."""

import asyncio
import os
import pwd
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.harness import SOON, Served, a_server
from tests.daemon.test_openapi import fits
from tests.fakes.world import Faults
from tests.rig import a_box_pool

ME = {"uid": os.getuid(), "user": pwd.getpwuid(os.getuid()).pw_name}
ON_POOLS = ("pause", "resume", "drain", "refresh")
ON_RESOURCES = ("hold", "unhold", "retire")


async def on_pool(served: Served, action: str, **body: Any) -> Any:
    reply = await served.caller.ask("POST", f"/v1/pools/web/{action}", body)
    assert reply.status == 200, reply
    fits(f"/v1/pools/{{name}}/{action}", "post", 200, reply.json)
    return reply.json


async def on_resource(served: Served, resource: str, action: str, **body: Any) -> Any:
    reply = await served.caller.ask("POST", f"/v1/resources/{resource}/{action}", body)
    assert reply.status == 200, reply
    fits(f"/v1/resources/{{id}}/{action}", "post", 200, reply.json)
    return reply.json


async def a_ready_one(served: Served) -> str:
    found = (await served.caller.get("/v1/resources?state=ready")).json["items"]
    return str(found[0]["id"])


async def test_a_pause_is_shown_refuses_claims_with_503_and_ends_with_resume(
    short_tmp: Path,
) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        pool = await on_pool(served, "pause", reason="new disk", until="90m")
        assert (pool["paused"], pool["draining"]) == (True, False)
        assert pool["pause"]["by"] == ME
        assert pool["pause"]["reason"] == "new disk"
        refused = await served.caller.claim(wait="1s")
        assert (refused.status, refused.json["code"]) == (503, "paused")
        assert refused.json["until"] == pool["pause"]["until"]
        assert refused.json["by"] == ME
        assert int(refused.headers["Retry-After"]) > 3000
        shown = (await served.caller.get("/v1/pools/web")).json
        assert shown["pause"] == pool["pause"]
        assert "pause" not in await on_pool(served, "resume")
        assert (await served.caller.claim(wait="5s")).status == 201


async def test_an_end_may_be_a_moment_of_the_wall_clock(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        now = served.run.host.clock.to_wall(served.run.host.clock.now())
        moment = datetime.fromtimestamp(now, UTC) + timedelta(hours=2)
        pool = await on_pool(served, "pause", until=f"{moment:%Y-%m-%dT%H:%M:%S}Z")
        assert pool["pause"]["until"] == f"{moment:%Y-%m-%dT%H:%M:%S}.000Z"


async def test_a_drained_pool_is_told_so_and_a_refresh_is_shown(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        served.run.host.world.faults = Faults(latency=(30.0, 30.0))
        pool = await on_pool(served, "refresh", reason="new image")
        assert (pool["refresh"]["reason"], pool["outdated"]) == ("new image", 1)
        pool = await on_pool(served, "drain", reason="moving")
        assert (pool["draining"], pool["drain"]["reason"]) == (True, "moving")
        refused = await served.caller.claim()
        assert (refused.status, refused.json["code"]) == (503, "draining")
        assert "drained by" in refused.json["detail"]


async def test_a_held_resource_is_shown_with_who_holds_it_and_until_when(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        name = await a_ready_one(served)
        held = await on_resource(served, name, "hold", reason="odd")
        assert (held["state"], held["claimable"]) == ("held", False)
        assert (held["hold"]["by"], held["hold"]["reason"]) == (ME, "odd")
        assert held["hold"]["until"] > held["hold"]["since"]
        listed = (await served.caller.get("/v1/resources?state=held")).json["items"]
        assert [one["hold"] for one in listed] == [held["hold"]]
        over = await on_resource(served, name, "unhold")
        assert over["state"] in {"ending", "gone"}
        assert "hold" not in over


async def test_a_bound_one_cannot_be_retired_and_is_held_after_its_claim(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        claim = (await served.caller.claim(wait="5s")).json
        name = claim["resources"][0]["id"]
        refused = await served.caller.ask("POST", f"/v1/resources/{name}/retire")
        assert (refused.status, refused.json["code"]) == (409, "resource-claimed")
        assert refused.json["claim"] == claim["id"]
        assert (await on_resource(served, name, "hold"))["state"] == "bound"
        await served.caller.ask("DELETE", f"/v1/claims/{claim['id']}")
        async with asyncio.timeout(SOON):
            while (await served.caller.get(f"/v1/resources/{name}")).json["state"] != "held":
                await asyncio.sleep(0.01)


async def test_every_action_takes_no_body_and_can_be_repeated(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        for action in ON_POOLS * 2:
            reply = await served.caller.ask("POST", f"/v1/pools/web/{action}")
            assert reply.status == 200, (action, reply)
        await served.caller.ask("POST", "/v1/pools/web/resume")
        await served.run.until_ready(1, within=10.0)
        name = await a_ready_one(served)
        for action in ("hold", "hold", "unhold", "unhold"):
            reply = await served.caller.ask("POST", f"/v1/resources/{name}/{action}")
            assert reply.status in {200, 404}, (action, reply)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"until": "soon"}, "until"),
        ({"until": 90}, "until"),
        ({"until": "2020-01-01T00:00:00Z"}, "until"),
        ({"until": "9999-12-31T23:59:59Z"}, "until"),
        ({"reason": "x" * 1001}, "reason"),
        ({"reason": "a\nb"}, "reason"),
        ({"untill": "1h"}, "untill"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/pools/web/pause", "/v1/resources/{id}/hold"])
async def test_bad_bodies_are_refused_by_field(
    short_tmp: Path, path: str, body: dict[str, Any], field: str
) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        path = path.replace("{id}", await a_ready_one(served))
        reply = await served.caller.ask("POST", path, body)
        assert (reply.status, reply.json["code"]) == (422, "invalid")
        assert reply.json["errors"][0]["field"] == field
        assert (await served.caller.get("/v1/pools/web")).json["paused"] is False


@pytest.mark.parametrize("action", ["resume", "unhold", "retire"])
async def test_what_is_done_once_and_for_all_takes_no_end(short_tmp: Path, action: str) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        name = await a_ready_one(served)
        path = f"/v1/pools/web/{action}" if action == "resume" else f"/v1/resources/{name}/{action}"
        reply = await served.caller.ask("POST", path, {"until": "1h"})
        assert (reply.status, reply.json["code"]) == (422, "invalid")


async def test_what_does_not_exist_cannot_be_operated(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=0)) as served:
        for action in ON_POOLS:
            reply = await served.caller.ask("POST", f"/v1/pools/wob/{action}")
            assert (reply.status, reply.json["code"]) == (404, "no-such-pool")
        for action in ON_RESOURCES:
            reply = await served.caller.ask("POST", f"/v1/resources/web-x/{action}")
            assert (reply.status, reply.json["code"]) == (404, "no-such-resource")


async def test_only_root_and_the_daemons_own_user_may(short_tmp: Path) -> None:
    if os.getuid() == 0:
        async with a_server(short_tmp, a_box_pool(min=0), daemon_uid=4242) as served:
            assert (await served.caller.ask("POST", "/v1/pools/web/pause")).status == 200
        return
    async with a_server(short_tmp, a_box_pool(min=0), daemon_uid=4242) as served:
        reply = await served.caller.ask("POST", "/v1/pools/web/pause")
        assert (reply.status, reply.json["code"]) == (403, "denied")


async def test_the_metrics_and_the_events_tell_what_operators_did(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        await on_pool(served, "pause", reason="why not")
        await on_resource(served, await a_ready_one(served), "hold")
        text = (await served.caller.get("/metrics")).body.decode()
        assert 'stoker_pool_paused{pool="web"} 1.0' in text
        assert 'stoker_pool_refreshing{pool="web"} 0.0' in text
        assert 'stoker_pool_resources{pool="web",state="held"} 1.0' in text
        events = (await served.caller.get("/v1/events")).lines
        told = {event["kind"]: event for event in events if "data" in event}
        assert told["pool.paused"]["reason"] == "why not"
        for kind in ("pool.paused", "resource.held"):
            assert {key: told[kind]["data"][key] for key in ME} == ME
