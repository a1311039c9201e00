"""What must be true of a daemon that has settled: its word, its ledger and the host agree."""

import asyncio
import json
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from stoker.pools.lifecycle import PartState, ResourceState
from stoker.pools.sealing import open_sealer
from stoker.pools.store import Event, Image
from stoker.pools.stores.sqlite import SqliteStore
from tests.crash.callers import Caller
from tests.crash.subject import Subject

PURE = {"token"}
OF_THE_STATE = {"ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.key", "lock", "parts"}


def until_settled(subject: Subject, sizes: dict[str, int]) -> None:
    """Waits until every pool is as declared and the host holds what the ledger says.

    `sizes`: each declared pool's `min`. Raises `Died` when the daemon ends first.
    """
    found = ["nothing was looked at"]

    def settled() -> bool:
        found[:] = unsettled(subject, sizes)
        return not found

    try:
        subject.until("settled", settled)
    except AssertionError as error:
        raise AssertionError(f"{error}: {'; '.join(found)}") from None


def unsettled(subject: Subject, sizes: dict[str, int]) -> list[str]:
    problems: list[str] = []
    pools = {pool["name"]: pool for pool in subject.get("/v1/pools")["items"]}
    for name, size in sizes.items():
        if name not in pools or pools[name]["min"] != size or pools[name]["draining"]:
            problems.append(f"{name} is not declared with {size}")
    for name, pool in pools.items():
        counts = {state: count for state, count in pool["counts"].items() if count}
        if name not in sizes and not (pool["draining"] and counts):
            problems.append(f"{name} does not drain")
        if pool["outdated"] or counts.get("ready", 0) != sizes.get(name, 0):
            problems.append(f"{name} has {counts}, of them {pool['outdated']} outdated")
        if "rollout" in pool:
            problems.append(f"{name} is rolling: {pool['rollout']}")
        if set(counts) - {"ready", "bound"} or pool["ready"] != counts.get("ready", 0):
            problems.append(f"{name} has {counts}")
    problems += [
        f"{claim['id']} is {claim['state']}"
        for claim in subject.get("/v1/claims")["items"]
        if claim["state"] != "bound"
    ]
    return problems or differences(subject)


def differences(subject: Subject) -> list[str]:
    """Between the parts in the ledger and what exists, driver by driver."""
    known, exists = parts_in_ledger(subject.state), parts_on_host(subject)
    return [f"forgotten: {part}" for part in sorted((exists - known).elements())] + [
        f"missing: {part}" for part in sorted((known - exists).elements())
    ]


def parts_in_ledger(state: Path) -> Counter[tuple[str, str]]:
    """Driver and part id."""
    with closing(sqlite3.connect(f"file:{state / 'ledger.db'}?mode=ro", uri=True)) as ledger:
        rows = ledger.execute("SELECT driver, resource || '.' || name FROM parts").fetchall()
    return Counter((driver, part) for driver, part in rows if driver not in PURE)


def parts_on_host(subject: Subject) -> Counter[tuple[str, str]]:
    """Folders, processes and files that drivers have made; a process's folder counts only alone."""
    parts = subject.state / "parts"
    found: Counter[tuple[str, str]] = Counter()
    found.update(("directory", path.name) for path in _entries(parts / "directory"))
    for record in _entries(parts / "file"):
        found["file", record.stem] += 1
        if not Path(json.loads(record.read_text("utf-8"))["path"]).is_file():
            found["file", f"{record.stem} (only its record)"] += 1
    processes = subject.processes().marked
    for part, marked in processes.items():
        found["process", part] += len(marked)
    for path in _entries(parts / "process"):
        if path.name not in processes:
            found["process", f"{path.name} (only its folder)"] += 1
    return found


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def check_promises(caller: Caller) -> None:
    """The living daemon still knows every claim that was answered, with the same secrets."""
    subject = caller.subject
    assert not caller.waiting, f"still not bound: {caller.waiting}"
    for told in caller.told.values():
        now = subject.get(f"/v1/claims/{told.claim}")
        if told.claim in caller.let_go:
            assert now["state"] == "ended", f"was let go: {now}"
            continue
        assert now["state"] == "bound", f"was answered: {now}"
        assert now["resources"] == [
            {"id": resource, "outputs": outputs}
            for resource, outputs in zip(told.resources, told.outputs, strict=True)
        ]
        assert all(Path(outputs["path"]).is_dir() for outputs in told.outputs)
    for claim, votes in caller.votes.items():
        now = subject.get(f"/v1/claims/{claim}")
        kept = {(vote["uid"], vote["vote"]) for vote in now["approval"]["votes"]}
        assert votes <= kept, f"a vote was lost: {now}"
        if now["state"] == "bound":
            approval = now["approval"]
            assert claim not in caller.rejected, f"served although it was rejected: {now}"
            assert approval["outcome"] == "granted", f"served or looked at without a vote: {now}"
            assert all(need["approved"] >= need["quorum"] for need in approval["needs"]), now


