"""Why policies let a claim be: from what the audit recorded, rule by rule. Pure.

What each rule said is as it was recorded. Which part of its expression decided is found by asking it
again with the recorded facts, where the revision that decided still serves; secret parameters are no part
of these, so a rule that reads one is not asked again.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import cast

from ..config.json_types import Json, JsonObject
from ..config.policies.rules import Mode
from ..config.revision import PoolSpec
from ..policies.explaining import RuleTold, Value
from ..policies.explaining import explain as explain_decision
from ..policies.index import PoolPolicies
from ..pools.store import Event
from .decision_records import HIDDEN, facts_from_json

MOST_TOLD = 20
"""Rules in sentences; `facts` has them all."""


def record_in(events: Iterable[Event]) -> JsonObject | None:
    """How it was decided that the claim may be: the first decision among its events."""
    for event in events:
        found = event.data.get("decision")
        if isinstance(found, dict):
            return found
    return None


def rules_told(
    record: JsonObject, about: PoolPolicies | None, spec: PoolSpec | None
) -> list[JsonObject]:
    """`about`: the policies of the revision that decided; None when it no longer serves."""
    true, errors = _texts(record.get("true")), _texts(record.get("errors"))
    if about is None or spec is None:
        found: list[JsonObject] = [{"rule": name, "value": "true"} for name in true]
        for name, _, why in (text.partition(": ") for text in errors):
            found.append({"rule": name, "value": "error", "error": why})
        return found
    facts = facts_from_json(cast("JsonObject", record["facts"]), spec)
    told = explain_decision(about, facts)
    failed = {name: why for name, _, why in (text.partition(": ") for text in errors)}
    return [dict(_rule(one, true, failed)) for one in told.rules]


def _rule(told: RuleTold, true: list[str], failed: Mapping[str, str]) -> dict[str, Json]:
    name = f"{told.policy}/{told.rule}"
    value = told.value
    if told.mode is Mode.ENFORCE:  # what was recorded goes before what is found again
        if name in true:
            value = Value.TRUE
        elif name in failed:
            value = Value.ERROR
        elif value in {Value.TRUE, Value.ERROR}:
            value = Value.FALSE
    found: dict[str, Json] = {
        "rule": name,
        "effect": told.effect.value,
        "mode": told.mode.value,
        "value": value.value,
    }
    if name in failed:
        found["error"] = failed[name]
    if value is told.value and not any(
        HIDDEN in map(str, part.read.values()) for part in told.parts
    ):
        found["because"] = [
            {"part": part.text, "outcome": part.outcome, "read": dict(part.read)}
            for part in told.parts
        ]
    return found


def sentences(record: JsonObject, rules: list[JsonObject]) -> Iterator[str]:
    by = f"the rule {record.get('rule')} of the policy {record.get('policy')}"
    took = record.get("seconds")
    took = f", in {took * 1000:.2f}ms" if isinstance(took, int | float) else ""
    did = "made to wait for an approval" if record.get("verdict") == "approve" else "let through"
    yield f"It was {did} by {by} (revision {record.get('revision')}{took})."
    for change in _objects(record.get("mutations")):
        before = change.get("before")
        said = "was not said" if before is None else f"was {before}"
        yield (
            f"The policy {change.get('policy')} made {change.get('path')} {change.get('after')};"
            f" it {said}."
        )
    for one in rules[:MOST_TOLD]:
        yield _sentence(one)
    if len(rules) > MOST_TOLD:
        yield f"There are {len(rules) - MOST_TOLD} more rules; -o json shows them all."
    shadow = record.get("shadow")
    if isinstance(shadow, dict) and shadow.get("differs"):
        by = f"{shadow.get('policy')}/{shadow.get('rule')}" if shadow.get("policy") else "no rule"
        yield f"If all policies were enforced, the answer would be {shadow.get('verdict')} by {by}."
        if shadow.get("verdict") == "allow":
            yield from _other_shape(record, shadow)


def _other_shape(record: JsonObject, shadow: Mapping[str, Json]) -> Iterator[str]:
    """What the claimant would get that is not what it got."""
    if shadow.get("ttl") != record.get("ttl"):
        yield f"It would then get a ttl of {shadow.get('ttl')}, and not of {record.get('ttl')}."
    made = {(it.get("path"), str(it.get("after"))) for it in _objects(record.get("mutations"))}
    for change in _objects(shadow.get("mutations")):
        path, after = change.get("path"), str(change.get("after"))
        if path != "ttl" and (path, after) not in made:
            yield f"The policy {change.get('policy')} would make {path} {after}."


def _sentence(one: JsonObject) -> str:
    mode = one.get("mode", "enforce")
    effect = (
        f" ({one['effect']}{'' if mode == 'enforce' else f', {mode}'})" if "effect" in one else ""
    )
    because = "; ".join(
        f"{part.get('part')} is {part.get('outcome')}" for part in _objects(one.get("because"))
    )
    why = str(one.get("error", "")) or because
    value = {"elsewhere": "not about this claim"}.get(str(one["value"]), str(one["value"]))
    return f"{one['rule']}{effect}: {value}" + (f", as {why}." if why else ".")


def _texts(found: Json) -> list[str]:
    return [str(each) for each in found] if isinstance(found, list) else []


def _objects(found: Json) -> list[JsonObject]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def in_numbers(record: JsonObject, rules: list[JsonObject]) -> dict[str, Json]:
    """For programs."""
    kept = ("verdict", "policy", "rule", "ttl", "revision", "seconds", "mutations", "shadow")
    found: dict[str, Json] = {name: record[name] for name in kept if name in record}
    found["rules"] = [dict(one) for one in rules]
    found["facts"] = record.get("facts")
    return found
