"""What policies make of a request: defaults, caps and what they force. Pure.

Several policies may shape one claim. The shortest ttl wins; two that want different values for
anything else cannot both be right, which is an error and denies.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ..config.json_types import Json
from ..config.policies.rules import NO_SHAPE, PolicySpec, Shape
from ..config.units import format_duration
from .decision import Failed, Mutation
from .facts import Action, Facts, Shaped

AnyJson = TypeVar("AnyJson", bound=Json)


@dataclass(frozen=True, slots=True)
class _Given(Generic[AnyJson]):
    """Where a shape holds its labels, or its parameters."""

    what: str
    defaults: Callable[[Shape], Mapping[str, AnyJson]]
    forced: Callable[[Shape], Mapping[str, AnyJson]]


_PARAMS: _Given[Json] = _Given("params", lambda it: it.default_params, lambda it: it.forced_params)
_LABELS: _Given[str] = _Given("labels", lambda it: it.default_labels, lambda it: it.forced_labels)


@dataclass(slots=True)
class Shaping:
    """The request as it becomes, with what changed and what cannot be settled."""

    shaped: Shaped
    mutations: list[Mutation] = field(default_factory=list[Mutation])
    failed: list[Failed] = field(default_factory=list[Failed])


def as_asked(facts: Facts) -> Shaped:
    """The request before any policy."""
    request, pool = facts.request, facts.pool
    ttl = pool.ttl if request.ttl is None else request.ttl
    return Shaped(ttl, request.params, request.labels, pool.cost_centre)


def shape(facts: Facts, policies: Iterable[PolicySpec]) -> Shaping:
    """`policies` apply to the claim, in the order of their names."""
    shaping = Shaping(as_asked(facts))
    some = [it for it in policies if it.shape is not NO_SHAPE or it.limits.max_ttl is not None]
    if not some:
        return shaping
    asked = shaping.shaped
    shaping.shaped = Shaped(
        _ttl(facts, some, shaping),
        _merged(asked.params, _PARAMS, some, shaping),
        _merged(asked.labels, _LABELS, some, shaping),
        _centre(asked.cost_centre, some, shaping),
    )
    return shaping


def _ttl(facts: Facts, policies: list[PolicySpec], shaping: Shaping) -> float:
    asked = facts.request.ttl
    ttl = shaping.shaped.ttl
    by = ""
    if asked is None and facts.request.action is Action.CLAIM:  # a renewal has its own width
        defaults = [(it.shape.default_ttl, it.name) for it in policies if it.shape.default_ttl]
        if defaults:
            ttl, by = min(defaults)
    caps = [(it.shape.max_ttl, it.name) for it in policies if it.shape.max_ttl]
    if asked is None:  # nobody is refused for a ttl that a default gave
        caps += [(it.limits.max_ttl, it.name) for it in policies if it.limits.max_ttl]
    if caps and min(caps)[0] < ttl:
        ttl, by = min(caps)
    if by and ttl != shaping.shaped.ttl:
        before = None if asked is None else format_duration(asked)
        shaping.mutations.append(Mutation("ttl", before, format_duration(ttl), by))
    return ttl


def _merged(
    asked: Mapping[str, AnyJson],
    given: _Given[AnyJson],
    policies: list[PolicySpec],
    shaping: Shaping,
) -> Mapping[str, AnyJson]:
    """Defaults below what was asked, what is forced above it."""
    forced = _wanted(f"forced.{given.what}", given.forced, policies, shaping)
    defaults = _wanted(f"defaults.{given.what}", given.defaults, policies, shaping)
    changed = {
        name: found
        for name, found in {**defaults, **forced}.items()
        if name in forced or name not in asked
    }
    if not changed:
        return asked
    result = dict(asked)
    for name, (value, policy) in sorted(changed.items()):
        before = asked.get(name)
        if before != value or name not in asked:
            shaping.mutations.append(Mutation(f"{given.what}.{name}", before, value, policy))
        result[name] = value
    return result


def _wanted(
    where: str,
    values: Callable[[Shape], Mapping[str, AnyJson]],
    policies: list[PolicySpec],
    shaping: Shaping,
) -> dict[str, tuple[AnyJson, str]]:
    """Name to the value that policies want for it, and the first that does."""
    found: dict[str, tuple[AnyJson, str]] = {}
    for policy in policies:
        for name, value in values(policy.shape).items():
            before = found.setdefault(name, (value, policy.name))
            if before[0] != value or type(before[0]) is not type(value):
                said = f"the policies {before[1]} and {policy.name} want different values for it"
                shaping.failed.append(Failed(policy.name, f"{where}.{name}", said))
    return found


def _centre(asked: str, policies: list[PolicySpec], shaping: Shaping) -> str:
    found = ""
    by = ""
    for policy in policies:
        wanted = policy.shape.cost_centre
        if not wanted:
            continue
        if found and wanted != found:
            said = f"the policies {by} and {policy.name} want different ones"
            shaping.failed.append(Failed(policy.name, "forced.costCentre", said))
        elif not found:
            found, by = wanted, policy.name
    if not found:
        return asked
    if found != asked:
        shaping.mutations.append(Mutation("costCentre", asked or None, found, by))
    return found
