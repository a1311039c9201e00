"""What is kept of how long making took."""

from stoker.pools.part_times import LAST, MOST_KEPT, WHOLE, PartTime, PartTimes


def test_what_was_never_made_is_not_known() -> None:
    assert PartTimes().of("d1", "server") is None


def test_the_median_of_the_last_ones_is_told_with_their_number() -> None:
    times = PartTimes()
    for seconds in (1.0, 9.0, 2.0):
        times.add("d1", "server", PartTime(seconds, seconds / 2, seconds / 4))
    found = times.of("d1", "server")
    assert found is not None
    assert (found.total, found.called, found.checked) == (2.0, 1.0, 0.5)
    assert (found.slowest, found.samples, found.made) == (9.0, 3, 3)


def test_old_samples_fall_out_and_are_still_counted() -> None:
    times = PartTimes()
    for _ in range(LAST):
        times.add("d1", WHOLE, PartTime(100.0))
    for _ in range(LAST):
        times.add("d1", WHOLE, PartTime(1.0))
    found = times.of("d1")
    assert found is not None
    assert (found.total, found.slowest, found.samples, found.made) == (1.0, 1.0, LAST, 2 * LAST)


def test_another_blueprint_begins_anew() -> None:
    times = PartTimes()
    times.add("d1", "server", PartTime(1.0))
    assert times.of("d2", "server") is None


def test_it_never_grows_beyond_its_bound_and_forgets_the_one_made_longest_ago() -> None:
    times = PartTimes()
    times.add("d1", "first", PartTime(1.0))
    times.add("d1", "second", PartTime(1.0))
    times.add("d1", "first", PartTime(1.0))
    for number in range(MOST_KEPT - 1):
        times.add("d2", f"part{number}", PartTime(1.0))
    assert len(times) == MOST_KEPT
    assert times.of("d1", "second") is None
    assert times.of("d1", "first") is not None
