"""What is wrong or odd with a policy, given the pools that exist. Pure; called once all pools are known."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice

from ..cel.nodes import Binary, Call, Literal, Node, chain_of, children
from ..conditions import Condition
from ..documents import Document, Path
from ..json_types import Json
from ..parameters import ParameterProblems
from ..problems import Problem, Severity
from ..revision import PoolSpec
from ..spelling import nearest, suggestion
from .rules import PolicySpec

MAX_WARNINGS = 20
"""Of one policy."""

Told = tuple[Path, str, str]
"""Where, what is wrong, and the remedy."""


def against_pools(
    document: Document, policy: PolicySpec, pools: Mapping[str, PoolSpec]
) -> Iterator[Problem]:
    """Errors and warnings, in the order of the document."""
    yield from _globs(document, policy, pools)
    covered = [pool for name, pool in pools.items() if policy.covers(name)]
    for at, message, remedy in _unfit_parameters(policy, covered):
        problem = document.problem(at, message, remedy)
        # A `when` may leave out the pools where it does not fit.
        yield problem if policy.when is None else _warning(problem)
    odd = chain(_unknown_limits(policy, covered), _missing(policy, covered))
    for at, message, remedy in islice(odd, MAX_WARNINGS):
        yield _warning(document.problem(at, message, remedy))


def _warning(problem: Problem) -> Problem:
    return replace(problem, severity=Severity.WARNING)


def _globs(
    document: Document, policy: PolicySpec, pools: Mapping[str, PoolSpec]
) -> Iterator[Problem]:
    for index, glob in enumerate(policy.pools):
        one = replace(policy, pools=(glob,))
        if any(one.covers(name) for name in pools):
            continue
        at: Path = ("spec", "pools", index)
        if set(glob) & set("*?"):
            message = f"no pool matches '{glob}'"
            near = nearest(glob.strip("*?"), pools)
            yield _warning(
                document.problem(at, message, (near and f"did you mean '{near}'?") or "")
            )
        else:
            yield document.problem(at, f"there is no pool '{glob}'", suggestion(glob, pools))


def _unfit_parameters(policy: PolicySpec, covered: Iterable[PoolSpec]) -> Iterator[Told]:
    """Parameters that the policy gives and a pool does not take: claims on it could never succeed."""
    kept = list(covered)
    for key, given in (
        ("defaults", policy.shape.default_params),
        ("forced", policy.shape.forced_params),
    ):
        for name, value in given.items():
            for pool in kept:
                wrong = _wrong_with(pool, name, value)
                if wrong is not None:
                    message, remedy = wrong
                    yield (
                        ("spec", key, "params", name),
                        f"the pool '{pool.name}': {message}",
                        remedy,
                    )
                    break


def _wrong_with(pool: PoolSpec, name: str, value: Json) -> tuple[str, str] | None:
    try:
        pool.blueprint.parameters.typed({name: value})
    except ParameterProblems as found:
        return found.problems[0].message, found.problems[0].remedy
    return None


def _unknown_limits(policy: PolicySpec, covered: Iterable[PoolSpec]) -> Iterator[Told]:
    """Limits on parameters that no pool has, so that they never hold."""
    known = {name for pool in covered for name in pool.blueprint.parameters.shapes()}
    if not known:
        return
    for name in sorted(policy.limits.params.keys() - known):
        message = f"none of these pools has a parameter '{name}'"
        yield ("spec", "limits", "params", name), message, suggestion(name, known)


def _missing(policy: PolicySpec, covered: Iterable[PoolSpec]) -> Iterator[Told]:
    """What is read and is not there for every pool or every caller: an error, and so a no to all."""
    kept = list(covered)
    scope = set[tuple[str, ...]]() if policy.when is None else _asked_for(policy.when.node)
    for what, at, condition in _conditions(policy):
        asked = _asked_for(condition.node) | scope
        for read in sorted(condition.references):
            if len(read) < 3 or read[:3] in asked:
                continue
            remedy = f"ask before: has({'.'.join(read[:3])}) && …"
            kind, lacking = _lacking(read, kept)
            if lacking is not None:
                message = (
                    f"the pool '{lacking}' has no {kind} '{read[2]}', so that {what} ends in an"
                    " error there, which denies every claim"
                )
                yield at, message, remedy
            elif _may_lack(policy, read):
                message = (
                    f"{what} ends in an error for whoever has no '{'.'.join(read[:3])}', which denies"
                    " every claim of theirs"
                )
                yield at, message, remedy


def _conditions(policy: PolicySpec) -> Iterator[tuple[str, Path, Condition]]:
    """Those of which an error denies."""
    if policy.when is not None:
        yield "it", ("spec", "when"), policy.when
    for index, rule in enumerate(policy.rules):
        yield "the rule", ("spec", "rules", index, "when"), rule.when


def _may_lack(policy: PolicySpec, read: tuple[str, ...]) -> bool:
    """What a caller brings, or does not: what a token says, and labels that no policy here adds."""
    if read[:2] == ("request", "labels"):
        return read[2] not in policy.shape.default_labels.keys() | policy.shape.forced_labels.keys()
    return read[:2] == ("caller", "token")


def _lacking(read: tuple[str, ...], pools: list[PoolSpec]) -> tuple[str, str | None]:
    if read[:2] == ("pool", "labels"):
        return "label", next((it.name for it in pools if read[2] not in it.labels), None)
    if read[:2] == ("request", "params"):
        lacking = (it.name for it in pools if read[2] not in it.blueprint.parameters.shapes())
        return "parameter", next(lacking, None)
    return "", None


def _asked_for(node: Node) -> set[tuple[str, ...]]:
    """The chains that the expression asks for with has() or in before it may read them."""
    found: set[tuple[str, ...]] = set()
    waiting = [node]
    while waiting:
        one = waiting.pop()
        match one:
            case Call(function="has", target=None, arguments=(member, *_)):
                found.add(chain_of(member))
            case Binary(operator="in", left=Literal(value=str() as name), right=right):
                found.add((*chain_of(right), name))
            case _:
                pass
        waiting += children(one)
    return found
