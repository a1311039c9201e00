"""One commit after the other: what is taken, what is refused and why, and what an unchanged one costs."""

import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from stoker.config import loading
from stoker.config.documents import MAX_FILE
from stoker.config.repositories import clone, following
from stoker.config.repositories.failures import Unavailable
from stoker.config.repositories.following import Rules
from tests.config.repositories.conftest import GOOD, Follow, resized
from tests.fixtures.repositories import Repository


def test_a_branch_is_followed_from_commit_to_commit(repository: Repository, follow: Follow) -> None:
    first = repository.commit({"a.yaml": GOOD})
    following = follow()
    assert first == following.applied()
    assert following.look().result is None
    second = repository.commit({"a.yaml": resized(7), "README.md": "hello"})

    assert second == following.applied()
    assert following.serving is not None
    assert second[:12] == following.serving.id
    assert 7 == following.serving.pools["boxes"].size.max
    assert {"a.yaml"} == set(following.serving.files)


def test_without_a_ref_the_repositorys_own_head_is_followed(tmp_path: Path, follow: Follow) -> None:
    other = Repository(tmp_path / "other", branch="trunk")
    commit = other.commit({"a.yaml": GOOD})
    assert commit == follow(other.url).applied()


def test_a_folder_of_the_repository_can_hold_the_config(
    repository: Repository, follow: Follow
) -> None:
    commit = repository.commit(
        {"config/prod/a.yaml": GOOD, "broken.yaml": "{", "config/x.yml": "{"}
    )
    following = follow(f"{repository.url}?ref=main&path=config/prod")
    assert commit == following.applied()
    assert following.serving is not None
    assert {"a.yaml"} == set(following.serving.files)


def test_tags_are_followed_annotated_or_not_and_so_is_a_commit(
    repository: Repository, follow: Follow
) -> None:
    commit = repository.commit({"a.yaml": GOOD})
    repository.git("tag", "light")
    repository.git("tag", "-a", "-m", "a release", "v1.0")
    repository.push("--tags")
    repository.commit({"a.yaml": resized(9)})
    for number, ref in enumerate(("light", "v1.0", "refs/tags/v1.0", commit)):
        assert commit == follow(f"{repository.url}?ref={ref}", folder=f"copy{number}").applied()


def test_a_name_that_is_a_branch_and_a_tag_is_refused_until_it_is_said_which(
    repository: Repository, follow: Follow
) -> None:
    commit = repository.commit({"a.yaml": GOOD})
    repository.git("tag", "main")
    repository.push("refs/tags/main")
    assert "refs/heads/main or ref=refs/tags/main" in follow().refused()
    assert commit == follow(f"{repository.url}?ref=refs/heads/main", folder="b").applied()


def test_a_branch_that_is_missing_or_deleted_changes_nothing_and_may_come_back(
    repository: Repository, follow: Follow
) -> None:
    commit = repository.commit({"a.yaml": GOOD})
    assert "no branch or tag 'nope'" in follow(f"{repository.url}?ref=nope", folder="b").refused()
    following = follow()
    assert commit == following.applied()
    repository.push(":refs/heads/main")
    assert "there is no branch or tag 'main'" in following.refused()
    assert following.look().result is None
    repository.push()
    assert commit == following.applied()


@pytest.mark.parametrize(
    ("path", "files"),
    [("", {"README.md": "no config"}), ("config", {"a.yaml": GOOD}), ("a.yaml", {"a.yaml": GOOD})],
)
def test_an_empty_or_missing_folder_is_refused_and_never_means_delete_everything(
    repository: Repository, follow: Follow, path: str, files: dict[str, str]
) -> None:
    repository.commit(files)
    url = f"{repository.url}?ref=main" + (f"&path={path}" if path else "")
    said = follow(url).refused()
    assert "there is no document" in said or f"there is no folder {path!r}" in said


def test_an_empty_repository_is_refused(repository: Repository, follow: Follow) -> None:
    assert "the repository is empty" in follow(repository.url).refused()


def test_rewritten_history_is_refused_and_what_descends_from_the_applied_commit_is_taken(
    repository: Repository, follow: Follow
) -> None:
    repository.commit({"a.yaml": GOOD})
    following = follow()
    following.applied()
    applied = repository.commit({"a.yaml": resized(4)})
    assert applied == following.applied()
    repository.git("reset", "-q", "--hard", "HEAD~1")
    other = repository.commit({"a.yaml": resized(5)})
    assert (
        f"commit {other[:12]}: it does not descend from the applied commit" in following.refused()
    )
    assert following.look().result is None

    repository.git("reset", "-q", "--hard", applied)
    for _ in range(60):  # deeper than the first step goes back
        repository.commit(push=False)
    last = repository.commit({"a.yaml": resized(6)})
    assert last == following.applied()


def test_a_branch_that_is_moved_back_is_refused(repository: Repository, follow: Follow) -> None:
    repository.commit({"a.yaml": GOOD})
    applied = repository.commit({"a.yaml": resized(4)})
    following = follow()
    assert applied == following.applied()
    repository.git("reset", "-q", "--hard", "HEAD~1")
    repository.push()
    assert "does not descend" in following.refused()


