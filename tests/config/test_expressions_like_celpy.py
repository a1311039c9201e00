"""The evaluation agrees with cel-python's own interpreter, wherever that keeps to the language."""

import sys
from collections.abc import Callable
from typing import Any, cast

import celpy
from celpy import celtypes
from celpy.adapter import json_to_cel
from celpy.evaluation import CELEvalError
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.config.expressions import ExpressionError, compile_expression
from stoker.config.shapes import ANY, Environment

SCOPE: dict[str, Any] = {
    "i": 7,
    "s": "text",
    "b": True,
    "l": [3, 1, 2],
    "m": {"i": 5, "s": "inner", "m": {"i": 1, "s": "", "b": False}, "b": True},
}
ENVIRONMENT = Environment(dict.fromkeys(SCOPE, ANY))
FAILED = object()


def by_celpy(source: str) -> object:
    limit = sys.getrecursionlimit()
    environment = celpy.Environment()
    sys.setrecursionlimit(limit)  # making the environment raised it for the whole process
    program = environment.program(environment.compile(source))  # pyright: ignore[reportUnknownMemberType]
    try:
        return _plain(program.evaluate({name: json_to_cel(value) for name, value in SCOPE.items()}))
    except CELEvalError:
        return FAILED


def _plain(value: Any) -> object:
    if isinstance(value, CELEvalError):
        raise value  # it leaves errors standing inside maps
    if isinstance(value, celtypes.BoolType):
        return bool(value)
    if isinstance(value, list):
        return [_plain(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in cast("dict[object, object]", value).items()}
    return str(value) if isinstance(value, str) else value if value is None else int(value)


def by_stoker(source: str) -> object:
    try:
        return compile_expression(source, ENVIRONMENT).evaluate(SCOPE)
    except ExpressionError:
        return FAILED


Texts = st.SearchStrategy[str]


def _grown(base: Texts, grow: Callable[[Texts], Texts]) -> Texts:
    return st.recursive(base, grow, max_leaves=5)


INTS = _grown(
    st.sampled_from(["i", "m.i", "m.m.i", "0", "1", "-3", "size(l)", "s.size()", "l[1]", "m['i']"]),
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from("+-*/%"), inner)
        | st.builds("-({})".format, inner)
    ),
)
STRINGS = _grown(
    st.sampled_from(["s", "m.s", "m['m'].s", "'a'", '"b c"', "string(i)", "r'x'"]),
    lambda inner: st.builds("({} + {})".format, inner, inner),
)
BOOLS = _grown(
    st.one_of(
        st.sampled_from(
            ["b", "m.b", "m.m.b", "true", "has(m.i)", "has(m.none)", "'i' in m", "s.contains('e')"]
        ),
        st.builds(
            "({} {} {})".format, INTS, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), INTS
        ),
        st.builds("({} {} {})".format, STRINGS, st.sampled_from(["<", "==", "!="]), STRINGS),
        st.builds("{}.startsWith({})".format, STRINGS, STRINGS),
        st.builds("({} in l)".format, INTS),
        st.builds(
            "l.{}(x, x {} {})".format,
            st.sampled_from(["all", "exists", "exists_one"]),
            st.sampled_from(["<", "=="]),
            INTS,
        ),
    ),
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["&&", "||"]), inner)
        | st.builds("!({})".format, inner)
        | st.builds("({} ? {} : {})".format, inner, inner, inner)
    ),
)
LISTS = st.one_of(
    st.builds("l.map(x, x + {})".format, INTS),
    st.builds("l.filter(x, x < {})".format, INTS),
    st.builds("l.map(x, l.map(y, x * y + {}))".format, INTS),
    st.builds("[{}, {}]".format, INTS, INTS),
    st.builds("{{'a': {}, 'b': {}}}".format, INTS, BOOLS),
)


@settings(max_examples=60)
@given(INTS | STRINGS | BOOLS | LISTS)
def test_expressions_give_what_the_interpreter_of_cel_python_gives(source: str) -> None:
    assert by_celpy(source) == by_stoker(source)


@settings(max_examples=40)
@given(
    st.sampled_from(sorted(SCOPE)),
    st.lists(st.sampled_from([".i", ".s", ".m", ".b", "['i']", '["m"]', ".none"]), max_size=4).map(
        "".join
    ),
)
def test_the_short_way_of_a_chain_gives_what_the_long_way_gives(root: str, rest: str) -> None:
    """`dyn(…)` around the root keeps a chain from being short."""
    long_way = by_stoker(f"dyn({root}){rest}")
    assert long_way == by_stoker(root + rest)
    assert long_way == by_celpy(root + rest)
