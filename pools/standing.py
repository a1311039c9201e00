"""What decides a claim's place among those who wait: its priority and who it shares turns with. Pure."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from ..config.expressions import ExpressionError
from ..config.revision import Priority
from ..config.units import format_duration
from .claim import Claim


@dataclass(frozen=True, slots=True)
class Standing:
    """Taken when the claim joins the line, and kept until it leaves it."""

    key: Hashable
    """Claims with the same one share their turns: see `Claimant.counts_as`."""
    priority: int = 0
    rule: str = ""
    """The name of the priority that matched; empty when none did."""


Failed = Callable[[str, str], None]
"""Told the name of a priority whose expression could not be evaluated, and why."""


def standing_of(claim: Claim, priorities: Iterable[Priority], failed: Failed) -> Standing:
    """The first priority that matches decides. One that fails matches nothing."""
    key = claim.claimant.counts_as
    scope: dict[str, object] | None = None
    for rule in priorities:
        if scope is None:
            scope = _scope(claim)
        try:
            matches = rule.when.evaluate(scope)
        except ExpressionError as error:
            failed(rule.name, str(error))
            continue
        if matches is True:
            return Standing(key, rule.priority, rule.name)
        if matches is not False:
            failed(rule.name, "the expression gives neither true nor false")
    return Standing(key)


def _scope(claim: Claim) -> dict[str, object]:
    """What the expressions see; `config.priorities` describes the same to their checker."""
    claimant = claim.claimant
    return {
        "caller": {
            "uid": claimant.uid,
            "gid": claimant.gid,
            "user": claimant.user,
            "exe": claimant.exe,
            "unit": claimant.unit,
        },
        "claim": {
            "labels": claim.labels,
            "reason": claim.reason,
            "ttl": format_duration(claim.ttl),
        },
    }