def check_remains(caller: Caller, sizes: dict[str, int]) -> None:
    """With the daemon dead: its ledger, its state folder and its log."""
    subject = caller.subject
    # Not `asyncio.run`: it would drop the loop that pytest-asyncio keeps for other tests.
    with closing(asyncio.new_event_loop()) as loop:
        image, events = loop.run_until_complete(read_ledger(subject.state))
    assert [] == differences(subject)
    bound = {claim.id: claim for claim in image.claims}
    expected = {claim for claim in caller.told if claim not in caller.let_go}
    assert expected <= set(bound), "answered and forgotten"
    assert len(bound) <= len(expected) + caller.in_the_dark, f"bound for nobody: {bound.keys()}"
    for resource in image.resources:
        if resource.state is ResourceState.BOUND:
            assert resource.claim is not None
            assert resource.id in bound[resource.claim].resources
        else:
            assert resource.state is ResourceState.READY
            assert resource.claim is None
        assert {PartState.VERIFIED} == {part.state for part in resource.parts}
    held = Counter(r.claim for r in image.resources if r.state is ResourceState.BOUND)
    assert held == Counter({claim.id: claim.count for claim in bound.values()}), "all or none"
    ready = Counter(r.pool for r in image.resources if r.state is ResourceState.READY)
    assert ready == Counter(sizes)
    check_exclusive(events)
    check_votes(events)
    check_folder(subject.state)
    assert "Traceback" not in subject.log(), subject.log()


def check_exclusive(events: list[Event]) -> None:
    """By the audit: a resource serves one claim until it was reset, becomes ready and goes once."""
    served: dict[str, str] = {}
    for event in events:
        if event.kind in {"claim.bound", "resource.bound"} and event.resource:
            other = served.setdefault(event.resource, event.claim)
            assert other == event.claim, f"{event.resource} served {other} and {event.claim}"
        elif event.kind == "resource.reset":
            assert served.pop(event.resource) == event.claim
    told = Counter(
        (event.kind, event.claim if event.kind.startswith("claim.") else event.resource)
        for event in events
    )
    once = {
        "claim.break-glass",
        "claim.approved",
        "claim.rejected",
        "resource.ready",
        "resource.gone",
        "claim.bound",
        "claim.released",
        "claim.expired",
    }
    again = {what: count for what, count in told.items() if what[0] in once and count > 1}
    assert not again, again


def check_votes(events: list[Event]) -> None:
    """Each is told once, whoever repeated it."""
    told = Counter(
        (event.kind, event.claim, _voter(event))
        for event in events
        if event.kind in {"claim.voted", "claim.break-glass-reviewed"}
    )
    assert set(told.values()) <= {1}, told


def _voter(event: Event) -> object:
    by = event.data["by"]
    return by["uid"] if isinstance(by, dict) else by


def check_folder(state: Path) -> None:
    """Nothing is left of what was begun."""
    assert {path.name for path in state.iterdir()} <= OF_THE_STATE
    strays = [path for path in (state / "parts").rglob("*") if path.name.startswith(".")]
    assert [] == strays


async def read_ledger(state: Path) -> tuple[Image, list[Event]]:
    """As a new daemon would; raises `StoreCorrupt` when the audit's chain is broken."""
    store = SqliteStore.open(state, sealer=open_sealer(state), wall=time.time, writer="inline")
    try:
        assert [] == list(await store.integrity())
        count = await store.verify_chain()
        events = list(await store.events(after=0, limit=10_000))
        assert count == len(events)
        return store.load(), events
    finally:
        await store.close()
