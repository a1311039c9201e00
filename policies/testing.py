"""Runs the cases of PolicyTest documents: what each gave, and which rules they leave untried.

`checked` makes the failures problems of the revision, so that one whose policy tests fail is refused;
`stoker policy test` prints the same. Pure.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..config.loading import LoadResult
from ..config.policies.manifests import Expect
from ..config.policies.rules import Case
from ..config.problems import Problem, sort
from ..config.revision import PoolSpec, Revision
from ..config.units import format_duration
from .decide import decide
from .decision import Decision
from .explaining import Value, values_of
from .facts import Action, CallerFacts, Facts, PoolFacts, RequestFacts, UsageFacts
from .index import PolicyIndex, index_of
from .limits import as_given


@dataclass(frozen=True, slots=True)
class Ran:
    """One case, and what is wrong with its outcome."""

    case: Case
    decision: Decision
    wrong: tuple[tuple[str, str], ...]
    """Key of `expect` and a sentence; empty when the case passed."""


@dataclass(frozen=True, slots=True)
class Untried:
    """A rule that the cases do not try from both sides."""

    policy: str
    rule: str
    never_true: bool
    never_false: bool


@dataclass(frozen=True, slots=True)
class Report:
    ran: tuple[Ran, ...]
    untried: tuple[Untried, ...]
    rules: int
    """All that are declared."""

    @property
    def failed(self) -> tuple[Ran, ...]:
        return tuple(one for one in self.ran if one.wrong)


def run_cases(revision: Revision) -> Report:
    """Every case of the revision against its policies, and what the cases leave untried."""
    index = index_of(revision.policies.values(), revision.pools)
    ran: list[Ran] = []
    seen: set[tuple[str, str, Value]] = set()
    for case in revision.policy_tests:
        facts = _facts_in(case, revision)
        one = _run(index, case, facts)
        ran.append(one)
        seen.update(values_of(index.of(facts.pool.name), facts, one.decision))
    return Report(tuple(ran), tuple(_untried(index, seen)), _count(index))


def _run(index: PolicyIndex, case: Case, facts: Facts) -> Ran:
    decision = decide(index.of(facts.pool.name), facts, counted=as_given(facts))
    return Ran(case, decision, tuple(_wrong(case, decision)))


def _facts_in(case: Case, revision: Revision) -> Facts:
    return facts_of(case, revision.pools.get(case.given.pool.name or ""))


def facts_of(case: Case, pool: PoolSpec | None) -> Facts:
    """The facts of a case; what it leaves out of the pool is that of the real one."""
    given = case.given
    return Facts(
        CallerFacts(
            uid=given.caller.uid,
            gid=given.caller.gid,
            user=given.caller.user,
            groups=tuple(given.caller.groups),
            pid=given.caller.pid,
            exe=given.caller.exe,
            unit=given.caller.unit,
            host=given.caller.host,
            token=given.caller.token,
            operator=given.caller.operator,
        ),
        RequestFacts(
            action=Action(given.request.action),
            params=given.request.params,
            ttl=given.request.ttl,
            count=given.request.count,
            reason=given.request.reason,
            labels=given.request.labels,
            bind=given.request.bind,
            break_glass=given.request.break_glass,
        ),
        PoolFacts(
            name=given.pool.name or "",
            labels=given.pool.labels,
            ready=given.pool.ready,
            size=given.pool.size,
            blueprint=given.pool.blueprint,
            cost_per_hour=given.pool.cost.per_hour,
            cost_centre=given.pool.cost.centre,
            ttl=pool.lifetime.ttl if pool is not None else 1800.0,
            param_defaults=pool.blueprint.parameters.defaults if pool is not None else {},
        ),
        case.now,
        UsageFacts(
            active=given.usage.active,
            active_in_pool=given.usage.active_in_pool,
            active_of_group=given.usage.active_of_group,
            active_of_label=given.usage.active_of_label,
            claims_last_hour=given.usage.claims_last_hour,
            spend_today=given.usage.spend_today,
        ),
    )


def _wrong(case: Case, decision: Decision) -> Iterator[tuple[str, str]]:
    expect = case.expect
    if decision.failed and not expect.error:
        first = decision.failed[0]
        yield "verdict", f"{first.policy}/{first.rule} ends in an error: {first.error}"
        return
    if expect.error and not decision.failed:
        yield "error", "no rule ends in an error"
    if decision.verdict != expect.verdict:
        yield "verdict", f"expected {expect.verdict}, got {decision.verdict}: {decision.message}"
        return
    yield from _wrong_details(expect, decision)


def _wrong_details(expect: Expect, decision: Decision) -> Iterator[tuple[str, str]]:
    """What is not as expected beside the verdict."""
    shadow = decision.shadow.verdict if decision.shadow is not None else decision.verdict
    for key, wanted, got in (
        ("policy", expect.policy, decision.policy),
        ("rule", expect.rule, decision.rule),
        ("shadow", expect.shadow, shadow.value),
    ):
        if wanted is not None and wanted != got:
            yield key, f"expected the {key} {wanted}, got {got or 'none'}"
    if expect.ttl is not None and abs(expect.ttl - decision.ttl) > 1e-6:
        wanted, got = format_duration(expect.ttl), format_duration(decision.ttl)
        yield "ttl", f"expected a ttl of {wanted}, got {got}"
    made = {change.path: change.after for change in decision.mutations}
    if expect.mutations is not None and made != expect.mutations:
        shown = ", ".join(f"{path}: {value}" for path, value in made.items()) or "none"
        yield "mutations", f"got other mutations: {shown}"


def _untried(index: PolicyIndex, seen: set[tuple[str, str, Value]]) -> Iterator[Untried]:
    for policy in index.policies:
        for rule in policy.rules:
            key = (policy.name, rule.name)
            never_true = (*key, Value.TRUE) not in seen
            never_false = (*key, Value.FALSE) not in seen and rule.when.source != "true"
            if never_true or never_false:
                yield Untried(*key, never_true, never_false)


def _count(index: PolicyIndex) -> int:
    return sum(len(policy.rules) for policy in index.policies)


def checked(result: LoadResult) -> LoadResult:
    """The same, or no revision where policy tests fail, with a problem for each failure."""
    revision = result.revision
    if revision is None or not revision.policy_tests:
        return result
    index = index_of(revision.policies.values(), revision.pools)
    ran = (_run(index, case, _facts_in(case, revision)) for case in revision.policy_tests)
    failures = [_problem(one) for one in ran if one.wrong]
    if not failures:
        return result
    return replace(result, revision=None, problems=sort([*result.problems, *failures]))


def _problem(ran: Ran) -> Problem:
    key, sentence = ran.wrong[0]
    case = ran.case
    at = (*case.at, "expect", key)
    message = f"the case '{case.name}' fails: {sentence.rstrip('.')}"
    return case.document.problem(at, message, "mend the policy or the case")
