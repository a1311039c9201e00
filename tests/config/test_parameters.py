import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.config.parameters import (
    ParameterProblem,
    ParameterProblems,
    Parameters,
    ParameterSchemaError,
)
from stoker.config.shapes import ANY, BOOL, DOUBLE, INT, LIST, STRING, Shape

WEB: dict[str, Any] = {
    "greeting": {"type": "string", "maxLength": 8, "default": "hello"},
    "copies": {"type": "integer", "minimum": 1},
    "note": {"type": ["string", "null"], "default": None},
}


def problems_of(schemas: Any, given_: Any) -> tuple[ParameterProblem, ...]:
    with pytest.raises(ParameterProblems) as caught:
        Parameters.compile(schemas).accept(given_)
    return caught.value.problems


def refused(schema: Any, name: str = "p") -> ParameterSchemaError:
    with pytest.raises(ParameterSchemaError) as caught:
        Parameters.compile({name: schema})
    return caught.value


def test_defaults_are_filled_in() -> None:
    parameters = Parameters.compile(WEB)
    assert {"greeting": "hello", "copies": 2, "note": None} == parameters.accept({"copies": 2})
    assert {"greeting": "hey", "copies": 2, "note": "n"} == parameters.accept(
        {"copies": 2, "greeting": "hey", "note": "n"}
    )


def test_no_parameters_accept_nothing_and_only_nothing() -> None:
    parameters = Parameters.compile({})
    assert {} == parameters.accept({})
    (problem,) = problems_of({}, {"a": 1})
    assert ("unknown-parameter", "it takes none") == (problem.code, problem.remedy)


def test_a_parameter_without_default_is_required() -> None:
    assert (
        ParameterProblem(
            "copies", "bad-parameter", "parameter 'copies' is required", "pass a value for 'copies'"
        ),
    ) == problems_of(WEB, {})


def test_a_default_is_never_shared_between_claims() -> None:
    parameters = Parameters.compile({"tags": {"type": "array", "default": [["a"]]}})
    first: Any = parameters.accept({})
    first["tags"][0].append("b")
    assert {"tags": [["a"]]} == parameters.accept({})


def test_what_the_caller_passed_is_not_shared_either() -> None:
    tags: list[Any] = ["a"]
    accepted = Parameters.compile({"tags": {"type": "array"}}).accept({"tags": tags})
    tags.append("b")
    assert {"tags": ["a"]} == accepted


def test_all_problems_are_told_at_once() -> None:
    found = problems_of(WEB, {"greting": "x", "copies": 0, "greeting": "far too long"})
    assert [
        (
            "greting",
            "unknown-parameter",
            "there is no parameter 'greting'",
            "did you mean 'greeting'?",
        ),
        (
            "copies",
            "bad-parameter",
            "parameter 'copies': the value is less than the minimum of 1",
            "see the schema of the parameter",
        ),
        (
            "greeting",
            "bad-parameter",
            "parameter 'greeting': the value is longer than 8 characters",
            "see the schema of the parameter",
        ),
    ] == [(one.name, one.code, one.message, one.remedy) for one in found]


def test_the_place_inside_a_value_is_named_and_the_value_is_not() -> None:
    schema = {"type": "array", "items": {"type": "object", "properties": {"a": {"enum": [1, 2]}}}}
    (problem,) = problems_of({"p": schema}, {"p": [{"a": "s3cret"}]})
    assert "parameter 'p': the value of [0].a is not one of 1 or 2" == problem.message


def test_numbers_reach_expressions_in_the_type_of_their_parameter() -> None:
    parameters = Parameters.compile(
        {"i": {"type": "integer", "default": 2.0}, "n": {"type": "number", "default": 1}}
    )
    for values in (parameters.accept({}), parameters.accept({"i": 2.0, "n": 1})):
        assert [int, float] == [type(values["i"]), type(values["n"])]


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**400])
def test_a_number_beyond_64_bits_is_refused(value: int) -> None:
    (problem,) = problems_of({"p": {"type": "integer"}}, {"p": value})
    assert "parameter 'p': the number needs more than 64 bits" == problem.message


def test_what_is_passed_is_bounded_in_size_and_depth() -> None:
    deep: Any = []
    for _ in range(31):
        deep = [deep]
    schemas: Any = {"p": {}}
    (problem,) = problems_of(schemas, {"p": deep})
    assert "what was passed is nested more than 32 deep" == problem.message
    (problem,) = problems_of(schemas, {"p": "x" * 65_536})
    assert "what was passed is larger than 65536 characters" == problem.message
    (problem,) = problems_of(schemas, {"p": float("nan")})
    assert "what was passed is no finite number" == problem.message


def test_at_most_twenty_problems_are_told() -> None:
    assert 20 == len(problems_of({}, {f"p{number}": 1 for number in range(100)}))


def test_a_secret_is_marked_by_write_only() -> None:
    parameters = Parameters.compile({"a": {"writeOnly": True}, "b": {"writeOnly": False}})
    assert {"a"} == parameters.secret_names


