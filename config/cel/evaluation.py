"""Runs an expression: one closure for each node, made once, with a count of the steps it takes.

Closures instead of cel-python's own runners: its interpreter needs some eighty times as long for a
typical rule, its compiled runner fifteen times and keeps its state in module globals (not re-entrant),
neither counts steps, and both quote values (which may be secret) in their errors.
`tests/config/test_expressions_like_celpy.py` compares the outcomes.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, cast

from .checking import no_overload
from .errors import ExpressionError
from .frames import Frame, OverBudget, Runner, as_bool, told
from .functions import FUNCTIONS, MACROS, METHODS, Pattern, compiled_pattern, found_in
from .macros import CONSUMERS, items_of
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
    chain_of,
)
from .operations import OPERATORS, Overload, Run
from .values import Fault, Kind, kind_of, types_of


def runner(node: Node, bound: frozenset[str] = frozenset()) -> Runner:
    """The closure of a node; `bound` are the names that macros around it give a value.

    A call with nothing but literals, such as `duration("1h")`, is computed here, once.
    """
    run = _runner(node, bound)
    if not isinstance(node, Call) or node.target is not None or node.function == "has":
        return run
    if not all(isinstance(argument, Literal) for argument in node.arguments):
        return run
    try:
        value = run(Frame({}))
    except ExpressionError:
        return run  # it fails where it is evaluated, if it ever is
    return lambda _: value


def _runner(node: Node, bound: frozenset[str]) -> Runner:  # noqa: C901 - one case for each node
    match node:
        case Literal():
            value = node.value
            return lambda _: value
        case Name():
            return _name(node, bound)
        case Member():
            chain = chain_of(node)
            step = _member(runner(node.target, bound), node.name, node.offset)
            return _path(chain, step) if chain and chain[0] not in bound else step
        case Index():
            if isinstance(node.key, Literal) and isinstance(node.key.value, str):
                return _member(runner(node.target, bound), node.key.value, node.offset)
            return _index(runner(node.target, bound), runner(node.key, bound), node.offset)
        case Unary():
            name = "negative" if node.operator == "-" else node.operator
            operand = runner(node.operand, bound)
            return _applied(OPERATORS[name], (operand,), f"'{node.operator}'", node.offset)
        case Binary():
            left, right = runner(node.left, bound), runner(node.right, bound)
            if node.operator in ("&&", "||"):
                return _logical(left, right, deciding=node.operator == "||", offset=node.offset)
            by = f"'{node.operator}'"
            return _applied_to_two(OPERATORS[node.operator], left, right, by, node.offset)
        case Conditional():
            return _conditional(node, bound)
        case ListOf():
            items = tuple(runner(item, bound) for item in node.items)
            return lambda frame: [item(frame) for item in items]
        case MapOf():
            return _map(node, bound)
        case Call():
            return _call(node, bound)


def _name(node: Name, bound: frozenset[str]) -> Runner:
    name, offset = node.name, node.offset
    if name in bound:
        return lambda frame: frame.names[name]

    def run(frame: Frame) -> object:
        try:
            return frame.scope[name]
        except KeyError:
            raise ExpressionError(f"'{name}' is not known yet", offset) from None

    return run


def _member(target: Runner, name: str, offset: int) -> Runner:
    def run(frame: Frame) -> object:
        frame.spend(1)
        value = target(frame)
        if isinstance(value, Mapping):
            members = cast("Mapping[object, object]", value)
            if name in members:
                return members[name]
            raise ExpressionError(f"there is no member '{name}'", offset, "check it with has()")
        raise ExpressionError(
            f"{told(value)} has no member '{name}'", offset, "only a map has members"
        )

    return run


def _path(chain: tuple[str, ...], step: Runner) -> Runner:
    """A chain of names from the scope: plain lookups, and step by step once anything is unusual."""
    root, *names = chain
    steps = len(names)

    def run(frame: Frame) -> object:
        frame.left -= steps
        if frame.left < 0:
            frame.spend(0)
        try:
            value: Any = frame.scope[root]  # any JSON; a type guard would cost more than the lookup
            for name in names:
                value = value[name]
            return value
        except (KeyError, TypeError):  # TypeError: something on the way is no mapping
            pass
        frame.left += steps
        return step(frame)

    return run


def _index(target: Runner, key: Runner, offset: int) -> Runner:
    def run(frame: Frame) -> object:
        frame.spend(1)
        container, at = target(frame), key(frame)
        kinds = _kinds((container, at), offset)
        if kinds == (Kind.LIST, Kind.INT):
            items, index = cast("list[object]", container), cast("int", at)
            if 0 <= index < len(items):
                return items[index]
            raise ExpressionError("the list has no such element", offset, "check its size()")
        if kinds == (Kind.MAP, Kind.STRING):
            members = cast("Mapping[object, object]", container)
            if at in members:
                return members[at]
            raise ExpressionError("the map has no such member", offset, "check it with in")
        raise no_overload("[…]", kinds, offset)

    return run


def _applied(
    overloads: tuple[Overload, ...], operands: tuple[Runner, ...], by: str, offset: int
) -> Runner:
    compute = _chosen(overloads, by, offset)

    def run(frame: Frame) -> object:
        frame.spend(1)
        values = [operand(frame) for operand in operands]
        return compute(frame, values)

    return run


def _chosen(
    overloads: tuple[Overload, ...], by: str, offset: int
) -> Callable[[Frame, list[object]], object]:
    """Computes with whichever overload takes the kinds of the values."""
    table = _by_kinds(overloads)

    def compute(frame: Frame, values: list[object]) -> object:
        kinds = _kinds(values, offset)
        run = table.get(kinds)
        if run is None:
            raise no_overload(by, kinds, offset)
        try:
            return run(frame, *values)
        except Fault as fault:
            raise ExpressionError(fault.message, offset, fault.remedy) from None

    return compute


def _applied_to_two(
    overloads: tuple[Overload, ...], left: Runner, right: Runner, by: str, offset: int
) -> Runner:
    """The same for operators, which are most of what is evaluated: found by the values' types."""
    general = _chosen(overloads, by, offset)
    table = _by_types(overloads)

    def run(frame: Frame) -> object:
        frame.left -= 1
        if frame.left < 0:
            frame.spend(0)
        a, b = left(frame), right(frame)
        compute = table.get((type(a), type(b)))
        if compute is None:
            return general(frame, [a, b])
        try:
            return compute(frame, a, b)
        except Fault as fault:
            raise ExpressionError(fault.message, offset, fault.remedy) from None

    return run


