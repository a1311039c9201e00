"""A failing blueprint stops itself, is probed, and says why."""

from stoker.pools.breaker import LONGEST_REST, THRESHOLD, Breaker


def failed_times(count: int, now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(count):
        breaker = breaker.failed("no such program", now, 0.5)
    return breaker


def test_a_few_failures_leave_it_closed() -> None:
    assert failed_times(THRESHOLD - 1).state(0.0) == "closed"


def test_failures_in_a_row_open_it() -> None:
    breaker = failed_times(THRESHOLD)

    assert breaker.state(0.0) == "open"
    assert breaker.last_error == "no such program"
    assert breaker.allowance(0.0, 0, 5) == 0


def test_after_its_rest_one_probe_may_pass() -> None:
    breaker = failed_times(THRESHOLD)

    assert breaker.state(breaker.until) == "half-open"
    assert breaker.allowance(breaker.until, 0, 5) == 1
    assert breaker.allowance(breaker.until, 1, 5) == 0


def test_each_failed_probe_rests_longer_up_to_a_bound() -> None:
    rests = [failed_times(count).until for count in range(THRESHOLD, THRESHOLD + 20)]

    assert rests == sorted(rests)
    assert rests[-1] <= LONGEST_REST


def test_a_success_closes_it() -> None:
    assert failed_times(THRESHOLD + 2).succeeded().state(0.0) == "closed"


def test_a_throttling_provider_pauses_without_counting_as_a_failure() -> None:
    breaker = Breaker().asked_to_wait("slow down", 10.0, 5.0)

    assert breaker.failures == 0
    assert breaker.state(12.0) == "open"
    assert breaker.state(15.0) == "closed"
