"""How far what is applied is behind what was seen."""

from dataclasses import replace

from stoker.config.repositories.facts import RepositoryFacts, behind_since

NOTHING = RepositoryFacts("file:///r", "main", "")


def seen(*looks: tuple[str, str]) -> list[float | None]:
    """After each look, one a second: what the ref named, and what was applied then."""
    facts, found = NOTHING, list[float | None]()
    for now, (commit, applied) in enumerate(looks):
        since = behind_since(facts, commit, applied, float(now))
        facts = replace(facts, seen=commit, behind_since=since)
        found.append(since)
    return found


def test_what_is_applied_at_once_is_never_behind_for_longer_than_that_takes() -> None:
    assert seen(("a", ""), ("a", "a"), ("b", "a"), ("c", "b")) == [0.0, None, 2.0, 3.0]


def test_it_counts_from_the_oldest_commit_that_is_not_applied() -> None:
    assert seen(("a", "a"), ("bad", "a"), ("worse", "a"), ("worse", "a")) == [None, 1.0, 1.0, 1.0]


def test_it_ends_when_the_applied_one_is_the_newest_again() -> None:
    assert seen(("bad", "a"), ("b", "a"), ("b", "b"), ("bad", "b")) == [0.0, 0.0, None, 3.0]
    assert seen(("bad", "a"), ("a", "a")) == [0.0, None]


def test_a_branch_that_is_gone_is_behind_too() -> None:
    assert seen(("a", "a"), ("", "a"), ("", "a")) == [None, 1.0, 1.0]
