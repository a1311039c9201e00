"""Every answer that openapi.json describes happens, and no other: each is provoked over the socket."""

import asyncio
import dataclasses
import json
import os
import pwd
import re
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest

from stoker.config.conditions import compile_condition
from stoker.config.loading import load
from stoker.config.parameters import Parameters
from stoker.config.policies.facts import APPROVALS
from stoker.config.policies.rules import Approvals, Limits
from stoker.config.revision import Cost, Queue
from stoker.daemon import calls, connections, server, voters
from stoker.daemon.calls import Call, Route
from stoker.daemon.carried_votes import CarriedVotes
from stoker.daemon.gate import Gate
from stoker.daemon.server import ROUTES
from stoker.daemon.signatures import HEADER, sign
from stoker.daemon.synchroniser import Held
from stoker.pools.store import Done, KeptRevision, StoreError
from stoker.pools.switches import Operator, Switch, SwitchKind
from tests.builders import a_revision
from tests.daemon.documented import Answered, answered, documented
from tests.daemon.following import files
from tests.daemon.harness import SOON, Served, a_server
from tests.daemon.signing import a_token, an_issuer, jwks, public_jwk
from tests.daemon.test_server_socket import connect_as_somebody_else
from tests.fakes.world import Faults
from tests.policies.builders import a_policy, allow, approve
from tests.rig import a_box_pool, a_part, boxes

IDS = {
    f"{root}/{kind}": name
    for root in ("/v1", "/v1/explain")
    for kind, name in (
        ("claims", "c-0"),
        ("pools", "nowhere"),
        ("resources", "r-0"),
        ("blueprints", "nothing"),
    )
} | {"/v1/config/revisions": "0000000", "/v1/votes": "chat"}
BOT_SECRET = b"the secret of a chat bot"
APPROVE, REJECT = (f"POST /v1/claims/{{id}}/{word}" for word in ("approve", "reject"))
CREATE, RENEW, RELEASE = "POST /v1/claims", "POST /v1/claims/{id}/renew", "DELETE /v1/claims/{id}"
CARRY = "POST /v1/votes/{name}"
DECIDE = "POST /v1/explain/decisions"
PAUSE, RESUME, DRAIN, REFRESH = (
    f"POST /v1/pools/{{name}}/{action}" for action in ("pause", "resume", "drain", "refresh")
)
HOLD, UNHOLD, RETIRE = (
    f"POST /v1/resources/{{id}}/{action}" for action in ("hold", "unhold", "retire")
)
ACCEPT, PIN, ROLL_BACK, UNPIN = ON_CONFIG = tuple(
    f"POST /v1/config/{action}" for action in ("accept", "pin", "rollback", "unpin")
)
FREEZE, THAW, DRAIN_ALL, RESUME_ALL = (
    f"POST /v1/{action}" for action in ("freeze", "thaw", "drain", "resume")
)
ON_HOST = (FREEZE, THAW, DRAIN_ALL, RESUME_ALL)
ON_POOLS, ON_RESOURCES = (PAUSE, RESUME, DRAIN, REFRESH), (HOLD, UNHOLD, RETIRE)


