"""Which policies and rules a claim on a pool has to do with: found once per revision, not per claim.

A rule that can only be true for some users, groups or units is filed under those, so that a
decision does not evaluate it for others. Pure and immutable; `index_of` is called when a revision
is applied.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ..config.conditions import Condition, Guard
from ..config.policies.rules import NO_LIMITS, NO_SHAPE, Mode, PolicySpec, Rule
from .facts import PARTS, CallerFacts

Key = tuple[str, str | int]
"""A fact of the caller and a value."""

_SINGLE: dict[tuple[str, ...], str] = {
    ("caller", "user"): "user",
    ("caller", "uid"): "uid",
    ("caller", "unit"): "unit",
    ("caller", "gid"): "gid",
    ("caller", "exe"): "exe",
    ("caller", "host"): "host",
}
_GROUPS = ("caller", "groups")
_NAMES = (("pool", "name"), ("request", "pool"))


@dataclass(frozen=True, slots=True)
class Entry:
    """One rule. Entries go in the order of their policies' and their own names."""

    position: int
    policy: PolicySpec
    rule: Rule


@dataclass(frozen=True, slots=True)
class PoolPolicies:
    """All that is declared about one pool."""

    policies: tuple[PolicySpec, ...]
    """By name."""
    general: tuple[PolicySpec, ...]
    """Those that do more than judge by rules: they limit, shape, or ask for a reason."""
    anywhere: tuple[Entry, ...]
    """Rules that may be true for anybody."""
    filed: Mapping[Key, tuple[Entry, ...]]
    """Rules that may be true only for callers with this fact."""
    reads: frozenset[str] = frozenset()
    """Those of `facts.PARTS` that any of its conditions reads."""
    built_in: bool = False
    """Nothing is enforced anywhere, so that only root and the daemon's own user may claim."""

    def candidates(self, caller: CallerFacts) -> list[Entry]:
        """The rules that may be true for this caller, in order."""
        if not self.filed:
            return list(self.anywhere)
        found = {entry.position: entry for entry in self.anywhere}
        if caller.unknown:  # under which of them they are filed, nobody knows
            for entries in self.filed.values():
                found.update((entry.position, entry) for entry in entries)
            return [found[position] for position in sorted(found)]
        for key in _keys_of(caller):
            for entry in self.filed.get(key, ()):
                found[entry.position] = entry
        return [found[position] for position in sorted(found)]


def _keys_of(caller: CallerFacts) -> Iterator[Key]:
    yield "user", caller.user
    yield "uid", caller.uid
    yield "unit", caller.unit
    yield "gid", caller.gid
    yield "exe", caller.exe
    yield "host", caller.host
    for group in caller.groups:
        yield "groups", group


@dataclass(frozen=True, slots=True)
class PolicyIndex:
    """All policies of a revision, by pool."""

    policies: tuple[PolicySpec, ...]
    built_in: bool
    _pools: Mapping[str, PoolPolicies] = field(repr=False)

    def of(self, pool: str) -> PoolPolicies:
        found = self._pools.get(pool)
        return found if found is not None else _about(pool, self.policies, built_in=self.built_in)


def index_of(policies: Iterable[PolicySpec], pools: Iterable[str]) -> PolicyIndex:
    """`pools` are the names of those that are declared."""
    ordered = tuple(sorted(policies, key=lambda it: it.name))
    built_in = all(policy.mode is not Mode.ENFORCE for policy in ordered)
    return PolicyIndex(
        ordered, built_in, {name: _about(name, ordered, built_in=built_in) for name in pools}
    )


def _about(pool: str, policies: tuple[PolicySpec, ...], *, built_in: bool) -> PoolPolicies:
    covering = tuple(policy for policy in policies if policy.covers(pool))
    anywhere: list[Entry] = []
    filed: dict[Key, list[Entry]] = {}
    rules = (
        (policy, rule)
        for policy in covering
        for rule in sorted(policy.rules, key=lambda it: it.name)
    )
    for position, (policy, rule) in enumerate(rules):
        guards = (*_guards(policy.when), *rule.when.guards)
        if _never_here(guards, pool):
            continue
        entry = Entry(position, policy, rule)
        keys = _keys(guards)
        if keys is None:
            anywhere.append(entry)
        for key in keys or ():
            filed.setdefault(key, []).append(entry)
    return PoolPolicies(
        policies=covering,
        general=tuple(policy for policy in covering if _is_general(policy)),
        anywhere=tuple(anywhere),
        filed={key: tuple(entries) for key, entries in filed.items()},
        reads=frozenset(name for it in _conditions(covering) for name in it.names) & PARTS.keys(),
        built_in=built_in,
    )


def _conditions(policies: Iterable[PolicySpec]) -> Iterator[Condition]:
    """All that `decide` evaluates."""
    for policy in policies:
        if policy.when is not None:
            yield policy.when
        if policy.canary is not None and policy.canary.when is not None:
            yield policy.canary.when
        for rule in policy.rules:
            yield rule.when
        if policy.approvals is not None and policy.approvals.break_glass is not None:
            yield policy.approvals.break_glass.when


def _is_general(policy: PolicySpec) -> bool:
    return (
        policy.limits is not NO_LIMITS or policy.shape is not NO_SHAPE or policy.reason is not None
    )


def _guards(when: Condition | None) -> tuple[Guard, ...]:
    return () if when is None else when.guards


def _never_here(guards: Iterable[Guard], pool: str) -> bool:
    return any(
        guard.fact in _NAMES and not guard.holds and pool not in guard.values for guard in guards
    )


def _keys(guards: Iterable[Guard]) -> list[Key] | None:
    """Under which facts of the caller a rule is filed: those of its narrowest guard."""
    found: list[list[Key]] = []
    for guard in guards:
        name = _SINGLE.get(guard.fact) if not guard.holds else None
        if guard.fact == _GROUPS and guard.holds:
            name = "groups"
        if name is not None:
            found.append([(name, value) for value in guard.values])
    return min(found, key=len) if found else None
