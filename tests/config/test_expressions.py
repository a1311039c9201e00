from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stoker.config.catalogue import OutputFacts, ValueType
from stoker.config.expressions import ExpressionError, compile_expression
from stoker.config.shapes import ANY, BOOL, DOUBLE, INT, LIST, MAP, STRING, Environment, Shape

ENVIRONMENT = Environment(
    {
        "params": Shape.object(
            {
                "greeting": STRING,
                "count": INT,
                "ratio": DOUBLE,
                "fast": BOOL,
                "sizes": LIST,
                "anything": ANY,
            }
        ),
        "parts": Shape.object(
            {
                "site": Shape.of_outputs({"path": OutputFacts(ValueType.STRING)}),
                "server": Shape.of_outputs(
                    {"ports": OutputFacts(ValueType.MAP, keys_from="ports")}, {"ports": ["http"]}
                ),
                "my-part": Shape.of_outputs({}, open=True),
            }
        ),
        "self": MAP,
    },
    {"claim": "a claim is known in finish and outputs only"},
)
SCOPE: dict[str, Any] = {
    "params": {
        "greeting": "hi",
        "count": 3,
        "ratio": 2.0,
        "fast": True,
        "sizes": [1, 2, 3],
        "anything": None,
    },
    "parts": {
        "site": {"path": "/srv/a"},
        "server": {"ports": {"http": 8080}},
        "my-part": {"deep": {"er": [{"x": 1}]}},
    },
    "self": {"ports": {"http": 9}},
}


def value_of(source: str) -> Any:
    return compile_expression(source, ENVIRONMENT).evaluate(SCOPE)


def refused(source: str, wanted: ValueType | None = None) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source, ENVIRONMENT, wanted)
    return caught.value


def failed(source: str) -> ExpressionError:
    compiled = compile_expression(source, ENVIRONMENT)
    with pytest.raises(ExpressionError) as caught:
        compiled.evaluate(SCOPE)
    return caught.value


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("params.greeting", "hi"),
        ("parts.server.ports.http", 8080),
        ('self.ports["http"]', 9),
        ('parts["my-part"].deep.er[0].x', 1),
        ("(params . greeting)", "hi"),
        ("params.sizes", [1, 2, 3]),
        ("params.anything", None),
    ],
)
def test_a_chain_of_members_gives_the_value_itself(source: str, value: Any) -> None:
    assert value == value_of(source)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("1 + 2 * 3", 7),
        ("7 / -2", -3),
        ("-7 % 3", -1),
        ("1.5 / 2.0", 0.75),
        ("'a' + r'\\' + \"b\" + '''c'''", "a\\bc"),
        ("'\\u00e9\\n\\x41\\101'", "é\nAA"),
        ("[1] + [2]", [1, 2]),
        ("{'a': {'b': [true, null]}}", {"a": {"b": [True, None]}}),
        ("params.fast ? 'y' : 'n'", "y"),
        ("params.anything == null ? 'none' : 'some'", "none"),
        ("1 == 1.0 && 1 < 1.5", True),
        ("params.anything == 'x'", False),
        ("'http' in self.ports && 2 in params.sizes", True),
        ("size('é') + size([1]) + {'a': 1}.size()", 3),
        ("params.sizes.filter(x, x > 1).map(x, x * x)", [4, 9]),
        ("params.sizes.map(x, x > 1, x * x)", [4, 9]),
        ("params.sizes.all(x, x > 0) && params.sizes.exists(x, x == 3)", True),
        ("params.sizes.exists_one(x, x == 3)", True),
        ("self.ports.map(name, name + '!')", ["http!"]),
        ("params.sizes.map(x, params.sizes.map(y, x * y))", [[1, 2, 3], [2, 4, 6], [3, 6, 9]]),
        ("params.sizes.map(params, params)", [1, 2, 3]),
        ("has(self.ports.http) && !has(self.nothing)", True),
        ("params.greeting.startsWith('h') && params.greeting.endsWith('i')", True),
        ("params.greeting.contains('i') && params.greeting.matches('^h.$')", True),
        ("string(1) + string(2.0) + string(0.5) + string(true)", "120.5true"),
        ("int('12') + int(3.9) + int(params.ratio)", 17),
        ("double('1.5') + double(1)", 2.5),
        ("bool('true')", True),
        ("dyn(1) == dyn('a')", False),
        ("1 // one\n + 1", 2),
    ],
)
def test_expressions_compute_as_cel_says(source: str, value: Any) -> None:
    found = value_of(source)
    assert (value, type(value)) == (found, type(found))


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("duration('90m')", "1h30m"),
        ("duration('1h') > duration('59m')", True),
        ("duration('7d').getHours()", 168),
        ("timestamp('2024-02-29T23:30:00Z') + duration('1h')", "2024-03-01T00:30:00Z"),
        ("timestamp('2024-01-01T00:00:00Z') - timestamp('2023-12-31T00:00:00Z')", "1d"),
        ("timestamp('2024-02-29T23:30:00Z').getHours('Europe/Vienna')", 0),
        ("timestamp('2024-02-29T23:30:00Z').getHours('+01:30')", 1),
        ("timestamp('2024-02-29T23:30:00Z').getDayOfYear()", 59),
        ("timestamp('2024-02-29T23:30:00Z').getDayOfWeek()", 4),
        ("int(timestamp('1970-01-01T00:01:00Z'))", 60),
        ("timestamp(60)", "1970-01-01T00:01:00Z"),
    ],
)
def test_times_are_computed_and_come_out_as_strings(source: str, value: Any) -> None:
    assert value == value_of(source)


