"""What must hold at every moment of a simulated story, and at its end."""

from collections import Counter

from stoker.pools.binding import Bind
from stoker.pools.claim import Claim, ClaimState
from stoker.pools.expiry import ends_at
from stoker.pools.ids import ResourceId, part_id, resource_of
from stoker.pools.lifecycle import LEAVING, ResourceState
from stoker.pools.plan import Serve
from stoker.pools.switches import HOST
from stoker.pools.ties import LOOK_AGAIN
from tests.fakes.world import Effect
from tests.rig import EPOCH
from tests.simulation.story import Promise, Story, tokens_of
from tests.simulation.together import Together
from tests.simulation.turns import Turns, will_do

STEP = 0.5
"""Virtual seconds between two looks, beside one after every commit with an event."""
FORGET_AFTER = 60.0
"""Seconds after its end for which a promise is still looked at."""
LATE = 1.0
"""Seconds that a claim may be bound after its time: timers are exact, and nothing is suspended."""
LATE_WITH_ITS_PROCESS = 0.1
"""Seconds that a claim may outlive its process or its connection."""
SLACK = 2.0
"""Seconds that an ending may take to begin when its time has come and the daemon is up."""
GOING = frozenset({ResourceState.ENDING, ResourceState.QUARANTINED, ResourceState.GONE})
"""What may become of one that was held."""


class Broken(AssertionError):
    """An invariant does not hold."""


