"""What is signed, in time and for the first time, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.daemon.signatures import TOLERANCE, Deliveries, Signed, sign, signed

SECRET, BODY, NOW = b"a secret that both know", b'{"so": 1}', 1_800_000_000


def test_what_was_signed_is_found_good_with_its_time() -> None:
    found = signed(SECRET, sign(SECRET, BODY, NOW), BODY)
    assert found is not None
    assert NOW == found.sent
    spaced = sign(SECRET, BODY, NOW).replace(",", " , ").upper().replace("T=", "t=")
    assert found == signed(SECRET, spaced.replace("V1=", "v1="), BODY)


@given(st.text(max_size=200))
def test_whatever_else_stands_in_the_header_is_no_signature(header: str) -> None:
    assert signed(SECRET, header, BODY) is None


def test_another_body_secret_or_time_is_not_good() -> None:
    good = sign(SECRET, BODY, NOW)
    assert signed(SECRET, good, BODY + b" ") is None
    assert signed(b"another secret of that length", good, BODY) is None
    assert signed(SECRET, good.replace(str(NOW), str(NOW + 1)), BODY) is None
    assert signed(SECRET, good.replace(str(NOW), "٣"), BODY) is None


def mac(number: int, sent: int = NOW) -> Signed:
    return Signed(sent, f"{number:x}")


@pytest.mark.parametrize("off", [-TOLERANCE - 1, TOLERANCE + 1])
def test_what_was_sent_at_another_time_is_not_timely(off: int) -> None:
    taken = Deliveries(since=0.0)
    assert not taken.is_timely(NOW + off, NOW)
    assert taken.is_timely(NOW, NOW)


def test_nothing_counts_that_was_sent_before_it_began_to_remember() -> None:
    taken = Deliveries(since=NOW + 0.5)
    assert not taken.is_timely(NOW, NOW + 0.7)
    assert taken.cannot_tell(NOW)
    assert not taken.cannot_tell(NOW - 1)
    assert taken.is_timely(NOW + 1, NOW + 0.7)
    assert not taken.cannot_tell(NOW + 1)


def test_the_same_is_taken_once() -> None:
    taken = Deliveries(since=0.0)
    assert taken.take(mac(1), NOW)
    assert not taken.take(mac(1), NOW)
    assert taken.take(mac(2), NOW)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(-400, 400)), max_size=60))
def test_nothing_counts_twice_however_little_is_remembered_and_however_clocks_are_set(
    deliveries: list[tuple[int, int]],
) -> None:
    taken, counted = Deliveries(since=0.0, most=3), set[Signed]()
    now = float(NOW)
    for number, step in deliveries:
        now += step
        one = mac(number, NOW + 50 * number)
        if taken.is_timely(one.sent, now) and taken.take(one, now):
            assert one not in counted
            counted.add(one)
