"""What can be said of an expression before it runs: its type, what it reads, and its mistakes.

Pure. A kind that is not known (`dyn`) fits everywhere; the evaluation checks it again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..catalogue import ValueType
from ..shapes import ANY, Environment, Shape
from ..spelling import suggestion
from .errors import ExpressionError
from .functions import FUNCTIONS, MACROS, METHODS, compiled_pattern
from .nodes import (
    Binary,
    Call,
    Conditional,
    Index,
    ListOf,
    Literal,
    MapOf,
    Member,
    Name,
    Node,
    Unary,
)
from .operations import OPERATORS, Overload, fitting
from .times import PARTS, minutes_of, parse_cel_duration, parse_timestamp, zone_named
from .values import Fault, Kind, kind_of, with_article

MAX_MACRO_NESTING = 2
"""How many `map`, `filter`, `all` or `exists` may stand inside each other."""

Chain = tuple[str, ...]

_KINDS = {
    ValueType.STRING: Kind.STRING, ValueType.INT: Kind.INT, ValueType.DOUBLE: Kind.DOUBLE,
    ValueType.BOOL: Kind.BOOL, ValueType.LIST: Kind.LIST, ValueType.MAP: Kind.MAP,
    ValueType.TIMESTAMP: Kind.TIMESTAMP, ValueType.DURATION: Kind.DURATION, ValueType.DYN: Kind.DYN,
}  # fmt: skip
_VALUE_TYPES = {
    **{kind: value for value, kind in _KINDS.items()},
    Kind.TIMESTAMP: ValueType.STRING,
    Kind.DURATION: ValueType.STRING,
    Kind.NULL: ValueType.DYN,
}
_FUNCTIONS_HERE = sorted([*FUNCTIONS, "has"])
_METHODS_HERE = sorted([*METHODS, *MACROS])


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one node: its kind, its members, and the chain of names it is, if it is one."""

    kind: Kind
    shape: Shape = ANY
    chain: Chain = ()

    @property
    def type(self) -> ValueType:
        """The type of the JSON that comes out: times come out as strings."""
        return _VALUE_TYPES[self.kind]