class Watcher:
    """Checks the story. `look` is called at every step, `settle` once, after the calm."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self._seen = 0
        self._answered = 0
        self._holder: dict[str, Promise] = {}
        self._last_bound: dict[str, float] = {}
        """When a resource was last seen bound."""
        self.reused = 0
        """Claims that were served by a resource that had served another."""
        self._by_key: dict[bytes, tuple[str, object]] = {}
        self._broken: Broken | None = None
        self._drained: dict[str, float] = {}
        """When each pool was seen draining the last time."""
        self._turns = Turns()
        self._gangs = Together()

    def glance(self) -> None:
        """`look` for where an exception would be lost: the next `look` raises it."""
        try:
            self.look()
        except Broken as broken:
            self._broken = broken

    def look(self) -> None:
        """Raises `Broken`."""
        if self._broken is not None:
            raise self._broken
        story = self.story
        if story.run is None:
            return
        self._forget_the_old()
        self._check_answers()
        self._check_effects(story.host.world.log)
        if story.up:
            self._fail_if(story.run.breaches())
            self._check_claims()
            self._fail_if(list(story.consent.look()))
            self._check_holds()
            self._check_freezes()
            self._check_sizes()
            self._check_announcements()
            self._fail_if(list(self._gangs.look(story.daemon, story.now())))
            self._fail_if(list(self._turns.look(story.daemon, story.now())))
            self._check_resets()
        self._fail_if(story.rolls.problems)

    def settle(self) -> None:
        """Everything is calm: the declared state is reached and nothing is forgotten."""
        story = self.story
        self.look()
        fleet = story.daemon.fleet
        known = {part.id for resource in fleet.resources() for part in resource.parts}
        simulated = {part for part in known if not part.endswith(".token")}
        exists = set(story.host.world.exists())
        self._fail_if([f"forgotten: {part}" for part in sorted(exists - simulated)])
        self._fail_if([f"lost: {part}" for part in sorted(simulated - exists)])
        for status in fleet.pools():
            if status.draining:
                raise Broken(f"{status.name} still drains: {status.counts}")
            if status.ready != status.min:
                raise Broken(f"{status.name} has {status.ready} ready of {status.min}: {status}")
            if status.rollout is not None or status.outdated:
                raise Broken(f"{status.name} is not rolled to its end: {status}")
            if status.frozen or status.switch is not None or status.counts[ResourceState.HELD]:
                raise Broken(f"{status.name} is not as operators left it: {status}")
            if any(status.counts[state] for state in LEAVING):
                raise Broken(f"{status.name} still removes: {status.counts}")

    def _check_answers(self) -> None:
        answers = self.story.answers[self._answered :]
        self._answered = len(self.story.answers)
        for told in answers:
            for resource in told.resources:
                holder = self._holder.setdefault(resource, told)
                if holder.claim != told.claim:
                    before = self.story.promises.get(holder.claim, holder)
                    self._check_reuse(resource, before, told)
                    self._holder[resource] = told
                self._check_select(resource, told.select)
            self._check_what_operators_said(told)
            if told.key is None:
                continue
            first = self._by_key.setdefault(told.key, (told.claim, told.tokens))
            if first != (told.claim, told.tokens):
                raise Broken(f"a retry of {first[0]} was answered with {told.claim}")

    def _check_what_operators_said(self, told: Promise) -> None:
        operators = self.story.operators
        for shut in operators.shut:
            if shut.pool in {told.pool, HOST} and shut.since < told.taken_at < shut.until:
                raise Broken(
                    f"{told.resources} were taken for {told.claim} at {told.taken_at}, in a pool that "
                    f"was shut from {shut.since} to {shut.until}"
                )
        held = operators.held.intersection(told.resources)
        if held:
            raise Broken(f"leased although it was held: {held} to {told.claim}")

    def _check_holds(self) -> None:
        """What is held stays as long as it was said, goes nowhere else, and no longer."""
        story, now = self.story, self.story.now()
        operators = story.operators
        for resource in story.daemon.fleet.resources():
            held = operators.holds.get(resource.id)
            if resource.state is ResourceState.HELD:
                if resource.hold is None or resource.hold.until is None:
                    raise Broken(f"{resource.id} is held for ever")
                if now > max(resource.hold.until, story.up_since) + SLACK:
                    raise Broken(f"{resource.id} is held {now - resource.hold.until:.1f}s too long")
                if held is not None:
                    operators.held.add(resource.id)
            elif resource.id in operators.held and resource.state not in GOING:
                raise Broken(f"{resource.id} was held and is {resource.state} again")
            elif resource.hold is not None and resource.state is ResourceState.READY:
                raise Broken(f"{resource.id} was to be held and is ready")
            if held is not None and now < held.until and resource.hold is None:
                raise Broken(f"the hold of {resource.id} was forgotten")

    def _check_freezes(self) -> None:
        """In a freeze nothing is begun, and no pool decides to remove what is ready."""
        story, fleet = self.story, self.story.daemon.fleet
        if not story.operators.frozen:
            return
        pools = fleet.all_pools()
        self._drained |= {one.spec.name: story.now() for one in pools if one.gate.draining}
        for frozen in story.operators.frozen:
            for resource in fleet.resources():
                if frozen.since < resource.created_at < frozen.until:
                    raise Broken(f"{resource.id} was begun in a freeze since {frozen.since}")
            if not frozen.since < story.now() < frozen.until:
                continue
            for pool in pools:
                name, gate = pool.spec.name, pool.gate
                planned_at = 0.0 if pool.planned_at is None else pool.planned_at
                # A drain goes on in a freeze; it may have ended since the pool was looked at last.
                drained = planned_at <= self._drained.get(name, 0.0) + STEP
                decided = planned_at > frozen.since and not drained
                if not gate.frozen and not gate.draining:
                    raise Broken(f"{name} forgot the freeze since {frozen.since}")
                if decided and gate.frozen:
                    wrong = [one for one in pool.last_plan.commands if not isinstance(one, Serve)]
                    self._fail_if([f"{name} in a freeze: {one}" for one in wrong])

    def _check_reuse(self, resource: ResourceId, before: Promise, told: Promise) -> None:
        """One claim after the other, and only where that is declared."""
        both = f"{resource} to {before.claim} and to {told.claim}"
        if told.pool != "lasting":
            raise Broken(f"leased twice: {both}")
        ends = (before.released_at, self.story.left_at(before), before.until - 0.001)
        if all(end is None or told.bound_at < end for end in ends):
            raise Broken(f"leased at the same time: {both}")
        self.reused += 1

    def _check_resets(self) -> None:
        """What is ready after a claim was proved to be clean after that claim."""
        story, now = self.story, self.story.now()
        world = story.host.world
        for resource in story.daemon.fleet.resources():
            if resource.state is ResourceState.BOUND:
                self._last_bound[resource.id] = now
            elif resource.state is ResourceState.READY and resource.uses:
                box = part_id(resource.id, "box")
                thing = world.things.get(box)  # it may have vanished since, behind our back
                if thing is not None and thing.soil:
                    raise Broken(f"{resource.id} is ready and not clean: {thing.soil}")
                proved = world.proved.get(box)
                bound = self._last_bound.get(resource.id, 0.0)  # or so briefly that nobody saw it
                if proved is None or EPOCH + proved < bound:
                    raise Broken(f"{resource.id} is ready and was not verified")
                if [part.name for part in resource.parts] != ["box"]:
                    raise Broken(f"{resource.id} is ready with what was made for a claim")

    def _check_select(self, resource_id: ResourceId, select: str) -> None:
        resource = self.story.daemon.fleet.resource(resource_id) if select else None
        if resource is not None and not will_do(select, resource, self.story.daemon):
            raise Broken(f"{resource_id} is not what was selected: {select}")

    def _check_effects(self, log: list[Effect]) -> None:
        """Nothing is removed under a claim that was answered and has not ended."""
        if len(log) == self._seen:
            return
        effects = log[self._seen :]
        self._seen = len(log)
        promises = self.story.promises.values()
        by_resource = {one: promise for promise in promises for one in promise.resources}
        for effect in effects:
            if effect.kind not in {"destroyed", "reset"}:
                continue
            self._check_the_held(effect)
            promise = by_resource.get(resource_of(effect.part))
            if promise is None:
                continue
            at = EPOCH + effect.at
            if at < promise.bound_at:
                continue  # the end of an earlier claim
            released = promise.released_at is not None and promise.released_at <= at
            left_at = self.story.left_at(promise)
            left = left_at is not None and left_at <= at
            if not released and not left and at < promise.until - 0.001:
                raise Broken(
                    f"{effect.part} was {effect.kind} under {promise.claim} at {at}, "
                    f"which holds it until {promise.until}"
                )

    def _check_the_held(self, effect: Effect) -> None:
        """What was made ahead is not removed from one that is held, or will be."""
        held = self.story.operators.holds.get(resource_of(effect.part))
        at = EPOCH + effect.at
        if held is None or not held.whole:
            return
        if held.since < at < held.until and effect.part.endswith(".box"):
            raise Broken(f"{effect.part} was removed at {at}, and held until {held.until}")

    def _check_claims(self) -> None:
        story, now = self.story, self.story.now()
        live = {claim.id: claim for claim in story.daemon.fleet.live_claims()}
        for promise in story.promises.values():
            if promise.released_at is not None or story.left_at(promise) is not None:
                self._check_the_left(promise, live.get(promise.claim), now)
            elif now < promise.until - SLACK:
                self._check_promise(promise, live.get(promise.claim))
        for claim in live.values():
            if claim.state is ClaimState.BOUND:
                self._check_the_end(claim, now)
                self._check_the_abandoned(claim, now)
                self._check_the_process(claim, now)

    def _check_promise(self, promise: Promise, claim: Claim | None) -> None:
        """What was told, and neither released nor due yet, is still so."""
        if claim is None or claim.state is not ClaimState.BOUND:
            raise Broken(f"the answered claim {promise.claim} is gone before its time")
        if tuple(claim.resources) != promise.resources:
            raise Broken(f"{promise.claim} holds {claim.resources}, not {promise.resources}")
        if tokens_of(claim) != promise.tokens:
            raise Broken(f"the secret of {promise.claim} has changed")

    def _check_the_end(self, claim: Claim, now: float) -> None:
        if claim.expires_at is None:
            raise Broken(f"{claim.id} is bound for ever")
        late = now - ends_at(claim.expires_at, claim.terms)
        if late > LATE:
            raise Broken(f"{claim.id} is bound {late:.1f}s after its time")

    def _check_the_process(self, claim: Claim, now: float) -> None:
        """A claim outlives its process by no more than the bound, once the daemon runs."""
        story = self.story
        process = claim.binding.process if claim.binding is not None else None
        if process is None or claim.binding is None or claim.bound_at is None:
            return
        if claim.binding.to is Bind.CONNECTION and claim.bound_at >= story.up_since:
            return  # in this run it hangs on its connection; see `_check_the_left`
        ended_at = story.host.processes.ended_at.get(process)
        if ended_at is None or story.host.processes.unclear:
            return
        # What is being finished when its process ends is bound first, and ends then.
        ended = max(EPOCH + ended_at, claim.bound_at)
        since = max(ended, story.up_since, story.clear_since + LOOK_AGAIN + 0.01)
        if now - since > LATE_WITH_ITS_PROCESS:
            raise Broken(f"{claim.id} is bound {now - since:.2f}s after its process ended")

    def _check_the_left(self, promise: Promise, claim: Claim | None, now: float) -> None:
        """A claim ends with its connection; over a restart it hangs on the process."""
        story, work = self.story, promise.work
        if claim is None or claim.state is not ClaimState.BOUND or work is None:
            return
        if work.line is None or work.line.broken_at is None or claim.created_at < story.up_since:
            return
        since = max(EPOCH + work.line.broken_at, story.up_since, claim.bound_at or 0.0)
        if now - since > LATE_WITH_ITS_PROCESS:
            raise Broken(f"{claim.id} is bound {now - since:.2f}s after its connection ended")

    def _check_announcements(self) -> None:
        twice = [key for key, count in self.story.announced.items() if count > 1]
        self._fail_if([f"announced twice: {key}" for key in twice])

    def _check_the_abandoned(self, claim: Claim, now: float) -> None:
        """Somebody who hung up without a key is not left with a claim (a crash may cause one)."""
        story = self.story
        caller = story.callers.get(claim.request_id)
        if caller is None or caller.left_at is None or caller.key is not None:
            return
        if claim.id in story.promises or len(caller.lives) > 1 or claim.answered:
            return
        if max(caller.lives) == story.life and now - caller.left_at > 15.0:
            raise Broken(f"{claim.id} was bound for a caller who had left")

    def _check_sizes(self) -> None:
        """What the ledger knows bounds what exists: the rest of that is orphans of crashes."""
        occupied = Counter(resource.pool for resource in self.story.daemon.fleet.resources())
        for pool, count in occupied.items():
            if count > self.story.most.get(pool, 0):
                raise Broken(f"{pool} has {count} resources, more than ever allowed")

    def _forget_the_old(self) -> None:
        """Keeps the promises that still say something about the present."""
        horizon = self.story.now() - FORGET_AFTER
        promises = self.story.promises
        for claim in [id_ for id_, told in promises.items() if told.until < horizon]:
            del promises[claim]

    def _fail_if(self, problems: list[str]) -> None:
        if problems:
            raise Broken("; ".join(problems))