def test_rewritten_history_is_taken_where_that_is_allowed(
    repository: Repository, follow: Follow
) -> None:
    repository.commit({"a.yaml": GOOD})
    following = follow(rules=Rules(allow_rewind=True))
    following.applied()
    assert repository.commit({"a.yaml": resized(5)}, "--amend") == following.applied()


def test_a_restart_still_refuses_rewritten_history_even_without_its_copy(
    repository: Repository, follow: Follow
) -> None:
    repository.commit({"a.yaml": GOOD})
    repository.commit({"a.yaml": resized(4)})
    first = follow()
    first.applied()
    repository.commit({"a.yaml": resized(5)}, "--amend")
    assert "does not descend" in follow(folder="new", serving=first.serving).refused()


def test_a_restart_that_finds_what_serves_has_nothing_to_do(
    repository: Repository, follow: Follow
) -> None:
    repository.commit({"a.yaml": GOOD})
    first = follow()
    first.applied()
    assert follow(folder="new", serving=first.serving).look().result is None


def test_another_repository_starts_anew_whatever_served_before(
    repository: Repository, follow: Follow
) -> None:
    commit = repository.commit({"a.yaml": GOOD})
    first = follow()
    first.applied()
    assert first.serving is not None
    elsewhere = replace(first.serving, commit="f" * 40, source="file:///elsewhere")
    assert commit == follow(folder="new", serving=elsewhere).applied()


def test_a_broken_commit_is_refused_with_every_error_and_the_next_good_one_is_taken(
    repository: Repository, follow: Follow
) -> None:
    repository.commit({"a.yaml": GOOD})
    following = follow()
    following.applied()
    broken = repository.commit(
        {
            "a.yaml": GOOD.replace("max: 3", "max: many").replace(
                "metadata: {name: boxes}", "metadata: {name: boxes, nonsense: 1}"
            )
        }
    )
    result = following.result()
    assert broken == result.commit
    assert 2 == len(result.problems)
    assert following.look().result is None
    assert repository.commit({"a.yaml": resized(8)}) == following.applied()


def test_a_refused_commit_is_judged_again_when_somebody_asks(
    repository: Repository, follow: Follow
) -> None:
    repository.commit({"a.yaml": "{"})
    following = follow()
    following.refused()
    assert following.look().result is None
    assert following.look(again=True).result is not None


