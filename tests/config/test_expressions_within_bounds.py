"""Expressions that would run for ever, grow without end or break the stack are stopped."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.config.expressions import ExpressionError, compile_expression
from stoker.config.shapes import ANY, LIST, STRING, Environment, Shape

ENVIRONMENT = Environment({"big": LIST, "text": STRING, "a": ANY})
MACROS = (
    "big.map(x, big.map(y, x * y))",
    "big.all(x, big.all(y, x + y >= 0))",
    "big.exists(x, big.exists(y, x + y < 0)) || true",
    "big.filter(x, big.exists_one(y, x == y))",
    "big.map(x, big + big)",
    "big.all(x, big == big)",
    "big.all(x, -1 in big || true)",
    "big.all(x, text.contains('b') || true)",
    "big.all(x, (text + 'b').matches('a*c') || true)",
)


@pytest.mark.parametrize("source", MACROS)
def test_macros_over_large_lists_stop_after_a_bounded_number_of_steps(source: str) -> None:
    expression = compile_expression(source, ENVIRONMENT)
    begin = time.perf_counter()
    with pytest.raises(ExpressionError, match="took more than 20000 steps"):
        expression.evaluate({"big": list(range(5000)), "text": "a" * 50_000})
    assert time.perf_counter() - begin < 2


def test_macros_nest_twice_and_no_deeper() -> None:
    with pytest.raises(ExpressionError, match="more than 2 macros stand inside each other"):
        compile_expression("[1].map(x, [1].map(y, [1].map(z, 1)))", ENVIRONMENT)
    chained = compile_expression("[1].map(x, x).map(x, x).map(x, x).map(x, x)", ENVIRONMENT)
    assert [1] == chained.evaluate({})


def test_a_string_does_not_grow_without_end() -> None:
    expression = compile_expression(" + ".join(["text"] * 90), ENVIRONMENT)
    with pytest.raises(ExpressionError, match="a string grows beyond 65536 characters"):
        expression.evaluate({"text": "a" * 10_000})


@pytest.mark.parametrize("source", ["text", "[text]", "{'a': text, 'b': text}", "a", "a[0]"])
def test_a_result_is_not_larger_than_64_kib(source: str) -> None:
    expression = compile_expression(source, ENVIRONMENT)
    with pytest.raises(ExpressionError, match="larger than 65536 characters"):
        expression.evaluate({"text": "a" * 65_537, "a": [["b" * 40_000] * 2]})


def test_a_result_is_not_nested_endlessly() -> None:
    value: object = 1
    for _ in range(5000):
        value = [value]
    for source in ("a", "[a]", "a == a"):
        expression = compile_expression(source, ENVIRONMENT)
        with pytest.raises(ExpressionError, match="nested"):
            expression.evaluate({"a": value})


def test_a_source_is_not_longer_than_4_kib() -> None:
    with pytest.raises(ExpressionError, match="has 4097 characters; at most 4096 are allowed"):
        compile_expression("1" * 4097, ENVIRONMENT)


@pytest.mark.parametrize(
    "source",
    [
        "(" * 33 + "1" + ")" * 33,
        "[" * 2000 + "]" * 2000,
        "(" * 4000,
        "-" * 4000 + "1",
        "!" * 4000 + "true",
        "1 + " * 1000 + "1",
        "true ? 1 : " * 300 + "1",
        "a" + ".b" * 2000,
        "a" + "[0]" * 1000,
        "a" + ".b()" * 1000,
        "size(" * 800 + "a" + ")" * 800,
        "{'a':" * 600 + "1" + "}" * 600,
        '"' + "\\" * 4001,
        '"' + "\\" * 4000 + '" + "',
        "'''" + "\\'" * 1900,
        "'" * 4095,
        "r'" + "\\" * 4000,
    ],
)
def test_nasty_sources_are_refused_in_no_time(source: str) -> None:
    compile_expression("1", ENVIRONMENT)
    begin = time.perf_counter()
    with pytest.raises(ExpressionError):
        compile_expression(source, ENVIRONMENT)
    assert time.perf_counter() - begin < 2


@pytest.mark.parametrize(
    "source",
    [
        "(" * 32 + "1" + ")" * 32,
        "-" * 90 + "a",
        " + ".join(["1"] * 90),
        " && ".join(["true"] * 90),
        "true ? 1 : " * 90 + "1",
        "size(string(" * 16 + "1" + "))" * 16,
    ],
)
def test_what_is_just_within_the_bounds_runs_on_an_ordinary_stack(source: str) -> None:
    expression = compile_expression(source, ENVIRONMENT)
    try:
        expression.evaluate({"a": 1})
    except ExpressionError as error:
        assert "cannot take" in error.message  # noqa: PT017 - types, not depth


def test_a_pattern_needs_linear_time() -> None:
    expression = compile_expression("text.matches('^(a+)+$')", ENVIRONMENT)
    begin = time.perf_counter()
    assert expression.evaluate({"text": "a" * 5000 + "b"}) is False
    assert time.perf_counter() - begin < 1


def test_patterns_that_are_costly_to_compile_stop_too() -> None:
    source = "big.exists(x, text.matches('(?i)[a-z]{' + string(x) + '}\\\\pL{400}'))"
    expression = compile_expression(source, ENVIRONMENT)
    begin = time.perf_counter()
    with pytest.raises(ExpressionError, match="took more than 20000 steps"):
        expression.evaluate({"text": "a" * 100, "big": list(range(1, 900))})
    assert time.perf_counter() - begin < 3


def test_a_duration_is_read_in_linear_time() -> None:
    expression = compile_expression("duration(text)", ENVIRONMENT)
    begin = time.perf_counter()
    with pytest.raises(ExpressionError):
        expression.evaluate({"text": "a" * 5000 + "!"})
    assert time.perf_counter() - begin < 1


def test_one_expression_serves_several_threads_at_once() -> None:
    expression = compile_expression("big.map(x, big.map(y, x * y + a))", ENVIRONMENT)
    wrong: list[object] = []

    def work(a: int) -> None:
        wanted = [[x * y + a for y in range(20)] for x in range(20)]
        wrong.extend(
            found
            for _ in range(20)
            if (found := expression.evaluate({"big": list(range(20)), "a": a})) != wanted
        )

    threads = [threading.Thread(target=work, args=(a,)) for a in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


_ALPHABET = st.sampled_from(
    [
        *"ab01.+-*/%<>=!&|?:,()[]{}\"'\\r \n",
        "a.b",
        "size(",
        "map(x, ",
        " in ",
        "true",
        "null",
        "text",
        "big",
        "//",
        "1.5",
        "'''",
        "has(",
    ]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(st.lists(_ALPHABET, max_size=60).map("".join) | st.text(max_size=60), _JSON)
def test_any_source_compiles_or_is_refused_and_evaluates_or_fails(
    source: str, value: object
) -> None:
    try:
        compile_expression(source, ENVIRONMENT).evaluate({"a": value, "text": "t", "big": [1, 2]})
    except ExpressionError as error:
        assert 0 <= error.offset <= len(source)  # noqa: PT017
        assert error.message  # noqa: PT017


def _operations() -> st.SearchStrategy[str]:
    leaves = st.sampled_from(
        [
            "a",
            "a.b",
            "text",
            "big",
            "1",
            "-2",
            "0",
            "1.5",
            "'x'",
            "null",
            "true",
            "[]",
            "{}",
            "duration('1h')",
            "timestamp(0)",
        ]
    )

    def wider(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        operators = st.sampled_from(
            ["+", "-", "*", "/", "%", "<", "<=", "==", "!=", "in", "&&", "||"]
        )
        functions = st.sampled_from(
            ["size", "string", "int", "double", "bool", "duration", "timestamp", "dyn"]
        )
        methods = st.sampled_from(["contains", "startsWith", "matches", "getHours"])
        macros = st.sampled_from(["all", "exists", "exists_one", "filter", "map"])
        return st.one_of(
            st.builds("({} {} {})".format, inner, operators, inner),
            st.builds("{}(dyn({}))".format, functions, inner),
            st.builds("dyn({}).{}(dyn({}))".format, inner, methods, inner),
            st.builds("dyn({}).{}(x, dyn({}))".format, inner, macros, inner | st.just("x")),
            st.builds("dyn({}) ? {} : {}".format, inner, inner, inner),
            st.builds("[{}, {}]".format, inner, inner),
            st.builds("{{'k': {}}}".format, inner),
            st.builds("dyn({})[dyn({})]".format, inner, inner),
        )

    return st.recursive(leaves, wider, max_leaves=12)


@given(_operations(), _JSON)
def test_any_well_formed_expression_gives_json_or_an_expression_error(
    source: str, value: object
) -> None:
    environment = Environment({name: Shape() for name in ("a", "text", "big")})
    try:
        expression = compile_expression(source, environment)
        expression.evaluate({"a": value, "text": "t\ud800", "big": [1, 2]})
    except ExpressionError as error:
        assert error.message  # noqa: PT017