@cache
def _by_kinds(overloads: tuple[Overload, ...]) -> dict[tuple[Kind, ...], Run]:
    """The first overload for each combination of kinds."""
    return {
        kinds: overload.run
        for overload in reversed(overloads)
        for kinds in _all_kinds(overload.takes)
    }


@cache
def _by_types(overloads: tuple[Overload, ...]) -> dict[tuple[type, type], Run]:
    """The same for operators with two sides, by the Python types that are surely of a kind."""
    return {
        (one, other): overload.run
        for overload in reversed(overloads)
        for one in types_of(overload.takes[0])
        for other in types_of(overload.takes[-1])
    }


def _all_kinds(takes: tuple[Kind, ...]) -> list[tuple[Kind, ...]]:
    """What `takes` stands for, with every kind in the place of DYN."""
    every: list[tuple[Kind, ...]] = [()]
    for kind in takes:
        here = [other for other in Kind if other is not Kind.DYN] if kind is Kind.DYN else [kind]
        every = [(*before, one) for before in every for one in here]
    return every


def _kinds(values: "list[object] | tuple[object, ...]", offset: int) -> tuple[Kind, ...]:
    try:
        return tuple([kind_of(value) for value in values])
    except Fault as fault:
        raise ExpressionError(fault.message, offset, fault.remedy) from None


