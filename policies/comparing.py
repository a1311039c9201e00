"""What a change of the policies does, as far as it can be told without any claim. Pure.

For `stoker plan`. Whether a changed expression lets more or fewer claims pass depends on the claims,
so it is told as a change and no more; replaying recorded decisions says the rest.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ..config.policies.rules import ClaimRate, Effect, Limits, Mode, PolicySpec, Rule
from ..config.units import format_duration


class Direction(StrEnum):
    TIGHTENED = "tightened"
    """Some claims may be refused, shortened or held up that were not."""
    LOOSENED = "loosened"
    CHANGED = "changed"
    """It cannot be told without looking at claims."""


@dataclass(frozen=True, slots=True)
class PolicyChange:
    policy: str
    what: str
    """`rules.members-only`, `limits.maxTtl`, `mode`; empty for the policy as a whole."""
    direction: Direction
    sentence: str


def policy_changes(
    before: Mapping[str, PolicySpec], after: Mapping[str, PolicySpec]
) -> tuple[PolicyChange, ...]:
    """From the policies of one revision to those of the next, in the order of their names."""
    return tuple(_changes(before, after))


def _changes(
    before: Mapping[str, PolicySpec], after: Mapping[str, PolicySpec]
) -> Iterator[PolicyChange]:
    was, will = (_enforcing(policies.values()) for policies in (before, after))
    if will and not was:
        said = "policies are enforced now, so that only what a rule allows may be claimed"
        yield PolicyChange("", "", Direction.CHANGED, said)
    if was and not will:
        said = "no policy is enforced any more, so that root and the daemon's user alone may claim"
        yield PolicyChange("", "", Direction.CHANGED, said)
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old is None and new is not None:
            yield from _whole(new, added=True)
        elif new is None and old is not None:
            yield from _whole(old, added=False)
        elif old is not None and new is not None and old != new:
            yield from _both(old, new)


def _enforcing(policies: Iterable[PolicySpec]) -> bool:
    return any(policy.mode is Mode.ENFORCE for policy in policies)


def _whole(policy: PolicySpec, *, added: bool) -> Iterator[PolicyChange]:
    verb = "is new" if added else "is removed"
    if policy.mode is Mode.SHADOW:
        said = f"the policy {policy.name} {verb}; in shadow mode it decides nothing"
        yield PolicyChange(policy.name, "", Direction.CHANGED, said)
        return
    allows = any(rule.effect is Effect.ALLOW for rule in policy.rules)
    more = allows if added else not allows
    mixed = allows and (
        policy.limits != Limits() or any(rule.effect is not Effect.ALLOW for rule in policy.rules)
    )
    direction = Direction.LOOSENED if more else Direction.TIGHTENED
    if mixed:
        direction = Direction.CHANGED
    yield PolicyChange(policy.name, "", direction, f"the policy {policy.name} {verb}")


def _both(old: PolicySpec, new: PolicySpec) -> Iterator[PolicyChange]:
    name = new.name
    if old.mode is not new.mode:
        said = f"the policy {name} goes from {old.mode} to {new.mode}"
        yield PolicyChange(name, "mode", Direction.CHANGED, said)
    yield from _rules(old, new)
    yield from _limits(name, old.limits, new.limits)
    for what, was, will in (
        ("pools", old.pools, new.pools),
        ("when", old.when, new.when),
        ("canary", old.canary, new.canary),
        ("defaults, caps or forced", old.shape, new.shape),
        ("approvals", old.approvals, new.approvals),
    ):
        if was != will:
            said = (
                f"the policy {name} has other {what}"
                if what != "when"
                else (f"the policy {name} is about other claims")
            )
            yield PolicyChange(name, what, Direction.CHANGED, said)
    if old.reason != new.reason:
        yield _reason(name, had=old.reason is not None, has=new.reason is not None)


def _reason(name: str, *, had: bool, has: bool) -> PolicyChange:
    if had and has:
        said = f"the policy {name} asks for reasons of another form"
        return PolicyChange(name, "reason", Direction.CHANGED, said)
    if has:
        return PolicyChange(
            name, "reason", Direction.TIGHTENED, f"the policy {name} asks for a reason"
        )
    said = f"the policy {name} asks for no reason any more"
    return PolicyChange(name, "reason", Direction.LOOSENED, said)


def _rules(old: PolicySpec, new: PolicySpec) -> Iterator[PolicyChange]:
    was = {rule.name: rule for rule in old.rules}
    will = {rule.name: rule for rule in new.rules}
    for name in sorted(was.keys() | will.keys()):
        before, after = was.get(name), will.get(name)
        label = f"the {{}} rule {name} of the policy {new.name}"
        if before is None and after is not None:
            said = f"{label.format(after.effect)} is new"
            yield PolicyChange(new.name, f"rules.{name}", _weight(after, added=True), said)
        elif after is None and before is not None:
            said = f"{label.format(before.effect)} is removed"
            yield PolicyChange(new.name, f"rules.{name}", _weight(before, added=False), said)
        elif before is not None and after is not None and _differ(before, after):
            yield PolicyChange(new.name, f"rules.{name}", *_changed(before, after, new.name))


def _weight(rule: Rule, *, added: bool) -> Direction:
    """An approve rule lets pass what nothing else allows, and holds up what something else does."""
    if rule.effect is Effect.APPROVE:
        return Direction.CHANGED
    more = (rule.effect is Effect.ALLOW) is added
    return Direction.LOOSENED if more else Direction.TIGHTENED


def _differ(before: Rule, after: Rule) -> bool:
    return (before.effect, before.when) != (after.effect, after.when)


_WIDTH = {Effect.DENY: 0, Effect.APPROVE: 1, Effect.ALLOW: 2}


def _changed(before: Rule, after: Rule, policy: str) -> tuple[Direction, str]:
    label = f"the rule {after.name} of the policy {policy}"
    if before.when != after.when:
        return Direction.CHANGED, f"{label} is true for other claims: {after.when.source}"
    wider = _WIDTH[after.effect] > _WIDTH[before.effect]
    said = f"{label} goes from {before.effect} to {after.effect}"
    return Direction.LOOSENED if wider else Direction.TIGHTENED, said


def _limits(policy: str, old: Limits, new: Limits) -> Iterator[PolicyChange]:
    was, will = _numbers(old), _numbers(new)
    for what in sorted(was.keys() | will.keys()):
        before, after = was.get(what), will.get(what)
        if before == after:
            continue
        tighter = before is None or (after is not None and after[0] < before[0])
        direction = Direction.TIGHTENED if tighter else Direction.LOOSENED
        from_, to = (it[1] if it is not None else "no limit" for it in (before, after))
        said = f"the policy {policy} changes limits.{what} from {from_} to {to}"
        yield PolicyChange(policy, f"limits.{what}", direction, said)
    if old.params != new.params:
        said = f"the policy {policy} has other limits.params"
        yield PolicyChange(policy, "limits.params", Direction.CHANGED, said)


def _numbers(limits: Limits) -> dict[str, tuple[float, str]]:
    """Each limit by its name, to a number that is larger where it is wider, and how people write it."""
    found: dict[str, tuple[float, str]] = {}
    if limits.max_ttl is not None:
        found["maxTtl"] = (limits.max_ttl, format_duration(limits.max_ttl))
    plain: dict[str, float | None] = {
        "maxActivePerCaller": limits.max_active_per_caller,
        "spendPerDay": limits.spend_per_day,
        **{
            f"maxActivePerGroup.{group}": most
            for group, most in limits.max_active_per_group.items()
        },
        **{f"maxActivePerLabel.{key}": most for key, most in limits.max_active_per_label.items()},
    }
    found |= {name: (most, f"{most:g}") for name, most in plain.items() if most is not None}
    rate: ClaimRate | None = limits.rate_per_caller
    if rate is not None:
        found["ratePerCaller"] = (rate.claims / rate.window, str(rate))
    return found
