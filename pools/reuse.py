"""May a released resource serve another claim? Pure: asked at the release, and again at the end.

The reasons against it stand in order, the certain ones first. Whatever speaks against it has one
consequence: the resource is removed, as one that serves a single claim always is.
"""

from dataclasses import dataclass

from ..config.revision import Blueprint, PoolSpec
from .plan import REPLACE_FROM
from .resource import Half, Health, Resource


@dataclass(frozen=True, slots=True)
class Demand:
    """What the pool has and wants, the resource in question left out."""

    ready: int
    """Claimable and up to date."""
    resetting: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the pool's operators and its configuration say."""

    emptied_because: str = ""
    """Why the pool empties itself, when it does."""
    up_to_date: bool = True
    """Whether the resource is what would be made now."""


def why_not(
    resource: Resource, spec: PoolSpec, demand: Demand | None, now: float, pool: Circumstances
) -> str:
    """Why the resource is not used again, in words to follow "because"; empty when it may be.

    `demand` is None once the reset is done: whether it is too much then, planning decides.
    """
    if spec.blueprint.reset is None:
        return "its blueprint declares no reset"
    if pool.emptied_because:
        return pool.emptied_because
    why = _no_longer_fit(resource, spec, now, pool)
    if why:
        return why
    secret = _told_secret(resource, spec.blueprint)
    if secret:
        return f"the claimant was told the secret {secret}, which a reset keeps"
    if demand is not None and demand.ready + demand.resetting >= spec.size.min + demand.waiting:
        return f"{demand.ready} are ready and {spec.size.min} are wanted"
    return ""


def _no_longer_fit(resource: Resource, spec: PoolSpec, now: float, pool: Circumstances) -> str:
    reset, age = spec.blueprint.reset, spec.lifetime.max_age
    assert reset is not None
    if resource.hold is not None:
        return "it is to be kept for inspection"
    if resource.digest != spec.blueprint.digest:
        return "the blueprint has changed"
    if not pool.up_to_date:
        return "it is from before a refresh"
    if resource.health is Health.DRIFTED:
        return "it has drifted"
    if resource.uses >= reset.max_uses:
        return f"it has served {resource.uses} of {reset.max_uses} claims"
    if age is not None and (resource.ready_at or resource.created_at) + age * REPLACE_FROM <= now:
        return "it is near its greatest age"
    return ""


def _told_secret(resource: Resource, blueprint: Blueprint) -> str:
    """A secret that outputs tell and the reset keeps; empty when there is none.

    Most are found when the configuration is read. What a program returns is known only now.
    """
    reset = blueprint.reset
    assert reset is not None
    anew = {plan.name for plan in reset.parts} - reset.in_place
    for output in blueprint.outputs:
        for chain in output.value.references:
            if chain[0] != "parts":
                continue
            for part in resource.parts:
                if (
                    part.half is Half.FINISH
                    or part.name in anew
                    or part.name not in (chain[1:2] or (part.name,))
                ):
                    continue
                for secret in part.secrets:
                    if secret in (chain[2:3] or (secret,)):
                        return f"parts.{part.name}.{secret}"
    return ""
