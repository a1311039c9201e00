"""The sentences of those who claim in vain. Pure."""

from collections.abc import Mapping

from ..config.json_types import Json
from ..config.units import format_duration
from .breaker import THRESHOLD
from .pool import Pool
from .requests import Code, Refusal
from .store import StoreError


def stopping() -> Refusal:
    return Refusal(Code.STOPPING, "the daemon is stopping; try again in a moment", retry_after=2.0)


def unwritable(error: StoreError) -> Refusal:
    why = f"the claim cannot be written down: {error}"
    return Refusal(Code.LEDGER_UNAVAILABLE, why, retry_after=2.0)


def defect(error: Exception) -> Refusal:
    return Refusal(
        Code.FINISH_FAILED,
        f"the claim could not be served because of a defect of the daemon ({type(error).__name__}); "
        "its log says more",
        retry_after=5.0,
    )


def timed_out(pool: Pool, waited: float, wanted: int = 1) -> Refusal:
    """Says which limit the claim waited at, that wanted so many at once."""
    if pool.gate.shut:
        return pool.shut_because()
    name, size = pool.spec.name, pool.spec.size
    waited_for = format_duration(round(waited, 3))
    frozen = pool.frozen_because()
    if frozen:
        return Refusal(
            Code.WAIT_TIMEOUT,
            f"nothing became ready in the pool {name} within {waited_for}, and {frozen}",
            retry_after=30.0,
        )
    failures = pool.breaker.failures
    if failures >= THRESHOLD or (failures and not pool.full):
        return Refusal(
            Code.BLUEPRINT_FAILING,
            f"the pool {name} has nothing ready and creating fails: {pool.breaker.last_error}",
            retry_after=5.0,
        )
    if pool.full:
        why = f"all {size.max} resources of the pool {name} are in use"
        if wanted > 1:
            why = (
                f"the pool {name} has {pool.ready} ready of the {wanted} that were asked for, and no "
                f"room for more than {size.max} in all"
            )
        return Refusal(
            Code.NO_CAPACITY,
            f"{why}; wait longer, release one, or raise size.max",
            retry_after=5.0,
        )
    return Refusal(
        Code.WAIT_TIMEOUT,
        f"{'nothing' if wanted == 1 else f'fewer than {wanted}'} became ready in the pool {name} within {waited_for}; "
        "wait longer or raise size.min",
        retry_after=max(1.0, pool.prospects.seconds_to_create or 1.0),
    )


def together(refusals: Mapping[str, Refusal]) -> Refusal:
    """One "no" of those of several pools: the code of one that may say yes later, if there is one."""
    if len(refusals) == 1:
        return next(iter(refusals.values()))
    codes = {refusal.code for refusal in refusals.values()}
    later = [one for one in refusals.values() if one.retry_after is not None]
    chief = (later or list(refusals.values()))[0]
    details: dict[str, Json] = dict(chief.details) if len(codes) == 1 else {}
    details["pools"] = {name: refusal.code.value for name, refusal in refusals.items()}
    whys = "; ".join(f"{name}: {refusal.message}" for name, refusal in refusals.items())
    return Refusal(
        chief.code,
        f"none of these pools can serve the claim: {whys}",
        retry_after=min((one.retry_after or 0.0 for one in later), default=None),
        details=details,
    )
