"""What a blueprint makes ahead of demand and what at a claim, in which order, why, and how long it takes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ...config.json_types import Json
from ...config.revision import Blueprint, PartPlan
from ...config.templates import Template
from ...config.units import format_duration
from ..part_times import Measured
from .shape import Explanation
from .words import be, listed, plural, span

CLAIM = frozenset({"params", "claim"})
"""The roots that exist at a claim alone."""


@dataclass(frozen=True, slots=True)
class BlueprintFacts:
    blueprint: Blueprint
    pools: tuple[str, ...] = ()
    """Those that are made from it."""
    pure: frozenset[str] = frozenset()
    """Drivers whose parts exist in the ledger alone."""
    times: Mapping[str, Measured] = field(default_factory=dict[str, Measured])
    """By part, as far as any was made since the daemon started."""
    whole: Measured | None = None
    """Of all of `prepare`, with the writing."""


def explain_blueprint(facts: BlueprintFacts) -> Explanation:
    blueprint = facts.blueprint
    why = (
        *_at_claim(facts),
        *_parameters(blueprint),
        *_order(facts, blueprint.prepare, "Ahead of demand", facts.whole),
        *_order(facts, blueprint.finish, "At a claim", None),
        *_outputs(blueprint),
        *_reset(blueprint),
    )
    return Explanation(
        subject=f"blueprint/{blueprint.name}",
        summary=_summary(facts),
        facts=_numbers(facts),
        why=why,
    )


def _summary(facts: BlueprintFacts) -> str:
    one = facts.blueprint
    ahead, late = plural(len(one.prepare), "part"), plural(len(one.finish), "part")
    return (
        f"{one.name} makes {ahead} ahead of demand and {late} at a claim; it is used by the "
        f"{'pool' if len(facts.pools) == 1 else 'pools'} {listed(facts.pools) or 'of nobody'}."
    )


# What a claim waits for


def _at_claim(facts: BlueprintFacts) -> Iterator[str]:
    finish = facts.blueprint.finish
    outside = [part.name for part in finish if part.driver not in facts.pure]
    if not finish:
        yield "A claim that finds one ready waits for nothing but the writing of the claim itself."
    elif not outside:
        names = listed([part.name for part in finish])
        yield (
            f"A claim that finds one ready waits for no provider: what is made for it ({names}) is pure, "
            "made in memory and written with the claim itself."
        )
    else:
        known = [facts.times[name].total for name in outside if name in facts.times]
        took = f", {span(sum(known))} by the medians" if len(known) == len(outside) else ""
        yield (
            f"A claim that finds one ready waits for {listed(outside)}{took}, within "
            f"{span(facts.blueprint.finish_within)} (finishWithin)."
        )


# Who uses which parameter


def uses(blueprint: Blueprint) -> dict[str, list[str]]:
    """For each parameter, the finish parts and outputs that read it."""
    found: dict[str, list[str]] = {name: [] for name in blueprint.parameters.schemas}
    readers: list[tuple[str, frozenset[tuple[str, ...]]]] = [
        *((f"the part {part.name}", _reads(part)) for part in blueprint.finish),
        *((f"the output {one.name}", one.value.references) for one in blueprint.outputs),
    ]
    for reader, chains in readers:
        for name in _read_of("params", chains, found):
            found[name].append(reader)
    return found


def _parameters(blueprint: Blueprint) -> Iterator[str]:
    for name, readers in uses(blueprint).items():
        secret = " (secret)" if name in blueprint.parameters.secret_names else ""
        if readers:
            yield f"The parameter {name}{secret} is used by {listed(readers)}."
        else:
            yield f"The parameter {name}{secret} is used by nothing."


def _read_of(root: str, chains: Iterable[tuple[str, ...]], known: Iterable[str]) -> Sequence[str]:
    """Which members of a root are read; all of the known ones where the root itself is."""
    names = sorted(known)
    read: set[str] = set()
    for chain in chains:
        if chain[0] == root:
            read.update(names if len(chain) == 1 else [chain[1]])
    return [name for name in names if name in read]


def _reads(part: PartPlan) -> frozenset[tuple[str, ...]]:
    templates: list[Template] = [part.settings]
    if part.ready is not None:
        templates.append(part.ready)
    return frozenset[tuple[str, ...]]().union(*(one.references for one in templates))


# What becomes of one that was released


def _reset(blueprint: Blueprint) -> Iterator[str]:
    reset = blueprint.reset
    if reset is None:
        yield "A released resource is removed: it serves one claim."
        return
    names = listed([part.name for part in reset.parts], most=8) or "nothing else"
    yield (
        f"A released resource serves again, up to {plural(reset.max_uses, 'claim')}, if within "
        f"{span(reset.within)} what was made at its claim is gone, {names} {be(len(reset.parts) or 1)} brought back and "
        "reset.verify passes; otherwise it is removed."
    )


# In which order, and why


def _order(
    facts: BlueprintFacts, parts: tuple[PartPlan, ...], when: str, whole: Measured | None
) -> Iterator[str]:
    if not parts:
        return
    took = ""
    if whole is not None:
        took = f", which takes {span(whole.total)} in all ({_samples(whole)})"
    names = listed([part.name for part in parts], most=len(parts))
    order = ", one after the other" if len(parts) > 1 else ""
    yield f"{when} it makes {names}{order}{took}."
    for part in parts:
        yield f"{part.name} ({part.driver}) {_because(part)}; {_cost(facts, part)}."


def _because(part: PartPlan) -> str:
    """Whom it reads, which makes the order, and what of the claim."""
    chains = sorted(_reads(part))
    parts = [chain[1:] for chain in chains if chain[:1] == ("parts",) and len(chain) > 1]
    read = [".".join(chain) for chain in parts]
    read += [".".join(chain) for chain in chains if chain and chain[0] in CLAIM]
    said = f"reads {listed(read, most=8)}" if read else "reads no other part"
    before = sorted(part.needs - {chain[0] for chain in parts})
    return said + (f" and comes after {listed(before)} (dependsOn)" if before else "")


def _cost(facts: BlueprintFacts, part: PartPlan) -> str:
    if part.driver in facts.pure:
        return "it is pure: nothing outside the ledger is made"
    time = facts.times.get(part.name)
    if time is None:
        return "none was made since the daemon started, so its time is not known"
    split = [f"{span(time.called)} in the driver"]
    if part.ready is not None:
        split.append(f"{span(time.checked)} until its check passed")
    return f"it takes {span(time.total)}, of that {listed(split)} ({_samples(time)})"


def _samples(time: Measured) -> str:
    if time.samples == 1:
        return "one sample"
    return f"median of {time.samples} samples, the slowest {span(time.slowest)}"


def _outputs(blueprint: Blueprint) -> Iterator[str]:
    early = [one.name for one in blueprint.outputs if one.early]
    late = [one.name for one in blueprint.outputs if not one.early]
    secret = [one.name for one in blueprint.outputs if one.secret]
    if early:
        what, reads = ("output", "reads") if len(early) == 1 else ("outputs", "read")
        yield f"The {what} {listed(early)} {reads} nothing of the claim."
    if late:
        what = "output" if len(late) == 1 else "outputs"
        yield f"The {what} {listed(late)} {be(len(late))} made for each claim."
    if secret:
        yield f"{listed(secret)} {be(len(secret))} secret: shown to the claimant and root alone."


def _numbers(facts: BlueprintFacts) -> dict[str, Json]:
    blueprint = facts.blueprint
    schemas = blueprint.parameters.schemas
    parameters: dict[str, Json] = {}
    for name, readers in uses(blueprint).items():
        schema = schemas[name]
        shown: dict[str, Json] = {
            "usedBy": [*(reader.removeprefix("the ") for reader in readers)],
            "required": isinstance(schema, dict) and "default" not in schema,
            "secret": name in blueprint.parameters.secret_names,
        }
        parameters[name] = shown
    return {
        "digest": blueprint.digest,
        "pools": [*facts.pools],
        "parameters": parameters,
        "prepare": [_numbers_of(facts, part) for part in blueprint.prepare],
        "finish": [_numbers_of(facts, part) for part in blueprint.finish],
        "outputs": [
            {"name": one.name, "secret": one.secret, "early": one.early}
            for one in blueprint.outputs
        ],
        **({} if facts.whole is None else {"prepareTakes": _time(facts.whole)}),
    }


def _numbers_of(facts: BlueprintFacts, part: PartPlan) -> dict[str, Json]:
    found: dict[str, Json] = {
        "name": part.name,
        "driver": part.driver,
        "provider": part.provider,
        "pure": part.driver in facts.pure,
        "needs": [*sorted(part.needs)],
    }
    time = facts.times.get(part.name)
    if time is not None:
        found["takes"] = _time(time)
    return found


def _time(time: Measured) -> dict[str, Json]:
    return {
        "median": format_duration(round(time.total, 6)),
        "slowest": format_duration(round(time.slowest, 6)),
        "driver": format_duration(round(time.called, 6)),
        "check": format_duration(round(time.checked, 6)),
        "samples": time.samples,
        "made": time.made,
    }
