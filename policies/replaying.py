"""Recorded decisions asked again under other policies: which would be different. Pure.

For `stoker policy diff`. Limits are held against what was in use when it was decided, as far as that was
recorded; a rule that reads a secret parameter sees that it is hidden.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .access import ROOT
from .decide import decide
from .decision import Decision
from .facts import Facts
from .index import PolicyIndex
from .limits import as_given


@dataclass(frozen=True, slots=True)
class Difference:
    """One claim or renewal about which the two do not say the same."""

    at: int
    """Which of those that were given, from 0."""
    facts: Facts
    before: Decision
    after: Decision

    @property
    def sentence(self) -> str:
        if self.before.verdict is not self.after.verdict:
            return self.after.message
        changed = [
            f"{path} was {was} and would be {now}"
            for path, was, now in _outcomes(self.before, self.after)
            if was != now
        ]
        return "; ".join(changed) + "."


def differences(
    recorded: Iterable[Facts], before: PolicyIndex, after: PolicyIndex
) -> Iterator[Difference]:
    """Of what the claimant would notice; that another rule says the same is no difference."""
    for at, facts in enumerate(recorded):
        was, now = _asked(before, facts), _asked(after, facts)
        if was.verdict is not now.verdict or any(old != new for _, old, new in _outcomes(was, now)):
            yield Difference(at, facts, was, now)


def _asked(index: PolicyIndex, facts: Facts) -> Decision:
    uid = facts.caller.uid if facts.caller.operator else ROOT
    return decide(index.of(facts.pool.name), facts, daemon_uid=uid, counted=as_given(facts))


def _outcomes(was: Decision, now: Decision) -> Iterator[tuple[str, object, object]]:
    yield "ttl", f"{was.ttl:g}s", f"{now.ttl:g}s"
    yield "costCentre", was.cost_centre, now.cost_centre
    for kind, old, new in (("labels", was.labels, now.labels), ("params", was.params, now.params)):
        for name in sorted(old.keys() | new.keys()):
            yield f"{kind}.{name}", old.get(name), new.get(name)
