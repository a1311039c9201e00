"""The `reset` of a Blueprint, checked and compiled: what makes it safe to use a resource again.

A part that is brought back is as it was made, so whatever reads it must be brought back too: it
would go on with what is gone. And what a claimant was told in secret must not be what the next one
is told. Called by `blueprints`, for which this is one step.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from .catalogue import Catalogue, ValueType
from .documents import Document, Path
from .json_types import Json
from .manifests import BlueprintSpec, Part, Reset
from .problems import Problem
from .revision import OutputPlan, PartPlan, ProviderSpec, ResetPlan
from .shapes import Environment
from .spelling import suggestion
from .templates import Template, TemplateError, compile_template, expression_paths

_AT: Path = ("spec", "reset")
_VERIFY_TYPES: Mapping[Path, ValueType] = {("http",): ValueType.STRING}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a reset is checked against."""

    document: Document
    spec: BlueprintSpec
    needs: Mapping[str, frozenset[str]]
    """Part to the parts that it reads or names in `dependsOn`."""
    outputs: Iterable[OutputPlan]
    environment: Environment
    """For the check."""
    catalogue: Catalogue
    providers: Mapping[str, ProviderSpec]

    def problem(self, at: Path, message: str, remedy: str) -> Problem:
        return self.document.problem((*_AT, *at), message, remedy)


def compile_reset(
    reset: Reset, prepare: Iterable[PartPlan], around: Surroundings
) -> tuple[ResetPlan | None, list[Problem]]:
    """The compiled reset, or None and what is wrong with it.

    `prepare` are the compiled parts in creation order, as far as they compile.
    """
    known = {part.name: part for part in around.spec.prepare}
    problems = list(_names(reset, known, around))
    named = [name for name in reset.parts if name in known]
    problems += _readers(named, around)
    in_place = frozenset(name for name in named if _resets(known[name], around))
    problems += _told_secrets(frozenset(named) - in_place, known, around)
    verify, wrong = _verify(reset, around)
    problems += wrong
    if problems or verify is None:
        return None, problems
    parts = tuple(plan for plan in prepare if plan.name in named)
    return ResetPlan(parts, in_place, verify, reset.max_uses, reset.within), []


def _names(reset: Reset, known: Mapping[str, Part], around: Surroundings) -> Iterator[Problem]:
    finish = {part.name for part in around.spec.finish}
    for index, name in enumerate(reset.parts):
        at: Path = ("parts", index)
        if name in reset.parts[:index]:
            yield around.problem(at, f"the part '{name[:80]}' is named twice", "remove one of them")
        elif name in known:
            continue
        elif name in finish:
            message = f"the part '{name}' is made for one claim, and removed with it in any case"
            yield around.problem(at, message, "name parts of prepare alone")
        else:
            message = f"there is no part '{name[:80]}'"
            yield around.problem(at, message, suggestion(name, known))


def _readers(named: list[str], around: Surroundings) -> Iterator[Problem]:
    """Complains of each part that reads one that is brought back, and stays itself."""
    brought_back = set(named)
    prepare = [part.name for part in around.spec.prepare]
    found = True
    while found:  # what reads a reader is told of too, so that one run tells of all
        found = False
        for name in prepare:
            read = sorted(around.needs.get(name, frozenset()) & brought_back)
            if name in brought_back or not read:
                continue
            brought_back.add(name)
            found = True
            index = named.index(read[0]) if read[0] in named else 0
            yield around.problem(
                ("parts", index),
                f"the part '{name}' reads '{read[0]}', and would go on with what is gone",
                f"name '{name}' too",
            )


def _resets(part: Part, around: Surroundings) -> bool:
    """Whether its driver resets the part in place."""
    facts = around.catalogue.get(part.driver)
    if facts is None or facts.reset_setting is None:
        return False
    provider = around.providers.get(part.provider or part.driver)
    general = None if provider is None else provider.settings.get(facts.reset_setting)
    return part.with_.get(facts.reset_setting, general) is True


def _told_secrets(
    anew: frozenset[str], known: Mapping[str, Part], around: Surroundings
) -> Iterator[Problem]:
    """Complains of outputs with a secret that the next claimant would be told again."""
    secrets: dict[str, set[str]] = {}
    for name in known.keys() - anew:
        facts = around.catalogue.get(known[name].driver)
        secrets[name] = {it for it, of in facts.outputs.items() if of.secret} if facts else set()
    for output in around.outputs:
        told = sorted(
            f"parts.{name}.{secret}"
            for chain in output.value.references
            if chain[0] == "parts"
            for name in (chain[1:2] or secrets)
            for secret in secrets.get(name, ())
            if secret in (chain[2:3] or (secret,))
        )
        if told:
            part = told[0].split(".")[1]
            yield around.document.problem(
                ("spec", "outputs", output.name),
                f"every claimant would be told the same secret {told[0]}, which the reset keeps",
                f"move '{part}' to finish, or name it in reset.parts",
            )


def _verify(reset: Reset, around: Surroundings) -> tuple[Template | None, list[Problem]]:
    value: dict[str, Json] = reset.verify.model_dump(mode="json", exclude_none=True)
    finish = {part.name for part in around.spec.finish}
    problems: list[Problem] = []
    for path in sorted(expression_paths(value), key=str):
        with suppress(TemplateError):
            read = compile_template(_at(value, path), around.environment).references
            gone = sorted(
                finish & {chain[1] for chain in read if chain[0] == "parts" and chain[1:]}
            )
            problems += [
                around.problem(
                    ("verify", *path),
                    f"the part '{name}' is removed before this is asked",
                    "read parts of prepare alone",
                )
                for name in gone
            ]
    try:
        return compile_template(value, around.environment, _VERIFY_TYPES), problems
    except TemplateError as error:
        return None, problems + [
            around.document.problem(
                (*_AT, "verify", *wrong.path), wrong.message, wrong.remedy, offset=wrong.offset
            )
            for wrong in error.problems
        ]


def _at(value: Json, path: Path) -> Json:
    for step in path:
        value = cast("dict[str | int, Json]", value)[step]
    return value
