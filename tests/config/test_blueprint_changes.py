"""Why something is outdated, in words that name what to look at."""

from stoker.config.blueprint_changes import MOST, why_outdated
from stoker.config.revision import Blueprint
from tests.config.catalogue import a_blueprint_with, the_revision


def blueprint(spec: str) -> Blueprint:
    (pool,) = the_revision(a_blueprint_with(spec)).pools.values()
    return pool.blueprint


def why(before: str, after: str) -> tuple[str, ...]:
    return why_outdated(blueprint(before), blueprint(after))


BOX = "  prepare: [{name: a, driver: box}]"


def test_nothing_is_said_of_what_is_not_outdated() -> None:
    assert () == why(BOX, BOX + "\n  cost: {perHour: 2}")


def test_parts_that_come_go_and_move_are_named() -> None:
    two = "  prepare: [{name: a, driver: box}, {name: b, driver: box}]"
    moved = "  prepare: [{name: a, driver: box}]\n  finish: [{name: b, driver: box}]"

    assert ("the part b is new",) == why(BOX, two)
    assert ("the part b is gone",) == why(two, BOX)
    assert ("the part b changes when it is made",) == why(two, moved)


def test_changed_members_are_named_without_their_values() -> None:
    after = "  prepare: [{name: a, driver: box, with: {colour: secret, size: 2}}]"
    (said,) = why(BOX, after)

    assert "the part a changes with.colour, with.size" == said


def test_a_driver_is_told_with_both_names() -> None:
    (said,) = why(BOX, "  prepare: [{name: a, driver: secret}]")
    assert said.startswith("the part a changes driver from box to secret")


def test_patience_with_a_check_is_no_reason() -> None:
    check = "  prepare: [{name: a, driver: box, ready: {tcp: '127.0.0.1:1', within: %s}%s}]"
    assert () == why(check % ("5s", ""), check % ("9s", ""))
    after = check % ("9s", ", with: {size: 2}")
    assert ("the part a changes with.size",) == why(check % ("5s", ""), after)


def test_outputs_are_named() -> None:
    after = BOX + '\n  outputs: {where: "${parts.a.path}"}'
    assert ("the output where changes",) == why(BOX, after)


def test_what_is_in_no_part_is_told_all_the_same() -> None:
    (said,) = why(BOX, BOX + "\n  parameters: {n: {type: integer, default: 1}}")
    assert "parameters" in said


def test_a_long_list_is_cut() -> None:
    many = ", ".join(f"{{name: b{number}, driver: box}}" for number in range(9))
    said = why(BOX, f"  prepare: [{{name: a, driver: box}}, {many}]")

    assert MOST + 1 == len(said)
    assert "and 4 more" == said[-1]
