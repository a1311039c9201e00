"""The core on simulated surroundings that is cut off at a named point, and its callers.

A `History` is one host with the lives of the daemon on it and what its callers were told. Everything
runs under virtual time, so that thousands of histories take seconds.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from stoker.config.revision import PoolSpec, Revision
from stoker.pools.admission import digest_of
from stoker.pools.ballots import Ballot
from stoker.pools.binding import Process
from stoker.pools.claim import Claim, Claimant, ClaimState
from stoker.pools.ids import ClaimId, ResourceId, part_id
from stoker.pools.lifecycle import ResourceState
from stoker.pools.requests import ClaimRequest, Code, Refusal
from stoker.pools.rollout import Stage
from stoker.pools.store import Event
from stoker.pools.stores.sqlite import SqliteStore
from stoker.pools.switches import (
    HOST,
    HostAction,
    Operator,
    Order,
    PoolAction,
    ResourceAction,
)
from stoker.pools.wishes import Wish
from tests.builders import a_revision
from tests.crash.cuts import Cuts, CutStore, with_cuts
from tests.rig import ME, Host, Run

KEY = b"k" * 32
ONCE = {"claim.voted", "claim.approved", "claim.rejected", "claim.break-glass"}
"""Events that a claim has once; one for each vote."""
ORDER = Order(Operator(1000, "ada"), "why not")


class DoomedRun(Run):
    """One life of the daemon, with points around its writes and calls; it ends at one of them."""

    def __init__(self, host: Host, cut: str | None) -> None:
        super().__init__(host)
        self.armed = False
        self.points: list[str] = []
        self.dead = asyncio.Event()
        cuts = Cuts(cut, die=self._die, passed=self.points.append, armed=lambda: self.armed)
        store = CutStore.open_memory(
            host.disk, sealer=host.sealer, wall=host.clock.now, delay=self._commit_takes
        )
        store.cuts = cuts
        self.store: SqliteStore = store
        self.services.store = store
        self.services.drivers = with_cuts(self.services.drivers, cuts)

    async def live_through(self, work: Coroutine[object, object, object]) -> bool:
        """Does the work; False when the daemon died over it."""
        doing = asyncio.ensure_future(work)
        dying = asyncio.ensure_future(self.dead.wait())
        await asyncio.wait({doing, dying}, return_when=asyncio.FIRST_COMPLETED)
        dying.cancel()
        if not self.dead.is_set():
            await doing
            return True
        doing.cancel()
        await asyncio.gather(doing, return_exceptions=True)
        await self.end()
        return False

    async def end(self) -> None:
        """As `kill -9`; leaves no task behind."""
        await self.crash()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _die(self) -> None:
        """At this very moment: nothing of this run has an effect any more."""
        self.driver.disconnect()
        self.store.kill()
        self.dead.set()
        await asyncio.get_running_loop().create_future()


@dataclass(frozen=True, slots=True)
class Promise:
    claim: ClaimId
    resources: tuple[ResourceId, ...]
    tokens: tuple[object, ...]


@dataclass
class History:
    """One host, the lives of the daemon on it, and its callers."""

    host: Host
    revision: Revision
    sweeps: bool = True
    """Whether orphans are looked for. The ledger alone has to be enough."""
    told: dict[ClaimId, Promise] = field(default_factory=dict[ClaimId, Promise])
    waiting: set[ClaimId] = field(default_factory=set[ClaimId])
    """Claims that were answered "pending"."""
    let_go: set[ClaimId] = field(default_factory=set[ClaimId])
    """Claims whose end was asked for or is due."""
    by_key: dict[bytes, ClaimId] = field(default_factory=dict[bytes, ClaimId])
    """The claim that was answered for a key: every retry must get the same."""
    votes: dict[ClaimId, dict[int, bool]] = field(default_factory=dict[ClaimId, dict[int, bool]])
    """Those that were answered, by claim and user id."""
    denied: set[ClaimId] = field(default_factory=set[ClaimId])
    """Claims that somebody was told to have rejected."""
    owed: set[ClaimId] = field(default_factory=set[ClaimId])
    """Claims that did without an approval, and at which nobody has looked."""
    looked_at: set[ClaimId] = field(default_factory=set[ClaimId])
    """Claims that somebody has voted on, answered or not."""
    until: dict[ClaimId, float] = field(default_factory=dict[ClaimId, float])
    """When claims expire whose renewal was answered."""
    in_the_dark: int = 0
    """Claims without a key that were never answered."""
    operated: tuple[PoolAction | ResourceAction | HostAction, str] | None = None
    """What an operator did last, with the pool or the resource; None unless that was answered."""
    operated_at: float = 0.0
    """When it was answered."""
    run: DoomedRun = field(init=False)

    # The daemon

    async def start(self, cut: str | None = None, *, armed: bool = False) -> bool:
        """A new life; False when it ended while it began."""
        self.run = DoomedRun(self.host, cut)
        self.run.armed = armed
        return await self.run.live_through(self._begin())

    async def _begin(self) -> None:
        await self.run.open()
        await self.run.apply(self.revision)
        if not self.sweeps:
            self.run.fleet.orphans.sweep = self._sweep_nothing  # type: ignore[method-assign]
        await self.run.fleet.start()

    async def _sweep_nothing(self) -> None:
        """In place of the sweep."""

    async def declare(self, *pools: PoolSpec, revision: str = "r2") -> None:
        """The directory holds it before the daemon knows."""
        self.revision = a_revision(*pools, id=revision)
        await self.run.apply(self.revision)

    async def settle(self, within: float = 300.0) -> None:
        deadline = self.run.host.clock.now() + within
        while problems := self.unsettled():
            assert self.run.host.clock.now() < deadline, f"it does not settle: {problems}"
            await asyncio.sleep(0.02)

    def unsettled(self) -> list[str]:
        run = self.run
        problems = [
            f"{resource.id} is {resource.state}"
            for resource in run.fleet.resources()
            if resource.state not in {ResourceState.READY, ResourceState.BOUND}
            and (resource.state is not ResourceState.HELD or resource.hold is None)
        ]
        declared = self.revision.pools
        for status in run.fleet.pools():
            wanted = declared[status.name].size.min if status.name in declared else 0
            wanted = 0 if status.draining else wanted
            rollout = status.rollout
            paused = rollout is not None and rollout.stage is Stage.PAUSED
            rolls = not paused and (status.outdated or rollout)
            if status.ready != wanted or rolls:
                problems.append(f"{status.name} has {status.ready} ready, not {wanted}: {status}")
        problems += [
            f"{claim.id} is {claim.state}"
            for claim in run.fleet.live_claims()
            if claim.state is not ClaimState.BOUND
        ]
        return problems + [f"forgotten: {part}" for part in run.forgotten()]

    # The callers

    async def claim(
        self,
        *,
        key: bytes | None = None,
        wait: float | None = 600.0,
        ttl: float | None = None,
        process: Process | None = None,
        wish: Wish | None = None,
        reason: str = "",
    ) -> Claim:
        """With a reason it would do without an approval."""
        run = self.run
        if key is None:
            self.in_the_dark += 1
        if process is None:
            claim = await run.fleet.claim(
                ClaimRequest(
                    pool="" if wish is not None and wish.pools else "web",
                    claimant=ME,
                    wait=wait,
                    ttl=ttl,
                    key=key,
                    body=b"b",
                    wish=wish,
                    reason=reason,
                    break_glass=bool(reason),
                )
            )
        else:
            claim = await run.claim_with(process, wait=wait, ttl=ttl, key=key, body=b"b")
        if not run.dead.is_set():
            if key is None:
                self.in_the_dark -= 1
            else:
                first = self.by_key.setdefault(key, claim.id)
                assert first == claim.id, "a retry got another claim"
            self._remember(claim)
        return claim

    async def stand_in_line(self, claim: ClaimId) -> None:
        run = self.run
        settled = await run.fleet.settled(claim, 600.0)
        if not run.dead.is_set():
            assert settled.state is ClaimState.BOUND
            self._remember(settled)

    async def release(self, claim: ClaimId) -> None:
        self.let_go.add(claim)
        self.waiting.discard(claim)
        await self.run.fleet.release(claim, request_id="r")

    async def renew(self, claim: ClaimId, ttl: float) -> None:
        """The claim may be over by then."""
        run = self.run
        self.until.pop(claim, None)  # answered or not, it may be another one from now on
        with suppress(Refusal):
            renewed = await run.fleet.renew(claim, ttl, request_id="r")
            if not run.dead.is_set():
                assert renewed.expires_at is not None
                self.until[claim] = renewed.expires_at

    def check_renewals(self) -> None:
        for claim in self.run.fleet.live_claims():
            kept = self.until.get(claim.id, claim.expires_at)
            assert claim.expires_at == kept, "a renewal was lost"

    # Those who approve

    async def vote(self, claim: ClaimId, by: Claimant, *, approves: bool = True) -> None:
        """Says it, and says the same again after a death. Somebody else may have decided meanwhile."""
        run = self.run
        # Whether it is answered or not, somebody may have looked at it from now on.
        self.owed.discard(claim)
        self.looked_at.add(claim)
        try:
            found = await run.fleet.approving.vote(claim, Ballot(by, approves, "so", "v"))
        except Refusal as refusal:
            if refusal.code is Code.VOTE_LATE:
                return
            raise
        if run.dead.is_set():
            return
        self.votes.setdefault(claim, {})[by.uid] = approves
        self.check_votes(found)
        if not approves:
            self.denied.add(claim)
            self.waiting.discard(claim)

    def is_to_be_followed_up(self, claim: ClaimId) -> None:
        self.owed |= {claim} - self.looked_at
        self._check_owed()

    def check_votes(self, claim: Claim) -> None:
        said = () if claim.approval is None else claim.approval.votes
        votes = {one.by.uid: one.approves for one in said}
        assert self.votes.get(claim.id, {}).items() <= votes.items(), "a vote was lost"

    def _check_owed(self) -> None:
        assert self.owed <= set(self.run.fleet.approving.follow_ups.claims), "no follow-up"

    # The operators

    async def on_pool(self, action: PoolAction) -> None:
        await self._operate(action, "web", self.run.fleet.operate_pool(action, "web", ORDER))

    async def on_host(self, action: HostAction) -> None:
        await self._operate(action, HOST, self.run.fleet.operate_host(action, ORDER))

    async def on_resource(self, action: ResourceAction, resource: ResourceId) -> None:
        """It may be gone by then."""
        work = self.run.fleet.operate_resource(action, resource, ORDER)
        with suppress(Refusal):
            await self._operate(action, resource, work)

    async def _operate(
        self,
        action: PoolAction | ResourceAction | HostAction,
        subject: str,
        work: Coroutine[object, object, object],
    ) -> None:
        run = self.run
        self.operated = None
        await work
        if not run.dead.is_set():
            self.operated = (action, subject)
            self.operated_at = self.host.clock.now()

    def _remember(self, claim: Claim) -> None:
        if claim.state is ClaimState.REFUSED:
            assert claim.id in self.looked_at, "refused, and nobody said so"
            self.waiting.discard(claim.id)
            return
        if claim.state is not ClaimState.BOUND:
            self.waiting.add(claim.id)
            return
        self.waiting.discard(claim.id)
        now = Promise(claim.id, tuple(claim.resources), _tokens(claim))
        assert self.told.setdefault(claim.id, now) == now
        spec = self.revision.pools.get(claim.pool)
        lasting = spec is not None and spec.blueprint.reset is not None
        for resource in now.resources:
            holders = [
                one.claim
                for one in self.told.values()
                if resource in one.resources and not (lasting and one.claim in self.let_go)
            ]
            assert holders in ([claim.id], []), "leased twice"
            thing = self.host.world.things.get(part_id(resource, "box"))
            if thing is not None:
                assert thing.soil <= {claim.id}, "what another claim left was handed out"
                thing.soil.add(claim.id)

    # What must be true in the end

    async def check(self) -> None:
        run, world = self.run, self.host.world
        assert [] == run.breaches()
        known = {p.id for r in run.fleet.resources() for p in r.parts if p.driver == "simulated"}
        assert known == set(world.exists())
        for resource in run.fleet.resources():
            if resource.state is ResourceState.READY:
                soil = [world.things[part.id].soil for part in resource.parts]
                assert not any(soil), f"{resource.id} is ready and not clean: {soil}"
        live = {claim.id: claim for claim in run.fleet.live_claims()}
        expected = {claim for claim in self.told if claim not in self.let_go}
        assert expected <= set(live), "answered and forgotten"
        assert len(live) <= len(expected) + self.in_the_dark, "bound for nobody"
        assert not self.waiting, "answered and never bound"
        for claim in expected:
            promise = self.told[claim]
            assert tuple(live[claim].resources) == promise.resources
            assert _tokens(live[claim]) == promise.tokens
        bound = {r.id: r.claim for r in run.fleet.resources() if r.state is ResourceState.BOUND}
        assert bound == {one: claim.id for claim in live.values() for one in claim.resources}
        assert all(len(claim.resources) == claim.count for claim in live.values()), "not all"
        self.check_renewals()
        await self._check_votes_kept()
        await self._check_ledger()

    async def _check_votes_kept(self) -> None:
        """Nobody is served without the votes that were asked for, and none that was answered is lost."""
        self._check_owed()
        for claim in self.votes:
            found = await self.run.fleet.find_claim(claim)
            self.check_votes(found)
            assert found.approval is not None
            if claim in self.denied:
                assert found.state is ClaimState.REFUSED, "served although it was rejected"
            if found.bound_at is not None and not found.approval.broke_glass:
                need = found.approval.needs[0]
                assert found.approval.approved_by(need) >= need.quorum, "served without an approval"
                assert digest_of(found) == found.approval.digest
        kinds = Counter((e.kind, e.claim, str(e.data.get("by"))) for e in await self._events())
        assert not [what for what, count in kinds.items() if what[0] in ONCE and count > 1]

    async def _events(self) -> Sequence[Event]:
        return await self.run.store.events(after=0, limit=10_000)

    async def _check_ledger(self) -> None:
        store = self.run.store
        events = await self._events()
        assert len(events) == await store.verify_chain()
        served: set[str] = set()
        begun = Counter(e.data["digest"] for e in events if e.kind == "rollout.started")
        assert set(begun.values()) <= {1}, "a rollout was begun anew, and not gone on with"
        for event in events:
            if event.kind in {"claim.bound", "resource.bound"} and event.resource:
                assert event.resource not in served, "leased twice"
                served.add(event.resource)
            elif event.kind == "resource.reset":
                served.remove(event.resource)
        image = store.load()
        assert {r.id for r in image.resources} == {r.id for r in self.run.fleet.resources()}
        assert {c.id for c in image.claims} == {c.id for c in self.run.fleet.live_claims()}


def _tokens(claim: Claim) -> tuple[object, ...]:
    return tuple(claim.outputs_of(one, secrets=True)["token"] for one in claim.resources)
