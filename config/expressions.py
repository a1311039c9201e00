"""CEL expressions: compiled and checked once at load, evaluated many times.

    compiled = compile_expression("params.greeting", environment)
    compiled.evaluate({"params": {"greeting": "hello"}})

Plain JSON goes in (aware `datetime` and `timedelta` are taken too) and plain JSON comes out. An
evaluation keeps no state, is bounded in steps and in size, and raises ExpressionError only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .catalogue import ValueType
from .cel.checking import Checker, Facts
from .cel.errors import ExpressionError
from .cel.evaluation import runner
from .cel.frames import MAX_STEPS, Frame, Runner
from .cel.nodes import Node, chain_of
from .cel.syntax import parse
from .cel.values import MAX_RESULT, Fault, Kind, to_json, with_article
from .json_types import Json
from .shapes import Environment

__all__ = ["Expression", "ExpressionError", "Scope", "compile_expression"]

Scope = Mapping[str, object]
"""Root name (`params`, `parts`, `self`, `resource`, `claim`) to a JSON-like value."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression. `evaluate(scope)` gives JSON or raises ExpressionError."""

    source: str
    references: frozenset[tuple[str, ...]]
    """The chains of names that it reads, as far as they are fixed: `("parts", "site", "path")`."""
    type: ValueType
    """Of what comes out, as far as it is known; times come out as strings."""
    evaluate: Callable[[Scope], Json] = field(repr=False)


def compile_expression(
    source: str,
    environment: Environment,
    wanted: ValueType | None = None,
    *,
    steps: int = MAX_STEPS,
) -> Expression:
    """Compiles and checks. Raises ExpressionError with the place of the first mistake.

    `steps`: what one evaluation may take, for expressions that are evaluated often.
    """
    try:
        node = parse(source)
        checker = Checker(environment)
        facts = checker.check(node)
        chain = chain_of(node)
        evaluate = _getter(chain, node) if chain else _evaluator(runner(node), steps)
    except RecursionError:
        raise too_deep() from None
    if wanted is not None:
        require(facts, wanted)
    return Expression(source, frozenset(checker.references), facts.type, evaluate)


def require(facts: Facts, wanted: ValueType) -> None:
    """Raises ExpressionError when what comes out cannot be of the wanted type."""
    fits = {wanted, ValueType.DYN}
    if wanted is ValueType.DOUBLE:
        fits.add(ValueType.INT)
    if wanted is ValueType.DYN or (facts.type in fits and facts.kind is not Kind.NULL):
        return
    needed = with_article(Kind(wanted.value))
    remedy = "write another expression"
    if wanted in (ValueType.STRING, ValueType.INT, ValueType.DOUBLE):
        remedy = f"write {wanted}(…) around it"
    if wanted is ValueType.BOOL:
        remedy = "compare it with something"
    if facts.kind in (Kind.LIST, Kind.MAP, Kind.NULL):
        remedy = f"give {needed}"
    raise ExpressionError(
        f"the expression gives {with_article(facts.kind)}, but {needed} is needed here", 0, remedy
    )


def _evaluator(run: Runner, steps: int = MAX_STEPS) -> Callable[[Scope], Json]:
    def evaluate(scope: Scope) -> Json:
        try:
            return to_json(run(Frame(scope, steps)))
        except Fault as fault:
            raise ExpressionError(fault.message, 0, fault.remedy) from None
        except RecursionError:
            raise too_deep() from None

    return evaluate


def too_deep() -> ExpressionError:
    """Only a caller that is deep in the stack itself, or a very deep value, brings this about."""
    return ExpressionError("the expression is nested too deeply", 0, "write it flatter")


_SIMPLE = frozenset({int, bool, type(None)})


def _getter(chain: tuple[str, ...], node: Node) -> Callable[[Scope], Json]:
    """The hot path of a claim: plain lookups, and the general way whenever anything is unusual."""
    slow = _evaluator(runner(node))

    def evaluate(scope: Scope) -> Json:
        value: Any = scope  # any JSON; a type guard would cost more than the lookup
        try:
            for name in chain:
                value = value[name]
        except (KeyError, TypeError):  # TypeError: something on the way is no mapping
            return slow(scope)
        if type(value) is str:
            return value if len(value) <= MAX_RESULT else slow(scope)
        return value if type(value) in _SIMPLE else slow(scope)

    return evaluate