def test_times_may_stand_in_the_scope() -> None:
    environment = Environment({"request": MAP})
    request = {"ttl": timedelta(hours=2), "at": datetime(2030, 1, 1, tzinfo=UTC)}
    expression = compile_expression("request.ttl > duration('1h')", environment)
    assert expression.evaluate({"request": request}) is True
    plain = compile_expression("[request.ttl, request.at]", environment)
    assert ["2h", "2030-01-01T00:00:00Z"] == plain.evaluate({"request": request})
    chain = compile_expression("request.at", environment)
    assert chain.evaluate({"request": request}) == "2030-01-01T00:00:00Z"


def test_a_side_that_decides_makes_up_for_an_error_of_the_other() -> None:
    assert value_of("1 / 0 == 1 || true") is True
    assert value_of("true || 1 / 0 == 1") is True
    assert value_of("1 / 0 == 1 && false") is False
    assert failed("1 / 0 == 1 || false").message == "a number is divided by zero"
    assert value_of("[0, 1].exists(x, 1 / x == 1)") is True
    assert failed("[0, 1].all(x, 1 / x == 1)").message == "a number is divided by zero"


@pytest.mark.parametrize(
    ("source", "offset", "message", "remedy"),
    [
        ("parms.count", 0, "there is no 'parms' here", "did you mean 'params'?"),
        ("params.greting", 7, "'params' has no member 'greting'", "did you mean 'greeting'?"),
        ("1 + params['coun']", 11, "'params' has no member 'coun'", "did you mean 'count'?"),
        ("parts.my-part", 6, "'parts' has no member 'my'", 'write parts["my-part"]'),
        (
            "claim.id",
            0,
            "'claim' cannot be read here",
            "a claim is known in finish and outputs only",
        ),
        ("siz(params.sizes)", 0, "there is no function 'siz'", "did you mean 'size'?"),
        (
            "startsWith('a', 'b')",
            0,
            "there is no function 'startsWith'",
            "write value.startsWith(…)",
        ),
        ("params.sizes.string()", 13, "there is no function 'string'", "write string(…)"),
        (
            "'a' + params.count",
            0,
            "'+' cannot take a string and an int",
            "write string(…) around the other side",
        ),
        (
            "params.count * 1.5",
            0,
            "'*' cannot take an int and a double",
            "write double(…) around the int",
        ),
        ("params.count == 'a'", 0, "an int never equals a string", "compare values of one type"),
        ("params.greeting && true", 7, "'&&' needs a bool, not a string", "write a comparison"),
        ("!params.count", 0, "'!' cannot take an int", "check the types"),
        ("params.greeting.x", 16, "'params.greeting' has no members", "remove '.x'"),
        (
            "params.sizes['a']",
            13,
            "an element of a list is named by an int, not by a string",
            "write an int in the brackets",
        ),
        (
            "params.count.map(x, x)",
            13,
            "map() takes a list or a map, not an int",
            "call it on a list",
        ),
        (
            "params.sizes.map(1, 2)",
            13,
            "map() takes a name and an expression",
            "write list.map(item, …)",
        ),
        (
            "has(params)",
            0,
            "has() takes one member, such as params.name",
            "write has(value.member)",
        ),
        (
            "has(params.nope)",
            11,
            "'params' has no member 'nope'",
            "known are anything, count, fast, greeting, ratio, sizes",
        ),
        ("{1: 2}", 1, "a key of a map is a string, not an int", "put it in quotes"),
        (
            "'x'.matches('(')",
            12,
            "the pattern is no regular expression that RE2 takes",
            "see github.com/google/re2/wiki/Syntax",
        ),
        ("size", 0, "'size' is a function", "call it with (…)"),
        ("1u", 0, "unsigned numbers are not supported: JSON has none", "remove the u"),
        ("b'x'", 0, "bytes are not supported: JSON has none", "write a string without the b"),
        ("9223372036854775808", 0, "the number needs more than 64 bits", "write a smaller one"),
        ("", 0, "the expression is empty", "write one, such as params.name"),
        ("params.", 7, "the expression ends too early", "complete it"),
        ("1 +\n+ 2", 4, "'+' cannot stand here", "check the expression"),
        ("params count", 7, "'count' cannot stand here", "check the expression"),
        ("[1, 2", 0, "'[' is never closed", "add the ']'"),
        ("(1]", 2, "']' stands where ')' must close '('", "write ')'"),
        ("1)", 1, "')' closes nothing", "remove it"),
        ("'abc", 0, "the string is never closed", "add the closing '"),
        (
            r"'\q'",
            1,
            r"'\q' is no escape that CEL knows",
            r"write \\ for a backslash, or put r before the string",
        ),
    ],
)
def test_a_mistake_is_found_at_load_with_its_place_and_a_remedy(
    source: str, offset: int, message: str, remedy: str
) -> None:
    error = refused(source)
    assert (offset, message, remedy) == (error.offset, error.message, error.remedy)


