from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.config.catalogue import ValueType
from stoker.config.expressions import ExpressionError
from stoker.config.shapes import ANY, INT, LIST, MAP, STRING, Environment, Shape
from stoker.config.templates import (
    Path,
    TemplateError,
    TemplateProblem,
    compile_template,
    expression_paths,
    format_path,
)

ENVIRONMENT = Environment(
    {
        "params": Shape.object({"name": STRING, "count": INT, "items": LIST, "any": ANY}),
        "parts": MAP,
        "self": MAP,
    }
)
SCOPE: dict[str, Any] = {
    "params": {"name": "web", "count": 3, "items": [1, 2], "any": None},
    "parts": {"site": {"path": "/srv", "ratio": 2.0, "half": 0.5, "on": True}},
    "self": {"ports": {"http": 8080}},
}


def rendered(value: Any) -> Any:
    return compile_template(value, ENVIRONMENT).render(SCOPE)


def problems_of(value: Any, wanted: Any = None) -> tuple[TemplateProblem, ...]:
    with pytest.raises(TemplateError) as caught:
        compile_template(value, ENVIRONMENT, wanted)
    return caught.value.problems


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("plain", "plain"),
        ("${params.name}", "web"),
        ("${params.count}", 3),
        ("${params.items}", [1, 2]),
        ("${params.any}", None),
        ("${ params.count + 1 }", 4),
        ("x${params.name}y${params.count}z", "xweby3z"),
        ("${params.name}${params.name}", "webweb"),
        ("http://127.0.0.1:${self.ports.http}/", "http://127.0.0.1:8080/"),
        ("${parts.site.ratio} ${parts.site.half} ${parts.site.on}", "2 0.5 true"),
        ("$${params.name}", "${params.name}"),
        ("$$${params.name}", "$${params.name}"),
        ("costs $5 {or} $", "costs $5 {or} $"),
        ("${'}'}", "}"),
        ("${\"}\" + '''}''' + r'\\}'}", "}}\\}"),
        ("${{'a': {'b': '}'}}.a.b}!", "}!"),
        ("${params.name // a comment }\n}", "web"),
        ("${size('${x}')}", 4),
        (7, 7),
        (None, None),
        (["a", "${params.count}", ["${params.name}"]], ["a", 3, ["web"]]),
        ({"a": {"b": ["${params.count}"]}, "c": 1.5}, {"a": {"b": [3]}, "c": 1.5}),
    ],
)
def test_expressions_are_evaluated_in_their_place(value: Any, result: Any) -> None:
    found = rendered(value)
    assert (result, type(result)) == (found, type(found))


def test_keys_keep_their_order() -> None:
    assert ["z", "a", "m"] == list(
        rendered({"z": "${params.name}", "a": 1, "m": "${params.count}"})
    )


def test_a_value_without_expressions_is_rendered_to_the_same_object_every_time() -> None:
    template = compile_template({"a": ["b", {"c": "$${d}"}]}, ENVIRONMENT)
    assert template.constant
    assert {"a": ["b", {"c": "${d}"}]} == template.render({})
    assert template.render({}) is template.render(SCOPE)


def test_the_constant_parts_of_a_value_are_shared_between_renderings() -> None:
    template = compile_template({"fixed": {"a": [1]}, "moving": "${params.name}"}, ENVIRONMENT)
    first, second = template.render(SCOPE), template.render(SCOPE)
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert first is not second
    assert first["fixed"] is second["fixed"]


def test_the_written_value_is_kept_for_digests() -> None:
    value: Any = {"a": "$${x} ${params.name}"}
    template = compile_template(value, ENVIRONMENT)
    assert value == template.canonical
    assert not template.constant


def test_references_are_those_of_all_expressions() -> None:
    template = compile_template(
        ["${parts.site.path}/${params.name}", {"a": "${self.x}"}], ENVIRONMENT
    )
    assert {("parts", "site", "path"), ("params", "name"), ("self", "x")} == template.references


def test_what_reads_a_missing_root_is_left_out() -> None:
    template = compile_template(
        {
            "command": ["serve", "${self.ports.http}", "--name=${params.name}"],
            "url": "http://x:${self.ports.http}/",
            "deep": {"a": {"b": "${self.c}", "d": 1}},
            "both": "${params.name}${self.ports.http}",
            "name": "${params.name}",
        },
        ENVIRONMENT,
    )
    scope = {name: value for name, value in SCOPE.items() if name != "self"}
    assert {
        "command": ["serve", "--name=web"],
        "deep": {"a": {"d": 1}},
        "name": "web",
    } == template.render_without(scope)
    assert 5 == len(template.render(SCOPE | {"self": {"ports": {"http": 1}, "c": 2}}))  # type: ignore[arg-type]


def test_a_template_that_is_itself_missing_renders_to_nothing() -> None:
    template = compile_template("${self.x}", ENVIRONMENT)
    assert template.render_without({}) is None
    other = compile_template("${params.name}", ENVIRONMENT)
    assert other.render_without(SCOPE, "parts") == "web"
    assert other.render_without(SCOPE, missing="params") is None


