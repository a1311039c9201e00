"""What is different between two revisions, for logs, events and `stoker plan`. Pure."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from .revision import Courtesy, PoolSpec, ProviderSpec, Revision, RolloutSpec
from .units import format_duration, format_rate


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One setting of a pool, as a person writes it."""

    path: str
    """`size.min`, `lifetime.ttl`, `blueprint`, `labels.team`."""
    before: str
    """Empty when it was not set."""
    after: str


@dataclass(frozen=True, slots=True)
class Changes:
    """From one revision to the next; all names are sorted."""

    added: tuple[str, ...]
    """Pools that are new."""
    removed: tuple[str, ...]
    """Pools that are gone."""
    changed: Mapping[str, tuple[FieldChange, ...]]
    """Pools of both whose settings differ, with what differs."""
    outdated: tuple[str, ...]
    """Pools of both whose resources are made in another way now."""
    providers: tuple[str, ...]
    """Providers that are new, gone or different."""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.outdated or self.providers)

    def sentences(self) -> tuple[str, ...]:
        """One for each thing that changes."""
        return tuple(self._told())

    def _told(self) -> Iterator[str]:
        for name in self.added:
            yield f"the pool {name} is new"
        for name in self.removed:
            yield f"the pool {name} is removed"
        for name, fields in self.changed.items():
            said = ", ".join(_change(field) for field in fields)
            yield f"the pool {name} changes {said}"
        for name in self.outdated:
            yield f"the resources of the pool {name} are outdated: they are made in another way now"
        for name in self.providers:
            yield f"the provider {name} changes"


def changes(before: Revision | None, after: Revision) -> Changes:
    """What `after` changes; against None everything is new."""
    old: Mapping[str, PoolSpec] = before.pools if before is not None else {}
    both = sorted(old.keys() & after.pools.keys())
    changed = {name: _fields(old[name], after.pools[name]) for name in both}
    known: Mapping[str, ProviderSpec] = before.providers if before is not None else {}
    providers = sorted(
        name
        for name in known.keys() | after.providers.keys()
        if before is not None and known.get(name) != after.providers.get(name)
    )
    return Changes(
        added=tuple(sorted(after.pools.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - after.pools.keys())),
        changed={name: fields for name, fields in changed.items() if fields},
        outdated=tuple(
            name
            for name in both
            if old[name].blueprint.digest != after.pools[name].blueprint.digest
        ),
        providers=tuple(providers),
    )


def _change(field: FieldChange) -> str:
    if not field.before:
        return f"{field.path} (now {field.after})"
    if not field.after:
        return f"{field.path} (was {field.before})"
    return f"{field.path} from {field.before} to {field.after}"


def _fields(before: PoolSpec, after: PoolSpec) -> tuple[FieldChange, ...]:
    old, new = _settings(before), _settings(after)
    return tuple(
        FieldChange(path, old.get(path, ""), new.get(path, ""))
        for path in sorted(old.keys() | new.keys())
        if old.get(path, "") != new.get(path, "")
    )


def _settings(pool: PoolSpec) -> dict[str, str]:
    """The settings of a pool by their path in the manifest."""
    lifetime, backfill, queue = pool.lifetime, pool.backfill, pool.queue
    courtesy = lifetime.courtesy or Courtesy()
    blueprint, reset = pool.blueprint, pool.blueprint.reset
    return {
        "blueprint": blueprint.name,
        "blueprint.cost.perHour": f"{blueprint.cost.per_hour:g}",
        "blueprint.cost.centre": blueprint.cost.centre,
        "blueprint.finishWithin": format_duration(blueprint.finish_within),
        "blueprint.reset.parts": "" if reset is None else _names(part.name for part in reset.parts),
        "blueprint.reset.verify": "" if reset is None else json.dumps(reset.verify.canonical),
        "blueprint.reset.maxUses": "" if reset is None else str(reset.max_uses),
        "blueprint.reset.within": "" if reset is None else format_duration(reset.within),
        "size.min": str(pool.size.min),
        "size.max": str(pool.size.max),
        "lifetime.ttl": format_duration(lifetime.ttl),
        "lifetime.maxTtl": format_duration(lifetime.max_ttl),
        "lifetime.maxAge": "" if lifetime.max_age is None else format_duration(lifetime.max_age),
        "lifetime.notice": "" if courtesy.notice is None else format_duration(courtesy.notice),
        "lifetime.grace": format_duration(courtesy.grace) if courtesy.grace else "",
        "backfill.rate": format_rate(backfill.rate),
        "backfill.burst": str(backfill.burst),
        "backfill.concurrency": str(backfill.concurrency),
        "queue.max": str(queue.max),
        "queue.wait": format_duration(queue.wait),
        **{
            f"queue.priorities.{rule.name}": f"{rule.priority} when {rule.when.source}"
            for rule in queue.priorities
        },
        **_rollout(pool.rollout),
        "paused": "true" if pool.paused_at else "",
        **{f"labels.{key}": value for key, value in pool.labels.items()},
    }


def _rollout(rollout: RolloutSpec) -> dict[str, str]:
    return {
        "rollout.maxUnavailable": str(rollout.max_unavailable),
        "rollout.maxSurge": str(rollout.max_surge),
        "rollout.floor": "" if rollout.floor is None else str(rollout.floor),
        "rollout.canary": str(rollout.canary),
        "rollout.settle": format_duration(rollout.settle),
        "rollout.progressDeadline": format_duration(rollout.progress_deadline),
        "rollout.windows": "; ".join(str(window) for window in rollout.windows),
    }


def _names(parts: Iterable[str]) -> str:
    return ", ".join(parts) or "none"
