"""What is said of a limit that is reached: with the numbers, and what helps."""

import pytest

from stoker.policies.decision import Check, Limit
from stoker.policies.limits import exceeded


def told(limit: Limit, counted: float, *, adds: float = 1, most: float = 3, of: str = "7") -> str:
    return exceeded(Check("team", limit, ("*",), of, most, adds, 3600.0), counted)


@pytest.mark.parametrize("limit", list(Limit))
def test_up_to_the_limit_nothing_is_said_and_beyond_it_something_is(limit: Limit) -> None:
    assert "" == told(limit, 2)
    assert told(limit, 2.5)
    assert "" == told(limit, 1, adds=2)
    assert told(limit, 2, adds=2)


@pytest.mark.parametrize(
    ("limit", "of", "counted", "adds", "sentence"),
    [
        (Limit.ACTIVE_PER_CALLER, "7", 3, 1, "You hold 3 resources, and 3 is the most. Release one first."),
        (Limit.ACTIVE_PER_CALLER, "7", 1, 3, "You hold 1 resource, this claim asks for 3 more, and 3 is the most. Release some first, or ask for fewer."),
        (Limit.ACTIVE_PER_CALLER, "7", 0, 4, "You hold 0 resources, this claim asks for 4 more, and 3 is the most. Ask for fewer."),
        (Limit.ACTIVE_PER_GROUP, "web", 3, 1, "The group web holds 3 resources, and 3 is the most. One must be released first."),
        (Limit.ACTIVE_PER_LABEL, "app=a", 2, 2, "Claims with the label app=a hold 2 resources, this claim asks for 2 more, and 3 is the most. Some must be released first, or ask for fewer."),
        (Limit.SPEND_PER_DAY, "7", 2, 2, "This claim costs 2, 2 are spent today, and 3 is the most for a day. Ask for a shorter ttl, or wait until midnight, UTC."),
        (Limit.RATE_PER_CALLER, "7", 3, 1, "You made 3 claims in the last 1h, and 3 is the most. Wait a while."),
    ],
)  # fmt: skip
def test_who_is_refused_is_told_the_numbers_and_what_helps(
    limit: Limit, of: str, counted: float, adds: float, sentence: str
) -> None:
    assert sentence == told(limit, counted, adds=adds, of=of)
