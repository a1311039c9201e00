"""What the expressions of a blueprint may read: in `prepare`, in `finish` and in `outputs`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .catalogue import Catalogue, DriverFacts, OutputFacts
from .json_types import Json
from .manifests import Part
from .shapes import ANY, INT, MAP, STRING, Environment, Shape
from .templates import expression_paths

_RESOURCE = Shape.object({"id": STRING, "pool": STRING, "labels": MAP, "revision": STRING})
_CALLER = Shape.object({"uid": INT, "gid": INT, "pid": INT, "user": STRING})
_CLAIM = Shape.object({"id": STRING, "ttl": STRING, "expiresAt": STRING, "caller": _CALLER})
_AT_CLAIM = "it is known at claim only; move this part to finish"
_OWN = "self is what the driver allots to a part: read it in that part's own with and ready"
_AFTER_CLAIM = "the claim is over by then; read parts or resource"
_NOBODYS_OWN = "a reset belongs to no single part; read parts.NAME"
_NOTHING_ALLOTTED = "the driver '{}' allots nothing; remove it"


@dataclass(frozen=True, slots=True)
class Environments:
    """Of one blueprint."""

    prepare: Environment
    finish: Environment
    outputs: Environment
    verify: Environment
    """For what proves a reset."""
    catalogue: Catalogue

    def settings(self, part: Part, *, finish: bool) -> Environment:
        """For the part's `with`."""
        facts = self.catalogue.get(part.driver)
        base = self.finish if finish else self.prepare
        if facts is None:
            return base.with_root("self", ANY)
        if not facts.allotted:
            nothing = _NOTHING_ALLOTTED.format(part.driver)
            return Environment(base.roots, {**base.elsewhere, "self": nothing})
        return base.with_root("self", _outputs(facts.allotted, part, facts))

    def ready(self, part: Part, *, finish: bool) -> Environment:
        """For the part's `ready`: `self` holds what was made too, without its secrets."""
        facts = self.catalogue.get(part.driver)
        base = self.finish if finish else self.prepare
        if facts is None:
            return base.with_root("self", ANY)
        made = {name: output for name, output in facts.outputs.items() if not output.secret}
        own = _outputs({**facts.allotted, **made}, part, facts, may_have_more=facts.open_outputs)
        return base.with_root("self", own)


def environments(
    parts: Iterable[Part], parameters: Mapping[str, Shape] | None, catalogue: Catalogue
) -> Environments:
    """All parts can be read by name here; who may read whom is checked with a better sentence.

    `parameters` is None when they do not compile: then nothing can be said of them.
    """
    params = ANY if parameters is None else Shape.object(parameters)
    made = Shape.object({part.name: _part_shape(part, catalogue) for part in parts})
    always = {"parts": made, "resource": _RESOURCE}
    at_claim = {**always, "params": params, "claim": _CLAIM}
    return Environments(
        Environment(always, {"params": _AT_CLAIM, "claim": _AT_CLAIM, "self": _OWN}),
        Environment(at_claim, {"self": _OWN}),
        Environment(at_claim, {"self": _OWN}),
        Environment(always, {"params": _AFTER_CLAIM, "claim": _AFTER_CLAIM, "self": _NOBODYS_OWN}),
        catalogue,
    )


def _part_shape(part: Part, catalogue: Catalogue) -> Shape:
    facts = catalogue.get(part.driver)
    if facts is None:
        return ANY
    return _outputs(facts.outputs, part, facts, may_have_more=facts.open_outputs)


def _outputs(
    outputs: Mapping[str, OutputFacts],
    part: Part,
    facts: DriverFacts,
    *,
    may_have_more: bool = False,
) -> Shape:
    keys: dict[str, tuple[str, ...]] = {}
    for name, output in outputs.items():
        if output.keys_from is not None:
            listed = _listed(_setting(part, facts, output.keys_from))
            if listed is not None:
                keys[name] = listed
    return Shape.of_outputs(outputs, keys, open=may_have_more)


def _setting(part: Part, facts: DriverFacts, name: str) -> Json:
    field = facts.settings.model_fields.get(name)
    written = field.alias if field is not None and field.alias else name
    return part.with_.get(written, [])


def _listed(value: Json) -> tuple[str, ...] | None:
    """The names in a list or the keys of a map; None when they are known only once rendered."""
    if expression_paths(value):
        return None
    if isinstance(value, dict):
        return tuple(value)
    if isinstance(value, list):
        return tuple(str(name) for name in value)
    return None
