"""The priorities of a queue: compiled and checked when they are read."""

import time

import pytest

from stoker.config.changes import FieldChange, changes
from stoker.config.manifests import MAX_PRIORITIES
from tests.config.catalogue import a_blueprint_with, loaded, the_problem, the_revision, told

BASE = a_blueprint_with("  {}").rstrip()
QUOTE = len("      - {name: one, when: '")
"""The column in which an expression begins."""
CALLER = {"uid": 1000, "gid": 100, "user": "ada", "exe": "/usr/bin/curl", "unit": "ci.service"}


def with_priorities(*rules: str) -> str:
    lines = "\n".join(f"      - {rule}" for rule in rules)
    return f"{BASE}\n  queue:\n    priorities:\n{lines}\n"


def rule(when: str, name: str = "one", priority: int = 5) -> str:
    return f"{{name: {name}, when: '{when}', priority: {priority}}}"


def test_they_reach_the_revision_in_their_order_and_give_true_or_false() -> None:
    text = with_priorities(
        rule('caller.unit == "ci.service"', "ci", 10),
        rule('has(claim.labels.night) && duration(claim.ttl) > duration("1h")', "night", -5),
    )
    rules = the_revision(text).pools["boxes"].queue.priorities

    assert [("ci", 10), ("night", -5)] == [(one.name, one.priority) for one in rules]
    labels: dict[str, str] = {"night": "1"}
    scope = {"caller": CALLER, "claim": {"labels": labels, "reason": "", "ttl": "90m"}}
    assert [True, True] == [one.when.evaluate(scope) for one in rules]
    labels.clear()
    scope = {**scope, "caller": {**CALLER, "unit": ""}}
    assert [False, False] == [one.when.evaluate(scope) for one in rules]


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("caller.groups == 3", "groups"),
        ("claim.label.urgent", "Did you mean 'labels'?"),
        ("claim.reason", "but a bool is needed here"),
        ("params.greeting == 1", "use claim.labels"),
        ("resource.id == 1", "The claim has no resource yet"),
        ("request.ttl == 1", "Here it is called claim"),
        ("caller.uid ==", "ends"),
    ],
)
def test_a_mistake_is_told_where_it_stands(when: str, words: str) -> None:
    problem = the_problem(with_priorities(rule("true", "fine"), rule(when)))

    assert words in str(problem)
    assert "spec.queue.priorities[1].when" == problem.path
    assert ("a.yaml", BASE.count("\n") + 5) == (problem.file, problem.line)
    assert QUOTE <= problem.column <= QUOTE + len(when) + 1, "in the text of the expression"


def test_a_name_stands_for_one_priority() -> None:
    problem = the_problem(with_priorities(rule("true"), rule("false")))

    assert f"there is another priority 'one' in line {BASE.count(chr(10)) + 4}" in str(problem)


def test_unknown_keys_missing_ones_and_numbers_out_of_range_are_refused() -> None:
    text = with_priorities(
        "{name: a, wen: 'true', priority: 1}", "{name: b, when: 'true', priority: 1001}"
    )
    problems = " ".join(told(loaded(text)))

    assert "Did you mean 'when'?" in problems
    assert "1000" in problems


def test_there_may_be_only_so_many() -> None:
    rules = [rule("true", f"p{number}") for number in range(MAX_PRIORITIES + 1)]

    assert str(MAX_PRIORITIES) in " ".join(told(loaded(with_priorities(*rules))))


def test_they_count_among_the_expressions_of_all_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stoker.config.checking.MAX_EXPRESSIONS_IN_ALL", 1)

    problem = the_problem(with_priorities(rule("true", "a"), rule("true", "b")))

    assert "more than 1 texts with expressions" in str(problem)


def test_a_changed_priority_is_told_as_people_write_it() -> None:
    before, after = with_priorities(rule("true")), with_priorities(rule("true", priority=9))

    (found,) = changes(the_revision(before), the_revision(after)).changed["boxes"]

    assert FieldChange("queue.priorities.one", "5 when true", "9 when true") == found


def test_an_unchanged_priority_is_no_change_and_is_not_compiled_again() -> None:
    text = with_priorities(rule("caller.uid in [1, 2, 3]"))
    first = the_revision(text)
    began = time.perf_counter()

    again = the_revision(text)

    assert not changes(first, again)
    assert first.pools["boxes"].queue == again.pools["boxes"].queue
    assert time.perf_counter() - began < 5
