"""YAML text to documents with places: whatever the text, documents and problems come out."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stoker.config.documents import (
    MAX_FILE,
    MAX_FILES,
    Document,
    path_text,
    read_documents,
    read_file,
)
from stoker.config.problems import Place, Problem


def the_document(text: str) -> Document:
    documents, problems = read_file("a.yaml", text)
    assert problems == []
    return documents[0]


def the_mistake(text: str | bytes) -> Problem:
    problems = read_file("a.yaml", text)[1]
    assert len(problems) == 1, problems
    return problems[0]


def test_keys_and_values_know_their_places() -> None:
    document = the_document("kind: Pool\nspec:\n  size: {min: 3, max: [1, 2]}\n")

    assert Place(3, 9) == document.place(("spec", "size"))
    assert Place(3, 3) == document.place(("spec", "size"), key=True)
    assert Place(3, 15) == document.place(("spec", "size", "min"))
    assert Place(3, 27) == document.place(("spec", "size", "max", 1))


def test_the_place_of_what_is_not_there_is_that_of_its_parent() -> None:
    assert Place(1, 7) == the_document("spec: {a: 1}").place(("spec", "b", "c"))


def test_several_documents_stand_in_one_file_and_empty_ones_do_not_count() -> None:
    documents, problems = read_file("a.yaml", "---\na: 1\n---\n---\n# nothing\n---\nb: 2\n")

    assert ([{"a": 1}, {"b": 2}], []) == ([it.value for it in documents], problems)
    assert Place(7, 4) == documents[1].place(("b",))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("yes", "yes"), ("on", "on"), ("2020-01-01", "2020-01-01"), ("12:30:00", "12:30:00"),
        ("1_000", "1_000"), ("true", True), ("False", False), ("~", None), ("", None),
        ("12", 12), ("-7", -7), ("0x1F", 31), ("0o17", 15), ("1.5", 1.5), ("1e3", 1000.0),
        ("'12'", "12"), ('"true"', "true"), ("!!str 12", "12"), ("!!float 12", 12.0), ("=", "="),
        ("1.2.3", "1.2.3"), ("9223372036854775807", 2**63 - 1), ("<<", "<<"),
    ],
)  # fmt: skip
def test_scalars_mean_what_they_look_like(written: str, meant: object) -> None:
    value = the_document(f"a: {written}\n").value["a"]

    assert (meant, type(meant)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: 0644", (1, 4), 'write "0644" in quotes for a text, or 0o644'),
        ("a: .nan", (1, 4), "no number that can be used"),
        ("a: -.inf", (1, 4), "no number that can be used"),
        ("a: 1e999", (1, 4), "too large"),
        ("a: 9223372036854775808", (1, 4), "64 bits"),
        ("a: " + "9" * 5000, (1, 4), "64 bits"),
        ("a: !!binary aGk=", (1, 4), "!!binary"),
        ("a: !!python/object/apply:os.system [ls]", (1, 4), "not supported"),
        ("a: !!int x", (1, 4), "is no int"),
        ("a: 1\nb: 2\na: 3", (3, 1), "a second time (first in line 1)"),
        ("1: a", (1, 1), "the key '1' is no text"),
        ("? [a, b]\n: c", (1, 3), "a key must be plain text"),
        ("<<: 3", (1, 1), "the merge key '<<' takes a mapping"),
        ("a: *b", (1, 4), "*b stands for nothing"),
        ("a: &x [*x]", (1, 8), "*x stands for nothing"),
        ("- a\n- b", (1, 1), "a document must be a mapping"),
        ("just words", (1, 1), "a document must be a mapping"),
        ("a:\n\tb: 1", (2, 1), "not tabs"),
        ("a: 'x", (1, 6), "unexpected end"),
        ("a: [1\n", (2, 1), "this is no YAML"),
        ("a: b: c", (1, 5), "mapping values"),
        ("a: \x00", (1, 4), "U+0000"),
        ("ä: 1\nö: \x07", (2, 4), "U+0007"),
        (b"a: 1\nb: \xc3\xa4\xff", (2, 5), "0xff is no UTF-8"),
        ("\ud800", (1, 1), "U+D800"),
        ("%TAG ! tag:x,2020:\n---\na: 1", (1, 1), "%TAG"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_told_with_its_place(
    text: str | bytes, place: tuple[int, int], words: str
) -> None:
    mistake = the_mistake(text)

    assert place == (mistake.line, mistake.column)
    assert words in f"{mistake.message}. {mistake.remedy}"


def test_small_mistakes_of_one_file_are_told_together_and_the_rest_is_read() -> None:
    documents, problems = read_file("a.yaml", "a: 0644\nb: 1\nb: 2\nc: .nan\nd: fine\n")

    assert [1, 3, 4] == [problem.line for problem in problems]
    assert {"a": "0644", "b": 1, "c": ".nan", "d": "fine"} == documents[0].value


def test_syntax_errors_of_several_files_are_told_together() -> None:
    documents, problems = read_documents({"b.yaml": "a: [", "a.yaml": "a: }", "c.yaml": "a: 1"})

    assert ["a.yaml", "b.yaml"] == [problem.file for problem in problems]
    assert ["c.yaml"] == [document.file for document in documents]


def test_aliases_and_merge_keys_repeat_values() -> None:
    document = the_document("a: &x {p: 1, q: 2}\nb: *x\nc: {<<: *x, q: 3}\nd: {q: 4, <<: [*x]}\n")

    assert {"p": 1, "q": 2} == document.value["b"]
    assert {"p": 1, "q": 3} == document.value["c"]
    assert {"p": 1, "q": 4} == document.value["d"]


def test_aliases_that_explode_are_refused_quickly() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 40)]
    started = time.process_time()

    assert "aliases" in the_mistake("\n".join(lines)).message
    assert time.process_time() - started < 2


def test_merge_keys_that_explode_are_refused_quickly() -> None:
    keys = ", ".join(f"k{n}: 1" for n in range(1000))
    text = "a: &a {" + keys + "}\n" + "".join(f"b{n}: {{<<: *a}}\n" for n in range(1000))

    assert "aliases" in the_mistake(text).message


def test_a_chain_of_aliases_cannot_nest_deeper_than_text_can() -> None:
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 100))]

    assert "nested deeper than 64" in the_mistake("\n".join(lines)).message


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "a:\n ", "[\n", "{"])
def test_deep_nesting_is_refused_quickly(opening: str) -> None:
    started = time.process_time()

    read_file("a.yaml", opening * (1_000_000 // len(opening)))

    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "line", ["%TAG !{0}! b\n", "---\n", "&a{0} ", "a{0}: 1\n", "# x\n", "%YAML 1.1\n", "'{0}': &b{0}\n"]
)  # fmt: skip
def test_a_file_full_of_the_same_is_read_or_refused_quickly(line: str) -> None:
    text = "".join(line.replace("{0}", str(n)) for n in range(60_000))[: MAX_FILE - 1]
    started = time.process_time()

    read_file("a.yaml", text)

    assert time.process_time() - started < 10


def test_files_have_bounds() -> None:
    assert "larger than" in the_mistake(b"#" * (MAX_FILE + 1)).message
    many = {f"{n}.yaml": b"" for n in range(MAX_FILES + 5)}
    assert ["the directory has more than 4000 files"] == [
        it.message for it in read_documents(many)[1]
    ]
    large = {f"{n}.yaml": b"#" * MAX_FILE for n in range(20)}
    assert "bytes in all" in read_documents(large)[1][0].message


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert Place(1, 4) == read_file("a.yaml", b"\xef\xbb\xbfa: 1")[0][0].place(("a",))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: one ${x} two", (1, 10)),
        ("a: 'it''s ${x}'", (1, 13)),
        ('a: "\\tb\\x41 ${x}"', (1, 15)),
        ("a: |\n  one\n  ${x}\n", (3, 5)),
        ("a: |\n\n    one ${x}\n", (3, 11)),
        ("a: >\n  one\n  ${x}\n", (3, 5)),
        ("a: >-\n  one\n\n    two ${x}\n  three\n", (4, 11)),
        ("a: 'one\n  ${x}'", (2, 5)),
        ("a: one\n  two\n  ${x} three\n", (3, 5)),
        ("a: 'it''s one\n  ${x}'", (1, 4)),
    ],
)
def test_a_place_inside_a_text_is_exact_where_its_line_can_be_told(
    text: str, place: tuple[int, int]
) -> None:
    document = the_document(text)
    value = document.value["a"]
    assert isinstance(value, str)

    assert Place(*place) == document.place_in_text(("a",), value.index("x}"))


def test_paths_are_written_as_people_write_them() -> None:
    assert "spec.prepare[0].with['a b'].c-d" == path_text(
        ("spec", "prepare", 0, "with", "a b", "c-d")
    )
    assert "" == path_text(())


YAML_LIKE = st.text(
    st.sampled_from(list("ab:-[]{}&*!|>'\"%#?,.~<=@`\t\n \\0123\x00\x85\u2028é😀\ufeff"))
)


@given(st.one_of(st.text(), YAML_LIKE, st.binary()))
@example("a: &a\n  <<: *a")
@example('"\\')
@example("? &a\n")
def test_any_text_gives_documents_and_problems_with_places_inside_the_file(
    content: str | bytes,
) -> None:
    documents, problems = read_file("a.yaml", content)

    shown = content.decode(errors="replace") if isinstance(content, bytes) else content
    bound = len(shown) + 2
    for problem in problems:
        assert 0 <= problem.line <= bound
        assert 0 <= problem.column <= bound
        assert str(problem)
    for document in documents:
        assert len(document.lines) >= document.place(()).line