@dataclass(slots=True)
class Checker:
    """Checks one expression. `references` holds, once done, the chains that it reads."""

    environment: Environment
    references: set[Chain] = field(default_factory=set[Chain])
    _locals: list[str] = field(default_factory=list[str])
    _nesting: int = 0

    def check(self, node: Node) -> Facts:
        """Raises ExpressionError at the first mistake."""
        facts = self._facts(node)
        if facts.chain:
            self.references.add(facts.chain)
        return facts

    def _facts(self, node: Node) -> Facts:  # noqa: C901 - one case for each node
        match node:
            case Literal():
                return Facts(kind_of(node.value))
            case Name():
                return self._name(node)
            case Member():
                return self._member(node)
            case Index():
                return self._index(node)
            case Call():
                return self._call(node)
            case Unary():
                return self._unary(node)
            case Binary():
                return self._binary(node)
            case Conditional():
                return self._conditional(node)
            case ListOf():
                for item in node.items:
                    self.check(item)
                return Facts(Kind.LIST)
            case MapOf():
                return self._map(node)

    def _name(self, node: Name) -> Facts:
        if node.name in self._locals:
            return Facts(Kind.DYN)
        shape = self.environment.roots.get(node.name)
        if shape is not None:
            return Facts(_KINDS[shape.type], shape, (node.name,))
        why = self.environment.elsewhere.get(node.name)
        if why is not None:
            raise ExpressionError(f"'{node.name}' cannot be read here", node.offset, why)
        if node.name in FUNCTIONS or node.name in METHODS:
            raise ExpressionError(f"'{node.name}' is a function", node.offset, "call it with (…)")
        raise ExpressionError(
            f"there is no '{node.name}' here",
            node.offset,
            suggestion(node.name, [*self._locals, *self.environment.roots]),
        )

    def _member(self, node: Member) -> Facts:
        return self._step(self._facts(node.target), node.name, node.offset)

    def _step(self, target: Facts, name: str, offset: int) -> Facts:
        """The facts of a member of the target."""
        chain = (*target.chain, name) if target.chain else ()
        if target.kind is Kind.DYN and target.shape.members is None:
            return Facts(Kind.DYN, ANY, chain)
        if target.kind not in (Kind.MAP, Kind.DYN):
            raise ExpressionError(f"{_called(target)} has no members", offset, f"remove '.{name}'")
        shape = target.shape.member(name) if target.shape.type is not ValueType.DYN else ANY
        if shape is None:
            members = target.shape.members or {}
            raise ExpressionError(
                f"{_called(target)} has no member '{name}'",
                offset,
                _member_remedy(target, name, members),
            )
        return Facts(_KINDS[shape.type], shape, chain)

    def _index(self, node: Index) -> Facts:
        target = self._facts(node.target)
        if (
            isinstance(node.key, Literal)
            and isinstance(node.key.value, str)
            and target.kind is not Kind.LIST
        ):
            return self._step(target, node.key.value, node.offset)
        key = self.check(node.key)
        if target.chain:
            self.references.add(target.chain)
        wanted = {Kind.LIST: Kind.INT, Kind.MAP: Kind.STRING}.get(target.kind)
        if wanted is None and target.kind is not Kind.DYN:
            raise ExpressionError(
                f"{_called(target)} has no elements", node.offset, "remove the brackets"
            )
        if wanted is not None and key.kind not in (wanted, Kind.DYN):
            raise ExpressionError(
                f"an element of a {target.kind} is named by {with_article(wanted)}, not by {with_article(key.kind)}",
                node.offset,
                f"write {with_article(wanted)} in the brackets",
            )
        return Facts(Kind.DYN)

    def _unary(self, node: Unary) -> Facts:
        operand = self.check(node.operand)
        name = "negative" if node.operator == "-" else node.operator
        return self._applied(OPERATORS[name], (operand.kind,), f"'{node.operator}'", node.offset)

    def _binary(self, node: Binary) -> Facts:
        left, right = self.check(node.left), self.check(node.right)
        if node.operator in ("&&", "||"):
            for side, facts in ((node.left, left), (node.right, right)):
                self._must_be_bool(facts, f"'{node.operator}'", side.offset)
            return Facts(Kind.BOOL)
        if node.operator in ("==", "!=") and not _may_be_equal(left.kind, right.kind):
            raise ExpressionError(
                f"{with_article(left.kind)} never equals {with_article(right.kind)}",
                node.offset,
                "compare values of one type",
            )
        kinds = (left.kind, right.kind)
        return self._applied(OPERATORS[node.operator], kinds, f"'{node.operator}'", node.offset)

    def _conditional(self, node: Conditional) -> Facts:
        self._must_be_bool(self.check(node.condition), "the condition before '?'", node.offset)
        then, otherwise = self.check(node.then), self.check(node.otherwise)
        return Facts(then.kind if then.kind is otherwise.kind else Kind.DYN)

    def _map(self, node: MapOf) -> Facts:
        for key, value in node.entries:
            kind = self.check(key).kind
            if kind not in (Kind.STRING, Kind.DYN):
                raise ExpressionError(
                    f"a key of a map is a string, not {with_article(kind)}",
                    key.offset,
                    "put it in quotes",
                )
            self.check(value)
        return Facts(Kind.MAP, Shape(ValueType.MAP))

    def _call(self, node: Call) -> Facts:
        if node.target is None:
            if node.function == "has":
                return self._has(node)
            overloads = FUNCTIONS.get(node.function)
            if overloads is None:
                raise self._no_function(node, _FUNCTIONS_HERE, METHODS)
        elif node.function in MACROS:
            return self._macro(node, node.target)
        else:
            overloads = METHODS.get(node.function)
            if overloads is None:
                raise self._no_function(node, _METHODS_HERE, FUNCTIONS)
        given = node.arguments if node.target is None else (node.target, *node.arguments)
        kinds = tuple(self.check(argument).kind for argument in given)
        _check_literals(node)
        return self._applied(overloads, kinds, f"{node.function}()", node.offset)

    def _no_function(
        self, node: Call, known: list[str], other: Mapping[str, object]
    ) -> ExpressionError:
        remedy = suggestion(node.function, known)
        if node.function in other or (node.target is None and node.function in MACROS):
            written = f"value.{node.function}(…)" if node.target is None else f"{node.function}(…)"
            remedy = f"write {written}"
        return ExpressionError(f"there is no function '{node.function}'", node.offset, remedy)

    def _has(self, node: Call) -> Facts:
        argument = node.arguments[0] if len(node.arguments) == 1 else None
        if not isinstance(argument, Member):
            raise ExpressionError(
                "has() takes one member, such as params.name",
                node.offset,
                "write has(value.member)",
            )
        self.check(argument)
        return Facts(Kind.BOOL)

    def _macro(self, node: Call, target_node: Node) -> Facts:
        target = self.check(target_node)
        if target.kind not in (Kind.LIST, Kind.MAP, Kind.DYN):
            raise ExpressionError(
                f"{node.function}() takes a list or a map, not {with_article(target.kind)}",
                node.offset,
                "call it on a list",
            )
        most = 3 if node.function == "map" else 2
        variable = node.arguments[0] if node.arguments else None
        if not isinstance(variable, Name) or not 2 <= len(node.arguments) <= most:
            raise ExpressionError(
                f"{node.function}() takes a name and an expression",
                node.offset,
                f"write list.{node.function}(item, …)",
            )
        self._macro_body(node, variable.name)
        return Facts(Kind.LIST if node.function in ("map", "filter") else Kind.BOOL)

    def _macro_body(self, node: Call, variable: str) -> None:
        self._nesting += 1
        if self._nesting > MAX_MACRO_NESTING:
            raise ExpressionError(
                f"more than {MAX_MACRO_NESTING} macros stand inside each other",
                node.offset,
                "split the expression",
            )
        self._locals.append(variable)
        bodies = [self.check(body) for body in node.arguments[1:]]
        tested = bodies[0] if node.function != "map" or len(bodies) == 2 else None
        if tested is not None:
            self._must_be_bool(tested, f"{node.function}()", node.arguments[1].offset)
        self._locals.pop()
        self._nesting -= 1

    def _must_be_bool(self, facts: Facts, by: str, offset: int) -> None:
        if facts.kind not in (Kind.BOOL, Kind.DYN):
            raise ExpressionError(
                f"{by} needs a bool, not {with_article(facts.kind)}", offset, "write a comparison"
            )

    def _applied(
        self, overloads: tuple[Overload, ...], kinds: tuple[Kind, ...], by: str, offset: int
    ) -> Facts:
        found = fitting(overloads, kinds)
        if not found:
            raise no_overload(by, kinds, offset)
        gives = {overload.gives for overload in found}
        return Facts(gives.pop() if len(gives) == 1 else Kind.DYN)


