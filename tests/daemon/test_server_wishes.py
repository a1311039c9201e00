"""Several resources, certain ones, and one of several pools: over the socket."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.daemon.harness import SOON, Reply, Served, a_server
from tests.daemon.test_openapi import fits
from tests.fakes.world import Faults
from tests.rig import a_box_pool

SLOW = Faults(latency=(0.3, 0.3))


async def ask(served: Served, body: Any, *, key: str | None = None) -> Reply:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await served.caller.ask("POST", "/v1/claims", body, headers=headers)


async def test_several_resources_come_with_the_outputs_and_secrets_of_each(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=3, max=6)) as served:
        reply = await ask(served, {"pool": "web", "count": 3}, key="k")
        claim = reply.json
        fits("/v1/claims", "post", 201, claim)
        assert (201, 3, 3) == (reply.status, claim["count"], len(claim["resources"]))
        for handed in claim["resources"]:
            assert f"{handed['id']}.box" == handed["outputs"]["name"]
        tokens = [handed["outputs"]["token"] for handed in claim["resources"]]
        assert 3 == len(set(tokens))
        again = (await ask(served, {"pool": "web", "count": 3}, key="k")).json
        assert claim["resources"] == again["resources"]
        (listed,) = (await served.caller.get("/v1/claims")).json["items"]
        assert [{"name"}] * 3 == [set(handed["outputs"]) for handed in listed["resources"]]
        for token in tokens:
            assert token.encode() not in (await served.caller.get("/v1/events")).body
        reused = await ask(served, {"pool": "web", "count": 2}, key="k")
        assert (409, "key-reused") == (reused.status, reused.json["code"])
        ended = (await served.caller.ask("DELETE", f"/v1/claims/{claim['id']}")).json
        assert tokens[0] not in str(ended)
        async with asyncio.timeout(SOON):
            while (await served.caller.get(f"/v1/claims/{claim['id']}")).json["state"] != "ended":
                await asyncio.sleep(0.02)


async def test_events_of_a_gang_are_found_by_each_of_its_resources(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=2, max=6)) as served:
        claim = (await ask(served, {"pool": "web", "count": 2})).json
        ids = [handed["id"] for handed in claim["resources"]]
        for one in ids:
            events = (await served.caller.get(f"/v1/events?resource={one}")).lines
            assert ["resource.ready", "resource.bound"] == [event["kind"] for event in events]
            assert claim["id"] == events[1]["claim"]
        (bound,) = (await served.caller.get("/v1/events?kind=claim.bound")).lines
        assert ids == bound["data"]["resources"]


async def test_a_select_is_shown_with_what_came_of_it(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=2, max=6)) as served:
        await served.run.until_ready(2, within=SOON)
        wanted = next(iter(served.run.fleet.resources())).id
        select = f"resource.id == '{wanted}'"
        claim = (await ask(served, {"pool": "web", "select": select})).json
        fits("/v1/claims", "post", 201, claim)
        assert [wanted] == [handed["id"] for handed in claim["resources"]]
        assert select == claim["select"]
        assert claim["chosen"]["from"] == ["web"]
        assert "ready resources match" in claim["chosen"]["because"]

        pending = await ask(served, {"pool": "web", "select": "resource.id == 'none'"})
        assert (202, "pending") == (pending.status, pending.json["state"])
        assert "no-match" == pending.json["waitingFor"]["code"]
        assert "ready resources match" in pending.json["waitingFor"]["detail"]
        assert "eta" not in pending.json
        vain = await ask(served, {"pool": "web", "select": "resource.id == 'no'", "wait": "1ms"})
        assert (503, "no-match") == (vain.status, vain.json["code"])


async def test_a_select_that_is_wrong_is_refused_with_its_place(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        reply = await ask(served, {"pool": "web", "select": "resource.labels.zone = 'a'"})
        assert (422, "bad-select") == (reply.status, reply.json["code"])
        assert isinstance(reply.json["offset"], int)


async def test_the_pool_that_served_is_told_and_why(short_tmp: Path) -> None:
    web = replace(a_box_pool(name="web", min=0, max=1), labels={"team": "web"})
    work = replace(a_box_pool(name="work", min=1), labels={"team": "web"})
    async with a_server(short_tmp, web, work, faults=SLOW) as served:
        await served.run.until_ready(1, "work", within=SOON)
        for pool in (["web", "work"], {"matchLabels": {"team": "web"}}):
            claim = (await ask(served, {"pool": pool, "wait": "5s"})).json
            fits("/v1/claims", "post", 201, claim)
            assert ["web", "work"] == claim["chosen"]["from"]
            assert claim["pool"] in claim["chosen"]["because"]
            await served.caller.ask("DELETE", f"/v1/claims/{claim['id']}")
        assert {"web", "work"} >= {claim["pool"]}


async def test_a_claim_that_waits_for_several_pools_is_answered_202(short_tmp: Path) -> None:
    pools = a_box_pool(name="web", min=0, max=1), a_box_pool(name="work", min=0, max=1)
    async with a_server(short_tmp, *pools, faults=SLOW) as served:
        reply = await ask(served, {"pool": ["web", "work"]})
        claim = reply.json
        fits("/v1/claims", "post", 202, claim)
        assert (202, "pending", 1) == (reply.status, claim["state"], claim["position"])
        assert {"from": ["web", "work"]} == claim["chosen"]
        bound = (await served.caller.get(f"/v1/claims/{claim['id']}?wait=10s")).json
        assert "bound" == bound["state"]
        assert "to have enough" in bound["chosen"]["because"]


async def test_a_claim_that_waits_for_several_pools_is_listed_under_each(short_tmp: Path) -> None:
    pools = a_box_pool(name="web", min=0, max=1), a_box_pool(name="work", min=0, max=1)
    async with a_server(short_tmp, *pools) as served:
        for name in ("web", "work"):
            assert 201 == (await ask(served, {"pool": name, "wait": "10s"})).status
        claim = (await ask(served, {"pool": ["web", "work"]})).json["id"]
        for name in ("web", "work"):
            pool = (await served.caller.get(f"/v1/pools/{name}")).json
            listed = (await served.caller.get(f"/v1/claims?pool={name}&state=pending")).json
            assert ([claim], 1) == ([one["id"] for one in listed["items"]], pool["waiting"])


async def test_explanations_tell_what_was_wanted_and_why_these_were_chosen(short_tmp: Path) -> None:
    pools = a_box_pool(name="web", min=0, max=2), a_box_pool(name="work", min=2, max=3)
    async with a_server(short_tmp, *pools, faults=SLOW) as served:
        await served.run.until_ready(2, "work", within=SOON)
        select = "resource.id != 'x'"
        claim = (await ask(served, {"pool": ["web", "work"], "count": 2, "select": select})).json
        told = (await served.caller.get(f"/v1/explain/claims/{claim['id']}")).json
        fits("/v1/explain/claims/{id}", "get", 200, told)
        (chosen,) = [why for why in told["why"] if why.startswith("It asked for")]
        assert f"2 of web or work, where {select}" in chosen
        assert "2 of 2 ready resources match" in chosen
        assert all(handed["id"] in told["summary"] for handed in claim["resources"])

        pending = (await ask(served, {"pool": ["web", "work"], "count": 2})).json
        told = (await served.caller.get(f"/v1/explain/claims/{pending['id']}")).json
        assert "waits for 2 of web or work" in told["summary"]
        for one in (claim, pending):
            await served.caller.ask("DELETE", f"/v1/claims/{one['id']}")