def test_all_mistakes_are_told_at_once_with_their_places() -> None:
    value = {
        "a": "see ${parms.x}",
        "b": ["fine", "${params.name", "${1 +}", "${}"],
        "${key}": 1,
        "c": "items: ${params.items}",
        "d": "${params.nam} ${params.cout}",
    }
    assert (
        TemplateProblem(("a",), 6, "there is no 'parms' here", "did you mean 'params'?"),
        TemplateProblem(("b", 1), 0, "'${' is never closed", "add the '}'"),
        TemplateProblem(("b", 2), 5, "the expression ends too early", "complete it"),
        TemplateProblem(("b", 3), 2, "the expression is empty", "write one, such as params.name"),
        TemplateProblem(("${key}",), 0, "a key cannot hold an expression", "write the key itself"),
        TemplateProblem(
            ("c",),
            9,
            "'params.items' gives a list, which cannot stand in a text",
            "write an expression that gives a string",
        ),
        TemplateProblem(("d",), 9, "'params' has no member 'nam'", "did you mean 'name'?"),
        TemplateProblem(("d",), 23, "'params' has no member 'cout'", "did you mean 'count'?"),
    ) == problems_of(value)


def test_the_type_of_a_single_expression_is_checked_at_load() -> None:
    (problem,) = problems_of("${params.count}", ValueType.STRING)
    assert "the expression gives an int, but a string is needed here" == problem.message
    (problem,) = problems_of({"a": ["${params.name}"]}, {("a", 0): ValueType.INT})
    assert ("a", 0) == problem.path
    (problem,) = problems_of("n${params.count}", ValueType.INT)
    assert "this gives a string, but int is needed" == problem.message
    assert compile_template("n${params.count}", ENVIRONMENT, ValueType.STRING).references


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": ["x ${params.any}"]}, "a[0]: 'params.any' gives null, which cannot stand in a text"),
        ({"a": "x ${parts.site}"}, "a: 'parts.site' gives a map, which cannot stand in a text"),
        ("${parts.gone.path}", "value: there is no member 'gone'"),
        ({"with": {"n": "${1 / (params.count - 3)}"}}, "with.n: a number is divided by zero"),
    ],
)
def test_what_goes_wrong_while_rendering_names_the_place(value: Any, message: str) -> None:
    template = compile_template(value, ENVIRONMENT)
    with pytest.raises(ExpressionError) as caught:
        template.render(SCOPE)
    assert message == caught.value.message


def test_a_text_does_not_grow_without_end() -> None:
    template = compile_template("${params.name}" * 20, ENVIRONMENT)
    with pytest.raises(ExpressionError, match="the text is longer than 1048576 characters"):
        template.render({"params": {"name": "x" * 60_000}})


def test_a_value_nested_endlessly_is_refused() -> None:
    value: Any = "x"
    for _ in range(100):
        value = [value]
    (problem,) = problems_of(value)
    assert "nested more than 64 deep" == problem.message


def test_a_path_is_written_as_people_read_it() -> None:
    assert "with.command[3]" == format_path(("with", "command", 3))
    assert "value" == format_path(())


def test_the_places_of_expressions_are_found_even_if_they_do_not_compile() -> None:
    value: Any = {"a": "${", "b": ["x", "$${y}", "$${y}${z}"], "c": {"d": "${1}"}, "e": 5}
    assert {("a",), ("b", 2), ("c", "d")} == expression_paths(value)
    assert {()} == expression_paths("${x}")


_LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=20)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)
_SCRAPS = st.lists(
    st.sampled_from(
        [
            "$",
            "$$",
            "{",
            "}",
            "${",
            "$${",
            "'",
            '"',
            "\\",
            "params.name",
            "1",
            "//",
            "\n",
            "'''",
            "r'",
            "a",
        ]
    ),
    max_size=30,
).map("".join)


@given(_SCRAPS)
def test_any_text_compiles_or_has_problems_within_it(text: str) -> None:
    try:
        compile_template({"a": text}, ENVIRONMENT).render(SCOPE)
    except TemplateError as error:
        assert all(0 <= problem.offset <= len(text) for problem in error.problems)  # noqa: PT017
        assert {("a",)} == {problem.path for problem in error.problems}  # noqa: PT017
    except ExpressionError as error:
        assert "a" == error.message.partition(":")[0]  # noqa: PT017


@given(_SCRAPS | st.text(max_size=40))
def test_any_text_survives_when_it_is_escaped(text: str) -> None:
    """As an expression's string it always does; as plain text, when `${` is written `$${`."""
    plain = text.replace("$", "")
    assert plain + "${" == rendered(plain + "$${")
    quoted = "".join(
        f"\\U{ord(letter):08x}" for letter in text if not 0xD800 <= ord(letter) < 0xE000
    )
    wanted = "".join(letter for letter in text if not 0xD800 <= ord(letter) < 0xE000)
    assert wanted == rendered(f"${{'{quoted}'}}")
    assert f"<{wanted}>" == rendered(f"<${{'{quoted}'}}>")


@given(_VALUES)
def test_a_value_without_dollar_signs_is_rendered_to_itself(value: Any) -> None:
    template = compile_template(_without_marks(value), ENVIRONMENT)
    assert template.canonical == template.render({})
    assert template.constant
    assert set[Path]() == expression_paths(template.canonical)


def _without_marks(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("$", "")
    if isinstance(value, list):
        return [_without_marks(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        members = cast("dict[object, object]", value)
        return {_without_marks(key): _without_marks(item) for key, item in members.items()}
    return value
