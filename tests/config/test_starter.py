"""The starter config is right as it is written, and stays a config whatever is done to it."""

import json
import re
import time
from pathlib import Path

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.config.documents import read_documents
from stoker.config.loading import load, load_directory
from stoker.config.schema import UnknownKind, json_schema
from stoker.config.starter import starter_files, write_starter
from stoker.pools.drivers import catalogue
from tests.config.catalogue import CATALOGUE as SMALL

CATALOGUE = catalogue()
FILES = {name: text for name, text in starter_files().items() if name.endswith(".yaml")}


def test_the_starter_has_two_pools_and_no_problem(tmp_path: Path) -> None:
    write_starter(tmp_path / "new" / "config")

    result = load_directory(tmp_path / "new" / "config", CATALOGUE)

    assert () == result.problems
    assert result.revision is not None
    sizes = {name: (pool.size.min, pool.size.max) for name, pool in result.revision.pools.items()}
    assert {"web": (3, 20), "work": (2, 50)} == sizes
    web = result.revision.pools["web"].blueprint
    assert ["site", "server"] == [part.name for part in web.prepare]
    assert {"url": False, "token": True} == {output.name: output.secret for output in web.outputs}
    assert {"url": True, "token": False} == {output.name: output.early for output in web.outputs}


def test_what_the_starter_has_as_comments_does_when_it_is_uncommented(tmp_path: Path) -> None:
    write_starter(tmp_path)
    who = tmp_path / "who.yaml"
    text = who.read_text(encoding="utf-8")
    commented = re.compile(r"^( *)# (- name:|  (?:effect|when):|approvals:)", re.MULTILINE)
    assert 7 == len(commented.findall(text))
    who.write_text(commented.sub(r"\1\2", text))

    result = load_directory(tmp_path, CATALOGUE)

    assert () == result.problems
    assert result.revision is not None
    (policy,) = result.revision.policies.values()
    assert ["operators", "web-team", "guests", "reason-for-many"] == [
        rule.name for rule in policy.rules
    ]
    assert policy.approvals is not None


def test_an_empty_directory_may_be_filled(tmp_path: Path) -> None:
    assert ["README.md", "web.yaml", "who.yaml", "work.yaml"] == [
        it.name for it in write_starter(tmp_path)
    ]


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".hidden").write_text("mine")

    with pytest.raises(FileExistsError, match="is not empty"):
        write_starter(tmp_path)
    with pytest.raises(FileExistsError, match="is no directory"):
        write_starter(tmp_path / ".hidden")

    assert [".hidden"] == [it.name for it in tmp_path.iterdir()]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_mutated_starter_gives_a_revision_or_problems_with_places_in_the_file(
    data: st.DataObject,
) -> None:
    name = data.draw(st.sampled_from(sorted(FILES)))
    text = FILES[name]
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 12)))
    middle = data.draw(
        st.one_of(
            st.just(""), st.text(max_size=4), st.sampled_from([
                "${", "}", "${self.x}", "${parts.page.path}", ": ", "- ", "\n", "\t", "[", "null",
                "&a ", "*a", "'", '"', "3", "true", "<<: ", "---\n", "!!binary ", "%",
            ]),
        )
    )  # fmt: skip
    mutated = text[:start] + middle + text[end:]

    result = load({**FILES, name: mutated}, CATALOGUE, "starter")

    assert (result.revision is None) == bool(result.errors)
    for problem in result.problems:
        shown = mutated if problem.file == name else FILES.get(problem.file, "")
        lines = shown.splitlines() or [""]
        assert problem.file in {*FILES, "starter"}
        assert 0 <= problem.line <= len(lines) + 1
        if 0 < problem.line <= len(lines):
            assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1


def test_a_hundred_pools_load_within_seconds_and_a_change_among_them_at_once() -> None:
    web = FILES["web.yaml"]
    files = {
        f"{n}.yaml": web.replace("web-sandbox", f"web-{n}").replace("name: web,", f"name: p{n},")
        for n in range(100)
    }
    started = time.perf_counter()

    revision = load(files, CATALOGUE, "many").revision

    assert revision is not None
    assert 100 == len(revision.pools)
    assert time.perf_counter() - started < 10  # below one second on an idle machine


def validator(kind: str | None = None) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(json_schema(kind, CATALOGUE))


def test_the_schemas_accept_the_starter() -> None:
    documents, _ = read_documents(FILES)

    for document in documents:
        kind = document.value["kind"]
        assert isinstance(kind, str)
        assert validator().is_valid(document.value)
        assert validator(kind).is_valid(document.value)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("driver: directory", "driver: directry"), ("min: 3", "mim: 3"), ("ttl: 30m", "ttl: 30"),
        ("cwd: ", "cdw: "), ("ports: [http]", "ports: http"), ("kind: Pool", "kind: Pol"),
        ("command: [", "command: [{}, "), ("content:", "contents:"),
    ],
)  # fmt: skip
def test_the_schemas_refuse_what_the_loader_refuses(before: str, after: str) -> None:
    text = FILES["web.yaml"].replace(before, after)
    documents, _ = read_documents({"web.yaml": text})

    assert load({"web.yaml": text}, CATALOGUE, "x").revision is None
    assert not all(validator().is_valid(document.value) for document in documents)


def test_an_expression_may_stand_in_place_of_any_setting_of_a_driver() -> None:
    part = {"name": "a", "driver": "box", "with": {"size": "${resource.id}", "labels": "${self}"}}
    blueprint = {
        "apiVersion": "stoker/v1", "kind": "Blueprint", "metadata": {"name": "a"},
        "spec": {"prepare": [part]},
    }  # fmt: skip
    schema = jsonschema_rs.Draft202012Validator(json_schema(None, SMALL))

    assert schema.is_valid(blueprint)
    part["with"] = {"pause": "1s"}
    assert schema.is_valid(blueprint)
    part["with"] = {"size": "large"}
    assert not schema.is_valid(blueprint)


def test_schemas_are_json_and_unknown_kinds_are_told() -> None:
    assert json.dumps(json_schema(None, CATALOGUE))
    with pytest.raises(UnknownKind, match=r"there is no kind 'pool': did you mean 'Pool'\?"):
        json_schema("pool", CATALOGUE)
