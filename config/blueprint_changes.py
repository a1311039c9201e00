"""Why the resources of a pool are outdated: what its blueprint makes in another way now. Pure."""

from collections.abc import Iterator, Mapping

from .revision import Blueprint, PartPlan
from .templates import Template

PATIENCE = frozenset({("ready", "within"), ("ready", "every")})
"""How a check is waited for makes nothing outdated."""
MOST = 5
"""So many reasons are told of one pool; the first one decides already."""


def why_outdated(before: Blueprint, after: Blueprint) -> tuple[str, ...]:
    """Short phrases, such as `the part server changes with.command`; empty when nothing is outdated."""
    if before.digest == after.digest:
        return ()
    found = list(_differences(before, after))
    if not found:
        found = ["its parameters, a provider's settings or a driver's format change"]
    more = len(found) - MOST
    return (*found[:MOST], *([f"and {more} more"] if more > 0 else []))


def _differences(before: Blueprint, after: Blueprint) -> Iterator[str]:
    old = {part.name: part for part in (*before.prepare, *before.finish)}
    new = {part.name: part for part in (*after.prepare, *after.finish)}
    yield from (f"the part {name} is new" for name in new if name not in old)
    yield from (f"the part {name} is gone" for name in old if name not in new)
    ahead, ahead_now = ({part.name for part in one.prepare} for one in (before, after))
    for name, part in new.items():
        if name in old:
            moved = (name in ahead) != (name in ahead_now)
            what = ["when it is made"] if moved else []
            what += _of_part(old[name], part)
            if what:
                yield f"the part {name} changes {', '.join(what)}"
    outputs, outputs_now = (
        {one.name: (one.value.canonical, one.secret) for one in blueprint.outputs}
        for blueprint in (before, after)
    )
    for name in sorted(outputs.keys() | outputs_now.keys()):
        if outputs.get(name) != outputs_now.get(name):
            yield f"the output {name} changes"


def _of_part(before: PartPlan, after: PartPlan) -> list[str]:
    what: list[str] = []
    if before.driver != after.driver:
        what.append(f"driver from {before.driver} to {after.driver}")
    if before.provider != after.provider:
        what.append(f"provider from {before.provider} to {after.provider}")
    what += _of_template("with", before.settings, after.settings)
    what += _of_template("ready", before.ready, after.ready)
    return what


def _of_template(name: str, before: Template | None, after: Template | None) -> list[str]:
    """The members that differ: their values may be long, or nobody's business."""
    old = None if before is None else before.canonical
    new = None if after is None else after.canonical
    if old == new:
        return []
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted(old.keys() | new.keys())
        different = [key for key in keys if old.get(key) != new.get(key)]
        return [f"{name}.{key}" for key in different if (name, key) not in PATIENCE]
    return [name]