@pytest.mark.parametrize(
    ("source", "wanted", "message"),
    [
        (
            "params.count",
            ValueType.STRING,
            "the expression gives an int, but a string is needed here",
        ),
        ("params.sizes", ValueType.BOOL, "the expression gives a list, but a bool is needed here"),
        ("null", ValueType.STRING, "the expression gives null, but a string is needed here"),
        ("1 < 2", ValueType.INT, "the expression gives a bool, but an int is needed here"),
    ],
)
def test_a_wrong_type_of_the_result_is_found_at_load(
    source: str, wanted: ValueType, message: str
) -> None:
    assert message == refused(source, wanted).message


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("params.greeting", ValueType.STRING),
        ("params.anything", ValueType.STRING),
        ("params.count", ValueType.DOUBLE),
        ("duration('1h')", ValueType.STRING),
        ("params.count", ValueType.DYN),
        ("params.fast ? 1 : 'a'", ValueType.STRING),
    ],
)
def test_a_fitting_or_unknown_type_of_the_result_is_accepted(
    source: str, wanted: ValueType
) -> None:
    assert source == compile_expression(source, ENVIRONMENT, wanted).source


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("params.greeting", ValueType.STRING),
        ("params.count + 1", ValueType.INT),
        ("params.anything + 1", ValueType.INT),
        ("params.anything + params.anything", ValueType.DYN),
        ("params.sizes.map(x, x)", ValueType.LIST),
        ("parts.server.ports", ValueType.MAP),
        ("parts.server.ports.http", ValueType.DYN),
        ("1 < 2 ? 1.5 : 2.5", ValueType.DOUBLE),
        ("timestamp('2024-01-01T00:00:00Z')", ValueType.STRING),
    ],
)
def test_the_type_is_inferred_where_it_is_known(source: str, kind: ValueType) -> None:
    assert kind is compile_expression(source, ENVIRONMENT).type


