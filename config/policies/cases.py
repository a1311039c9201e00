"""One `PolicyTest` document to its cases, each with all of its facts. Pure."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from ..documents import Document
from ..fields import Manifest
from ..problems import Problem
from ..revision import PoolSpec
from ..spelling import suggestion
from .manifests import Given, GivenCost, GivenPool, PolicyTest
from .rules import Case


def compile_cases(
    document: Document, manifest: PolicyTest, pools: Mapping[str, PoolSpec], *, complete: bool
) -> tuple[list[Case], list[Problem]]:
    """The cases, and what is wrong with them. Facts of a pool that exists are filled in."""
    cases: list[Case] = []
    problems: list[Problem] = list(_doubles(document, manifest))
    for index, case in enumerate(manifest.spec.cases):
        at = ("spec", "cases", index)
        given = _over(manifest.spec.given, case.given)
        name = given.pool.name
        if name is None:
            message = "nothing says which pool the case is about"
            remedy = "write given: {pool: {name: …}}, here or for all cases"
            problems.append(document.problem(at, message, remedy))
            continue
        pool = pools.get(name)
        if pool is None and complete:
            own = case.given.pool.name is not None
            path = (*at, "given", "pool", "name") if own else ("spec", "given", "pool", "name")
            message = f"there is no pool '{name}'"
            problems.append(document.problem(path, message, suggestion(name, pools)))
        if pool is not None:
            given = given.model_copy(update={"pool": _filled(given.pool, pool)})
        now = datetime.fromisoformat(given.now)
        cases.append(Case(manifest.metadata.name, case.name, given, now, case.expect, document, at))
    return cases, problems


def _over(base: Given, own: Given) -> Given:
    """The facts of the case over those of the document: fact by fact, lists and maps as a whole."""
    changed: dict[str, object] = {}
    for section in own.model_fields_set:
        mine, yours = getattr(own, section), getattr(base, section)
        if isinstance(mine, Manifest) and isinstance(yours, Manifest):
            written = {name: getattr(mine, name) for name in mine.model_fields_set}
            changed[section] = yours.model_copy(update=written)
        else:
            changed[section] = mine
    return base.model_copy(update=changed)


def _filled(given: GivenPool, pool: PoolSpec) -> GivenPool:
    cost = pool.blueprint.cost
    known: dict[str, object] = {
        "labels": dict(pool.labels),
        "blueprint": pool.blueprint.name,
        "cost": GivenCost.model_construct(per_hour=cost.per_hour, centre=cost.centre),
    }
    missing = {name: it for name, it in known.items() if name not in given.model_fields_set}
    return given.model_copy(update=missing)


def _doubles(document: Document, manifest: PolicyTest) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, case in enumerate(manifest.spec.cases):
        before = seen.setdefault(case.name, index)
        if before != index:
            line = document.place(("spec", "cases", before, "name")).line
            yield document.problem(
                ("spec", "cases", index, "name"),
                f"there is another case of this name in line {line}",
                "give one of them another name",
            )