@pytest.mark.parametrize(
    ("schema", "shape"),
    [
        ({"type": "string"}, STRING),
        ({"type": "integer"}, INT),
        ({"type": "number"}, DOUBLE),
        ({"type": "boolean"}, BOOL),
        ({"type": "array"}, LIST),
        ({"type": ["string", "null"]}, ANY),
        ({}, ANY),
        (
            {
                "type": "object",
                "properties": {"a": {"type": "string"}, "n": {"type": "integer"}},
                "additionalProperties": False,
            },
            Shape.object({"a": STRING, "n": ANY}),
        ),
    ],
)
def test_expressions_are_told_the_types_of_parameters(schema: Any, shape: Shape) -> None:
    assert {"p": shape} == Parameters.compile({"p": schema}).shapes()


@pytest.mark.parametrize(
    ("schema", "message", "remedy"),
    [
        ("string", "the schema must be a map", "write one, such as {type: string}"),
        ({"type": "strin"}, "there is no type 'strin'", "did you mean 'string'?"),
        ({"typ": "string"}, "there is no keyword 'typ'", "did you mean 'type'?"),
        (
            {"properties": {"a": {"minimun": 1}}},
            "there is no keyword 'minimun' in properties.a",
            "did you mean 'minimum'?",
        ),
        (
            {"pattern": "(?=a)"},
            "pattern is no pattern that can be matched in linear time",
            "write it without look-around and back-references",
        ),
        ({"format": "emial"}, "there is no format 'emial'", "remove it, or use a pattern"),
        (
            {"$ref": "https://example.org/x"},
            "a $ref leaves the schema",
            "write it out below $defs and refer to that",
        ),
        (
            {"allOf": [{"$ref": "file:///etc/passwd"}]},
            "a $ref leaves the schema in allOf[0]",
            "write it out below $defs and refer to that",
        ),
        (
            {"$schema": "http://json-schema.org/draft-07/schema#"},
            "only draft 2020-12 of JSON Schema is understood",
            "write https://json-schema.org/draft/2020-12/schema",
        ),
        (
            {"type": "integer", "default": "x"},
            'the default breaks its own schema: the value is not of type "integer"',
            "change the default or the schema",
        ),
        (
            {"minLength": -1},
            "the schema is invalid: minLength is less than the minimum of 0",
            "see json-schema.org/draft/2020-12",
        ),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_at_load(
    schema: Any, message: str, remedy: str
) -> None:
    error = refused(schema)
    assert ("p", message, remedy) == (error.name, error.message, error.remedy)


def test_a_ref_to_what_is_not_there_is_refused_at_load() -> None:
    assert "/$defs/x" in refused({"$ref": "#/$defs/x"}).message


def test_a_ref_within_the_schema_is_followed() -> None:
    schema: Any = {"$ref": "#/$defs/small", "$defs": {"small": {"maximum": 3}}}
    assert {"p": 3} == Parameters.compile({"p": schema}).accept({"p": 3})
    assert 1 == len(problems_of({"p": schema}, {"p": 4}))


@pytest.mark.parametrize("name", ["", "A", "1a", "a-b", "a.b", "a" * 65, "ä", "a\n"])
def test_a_name_that_expressions_cannot_read_is_refused(name: str) -> None:
    assert "rename it" == refused({}, name).remedy


def test_a_blueprint_has_at_most_64_parameters() -> None:
    with pytest.raises(ParameterSchemaError, match="at most 64 parameters"):
        Parameters.compile({f"p{number}": {} for number in range(65)})


def test_a_schema_is_not_nested_endlessly() -> None:
    schema: Any = {}
    for _ in range(40):
        schema = {"not": schema}
    assert "the schema is nested more than 32 deep" == refused(schema).message


def test_a_pattern_needs_linear_time() -> None:
    schema = {"type": "string", "pattern": "^(a+)+$"}
    begin = time.perf_counter()
    assert 1 == len(problems_of({"p": schema}, {"p": "a" * 20_000 + "!"}))
    assert time.perf_counter() - begin < 2


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(st.from_regex(r"[a-z][a-zA-Z0-9_]{0,5}", fullmatch=True), _JSON, max_size=5),
    st.data(),
)
def test_what_is_passed_wins_over_the_default_and_nothing_is_lost(
    defaults: dict[str, Any], data: st.DataObject
) -> None:
    schemas: dict[str, Any] = {name: {"default": value} for name, value in defaults.items()}
    parameters = Parameters.compile(schemas)
    passed = data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys(defaults, _JSON)))
    accepted = parameters.accept(passed)
    assert json.dumps({**defaults, **passed}, sort_keys=True) == json.dumps(
        accepted, sort_keys=True
    )
    assert accepted == parameters.accept(accepted)


@given(st.dictionaries(st.text(max_size=8), _JSON | st.floats(), max_size=5))
def test_whatever_is_passed_is_accepted_or_refused_with_problems(passed: dict[str, Any]) -> None:
    try:
        assert {"greeting", "copies", "note"} == Parameters.compile(WEB).accept(passed).keys()
    except ParameterProblems as error:
        assert error.problems  # noqa: PT017


@given(
    st.recursive(
        _JSON,
        lambda inner: st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "items",
                    "properties",
                    "allOf",
                    "pattern",
                    "default",
                    "enum",
                    "$ref",
                    "minimum",
                    "required",
                ]
            ),
            inner,
            max_size=4,
        ),
        max_leaves=8,
    )
)
def test_any_schema_is_used_or_refused(schema: Any) -> None:
    try:
        Parameters.compile({"p": schema}).shapes()
    except ParameterSchemaError as error:
        assert "p" == error.name  # noqa: PT017