@pytest.mark.parametrize(
    ("source", "references"),
    [
        ("parts.site.path", {("parts", "site", "path")}),
        ("parts['my-part'].deep.er[0].x", {("parts", "my-part", "deep", "er")}),
        ("self.ports[params.greeting]", {("self", "ports"), ("params", "greeting")}),
        ("params.sizes.map(x, x + params.count)", {("params", "sizes"), ("params", "count")}),
        ("has(self.a.b) ? [parts.site] : {}", {("self", "a", "b"), ("parts", "site")}),
        ("params.sizes.map(parts, parts)", {("params", "sizes")}),
        ("1 + 1", set[tuple[str, ...]]()),
    ],
)
def test_references_are_the_chains_that_are_read(
    source: str, references: set[tuple[str, ...]]
) -> None:
    assert references == compile_expression(source, ENVIRONMENT).references


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("parts['my-part'].gone", "there is no member 'gone'"),
        ("self.ports.http.x", "an int has no member 'x'"),
        ("params.anything + 1", "'+' cannot take null and an int"),
        ("params.sizes[3]", "the list has no such element"),
        ("params.sizes[-1]", "the list has no such element"),
        ("self['po' + 'rt']", "the map has no such member"),
        ("9223372036854775807 + 1", "the number needs more than 64 bits"),
        ("-(-9223372036854775807 - 1)", "the number needs more than 64 bits"),
        ("1.0 / 0.0", "the result is no finite number"),
        ("int('x')", "the text is no whole number"),
        ("int(1e300)", "the number needs more than 64 bits"),
        ("duration('a' + '')", "the text is no duration"),
        ("duration('100000d' + '')", "the duration is longer than ten years"),
        ("timestamp('2024-13-01T00:00:00Z' + '')", "the text is no RFC 3339 time"),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1h')", "the result is out of range"),
        (
            "timestamp('2024-01-01T00:00:00Z').getHours(dyn('Mars/Base'))",
            "there is no such time zone",
        ),
        ("timestamp('2024-01-01T00:00:00Z').getHours(dyn('../x'))", "there is no such time zone"),
        (
            "'x'.matches(params.greeting + '(')",
            "the pattern is no regular expression that RE2 takes",
        ),
        ("{'a': 1, 'a': 2}", "a key stands twice in the map"),
        ("params.anything ? 1 : 2", "a bool is needed here, not null"),
        ("params.anything.map(x, x)", "map() takes a list or a map, not null"),
        ("has(params.anything.x)", "null has no members"),
    ],
)
def test_what_goes_wrong_while_evaluating_is_told_without_values(source: str, message: str) -> None:
    assert message == failed(source).message


def test_a_root_that_is_not_there_yet_is_told() -> None:
    expression = compile_expression("params.greeting", ENVIRONMENT)
    with pytest.raises(ExpressionError, match="'params' is not known yet"):
        expression.evaluate({})


def test_what_is_no_json_does_not_come_out() -> None:
    expression = compile_expression("params.greeting", ENVIRONMENT)
    for value in (object(), float("nan"), b"x", {1: 2}):
        with pytest.raises(ExpressionError):
            expression.evaluate({"params": {"greeting": value}})


def test_an_environment_with_a_further_root_no_longer_says_that_it_is_elsewhere() -> None:
    environment = ENVIRONMENT.with_root("claim", Shape.object({"id": STRING}))
    assert compile_expression("claim.id", environment).type is ValueType.STRING
    assert "claim" in ENVIRONMENT.elsewhere
