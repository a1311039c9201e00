"""One Blueprint document, compiled and checked against what the drivers say of themselves."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

import re2

from .catalogue import Catalogue, ValueType
from .digests import blueprint_digest
from .documents import Document, Path
from .environments import Environments, environments
from .json_types import Json
from .manifests import Blueprint as BlueprintManifest
from .manifests import Output, Part, Ready
from .mistakes import find_mistakes, wanted_types
from .ordering import cycles, in_order
from .parameters import Parameters, ParameterSchemaError
from .problems import Problem
from .resets import Surroundings, compile_reset
from .revision import Blueprint, Cost, OutputPlan, PartPlan, ProviderSpec, ResetPlan
from .shapes import Environment
from .spelling import suggestion
from .templates import Template, TemplateError, compile_template, expression_paths

_BAD_PATTERN = cast("type[Exception]", re2.error)  # pyright: ignore[reportUnknownMemberType]
_compile_pattern = cast("Callable[[str], object]", re2.compile)  # pyright: ignore[reportUnknownMemberType]


_READY_TYPES: Mapping[Path, ValueType] = {
    ("http",): ValueType.STRING,
    ("log",): ValueType.STRING,
}


def compile_blueprint(
    document: Document,
    manifest: BlueprintManifest,
    catalogue: Catalogue,
    providers: Mapping[str, ProviderSpec],
    *,
    complete: bool = True,
) -> tuple[Blueprint | None, list[Problem]]:
    """The compiled blueprint, or None and what is wrong with it.

    `complete` is False when other files could not be read: what they may define is not missed.
    """
    compiler = _Compiler(document, manifest, catalogue, providers, complete)
    blueprint = compiler.compile()
    return (None, compiler.problems) if compiler.problems else (blueprint, [])


@dataclass(frozen=True, slots=True)
class _Placed:
    """A part with where it stands."""

    part: Part
    at: Path
    finish: bool


@dataclass(slots=True)
class _Compiler:
    document: Document
    manifest: BlueprintManifest
    catalogue: Catalogue
    providers: Mapping[str, ProviderSpec]
    complete: bool
    problems: list[Problem] = field(default_factory=list[Problem])
    parts: dict[str, _Placed] = field(default_factory=dict[str, _Placed])
    needs: dict[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    plans: dict[str, PartPlan] = field(default_factory=dict[str, PartPlan])

    def compile(self) -> Blueprint | None:
        spec = self.manifest.spec
        self._take_parts()
        parameters = self._parameters()
        shapes = parameters.shapes() if parameters is not None else None
        known = environments([it.part for it in self.parts.values()], shapes, self.catalogue)
        for placed in self.parts.values():
            self._part(placed, known)
        self._check_cycles()
        secrets = parameters.secret_names if parameters is not None else frozenset[str]()
        outputs = [
            self._output(name, output, known.outputs, secrets)
            for name, output in spec.outputs.items()
        ]
        whole = [output for output in outputs if output is not None]
        reset = self._reset(known, whole)
        if self.problems or parameters is None:
            return None
        prepare, finish = self._ordered(spec.prepare), self._ordered(spec.finish)
        order = [self.parts[plan.name].part for plan in (*prepare, *finish)]
        return Blueprint(
            name=self.manifest.metadata.name,
            digest=blueprint_digest(spec, order, self.catalogue, self.providers),
            parameters=parameters,
            prepare=prepare,
            finish=finish,
            outputs=tuple(whole),
            cost=Cost(spec.cost.per_hour, spec.cost.centre),
            finish_within=spec.finish_within,
            reset=reset,
        )

    def _say(self, at: Path, message: str, remedy: str, *, key: bool = False) -> None:
        self.problems.append(self.document.problem(at, message, remedy, key=key))

    def _take_parts(self) -> None:
        spec = self.manifest.spec
        for half, parts in (("prepare", spec.prepare), ("finish", spec.finish)):
            for index, part in enumerate(parts):
                at: Path = ("spec", half, index)
                before = self.parts.get(part.name)
                if before is None:
                    self.parts[part.name] = _Placed(part, at, half == "finish")
                    continue
                line = self.document.place((*before.at, "name")).line
                message = f"there is another part '{part.name}' in line {line}"
                self._say((*at, "name"), message, "give one of them another name")

    def _parameters(self) -> Parameters | None:
        try:
            return Parameters.compile(self.manifest.spec.parameters)
        except ParameterSchemaError as error:
            self._say(("spec", "parameters", error.name), error.message, error.remedy)
            return None

    def _part(self, placed: _Placed, known: Environments) -> None:
        part = placed.part
        facts = self.catalogue.get(part.driver)
        if facts is None:
            message = f"there is no driver '{part.driver[:80]}'"
            self._say((*placed.at, "driver"), message, suggestion(part.driver, self.catalogue))
        else:
            self._provider(placed)
            self._settings(placed)
        wanted = wanted_types(facts.settings, part.with_) if facts is not None else {}
        at = (*placed.at, "with")
        environment = known.settings(part, finish=placed.finish)
        settings = self._template(part.with_, environment, at, wanted)
        needs = frozenset(self._depends_on(placed))
        needs |= self._readable(placed, part.with_, settings, environment, at)
        ready = None
        if part.ready is not None:
            at = (*placed.at, "ready")
            value = self._ready(part.ready, at)
            environment = known.ready(part, finish=placed.finish)
            ready = self._template(value, environment, at, _READY_TYPES)
            needs |= self._readable(placed, value, ready, environment, at)
        self.needs[part.name] = needs
        if settings is not None:
            provider = part.provider or part.driver
            self.plans[part.name] = PartPlan(
                part.name, part.driver, provider, settings, ready, needs
            )

    def _provider(self, placed: _Placed) -> None:
        part, name = placed.part, placed.part.provider
        if name is None:
            return
        provider = self.providers.get(name)
        if provider is None:
            if self.complete:
                fitting = [it.name for it in self.providers.values() if it.driver == part.driver]
                message = f"there is no provider '{name[:80]}'"
                self._say((*placed.at, "provider"), message, suggestion(name, fitting))
        elif provider.driver != part.driver:
            message = f"the provider '{name}' is one of the driver '{provider.driver}', not of '{part.driver}'"
            self._say((*placed.at, "provider"), message, "name another provider or driver")

    def _settings(self, placed: _Placed) -> None:
        value = placed.part.with_
        self.problems += find_mistakes(
            self.document,
            self.catalogue[placed.part.driver].settings,
            value,
            at=(*placed.at, "with"),
            rendered_later=frozenset(expression_paths(value)),
        )

    def _ready(self, ready: Ready, at: Path) -> dict[str, Json]:
        """The check as it is rendered, in seconds."""
        if ready.log is not None and not expression_paths(ready.log):
            self._pattern(ready.log, (*at, "log"))
        return ready.model_dump(mode="json", exclude_none=True)

    def _pattern(self, pattern: str, at: Path) -> None:
        try:
            _compile_pattern(pattern)
        except _BAD_PATTERN as error:
            why = str(error.args[0] if error.args else error)
            self._say(at, f"this is no pattern ({why[:100]})", "use the syntax of RE2")

    def _template(
        self, value: Json, environment: Environment, at: Path, wanted: Mapping[Path, ValueType]
    ) -> Template | None:
        try:
            return compile_template(value, environment, wanted)
        except TemplateError as error:
            for wrong in error.problems:
                self.problems.append(
                    self.document.problem(
                        (*at, *wrong.path), wrong.message, wrong.remedy, offset=wrong.offset
                    )
                )
            return None

    def _depends_on(self, placed: _Placed) -> Iterator[str]:
        for index, name in enumerate(placed.part.depends_on):
            at = (*placed.at, "dependsOn", index)
            other = self.parts.get(name)
            if other is None:
                others = [it for it in self.parts if it != placed.part.name]
                self._say(at, f"there is no part '{name[:80]}'", suggestion(name, others))
            elif other.finish and not placed.finish:
                self._say(at, *_made_later(name))
            else:
                yield name

    def _readable(
        self,
        placed: _Placed,
        value: Json,
        template: Template | None,
        environment: Environment,
        at: Path,
    ) -> frozenset[str]:
        """The parts that a value reads; complains of those it may not read."""
        if template is not None and not any(
            self._forbidden(placed, chain) for chain in template.references
        ):
            chains = template.references
        else:
            chains = frozenset[tuple[str, ...]]()
            for path, read in _reads(value, environment):
                chains |= read
                for chain in sorted(read):
                    forbidden = self._forbidden(placed, chain)
                    if forbidden is not None:
                        self._say((*at, *path), *forbidden)
        named = {chain[1] for chain in chains if chain[0] == "parts" and len(chain) > 1}
        return frozenset(
            name
            for name in named
            if name in self.parts and (placed.finish or not self.parts[name].finish)
        )

    def _forbidden(self, placed: _Placed, chain: tuple[str, ...]) -> tuple[str, str] | None:
        """Why a part may not read this, and what to do."""
        if chain[0] != "parts":
            return None
        if len(chain) == 1:
            message = "this reads 'parts' as a whole, which gives no order to make them in"
            return message, "name the part, such as parts.site.path"
        other = self.parts.get(chain[1])
        if other is not None and other.finish and not placed.finish:
            return _made_later(chain[1])
        return None

    def _check_cycles(self) -> None:
        for way in cycles(tuple(self.needs), self.needs):
            at = (*self.parts[way[0]].at, "name")
            if len(way) == 2:
                self._say(at, f"the part '{way[0]}' needs itself", "read self.… in its place")
            else:
                message = f"these parts need each other: {' → '.join(way)}"
                self._say(at, message, "remove one of these references")

    def _ordered(self, parts: Iterable[Part]) -> tuple[PartPlan, ...]:
        names = tuple(part.name for part in parts)
        ordered = in_order(names, self.needs)
        return tuple(self.plans[name] for name in ordered if name in self.plans)

    def _reset(self, known: Environments, outputs: list[OutputPlan]) -> ResetPlan | None:
        spec = self.manifest.spec
        if spec.reset is None:
            return None
        around = Surroundings(
            document=self.document,
            spec=spec,
            needs=self.needs,
            outputs=outputs,
            environment=known.verify,
            catalogue=self.catalogue,
            providers=self.providers,
        )
        plan, problems = compile_reset(spec.reset, self._ordered(spec.prepare), around)
        self.problems += problems
        return plan

    def _output(
        self, name: str, output: Output, environment: Environment, secret_params: frozenset[str]
    ) -> OutputPlan | None:
        short = not isinstance(_at(self.document.value, ("spec", "outputs", name)), dict)
        at: Path = ("spec", "outputs", name) if short else ("spec", "outputs", name, "value")
        if output.value is None:
            self._say(at, "the output has no value", 'write one, such as "${parts.site.path}"')
            return None
        template = self._template(output.value, environment, at, {})
        if template is None:
            return None
        secret = self._secret_read(template, secret_params)
        if secret is not None and not output.secret:
            message = f"this reads the secret {secret}, but the output is not marked as secret"
            self._say(at, message, f"write {name}: {{value: …, secret: true}}")
        return OutputPlan(name, template, output.secret, self._early(template))

    def _secret_read(self, template: Template, secret_params: frozenset[str]) -> str | None:
        for chain in sorted(template.references):
            if chain[0] == "params":
                names = secret_params & {chain[1]} if len(chain) > 1 else secret_params
                if names:
                    return f"params.{min(names)}"
            elif chain[0] == "parts":
                parts = [chain[1]] if len(chain) > 1 else list(self.parts)
                for part in parts:
                    for output in self._secret_outputs(part):
                        if len(chain) < 3 or chain[2] == output:
                            return f"parts.{part}.{output}"
        return None

    def _secret_outputs(self, part: str) -> list[str]:
        placed = self.parts.get(part)
        facts = self.catalogue.get(placed.part.driver) if placed is not None else None
        return [name for name, it in facts.outputs.items() if it.secret] if facts else []

    def _early(self, template: Template) -> bool:
        for chain in template.references:
            if chain[0] in ("params", "claim"):
                return False
            if chain[0] == "parts":
                late = [it for it in self.parts.values() if it.finish]
                if len(chain) == 1 and late:
                    return False
                if len(chain) > 1 and self.parts[chain[1]].finish:
                    return False
        return True


def _made_later(name: str) -> tuple[str, str]:
    return (
        f"the part '{name}' is made at claim, after this one",
        "move this part to finish, or that one to prepare",
    )


def _reads(
    value: Json, environment: Environment
) -> Iterator[tuple[Path, frozenset[tuple[str, ...]]]]:
    """What each string of a value reads, as far as it compiles by itself."""
    for path in sorted(expression_paths(value), key=str):
        with suppress(TemplateError):
            yield path, compile_template(_at(value, path), environment).references


def _at(value: Json, path: Path) -> Json:
    for step in path:
        value = cast("dict[str | int, Json]", value)[step]
    return value