ODD: list[tuple[str, list[tuple[str, str, bytes]], str]] = [
    (
        "a link out of the tree",
        [("120000", "b.yaml", b"/etc/passwd")],
        "b.yaml: this is a symbolic",
    ),
    ("a link inside", [("120000", "b", b"a.yaml")], "b: this is a symbolic link"),
    ("a submodule", [("160000", "sub", b"")], "sub: this is a submodule"),
    ("a huge file", [("100644", "b.yaml", b"#" * (MAX_FILE + 1))], "may have 1048576"),
    ("binary", [("100644", "b.yaml", b"\x00\x01\x02")], "U+0000 is not allowed"),
    ("no UTF-8", [("100644", "b.yaml", b"a: \xff\xfe")], "is no UTF-8"),
    ("cases", [("100644", "A.yaml", b"# x")], "differs from A.yaml by case"),
    (
        "forms",
        [("100644", "caf\u00e9.yaml", b"# x"), ("100644", "cafe\u0301.yaml", b"# x")],
        "by case or form",
    ),
    (
        "LFS",
        [("100644", "b.yaml", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n")],
        "b.yaml: this is a pointer of Git LFS",
    ),
    ("a strange name", [("100644", "b\nc.yaml", b"# x")], "b\\nc.yaml: the file's name"),
    ("a name that is no text", [("100644", "b\udcff.yaml", b"# x")], "the file's name is no"),
]


@pytest.mark.parametrize(("entries", "said"), [one[1:] for one in ODD], ids=[one[0] for one in ODD])
def test_what_is_no_plain_file_is_refused_by_name(
    repository: Repository, follow: Follow, entries: list[tuple[str, str, bytes]], said: str
) -> None:
    repository.commit_tree([("100644", "a.yaml", GOOD.encode()), *entries])
    assert said in follow().refused()


def test_hidden_names_are_left_out_whatever_they_are(
    repository: Repository, follow: Follow
) -> None:
    commit = repository.commit_tree(
        [
            ("100644", "a.yaml", GOOD.encode()),
            ("120000", ".link.yaml", b"/etc/passwd"),
            ("100644", ".gitmodules", b'[submodule "--x"]\n path = .x\n url = ./x\n'),
            ("160000", ".x", b""),
        ]
    )
    assert commit == follow().applied()


def test_too_many_files_and_too_many_bytes_are_refused(
    repository: Repository, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.config.repositories.contents.MAX_FILES", 3)
    repository.commit({f"{number}.yaml": GOOD for number in range(4)})
    assert "there are 4 files, and 3 may be" in follow().refused()
    monkeypatch.setattr("stoker.config.repositories.contents.MAX_TOTAL", 20)
    repository.commit({"3.yaml": None, "2.yaml": None})
    assert "more than 20 bytes in all" in follow(folder="b").refused()


def test_a_tree_that_unfolds_without_end_is_given_up(
    repository: Repository, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = repository.git("hash-object", "-w", "--stdin", feed=b"# x").strip()
    oid, kind = blob, "100644 blob"
    for _ in range(8):  # ten names in each level: a hundred million files
        lines = "".join(f"{kind} {oid}\tn{number}\n" for number in range(10))
        oid = repository.git("mktree", feed=lines.encode()).strip()
        kind = "040000 tree"
    commit = repository.git("commit-tree", oid, "-m", "bomb").strip()
    repository.push(f"{commit}:refs/heads/main")
    started = time.monotonic()
    assert "too many names" in follow().refused()
    assert time.monotonic() - started < 20


def test_a_repository_that_is_too_large_is_given_up_and_leaves_nothing_behind(
    repository: Repository, follow: Follow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(clone, "MAX_DISK", 300_000)
    repository.commit({"a.yaml": GOOD, "big": os.urandom(2_000_000)})
    with pytest.raises(Unavailable, match="larger than"):
        follow().look()
    assert not (tmp_path / "copy").exists()


def test_nothing_of_the_repository_is_run(
    repository: Repository, follow: Follow, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    script = f"#!/bin/sh\ntouch {mark}\n"
    repository.commit({"a.yaml": GOOD, ".gitattributes": "* filter=evil\n", "hooks/x": script})
    for place in (repository.bare / "hooks", tmp_path / "copy" / "objects.git" / "hooks"):
        place.mkdir(parents=True, exist_ok=True)
        for name in ("post-checkout", "reference-transaction", "post-merge", "pre-auto-gc", "fsck"):
            (place / name).write_text(script)
            (place / name).chmod(0o755)
    for name in (
        "uploadpack.packObjectsHook",
        "core.fsmonitor",
        "core.sshCommand",
        "filter.evil.smudge",
    ):
        subprocess.run(["git", "-C", repository.bare, "config", name, f"touch {mark}"], check=True)
    following = follow()
    following.applied()
    assert not mark.exists()
    repository.commit({"a.yaml": resized(5)})  # a push runs the hooks of the other side
    mark.unlink(missing_ok=True)
    following.applied()
    assert not mark.exists()


def test_a_damaged_copy_is_thrown_away_and_fetched_anew(
    repository: Repository, follow: Follow, tmp_path: Path
) -> None:
    repository.commit({"a.yaml": GOOD})
    following = follow()
    following.applied()
    for pack in (tmp_path / "copy" / "objects.git" / "objects" / "pack").glob("*.pack"):
        pack.chmod(0o600)
        pack.write_bytes(b"rubbish" + bytes(100))
    commit = repository.commit({"a.yaml": resized(5)})
    assert commit == following.applied()


def test_what_a_killed_git_left_behind_is_no_obstacle(
    repository: Repository, follow: Follow, tmp_path: Path
) -> None:
    repository.commit({"a.yaml": GOOD})
    following = follow()
    following.applied()
    bare = tmp_path / "copy" / "objects.git"
    for name in (
        "shallow.lock",
        "packed-refs.lock",
        "refs/stoker/seen.lock",
        "objects/pack/tmp_pack_x",
    ):
        (bare / name).write_text("")
    assert repository.commit({"a.yaml": resized(5)}) == following.applied()
    assert not (bare / "objects/pack/tmp_pack_x").exists()


def test_the_copy_does_not_grow_for_ever(
    repository: Repository, follow: Follow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(clone, "MAX_PACKS", 3)
    following = follow()
    for number in range(4, 14):
        commit = repository.commit({"a.yaml": resized(number)})
        assert commit == following.applied()
        packs = tmp_path / "copy" / "objects.git" / "objects" / "pack"
        assert len(list(packs.glob("*.pack"))) <= 4


def test_an_unchanged_repository_costs_one_question_and_no_parsing(
    repository: Repository, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit(
        {
            f"{number}.yaml": resized(9)
            .replace("boxes", f"b{number}")
            .replace("box}", f"x{number}}}")
            .replace("blueprint: box", f"blueprint: x{number}")
            for number in range(5)
        }
        | {"a.yaml": GOOD}
    )
    following_ = follow()
    following_.look()
    monkeypatch.setattr(following, "load", None)
    monkeypatch.setattr(loading, "load", None)
    started = time.monotonic()
    for _ in range(20):
        assert following_.look().result is None
    assert (time.monotonic() - started) / 20 < 0.05


def test_a_commit_that_changes_nothing_below_the_folder_is_taken_without_parsing(
    repository: Repository, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit({"a.yaml": GOOD})
    following_ = follow(f"{repository.url}?ref=main")
    following_.applied()
    commit = repository.commit()
    monkeypatch.setattr(following, "load", None)
    assert commit == following_.applied()
