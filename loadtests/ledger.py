"""The ledger alone: what a durable claim costs beside a bare durable row of the same size.

    python -m loadtests.ledger [--quick]

The floor (one row in one table, group commit in a thread) is measured in the same run, in turns
with the ledger. Prints a table and writes everything to loadtests/results/.
"""

import argparse
import asyncio
import itertools
import secrets
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from stoker.pools.claim import Claim, Claimant, ClaimState
from stoker.pools.ids import ClaimId, Ids, ResourceId, part_id
from stoker.pools.lifecycle import PartState, ResourceState
from stoker.pools.resource import Half, Health, Part, Resource
from stoker.pools.sealing import Sealer
from stoker.pools.store import NewEvent
from stoker.pools.stores.sqlite import SqliteStore
from stoker.pools.stores.transaction import SqliteTransaction

from .floors import measured
from .generator import Outcome
from .report import Section, at_most, fact, format_section, keep, p50, p99
from .scale import QUICK, Scale, folder

RESULTS = Path(__file__).parent / "results"
POOL = 1000
"""Resources that the claims go round."""


class Claims:
    """Writes what the daemon writes for a claim: its resource, a sealed part, itself, an event."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._ids = Ids(time.time)
        self._resources = [_a_resource(self._ids) for _ in range(POOL)]
        self._next = itertools.cycle(self._resources)
        self.encoding: list[float] = []
        self.finding: list[float] = []

    async def fill(self) -> None:
        """Puts the resources there, as backfilling would have."""
        for start in range(0, POOL, 100):
            transaction = self._store.transaction()
            for resource in self._resources[start : start + 100]:
                transaction.put_resource(resource)
                for part in resource.parts:
                    transaction.put_part(resource, part)
            await self._store.commit(transaction)

    def encode(self) -> SqliteTransaction:
        resource = next(self._next)
        resource.version += 1
        claim = _a_claim(self._ids.claim(), resource.id)
        resource.claim, resource.state = claim.id, ResourceState.BOUND
        event = NewEvent(
            "claim.bound", "bench", resource.id, claim.id, "r-0123456789ab", "was ready"
        )
        token = _a_part(resource.id, "token", secret=secrets.token_hex(20))
        began = time.perf_counter()
        transaction = self._store.transaction()
        transaction.put_resource(resource)
        transaction.put_part(resource, token)
        transaction.put_claim(claim)
        transaction.add_event(event)
        self.encoding.append(time.perf_counter() - began)
        return transaction

    async def write(self, count: int, latencies: list[float]) -> None:
        for _ in range(count):
            began = time.perf_counter()
            assert self._store.find_key(secrets.token_bytes(32)) is None
            self.finding.append(time.perf_counter() - began)
            transaction = self.encode()
            began = time.perf_counter()
            await self._store.commit(transaction, urgent=True)
            latencies.append(time.perf_counter() - began)


@dataclass(slots=True)
class Round:
    """One repetition."""

    alone: list[float]
    """Seconds of each commit, one after the other."""
    rate: float
    """Claims a second by `clients` together."""
    thread: float
    """Seconds of the writer per claim, the wait for the disk included, when they come together."""
    beside: list[float] = field(default_factory=list[float])
    """Seconds of each commit while the background lane is full."""


async def measure_round(store: SqliteStore, claims: Claims, scale: Scale) -> Round:
    alone: list[float] = []
    await claims.write(scale.sequential, alone)
    before, began = _busy(store), time.perf_counter()
    each = max(1, scale.concurrent // scale.clients)
    together: list[float] = []
    await asyncio.gather(*[claims.write(each, together) for _ in range(scale.clients)])
    elapsed = time.perf_counter() - began
    thread = (_busy(store) - before) / len(together)
    beside: list[float] = []
    with _background(store):
        await asyncio.sleep(0.05)
        await claims.write(scale.sequential, beside)
    return Round(alone, len(together) / elapsed, thread, beside)


@contextmanager
def _background(store: SqliteStore) -> Generator[None]:
    """A thousand resources being backfilled: a steady stream of writes that are not urgent."""

    async def backfill() -> None:
        resource = _a_resource(Ids(time.time))
        while True:
            resource.version += 1
            transaction = store.transaction()
            transaction.put_resource(resource)
            transaction.put_part(resource, resource.parts[0])
            transaction.add_event(NewEvent("resource.ready", "bench", resource.id))
            await store.commit(transaction)
            await asyncio.sleep(0.002)

    tasks = [asyncio.create_task(backfill(), name=f"backfill-{n}") for n in range(4)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


async def run(scale: Scale) -> Section:
    rounds: list[Round] = []
    floors: list[tuple[Outcome, Outcome]] = []
    with folder() as where:
        store = SqliteStore.open(where / "state", sealer=Sealer(secrets.token_bytes(32)))
        claims = Claims(store)
        await claims.fill()
        length = _bytes_of(claims.encode())
        for _ in range(scale.repetitions):
            floors.append(
                (
                    await measured.append(where, length, scale.sequential),
                    await measured.append(where, length, scale.concurrent, writers=scale.clients),
                )
            )
            rounds.append(await measure_round(store, claims, scale))
        await store.close()
    loading = [await _load_seconds(scale.tracked) for _ in range(min(3, scale.repetitions))]
    return _section(rounds, floors, claims, loading, scale, length)


def _section(
    rounds: list[Round],
    floors: list[tuple[Outcome, Outcome]],
    claims: Claims,
    loading: list[float],
    scale: Scale,
    length: int,
) -> Section:
    floor = [p50(alone.latencies) for alone, _ in floors]
    floor_rate = [together.rate for _, together in floors]
    own = [p50(each.alone) for each in rounds]
    tails = [p99(each.alone) / p50(each.alone) for each in rounds]
    beside = [p99(each.beside) / p99(each.alone) for each in rounds]
    ratios = [mine / theirs for mine, theirs in zip(own, floor, strict=True)]
    shares = [each.rate / theirs for each, theirs in zip(rounds, floor_rate, strict=True)]
    rows = [
        fact("floor: durable row, p50", floor, "s"),
        fact("durable claim, p50", own, "s"),
        at_most("claim / floor", ratios, "x", 2.0, "<= 2"),
        fact("durable claim, p99", [p99(each.alone) for each in rounds], "s"),
        at_most("p99 / p50", tails, "x", 4.0, "<= 4"),
        at_most("p99 beside backfill / idle p99", beside, "x", 2.0, "<= 2"),
        fact(f"floor: {scale.clients} writers", floor_rate, "/s"),
        fact(f"{scale.clients} claimants", [each.rate for each in rounds], "/s"),
        fact("claimants / floor", shares, "x"),
        fact("writer thread, each claim", [each.thread for each in rounds], "s"),
        fact("encoding in the loop, p50", [p50(claims.encoding)], "s"),
        fact("look-up of a new key, p50", [p50(claims.finding)], "s"),
        at_most(f"load {scale.tracked:,} resources", loading, "s", 1.0, "<= 1 s"),
    ]
    notes = [
        f"a claim is four rows of {length} bytes together, one secret sealed in two of them;",
        "the floor is one row of that size in a table of its own",
    ]
    return Section("The ledger, and a bare durable row of the same size", rows, notes)


async def _load_seconds(count: int) -> float:
    """Reads back `count` resources with two parts each, and half as many claims."""
    ids = Ids(time.time)
    with tempfile.TemporaryDirectory(prefix="bench-") as where:
        store = SqliteStore.open(Path(where), sealer=Sealer(secrets.token_bytes(32)))
        for start in range(0, count, 500):
            transaction = store.transaction()
            for number in range(start, min(count, start + 500)):
                resource = _a_resource(ids)
                transaction.put_resource(resource)
                for part in resource.parts:
                    transaction.put_part(resource, part)
                if number % 2:
                    transaction.put_claim(_a_claim(ids.claim(), resource.id))
            await store.commit(transaction)
        began = time.perf_counter()
        image = store.load()
        elapsed = time.perf_counter() - began
        assert (count, count // 2) == (len(image.resources), len(image.claims))
        await store.close()
    return elapsed


def _busy(store: SqliteStore) -> float:
    seconds = store.statistics()["busy_seconds"]
    assert isinstance(seconds, float)
    return seconds


def _bytes_of(transaction: SqliteTransaction) -> int:
    values = [value for _, row in transaction.statements for value in row]
    values += [draft.body for draft in transaction.events]
    return sum(len(v) if isinstance(v, str | bytes) else 8 for v in values if v is not None)


def _a_resource(ids: Ids) -> Resource:
    resource = Resource(
        id=ids.resource("bench"),
        pool="bench",
        blueprint="bench",
        digest="d" * 64,
        revision="0123456789ab",
        created_at=1000.0,
        state=ResourceState.READY,
        version=1,
        changed_at=1001.0,
        ready_at=1001.0,
        health=Health.HEALTHY,
        reason="made and verified",
    )
    resource.parts = [_a_part(resource.id, "site"), _a_part(resource.id, "server")]
    return resource


def _a_part(resource: ResourceId, name: str, *, secret: str = "") -> Part:
    half = Half.FINISH if secret else Half.PREPARE
    part = Part(part_id(resource, name), name, "process", "process", half, 0, PartState.VERIFIED)
    if secret:
        part.secrets = {"value": secret}
    else:
        part.handle = {"pid": 4711, "started": 123456789}
        part.outputs = {"path": f"/var/lib/stoker/{resource}/{name}"}
    return part


def _a_claim(claim: ClaimId, resource: ResourceId) -> Claim:
    return Claim(
        id=claim,
        pool="bench",
        claimant=Claimant(1000, 1000, 4711, "ada", "/usr/bin/python3.11", "session-1.scope"),
        created_at=1000.0,
        ttl=1800.0,
        max_ttl=14400.0,
        deadline=1060.0,
        state=ClaimState.BOUND,
        version=1,
        key=secrets.token_bytes(32),
        body=secrets.token_bytes(32),
        answered=True,
        resources=[resource],
        bound_at=1000.1,
        expires_at=2800.1,
        outputs={"url": "http://127.0.0.1:40123/"},
        secrets={"token": secrets.token_hex(20)},
        revision="0123456789ab",
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="loadtests.ledger", description="measure the ledger")
    parser.add_argument("--quick", action="store_true", help="show that it runs, in seconds")
    options = parser.parse_args()
    section = uvloop.run(run(QUICK if options.quick else Scale()))
    print(format_section(section))
    print(f"written to {keep([section], RESULTS, quick=options.quick)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
