"""What is kept of a decision: with the claim, and in the audit. Pure.

The audit's record holds the facts, so that the decision can be explained and asked again under
other rules. Secret parameters and the bodies of tokens are no part of it.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import cast

from ..config.json_types import Json, JsonObject
from ..config.revision import PoolSpec
from ..config.units import format_duration, parse_duration
from ..policies.decision import Decision, Mutation, Shadow, Verdict
from ..policies.explaining import Explanation, as_json, sentences
from ..policies.facts import Action, CallerFacts, Facts, PoolFacts, RequestFacts, UsageFacts
from ..pools.decided import Decided

HIDDEN = "(secret)"
_duration = lru_cache(maxsize=1024)(format_duration)
"""Claims have few different widths."""
TOKEN_FACTS = ("iss", "sub", "aud")
"""Of a bearer token, whom it is for: not what else it says."""


def decided_from(decision: Decision, revision: str, secrets: frozenset[str]) -> Decided:
    """What the claim keeps. `secrets` are the names of secret parameters."""
    given = {
        name: decision.params[name]
        for name in (
            it.path.removeprefix("params.")
            for it in decision.mutations
            if it.path.startswith("params.")
        )
    }
    shadow = decision.shadow
    return Decided(
        policy=decision.policy,
        rule=decision.rule,
        ttl=decision.ttl,
        labels=cast("JsonObject", decision.labels),
        params=given,
        cost_centre=decision.cost_centre,
        mutations=tuple(mutations_of(decision.mutations, secrets)),
        shadow=None if shadow is None else _shadow(shadow, secrets),
        revision=revision,
    )


def mutations_of(mutations: Iterable[Mutation], secrets: frozenset[str]) -> Iterable[JsonObject]:
    for it in mutations:
        hidden = it.path.removeprefix("params.") in secrets and it.path.startswith("params.")
        before, after = (HIDDEN, HIDDEN) if hidden else (it.before, it.after)
        yield {"path": it.path, "before": before, "after": after, "policy": it.policy}


def record_of(
    decision: Decision, facts: Facts, revision: str, seconds: float, secrets: frozenset[str]
) -> JsonObject:
    """For the audit. What is empty is left out."""
    record: dict[str, Json] = {
        "verdict": decision.verdict.value,
        "policy": decision.policy,
        "rule": decision.rule,
        "ttl": _duration(decision.ttl),
        "revision": revision,
        "seconds": round(seconds, 6),
        "facts": facts_to_json(facts, secrets),
    }
    if decision.matched:
        record["true"] = [f"{it.policy}/{it.rule}" for it in decision.matched]
    if decision.failed:
        record["errors"] = [f"{it.policy}/{it.rule}: {it.error}" for it in decision.failed]
    if decision.mutations:
        record["mutations"] = [dict(it) for it in mutations_of(decision.mutations, secrets)]
    if decision.shadow is not None:
        record["shadow"] = dict(_shadow(decision.shadow, secrets))
    return record


def _shadow(shadow: Shadow, secrets: frozenset[str]) -> JsonObject:
    found: dict[str, Json] = {
        "verdict": shadow.verdict.value,
        "policy": shadow.policy,
        "rule": shadow.rule,
        "differs": shadow.differs,
    }
    if shadow.differs and shadow.verdict is not Verdict.DENY:
        found["ttl"] = _duration(shadow.ttl)
        if shadow.mutations:
            found["mutations"] = [dict(it) for it in mutations_of(shadow.mutations, secrets)]
    return found


def explanation_to_json(told: Explanation, secrets: frozenset[str]) -> dict[str, Json]:
    """What would be decided, with every rule, for whoever asks."""
    found = as_json(told)
    found["why"] = list(sentences(told))
    if secrets:
        found["mutations"] = [dict(it) for it in mutations_of(told.decision.mutations, secrets)]
        hidden = {f"request.params.{name}" for name in secrets}
        rules = found["rules"]
        assert isinstance(rules, list)
        for rule, one in zip(rules, told.rules, strict=True):
            assert isinstance(rule, dict)
            rule["because"] = [
                {
                    "part": part.text,
                    "outcome": part.outcome,
                    "read": {
                        name: HIDDEN if name in hidden or name == "request.params" else value
                        for name, value in part.read.items()
                    },
                }
                for part in one.parts
            ]
    return found


def facts_to_json(facts: Facts, secrets: frozenset[str]) -> dict[str, Json]:
    found: dict[str, Json] = {
        "caller": _caller(facts.caller),
        "request": _request(facts.request, secrets),
        "pool": _pool(facts.pool),
        "now": facts.now.isoformat(),
    }
    usage = _usage(facts.usage)
    if usage:
        found["usage"] = usage
    return found


def _caller(caller: CallerFacts) -> dict[str, Json]:
    found: dict[str, Json] = {"uid": caller.uid, "gid": caller.gid, "pid": caller.pid}
    if caller.user:
        found["user"] = caller.user
    if caller.groups:
        found["groups"] = list(caller.groups)
    if caller.exe:
        found["exe"] = caller.exe
    if caller.unit:
        found["unit"] = caller.unit
    if caller.host:
        found["host"] = caller.host
    if caller.unknown:
        found["unknown"] = list(caller.unknown)
    if caller.operator:
        found["operator"] = True
    if caller.token:
        found["token"] = {name: caller.token[name] for name in TOKEN_FACTS if name in caller.token}
    return found


def _request(request: RequestFacts, secrets: frozenset[str]) -> dict[str, Json]:
    found: dict[str, Json] = {"action": request.action.value}
    if request.params:
        found["params"] = {
            name: HIDDEN if name in secrets else value for name, value in request.params.items()
        }
    if request.ttl is not None:
        found["ttl"] = _duration(request.ttl)
    if request.count != 1:
        found["count"] = request.count
    if request.reason:
        found["reason"] = request.reason
    if request.labels:
        found["labels"] = dict(request.labels)
    if request.bind:
        found["bind"] = request.bind
    if request.break_glass:
        found["breakGlass"] = True
    if request.remaining:
        found["remaining"] = format_duration(request.remaining)
    return found


def _pool(pool: PoolFacts) -> dict[str, Json]:
    found: dict[str, Json] = {"name": pool.name, "ready": pool.ready, "size": pool.size}
    if pool.labels:
        found["labels"] = dict(pool.labels)
    return found


def _usage(usage: UsageFacts) -> dict[str, Json]:
    found: Mapping[str, Json] = {
        "active": usage.active,
        "activeInPool": usage.active_in_pool,
        "activeOfGroup": dict(usage.active_of_group),
        "claimsLastHour": usage.claims_last_hour,
        "spendToday": usage.spend_today,
    }
    return {name: value for name, value in found.items() if value}


def facts_from_json(found: JsonObject, spec: PoolSpec) -> Facts:
    """The inverse, as far as it was recorded; what else is of the pool is as `spec` says now."""
    caller, request, pool, usage = (
        _object(found.get(part)) for part in ("caller", "request", "pool", "usage")
    )
    ttl, remaining = request.get("ttl"), request.get("remaining")
    cost = spec.blueprint.cost
    return Facts(
        CallerFacts(
            uid=_whole(caller, "uid"),
            gid=_whole(caller, "gid"),
            user=_text(caller, "user"),
            groups=tuple(_texts(caller, "groups")),
            pid=_whole(caller, "pid"),
            exe=_text(caller, "exe"),
            unit=_text(caller, "unit"),
            host=_text(caller, "host"),
            token=_object(caller.get("token")),
            operator=caller.get("operator") is True,
            unknown=tuple(_texts(caller, "unknown")),
        ),
        RequestFacts(
            action=Action(_text(request, "action") or Action.CLAIM),
            params=_object(request.get("params")),
            ttl=parse_duration(ttl) if isinstance(ttl, str) else None,
            count=_whole(request, "count") or 1,
            reason=_text(request, "reason"),
            labels={name: str(value) for name, value in _object(request.get("labels")).items()},
            bind=_text(request, "bind"),
            break_glass=request.get("breakGlass") is True,
            remaining=parse_duration(remaining) if isinstance(remaining, str) else 0.0,
        ),
        PoolFacts(
            name=_text(pool, "name"),
            labels={name: str(value) for name, value in _object(pool.get("labels")).items()},
            ready=_whole(pool, "ready"),
            size=_whole(pool, "size"),
            blueprint=spec.blueprint.name,
            cost_per_hour=cost.per_hour,
            cost_centre=cost.centre,
            ttl=spec.lifetime.ttl,
            param_defaults=spec.blueprint.parameters.defaults,
        ),
        datetime.fromisoformat(_text(found, "now")),
        UsageFacts(
            active=_whole(usage, "active"),
            active_in_pool=_whole(usage, "activeInPool"),
            active_of_group={
                name: value
                for name, value in _object(usage.get("activeOfGroup")).items()
                if isinstance(value, int)
            },
            claims_last_hour=_whole(usage, "claimsLastHour"),
            spend_today=float(_number(usage, "spendToday")),
        ),
    )


def _object(found: Json) -> JsonObject:
    return found if isinstance(found, dict) else {}


def _text(found: JsonObject, name: str) -> str:
    value = found.get(name)
    return value if isinstance(value, str) else ""


def _texts(found: JsonObject, name: str) -> list[str]:
    value = found.get(name)
    return [str(each) for each in value] if isinstance(value, list) else []


def _number(found: JsonObject, name: str) -> float:
    value = found.get(name)
    return value if isinstance(value, int | float) else 0


def _whole(found: JsonObject, name: str) -> int:
    return int(_number(found, name))
