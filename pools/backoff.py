"""How long to wait before the next attempt: exponential, capped, with jitter. Pure."""


def delay(attempt: int, chance: float, *, first: float = 0.5, cap: float = 60.0) -> float:
    """Seconds before attempt number `attempt + 1`; `chance` is a random number in [0, 1).

    Half of the delay is fixed and half is drawn ("equal jitter"), so that attempts neither
    march in step nor come at once. Source: AWS Architecture Blog, "Exponential Backoff And Jitter".
    """
    full = min(cap, first * 2.0 ** min(attempt, 32))
    return full / 2 + full / 2 * chance
