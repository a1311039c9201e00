"""One seed's story: who claims, what breaks, what is changed and when the daemon dies.

Everything is drawn from one seeded source, and time is virtual, so a seed is its story.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from zoneinfo import ZoneInfo

from stoker.config.expressions import compile_expression
from stoker.config.priorities import ENVIRONMENT
from stoker.config.revision import (
    Backfill,
    Blueprint,
    Courtesy,
    Lifetime,
    PoolSpec,
    Priority,
    Queue,
    Revision,
)
from stoker.config.windows import Window
from stoker.pools.binding import Bind, Binding, Process, Tie
from stoker.pools.claim import Claim, Claimant, ClaimState
from stoker.pools.expiry import ends_at
from stoker.pools.fleet import Frozen
from stoker.pools.ids import ClaimId, ResourceId, part_id
from stoker.pools.processes import Tied
from stoker.pools.requests import ClaimRequest, Refusal
from stoker.pools.store import Event
from stoker.pools.wishes import Wish
from tests.builders import a_pool
from tests.fakes.processes import SimulatedLine
from tests.fakes.world import Faults
from tests.rig import EPOCH, Host, Run, a_part, boxes, reusable
from tests.simulation.consent import Consent
from tests.simulation.estimates import Estimates
from tests.simulation.laws import TOKENS, Laws, draw_laws, draw_limits
from tests.simulation.operators import FILE, Operators
from tests.simulation.rolls import Rolls, draw_rollout
from tests.simulation.voters import Voters

CALM = Faults(latency=(0.05, 0.5))
DEAF_AFTER = 60.0
"""Seconds after which a caller gives up on a daemon that was killed while it was asked."""
POOLS = ("web", "work", "lasting")
"""The resources of `lasting` serve several claims."""
UIDS = (1000, 1000, 1000, 1001, 1002)
"""Who claims: one of them asks for more than all others."""
PRIORITIES = (
    Priority("urgent", compile_expression("'urgent' in claim.labels", ENVIRONMENT), 10),
    Priority("broken", compile_expression("claim.labels.late == 'yes'", ENVIRONMENT), 99),
    Priority("later", compile_expression("caller.uid == 1002", ENVIRONMENT), -1),
)
NIGHT = Window(frozenset(range(7)), 22 * 60 + 40, 22 * 60 + 18, ZoneInfo("UTC"))
"""When some pools may be rolled: not from five minutes after the beginning of a story on, but in the end."""
SELECTS = (
    "resource.labels.zone == 'a'",
    "resource.labels.zone == 'b' || outputs.name.endsWith('q.box')",
    "resource.labels.zone == 'a' ? true : resource.labels.missing == 'x'",
)
"""The last one cannot be said of half of the resources."""


@dataclass
class Promise:
    """What one caller was told: the truth that the daemon has to keep."""

    request: str
    claim: ClaimId
    pool: str
    resources: tuple[ResourceId, ...]
    tokens: tuple[object, ...]
    """The secret of each."""
    until: float
    """When its resource may be taken away, if nobody releases or leaves it before."""
    key: bytes | None
    bound_at: float
    work: "Work | None" = None
    taken_at: float = 0.0
    """When its resource was taken for it."""
    select: str = ""
    """What each of its resources had to fulfil."""
    released_at: float | None = None
    """When a release was asked for, successfully or not."""


@dataclass
class Work:
    """What a claim hangs on: a process, and the connection to the daemon if it is that one."""

    process: Process
    line: SimulatedLine | None = None


@dataclass
class Caller:
    """One request for a claim, with the retries of its caller."""

    request: str
    started: float
    key: bytes | None
    left_at: float | None = None
    """When the caller hung up for good, without an answer."""
    gave_up: bool = False
    """It hung up at least once."""
    refused: bool = False
    """It was refused at least once."""
    lives: set[int] = field(default_factory=set[int])
    """The runs of the daemon that it talked to."""


class Story:
    def __init__(self, seed: int, length: float) -> None:
        self.random = Random(seed)
        self.rolling = Random(f"rollouts of {seed}")
        """Of its own, so that the rest of a story hangs on no setting of rollouts."""
        self.rolls = Rolls()
        self.host = Host(self.random.getrandbits(48), replace(CALM))
        self.policing = Random(f"policies of {seed}")
        """Of its own, too, so that the stories without policies stay as they are."""
        self._draw_laws = self.policing.choice([_no_laws, _no_laws, draw_limits, *3 * [draw_laws]])
        self.laws = Laws()
        """Those of the revision that was declared last."""
        self.laws_of: dict[str, Laws] = {}
        """By revision."""
        self.voters = Voters(self, seed)
        self.consent = Consent(self)
        self.length = length
        self.wishes = self.random.choice([0.0, 0.2, 0.6])
        """The share of claims that ask for more than any one resource of one pool."""
        self.run: Run | None = None
        self.life = 0
        self.promises: dict[ClaimId, Promise] = {}
        self.answers: list[Promise] = []
        self.callers: dict[str, Caller] = {}
        self.most: dict[str, int] = {}
        """The largest `max` that each pool ever had."""
        self.revision = self._draw_revision("r0")
        self.applied = self.revision
        self.crashes = 0
        self.served = 0
        self.refused = 0
        self.up_since = 0.0
        """When the daemon came through its last start."""
        self.clear_since = 0.0
        """Since when the host can tell of every process whether it runs."""
        self.announced: Counter[tuple[str, str, str]] = Counter()
        """How often each deadline was announced: by kind, claim and deadline."""
        self.at_commit: Callable[[], None] = lambda: None
        """Called after each commit of the running daemon that has an event in it."""
        self.estimates = Estimates()
        self._up = asyncio.Event()
        self.operators = Operators(self)

    @property
    def up(self) -> bool:
        """Whether the daemon runs, and has come through its start."""
        return self._up.is_set()

    @property
    def daemon(self) -> Run:
        """The run of the daemon that is, or was the last one."""
        assert self.run is not None, "the story has not begun"
        return self.run

    # The course of the story

    async def tell(self, watch: Callable[[], Coroutine[None, None, None]]) -> None:
        """Runs the troubles for `length` seconds, then calms down and lets everything converge."""
        await self._start()
        async with asyncio.TaskGroup() as group:
            self.voters.start = group.create_task
            troubles = [
                group.create_task(self._callers(group), name="callers"),
                group.create_task(self._weather(), name="weather"),
                group.create_task(self._author(), name="author"),
                group.create_task(self._legislator(), name="legislator"),
                group.create_task(self.voters.work(), name="voters"),
                group.create_task(self.operators.work(), name="operators"),
                group.create_task(self._follow(), name="configuration"),
                group.create_task(self._meddler(), name="meddler"),
                group.create_task(self._reaper(), name="reaper"),
                group.create_task(watch(), name="watch"),
            ]
            await asyncio.sleep(self.length)
            for trouble in troubles:
                trouble.cancel()
            await asyncio.sleep(0)
            self.host.world.faults = replace(CALM)
            if not self.up:
                await self._start()
            await self._repair()
            await self.operators.lift_all()

    async def _start(self) -> None:
        self.life += 1
        run = Run(self.host)
        self.rolls.watch(run)
        run.store.on_events(lambda events: self._committed(run, events))
        await run.open()
        run.fleet.see_freeze_file(FILE, self.operators.file)
        if run.fleet.thawed.is_set():
            self.applied = self.revision
        while True:
            try:
                await self._apply(run, self.applied)
                break
            except Refusal:
                await asyncio.sleep(1)
        await run.fleet.start()
        await self._ask_for_votes(run)
        self.run = run
        self.up_since = self.now()
        self._up.set()

    async def _apply(self, run: Run, revision: Revision) -> None:
        await run.apply(revision)
        self.consent.reign(self.laws_of[revision.id], revision.id)

    async def _ask_for_votes(self, run: Run) -> None:
        """What the ledger says of those claims on which somebody has voted in the life before."""
        for claim in self.voters.voted_since():
            try:
                found = await run.fleet.find_claim(claim)
            except Refusal:
                self.consent.problems += self.voters.lost_with_its_claim(claim)
            else:
                self.consent.problems += self.consent.ended(found)

    def _committed(self, run: Run, events: Sequence[Event]) -> None:
        for event in events:
            self.consent.told(run, event)
            if event.kind.startswith("rollout."):
                self.rolls.told[event.kind] += 1
            if event.kind in {"claim.expiring", "claim.lapsed"}:
                self.announced[event.kind, event.claim, str(event.data["expiresAt"])] += 1
        if self.up and self.run is run:
            self.at_commit()

    async def _reaper(self) -> None:
        """Kills the daemon at random moments, now and then while it is starting."""
        while True:
            await asyncio.sleep(self.random.expovariate(1 / 240))
            run = self.daemon
            self._up.clear()
            self.crashes += 1
            if self.random.random() < 0.2:
                await run.stop(grace=self.random.uniform(0, 5))
            else:
                await run.crash()
            await asyncio.sleep(self.random.choice([0.0, 0.1, 5.0, 60.0]))
            if self.random.random() < 0.1:
                self.host.processes.reboot()
            if self.random.random() < 0.2:
                self.host.processes.unclear = True
                asyncio.get_running_loop().call_later(self.random.uniform(0, 20), self._clear)
            if self.random.random() < 0.2:
                stillborn = Run(self.host)
                starting = asyncio.ensure_future(stillborn.open())
                await asyncio.sleep(self.random.uniform(0, 0.01))
                await stillborn.crash()
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
            await self._start()

    def _clear(self) -> None:
        self.host.processes.unclear = False
        self.clear_since = self.now()

    async def _weather(self) -> None:
        """Calm and storms: slow, failing, throttling, lying providers."""
        draw = self.random
        while True:
            await asyncio.sleep(draw.expovariate(1 / 120))
            if draw.random() < 0.4:
                self.host.world.faults = replace(CALM)
                continue
            self.host.world.faults = Faults(
                latency=(0.01, draw.choice([0.1, 1.0, 5.0])),
                slow=draw.choice([0.0, 0.05]),
                slow_latency=draw.choice([30.0, 400.0]),
                fail=draw.choice([0.0, 0.1, 0.5, 1.0]),
                lose=draw.choice([0.0, 0.1, 0.3]),
                throttle=draw.choice([0.0, 0.1]),
                exhaust=draw.choice([0.0, 0.1]),
                stale=draw.choice([0.0, 0.0, 5.0]),
                deaf=draw.choice([0.0, 0.5]),
                lie=draw.choice([0.0, 0.3, 1.0]),
            )

    async def _author(self) -> None:
        """Changes sizes and blueprints, removes a pool and brings it back."""
        number = 0
        while True:
            await asyncio.sleep(self.random.expovariate(1 / 300))
            number += 1
            self.revision = self._draw_revision(f"r{number}")

    async def _legislator(self) -> None:
        """Changes policies, and nothing else."""
        number = 0
        while True:
            await asyncio.sleep(self.policing.expovariate(1 / 150))
            if not self.laws.laws:
                return
            number += 1
            self._legislate()
            before = self.revision
            policies = {policy.name: policy for policy in self.host.policies}
            self.revision = self._enacted(
                replace(before, policies=policies, id=f"{before.id}, laws {number}")
            )

    def _legislate(self) -> None:
        self.laws = self._draw_laws(self.policing)
        self.host.policies = self.laws.specs()

    def _enacted(self, revision: Revision) -> Revision:
        self.laws_of[revision.id] = self.laws
        return revision

    async def _follow(self) -> None:
        """As the daemon does: what comes in a freeze is applied after it."""
        while True:
            await asyncio.sleep(1.0)
            if self.up and self.daemon.fleet.revision is not self.revision:
                await self.catch_up()

    async def catch_up(self) -> None:
        revision = self.revision
        try:
            async with asyncio.timeout(DEAF_AFTER):
                await self._apply(self.daemon, revision)
            self.applied = revision
        except (TimeoutError, Frozen):
            return  # the daemon was killed meanwhile, or this one waits for the thaw

    async def _repair(self) -> None:
        """The last blueprint of each pool works."""
        pools = [
            replace(pool, blueprint=_working(pool.blueprint))
            for pool in self.revision.pools.values()
        ]
        self.revision = self._enacted(replace(self.host.revision(*pools), id="repaired"))
        await self.catch_up()

    async def _meddler(self) -> None:
        while True:
            await asyncio.sleep(self.random.expovariate(1 / 120))
            self.host.world.meddle()

    def _draw_revision(self, name: str) -> Revision:
        draw = self.random
        pools = [self._draw_pool(pool) for pool in POOLS if pool == "web" or draw.random() < 0.8]
        pools = [replace(pool, labels={"zone": draw.choice("ab")}) for pool in pools]
        rolling = self.rolling
        pools = [
            replace(
                pool,
                rollout=draw_rollout(rolling, pool.size, NIGHT),
                blueprint=_broken(pool.blueprint) if rolling.random() < 0.2 else pool.blueprint,
            )
            for pool in pools
        ]
        for pool in pools:
            self.most[pool.name] = max(self.most.get(pool.name, 0), pool.size.max)
        self._legislate()
        return self._enacted(replace(self.host.revision(*pools), id=name))

    def _draw_pool(self, name: str) -> PoolSpec:
        draw = self.random
        minimum = draw.randint(0, 5)
        spare = draw.randint(1, 5)
        if name == "lasting":  # where there is room for new ones, old ones are seldom needed
            minimum, spare = draw.randint(1, 3), draw.randint(0, 1)
        finish = (
            None
            if name == "web"
            else (a_part("page"), a_part("token", "token", {"kind": "random"}))
        )
        blueprint = boxes(digest=f"d{draw.randint(0, 2)}", finish=finish)
        if name == "lasting":
            blueprint = reusable(
                blueprint,
                in_place=draw.random() < 0.5,
                max_uses=draw.choice([2, 100]),
                within=draw.choice([3.0, 30.0]),
            )
        return a_pool(
            name=name,
            min=minimum,
            max=minimum + spare,
            blueprint=blueprint,
            lifetime=Lifetime(
                ttl=draw.choice([20.0, 120.0]),
                max_ttl=draw.choice([120.0, 600.0]),
                max_age=draw.choice([None, None, 200.0]),
                courtesy=draw.choice([None, None, Courtesy(15.0), Courtesy(5.0, 10.0)]),
            ),
            backfill=Backfill(
                rate=draw.choice([1.0, 20.0]),
                burst=draw.choice([1, 5]),
                concurrency=draw.randint(1, 4),
            ),
            queue=Queue(
                max=draw.choice([2, 50]),
                wait=draw.choice([5.0, 60.0]),
                priorities=draw.choice([(), PRIORITIES]),
            ),
        )

    # Those who claim

    async def _callers(self, group: asyncio.TaskGroup) -> None:
        number = 0
        while True:
            await asyncio.sleep(self.random.expovariate(1 / self.random.choice([2.0, 15.0])))
            uid = self.random.choice(UIDS)
            for _ in range(self.random.choice([1, 1, 1, 12])):
                number += 1
                group.create_task(self._caller(f"q{number}", uid), name=f"caller {number}")

    async def _caller(self, request: str, uid: int) -> None:
        draw = self.random
        key = draw.randbytes(32) if draw.random() < 0.6 else None
        caller = Caller(request, self.now(), key)
        self.callers[request] = caller
        wish = self._draw_wish()
        wait = draw.choice([0.0, 5.0, 30.0, None])
        asked = ClaimRequest(
            pool="" if wish is not None and wish.pools else draw.choice(POOLS),
            claimant=Claimant(uid, 1000, 1),
            labels=draw.choice([{}, {}, {}, {"urgent": "yes"}]),
            wait=wait,
            key=key,
            body=b"b",
            request_id=request,
            wish=wish,
        )
        if self.laws.laws:
            asked = self._under_laws(asked)
        self.consent.asked[request] = asked
        work = self._draw_work()
        claim = await self._insist(asked, caller, work)
        if claim is None:
            return
        await self._use(claim, asked)

    def _under_laws(self, asked: ClaimRequest) -> ClaimRequest:
        """Some bring a token, some say how long they want it, and some would do without an approval."""
        draw, claimant = self.policing, asked.claimant
        return asked._replace(
            claimant=replace(claimant, token=TOKENS.get(claimant.uid)),
            ttl=draw.choice([None, None, 15.0, 60.0]),
            reason=draw.choice(["", "it burns", "it is due"]),
            break_glass=draw.random() < 0.2,
        )

    def _draw_wish(self) -> Wish | None:
        """Some claims want several, certain ones, or one of both pools; in some stories none do."""
        draw = self.random
        if draw.random() > self.wishes:
            return None
        return Wish(
            count=draw.choice([1, 2, 2, 3, 5]),
            select=draw.choice(["", "", *SELECTS]),
            pools=draw.choice([(), POOLS, POOLS[::-1]]),
        )

    def _draw_work(self) -> Work | None:
        """A third of the claims hang on something, which ends when it likes."""
        draw = self.random
        if draw.random() > 0.35:
            return None
        processes = self.host.processes
        work = Work(processes.start(), SimulatedLine() if draw.random() < 0.4 else None)
        life = draw.choice([0.01, 5.0, 60.0, 200.0]) * draw.random()
        asyncio.get_running_loop().call_later(life, self._end_work, work)
        return work

    def _end_work(self, work: Work) -> None:
        if work.line is not None:
            work.line.break_off()
            if self.random.random() < 0.5:
                return
        if work.process in self.host.processes.alive:
            self.host.processes.end(work.process)

    async def _insist(self, asked: ClaimRequest, caller: Caller, work: Work | None) -> Claim | None:
        """Asks, loses patience or the answer, and asks again if it has a key."""
        draw = self.random
        for _ in range(6 if asked.key else 1):
            await self._up.wait()
            run, life = self.daemon, self.life
            caller.lives.add(life)
            caller.left_at = None
            asking = asyncio.ensure_future(self._ask(run, asked, work))
            patience = draw.choice([0.01, 2.0, 60.0, 60.0])
            try:
                done, _ = await asyncio.wait({asking}, timeout=patience)
            finally:
                asking.cancel()
            if not done:
                await asyncio.gather(asking, return_exceptions=True)
                caller.left_at, caller.gave_up = self.now(), True
            elif life == self.life and self.up:
                answer = asking.result()
                if answer is None:
                    self.refused += 1
                    caller.refused = True
                elif answer.state in {ClaimState.BOUND, ClaimState.ENDING, ClaimState.ENDED}:
                    self._promise(answer, asked, work)
                elif answer.needs_approval and self.policing.random() < 0.2:
                    await self._withdraw(answer)
                    return None
                if draw.random() < 0.7:
                    return answer  # otherwise the reply was lost on its way
                caller.left_at, caller.gave_up = self.now(), True
            await asyncio.sleep(draw.choice([0.0, 0.5, 10.0]))
        return None

    async def _withdraw(self, claim: Claim) -> None:
        """Releases a claim that is still to be approved."""
        try:
            async with asyncio.timeout(DEAF_AFTER):
                await self.daemon.fleet.release(claim.id, request_id=claim.request_id)
        except (Refusal, TimeoutError):
            return

    async def _ask(self, run: Run, asked: ClaimRequest, work: Work | None) -> Claim | None:
        try:
            claim = await self._ask_with(run, asked, work)
            if claim.state in {ClaimState.PENDING, ClaimState.FINISHING}:
                self.estimates.look_at(run, claim, self.now())
                claim = await run.fleet.settled(claim.id, 90.0)
        except Refusal:
            return None
        return claim

    async def _ask_with(self, run: Run, asked: ClaimRequest, work: Work | None) -> Claim:
        if work is None:
            return await run.fleet.claim(asked)
        if work.line is None:
            tie = Tie(Binding(Bind.PROCESS, work.process), work.process)
            thing: Tied = self.host.processes.open(work.process)
        else:
            tie, thing = Tie(Binding(Bind.CONNECTION, work.process), work.line), work.line
        ties = run.fleet.ties
        hold = ties.hold_again(tie.anchor) or ties.hold(tie.anchor, thing, "it has ended")
        try:
            return await run.fleet.claim(asked._replace(tie=tie))
        finally:
            hold.release()

    def _promise(self, claim: Claim, asked: ClaimRequest, work: Work | None) -> None:
        if claim.state is not ClaimState.BOUND:
            return
        assert claim.expires_at is not None, f"{claim.id} is bound for ever"
        assert claim.bound_at is not None
        told = Promise(
            asked.request_id,
            claim.id,
            claim.pool,
            tuple(claim.resources),
            tokens_of(claim),
            ends_at(claim.expires_at, claim.terms),
            asked.key,
            claim.bound_at,
            work,
            taken_at=(claim.bound_at or 0.0) - claim.timing.finish,
            select="" if claim.wish is None else claim.wish.select,
        )
        self._leave_something(told)
        self.answers.append(told)
        self.served += 1
        self.promises.setdefault(claim.id, told)

    def _leave_something(self, told: Promise) -> None:
        """What the next claim of the resource must not find."""
        world = self.host.world
        for resource in told.resources:
            box = part_id(resource, "box")
            if box in world.things:
                world.use(box, told.claim)

    async def _use(self, claim: Claim, asked: ClaimRequest) -> None:
        promise = self.promises.get(claim.id)
        if promise is None:
            return
        draw = self.random
        for _ in range(draw.randint(0, 3)):
            await asyncio.sleep(draw.uniform(0, 40))
            if draw.random() < 0.5:
                await self._renew(promise)
        if draw.random() < 0.6:
            await self._release(promise)

    async def _renew(self, promise: Promise) -> None:
        await self._up.wait()
        life = self.life
        try:
            async with asyncio.timeout(DEAF_AFTER):
                fleet = self.daemon.fleet
                self.voters.meddle(fleet.known(promise.claim))
                renewed = await fleet.renew(promise.claim, None, request_id=promise.request)
        except (Refusal, TimeoutError):
            return
        assert renewed.expires_at is not None, f"{renewed.id} was renewed for ever"
        if life == self.life:
            promise.until = ends_at(renewed.expires_at, renewed.terms)

    async def _release(self, promise: Promise) -> None:
        await self._up.wait()
        promise.released_at = self.now()
        try:
            async with asyncio.timeout(DEAF_AFTER):
                self.voters.meddle(self.daemon.fleet.known(promise.claim))
                await self.daemon.fleet.release(promise.claim, request_id=promise.request)
        except (Refusal, TimeoutError):
            return

    def left_at(self, promise: Promise) -> float | None:
        """When what the claim hangs on ended, or None. Nobody may count on the claim since."""
        work = promise.work
        if work is None:
            return None
        moments = [self.host.processes.ended_at.get(work.process)]
        if work.line is not None:
            moments.append(work.line.broken_at)
        ended = [EPOCH + moment for moment in moments if moment is not None]
        return min(ended, default=None)

    def now(self) -> float:
        return self.host.clock.now()


def _no_laws(_: Random) -> Laws:
    return Laws()


def _broken(blueprint: Blueprint) -> Blueprint:
    """The same, of which nothing can be made."""
    box = a_part(settings={"reject": True})
    return replace(blueprint, digest=f"broken {blueprint.digest}", prepare=(box,))


def _working(blueprint: Blueprint) -> Blueprint:
    return replace(blueprint, digest=blueprint.digest.removeprefix("broken "), prepare=(a_part(),))


def tokens_of(claim: Claim) -> tuple[object, ...]:
    return tuple(claim.outputs_of(one, secrets=True)["token"] for one in claim.resources)
