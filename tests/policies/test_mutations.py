"""Each operator, branch and verdict of the decision matters: whoever flips one fails a test.

Mutants of the modules that decide are made one by one and put under the tests of `test_deciding` and `test_limits`.
"""

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from stoker.policies import canary, decide, limits, shaping
from tests.policies import builders, test_deciding, test_limits

USERS = (decide, builders, test_deciding, test_limits)
"""Who has functions of these modules under their own names."""
FLIPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.And: ast.Or, ast.Or: ast.And, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.BitOr: ast.BitAnd,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
}  # fmt: skip
OTHERS = {
    "ALLOW": "DENY", "DENY": "APPROVE", "APPROVE": "ALLOW", "ENFORCE": "SHADOW", "CANARY": "SHADOW",
}  # fmt: skip
CALLS = {"any": "all", "all": "any", "min": "max", "max": "min"}
HARMLESS = {
    decide: {
        "if before is not None and before.shaped == shaped -> False",
        "if known is None -> True",
        "if found is None -> True",
    },
    limits: {
        "if policy.limits is not NO_LIMITS -> True",
        "if limits is NO_LIMITS -> False",
    },
    shaping: {
        "if not some -> False",
        "if not changed -> False",
    },
    canary: {
        "int.from_bytes(drawn[:8], 'big') < share * _WHOLE",
    },
}
"""With these the same is found in a longer way; for a canary, one caller in 2^64 would be drawn too."""

Case = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Spot:
    """One attribute of one node, and what it may be changed to."""

    what: str
    node: ast.AST
    attribute: str
    new: object

    def flip(self) -> Callable[[], None]:
        """Changes it and returns what undoes it."""
        old = getattr(self.node, self.attribute)
        setattr(self.node, self.attribute, self.new)
        return lambda: setattr(self.node, self.attribute, old)


def spots(tree: ast.Module) -> Iterator[Spot]:
    passive = {
        id(inner) for node in ast.walk(tree) for it in _passive(node) for inner in ast.walk(it)
    }
    for node in ast.walk(tree):
        if id(node) not in passive:
            yield from _flips(node)


def _passive(node: ast.AST) -> Iterator[ast.AST]:
    """Annotations, decorators and names of types: nothing that decides."""
    match node:
        case ast.FunctionDef():
            yield from node.decorator_list
            yield from [node.returns] if node.returns is not None else []
        case ast.ClassDef():
            yield from node.decorator_list
        case ast.arg(annotation=ast.expr() as annotation) | ast.AnnAssign(annotation=annotation):
            yield annotation
        case ast.Assign(targets=[ast.Name(id="Outcome")], value=value):
            yield value
        case _:
            return


def _flips(node: ast.AST) -> Iterator[Spot]:
    match node:
        case ast.BoolOp(op=op) | ast.BinOp(op=op) if type(op) in FLIPS:
            yield Spot(ast.unparse(node), node, "op", FLIPS[type(op)]())
        case ast.Compare(ops=[op]) if type(op) in FLIPS:
            yield Spot(ast.unparse(node), node, "ops", [FLIPS[type(op)]()])
        case ast.Attribute(value=ast.Name(id="Verdict" | "Effect" | "Mode"), attr=attr):
            yield Spot(ast.unparse(node), node, "attr", OTHERS[attr])
        case ast.Constant(value=bool(value)):
            yield Spot(f"{value} in line {node.lineno}", node, "value", not value)
        case ast.Call(func=ast.Name(id=name) as called) if name in CALLS:
            yield Spot(ast.unparse(node), called, "id", CALLS[name])
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield Spot(ast.unparse(node), node, "operand", ast.UnaryOp(ast.Not(), operand))
        case ast.If(test=test):
            for value in (True, False):
                said = f"if {ast.unparse(test)} -> {value}"
                yield Spot(said, node, "test", ast.Constant(value))
        case ast.IfExp(test=test):
            yield Spot(ast.unparse(node), node, "test", ast.UnaryOp(ast.Not(), test))
        case _:
            return


def mutants(original: ModuleType) -> Iterator[tuple[str, ModuleType]]:
    tree = ast.parse(Path(str(original.__file__)).read_text(encoding="utf-8"))
    for spot in list(spots(tree)):
        undo = spot.flip()
        code = compile(ast.fix_missing_locations(tree), "mutant", "exec")
        undo()
        module = ModuleType("stoker.policies.mutant")
        module.__package__ = "stoker.policies"
        sys.modules[module.__name__] = module  # dataclasses look there for themselves
        exec(code, module.__dict__)
        yield spot.what, module
    sys.modules.pop("stoker.policies.mutant", None)


def all_cases() -> list[Case]:
    found: list[Case] = []
    for name, test in (*vars(test_deciding).items(), *vars(test_limits).items()):
        if name.startswith("test_"):
            marks = [it for it in getattr(test, "pytestmark", []) if it.name == "parametrize"]
            names, rows = marks[0].args if marks else ((), ((),))
            if isinstance(names, str):
                names, rows = (names,), [(row,) for row in rows]
            found += [_case(test, dict(zip(names, row, strict=True))) for row in rows]
    return found


def _case(test: Callable[..., None], given: dict[str, object]) -> Case:
    return lambda: test(**given)


def survives(
    original: ModuleType, mutant: ModuleType, cases: list[Case], monkeypatch: pytest.MonkeyPatch
) -> bool:
    with monkeypatch.context() as patch:
        for user in USERS:
            for name, found in vars(user).items():
                if getattr(found, "__module__", "") == original.__name__ and user is not original:
                    patch.setattr(user, name, getattr(mutant, name))
        for at, case in enumerate(cases):
            try:
                case()
            except Exception:  # whatever ends a test
                cases.insert(0, cases.pop(at))  # what finds one mutant often finds the next
                return False
    return True


@pytest.mark.parametrize(
    ("original", "at_least"), [(decide, 100), (limits, 60), (shaping, 60), (canary, 2)]
)
def test_every_mutant_of_a_decision_fails_a_test(
    original: ModuleType, at_least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = all_cases()
    assert survives(original, original, cases, monkeypatch)
    tried = [
        (what, survives(original, module, cases, monkeypatch)) for what, module in mutants(original)
    ]
    assert len(tried) >= at_least
    assert HARMLESS[original] == {what for what, survived in tried if survived}
