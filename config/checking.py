"""Documents to pools, blueprints, providers and policies, or to everything that is wrong with them.

Three steps: each document by itself (`manifests`), then names across documents, then the contents
of blueprints against the drivers (`blueprints`). A later step runs for whatever the earlier one
let through, so that one run tells of all problems. Called by `loading`.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from pydantic import ValidationError

from . import contradictions
from .blueprints import compile_blueprint
from .catalogue import Catalogue
from .digests import digest_of
from .documents import Document, ReadFiles
from .json_types import Json
from .kinds import KINDS, AnyKind
from .manifests import API_VERSION, Blueprint, Pool, Provider
from .mistakes import find_mistakes, mistakes_of, real_path, shown
from .policies.cases import compile_cases
from .policies.compiling import compile_policy, conditions_in
from .policies.covered_pools import against_pools
from .policies.manifests import Policy, PolicyTest
from .policies.rules import Case, PolicySpec
from .priorities import compile_priorities
from .problems import Problem
from .revision import Blueprint as CompiledBlueprint
from .revision import PoolSpec, Priority, ProviderLimits, ProviderSpec
from .rollouts import compile_rollout
from .spelling import suggestion
from .templates import expression_paths

ACCEPT = "stoker/accept-destroy"
"""The annotation that names pools which the revision may destroy (see `pools.impact`)."""
MAX_EXPRESSIONS = 500
"""Of one blueprint."""
MAX_EXPRESSIONS_IN_ALL = 20_000
"""Each takes about a millisecond to compile."""
MAX_CASES_IN_ALL = 2_000
"""Of policy tests: they run at each load, and a decision takes some milliseconds at worst."""
_SUGGESTED = 200
"""Problems after which no nearest word is looked for: that is slow among thousands."""

AnyManifest = TypeVar("AnyManifest", bound=AnyKind)


@dataclass(frozen=True, slots=True)
class Declared(Generic[AnyManifest]):
    """A manifest that is right by itself, with its document."""

    document: Document
    manifest: AnyManifest

    @property
    def name(self) -> str:
        return self.manifest.metadata.name


@dataclass(slots=True)
class Reuse:
    """What parsing and compiling gave, kept from one load to the next, so that a change costs what changed.

    Belongs to one catalogue. After a load it holds what is of that load alone.
    """

    files: ReadFiles = field(default_factory=ReadFiles)
    manifests: dict[int, tuple[Document, AnyKind]] = field(
        default_factory=dict[int, tuple[Document, AnyKind]]
    )
    """Without mistakes of form, by the `id` of their document."""

    blueprints: dict[str, CompiledBlueprint] = field(default_factory=dict[str, CompiledBlueprint])


@dataclass(frozen=True, slots=True)
class Checked:
    """The result; the mappings are whole only when `problems` holds no error."""

    pools: Mapping[str, PoolSpec]
    providers: Mapping[str, ProviderSpec]
    policies: Mapping[str, PolicySpec]
    policy_tests: tuple[Case, ...]
    problems: list[Problem]
    accepts: frozenset[str]
    """The texts of all annotations `ACCEPT`."""


def check(
    documents: list[Document], catalogue: Catalogue, *, complete: bool, reuse: Reuse
) -> Checked:
    """`complete` is False when some file could not be read: then a missing name may be in there."""
    checker = _Checker(catalogue, complete, reuse)
    checker.read(documents)
    reuse.manifests = checker.manifests
    providers = checker.providers()
    blueprints = checker.blueprints(providers)
    pools = checker.pools(blueprints)
    policies = checker.policies(pools)
    tests = checker.policy_tests(pools)
    return Checked(pools, providers, policies, tests, checker.problems, checker.accepts())


@dataclass(slots=True)
class _Checker:
    catalogue: Catalogue
    complete: bool
    reuse: Reuse
    problems: list[Problem] = field(default_factory=list[Problem])
    declared_blueprints: dict[str, Declared[Blueprint]] = field(
        default_factory=dict[str, Declared[Blueprint]]
    )
    declared_pools: dict[str, Declared[Pool]] = field(default_factory=dict[str, Declared[Pool]])
    declared_providers: dict[str, Declared[Provider]] = field(
        default_factory=dict[str, Declared[Provider]]
    )
    declared_policies: list[Declared[Policy]] = field(default_factory=list[Declared[Policy]])
    declared_tests: list[Declared[PolicyTest]] = field(default_factory=list[Declared[PolicyTest]])
    manifests: dict[int, tuple[Document, AnyKind]] = field(
        default_factory=dict[int, tuple[Document, AnyKind]]
    )
    expressions: int = 0
    """Texts with expressions that were met."""
    seen: dict[tuple[str, str], Document] = field(default_factory=dict[tuple[str, str], Document])
    """Every document by kind and name, those with mistakes included."""

    def read(self, documents: list[Document]) -> None:
        for document in documents:
            kind = self._kind(document)
            if kind is not None and self._is_new(document, kind):
                self._read(document, KINDS[kind])

    def _kind(self, document: Document) -> str | None:
        """The kind, if this version has it; otherwise nothing else can be said of the document."""
        version, kind = document.value.get("apiVersion"), document.value.get("kind")
        if kind is None:
            self._say(document, (), "the key 'kind' is missing", f"write kind: {_some_kinds()}")
            return None
        if not isinstance(kind, str) or kind not in KINDS:
            self._unknown_kind(document, kind)
            return None
        if version is not None and version != API_VERSION:
            message = f"expected '{API_VERSION}', got {shown(version)}"
            self._say(document, ("apiVersion",), message, f"write apiVersion: {API_VERSION}")
            return None
        return kind

    def _unknown_kind(self, document: Document, kind: Json) -> None:
        remedy = suggestion(kind, KINDS) if isinstance(kind, str) else f"write {_some_kinds()}"
        message = f"there is no kind {shown(kind)}"
        self._say(document, ("kind",), message, remedy)

    def _is_new(self, document: Document, kind: str) -> bool:
        metadata = document.value.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        if not isinstance(name, str):
            return True
        before = self.seen.setdefault((kind, name), document)
        if before is document:
            return True
        place = before.place(("metadata", "name"))
        self._say(
            document,
            ("metadata", "name"),
            f"there is another {kind} '{name[:80]}' at {before.file}:{place.line}:{place.column}",
            "give one of them another name, or remove it",
        )
        return False

    def _read(self, document: Document, model: type[AnyKind]) -> None:
        before = self.reuse.manifests.get(id(document))
        try:
            if before is not None and before[0] is document:
                manifest = before[1]
            else:
                manifest = model.model_validate(document.value)
            self.manifests[id(document)] = document, manifest
        except ValidationError as error:
            self.problems += mistakes_of(error, document, model, document.value)
            found = _without_unknown_keys(model, document.value, error)
            if found is None:
                return
            manifest = found  # a key too many must not hide what else is wrong
        if isinstance(manifest, Blueprint):
            self.declared_blueprints[manifest.metadata.name] = Declared(document, manifest)
        elif isinstance(manifest, Pool):
            self.declared_pools[manifest.metadata.name] = Declared(document, manifest)
            self.problems += contradictions.pool_contradictions(document, manifest)
        elif isinstance(manifest, Provider):
            self.declared_providers[manifest.metadata.name] = Declared(document, manifest)
            self.problems += contradictions.provider_contradictions(document, manifest)
        elif isinstance(manifest, Policy):
            self.declared_policies.append(Declared(document, manifest))
        else:
            self.declared_tests.append(Declared(document, manifest))

    def providers(self) -> dict[str, ProviderSpec]:
        """The declared ones, and one without settings under each driver's own name."""
        found = {name: ProviderSpec(name, name) for name in self.catalogue}
        for name, declared in self.declared_providers.items():
            spec = declared.manifest.spec
            self._check_provider(declared)
            limits: ProviderLimits = contradictions.limits_of(declared.manifest)
            found[name] = ProviderSpec(name, spec.driver, dict(spec.with_), limits)
        return found

    def _check_provider(self, declared: Declared[Provider]) -> None:
        document, spec = declared.document, declared.manifest.spec
        facts = self.catalogue.get(spec.driver)
        if facts is None:
            message = f"there is no driver '{spec.driver[:80]}'"
            self._say(
                document, ("spec", "driver"), message, suggestion(spec.driver, self.catalogue)
            )
            return
        if declared.name in self.catalogue and declared.name != spec.driver:
            message = f"'{declared.name}' is the name of a driver, and this is a provider of '{spec.driver}'"
            self._say(document, ("metadata", "name"), message, "give it another name")
        for path in sorted(expression_paths(spec.with_), key=str):
            message = "a provider is there before any resource, so it has nothing to read"
            remedy = "write the value itself, without ${…}"
            self._say(document, ("spec", "with", *path), message, remedy)
        if facts.provider_settings is not None:
            self.problems += find_mistakes(
                document, facts.provider_settings, spec.with_, at=("spec", "with")
            )
        elif spec.with_:
            message = f"providers of the driver '{spec.driver}' have no settings"
            self._say(document, ("spec", "with"), message, "remove with", key=True)

    def blueprints(
        self, providers: Mapping[str, ProviderSpec]
    ) -> dict[str, CompiledBlueprint | None]:
        """Every blueprint by name; None for those with mistakes, so that they count as known."""
        found: dict[str, CompiledBlueprint | None] = {
            name: None for kind, name in self.seen if kind == "Blueprint"
        }
        surroundings = digest_of(
            {name: [it.driver, dict(it.settings)] for name, it in providers.items()}
        )
        kept: dict[str, CompiledBlueprint] = {}
        for name, declared in self.declared_blueprints.items():
            key = digest_of([surroundings, declared.document.value])
            blueprint = self.reuse.blueprints.get(key)
            if blueprint is None and self._within_bounds(declared):
                blueprint, problems = compile_blueprint(
                    declared.document, declared.manifest, self.catalogue, providers,
                    complete=self.complete,
                )  # fmt: skip
                self.problems += problems
            if blueprint is not None:
                kept[key] = blueprint
            found[name] = blueprint
        if self.complete:  # otherwise a name may dangle that was not complained of
            self.reuse.blueprints = kept
        return found

    def _within_bounds(self, declared: Declared[Blueprint]) -> bool:
        """Whether compiling it takes a time that somebody would wait for; complains otherwise."""
        count = len(expression_paths(declared.document.value))
        if count > MAX_EXPRESSIONS:
            self.expressions += count
            message = f"the blueprint holds more than {MAX_EXPRESSIONS} texts with expressions"
            self._say(declared.document, ("spec",), message, "split it into several", key=True)
            return False
        return self._counts(declared, count)

    def _counts(
        self, declared: Declared[Blueprint] | Declared[Pool] | Declared[Policy], count: int
    ) -> bool:
        """Counts the expressions of one document; whether all up to here are few enough."""
        before, self.expressions = self.expressions, self.expressions + count
        if self.expressions > MAX_EXPRESSIONS_IN_ALL >= before:
            message = f"the documents up to this one hold more than {MAX_EXPRESSIONS_IN_ALL} texts with expressions"
            remedy = "let several pools share a blueprint with parameters"
            self._say(declared.document, ("spec",), message, remedy, key=True)
        return self.expressions <= MAX_EXPRESSIONS_IN_ALL

    def pools(self, blueprints: Mapping[str, CompiledBlueprint | None]) -> dict[str, PoolSpec]:
        found: dict[str, PoolSpec] = {}
        for name, declared in self.declared_pools.items():
            manifest, wanted = declared.manifest, declared.manifest.spec.blueprint
            priorities = self._priorities(declared)
            rollout, problems = compile_rollout(declared.document, manifest)
            self.problems += problems
            blueprint = blueprints.get(wanted)
            if wanted not in blueprints and self.complete:
                message = f"there is no blueprint '{wanted[:80]}'"
                remedy = "name a Blueprint that exists"
                if len(self.problems) < _SUGGESTED:
                    remedy = suggestion(wanted, blueprints)
                self._say(declared.document, ("spec", "blueprint"), message, remedy)
            if blueprint is None:
                continue
            found[name] = PoolSpec(
                name=name,
                labels=dict(manifest.metadata.labels),
                blueprint=blueprint,
                size=contradictions.size_of(manifest),
                lifetime=contradictions.lifetime_of(manifest),
                backfill=contradictions.backfill_of(manifest),
                queue=contradictions.queue_of(manifest, priorities),
                rollout=rollout,
                paused_at=_paused_at(declared),
            )
        return found

    def accepts(self) -> frozenset[str]:
        declared = (self.declared_blueprints, self.declared_pools, self.declared_providers)
        found = (one.manifest.metadata.annotations for kind in declared for one in kind.values())
        return frozenset(each[ACCEPT] for each in found if ACCEPT in each)

    def _priorities(self, declared: Declared[Pool]) -> tuple[Priority, ...]:
        rules = declared.manifest.spec.queue.priorities
        if not rules or not self._counts(declared, len(rules)):
            return ()
        priorities, problems = compile_priorities(declared.document, declared.manifest)
        self.problems += problems
        return priorities

    def policies(self, pools: Mapping[str, PoolSpec]) -> dict[str, PolicySpec]:
        found: dict[str, PolicySpec] = {}
        for declared in self.declared_policies:
            if not self._counts(declared, conditions_in(declared.manifest)):
                continue
            policy, problems = compile_policy(declared.document, declared.manifest)
            self.problems += problems
            if policy is not None:
                found[policy.name] = policy
                if len(pools) == len(self.declared_pools) and self.complete:
                    self.problems += against_pools(declared.document, policy, pools)
        return found

    def policy_tests(self, pools: Mapping[str, PoolSpec]) -> tuple[Case, ...]:
        complete = self.complete and len(pools) == len(self.declared_pools)
        found: list[Case] = []
        for declared in self.declared_tests:
            if len(found) + len(declared.manifest.spec.cases) > MAX_CASES_IN_ALL:
                message = f"the policy tests up to this one have more than {MAX_CASES_IN_ALL} cases"
                remedy = "test what a rule makes of facts once"
                self._say(declared.document, ("spec", "cases"), message, remedy, key=True)
                break
            cases, problems = compile_cases(
                declared.document, declared.manifest, pools, complete=complete
            )
            found += cases
            self.problems += problems
        return tuple(found)

    def _say(
        self,
        document: Document,
        path: tuple[str | int, ...],
        message: str,
        remedy: str,
        *,
        key: bool = False,
    ) -> None:
        self.problems.append(document.problem(path, message, remedy, key=key))


def _paused_at(declared: Declared[Pool]) -> str:
    if not declared.manifest.spec.paused:
        return ""
    place = declared.document.place(("spec", "paused"), key=True)
    return f"{declared.document.file}:{place.line}:{place.column}"


def _without_unknown_keys(
    model: type[AnyKind], value: Json, error: ValidationError
) -> AnyKind | None:
    """The manifest without the keys that there are not, if nothing else is wrong with its form."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    if any(fault["type"] != "extra_forbidden" for fault in faults):
        return None
    known = cast("dict[str, Json]", deepcopy(value))
    for *above, key in (real_path(fault["loc"], value) for fault in faults):
        at: Json = known
        for step in above:
            at = cast("dict[str | int, Json]", at)[step]
        cast("dict[str | int, Json]", at).pop(key, None)
    try:
        return model.model_validate(known)
    except ValidationError:
        return None


def _some_kinds() -> str:
    return "Blueprint, Pool, Policy, PolicyTest or Provider"
