"""What policies decided about a claim, as it is kept with the claim. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from ..config.json_types import Json, JsonObject
from .resource import nothing


@dataclass(frozen=True, slots=True)
class Decided:
    """Of one claim on one pool."""

    policy: str
    rule: str
    """The rule that allows it."""
    ttl: float
    labels: JsonObject = field(default_factory=nothing)
    """All that the claim has."""
    params: JsonObject = field(default_factory=nothing)
    """Those that policies gave or forced."""
    cost_centre: str = ""
    mutations: tuple[JsonObject, ...] = ()
    """`{path, before, after, policy}` of everything that policies changed; without secrets."""
    shadow: JsonObject | None = None
    """What would be if the policies that do not enforce did: `{verdict, policy, rule, differs}`."""
    revision: str = ""
    """Whose policies decided."""


def decided_to_json(decided: Decided) -> JsonObject:
    """What is no default."""
    found: dict[str, Json] = {
        "policy": decided.policy,
        "rule": decided.rule,
        "ttl": decided.ttl,
        "revision": decided.revision,
    }
    if decided.labels:
        found["labels"] = dict(decided.labels)
    if decided.params:
        found["params"] = dict(decided.params)
    if decided.cost_centre:
        found["costCentre"] = decided.cost_centre
    if decided.mutations:
        found["mutations"] = [dict(one) for one in decided.mutations]
    if decided.shadow is not None:
        found["shadow"] = dict(decided.shadow)
    return found


def decided_from_json(found: JsonObject) -> Decided:
    """The inverse. Raises KeyError, TypeError or ValueError for what is none."""
    shadow, ttl, mutations = found.get("shadow"), found["ttl"], found.get("mutations")
    if not isinstance(ttl, int | float):
        raise TypeError("the ttl of a decision is a number")
    return Decided(
        policy=str(found["policy"]),
        rule=str(found["rule"]),
        ttl=float(ttl),
        labels=_object(found.get("labels")),
        params=_object(found.get("params")),
        cost_centre=str(found.get("costCentre", "")),
        mutations=tuple(map(_object, mutations)) if isinstance(mutations, list) else (),
        shadow=None if shadow is None else _object(shadow),
        revision=str(found["revision"]),
    )


def _object(found: Json) -> JsonObject:
    return cast("Mapping[str, Json]", found) if isinstance(found, dict) else nothing()
