"""Whether rollouts keep to their budget, at the very moment at which something goes or is begun."""

from collections import Counter
from fractions import Fraction
from math import ceil, floor
from random import Random

from stoker.config.revision import PoolSpec, RolloutSpec, Size
from stoker.config.shares import Share
from stoker.config.windows import Window, opening
from stoker.pools.lifecycle import ResourceState
from stoker.pools.plan import REPLACE_FROM
from stoker.pools.pool import Pool
from stoker.pools.resource import Resource
from stoker.pools.rollout import Stage
from tests.pools.faults import replace_method
from tests.rig import Run

_QUARTER, _ALL, _NONE, _ONE, _TWO = (
    Share(25, percent=True), Share(100, percent=True), Share(0), Share(1), Share(2),
)  # fmt: skip


def draw_rollout(draw: Random, size: Size, night: Window) -> RolloutSpec:
    """Settings that can work: what is checked when a configuration is read."""
    surge = draw.choice([_QUARTER, _ONE, _TWO])
    fewer, least = draw.choice([_QUARTER, _NONE, _ONE, _ALL]), draw.choice([None, None, size.min])
    if size.max <= size.min or draw.random() < 0.2:
        surge = draw.choice([_NONE, surge])
        fewer, least = draw.choice([_ONE, _ALL]), draw.choice([None, max(0, size.min - 1)])
    return RolloutSpec(
        max_unavailable=fewer,
        max_surge=surge,
        floor=None if least is None else Share(least),
        canary=draw.choice([0, 1, 1, 2]),
        settle=draw.choice([2.0, 10.0]),
        progress_deadline=draw.choice([20.0, 60.0]),
        windows=(night,) if draw.random() < 0.15 else (),
    )


class Rolls:
    """Of one story. `problems` says what was wrong."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.told: Counter[str] = Counter()
        """Events, by kind."""
        self.replaced = 0
        """Ready ones that went because they were outdated, and no more than wanted were ready."""

    def watch(self, run: Run) -> None:
        """From now on, before the run is opened."""
        inventory = run.services.inventory
        move, add = inventory.move, inventory.add

        def moved(resource: Resource, to: ResourceState, reason: str, now: float) -> None:
            was_claimable = resource.claimable
            move(resource, to, reason, now)
            if was_claimable and to is ResourceState.RETIRING:
                self._went(run, resource, now)

        def added(resource: Resource) -> None:
            add(resource)
            if run.fleet.pool(resource.pool) is not None:
                self._begun(run, resource)

        replace_method(inventory, "move", moved)
        replace_method(inventory, "add", added)

    def _went(self, run: Run, resource: Resource, now: float) -> None:
        if run.fleet.pool(resource.pool) is None:
            return
        pool, members = run.fleet.own(resource.pool), run.services.inventory.members(resource.pool)
        spec, age = pool.spec, pool.spec.lifetime.max_age
        expired = age is not None and now >= (resource.ready_at or 0.0) + age
        by_hand = resource.reason.startswith("retired by")
        if pool.gate.draining or expired or by_hand or members.up_to_date(resource):
            return
        left, wanted = members.ready, spec.size.min
        if left >= wanted:
            return
        self.replaced += 1
        if left < least_ready(spec):
            self.problems.append(
                f"{resource.id} was replaced and left {left} ready, fewer than the {least_ready(spec)} "
                f"that {spec.rollout} allows of {spec.size}: {resource.reason}"
            )
        if why := _stands_still(pool, now):
            self.problems.append(f"{resource.id} was replaced although the rollout {why}")

    def _begun(self, run: Run, resource: Resource) -> None:
        pool, members = run.fleet.own(resource.pool), run.services.inventory.members(resource.pool)
        spec, now = pool.spec, run.host.clock.now()
        age = spec.lifetime.max_age
        old = [
            one
            for one in members.current.values()
            if age is not None and now >= (one.ready_at or 0.0) + age * REPLACE_FROM
        ]
        there = members.ready + len(members.unverified) + len(members.coming)
        there += members.counts[ResourceState.RESETTING]
        most = spec.size.min + pool.line.wanted + len(old) + surge_of(spec)
        if there > most:
            self.problems.append(
                f"{resource.id} is begun as number {there} of {most} that {spec.rollout} allows, with "
                f"{pool.line.wanted} waiting"
            )


def least_ready(spec: PoolSpec) -> int:
    """What a rollout leaves ready, one fewer where otherwise nothing could be made."""
    rules, wanted = spec.rollout, spec.size.min
    fewer = rules.max_unavailable
    count = floor(Fraction(wanted * fewer.number, 100)) if fewer.percent else fewer.number
    count = max(count, 1) if fewer.number else 0
    return max(0 if rules.floor is None else rules.floor.number, wanted - count)


def surge_of(spec: PoolSpec) -> int:
    more = spec.rollout.max_surge
    return ceil(Fraction(spec.size.min * more.number, 100)) if more.percent else more.number


def _stands_still(pool: Pool, now: float) -> str:
    rollout = pool.rolling.rollout
    if rollout is None or pool.gate.in_force.refresh is not None:
        return ""
    if rollout.stage is Stage.PAUSED:
        return "is paused"
    return "" if opening(pool.spec.rollout.windows, now).open else "waits for its window"
