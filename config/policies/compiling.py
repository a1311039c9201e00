"""One `Policy` document, compiled and checked by itself. `covered_pools` checks it against the pools."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..cel.functions import compiled_pattern
from ..cel.values import Fault
from ..conditions import Condition, ExpressionError, compile_condition
from ..documents import Document, Path
from ..problems import Problem
from ..shapes import Environment
from ..units import format_duration
from . import manifests
from .facts import APPROVALS, CLAIMS
from .rules import (
    NO_LIMITS,
    NO_SHAPE,
    Approvals,
    BreakGlass,
    Canary,
    ClaimRate,
    Effect,
    Limits,
    Mode,
    PolicySpec,
    Reason,
    Rule,
    Shape,
)

_WINDOWS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def conditions_in(manifest: manifests.Policy) -> int:
    """How many expressions compiling it takes."""
    return len(manifest.spec.rules) + 4


def compile_policy(
    document: Document, manifest: manifests.Policy
) -> tuple[PolicySpec | None, list[Problem]]:
    """The compiled policy, or None and what is wrong with it."""
    compiler = _Compiler(document, manifest.spec)
    policy = compiler.compile(manifest.metadata.name)
    return (None, compiler.problems) if compiler.problems else (policy, [])


@dataclass(slots=True)
class _Compiler:
    document: Document
    spec: manifests.PolicySpec
    problems: list[Problem] = field(default_factory=list[Problem])

    def compile(self, name: str) -> PolicySpec | None:
        spec = self.spec
        rules = tuple(self._rules())
        when = self._condition(spec.when, ("spec", "when"))
        canary, reason, approvals = self._canary(), self._reason(), self._approvals()
        self._contradictions()
        limits, shape = _limits(spec.limits), _shape(spec)
        return PolicySpec(
            name=name,
            pools=tuple(spec.pools),
            mode=Mode(spec.mode),
            rules=rules,
            when=when,
            canary=canary,
            limits=limits if limits != NO_LIMITS else NO_LIMITS,
            shape=shape if shape != NO_SHAPE else NO_SHAPE,
            reason=reason,
            approvals=approvals,
        )

    def _say(self, at: Path, message: str, remedy: str, *, key: bool = False) -> None:
        self.problems.append(self.document.problem(at, message, remedy, key=key))

    def _condition(
        self, source: str | None, at: Path, environment: Environment = CLAIMS
    ) -> Condition | None:
        if source is None:
            return None
        try:
            return compile_condition(source, environment)
        except ExpressionError as error:
            self.problems.append(
                self.document.problem(at, error.message, error.remedy, offset=error.offset)
            )
            return None

    def _rules(self) -> Iterator[Rule]:
        seen: dict[str, int] = {}
        for index, rule in enumerate(self.spec.rules):
            at: Path = ("spec", "rules", index)
            before = seen.setdefault(rule.name, index)
            if before != index:
                line = self.document.place(("spec", "rules", before, "name")).line
                message = f"there is another rule '{rule.name}' in line {line}"
                self._say((*at, "name"), message, "give one of them another name")
            when = self._condition(rule.when, (*at, "when"))
            if rule.effect == "approve" and self.spec.approvals is None:
                message = f"the rule '{rule.name}' asks for an approval, and nobody may approve"
                remedy = "write spec.approvals: {approvers: …}"
                self._say((*at, "effect"), message, remedy)
            if when is not None:
                yield Rule(rule.name, Effect(rule.effect), when, rule.message)

    def _canary(self) -> Canary | None:
        canary = self.spec.canary
        if (canary is not None) != (self.spec.mode == "canary"):
            if canary is None:
                remedy = "write canary: {share: 10%}"
                self._say(("spec", "mode"), "nothing says for whom the canary is", remedy)
            else:
                message = f"a canary means nothing in the mode {self.spec.mode}"
                self._say(("spec", "canary"), message, "write mode: canary", key=True)
        if canary is None:
            return None
        return Canary(canary.share, self._condition(canary.when, ("spec", "canary", "when")))

    def _reason(self) -> Reason | None:
        reason = self.spec.reason
        if reason is None:
            return None
        try:
            pattern = compiled_pattern(reason.pattern)
        except Fault as fault:
            self._say(("spec", "reason", "pattern"), fault.message, fault.remedy)
            return None
        return Reason(reason.pattern, pattern, reason.message)

    def _approvals(self) -> Approvals | None:
        given = self.spec.approvals
        if given is None:
            return None
        at: Path = ("spec", "approvals")
        approvers = self._condition(given.approvers, (*at, "approvers"), APPROVALS)
        glass = given.break_glass
        when = None if glass is None else self._condition(glass.when, (*at, "breakGlass", "when"))
        if approvers is None:
            return None
        broken = None if glass is None or when is None else BreakGlass(when, glass.follow_up)
        return Approvals(approvers, given.quorum, given.deadline, broken, tuple(given.webhooks))

    def _contradictions(self) -> None:
        spec = self.spec
        default, cap, limit = spec.defaults.ttl, spec.caps.ttl, spec.limits.max_ttl
        for shorter, longer, at, other in (
            (default, cap, ("spec", "defaults", "ttl"), "caps.ttl"),
            (default, limit, ("spec", "defaults", "ttl"), "limits.maxTtl"),
            (cap, limit, ("spec", "caps", "ttl"), "limits.maxTtl"),
        ):
            if shorter is not None and longer is not None and shorter > longer:
                message = (
                    f"{format_duration(shorter)} is longer than {other} ({format_duration(longer)})"
                )
                self._say(at, message, f"shorten it or lengthen {other}")
        for what in ("labels", "params"):
            forced = getattr(spec.forced, what)
            for name in sorted(forced.keys() & getattr(spec.defaults, what).keys()):
                message = f"'{name}' is forced too, so that the default never holds"
                self._say(("spec", "defaults", what, name), message, "remove one of them", key=True)
        for name, value in spec.forced.params.items():
            allowed = spec.limits.params.get(name)
            if allowed is not None and value not in allowed:
                message = f"limits.params does not allow the value that '{name}' is forced to"
                self._say(("spec", "forced", "params", name), message, "add it there")


def _limits(limits: manifests.Limits) -> Limits:
    rate = None
    if limits.rate_per_caller is not None:
        claims, _, unit = limits.rate_per_caller.partition("/")
        rate = ClaimRate(int(claims), _WINDOWS[unit])
    return Limits(
        max_ttl=limits.max_ttl,
        max_active_per_caller=limits.max_active_per_caller,
        max_active_per_group=dict(limits.max_active_per_group),
        max_active_per_label=dict(limits.max_active_per_label),
        spend_per_day=limits.spend_per_day,
        rate_per_caller=rate,
        params={name: tuple(values) for name, values in limits.params.items()},
    )


def _shape(spec: manifests.PolicySpec) -> Shape:
    return Shape(
        default_ttl=spec.defaults.ttl,
        default_labels=dict(spec.defaults.labels),
        default_params=dict(spec.defaults.params),
        max_ttl=spec.caps.ttl,
        forced_labels=dict(spec.forced.labels),
        forced_params=dict(spec.forced.params),
        cost_centre=spec.forced.cost_centre or "",
    )
