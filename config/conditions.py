"""The yes-or-no expressions of policies: compiled once, evaluated for each claim, explained.

    condition = compile_condition('"web" in caller.groups', environment)
    Evaluation().holds(condition, scope)

One decision evaluates many of them, so they share a number of steps: whatever the rules and the
facts, a decision takes a bounded time. The other expressions of the config are `expressions`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from .catalogue import ValueType
from .cel.checking import Checker
from .cel.errors import ExpressionError
from .cel.evaluation import runner
from .cel.frames import Frame, OverBudget, Runner, as_bool
from .cel.functions import Pattern, found_in
from .cel.guards import Guard, guards_of
from .cel.nodes import Call, Literal, Name, Node, children
from .cel.syntax import parse
from .cel.values import Fault
from .expressions import Scope, require, too_deep
from .shapes import Environment

__all__ = ["Condition", "Evaluation", "ExpressionError", "Guard", "compile_condition"]

STEPS = 2_000
"""Of one condition: about two milliseconds at most."""
STEPS_IN_ALL = 50_000
"""Of all conditions of one decision."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled yes-or-no expression."""

    source: str
    references: frozenset[tuple[str, ...]]
    """The chains of names that it reads, as far as they are fixed: `("caller", "groups")`."""
    guards: tuple[Guard, ...]
    """What must hold of plain facts for it to be true."""
    names: frozenset[str]
    """Every name that stands in it."""
    node: Node = field(repr=False, compare=False)
    run: Runner = field(repr=False, compare=False)


@lru_cache(maxsize=8192)
def _compile(source: str, environment: "_ById") -> Condition:
    """Kept, because CEL compiles slowly and every load compiles every policy."""
    try:
        node = parse(source)
        checker = Checker(environment.it)
        facts = checker.check(node)
        run = runner(node)
        _patterns_stand_in(node)
        names = frozenset(one.name for one in _all_in(node) if isinstance(one, Name))
        guards = guards_of(node)
    except RecursionError:
        raise too_deep() from None
    require(facts, ValueType.BOOL)
    return Condition(source, frozenset(checker.references), guards, names, node, run)


@dataclass(frozen=True, slots=True, eq=False)
class _ById:
    """An environment as a key of the cache: each is made once."""

    it: Environment

    def __hash__(self) -> int:
        return id(self.it)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and self.it is other.it


def compile_condition(source: str, environment: Environment) -> Condition:
    """Compiles and checks. Raises ExpressionError with the place of the first mistake."""
    return _compile(source, _ById(environment))


def _patterns_stand_in(node: Node) -> None:
    """A pattern that a caller could choose would be compiled for each claim."""
    for one in _all_in(node):
        if isinstance(one, Call) and one.function == "matches":
            pattern = one.arguments[-1]
            if not isinstance(pattern, Literal):
                message = "the pattern of matches() must stand here as a text"
                raise ExpressionError(message, pattern.offset, "write it in quotes")


def _all_in(node: Node) -> Iterator[Node]:
    waiting = [node]
    while waiting:
        one = waiting.pop()
        yield one
        waiting += children(one)


class Evaluation:
    """The evaluations of one decision. They share a number of steps."""

    __slots__ = ("left",)

    def __init__(self, steps: int = STEPS_IN_ALL) -> None:
        self.left = steps

    def holds(self, condition: Condition, scope: Scope) -> bool:
        """Whether it is true. Raises ExpressionError when that cannot be said."""
        frame = self._frame(scope)
        try:
            return as_bool(condition.run(frame), 0)
        except Fault as fault:
            raise ExpressionError(fault.message, 0, fault.remedy) from None
        except RecursionError:
            raise too_deep() from None
        finally:
            self.left -= frame.most - frame.left

    def found(self, text: str, pattern: Pattern) -> bool:
        """Whether a pattern matches somewhere in the text. Raises ExpressionError."""
        frame = self._frame({})
        try:
            return found_in(frame, text, pattern)
        except Fault as fault:
            raise ExpressionError(fault.message, 0, fault.remedy) from None
        finally:
            self.left -= frame.most - frame.left

    def _frame(self, scope: Scope) -> Frame:
        if self.left <= 0:
            raise OverBudget(
                f"the conditions of this decision took more than {STEPS_IN_ALL} steps",
                0,
                "work on smaller lists or texts",
            )
        return Frame(scope, min(STEPS, self.left))