class Book:
    """Asks, and writes down what was answered."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached: set[Answered] = set()
        self.patch = monkeypatch
        self._folder = folder
        self._servers = 0

    @asynccontextmanager
    async def serving(self, *pools: Any, **settings: Any) -> AsyncGenerator[Served]:
        self._servers += 1
        folder = self._folder / str(self._servers)
        folder.mkdir()
        folder.chmod(0o711)
        async with a_server(folder, *pools, **settings) as served:
            yield served

    async def ask(
        self,
        served: Served,
        what: str,
        body: Any = None,
        *,
        at: str | None = None,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
        peer: socket.socket | None = None,
    ) -> Any:
        """One request on a connection of its own; what was answered, as JSON where it is."""
        route = next(one for one in ROUTES if f"{one.method} {one.path}" == what)
        path = re.sub(r"\{\w+\}", at or IDS.get(route.path.rpartition("/{")[0], ""), route.path)
        data = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        given = {"Host": "x", "Connection": "close", "Content-Length": str(len(data))}
        lines = [f"{route.method} {path}{query} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in {**given, **(headers or {})}.items()]
        sent = "\r\n".join([*lines, "", ""]).encode() + data if raw is None else raw
        if peer is not None:
            reader, writer = await asyncio.open_unix_connection(sock=peer)
        else:
            reader, writer = await asyncio.open_unix_connection(str(served.settings.socket))
        writer.write(sent)
        async with asyncio.timeout(SOON):
            head, _, content = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        kind = re.search(rb"Content-Type: ([^\r;]+)", head)
        assert kind is not None, (what, head)
        self.reached.add(answered(route, int(head.split()[1]), kind[1].decode(), content))
        return json.loads(content) if b"json" in kind[1] and b"nd" not in kind[1] else content


def every() -> list[str]:
    return [f"{route.method} {route.path}" for route in ROUTES]


def gated() -> list[str]:
    return [f"{route.method} {route.path}" for route in ROUTES if not route.open]


async def all_is_well(book: Book) -> None:
    async with book.serving(a_box_pool(min=1)) as served:
        key = {"Idempotency-Key": "k"}
        claim = await book.ask(served, CREATE, {"pool": "web"}, headers=key)
        await book.ask(served, CREATE, {"pool": "web", "ttl": "1s"}, headers=key)
        named = {
            "/v1/claims/{id}": claim["id"],
            "/v1/pools/{name}": "web",
            "/v1/resources/{id}": claim["resources"][0]["id"],
            "/v1/explain/blueprints/{name}": "box",
            "/v1/config/revisions/{id}": "r1",
        }
        for kind in ("claims/{id}", "pools/{name}", "resources/{id}"):
            named[f"/v1/explain/{kind}"] = named[f"/v1/{kind}"]
        for what in every():
            if what.startswith("GET"):
                await book.ask(served, what, at=named.get(what.partition(" ")[2]))
        await book.ask(served, "POST /v1/config/sync")
        await book.ask(served, DECIDE, {"pool": "web"})
        await book.ask(served, RENEW, at=claim["id"])
        await book.ask(served, RENEW, {"ttl": "400d"}, at=claim["id"])
        await book.ask(served, RELEASE, at=claim["id"])
        await book.ask(served, CREATE, {"pool": "web"}, headers=key)
        served.facts = {"ready": False, "reasons": ("so",)}
        await book.ask(served, "GET /readyz")


async def requests_are_wrong(book: Book) -> None:
    book.patch.setattr(calls, "BODY_WITHIN", 0.05)
    fussy = dataclasses.replace(boxes(), parameters=Parameters.compile({"n": {"type": "integer"}}))
    async with book.serving(a_box_pool(min=1, blueprint=fussy)) as served:
        for what in every():
            if "{" in what:  # nothing of that name
                await book.ask(served, what)
            elif what.startswith("GET") and what.split("/")[1] == "v1":
                await book.ask(served, what, query="?nope=1")
        await book.ask(served, "GET /v1/claims/{id}", query="?wait=soon")
        await book.ask(served, DECIDE, {"pool": "nowhere"})
        for params in ({"n": "x"}, {"m": 1}):
            await book.ask(served, DECIDE, {"pool": "web", "params": params})
        with_bodies = (
            *(CREATE, RENEW, APPROVE, REJECT, CARRY, DECIDE),
            *(*ON_POOLS, *ON_RESOURCES, *ON_CONFIG, *ON_HOST),
        )
        # At once, because the server waits a while for the rest of a body before it hangs up.
        await asyncio.gather(*(bodies_are_wrong(book, served, what) for what in with_bodies))
        for body in (
            {"pool": "nowhere"},
            {"pool": "web", "params": {"x": 1}},
            {"pool": "web", "params": {"n": "x"}},
            {"pool": "web", "ttl": "400d"},
            {"pool": "web", "count": 64},
            {"pool": "web", "select": "resource.nope"},
        ):
            await book.ask(served, CREATE, body)


async def bodies_are_wrong(book: Book, served: Served, what: str) -> None:
    await book.ask(served, what, {"nope": 1})
    await book.ask(served, what, b"{")
    await book.ask(served, what, {}, headers={"Content-Type": "text/plain"})
    await book.ask(served, what, b"{}", headers={"Expect": "x", "Content-Length": "9"})
    await book.ask(served, what, headers={"Content-Length": "300000"})
    await book.ask(served, what, headers={"Content-Length": "9"})


async def requests_are_no_http(book: Book) -> None:
    book.patch.setattr(connections, "HEAD_WITHIN", 0.05)
    book.patch.setattr(server, "SWEEP_EVERY", 0.02)
    async with book.serving(a_box_pool(min=0)) as served:
        for what in every():
            start = f"{what} HTTP/1.1\r\n".encode()
            await book.ask(served, what, raw=start + b"no colon\r\n\r\n")
            await book.ask(served, what, query="?" + "x" * 9000)
            await book.ask(served, what, headers={f"X-{n}": "x" * 4000 for n in range(5)})
            await book.ask(served, what, raw=start)


async def ready_one(served: Served, state: str = "ready") -> str:
    """The id of one in that state, as soon as there is one."""
    async with asyncio.timeout(SOON):
        while not (
            found := (await served.caller.get(f"/v1/resources?state={state}")).json["items"]
        ):
            await asyncio.sleep(0.01)
    return str(found[0]["id"])


async def operators_act(book: Book) -> None:
    async with book.serving(a_box_pool(min=2), faults=Faults(latency=(0.3, 0.3))) as served:
        for what in ON_POOLS:
            await book.ask(served, what, {"reason": "so"}, at="web")
            if what != REFRESH:
                await book.ask(served, CREATE, {"pool": "web", "wait": "0s"})
        await book.ask(served, RESUME, at="web")
        await book.ask(served, RETIRE, at=await ready_one(served, "preparing"))
        claim = await book.ask(served, CREATE, {"pool": "web", "wait": "10s"})
        bound = claim["resources"][0]["id"]
        await book.ask(served, RETIRE, at=bound)
        await book.ask(served, RELEASE, at=claim["id"])
        await book.ask(served, HOLD, at=bound)
        held = await ready_one(served)
        for what in ON_RESOURCES:
            await book.ask(served, what, at=held)
        for what in ON_HOST:
            await book.ask(served, what)
        served.run.fleet.see_freeze_file("/f", Switch(SwitchKind.FREEZE, "/f", Operator(0), "", 0))
        await book.ask(served, THAW)
    still = dataclasses.replace(a_box_pool(min=0), paused_at="web.yaml:1:1")
    async with book.serving(still) as served:
        await book.ask(served, RESUME, at="web")


async def operators_decide_about_revisions(book: Book) -> None:
    async with book.serving(a_box_pool(min=3)) as served:
        store = served.run.store
        await book.ask(served, ROLL_BACK)
        await book.ask(served, PIN, {"revision": "0000000"})
        await book.ask(served, ACCEPT, {"revision": "0000000"})
        kept = await store.revision("r1", "test")
        assert kept is not None
        for older in (
            KeptRevision("unusable", "test", 0.0, {}),
            KeptRevision("smaller", "test", 0.0, files("box")),
            kept,
        ):
            transaction = store.transaction()
            transaction.put_revision(older)
            await store.commit(transaction)
        for what in (PIN, ROLL_BACK):
            await book.ask(served, what, {"revision": "unusable"})
            await book.ask(served, what, {"revision": "smaller"})
        await book.ask(served, PIN, {"until": "1h", "reason": "so"})
        await book.ask(served, UNPIN)
        await book.ask(served, ROLL_BACK, {"revision": "smaller", "accept": True})
        await book.ask(served, UNPIN)
        other = load(files("other"), served.run.services.catalogue, "test").revision
        assert other is not None
        served.synchroniser.state.held = Held(other, ("so",), 0.0)
        await book.ask(served, ACCEPT, {"revision": other.id})
        assert other is served.synchroniser.state.revision


async def capacity_is_short(book: Book) -> None:
    pool = a_box_pool(min=1, max=1, queue=Queue(max=1))
    async with book.serving(pool) as served:
        await served.run.until_ready(1, within=SOON)
        nobody = {"pool": "web", "select": "resource.id == 'x'", "wait": "1ms"}
        assert "no-match" == (await book.ask(served, CREATE, nobody))["code"]
        first = await book.ask(served, CREATE, {"pool": "web"})
        await book.ask(served, CREATE, {"pool": "web", "wait": "50ms"})
        waiting = await book.ask(served, CREATE, {"pool": "web"})
        await book.ask(served, RENEW, at=waiting["id"])
        await book.ask(served, CREATE, {"pool": "web"})
        await book.ask(served, RELEASE, at=waiting["id"])
        await book.ask(served, RENEW, at=waiting["id"])
        on_the_line = asyncio.create_task(book.ask(served, CREATE, {"pool": "web", "wait": "10s"}))
        async with asyncio.timeout(SOON):
            while (
                len(found := (await served.caller.get("/v1/claims?state=pending")).json["items"])
                < 1
            ):
                await asyncio.sleep(0.01)
        await book.ask(served, RELEASE, at=found[0]["id"])
        assert "claim-over" == (await on_the_line)["code"]
        await book.ask(served, RELEASE, at=first["id"])


async def creations_are_slow_or_fail(book: Book) -> None:
    slow = Faults(latency=(5.0, 5.0))
    async with book.serving(a_box_pool(min=0), faults=slow) as served:
        await book.ask(served, CREATE, {"pool": "web", "wait": "50ms"})
    async with book.serving(a_box_pool(min=0), faults=Faults(fail=1.0)) as served:
        await book.ask(served, CREATE, {"pool": "web", "wait": "1s"})
    stubborn = boxes(finish=(a_part("bad", settings={"reject": True}),))
    async with book.serving(a_box_pool(min=1, blueprint=stubborn)) as served:
        await book.ask(served, CREATE, {"pool": "web", "wait": "5s"})


def connect_and_end(path: Path) -> socket.socket:
    """A connection that this process was given by the one that made it, which has ended."""
    program = (
        "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "t=socket.socket(socket.AF_UNIX, fileno=int(sys.argv[2]));"
        "socket.send_fds(t, [b'x'], [s.fileno()])"
    )
    one, other = socket.socketpair()
    with one, other:
        command = [sys.executable, "-c", program, str(path), str(other.fileno())]
        subprocess.run(command, pass_fds=[other.fileno()], check=True)
        _, kept, _, _ = socket.recv_fds(one, 1, 1)
    return socket.socket(fileno=kept[0])


async def claimants_cannot_be_followed(book: Book) -> None:
    async with book.serving(a_box_pool(min=1)) as served:
        peer = await asyncio.to_thread(connect_and_end, served.settings.socket)
        await book.ask(served, CREATE, {"pool": "web", "bind": "process"}, peer=peer)
        served.run.services.processes.most = 0
        await book.ask(served, CREATE, {"pool": "web", "bind": "process"})


async def the_pool_goes(book: Book) -> None:
    async with book.serving(a_box_pool(min=1)) as served:
        await book.ask(served, CREATE, {"pool": "web"})
        await served.run.fleet.apply(a_revision())
        await book.ask(served, CREATE, {"pool": "web"})


async def the_ledger_fails(book: Book) -> None:
    async def broken(*_: object, **__: object) -> NoReturn:
        raise StoreError("the disk is full")

    def refused(_: object, done: Done, **__: object) -> None:
        done(StoreError("the disk is full"))

    pools = (a_box_pool(min=3), a_box_pool(name="paused", min=0))
    async with book.serving(*pools) as served:
        claim = await book.ask(served, CREATE, {"pool": "web"})
        await book.ask(served, PAUSE, at="paused")
        held = await ready_one(served)
        await book.ask(served, HOLD, at=held)
        ready = await ready_one(served)
        store = served.run.store
        with book.patch.context() as patch:
            for name in ("commit", "claim", "ended_claims", "events", "revisions", "revision"):
                patch.setattr(store, name, broken)
            patch.setattr(store, "submit", refused)
            await book.ask(served, RENEW, at=claim["id"])
            await book.ask(served, RELEASE, at=claim["id"])
            await book.ask(served, APPROVE)
            await book.ask(served, REJECT)
            for what in (PAUSE, DRAIN, REFRESH):
                await book.ask(served, what, at="web")
            await book.ask(served, RESUME, at="paused")
            await book.ask(served, HOLD, at=ready)
            await book.ask(served, UNHOLD, at=held)
            await book.ask(served, RETIRE, at=held)
            await book.ask(served, CREATE, {"pool": "web"})  # which may use up the ready one
            await book.ask(served, "GET /v1/config/revisions/{id}")
            await book.ask(served, PIN)
            await book.ask(served, ROLL_BACK)
            served.synchroniser.state.held = Held(a_revision(id="r2"), ("so",), 0.0)
            await book.ask(served, ACCEPT, {"revision": "r2r2r2r"})
            pin = Switch(SwitchKind.PIN, "r1", Operator(0), "", 0.0)
            served.synchroniser.state.pin = pin
            await book.ask(served, UNPIN)
            await book.ask(served, "GET /v1/config/revisions")
            await book.ask(served, "GET /v1/claims/{id}")
            await book.ask(served, "GET /v1/claims", query="?state=ended")
            await book.ask(served, "GET /v1/events")
            await book.ask(served, "GET /v1/explain/pools/{name}", at="web")
            await book.ask(served, "GET /v1/explain/claims/{id}", at=claim["id"])
            await book.ask(served, "GET /v1/explain/resources/{id}")
    async with book.serving(a_box_pool(min=0)) as served:
        await book.ask(served, FREEZE)
        await book.ask(served, DRAIN_ALL)
        book.patch.setattr(served.run.store, "commit", broken)
        for what in ON_HOST:
            await book.ask(served, what, {"reason": "another"})


async def the_daemon_starts_and_stops(book: Book) -> None:
    async with book.serving(a_box_pool(min=0), open_core=False) as served:
        served.server.host.gate = Gate(park_for=0.01)
        for what in gated():
            await book.ask(served, what, {"pool": "web"} if what == CREATE else None)
        served.server.refuse_new()
        for route in ROUTES:
            if route.gated and not route.open:
                what = f"{route.method} {route.path}"
                await book.ask(served, what, {"pool": "web"} if what == CREATE else None)


async def the_daemon_is_busy(book: Book) -> None:
    async with book.serving(a_box_pool(min=0), max_connections=1) as served:
        await served.caller.session.close()
        reader, writer = await asyncio.open_unix_connection(str(served.settings.socket))
        writer.write(b"GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        for what in every():
            await book.ask(served, what, raw=b"")
        writer.close()


async def somebody_else_calls(book: Book) -> None:
    uid = 0 if os.geteuid() == 0 else os.geteuid() + 1
    async with book.serving(a_box_pool(min=0), daemon_uid=uid, socket_mode=0o666) as served:
        for what in gated():
            peer = connect_as_somebody_else(served.settings.socket)
            await book.ask(served, what, peer=peer)


async def tokens_are_wrong(book: Book) -> None:
    expired = a_token(kid="one", exp=1_000_000_000)

    async def ask_all(served: Served, token: str) -> None:
        for what in gated():
            await book.ask(served, what, headers={"Authorization": f"Bearer {token}"})

    async with book.serving(a_box_pool(min=0)) as served:
        await ask_all(served, "a.b.c")
        keys = served.settings.socket.with_name("keys.json")
    keys.write_bytes(jwks(public_jwk("ES256", "one")))
    async with book.serving(a_box_pool(min=0), issuers=(an_issuer(jwks=keys),)) as served:
        await ask_all(served, "a.b.c")
        await ask_all(served, expired)
    nowhere = an_issuer(jwks=keys.with_name("none.json"))
    async with book.serving(a_box_pool(min=0), issuers=(nowhere,)) as served:
        await ask_all(served, expired)


async def policies_decide(book: Book) -> None:
    limits = Limits(max_active_per_caller=1, spend_per_day=1.5)
    blueprint = dataclasses.replace(boxes(), cost=Cost(per_hour=60.0))
    pool, policy = (
        a_box_pool(min=1, blueprint=blueprint),
        a_policy(allow('caller.exe != ""'), limits=limits),
    )
    async with book.serving(pool, policies=(policy,)) as served:
        claim = await book.ask(served, CREATE, {"pool": "web", "ttl": "60s"})
        await book.ask(served, CREATE, {"pool": "web"})
        await book.ask(served, RENEW, {"ttl": "100s"}, at=claim["id"])
        for what, at in ((CREATE, None), (RENEW, claim["id"])):
            peer = await asyncio.to_thread(connect_and_end, served.settings.socket)
            await book.ask(served, what, {"pool": "web"} if at is None else {}, at=at, peer=peer)


async def others_decide(book: Book) -> None:
    """The one who claims is somebody else; who decides is this user."""
    may = compile_condition(f'approver.exe != "" && approver.uid == {os.geteuid()}', APPROVALS)
    asks = a_policy(
        approve("caller.uid == 65534"),
        allow("caller.uid != 65534"),
        approvals=Approvals(may, 2, 60.0),
    )
    soon = a_policy(approve(), approvals=Approvals(may, 1, 0.3), pools=("late",), name="late")
    pools = (a_box_pool(min=1), a_box_pool(name="late", min=0))
    policies = (asks, soon)
    async with book.serving(*pools, policies=policies, socket_mode=0o666) as served:
        path = served.settings.socket

        async def claimed(pool: str = "web", **more: Any) -> Any:
            peer = connect_as_somebody_else(path)
            return await book.ask(served, CREATE, {"pool": pool, **more}, peer=peer)

        own = await book.ask(served, CREATE, {"pool": "web"})
        for one, other in ((APPROVE, REJECT), (REJECT, APPROVE)):
            await book.ask(served, one, at=own["id"])
            claim = (await claimed())["id"]
            ended = await asyncio.to_thread(connect_and_end, path)
            await book.ask(served, one, at=claim, peer=ended)
            await book.ask(served, one, at=claim, peer=connect_as_somebody_else(path))
            await book.ask(served, one, {"reason": "so"}, at=claim)
            await book.ask(served, other, at=claim)
            await book.ask(served, RELEASE, at=claim)
            released = (await claimed())["id"]
            await book.ask(served, RELEASE, at=released)
            await book.ask(served, one, at=released)
        assert "approval-lapsed" == (await claimed("late", wait="30s"))["code"]
        lapsed = (await claimed("late"))["id"]
        await book.ask(served, "GET /v1/claims/{id}", at=lapsed, query="?wait=30s")
        for what in (APPROVE, REJECT):
            await book.ask(served, what, at=lapsed)
        on_the_line = asyncio.create_task(claimed(wait="30s"))
        async with asyncio.timeout(SOON):
            while not (found := await undecided(served)):
                await asyncio.sleep(0.01)
        await book.ask(served, REJECT, at=found[0]["id"])
        assert "approval-rejected" == (await on_the_line)["code"]


async def webhooks_carry_votes(book: Book, folder: Path) -> None:
    secrets = folder / "votes"
    secrets.mkdir()
    (secrets / "chat").write_bytes(BOT_SECRET)
    may = compile_condition(f"approver.uid in [{os.geteuid()}, 1]", APPROVALS)
    asks = a_policy(
        approve("caller.uid == 65534"),
        allow("caller.uid != 65534"),
        approvals=Approvals(may, 2, 60.0, webhooks=("chat",)),
    )
    now = 1_800_000_000.5
    async with book.serving(a_box_pool(min=1), policies=(asks,), socket_mode=0o666) as served:
        served.server.host.carried = CarriedVotes(secrets, lambda: now)

        async def deliver(data: bytes, *, sent: float, **headers: str) -> Any:
            signature = {HEADER: sign(BOT_SECRET, data, int(sent)), **headers}
            return await book.ask(served, CARRY, data, at="chat", headers=signature)

        async def vote(claim: Any, word: str = "approve", **more: Any) -> Any:
            nonlocal now
            now += 1
            digest = claim["approval"].get("digest") if "approval" in claim else None
            voter = {"user": pwd.getpwuid(os.geteuid()).pw_name}
            said = {"claim": claim["id"], "digest": digest or "0" * 64, "vote": word}
            data = json.dumps({"voter": voter, **said, **more}).encode()
            return await deliver(data, sent=now)

        async def claimed() -> Any:
            peer = connect_as_somebody_else(served.settings.socket)
            return await book.ask(served, CREATE, {"pool": "web"}, peer=peer)

        async def full(*_: object, **__: object) -> NoReturn:
            raise StoreError("the disk is full")

        await deliver(b"", sent=now)  # in the second of the start
        await deliver(b"", sent=now - 1000)
        for data in (b"{", b"{}"):
            await deliver(data, sent=now + 1)
            await deliver(data, sent=now + 1)
        claim = await claimed()
        await vote({"id": "c-nothing"})
        await vote(await book.ask(served, CREATE, {"pool": "web"}))
        await vote(claim, digest="0" * 64)
        await vote(claim, voter={"user": "nobody-of-this-name"})
        await vote(claim, voter={"user": pwd.getpwuid(65534).pw_name})
        with book.patch.context() as patch:
            patch.setattr(voters, "WITHIN", 0.0)
            await vote(claim)
        with book.patch.context() as patch:
            patch.setattr(served.run.store, "commit", full)
            await vote(claim)
        await vote(claim)
        await vote(claim, "reject")
        await book.ask(served, RELEASE, at=claim["id"])
        rejected = await claimed()
        await vote(rejected, "reject")
        await vote(rejected, digest="1" * 64, voter={"user": pwd.getpwuid(1).pw_name})
        released = await claimed()
        await book.ask(served, RELEASE, at=released["id"])
        await vote(released)


async def undecided(served: Served) -> Any:
    return (await served.caller.get("/v1/claims?approval=waiting")).json["items"]


async def the_daemon_has_a_defect(book: Book) -> None:
    async def broken(_call: Call) -> NoReturn:
        raise ZeroDivisionError

    routes: tuple[Route, ...] = tuple(dataclasses.replace(one, handle=broken) for one in ROUTES)
    with book.patch.context() as patch:
        patch.setattr(server, "ROUTES", routes)
        async with book.serving(a_box_pool(min=0)) as served:
            for what in every():
                await book.ask(served, what)


@pytest.mark.timeout(180)  # hundreds of requests, one after the other
async def test_every_documented_answer_happens_and_no_other_does(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_tmp.chmod(0o711)
    book = Book(short_tmp, monkeypatch)
    for provoke in (
        all_is_well,
        requests_are_wrong,
        operators_act,
        operators_decide_about_revisions,
        capacity_is_short,
        creations_are_slow_or_fail,
        claimants_cannot_be_followed,
        the_pool_goes,
        the_ledger_fails,
        the_daemon_starts_and_stops,
        the_daemon_is_busy,
        somebody_else_calls,
        tokens_are_wrong,
        policies_decide,
        others_decide,
        partial(webhooks_carry_votes, folder=short_tmp),
        the_daemon_has_a_defect,
        requests_are_no_http,
    ):
        await provoke(book)
    assert set() == documented() - book.reached, "described, but it does not happen"
    assert set() == book.reached - documented(), "it happens, but is not described"
