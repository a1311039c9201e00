"""`/v1/explain/…` over the real socket, with the real core and ledger behind it."""

import asyncio
from pathlib import Path

from stoker.config.revision import Backfill
from tests.builders import a_revision
from tests.daemon.harness import SOON, Reply, Served, a_server
from tests.fakes.world import Faults
from tests.rig import a_box_pool, a_part, boxes


async def explained(served: Served, subject: str) -> Reply:
    kind, name = subject.split("/")
    return await served.caller.get(f"/v1/explain/{kind}s/{name}")


async def test_a_full_pool_is_explained_with_its_measured_times(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=2)) as served:
        found = (await explained(served, "pool/web")).json
        assert "pool/web" == found["subject"]
        assert "web has 2 ready and keeps 2: it is full." == found["summary"]
        assert 2 == found["facts"]["creationSamples"]
        assert "0s" == found["facts"]["fullIn"]
        assert any("(the median of the last 2)" in sentence for sentence in found["why"])


async def test_a_claim_is_followed_from_the_request_to_its_end(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1, max=2)) as served:
        claim = (await served.caller.claim(reason="to try it")).json
        subject = f"claim/{claim['id']}"
        found = (await explained(served, subject)).json
        resource = claim["resources"][0]["id"]
        assert found["summary"].startswith(f"{claim['id']} holds {resource} and ends in 30m")
        assert ["asked", "claim.bound"] == [one["event"] for one in found["history"]]
        assert any("which was ready for" in sentence for sentence in found["why"])
        assert {"at", "in", "what"} == set(found["next"][0])

        await served.caller.ask("DELETE", f"/v1/claims/{claim['id']}")
        async with asyncio.timeout(SOON):
            while found["history"][-1]["event"] != "resource.gone":
                found = (await explained(served, subject)).json
        assert "ended" == found["facts"]["state"]
        assert ["asked", "claim.bound", "claim.released", "resource.gone"] == [
            one["event"] for one in found["history"]
        ]
        assert found["why"][0].startswith("It was released (request ")

        gone = (await explained(served, f"resource/{resource}")).json
        assert {"state": "gone"} == gone["facts"]
        assert "resource.gone" == gone["history"][-1]["event"]


async def test_a_claim_that_waits_tells_what_its_pool_lacks(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1, max=1)) as served:
        await served.caller.claim()
        waiting = (await served.caller.claim()).json
        assert "pending" == waiting["state"]
        found = (await explained(served, f"claim/{waiting['id']}")).json
        assert "as the 1st in line" in found["summary"]
        assert any("its priority is 0, as no rule gives it another" in one for one in found["why"])
        assert any("1 of 1 slot (size.max) is taken" in one for one in found["why"])
        pool = (await explained(served, "pool/web")).json
        assert 1 == pool["facts"]["waiting"]
        assert [f"{sum(pool['facts']['holders'].values())} bound"] == ["1 bound"]


async def test_a_failing_blueprint_is_explained_with_its_error_and_its_history(
    short_tmp: Path,
) -> None:
    async with a_server(short_tmp, a_box_pool(min=0), faults=Faults(fail=1.0)) as served:
        wanted = a_box_pool(min=2, backfill=Backfill(rate=100.0, burst=10, concurrency=4))
        await served.run.fleet.apply(a_revision(wanted, id="r2"))
        found = (await explained(served, "pool/web")).json
        async with asyncio.timeout(SOON):  # the breaker opens before the events are written
            while found["facts"]["breaker"] != "open" or not found["history"]:
                found = (await explained(served, "pool/web")).json
        assert any("in a row, the last time with: " in sentence for sentence in found["why"])
        assert "creating is tried again" in [one["what"] for one in found["next"]]
        assert "resource.failed" in {one["event"] for one in found["history"]}


async def test_a_resource_tells_its_parts_and_its_place(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=2)) as served:
        names = [one.id for one in served.run.fleet.resources()]
        found = [(await explained(served, f"resource/{name}")).json for name in names]
        assert {1, 2} == {one["facts"]["place"] for one in found}
        assert ["planned", "resource.ready"] == [one["event"] for one in found[0]["history"]]
        assert [{"name": "box", "driver": "simulated", "half": "prepare", "state": "verified"}] == (
            found[0]["facts"]["parts"]
        )


async def test_a_blueprint_tells_what_its_parts_took(short_tmp: Path) -> None:
    finish = (a_part("late"), a_part("token", "token", {"kind": "random"}))
    async with a_server(short_tmp, a_box_pool(min=3, blueprint=boxes(finish=finish))) as served:
        await served.caller.claim()
        found = (await explained(served, "blueprint/box")).json
        assert 1 == found["facts"]["finish"][0]["takes"]["samples"]
        assert found["facts"]["prepare"][0]["takes"]["made"] >= 3
        assert found["facts"]["finish"][1]["pure"] is True
        assert any(one.startswith("late (simulated)") for one in found["why"])


async def test_an_unknown_name_is_answered_with_what_is_near(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        claim = (await served.caller.claim()).json["id"]
        resource = next(iter(served.run.fleet.resources())).id
        for subject, code, near in (
            ("pool/wep", "no-such-pool", "did you mean 'web'?"),
            ("blueprint/bax", "no-such-blueprint", "did you mean 'box'?"),
            (f"claim/{claim[:-1]}", "no-such-claim", f"did you mean '{claim}'?"),
            (f"resource/{resource[:-1]}", "no-such-resource", f"did you mean '{resource}'?"),
            ("claim/nothing", "no-such-claim", "it never was, or it is over for a day"),
            ("pool/-", "no-such-pool", "forbidden characters"),
        ):
            reply = await explained(served, subject)
            assert (404, code) == (reply.status, reply.json["code"]), subject
            assert near in reply.json["detail"]


async def test_no_secret_is_in_any_explanation(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=2)) as served:
        claim = (await served.caller.claim()).json
        token = claim["resources"][0]["outputs"]["token"]
        for subject in (
            "pool/web",
            "blueprint/box",
            f"claim/{claim['id']}",
            f"resource/{claim['resources'][0]['id']}",
        ):
            reply = await explained(served, subject)
            assert 200 == reply.status
            assert token.encode() not in reply.body


async def test_a_pool_that_left_the_configuration_is_explained_while_it_drains(
    short_tmp: Path,
) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        await served.caller.claim()
        await served.run.fleet.apply(a_revision(id="r2"))
        found = (await explained(served, "pool/web")).json
        assert "no longer declared" in found["why"][0]
