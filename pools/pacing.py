"""A rate with a burst, kept by asyncio-throttle's sliding window.

At most `burst` begin in any `burst / rate` seconds, so never more than `rate` in any second when
`burst / rate` divides it, and never more than `rate + burst` in any case.
"""

from asyncio_throttle import Throttler


def throttler(rate: float, burst: int) -> Throttler:
    """Lets `rate` per second pass, `burst` of them at once; `acquire` waits for a turn.

    The library looks again every `retry_interval`: a fiftieth of the window, so that what is lost
    by looking late stays near two in a hundred.
    """
    window = burst / rate
    return Throttler(rate_limit=burst, period=window, retry_interval=_pause(window))


def retune(pace: Throttler, rate: float, burst: int) -> None:
    """Changes a pace for those too who wait for their turn already."""
    pace.rate_limit = burst
    pace.period = burst / rate
    pace.retry_interval = _pause(pace.period)


def _pause(window: float) -> float:
    return min(0.05, max(0.0005, window / 50))