def no_overload(by: str, kinds: tuple[Kind, ...], offset: int) -> ExpressionError:
    """The error of an operator or function that does not take these kinds."""
    told = " and ".join(with_article(kind) for kind in kinds) or "nothing"
    remedy = "check the types"
    if by == "'+'" and Kind.STRING in kinds:
        remedy = "write string(…) around the other side"
    elif len(kinds) == 2 and set(kinds) == {Kind.INT, Kind.DOUBLE}:
        remedy = "write double(…) around the int"
    return ExpressionError(f"{by} cannot take {told}", offset, remedy)


def _called(facts: Facts) -> str:
    return f"'{'.'.join(facts.chain)}'" if facts.chain else with_article(facts.kind)


def _member_remedy(target: Facts, name: str, members: Mapping[str, Shape]) -> str:
    dashed = next((member for member in members if member.startswith(f"{name}-")), None)
    if dashed is not None and target.chain:
        return f'write {".".join(target.chain)}["{dashed}"]'
    return suggestion(name, members)


def _may_be_equal(left: Kind, right: Kind) -> bool:
    free = (Kind.DYN, Kind.NULL)
    if left is right or left in free or right in free:
        return True
    return {left, right} == {Kind.INT, Kind.DOUBLE}


def _check_literals(node: Call) -> None:
    """Patterns, times, time zones and times of day that stand in the source itself."""
    if node.function == "matches":
        _check_literal(node.arguments[-1:], compiled_pattern)
    elif node.function == "duration":
        _check_literal(node.arguments, parse_cel_duration)
    elif node.function == "timestamp":
        _check_literal(node.arguments, parse_timestamp)
    elif node.target is not None and (node.function in PARTS or node.function == "inBusinessHours"):
        _check_literal(node.arguments[:1], zone_named)
        _check_literal(node.arguments[1:], minutes_of)


def _check_literal(arguments: tuple[Node, ...], read: Callable[[str], object]) -> None:
    for node in arguments:
        if isinstance(node, Literal) and isinstance(node.value, str):
            try:
                read(node.value)
            except Fault as fault:
                raise ExpressionError(fault.message, node.offset, fault.remedy) from None