def _logical(left: Runner, right: Runner, *, deciding: bool, offset: int) -> Runner:
    """`&&` and `||`. A side that decides makes up for an error of the other, as CEL says."""

    def run(frame: Frame) -> bool:
        frame.spend(1)
        try:
            if as_bool(left(frame), offset) is deciding:
                return deciding
        except OverBudget:
            raise
        except ExpressionError:
            if as_bool(right(frame), offset) is deciding:
                return deciding
            raise
        return as_bool(right(frame), offset)

    return run


def _conditional(node: Conditional, bound: frozenset[str]) -> Runner:
    condition, offset = runner(node.condition, bound), node.offset
    then, otherwise = runner(node.then, bound), runner(node.otherwise, bound)

    def run(frame: Frame) -> object:
        frame.spend(1)
        return then(frame) if as_bool(condition(frame), offset) else otherwise(frame)

    return run


def _map(node: MapOf, bound: frozenset[str]) -> Runner:
    entries = [
        (runner(key, bound), key.offset, runner(value, bound)) for key, value in node.entries
    ]

    def run(frame: Frame) -> object:
        frame.spend(len(entries))
        made: dict[str, object] = {}
        for key, offset, value in entries:
            name = key(frame)
            if not isinstance(name, str):
                raise ExpressionError("a key of a map is no string", offset, "write string(…)")
            if name in made:
                raise ExpressionError("a key stands twice in the map", offset, "remove one")
            made[name] = value(frame)
        return made

    return run


def _call(node: Call, bound: frozenset[str]) -> Runner:
    if node.target is None and node.function == "has":
        return _has(cast("Member", node.arguments[0]), bound)
    if node.target is not None and node.function in MACROS:
        return _macro(node, node.target, bound)
    pattern = node.arguments[-1] if node.function == "matches" else None
    if isinstance(pattern, Literal) and isinstance(pattern.value, str):
        text = node.target if node.target is not None else node.arguments[0]
        return _literal_match(runner(text, bound), compiled_pattern(pattern.value), node.offset)
    table = FUNCTIONS if node.target is None else METHODS
    given = node.arguments if node.target is None else (node.target, *node.arguments)
    operands = tuple(runner(argument, bound) for argument in given)
    return _applied(table[node.function], operands, f"{node.function}()", node.offset)


def _literal_match(target: Runner, pattern: Pattern, offset: int) -> Runner:
    """`matches` with a pattern that stands in the source: compiled with it."""

    def run(frame: Frame) -> bool:
        frame.spend(1)
        text = target(frame)
        if not isinstance(text, str):
            raise no_overload("matches()", _kinds((text, ""), offset), offset)
        try:
            return found_in(frame, text, pattern)
        except Fault as fault:
            raise ExpressionError(fault.message, offset, fault.remedy) from None

    return run


def _has(node: Member, bound: frozenset[str]) -> Runner:
    target, name, offset = runner(node.target, bound), node.name, node.offset

    def run(frame: Frame) -> bool:
        frame.spend(1)
        value = target(frame)
        if isinstance(value, Mapping):
            return name in cast("Mapping[object, object]", value)
        raise ExpressionError(f"{told(value)} has no members", offset, "give has() a map's member")

    return run


def _macro(node: Call, target_node: Node, bound: frozenset[str]) -> Runner:
    target, offset = runner(target_node, bound), node.offset
    name = cast("Name", node.arguments[0]).name
    bodies = [runner(body, bound | {name}) for body in node.arguments[1:]]
    consume = CONSUMERS[node.function]

    def run(frame: Frame) -> object:
        before = frame.names.get(name)
        items = items_of(target(frame), node.function, offset)

        def each(body: Runner, item: object) -> object:
            frame.spend(1)
            frame.names[name] = item
            return body(frame)

        try:
            return consume(items, bodies, each, offset)
        finally:
            frame.names[name] = before

    return run
