"""Files and directories to revisions; nothing raises, and an empty directory is never obeyed."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.config import documents
from stoker.config.loading import LoadResult, Reuse, load, load_directory, read_tree
from stoker.config.problems import Severity
from stoker.config.revision import Revision
from stoker.config.trees import being_written, survey
from tests.config.catalogue import BLUEPRINT, CATALOGUE, POOL, a_blueprint_with, the_revision

GOOD = a_blueprint_with("  {}")


def write(root: Path, **files: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / f"{name}.yaml").write_text(text)
    return root


def sentences(result: LoadResult) -> str:
    return "\n".join(str(problem) for problem in result.problems)


def test_a_directory_is_loaded_with_its_sub_directories(tmp_path: Path) -> None:
    write(tmp_path, pool=POOL)
    write(tmp_path / "a" / "b", box=BLUEPRINT + "  {}")
    (tmp_path / "README.md").write_text("no config: [")

    revision = load_directory(tmp_path, CATALOGUE).revision

    assert revision is not None
    assert ["a/b/box.yaml", "pool.yaml"] == sorted(revision.files)
    assert (revision.digest[:12], str(tmp_path)) == (revision.id, revision.source)


def test_the_files_of_a_revision_load_to_the_same_revision() -> None:
    revision = the_revision(GOOD)
    again = load(revision.files, CATALOGUE, "the ledger").revision

    assert again is not None
    assert (revision.digest, revision.pools["boxes"].blueprint.digest) == (
        again.digest,
        again.pools["boxes"].blueprint.digest,
    )


def test_the_digest_depends_on_names_and_contents_alone() -> None:
    base = load({"a.yaml": GOOD, "b.yaml": "# x"}, CATALOGUE, "here").digest

    assert base == load({"b.yaml": b"# x", "a.yaml": GOOD.encode()}, CATALOGUE, "there").digest
    assert base != load({"a.yaml": GOOD, "c.yaml": "# x"}, CATALOGUE, "here").digest
    assert base != load({"a.yaml": GOOD + "#", "b.yaml": " x"}, CATALOGUE, "here").digest


@pytest.mark.parametrize("files", [{}, {"a.yaml": ""}, {"a.yaml": "# nothing\n---\n"}])
def test_no_document_at_all_is_an_error_and_not_a_wish_to_remove_everything(
    files: dict[str, str],
) -> None:
    result = load(files, CATALOGUE, "/etc/x")

    assert result.revision is None
    assert "/etc/x: there is no document in any *.yaml or *.yml file." in sentences(result)


def test_no_pool_is_a_warning() -> None:
    result = load({"a.yaml": BLUEPRINT + "  {}"}, CATALOGUE, "/etc/x")

    assert result.revision is not None
    assert [Severity.WARNING] == [problem.severity for problem in result.problems]
    assert "/etc/x: warning: no pool is declared" in sentences(result)
    assert () == result.errors


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    result = load_directory(tmp_path / "nowhere", CATALOGUE)

    assert result.revision is None
    assert "the config directory does not exist" in sentences(result)
    assert 1 == len(result.problems)


def test_a_file_in_place_of_the_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(GOOD)

    assert "this is no directory" in sentences(load_directory(tmp_path / "file", CATALOGUE))


def test_hidden_names_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, a=GOOD)
    write(tmp_path / ".git", broken="[")
    (tmp_path / ".a.yaml.swp").write_text("[")
    (tmp_path / ".hidden.yaml").write_text("[")

    assert ["a.yaml"] == list(read_tree(tmp_path).files)


def test_the_links_of_a_config_map_are_followed(tmp_path: Path) -> None:
    write(tmp_path / "..2026_01", a=GOOD)
    (tmp_path / "..data").symlink_to("..2026_01")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")

    assert load_directory(tmp_path, CATALOGUE).revision is not None


def test_a_linked_root_is_resolved_once(tmp_path: Path) -> None:
    write(tmp_path / "one", a=GOOD)
    (tmp_path / "current").symlink_to("one")

    tree = read_tree(tmp_path / "current")

    assert (tmp_path / "one", ["a.yaml"]) == (tree.resolved, list(tree.files))


def test_links_out_of_the_directory_are_refused(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", secret=GOOD)
    root = write(tmp_path / "root", a=GOOD)
    (root / "b.yaml").symlink_to(outside / "secret.yaml")
    (root / "c").symlink_to(outside)
    (root / "d.yaml").symlink_to("nowhere")

    tree = read_tree(root)

    assert ["a.yaml"] == list(tree.files)
    assert [
        "b.yaml: this is a link out of the config directory. Copy into the directory what it points to.",
        "c: this is a link out of the config directory. Copy into the directory what it points to.",
        "d.yaml: the file is a link to nothing. Repair or remove it.",
    ] == [str(problem) for problem in tree.problems]


def test_directories_that_link_to_each_other_end(tmp_path: Path) -> None:
    write(tmp_path / "sub", a=GOOD)
    (tmp_path / "sub" / "up").symlink_to("..")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")

    tree = read_tree(tmp_path)

    assert ["sub/a.yaml"] == list(tree.files)
    assert "loop.yaml: the file cannot be read (too many levels of symbolic links)" in str(
        tree.problems[0]
    )


def test_what_is_no_regular_file_is_refused_without_opening_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "dir.yaml").mkdir()
    write(tmp_path / "dir.yaml", a=GOOD)

    tree = read_tree(tmp_path)

    assert ["dir.yaml/a.yaml"] == list(tree.files)
    assert ["pipe.yaml: this is no regular file. Remove it, or rename it."] == [
        str(problem) for problem in tree.problems
    ]


def test_a_name_that_is_no_text_is_told(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff.yaml", "w"):  # noqa: PTH123 - bytes
        pass

    assert [r"\xff.yaml: the file's name is no UTF-8. Rename it."] == [
        str(problem) for problem in read_tree(tmp_path).problems
    ]


def test_a_file_beyond_the_bound_is_told_and_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "big.yaml").open("wb") as file:
        file.truncate(10 * 2**30)

    assert "larger than" in sentences(load_directory(tmp_path, CATALOGUE))


def test_a_snapshot_is_of_one_moment(tmp_path: Path) -> None:
    """Two files are replaced together over and over, as a deployment would by a link."""
    for number in range(2):
        write(tmp_path / f"v{number}", a=f"# {number}\n", b=f"# {number}\n")
    link, spare = tmp_path / "current", tmp_path / "spare"
    link.symlink_to("v0")
    stop = threading.Event()

    def flip() -> None:
        number = 0
        while not stop.wait(0.001):
            number += 1
            spare.symlink_to(f"v{number % 2}")
            spare.replace(link)

    flipping = threading.Thread(target=flip)
    flipping.start()
    try:
        for _ in range(50):
            files = read_tree(link).files
            assert files.get("a.yaml") == files.get("b.yaml")
    finally:
        stop.set()
        flipping.join()


def test_a_file_that_is_open_for_writing_is_noticed(tmp_path: Path) -> None:
    write(tmp_path, a=GOOD, b=GOOD)

    with (tmp_path / "a.yaml").open("a"):
        assert ["a.yaml"] == list(being_written(survey(tmp_path)))
    with (tmp_path / "a.yaml").open():
        assert [] == list(being_written(survey(tmp_path)))


def test_a_writer_that_comes_while_we_look_neither_waits_nor_ends_us(tmp_path: Path) -> None:
    write(tmp_path, a=GOOD)
    stop = threading.Event()
    slowest = 0.0

    def open_and_close() -> None:
        nonlocal slowest
        while not stop.is_set():
            started = time.monotonic()
            (tmp_path / "a.yaml").open("a").close()
            slowest = max(slowest, time.monotonic() - started)

    writing = threading.Thread(target=open_and_close)
    writing.start()
    surveyed = survey(tmp_path)
    for _ in range(3000):
        list(being_written(surveyed))
    stop.set()
    writing.join()

    assert slowest < 5


def test_unchanged_blueprints_are_taken_over_and_changed_ones_compiled() -> None:
    reuse = Reuse()
    before = load({"a.yaml": GOOD}, CATALOGUE, "x", reuse=reuse).revision
    resized = load(
        {"a.yaml": GOOD.replace("max: 3", "max: 9")}, CATALOGUE, "x", reuse=reuse
    ).revision
    changed = load(
        {"a.yaml": GOOD.replace("  {}", "  cost: {perHour: 3}")}, CATALOGUE, "x", reuse=reuse
    ).revision

    assert before is not None
    assert resized is not None
    assert changed is not None
    assert before.pools["boxes"].blueprint is resized.pools["boxes"].blueprint
    assert 3.0 == changed.pools["boxes"].blueprint.cost.per_hour


def _with_wrong_brackets(text: str) -> str:
    return text.replace("}", "]")


def _cut_in_half(text: str) -> str:
    return text[: len(text) // 2]


@pytest.mark.parametrize("change", [_with_wrong_brackets, _cut_in_half])
def test_a_problem_can_be_shown_for_whatever_is_wrong(change: Callable[[str], str]) -> None:
    result = load({"a.yaml": change(GOOD)}, CATALOGUE, "x")

    assert result.revision is None
    assert sentences(result)


STEPS: list[dict[str, str]] = [
    {"a.yaml": GOOD},
    {"a.yaml": GOOD, "b.yaml": "a: ["},
    {"a.yaml": GOOD, "b.yaml": GOOD},
    {"b.yaml": GOOD, "a.yaml": GOOD.replace("max: 3", "max: many")},
    {"a.yaml": GOOD.replace("max: 3", "max: 9"), "c.yaml": "kind: Nothing"},
    {"c.yaml": GOOD},
    {"a.yaml": "", "c.yaml": GOOD},
    {"a.yaml": GOOD},
]


@given(st.lists(st.sampled_from(STEPS), min_size=2, max_size=6))
def test_what_is_kept_from_one_load_to_the_next_changes_nothing_that_is_found(
    steps: list[dict[str, str]],
) -> None:
    reuse = Reuse()
    for files in steps:
        kept, fresh = (load(files, CATALOGUE, "x", reuse=one) for one in (reuse, Reuse()))

        assert fresh.problems == kept.problems
        assert fresh.digest == kept.digest
        if fresh.revision is None or kept.revision is None:
            assert fresh.revision is kept.revision
            continue
        assert _shown(fresh.revision) == _shown(kept.revision)


def _shown(revision: Revision) -> object:
    pools = revision.pools.items()
    return {name: (pool.size, pool.blueprint.digest) for name, pool in pools}, revision.files


def test_only_the_files_that_changed_are_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    reuse, parsed = Reuse(), list[str]()
    original = documents.read_file

    def count(name: str, content: str | bytes) -> object:
        parsed.append(name)
        return original(name, content)

    monkeypatch.setattr(documents, "read_file", count)
    load({"a.yaml": GOOD, "b.yaml": "# nothing"}, CATALOGUE, "x", reuse=reuse)
    load({"a.yaml": GOOD, "b.yaml": "# changed", "c.yaml": ""}, CATALOGUE, "x", reuse=reuse)
    load({"a.yaml": GOOD}, CATALOGUE, "x", reuse=reuse)

    assert parsed == ["a.yaml", "b.yaml", "b.yaml", "c.yaml"]
    assert set(reuse.files) == {"a.yaml"}
