"""What must hold at every moment of a simulated story, and at its end."""

from stoker.pools.claim import ClaimState
from stoker.pools.ids import resource_of
from stoker.pools.lifecycle import LEAVING
from tests.fakes.world import Effect
from tests.rig import EPOCH
from tests.simulation.story import Promise, Story

FORGET_AFTER = 60.0
"""Seconds after its end for which a promise is still looked at."""
SLACK = 2.0
"""Seconds that an ending may take to begin when its time has come and the daemon is up."""


class Broken(AssertionError):
    """An invariant does not hold."""


class Watcher:
    """Checks the story. `look` is called at every step, `settle` once, after the calm."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self._seen = 0
        self._answered = 0
        self._holder: dict[str, str] = {}
        self._by_key: dict[bytes, tuple[str, object]] = {}
        self._promises: dict[str, Promise] = {}

    def look(self) -> None:
        story = self.story
        if story.run is None:
            return
        self._check_answers()
        self._check_effects(story.host.world.log[self._seen :])
        self._seen = len(story.host.world.log)
        if story._up.is_set():
            self._fail_if(story.run.breaches())
            self._check_promises()
            self._check_sizes()
            self._check_the_abandoned()

    def settle(self) -> None:
        """Everything is calm: the declared state is reached and nothing is forgotten."""
        story = self.story
        self.look()
        fleet = story.run.fleet
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
            if any(status.counts[state] for state in LEAVING):
                raise Broken(f"{status.name} still removes: {status.counts}")

    def _check_answers(self) -> None:
        answers = self.story.answers[self._answered :]
        self._answered = len(self.story.answers)
        for told in answers:
            holder = self._holder.setdefault(told.resource, told.claim)
            if holder != told.claim:
                raise Broken(f"leased twice: {told.resource} to {holder} and to {told.claim}")
            if told.key is None:
                continue
            first = self._by_key.setdefault(told.key, (told.claim, told.token))
            if first != (told.claim, told.token):
                raise Broken(f"a retry of {first[0]} was answered with {told.claim}")

    def _check_effects(self, effects: list[Effect]) -> None:
        """Nothing is removed under a claim that was answered and has not ended."""
        if not effects:
            return
        by_resource = {promise.resource: promise for promise in self._open()}
        for effect in effects:
            if effect.kind != "destroyed":
                continue
            promise = by_resource.get(resource_of(effect.part))
            if promise is None:
                continue
            at = EPOCH + effect.at
            released = promise.released_at is not None and promise.released_at <= at
            if not released and at < promise.expires_at - 0.001:
                raise Broken(
                    f"{effect.part} was removed under {promise.claim} at {at}, "
                    f"which holds it until {promise.expires_at}"
                )

    def _check_promises(self) -> None:
        story, now = self.story, self.story.now()
        live = {claim.id: claim for claim in story.run.fleet.live_claims()}
        for promise in self._open():
            claim = live.get(promise.claim)
            if promise.released_at is not None:
                continue
            if now < promise.expires_at - SLACK:
                if claim is None or claim.state is not ClaimState.BOUND:
                    raise Broken(f"the answered claim {promise.claim} is gone before its time")
                if claim.resources != [promise.resource]:
                    raise Broken(f"{promise.claim} holds {claim.resources}, not {promise.resource}")
                if claim.secrets["token"] != promise.token:
                    raise Broken(f"the secret of {promise.claim} has changed")
        for claim in live.values():
            if claim.state is ClaimState.BOUND and claim.expires_at < now - 20.0:
                raise Broken(f"{claim.id} is bound {now - claim.expires_at:.1f}s after its expiry")

    def _check_sizes(self) -> None:
        for status in self.story.run.fleet.pools():
            most = self.story.most.get(status.name, 0)
            occupied = sum(status.counts.values())
            if occupied > most:
                raise Broken(f"{status.name} has {occupied} resources, more than ever allowed")
        things: dict[str, set[str]] = {}
        for thing in self.story.host.world.things.values():
            things.setdefault(thing.pool, set()).add(resource_of(thing.part))
        for pool, resources in things.items():
            known = {r.id for r in self.story.run.fleet.resources() if r.pool == pool}
            orphans = len(resources - known)
            if len(resources) - orphans > self.story.most.get(pool, 0):
                raise Broken(f"{pool} has {len(resources)} things in the world")

    def _check_the_abandoned(self) -> None:
        """Somebody who hung up without a key is not left with a claim (a crash may cause one)."""
        story, now = self.story, self.story.now()
        for claim in story.run.fleet.live_claims():
            caller = story.callers.get(claim.request_id)
            if caller is None or caller.left_at is None or caller.key is not None:
                continue
            if claim.id in story.promises or len(caller.lives) > 1 or claim.answered:
                continue
            if max(caller.lives) == story.life and claim.state is ClaimState.BOUND:
                if now - caller.left_at > 15.0:
                    raise Broken(f"{claim.id} was bound for a caller who had left")

    def _open(self) -> list[Promise]:
        """The promises that still say something about the present."""
        horizon = self.story.now() - FORGET_AFTER
        self._promises.update(self.story.promises)
        over = [claim for claim, told in self._promises.items() if told.expires_at < horizon]
        for claim in over:
            del self._promises[claim]
            del self.story.promises[claim]
        return list(self._promises.values())

    def _fail_if(self, problems: list[str]) -> None:
        if problems:
            raise Broken("; ".join(problems))
