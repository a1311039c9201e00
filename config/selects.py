"""The `select` of a claim: which resources of a pool will do. Compiled when it is asked for.

It reads `resource` (id, pool, labels, revision) and `outputs`: those outputs of the blueprint that
are no secret and known before anybody claims, because they read nothing of the claim.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from .catalogue import ValueType
from .expressions import Expression, ExpressionError, Scope, compile_expression
from .json_types import Json
from .revision import Blueprint
from .shapes import ANY, MAP, STRING, Environment, Shape
from .templates import Template

MAX_SELECT = 1024
"""Characters: what one claim asks for, and compiling it takes milliseconds."""
STEPS = 1000
"""Of one evaluation: a millisecond. It may be done for thousands of resources."""

_RESOURCE = Shape.object({"id": STRING, "pool": STRING, "labels": MAP, "revision": STRING})
_NOBODYS = "it is chosen before anybody claims it; read resource.labels or outputs"
_ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(("claim", "params", "caller"), _NOBODYS),
    **dict.fromkeys(("parts", "self"), "parts may hold secrets; read outputs"),
    "labels": "write resource.labels",
}


@dataclass(frozen=True, slots=True)
class Select:
    """Compiled for one blueprint."""

    expression: Expression
    outputs: tuple[tuple[str, Template], ...]
    """Those that it reads."""

    def matches(self, resource: Mapping[str, object], scope: Scope) -> bool:
        """Whether a resource will do; `scope` is what its outputs are rendered from.

        Raises ExpressionError when that cannot be said.
        """
        outputs: dict[str, Json] = {name: value.render(scope) for name, value in self.outputs}
        found = self.expression.evaluate({"resource": resource, "outputs": outputs})
        if not isinstance(found, bool):
            raise ExpressionError("it gives neither true nor false", 0, "write a comparison")
        return found


def compile_select(source: str, blueprint: Blueprint) -> Select:
    """Raises ExpressionError with the place of the mistake and what to do."""
    if len(source) > MAX_SELECT:
        message = f"the expression has {len(source)} characters; at most {MAX_SELECT} are allowed"
        raise ExpressionError(message, MAX_SELECT, "make it shorter")
    known = {one.name: one.value for one in blueprint.outputs if one.early and not one.secret}
    hidden = tuple((one.name, one.secret) for one in blueprint.outputs if one.name not in known)
    expression = _compile(source, tuple(known), hidden)
    read = {
        chain[1] if len(chain) > 1 else ""
        for chain in expression.references
        if chain[0] == "outputs"
    }
    wanted = known if "" in read else {name: known[name] for name in sorted(read)}
    return Select(expression, tuple(wanted.items()))


@lru_cache(maxsize=256)
def _compile(
    source: str, known: tuple[str, ...], hidden: tuple[tuple[str, bool], ...]
) -> Expression:
    """Kept, because those who claim alike ask alike, and compiling takes long."""
    outputs = Shape.object(dict.fromkeys(known, ANY))
    environment = Environment({"resource": _RESOURCE, "outputs": outputs}, _ELSEWHERE)
    try:
        return compile_expression(source, environment, ValueType.BOOL, steps=STEPS)
    except ExpressionError as error:
        for name, secret in hidden:
            if error.message == f"'outputs' has no member '{name}'":
                why = "is secret" if secret else "is known only once the resource is claimed"
                what = f"the output '{name}' {why}"
                raise ExpressionError(what, error.offset, "read another output") from None
        raise
